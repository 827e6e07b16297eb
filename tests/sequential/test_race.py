"""Racing: shared rows, who is dropped and how often wrongly, and a raced climb from end to end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elsewhere import unseen
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from watcher import Watcher

from rung import store
from rung.climbing.climb import Climb, climb
from rung.climbing.project import Project
from rung.errors import TaskError
from rung.lm.inference.fake import FakeEngine
from rung.sequential.interim import schedule_analyses
from rung.sequential.race import Outcome, clusters_of, in_order, race
from rung.task import load_task
from rung.types import Example

# --- candidates against each other ------------------------------------------------------------------------------------


def raced(values: np.ndarray, alpha: float = 0.05, binary: bool = True) -> tuple[Outcome, list[list[int]]]:
    """A race of candidates whose values are known, and the rows that each was asked."""
    asked: list[list[int]] = [[] for _ in values]

    def candidate(i: int) -> Callable[[Sequence[int]], list[float]]:
        def answer(rows: Sequence[int]) -> list[float]:
            asked[i].extend(rows)
            return [float(values[i][row]) for row in rows]

        return answer

    n = values.shape[1]
    return race([candidate(i) for i in range(len(values))], range(n), schedule_analyses(n), alpha=alpha, binary=binary), asked


def alike(rng: np.random.Generator, means: Sequence[float], n: int) -> np.ndarray:
    """Right/wrong rows of candidates whose answers are correlated through the rows' difficulty."""
    from scipy.special import ndtri

    common, own = rng.standard_normal(n), rng.standard_normal((len(means), n))
    return ((common + own) / 2**0.5 < ndtri(np.asarray(means))[:, None]).astype(float)


def test_the_hopeless_are_dropped_at_the_first_look_and_the_rest_go_on() -> None:
    values = np.stack([np.ones(160), np.zeros(160), np.r_[np.ones(157), np.zeros(3)]])
    found, asked = raced(values)
    assert found.winner == 0 and found.left == (0, 2)
    assert [(d.candidate, d.look) for d in found.dropped] == [(1, 0)]
    assert found.rows_asked == (160, 20, 160)
    assert asked[1] == list(range(20)) and asked[0] == list(range(160))


def test_a_clear_winner_stops_the_race() -> None:
    found, _ = raced(np.stack([np.zeros(160), np.ones(160)]))
    assert found.winner == 1 and found.rows_asked == (20, 20)
    assert found.dropped[0].reason == "0.000 against 1.000 of candidate 1 on the same 20 rows"
    assert found.values == ((0.0,) * 20, (1.0,) * 20)


def test_candidates_that_answer_alike_stay_and_the_first_wins() -> None:
    found, _ = raced(np.tile([1.0, 0.0], (3, 40)))
    assert (found.winner, found.left, found.dropped) == (0, (0, 1, 2), ())


def test_the_truly_best_is_seldom_dropped() -> None:
    rng, races, lost, won, asked = np.random.default_rng(2), 2000, 0, 0, 0
    for _ in range(races):
        found, _ = raced(alike(rng, (0.8, 0.8, 0.7, 0.5), 120), alpha=0.1)  # two are best: either may be dropped wrongly
        lost += 0 not in found.left
        won += found.winner in (0, 1)
        asked += sum(found.rows_asked)
    assert lost / races <= 0.1
    assert won / races > 0.97
    assert asked < 0.85 * races * 4 * 120


def test_the_truly_best_of_graded_candidates_is_seldom_dropped() -> None:
    rng, races, lost, asked = np.random.default_rng(3), 60, 0, 0
    for _ in range(races):
        common = rng.random(160)
        values = np.clip(common + rng.normal(0, 0.15, (4, 160)) - np.array([0, 0, 0.05, 0.4])[:, None], 0, 1)
        found, _ = raced(values, binary=False)
        lost += 0 not in found.left
        asked += found.rows_asked[3]
    assert lost <= 7  # of 60 at 0.05: 8 or more in fewer than one trial of a hundred
    assert asked < races * 60


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(4)))
def test_the_order_of_candidates_changes_nothing_and_no_row_beyond_the_stop_is_asked(seed: int, order: list[int]) -> None:
    values = alike(np.random.default_rng(seed), (0.9, 0.7, 0.5, 0.2), 128)
    for size in schedule_analyses(128).sizes:
        assume(len(set(values[:, :size].mean(axis=1))) == 4)
    found, asked = raced(values)
    moved, _ = raced(values[order])
    assert order[moved.winner] == found.winner
    assert {(order[d.candidate], d.look) for d in moved.dropped} == {(d.candidate, d.look) for d in found.dropped}
    assert [len(rows) for rows in asked] == list(found.rows_asked)
    beyond = values.copy()
    for i, rows in enumerate(asked):
        assert rows == list(range(len(rows)))
        beyond[i, len(rows) :] = 1 - beyond[i, len(rows) :]
    assert raced(beyond)[0] == found


def test_rows_of_a_group_come_together_and_the_order_is_fixed() -> None:
    rows = [Example(f"question {i}", "a", group=f"g{i % 7}" if i % 3 else "") for i in range(60)]
    found = in_order(rows, seed=1)
    assert in_order(rows[::-1], seed=1) == found and in_order(rows, seed=2) != found
    assert [row for row in found if row in rows[:40]] == in_order(rows[:40], seed=1), "more rows move none of the old"
    clusters = clusters_of(found)
    assert clusters is not None
    assert sum(a != b for a, b in pairwise(clusters)) + 1 == len(set(clusters))


