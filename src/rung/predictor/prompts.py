"""Prompts: the only place where one is made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rung import calls, label_sets, marks
from rung.data.split import normalise
from rung.lm.base import Prompt
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.lm.inference import thinking
from rung.predictor.shortening import shortened
from rung.predictor.value import PredictorFields
from rung.retrieve import ground, lessons
from rung.retrieve import lookup as lookups
from rung.retrieve.lookup import Retrieved
from rung.retrieve.rewrite import standalone
from rung.retrieve.store import Allow
from rung.types import Example, Message, Source


@dataclass(frozen=True, kw_only=True)
class PromptMaker(PredictorFields):
    """Looks up what a row's prompt shows, and renders it."""

    def render(self, example: Example, similar: Sequence[Example] = (), sources: Sequence[Source] = ()) -> Prompt:
        """The prompt of one row: instruction, demonstrations as turns, earlier turns of the row, passages, the input.

        Templates take one system message, the first, so a row's own system text follows the instruction.
        """
        system = [self.instruction]
        if self.lookup:
            system.append(ground.RULE)
        if (self.labels or self.label_set) and self.show_labels:
            system.append(self._label_text())
        if self.tools and self.tools.in_text:
            system.append(self.tools.instruction)
        if self.thinking:
            system.append(self.thinking.rule)
        system += [turn.content for turn in example.history if turn.role == "system"]
        turns = [Message("system", "\n\n".join(system))]
        plain = marks.defuse if self.lookup else str  # beside passages, only this file writes their marks
        last = ground.asked(example.input, sources) if self.lookup else example.input
        for row, asked in (*((row, plain(row.input)) for row in (*self.demos.fixed, *similar)), (example, last)):
            turns += [replace(turn, content=plain(turn.content)) for turn in row.history if turn.role != "system"]
            turns += [Message("user", asked), *row.after, self._answer(row)]
        return Prompt(tuple(self._with_tools(turns[:-1], example)), example.input)

    def _with_tools(self, turns: list[Message], example: Example) -> list[Message]:
        """The turns with the tools that may be called: the task's, or those in the row's own column."""
        if self.tools:
            return (
                [_plain_calls(turn) for turn in turns]
                if self.tools.in_text
                else [Message(calls.TOOLS, self.tools.listed), *turns]
            )
        tools = json.dumps(calls.tools_of(example.extra), ensure_ascii=False)
        if tools == "[]":
            return turns
        if can(self.model).chat_template:  # its template describes tools
            return [Message(calls.TOOLS, tools), *turns]
        return [Message("system", f"{turns[0].content}\n\nTools: {tools}"), *turns[1:]]

    def prompts(
        self, examples: Sequence[Example], engines: Engines, sources: Sequence[Sequence[Source]] | None = None
    ) -> list[Prompt]:
        """Prompts of rows, with similar demonstrations and passages looked up (or the passages given).

        A row is never shown its own answer. Of a conversation that is too long, the earliest exchanges are left out.
        """
        if sources is None:
            sources = [found.sources for found in self.retrieve(examples, engines)]
        near = self._similar(examples, engines)
        return [
            shortened(self, row, partial(self.render, similar=similar, sources=found), engines)
            for row, similar, found in zip(examples, near, sources)
        ]

    def lessons(self, examples: Sequence[Example], engines: Engines) -> list[tuple[Prompt, str]]:
        """Prompts and answers to train on: prompts as at inference, answers as they should be."""
        if self.lookup is None:
            prompts = self.prompts(examples, engines)
            return [(prompt, self.as_written(example, example.output)) for prompt, example in zip(prompts, examples)]
        found = lessons.lessons(self.lookup, examples, engines)
        prompts = self.prompts(examples, engines, [sources for sources, _ in found])
        return [(prompt, self.as_written(row, answer)) for prompt, row, (_, answer) in zip(prompts, examples, found)]

    def retrieve(self, examples: Sequence[Example], engines: Engines, allow: Allow = Allow()) -> list[Retrieved]:
        """For each row the passages that `allow` admits, best first, and the strength of the evidence."""
        if self.lookup is None:
            return [Retrieved()] * len(examples)
        return self.look_up(standalone(examples, engines.open(self.model)), engines, allow)

    def look_up(self, questions: Sequence[str], engines: Engines, allow: Allow = Allow()) -> list[Retrieved]:
        """The same for questions that can be understood by themselves. Only with passages."""
        assert self.lookup, "only a Predictor with passages looks them up"
        if self.lookup.browse:
            return lookups.browsed(self.lookup, questions, engines.open(self.model), engines, allow)
        hits = lookups.sources(self.lookup, questions, engines, allow)
        strengths = [lookups.evidence(question, found) for question, found in zip(questions, hits)]
        wide = [lookups.widened(self.lookup, found, engines) for found in hits]
        return [Retrieved(tuple(lookups.shown(self.lookup, found)), evidence) for found, evidence in zip(wide, strengths)]

    def as_written(self, row: Example, answer: str) -> str:
        """A row's answer as the model writes it: after the row's reasoning, if the Predictor reasons."""
        if self.tools and self.tools.in_text:
            answer = calls.as_text(answer)
        return thinking.turn(str(row.extra.get(self.thinking.column, "")), answer) if self.thinking else answer

    def _answer(self, row: Example) -> Message:
        """A row's answer as a turn; tool calls if it consists of these."""
        called = calls.parse_output(row.output)
        if called and not (self.tools and self.tools.in_text):
            return Message("assistant", "", calls.extra_fields({calls.KEY: calls.as_message(called)}))
        return Message("assistant", self.as_written(row, row.output))

    def _similar(self, examples: Sequence[Example], engines: Engines) -> list[list[Example]]:
        if not self.demos.similar:
            return [[]] * len(examples)
        from rung.lm.inference.embed import nearest
        from rung.lm.vectors import load_vectors

        vectors = engines.embedder(self.encoder).embed([example.input for example in examples])
        found = nearest(load_vectors(Path(self.demos.files)), vectors, self.demos.similar + 8)
        out = []
        for example, row in zip(examples, found):
            own = normalise(example.input)
            near = [demo for demo in (self.demos.pool[i] for i in row) if normalise(demo.input) != own][: self.demos.similar]
            out.append(near[::-1])
        return out

    def _label_text(self) -> str:
        known = self.labels or self.label_set
        ask = "Answer with one of"
        if self.label_set:
            ask = f"Answer with a JSON list such as {label_sets.dump(known[:2], known)}: all that apply of"
        if not any(self.descriptions):
            return f"{ask}: {', '.join(known)}."
        lines = [f"- {label}: {what}" if what else f"- {label}" for label, what in zip(known, self.descriptions)]
        return f"{ask} these:\n" + "\n".join(lines)


def _plain_calls(turn: Message) -> Message:
    """A turn with its tool calls, or the result of one, as text."""
    called = turn.fields.get(calls.KEY)
    if called:
        return Message("assistant", calls.as_text(calls.as_output(called)))
    return Message("user", f"[tool]\n{turn.content}") if turn.role == "tool" else turn
