"""The Predictor: frozen data that says how a row is answered. The only place where a prompt is made."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rung import calls, files, marks, rows
from rung.data.split import normalise
from rung.errors import RungError
from rung.lm import engine_kinds
from rung.lm.base import Choice, Completion, Decoding, Engine, ModelRef, Progress, Prompt, Streams
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.lm.inference import thinking
from rung.lm.inference.thinking import Thinking
from rung.lm.models.fits import link
from rung.naming import identity_fields
from rung.retrieve import ground, orders
from rung.retrieve import lookup as lookups
from rung.retrieve.lookup import Lookup
from rung.retrieve.rewrite import standalone
from rung.retrieve.search import Settings
from rung.retrieve.store import Allow
from rung.types import Example, Kind, Message, Prediction, Source, digest

FILE = "predictor.json"
FOLDERS = ("model", "demos")
"""Parts of a Predictor that have files; saved under their names."""
PROMPT_VERSION = 1  # raise when the same Predictor would now be asked in other words

CHUNK = 64
"""Rows answered between two times that progress is told and answers are kept."""


@dataclass(frozen=True)
class Demos:
    """Demonstrations put into the prompt: fixed ones first, so that all prompts share them; similar ones last."""

    fixed: tuple[Example, ...] = ()
    pool: tuple[Example, ...] = ()
    """Where similar ones are drawn from."""
    similar: int = 0
    """How many of the pool, the ones most like the input, nearest last."""
    files: str = ""
    """Folder with the pool's vectors (`pool.safetensors`)."""
    files_digest: str = ""