# --- a raced climb ----------------------------------------------------------------------------------------------------

LABELS = ("refund", "delay", "other")


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """400 dev rows; the fake model gets them all right, the majority a third of them."""
    place = tmp_path / "task"
    place.mkdir()
    for name, start, count in (("train", 0, 30), ("dev", 1000, 400), ("test", 2000, 40)):
        rows = [{"input": f"{LABELS[i % 3]} number {i}", "output": LABELS[i % 3]} for i in range(start, start + count)]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    set_task(place)
    return place


def set_task(place: Path, goal: float = 0.8, metric: str = "accuracy", race: bool = True) -> None:
    task = {
        "task": "What is it about?",
        "kind": "classify",
        "labels": list(LABELS),
        "data": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        "base": "fake",
        "encoder": "fake",
        "goal": {"at_least": goal, "metric": metric},
        "rungs": ["majority", "zero-shot"],
        "race": race,
    }
    (place / "rung.yaml").write_text(json.dumps(task))


def go(place: Path, **how: Any) -> Climb:
    return climb(Project(load_task(place)), Watcher(), **how)


def test_a_raced_climb_asks_few_rows_says_how_many_and_decides_the_same(folder: Path, asked: list[str]) -> None:
    found = go(folder)
    majority, zero_shot = found.records
    assert (found.decision.verdict, found.decision.chosen) == ("meets", "zero-shot")
    assert [v.verdict for v in found.decision.rungs] == ["fails", "meets"]
    assert [r.provenance.race.asked for r in (majority, zero_shot)] == [25, 50]
    assert zero_shot.scores and zero_shot.scores.overall.n == len(zero_shot.scores.ids) == 50
    assert found.decision.comparisons[0].difference.n == 25, "compared on the rows that both answered"
    dev = [text for text in set(asked) if 1000 <= int(text.split()[-1]) < 2000]
    assert len(dev) == 400, "the rung that is proved answers the rest as well"
    assert found.decision.claim and (found.decision.claim.dev, found.decision.claim.sealed) == (400, len(found.opened.test.ids))
    set_task(folder, race=False)
    whole = go(folder)
    assert (whole.decision.verdict, whole.decision.chosen) == ("meets", "zero-shot")
    assert whole.records[1].scores and whole.records[1].scores.overall.n == 400 and whole.records[1].provenance.race is None


def test_the_interval_of_a_stopped_rung_holds_however_it_was_stopped(folder: Path) -> None:
    stopped = go(folder).records[1].scores
    assert stopped and stopped.others == {}
    spend = schedule_analyses(400).spend[1]
    assert stopped.overall.low == pytest.approx((0.025 * spend) ** (1 / 50))


def test_a_raced_climb_again_asks_nothing_and_a_changed_goal_goes_on_where_it_was(folder: Path, asked: list[str]) -> None:
    first = go(folder)
    asked.clear()
    again = go(folder)
    assert again.decision == first.decision and asked == []
    set_task(folder, goal=0.93)
    found = go(folder)
    assert found.records[1].provenance.race.asked == 100
    rows = in_order(Project(load_task(folder)).inputs.splits.dev, 0)
    latency = {row.input for row in Project(load_task(folder)).inputs.splits.dev[:22]}
    assert set(asked) <= {row.input for row in rows[50:100]} | latency


def test_a_workers_answers_that_this_machine_does_not_see_are_not_asked_again_unasked(folder: Path) -> None:
    found = go(folder, on=lambda setting: unseen(setting, "predictions"))
    assert "zero-shot answered 50 dev rows on there, and this machine does not see all of the answers" in found.opened.untested
    assert str(folder / ".rung" / "predictions") in found.opened.untested and not found.opened.test
    assert not list((folder / ".rung").glob("predictions/*")), "nothing was asked here"
    set_task(folder, race=False)
    assert go(folder).opened.test, "the way out that it names"


def test_everything_asks_all_rows_also_where_the_task_races(folder: Path) -> None:
    found = go(folder, everything=True)
    assert [r.scores and r.scores.overall.n for r in found.records] == [400, 400]


def test_a_rung_given_up_is_undecided_and_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeEngine, "choose", _right_on(FakeEngine.choose, 0.75))
    found = go(folder)
    record, verdict = found.records[1], found.decision.rungs[1]
    assert verdict.verdict == "undecided" and verdict.more_rows == 0
    asked = record.provenance.race.asked
    assert asked < 400
    assert f"given up after {asked} of 400 rows: all of them would hardly show that it reaches 0.80" in verdict.why
    assert store.decision(json.loads((folder / ".rung" / "decision.json").read_text())["decision"]) == found.decision


def _right_on(plain: Any, share: float) -> Any:
    def choose(self: FakeEngine, prompts: Any, labels: Any, progress: Any = None) -> Any:
        from dataclasses import replace

        return [
            replace(c, label=c.label if int(p.input.split()[-1]) % 20 < share * 20 else "none")
            for p, c in zip(prompts, plain(self, prompts, labels, progress), strict=True)
        ]

    return choose


def test_a_score_that_is_no_mean_cannot_be_raced(folder: Path) -> None:
    set_task(folder, metric="macro_f1")
    with pytest.raises(TaskError, match="macro_f1 is not"):
        go(folder)
