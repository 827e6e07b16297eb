"""Climbing by a judge: held to people first, asked nothing twice, its failures told, its money counted."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from watcher import Watcher

from rung.cli.plan_json import judged
from rung.cli.screens.plan import judge as told
from rung.climbing.climb import Climb, climb
from rung.climbing.decide import decide
from rung.climbing.preflight import inspect
from rung.climbing.project import Project
from rung.errors import BudgetError, ModelError, RungError, TaskError
from rung.lm.base import Choice
from rung.lm.inference.fake import FakeEngine
from rung.metrics import score
from rung.report.report_data import read_report_data
from rung.report.verdict import requirements
from rung.store import Store
from rung.task import load_task
from rung.types import Prediction, Record, Unscored

sys.path.append(str(Path(__file__).parents[1] / "lm"))
from servers import Server, serving

ROWS = 40


def between(text: str, name: str) -> str:
    return text.partition(f"<{name}>\n")[2].partition(f"\n</{name}>")[0]


def honest(text: str) -> str:
    """The answer that is the question's last word is the better."""
    right = between(text, "question").split()[-1]
    one, two = (between(text, f"answer {n}").strip() == right for n in (1, 2))
    return "tie" if one == two else "1" if one else "2"


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> Any:
    """How the fake model judges, and what it has been asked."""
    state = SimpleNamespace(says=honest, asked=[])
    plainly = FakeEngine.choose

    def choose(self: FakeEngine, prompts: Any, labels: Sequence[str], progress: Any = None) -> list[Choice]:
        if tuple(labels) != ("1", "2", "tie"):
            return plainly(self, prompts, labels, progress)
        state.asked += [prompt.input for prompt in prompts]
        said = [state.says(prompt.input) for prompt in prompts]
        return [Choice(one, 0.0, None, error="" if one else "cut off") for one in said]

    monkeypatch.setattr(FakeEngine, "choose", choose)
    return state


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """Questions whose answer is their last word, which the fake model says; half of the right answers are worse."""
    place = tmp_path / "task"
    place.mkdir()
    for part, start in (("train", 0), ("dev", 100), ("test", 200)):
        rows = [{"input": f"say w{start + i}", "output": "something else"} for i in range(ROWS)]
        (place / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_marked(place)
    set_task(place)
    return place


def write_marked(place: Path, flip: bool = False) -> None:
    with (place / "marked.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["input", "first", "second", "better"])
        for i in range(60):
            pair = [("first", f"w{i}", "no"), ("second", "no", f"w{i}"), ("tie", "no", "nor this")][i % 3]
            mark = {"first": "second", "second": "first"}.get(pair[0], "tie") if flip else pair[0]
            writer.writerow([f"say w{i}", pair[1], pair[2], mark])


def set_task(place: Path, judge: dict[str, Any] | None = None, goal: float = 0.8, **more: Any) -> None:
    task = {
        "task": "Say the last word.",
        "kind": "answer",
        "data": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"},
        "base": "fake",
        "encoder": "fake",
        "goal": {"metric": "judge", "at_least": goal},
        "judge": {"model": "fake", "form": "pairwise", "rubric": "Right is better.", "marked": "marked.csv", **(judge or {})},
        "rungs": ["zero-shot"],
        **more,
    }
    (place / "rung.yaml").write_text(json.dumps(task))


def project(place: Path) -> Project:
    return Project(load_task(place), say=lambda text: None)


def climbed(place: Path) -> Climb:
    return climb(project(place), Watcher())


def scores(found: Climb) -> Any:
    [record] = found.records
    assert record.scores, record.reason
    return record.scores


def test_a_trusted_judge_decides_and_says_how_far_it_agrees(folder: Path, judge: Any) -> None:
    found = climbed(folder)
    assert found.decision.verdict == "meets"
    assert (
        "kappa 1.000" in found.decision.why and "same in both orders 1.000" in found.decision.why and "n=60" in found.decision.why
    )
    assert scores(found).overall.value == 1.0 and set(scores(found).others) == {"exact_match", "token_f1"}
    assert scores(found).others["exact_match"].value == 0.0, "the reference is beaten, not met"
    assert found.opened.test and found.opened.test.metric == "judge" and found.opened.test.overall.n == ROWS
    assert Store(folder).read("decision.json")["judge"]["kappa"]["value"] == 1.0


def test_a_second_climb_asks_the_judge_nothing(folder: Path, judge: Any) -> None:
    first = climbed(folder)
    assert len(judge.asked) == len(set(judge.asked)) == 2 * (60 + 2 * ROWS)
    judge.asked.clear()
    again = climbed(folder)
    assert not judge.asked and again.decision == first.decision
    (folder / ".rung" / "records.jsonl").unlink()
    assert climbed(folder).decision.verdict == "meets" and not judge.asked, "marks are kept by what was asked"


def test_another_rubric_is_another_judge(folder: Path, judge: Any) -> None:
    climbed(folder)
    judge.asked.clear()
    set_task(folder, {"rubric": "Short is better."})
    climbed(folder)
    assert len(judge.asked) == 2 * (60 + 2 * ROWS)
    assert len({record.provenance.key for record in project(folder).store.records()}) == 2


@pytest.mark.parametrize("why", ["no row has a human mark", "the lower bound must reach 0.4"])
def test_a_judge_that_is_not_trusted_scores_and_decides_nothing(folder: Path, judge: Any, why: str) -> None:
    if why.startswith("no row"):
        set_task(folder, {"marked": []})
    else:
        write_marked(folder, flip=True)
    for goal in (0.5, 1.0):
        set_task(folder, {"marked": [] if why.startswith("no row") else "marked.csv"}, goal)
        found = climbed(folder)
        assert found.decision.verdict == "undecided" and why in found.decision.why and found.opened.test is None
        assert scores(found).overall.value == 1.0, "the score is shown all the same"


def test_agreement_is_measured_before_a_row_is_scored(folder: Path, judge: Any) -> None:
    climbed(folder)
    questions = [between(text, "question") for text in judge.asked]
    assert {int(q[5:]) for q in questions[:120]} == set(range(60))


# --- failures ---------------------------------------------------------------------------------------------------------


def test_failures_are_told_score_nothing_and_are_asked_again(folder: Path, judge: Any) -> None:
    broken = [f"say w{100 + i}" for i in range(0, ROWS, 4)]
    judge.says = lambda text: "" if between(text, "question") in broken else honest(text)
    found = climbed(folder)
    [record] = found.records
    assert [row.why for row in scores(found).unscored] == ["the judge: cut off"] * 10
    assert scores(found).overall.value == 0.75 and scores(found).overall.high == 1.0
    assert scores(found).overall.low < 0.7
    assert "10 of 40 rows have no score" in record.reason and record.provenance.again == 10
    assert found.decision.verdict == "undecided" and "10 of 40 rows have no score" in found.decision.why
    judge.asked.clear()
    judge.says = honest
    assert climbed(folder).decision.verdict == "meets"
    assert {between(text, "question") for text in judge.asked if int(between(text, "question")[5:]) < 200} == set(broken)


def test_no_rung_fails_or_is_dropped_for_what_the_judge_did_not_mark(folder: Path, judge: Any) -> None:
    for race in (False, True):
        set_task(folder, goal=0.6, race=race)
        judge.says = lambda text: "" if int(between(text, "question")[5:]) >= 100 else honest(text)
        found = climbed(folder)
        assert scores(found).overall.n == ROWS and found.decision.verdict == "undecided"
        assert (scores(found).overall.low, scores(found).overall.high) == pytest.approx((0.0, 1.0), abs=0.1)


def test_an_answer_that_is_no_mark_is_not_asked_again(folder: Path, judge: Any) -> None:
    judge.says = lambda text: "both" if between(text, "question") == "say w100" else honest(text)
    [record] = climbed(folder).records
    assert record.scores and len(record.scores.unscored) == 1 and record.provenance.again == 0
    assert "'both', which is not a mark" in record.reason


def test_rows_without_an_answer_are_not_judged(folder: Path, judge: Any) -> None:
    at = project(folder)
    rows = at.inputs.splits.dev[:4]
    predictions = [Prediction(row.id, row.input.split()[-1], error="failed" if i else "") for i, row in enumerate(rows)]
    found = score(at.scoring.metric(), rows, predictions, "dev", kind="answer")
    assert found.per_row == (1.0, 0.0, 0.0, 0.0) and len(found.unscored) == 3 and len(judge.asked) == 2


def test_scores_with_gaps_are_read_back(folder: Path, judge: Any) -> None:
    judge.says = lambda text: "" if between(text, "question") == "say w100" else honest(text)
    [record] = climbed(folder).records
    [kept] = Store(folder).records()
    assert kept.scores and record.scores and kept.scores.unscored == record.scores.unscored != ()


def test_the_upper_bound_holds_what_was_not_scored() -> None:
    from rung.types import Cost, Interval, Scores

    ids = tuple(map(str, range(100)))
    goal = SimpleNamespace(
        metric="judge", at_least=0.8, coverage=None, latency_ms=None, usd_per_1k=None, usd_per_month=None, max_forgetting=None
    )
    whole = Scores("judge", "dev", Interval(0.5, 0.4, 0.6, 100), ids, (1.0,) * 50 + (0.0,) * 50)
    holes = replace(whole, unscored=tuple(Unscored(row, "cut off") for row in ids[50:90]))
    record = Record("a", "done", scores=whole, cost=Cost())
    assert decide([record], goal).verdict == "fails"
    assert decide([replace(record, scores=holes)], goal).verdict == "undecided"


# --- rewards ----------------------------------------------------------------------------------------------------------


def test_a_trusted_judge_rewards_and_no_reward_is_made_up(folder: Path, judge: Any) -> None:
    at = project(folder)
    row = at.inputs.splits.train[0]
    assert at.scoring.metric().per_row(row.input.split()[-1], row.output, row) == 1.0
    assert at.scoring.metric().per_row("nothing", row.output, row) == 0.5
    judge.says = lambda text: ""
    with pytest.raises(ModelError, match="no reward: the judge: cut off"):
        at.scoring.metric().per_row("other", row.output, row)


def test_a_judge_that_is_not_trusted_gives_no_reward(folder: Path, judge: Any) -> None:
    write_marked(folder, flip=True)
    at = project(folder)
    row = at.inputs.splits.train[0]
    with pytest.raises(RungError, match=r"the reward comes from the judge, but the judge agrees with people at kappa 0\.0"):
        at.scoring.metric().per_row("a", row.output, row)


# --- behind an API ----------------------------------------------------------------------------------------------------


def spoken(body: dict[str, Any]) -> tuple[str, int, int]:
    return honest(body["messages"][-1]["content"]), 100, 1


def test_calls_of_a_remote_judge_are_booked_kept_and_limited(folder: Path) -> None:
    price = {"m": {"input": 1.0, "output": 1.0}}
    with serving(Server(answer=spoken)) as server:
        set_task(folder, {"model": f"{server.url}#m"}, prices=price)
        found = climbed(folder)
        assert found.decision.verdict == "meets"
        spent = project(folder).engines.spent()
        assert spent and spent.calls == len(server.bodies) == 2 * (60 + 2 * ROWS)
        assert spent.usd == pytest.approx(spent.calls * 101 / 1e6)
        (folder / ".rung" / "records.jsonl").unlink()
        (folder / ".rung" / "test.json").unlink()
        assert climbed(folder).decision == found.decision and len(server.bodies) == spent.calls
        assert not (folder / ".rung" / "marks").exists(), "the ledger keeps them"


@pytest.mark.parametrize(("calls", "where"), [(50, "people"), (150, "a rung")])
def test_the_budget_stops_the_judge(folder: Path, calls: int, where: str) -> None:
    with serving(Server(answer=spoken)) as server:
        set_task(folder, {"model": f"{server.url}#m"}, prices={"m": {"input": 1.0, "output": 1.0}}, budget={"calls": calls})
        if where == "people":
            with pytest.raises(BudgetError, match="calls are limited to 50"):
                climbed(folder)
        else:
            [record] = climbed(folder).records
            assert record.status == "skipped" and "calls are limited to 150" in record.reason
        assert len(server.bodies) == calls


def test_a_remote_judge_that_fails_at_times(folder: Path) -> None:
    moves = cycle(["ok", "ok", "400", "ok", "garbage"])
    with serving(Server(moves, spoken)) as server:
        set_task(folder, {"model": f"{server.url}#m"}, api={"retries": 3}, prices={"m": {"input": 1.0, "output": 1.0}}, goal=0.3)
        [record] = climbed(folder).records
        assert record.scores and record.scores.unscored and "refused" in record.scores.unscored[0].why
        assert Store(folder).read("decision.json")["judge"]["failed"] > 0


def test_data_that_may_not_leave_is_not_sent(folder: Path) -> None:
    set_task(
        folder, {"model": "https://judge.example/v1#m"}, needs={"data_may_leave": "no"}, prices={"m": {"input": 1, "output": 1}}
    )
    with pytest.raises(TaskError, match=r"judge\.model.*data_may_leave is no"):
        assert project(folder).scoring.metric()
    set_task(folder, {"model": "openai:unheard-of"})
    with pytest.raises(ModelError, match=r"judge\.model.*no price is known"):
        assert project(folder).scoring.metric()


# --- before anything is spent -----------------------------------------------------------------------------------------


def test_the_plan_counts_the_judges_calls(folder: Path, judge: Any) -> None:
    price = {"m": {"input": 10.0, "output": 10.0}}
    set_task(folder, {"model": "http://localhost:1/v1#m"}, prices=price, api={"concurrency": 4})
    found = judged(project(folder))
    assert found and (found.a_rung.calls, found.people.calls, found.rewards) == (2 * ROWS, 120, ())
    assert found.a_rung.usd == pytest.approx(found.a_rung.tokens / 1e5) and found.a_rung.seconds == 2 * ROWS / 4
    assert "80 times" in told(found) and "120 times" in told(found)
    set_task(folder, {"form": "rubric", "marked": []})
    found = judged(project(folder))
    assert found and (found.a_rung.calls, found.people.calls) == (ROWS, 0) and not judge.asked
    set_task(folder, rungs=["prompt-search"])
    assert (found := judged(project(folder))) and found.rewards == ("prompt-search",) and "prompt-search" in told(found)


def test_the_check_says_that_people_have_marked_too_little(folder: Path, judge: Any) -> None:
    assert "judge-unproven" not in {one.code for one in inspect(project(folder))[0]}
    set_task(folder, {"marked": []})
    assert "judge-unproven" in {one.code for one in inspect(project(folder))[0]}
    assert not judge.asked


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"judge": None}, "goal.metric is judge, but `judge` is missing"),
        ({"goal": {"at_least": 0.5}}, "goal.metric is token_f1, but `judge` is given"),
        ({"kind": "classify"}, "a judge is not needed"),
        ({"judge": {"model": "fake"}}, "one of `rubric` and `rubric_file`"),
        ({"judge": {"model": "fake", "rubric": "a", "rubric_file": "b"}}, "one of `rubric` and `rubric_file`"),
        ({"judge": {"model": "fake", "rubrik": "a"}}, "unknown key 'rubrik' under 'judge'.*Did you mean 'rubric'"),
        ({"judge": {"model": "fake", "rubric": "a", "points": 1}}, "judge.points.*It means: The highest mark"),
    ],
)
def test_the_task_files_faults_are_named(folder: Path, change: dict[str, Any], told: str) -> None:
    content = json.loads((folder / "rung.yaml").read_text()) | change
    (folder / "rung.yaml").write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(TaskError, match=told):
        load_task(folder)


