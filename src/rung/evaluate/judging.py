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
from rung.lm.inference.judge_model import REPLY_TOKENS, judge_with
from rung.metrics import JUDGE, Metric
from rung.metrics.agreement import Agreement, agreement_with_people
from rung.metrics.judge import Ask, Judge, JudgeReply, Pairwise, Rubric, score_answers
from rung.store import Store
from rung.task import Task
from rung.types import Example, Message, Unscored, digest

CHUNK = 64
"""Questions per chunk; marks are stored after each."""
SAMPLE_ROWS = 100
"""Rows whose tokens are counted for a cost estimate."""


def build_judge(task: Task, engines: Engines, store: Store) -> Judge | None:
    """The task's LLM judge, or None. TaskError if the data policy forbids sending data to its model."""
    given = task.judge
    if given is None:
        return None
    ref, criterion = reference(task, engines), _criterion(task)
    ask = _cached_ask(engines, ref, store)
    if given.form == "pairwise":
        return Pairwise(ask, ref.digest, criterion, task.task)
    return Rubric(ask, ref.digest, criterion, task.task, given.points)


def reference(task: Task, engines: Engines) -> ModelRef:
    """The judge's model. Errors name judge.model."""
    assert task.judge, "the task has no judge"
    name, where = task.place(task.judge.model), "rung.yaml judge.model"
    with named(where):
        found = engines.reference(name)
        engines.price(found)
    require_data_policy(task, name, "the judge is", where)
    return found


def human_marks(task: Task, judge: Judge) -> tuple[marked.Marked, ...]:
    """Rows marked by people, in this judge's form."""
    assert task.judge, "the task has no judge"
    return marked.load(task.folder, task.judge.marked, judge)


def measure_agreement(task: Task, judge: Judge) -> Agreement:
    """The judge's agreement with people's marks; not trusted without any."""
    assert task.judge, "the task has no judge"
    return agreement_with_people(judge, human_marks(task, judge), task.judge.least_agreement)


def judge_metric(judge: Judge, agreed: Callable[[], Agreement | None]) -> Metric:
    """The judge as the task's metric: scores rows in batches; as a reward, one answer at a time.

    Rewards decide what is learnt, so an untrusted judge gives none, and a missing mark stops the fit. `agreed` returns the
    agreement with people.
    """

    def reward(output: str, reference: str, example: Example) -> float:
        if (agreement := agreed()) and agreement.doubt:
            raise RungError(
                f"the reward comes from the judge, but {agreement.doubt}.",
                where="rung.yaml judge",
                remedy="Add human marks under judge.marked, use a stronger judge, or name another reward.",
            )
        [value] = score_answers(judge, [output], [example])
        if isinstance(value, Unscored):
            raise ModelError(f"no reward: {value.why}.", where="rung.yaml judge", remedy="Climb again: stored marks are reused.")
        return value

    def many(outputs: Sequence[str], examples: Sequence[Example]) -> list[float | Unscored]:
        return score_answers(judge, outputs, examples)

    return Metric(JUDGE, ("answer", "generate", "extract"), reward, score_many=many)


@dataclass(frozen=True, slots=True)
class JudgeEstimate:
    """Estimated use of the judge on some rows."""

    calls: int
    tokens: int
    seconds: float
    usd: float


@dataclass(frozen=True, slots=True)
class JudgeEstimates:
    """Estimated use of a task's judge."""

    a_rung: JudgeEstimate
    """Per measured rung, on all dev rows."""
    people: JudgeEstimate
    """Once, on the rows marked by people."""
    rewards: tuple[str, ...]
    """Rungs whose fits also call the judge; not counted."""


def estimate(task: Task, judge: Judge, rows: Sequence[Any], engines: Engines, call_seconds: float) -> JudgeEstimate:
    """Calls and tokens counted on the rows' own texts, as far as `SAMPLE` of them go; time and dollars from these.

    `call_seconds`: assumed duration of an API call; calls run concurrently as the task allows.
    """
    ref = reference(task, engines)
    asked = [[Prompt(chat, chat[-1].content) for chat in judge.chats(row)] for row in rows]
    sample = [prompt for prompts in asked[:SAMPLE_ROWS] for prompt in prompts]
    calls = sum(map(len, asked))
    each = round(sum(engines.tokens(ref, prompt, "")[0] for prompt in sample) / max(1, len(sample)))
    seconds = engines.machine.prefill_seconds(engines.parameters(ref.name), calls * (each + REPLY_TOKENS))
    if not can(ref).local:
        seconds = calls * call_seconds / task.api.concurrency
    tariff = engines.price(ref)
    usd = tariff.usd(calls * each, calls * REPLY_TOKENS) if tariff else engines.machine.usd(seconds)
    return JudgeEstimate(calls, calls * (each + REPLY_TOKENS), seconds, usd)


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


def _cached_ask(engines: Engines, ref: ModelRef, store: Store) -> Ask:
    """Asks the model, reusing earlier replies: of this process, and stored ones of a local model.

    Replies of an API are stored by its ledger if the task has `api.cache`.
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
                    remedy="Raise budget.minutes in rung.yaml; marks so far are stored.",
                )
            part = missing[start : start + CHUNK]
            said = judge_with(engines.open(ref))([chat for _, chat in part], options)
            found = {name: one for (name, _), one in zip(part, said, strict=True)}
            given = {name: one.mark for name, one in found.items() if one.mark in options}
            if keeps and given:
                store.keep_marks(ref.digest, given)
            known.update(given)
            failed |= {name: one for name, one in found.items() if name not in given}
        return [failed.get(name) or JudgeReply(known[name]) for name in names]

    return ask
