"""The task's judge: made from rung.yaml, asked nothing twice, held to the rows that people marked, and used as the metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rung.data import marked
from rung.errors import BudgetError, ModelError, RungError, TaskError
from rung.lm.base import ModelRef, Prompt
from rung.lm.data_policy import named, require_data_policy
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.lm.inference.judge_model import ROOM, asking
from rung.metrics import JUDGE, Metric
from rung.metrics.judge import Agreement, Ask, Judge, JudgeReply, Pairwise, Rubric, scored, trust
from rung.store import Store
from rung.task import Task
from rung.types import Example, Message, Unscored, digest

CHUNK = 64
"""Questions asked between two times that marks are kept."""
SAMPLE = 100
"""Rows whose tokens are counted for a quote."""


def judge_of(task: Task, engines: Engines, store: Store) -> Judge | None:
    """The judge that the task names; None where it names none. TaskError where the data may not be sent to its model."""
    given = task.judge
    if given is None:
        return None
    ref, criterion = reference(task, engines), _criterion(task)
    ask = _once(engines, ref, store)
    if given.form == "pairwise":
        return Pairwise(ask, ref.digest, criterion, task.task)
    return Rubric(ask, ref.digest, criterion, task.task, given.points)


def reference(task: Task, engines: Engines) -> ModelRef:
    """The judge's model. Faults name judge.model."""
    assert task.judge, "the task has no judge"
    name, where = task.place(task.judge.model), "rung.yaml judge.model"
    with named(where):
        found = engines.reference(name)
        engines.price(found)
    require_data_policy(task, name, "the judge is", where)
    return found


def people(task: Task, judge: Judge) -> tuple[marked.Marked, ...]:
    """The rows that people marked, as this judge takes them."""
    assert task.judge, "the task has no judge"
    return marked.load(task.folder, task.judge.marked, judge)


def agreement(task: Task, judge: Judge) -> Agreement:
    """The judge held to people's marks; not trusted where there are none."""
    assert task.judge, "the task has no judge"
    return trust(judge, people(task, judge), task.judge.least_agreement)


def metric(judge: Judge, agreed: Callable[[], Agreement | None]) -> Metric:
    """The judge as the task's metric. It scores rows together; as a reward it marks answers one by one.

    A reward decides what is learnt, so a judge that is not trusted gives none, and where it gives no mark the fit stops:
    no reward is made up. `agreed` measures its agreement with people.
    """

    def reward(output: str, reference: str, example: Example) -> float:
        if (held := agreed()) and held.doubt:
            raise RungError(
                f"the reward is the judge's, and {held.doubt}.",
                where="rung.yaml judge",
                remedy="Have people mark more rows under judge.marked, take a stronger judge, or name another reward.",
            )
        [value] = scored(judge, [output], [example])
        if isinstance(value, Unscored):
            raise ModelError(f"no reward: {value.why}.", where="rung.yaml judge", remedy="Climb again: the marks are kept.")
        return value

    def many(outputs: Sequence[str], examples: Sequence[Example]) -> list[float | Unscored]:
        return scored(judge, outputs, examples)

    return Metric(JUDGE, ("answer", "generate", "extract"), reward, many=many)


@dataclass(frozen=True, slots=True)
class JudgeEstimate:
    """What a judge will be asked of some rows."""

    calls: int
    tokens: int
    seconds: float
    usd: float


@dataclass(frozen=True, slots=True)
class JudgeEstimates:
    """What the judge of a task will be asked."""

    a_rung: JudgeEstimate
    """For each rung that is measured, on all dev rows."""
    people: JudgeEstimate
    """Once, of the rows that people marked."""
    rewards: tuple[str, ...]
    """Rungs whose fits ask it as well; how often is not counted."""


def estimate(task: Task, judge: Judge, rows: Sequence[Any], engines: Engines, call_seconds: float) -> JudgeEstimate:
    """Calls and tokens counted on the rows' own texts, as far as `SAMPLE` of them go; time and dollars from these.

    `call_seconds`: assumed of one call to an endpoint, so many at once as the task allows.
    """
    ref = reference(task, engines)
    asked = [[Prompt(chat, chat[-1].content) for chat in judge.chats(row)] for row in rows]
    sample = [prompt for prompts in asked[:SAMPLE] for prompt in prompts]
    calls = sum(map(len, asked))
    each = round(sum(engines.tokens(ref, prompt, "")[0] for prompt in sample) / max(1, len(sample)))
    seconds = engines.machine.prefill_seconds(engines.parameters(ref.name), calls * (each + ROOM))
    if not can(ref).local:
        seconds = calls * call_seconds / task.api.concurrency
    tariff = engines.price(ref)
    usd = tariff.usd(calls * each, calls * ROOM) if tariff else engines.machine.usd(seconds)
    return JudgeEstimate(calls, calls * (each + ROOM), seconds, usd)


def _criterion(task: Task) -> str:
    assert task.judge, "the task has no judge"
    if not task.judge.rubric_file:
        return task.judge.rubric
    path, where = task.folder / task.judge.rubric_file, "rung.yaml judge.rubric_file"
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"the rubric cannot be read: {error}.", where=where, remedy="Name a text file in UTF-8.") from None
    if not text:
        raise TaskError(f"{str(path)!r} is empty.", where=where, remedy="Write what makes an answer good.")
    return text


def _once(engines: Engines, ref: ModelRef, store: Store) -> Ask:
    """Asks the model, and nothing twice: not in this process, and of a model that runs here never again.

    What an endpoint said is kept by its ledger, with its bill, where the task has `api.cache`.
    """
    keeps = can(ref).local
    known: dict[str, str] = store.marks(ref.digest) if keeps else {}

    def ask(chats: Sequence[tuple[Message, ...]], options: Sequence[str]) -> list[JudgeReply]:
        names = [digest([[[m.role, m.content] for m in chat], list(options)]) for chat in chats]
        missing = [(name, chat) for name, chat in dict(zip(names, chats)).items() if name not in known]
        failed: dict[str, JudgeReply] = {}
        for start in range(0, len(missing), CHUNK):
            if time.monotonic() > engines.until:
                raise BudgetError(
                    f"judging stopped at question {start} of {len(missing)}: the time budget is used up.",
                    remedy="Raise budget.minutes in rung.yaml; the marks so far are kept.",
                )
            part = missing[start : start + CHUNK]
            said = asking(engines.open(ref))([chat for _, chat in part], options)
            found = {name: one for (name, _), one in zip(part, said, strict=True)}
            given = {name: one.mark for name, one in found.items() if one.mark in options}
            if keeps and given:
                store.keep_marks(ref.digest, given)
            known.update(given)
            failed |= {name: one for name, one in found.items() if name not in given}
        return [failed.get(name) or JudgeReply(known[name]) for name in names]

    return ask
