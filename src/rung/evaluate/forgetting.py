"""Forgetting: general ability before and after training, on the same passages and questions."""

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

PACKAGE_PROBE = Path(__file__).with_name("probe")
"""The bundled probe: passages and questions written for this project."""
REPLAY_SHARE = 0.9
"""Share of a team's general documents that training may replay; the rest is reserved for the probe."""
MAX_PASSAGES, MAX_QUESTIONS, MIN_ITEMS = 100, 200, 30
"""Most passages and questions taken from a team's own; below MIN_ITEMS the bundled ones are added."""
PASSAGE_CHARS = 600
"""Maximum length of a team's passage."""
CHARS_PER_TOKEN = 4
"""Approximate, for English."""
MEASURE_VERSION = 1  # raise when the measurement changes


@dataclass(frozen=True, slots=True)
class Question:
    question: str
    choices: tuple[str, ...]
    answer: int
    """Index of the right choice."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Passages and questions that measure general ability."""

    passages: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def digest(self) -> str:
        return digest([self.passages, [astuple(question) for question in self.questions]])


@dataclass(frozen=True, slots=True)
class Ability:
    """One model's results on a probe."""

    nats: tuple[float, ...]
    """Summed cross-entropy of each passage after its first word."""
    tokens: tuple[int, ...]
    bytes: tuple[int, ...]
    right: tuple[bool, ...]
    """Per question, whether the right choice was the most likely."""


class Reads(Protocol):
    """An engine that tells how likely bare text is."""

    def read(self, texts: Sequence[str], before: Sequence[str]) -> list[tuple[float, int]]: ...


# --- the probe --------------------------------------------------------------------------------------------------------


def replay_text(folder: Path, given: Iterable[str], keep: Callable[[Path], bool] = lambda path: True) -> Texts:
    """General text of the task that training may replay, without questions and without the probe's share.

    A hash of the content decides which documents the probe gets, so adding text moves none. `keep`: whether a file may be
    trained on.
    """
    found, _ = _parts(folder, given, keep)
    return replace(found, digest=digest([found.digest, REPLAY_SHARE]), share=REPLAY_SHARE) if found.files else found


def probe(folder: Path, given: Iterable[str]) -> Probe:
    """The bundled probe, or the team's from `data.general`: raw text and question rows.

    A question row has `question`, `choices` (a list) and `answer` (index from 0, or text). One passage is taken per document,
    cut to PASSAGE_CHARS; surplus ones are dropped by hash. DataError for an unusable question.
    """
    found, asking = _parts(folder, given)
    own = {_passage(text): place for text in corpus.documents(found) if (place := corpus.place(text)) >= REPLAY_SHARE}
    passages = sorted(own, key=lambda passage: -own[passage])[:MAX_PASSAGES]
    asked = {question: None for path in asking for question in _questions(path)}
    questions = sorted(asked, key=lambda one: corpus.place(one.question))[:MAX_QUESTIONS]
    if len(passages) < MIN_ITEMS:
        passages += corpus.documents(corpus.find_texts(PACKAGE_PROBE, ["passages.jsonl"]))
    if len(questions) < MIN_ITEMS:
        questions += _questions(PACKAGE_PROBE / "questions.jsonl")
    return Probe(tuple(passages), tuple(questions))


def _parts(folder: Path, given: Iterable[str], keep: Callable[[Path], bool] = lambda path: True) -> tuple[Texts, list[Path]]:
    """The raw text among the named files, and the question tables."""
    found = corpus.find_texts(folder, given, keep)
    asking = [name for name in found.files if _asks(Path(name))]
    if asking:
        found = corpus.find_texts(folder, [name for name in found.files if name not in asking])
    return found, [Path(name) for name in asking]


def _asks(path: Path) -> bool:
    """Whether a table holds questions rather than documents, by its first row."""
    return path.suffix.lower() in corpus.TABLES and "choices" in next(iter(read_rows(path, str(path))), ({}, ""))[0]


def _passage(text: str) -> str:
    """The beginning of a document, cut at a word boundary."""
    text = text.strip()
    if len(text) <= PASSAGE_CHARS:
        return text
    return text[:PASSAGE_CHARS].rsplit(maxsplit=1)[0]


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
        raise DataError(f"the answer {quoted(answer)} is not one of the {len(choices)} choices.", where=where, remedy=remedy)
    return Question(asked.strip(), tuple(one.strip() for one in choices), answer)


# --- measuring --------------------------------------------------------------------------------------------------------


def measure(engine: Reads, on: Probe) -> Ability:
    """Cross-entropy of each passage, and right/wrong on each question.

    A passage is scored after its first word, so that every tokenizer predicts the same bytes. The answer to a question is the
    choice with the highest log-probability per byte, because longer choices are less likely just for being longer
    (`acc_norm` of https://github.com/EleutherAI/lm-evaluation-harness).
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
    """Estimated seconds to measure one model; tokens are estimated from characters."""
    asked = sum(len(question.question) + sum(map(len, question.choices)) for question in on.questions)
    letters = sum(map(len, on.passages)) + asked
    return machine.prefill_seconds(parameters, letters // CHARS_PER_TOKEN)


def measure_forgetting(model: ModelRef, untouched: ModelRef, on: Probe, store: Store, engines: Engines) -> Forgetting | None:
    """Loss of general ability from fitting `model`; None if no language model weights changed."""
    if not (can(model).reads_text and model.files and can(untouched).reads_text):
        return None
    after = _ability(model, on, store, engines)
    return compare(_ability(untouched, on, store, engines), after)


def _ability(model: ModelRef, on: Probe, store: Store, engines: Engines) -> Ability:
    """Measured once per model and probe, and stored. The key includes the machine, because a GPU rounds differently."""
    machine = engines.machine
    precision = [model.precision] if model.precision else []
    name = digest([model.digest, model.files_digest, on.digest, machine.device, machine.dtype, MEASURE_VERSION, *precision])
    with store.lease(f"ability/{name}", engines.until):
        kept = store.read(f"ability/{name}.json")
        if kept:
            return Ability(**{key: tuple(values) for key, values in kept.items()})
        found = measure(cast(Reads, engines.open(engines.reader(model))), on)
        with store.under_lease(f"ability/{name}"):
            store.write(f"ability/{name}.json", asdict(found))
    return found


# --- comparing --------------------------------------------------------------------------------------------------------


def compare(before: Ability, after: Ability) -> Forgetting:
    """Rise of the loss and change in correct answers, paired, with 95% intervals.

    The loss is weighted by tokens, in nats per token if both models tokenize each passage into equally many tokens, else in
    bits per byte. Its interval is a bootstrap over passages; that of the answers is Tango's for paired proportions.
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
    """The rise in nats per token of the base model, with one-sided bounds that each err with probability `error`."""
    return resample.bootstrap_interval(np.stack([found.rises, found.tokens], axis=1), confidence=1 - 2 * error)