def test_the_rubric_may_stand_in_a_file(folder: Path) -> None:
    set_task(folder, {"rubric": "", "rubric_file": "rubric.txt"})
    with pytest.raises(TaskError, match="rubric_file: the rubric cannot be read"):
        assert project(folder).scoring.judge
    (folder / "rubric.txt").write_text(" Kind is better. \n")
    assert project(folder).scoring.judge.criterion == "Kind is better."  # type: ignore[union-attr]
    (folder / "rubric.txt").write_text("\n")
    with pytest.raises(TaskError, match="is empty"):
        assert project(folder).scoring.judge


@pytest.mark.parametrize("flip", [False, True])
def test_methods_that_learn_by_the_metric_ask_the_judge_if_it_is_trusted(folder: Path, judge: Any, flip: bool) -> None:
    write_marked(folder, flip)
    rows = (folder / "train.jsonl").read_text()
    (folder / "train.jsonl").write_text("".join(rows.replace("say w", f"say v{i}") for i in range(5)))
    set_task(folder, rungs=["prompt-search"], methods={"prompt-search": {"calls": 200}})
    [record] = climbed(folder).records
    if flip:
        assert record.status == "failed" and "the reward comes from the judge" in record.reason
    else:
        assert record.status == "done" and record.provenance.notes[0]["verdict"].startswith("no gain")
    before = record.provenance.key
    set_task(folder, {"rubric": "Short is better."}, rungs=["prompt-search"], methods={"prompt-search": {"calls": 200}})
    assert climbed(folder).records[0].provenance.key != before


def test_the_report_calls_a_doubted_score_open(folder: Path, judge: Any) -> None:
    for flip, state in ((False, "yes"), (True, "open")):
        write_marked(folder, flip)
        climbed(folder)
        [score_asked] = requirements(read_report_data(Store(folder).read("decision.json")))
        assert score_asked.state == state