@dataclass(frozen=True)
class Calibration:
    """What is added to each label's log-probability, so that a bent for some labels is taken out."""

    bias: tuple[float, ...]
    """In the order of the labels."""
    of: str
    """Digest of the Predictor that it was measured on; of another it says nothing."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    kind: Kind
    model: ModelRef
    instruction: str
    labels: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    """What each label means, in the order of `labels`; empty texts where the task says nothing."""
    show_labels: bool = True
    """Whether the prompt lists the labels. A model trained on them knows them, and its prompt is shorter."""
    encoder: str = "all-minilm-l6-v2"
    """Embedding model, for what compares or classifies by meaning."""
    demos: Demos = Demos()
    lookup: Lookup | None = None
    """Where passages are retrieved from; None answers without any."""
    decoding: Decoding = Decoding()
    taught: tuple[Example, ...] = ()
    """Rows that a teacher labelled; what is fitted next learns from them as from the team's own. No answer reads them."""
    thinking: Thinking | None = None
    """How to reason before answering; None answers at once."""
    calibration: Calibration | None = None

    @property
    def digest(self) -> str:
        """Content name: two Predictors that answer alike have the same one, wherever their files lie."""
        shown: dict[str, Any] = {"orders": orders.VERSION} if self.lookup else {}
        if added := engine_kinds.TABLE.origin(self.model.kind):
            shown["engine"] = added  # another version of a plug-in may answer otherwise
        return digest(identity_fields(asdict(self) | {"prompt": PROMPT_VERSION} | shown))

    def render(self, example: Example, similar: Sequence[Example] = (), sources: Sequence[Source] = ()) -> Prompt:
        """The prompt of one row: instruction, demonstrations as turns, earlier turns of the row, passages, the input.

        Templates take one system message, the first: what a row's own says stands behind the instruction.
        """
        system = [self.instruction]
        if self.lookup:
            system.append(ground.RULE)
        if self.labels and self.show_labels:
            system.append(self._label_text())
        if self.thinking:
            system.append(self.thinking.rule)
        system += [turn.content for turn in example.history if turn.role == "system"]
        turns = [Message("system", "\n\n".join(system))]
        plain = marks.defuse if self.lookup else str  # beside passages, only this file writes their marks
        last = ground.asked(example.input, sources) if self.lookup else example.input
        for row, asked in (*((row, plain(row.input)) for row in (*self.demos.fixed, *similar)), (example, last)):
            turns += [replace(turn, content=plain(turn.content)) for turn in row.history if turn.role != "system"]
            turns += [Message("user", asked), *row.after, _answer(row, self._whole(row, row.output))]
        tools = calls.tools_of(example.extra)
        if tools and can(self.model).chat_template:  # its template says how tools are described
            turns.insert(0, Message(calls.TOOLS, json.dumps(tools, ensure_ascii=False)))
        elif tools:
            turns[0] = Message("system", f"{turns[0].content}\n\nTools: {json.dumps(tools, ensure_ascii=False)}")
        return Prompt(tuple(turns[:-1]), example.input)

    def prompts(
        self, examples: Sequence[Example], engines: Engines, sources: Sequence[Sequence[Source]] | None = None
    ) -> list[Prompt]:
        """Prompts of rows, with similar demonstrations and passages looked up (or the passages given).

        A row is never shown its own answer.
        """
        if sources is None:
            sources = [found for found, _ in self.retrieve(examples, engines)]
        near = self._similar(examples, engines)
        return [self.render(*row) for row in zip(examples, near, sources)]

    def lessons(self, examples: Sequence[Example], engines: Engines) -> list[tuple[Prompt, str]]:
        """Prompts and answers to train on: as the rows will be asked, and as they should be answered."""
        if self.lookup is None:
            prompts = self.prompts(examples, engines)
            return [(prompt, self._whole(example, example.output)) for prompt, example in zip(prompts, examples)]
        found = lookups.lessons(self.lookup, examples, engines)
        prompts = self.prompts(examples, engines, [sources for sources, _ in found])
        return [(prompt, self._whole(row, answer)) for prompt, row, (_, answer) in zip(prompts, examples, found)]

    def retrieve(
        self, examples: Sequence[Example], engines: Engines, allow: Allow = Allow()
    ) -> list[tuple[tuple[Source, ...], float]]:
        """For each row the passages found that `allow` lets through, best first, and how strong the evidence is."""
        if self.lookup is None:
            return [((), 0.0)] * len(examples)
        questions = standalone(examples, engines.open(self.model))
        hits = lookups.sources(self.lookup, questions, engines, allow)
        told = [lookups.evidence(question, found) for question, found in zip(questions, hits)]
        return [(tuple(lookups.shown(self.lookup, found)), evidence) for found, evidence in zip(hits, told)]

    def _whole(self, row: Example, answer: str) -> str:
        """A row's answer as it is written out: behind the row's own reasoning, where rows are reasoned about."""
        return thinking.turn(str(row.extra.get(self.thinking.column, "")), answer) if self.thinking else answer

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

    def warm(self, engines: Engines) -> None:
        """Load what answering needs."""
        engines.open(self.model)
        if self.demos.similar:
            engines.embedder(self.encoder)
        if self.lookup:
            self.retrieve([Example("x", "")], engines)

    def predict(
        self, examples: Sequence[Example], engines: Engines, progress: Progress | None = None, allow: Allow = Allow()
    ) -> list[Prediction]:
        """Answer rows in order. A row that cannot be asked keeps its error; the others are answered.

        With passages, a row whose evidence is too weak is not asked, and an answer that no passage bears out is not given.
        `allow`: the passages that the asker may see.
        """
        started = time.perf_counter()
        engine = engines.open(self.model)
        found = self.retrieve(examples, engines, allow)
        prompts = self.prompts(examples, engines, [sources for sources, _ in found])
        room = thinking.max_label_tokens(self.labels, engines.chat(self.model)) if self.labels else 1  # a text takes what is left
        if self.thinking:
            room += len(thinking.turn(self.thinking.opening, ""))  # reasoning takes what is left
        unasked = [self._unasked(engine, prompt, room, evidence) for prompt, (_, evidence) in zip(prompts, found)]
        answers = iter(self._ask(engine, [prompt for prompt, refused in zip(prompts, unasked) if not refused], progress))
        out = [refused or next(answers) for refused in unasked]
        seconds = (time.perf_counter() - started) / max(1, len(examples))
        # an engine that says how long a row took when it was first asked may be giving it again
        return [
            replace(self._grounded(one, sources, example), id=example.id, seconds=max(one.seconds, seconds))
            for example, one, (sources, _) in zip(examples, out, found)
        ]

    def _unasked(self, engine: Engine, prompt: Prompt, room: int, evidence: float) -> Prediction | None:
        """What is predicted without asking the model; None where it is to be asked."""
        if self.lookup and not self.labels and evidence < self.lookup.least:
            why = f"the closest passage is too far from the question ({evidence:.2f}, at least {self.lookup.least:.2f})"
            return Prediction("", "", abstained=why)
        if (size := engine.count(prompt)) + room > engine.context:
            why = f"prompt of {size} tokens is over the context of {engine.context}, of which its answer needs {room}"
            return Prediction("", "", tokens_in=size, error=why, wrong=True)
        return None

    def _grounded(self, prediction: Prediction, sources: tuple[Source, ...], example: Example) -> Prediction:
        if not self.lookup or self.labels or prediction.error or prediction.abstained:
            return replace(prediction, sources=sources)
        found = self.settled(prediction.output, sources, example)
        return replace(prediction, output=found.text, sources=found.sources, abstained=found.abstained)

    def settled(self, text: str, sources: Sequence[Source], example: Example) -> ground.Grounded:
        """What is left of a written answer once it is held against its passages and, where these are screened, the question."""
        assert self.lookup, "only answers from passages are held against them"
        return ground.settle(text, sources, ground.asking(example) if self.lookup.screen else "")

    def _ask(self, engine: Engine, prompts: Sequence[Prompt], progress: Progress | None) -> list[Prediction]:
        if not prompts:
            return []
        bias = self.calibration.bias if self.calibration else ()
        if self.thinking:
            found = thinking.think(engine, prompts, self.thinking, self.labels, self.decoding, bias)
            if progress:
                progress(len(prompts))
            return [thinking.prediction(one) for one in found]
        if bias:
            return [_prediction(c, c.label, c.confidence) for c in thinking.choose(engine, prompts, self.labels, bias)]
        if self.labels:
            return [_prediction(c, c.label, c.confidence) for c in engine.choose(prompts, self.labels, progress)]
        return [_prediction(c, c.text) for c in engine.generate(prompts, self.decoding, progress)]

    @property
    def streams(self) -> bool:
        """Whether an answer may be shown while it is written: labels are chosen whole, and citations are checked first."""
        return can(self.model).streams and not (self.labels or self.lookup or self.thinking)

    def stream(self, example: Example, engines: Engines) -> Iterator[str]:
        """One answer, piece by piece; where `streams`."""
        engine = engines.open(self.model)
        assert isinstance(engine, Streams), "asked to stream what does not"
        [prompt] = self.prompts([example], engines)
        yield from engine.stream(prompt, self.decoding)

    def answers(self, engine: Engine, prompts: Sequence[Prompt]) -> list[str]:
        """The bare answers of an engine asked as this Predictor asks its own; for a model that is still in training."""
        return [prediction.output for prediction in self._ask(engine, prompts, None)]

    def _label_text(self) -> str:
        if not any(self.descriptions):
            return "Answer with one of: " + ", ".join(self.labels) + "."
        lines = [f"- {label}: {what}" if what else f"- {label}" for label, what in zip(self.labels, self.descriptions)]
        return "Answer with one of these:\n" + "\n".join(lines)


