"""Candidates of a prompt search: wordings of the instruction, and demonstrations in several numbers, choices and orders."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rung.lm.base import Decoding, Engine, Prompt
from rung.methods.base import Run
from rung.methods.few_shot import balanced, within
from rung.predictor import Predictor
from rung.types import Example, Message

WORDINGS: tuple[tuple[str, str], ...] = (
    ("answer only", "{task}\nWrite the answer only, with nothing before or after it."),
    ("as an expert", "You are an expert in this field, and your answers are exact. {task}"),
    ("read first", "Read the whole input before you decide. {task} If two answers seem possible, take the more specific one."),
    ("under a heading", "# Task\n{task}\n\n# Rules\n- Follow the task exactly.\n- Keep to the form that it asks for."),
    ("like the examples", "{task}\nAnswer in the form that right answers to this task have."),
)
"""Rewordings of the task's own instruction, each with its name."""

ASKED = (
    "Here are inputs of a task, each with its right output.\n\n{pairs}\n\n"
    "The task is now described like this: {task}\n\n"
    "Write a better instruction for it, in one to three sentences, that leads someone who sees only an input to the right "
    "output. Write the instruction and nothing else."
)
SHOWN, LONGEST = 6, 800
"""Examples in the proposer's prompt; most characters of a proposal, and of an input or output shown to the proposer."""
MAX_NEW_TOKENS = 200
"""Of a proposal."""


@dataclass(frozen=True)
class Tried:
    """A Predictor to race, and a description of what it tries."""

    what: str
    predictor: Predictor
    varies: frozenset[str] = frozenset({"wording"})
    """What differs within its group: the wording, or the order of the same demonstrations."""


def by_hand(start: Predictor) -> list[Tried]:
    """The start in each wording of the table."""
    return [Tried(f"worded {name!r}", replace(start, instruction=form.format(task=start.instruction))) for name, form in WORDINGS]


def by_model(start: Predictor, pool: Sequence[Example], engine: Engine, count: int, seed: int) -> list[Tried]:
    """Instructions that a model writes from examples, other ones each time. Empty and overlong ones are dropped."""
    asked = []
    for draw in range(count):
        rows = random.Random(f"{seed} {draw}").sample(list(pool), min(SHOWN, len(pool)))
        pairs = "\n\n".join(f"Input: {row.input[:LONGEST]}\nOutput: {row.output[:LONGEST]}" for row in rows)
        text = ASKED.format(pairs=pairs, task=start.instruction)
        asked.append(Prompt((Message("user", text),), text, draw=draw))
    fitting = [prompt for prompt in asked if engine.count(prompt) + MAX_NEW_TOKENS <= engine.context]
    found = engine.generate(fitting, Decoding(max_new_tokens=MAX_NEW_TOKENS, temperature=0.8, seed=seed)) if fitting else []
    texts = [one.text.strip() for one in found if one.finished and not one.error]
    return [
        Tried(f"instruction {text!r}", replace(start, instruction=text))
        for text in dict.fromkeys(texts)
        if 0 < len(text) <= LONGEST
    ]


def shown(start: Predictor, pool: Sequence[Example], shots: int, run: Run) -> list[Tried]:
    """The start with demonstrations: all, half of them, another choice, and the first choice in three orders."""
    first, other = (within(balanced(pool, shots, run.seed + k), start, run) for k in range(2))
    half = first[: len(first) // 2]
    out = [_with(start, first, f"{len(first)} examples", "order")]
    out += [_with(start, half, f"{len(half)} examples")]
    for k in (1, 2):
        order = random.Random(f"{run.seed} {k}").sample(first, len(first))
        out.append(_with(start, order, f"{len(first)} examples, order {k + 1}", "order"))
    out.append(_with(start, other, f"{len(other)} other examples"))
    return [one for one in out if one.predictor.demos.fixed]


def joined(start: Predictor, *leaders: Tried) -> Tried | None:
    """The best wording with the best demonstrations; None unless there are both."""
    if len(leaders) < 2:
        return None
    words, demos = leaders
    both = replace(demos.predictor, instruction=words.predictor.instruction)
    return Tried(f"{words.what} with {demos.what}", both)


def _with(start: Predictor, rows: Sequence[Example], what: str, *varies: str) -> Tried:
    return Tried(what, replace(start, demos=replace(start.demos, fixed=tuple(rows))), frozenset(varies))
