"""Forgetting: a model's general ability before and after its weights were touched, on the same passages and questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from rung.data import corpus
from rung.data.files import quoted, read_rows
from rung.errors import DataError
from rung.lm.base import ModelRef
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.metrics import resample, stats
from rung.store import Store
from rung.types import Forgetting, Interval, Texts, digest

OWN = Path(__file__).with_name("probe")
"""The package's probe: passages and questions written for this project."""
REPLAYED = 0.9
"""Share of a team's general documents that may be replayed in training; the rest is the probe's and is never trained on."""
MOST_PASSAGES, MOST_QUESTIONS, FEWEST = 100, 200, 30
"""Most that are taken of a team's own, for a short measurement; where they are fewer than FEWEST, the package's join them."""
LETTERS = 600
"""Characters that a team's own passage is cut to at most."""
LETTERS_A_TOKEN = 4
"""About, of English text."""
MEASURE_VERSION = 1  # raise when the same model and probe would now be measured otherwise


@dataclass(frozen=True, slots=True)
class Question:
    question: str
    choices: tuple[str, ...]
    answer: int
    """Place of the right choice."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What general ability is measured on."""

    passages: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def digest(self) -> str:
        return digest([self.passages, [astuple(question) for question in self.questions]])


@dataclass(frozen=True, slots=True)
class Ability:
    """What one model shows on a probe."""

    nats: tuple[float, ...]
    """Of each passage: its cross-entropy behind its first word, summed over its tokens."""
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    right: tuple[bool, ...]
    """Of each question: whether the right choice was the likeliest."""


class Reads(Protocol):
    """An engine that tells how likely bare text is."""

    def read(self, texts: Sequence[str], before: Sequence[str]) -> list[tuple[float, int]]: ...


# --- the probe --------------------------------------------------------------------------------------------------------


def general(folder: Path, given: Iterable[str], keep: Callable[[Path], bool] = lambda path: True) -> Texts:
    """The general text that training may replay: the task's own, without its questions and without the probe's share.

    Which documents the probe keeps is settled by their content, so that more text moves none from one side to the other.
    `keep`: whether a file may be learnt from.
    """
    found, _ = _parts(folder, given, keep)
    return replace(found, digest=digest([found.digest, REPLAYED]), share=REPLAYED) if found.files else found


def probe(folder: Path, given: Iterable[str]) -> Probe:
    """The package's probe, or the team's own from what `data.general` names: raw text, and rows of questions.

    A row of questions has `question`, `choices` (a list) and `answer` (the place of the right one from 0, or its text).
    One passage is taken of each document, cut to LETTERS; of too many those with the highest places by content.
    DataError where a question cannot be used.
    """
    found, asking = _parts(folder, given)
    own = {_passage(text): place for text in corpus.documents(found) if (place := corpus.place(text)) >= REPLAYED}
    passages = sorted(own, key=lambda passage: -own[passage])[:MOST_PASSAGES]
    asked = {question: None for path in asking for question in _questions(path)}
    questions = sorted(asked, key=lambda one: corpus.place(one.question))[:MOST_QUESTIONS]
    if len(passages) < FEWEST:
        passages += corpus.documents(corpus.texts(OWN, ["passages.jsonl"]))
    if len(questions) < FEWEST:
        questions += _questions(OWN / "questions.jsonl")
    return Probe(tuple(passages), tuple(questions))


def _parts(folder: Path, given: Iterable[str], keep: Callable[[Path], bool] = lambda path: True) -> tuple[Texts, list[Path]]:
    """The raw text of what is named, and the tables of questions."""
    found = corpus.texts(folder, given, keep)
    asking = [name for name in found.files if _asks(Path(name))]
    if asking:
        found = corpus.texts(folder, [name for name in found.files if name not in asking])
    return found, [Path(name) for name in asking]


def _asks(path: Path) -> bool:
    """Whether a table holds questions and not documents, by its first row."""
    return path.suffix.lower() in corpus.TABLES and "choices" in next(iter(read_rows(path, str(path))), ({}, ""))[0]


def _passage(text: str) -> str:
    """The beginning of a document, up to the end of a word."""
    text = text.strip()
    if len(text) <= LETTERS:
        return text
    return text[:LETTERS].rsplit(maxsplit=1)[0]


def _questions(path: Path) -> list[Question]:
    return [_question(row, where) for row, where in read_rows(path, str(path))]