def _prediction(answer: Choice | Completion, output: str, confidence: float | None = None) -> Prediction:
    return Prediction(
        "",
        output,
        confidence,
        answer.tokens_in,
        answer.tokens_out,
        answer.seconds,
        answer.error,
        answer.tokens_cached,
        again=bool(answer.error) and not answer.final,
    )


def save(
    predictor: Predictor,
    folder: Path,
    beside: Mapping[str, str] | None = None,
    finish: Callable[[Path], object] = lambda written: None,
) -> None:
    """Write the Predictor, copies of its files and text files `beside` into a folder, which appears whole or not at all.

    `finish`: called with the folder before it takes its place. RungError for a calibration of another Predictor.
    """
    if predictor.calibration and predictor.calibration.of != replace(predictor, calibration=None).digest:
        raise RungError(
            "what came after the calibration changed the prompt or the model, so it no longer holds.",
            where="rungs",
            remedy="Put the calibration last in the rung.",
        )
    content = asdict(predictor)
    with files.whole_folder(folder) as part:
        for name in FOLDERS:
            if content[name]["files"]:
                shutil.copytree(content[name]["files"], part / name, copy_function=link)
                content[name]["files"] = name
        if predictor.lookup and "://" not in predictor.lookup.index:  # the task may be moved
            content["lookup"]["index"] = os.path.relpath(predictor.lookup.index, folder)
        for name, text in (beside or {}).items():
            files.write_text(part / name, text)
        files.write_json(part / FILE, content)
        finish(part)


def load(folder: Path) -> Predictor:
    """Read a saved Predictor; its files are used where they lie. RungError where it is none, or where they lie elsewhere."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RungError(f"this is no saved Predictor: {error}.", where=str(folder), remedy="Fit it again.") from error
    for part in FOLDERS:
        if content[part]["files"]:
            if (lies := content[part]["files"]) != part:
                raise RungError(f"its files lie outside of it: {lies!r}.", where=str(folder / FILE), remedy="Fit it again.")
            content[part]["files"] = str(folder / part)
    if (looked := content.get("lookup")) and "://" not in looked["index"]:
        looked["index"] = os.path.normpath(folder / looked["index"])  # one of an older rung is absolute, and stays so
    demos = content.pop("demos")
    return Predictor(
        **{
            **content,
            "model": ModelRef(**content["model"]),
            "labels": tuple(content["labels"]),
            "descriptions": tuple(content["descriptions"]),
            "taught": tuple(map(rows.example, content.get("taught", ()))),
            "decoding": Decoding(**content["decoding"]),
            "lookup": _lookup(content.get("lookup")),
            "thinking": Thinking(**thought) if (thought := content.get("thinking")) else None,
            "calibration": Calibration(tuple(bent["bias"]), bent["of"]) if (bent := content.get("calibration")) else None,
            "demos": Demos(
                **{**demos, "fixed": tuple(map(rows.example, demos["fixed"])), "pool": tuple(map(rows.example, demos["pool"]))}
            ),
        }
    )


def folder_digest(folder: Path) -> str:
    """Content name of a folder's files."""
    return digest([[str(Path(name)), content] for name, content in files.contents(folder).items()])


def _answer(row: Example, whole: str) -> Message:
    """A row's answer as a turn: as calls of tools where it is these."""
    called = calls.parse_output(row.output)
    return (
        Message("assistant", "", calls.extra_fields({calls.KEY: calls.as_message(called)}))
        if called
        else Message("assistant", whole)
    )


def _lookup(content: dict | None) -> Lookup | None:
    if content is None:
        return None
    return Lookup(**{**content, "settings": Settings(**{**(how := content["settings"]), "legs": tuple(how["legs"])})})