def _question(row: Mapping[str, Any], where: str) -> Question:
    asked, answer = row.get("question"), row.get("answer")
    choices: Any = row.get("choices")
    remedy = "A row needs question (text), choices (a list of different texts) and answer (a choice, or its place from 0)."
    if not isinstance(asked, str) or not asked.strip():
        raise DataError(f"the question is {quoted(asked)}.", where=where, remedy=remedy)
    listed = isinstance(choices, list) and all(isinstance(one, str) and one.strip() for one in choices)
    if not listed or len(set(choices)) < max(2, len(choices)):
        raise DataError(f"the choices are {quoted(choices)}.", where=where, remedy=remedy)
    if answer in choices:
        answer = choices.index(answer)
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        raise DataError(f"the answer {quoted(answer)} is none of the {len(choices)} choices.", where=where, remedy=remedy)
    return Question(asked.strip(), tuple(one.strip() for one in choices), answer)


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(engine: Reads, on: Probe) -> Ability:
    """Cross-entropy of each passage and right or wrong on each question.

    A passage is scored behind its first word, so that every tokenizer foretells the same bytes. A question is answered
    with the choice whose log-probability behind it is highest a byte: divided by its length, for longer choices are
    less likely only because they are longer (`acc_norm` of https://github.com/EleutherAI/lm-evaluation-harness).
    """
    fronts = [passage.split(maxsplit=1)[0][:16] for passage in on.passages]
    rests = [passage[len(front) :] for passage, front in zip(on.passages, fronts)]
    read = engine.read(rests, fronts)
    choices = [f" {choice}" for question in on.questions for choice in question.choices]
    asked = [f"Question: {question.question}\nAnswer:" for question in on.questions for _ in question.choices]
    likely = iter([logs / len(choice.encode()) for (logs, _), choice in zip(engine.read(choices, asked), choices)])
    picked = [int(np.argmax([next(likely) for _ in question.choices])) for question in on.questions]
    return Ability(
        nats=tuple(-logs for logs, _ in read),
        tokens=tuple(tokens for _, tokens in read),
        bytes=tuple(len(rest.encode()) for rest in rests),
        right=tuple(pick == question.answer for pick, question in zip(picked, on.questions)),
    )


def seconds(on: Probe, parameters: int, machine: Machine) -> float:
    """About how long one model is measured; its tokens are guessed from the probe's letters."""
    asked = sum(len(question.question) + sum(map(len, question.choices)) for question in on.questions)
    letters = sum(map(len, on.passages)) + asked
    return machine.prefill_seconds(parameters, letters // LETTERS_A_TOKEN)


def forgotten(model: ModelRef, untouched: ModelRef, on: Probe, store: Store, engines: Engines) -> Forgetting | None:
    """What fitting `model` cost in general ability; None where no weight of a language model was touched."""
    if not (can(model).reads_text and model.files and can(untouched).reads_text):
        return None
    after = _ability(model, on, store, engines)
    return compare(_ability(untouched, on, store, engines), after)


def _ability(model: ModelRef, on: Probe, store: Store, engines: Engines) -> Ability:
    """Measured once for each model and probe, and kept. The machine is part of the key: a GPU rounds otherwise."""
    machine = engines.machine
    name = digest([model.digest, model.files_digest, on.digest, machine.device, machine.dtype, MEASURE_VERSION])
    kept = store.read(f"ability/{name}.json")
    if kept:
        return Ability(**{key: tuple(values) for key, values in kept.items()})
    found = measure(cast(Reads, engines.open(model)), on)
    store.write(f"ability/{name}.json", asdict(found))
    return found


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(before: Ability, after: Ability) -> Forgetting:
    """The rise of the loss and the change of the share of right answers, paired, with 95% intervals.

    The loss is weighted by tokens and told in nats a token where both models cut every passage into as many tokens, else
    in bits a byte. Its interval comes from drawing passages again, that of the answers is Tango's for paired shares.
    """
    rises = np.subtract(after.nats, before.nats)
    if before.tokens == after.tokens:
        unit, columns = "nats a token", [rises, before.tokens]
    else:
        unit, columns = "bits a byte", [rises / math.log(2), before.bytes]
    lost = sum(a and not b for a, b in zip(before.right, after.right, strict=True))
    won = sum(b and not a for a, b in zip(before.right, after.right, strict=True))
    return Forgetting(
        loss=resample.bootstrap_interval(np.stack(columns, axis=1)),
        accuracy=stats.paired_difference(lost, won, len(before.right)),
        unit=unit,
        rises=tuple(rises.tolist()),
        tokens=before.tokens,
    )


def bounds(found: Forgetting, error: float) -> Interval:
    """The rise in nats a token of the untouched model, between two one-sided bounds that each err with probability `error`."""
    return resample.bootstrap_interval(np.stack([found.rises, found.tokens], axis=1), confidence=1 - 2 * error)
