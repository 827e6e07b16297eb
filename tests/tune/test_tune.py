"""Tuning without a model: what is raced, what is kept, what failures and a lack of time leave, and how seldom it errs."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from elsewhere import elsewhere

from rung import methods
from rung.climbing.executors import Open, Setting, order, ray_worker
from rung.climbing.measuring import failed
from rung.climbing.project import Project
from rung.errors import BudgetError, BusyError, RungError, TaskError
from rung.lm.base import Choice, ModelRef
from rung.lm.inference.fake import FakeEngine
from rung.methods.base import Method, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.predictor import Predictor
from rung.task import load_task
from rung.tune import run as tune
from rung.tune import running
from rung.tune.run import Tuning
from rung.tune.trials import Trial
from rung.types import Need, Record, TrainData

LABELS = ("refund", "delay", "other")


@dataclass(frozen=True, kw_only=True)
class Trick(Method):
    """The fake model chooses among the first `keep` labels only: the more, the better."""

    name: ClassVar[str] = "trick"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES})
    fit_version: ClassVar[int] = 1
    fits: ClassVar[list[int]] = []

    keep: int = 1
    act: str = ""
    seconds: float = 0.0

    def estimate(self, start: CostEstimate, facts: Facts, machine: Any) -> CostEstimate:
        return replace(start, fit_seconds=self.seconds, row_seconds=0.0)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        self.fits.append(len(data.examples))
        if self.act == "memory":
            raise MemoryError("no room")
        if self.act == "late":
            raise BudgetError("out of time.", remedy="Raise budget.minutes in rung.yaml.")
        if self.act == "mute":
            return replace(start, model=ModelRef("rule", "nearest", "x", "/there/is/no/such/folder"))
        return replace(start, labels=start.labels[: self.keep], descriptions=())


@dataclass
class Watcher:
    """A watcher that remembers."""

    seen: tuple[Trial, ...] = ()
    texts: tuple[str, ...] = ()

    def changed(self, trials: Sequence[Trial]) -> None:
        self.seen = tuple(trials)

    def progress(self, trial: int, text: str, share: float) -> None:
        assert 0 <= share <= 1
        self.texts += (text,)


@pytest.fixture(autouse=True)
def trick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods.METHODS, "trick", Trick())
    Trick.fits.clear()


def write_rows(path: Path, numbers: Sequence[int]) -> None:
    rows = [{"input": f"{LABELS[i % 3]} number {i}", "output": LABELS[i % 3], "who": f"p{i // 2}"} for i in numbers]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    place = tmp_path / "task"
    place.mkdir()
    for name, numbers in (("train", range(600)), ("dev", range(1000, 1030)), ("test", range(2000, 2030))):
        write_rows(place / f"{name}.jsonl", numbers)
    set_task(place)
    return place


def set_task(place: Path, goal: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **more: Any) -> None:
    task = {
        "task": "What is it about?",
        "kind": "classify",
        "labels": list(LABELS),
        "data": {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl", **(data or {})},
        "base": "fake",
        "encoder": "fake",
        "goal": goal or {"at_least": 0.8},
        "rungs": ["trick"],
        **more,
    }
    (place / "rung.yaml").write_text(json.dumps(task))  # JSON is YAML


def go(place: Path, *sets: str, **how: Any) -> Tuning:
    return tune.tune(Project(load_task(place)), Watcher(), sets, **how)


def statuses(found: Tuning) -> dict[str, str]:
    return {trial.name: trial.status for trial in found.trials}


def test_better_settings_are_found_and_shown_and_the_hopeless_stop_early(folder: Path) -> None:
    found = go(folder, "trick.keep=2,3")
    assert (found.conclusion.verdict, found.trials[found.conclusion.best or 0].name) == ("gain", "trick.keep=3")
    assert found.conclusion.lines == "methods:\n  trick: {keep: 3}\n"
    assert found.conclusion.difference and found.conclusion.difference.low > 0 and found.conclusion.difference.n < found.rows
    assert statuses(found) == {"present settings": "dropped", "trick.keep=2": "dropped", "trick.keep=3": "left"}
    scores = [trial.score for trial in found.trials if trial.score]
    assert [round(score.value, 1) for score in scores] == [0.4, 0.7, 1.0] and all(s.low <= s.value <= s.high for s in scores)
    assert scores[0].n < found.rows and found.fitted_on + found.rows == 600
    assert "Shown to be better" in found.conclusion.why and f"n={found.conclusion.difference.n}" in found.conclusion.why


def test_where_the_present_settings_are_best_they_are_kept(folder: Path) -> None:
    set_task(folder, methods={"trick": {"keep": 3}})
    found = go(folder, "trick.keep=1,2")
    assert (found.conclusion.verdict, found.conclusion.best, found.conclusion.lines) == ("no gain", 0, "")
    assert "Keep the current settings" in found.conclusion.why


def test_settings_that_do_as_well_are_no_gain(folder: Path) -> None:
    set_task(folder, methods={"trick": {"keep": 3}})
    found = go(folder, "trick.act=a,b")
    assert (found.conclusion.verdict, found.conclusion.best, found.conclusion.lines) == ("no gain", 0, "")
    assert (
        found.conclusion.difference
        and found.conclusion.difference.low < 0 < found.conclusion.difference.high
        and found.conclusion.difference.n == found.rows
    )


def test_neither_dev_nor_test_is_asked(folder: Path, asked: list[str]) -> None:
    go(folder, "trick.keep=2,3")
    assert asked and max(int(text.split()[-1]) for text in asked) < 1000


def test_a_second_run_fits_and_asks_nothing_and_another_value_only_itself(folder: Path, asked: list[str]) -> None:
    first = go(folder, "trick.keep=2,3")
    fits, rows = len(Trick.fits), len(asked)
    again = go(folder, "trick.keep=2,3")
    assert (len(Trick.fits), len(asked)) == (fits, rows) == (3, len(asked))
    assert again == first
    go(folder, "trick.keep=2,3", "trick.act=x")
    assert len(Trick.fits) == fits + 2


def test_a_trial_that_fails_is_recorded_and_the_race_goes_on(folder: Path) -> None:
    found = go(folder, "trick.keep=3", "trick.act='',memory,mute")
    assert statuses(found) == {
        "present settings": "dropped",
        "trick.keep=3 trick.act=": "left",
        "trick.keep=3 trick.act=memory": "failed",
        "trick.keep=3 trick.act=mute": "failed",
    }
    assert found.trials[2].reason == "MemoryError: no room" and found.trials[3].reason
    assert found.conclusion.verdict == "gain" and found.conclusion.best == 1


def test_where_the_present_settings_fail_the_best_of_the_others_is_told(folder: Path) -> None:
    set_task(folder, methods={"trick": {"act": "memory"}})
    found = go(folder, "trick.act=a", "trick.keep=1,3")
    assert (found.conclusion.verdict, found.trials[found.conclusion.best or 0].name) == ("gain", "trick.act=a trick.keep=3")
    assert "no room" in found.conclusion.why and "keep: 3" in found.conclusion.lines and found.conclusion.difference is None


def test_where_all_but_one_fail_nothing_is_told(folder: Path) -> None:
    found = go(folder, "trick.act=memory,mute")
    assert (found.conclusion.verdict, found.conclusion.best, found.conclusion.lines) == ("untold", None, "")
    assert "fewer than two" in found.conclusion.why and "2 of 3 failed" in found.conclusion.why


def test_what_there_is_no_time_for_is_not_begun(folder: Path) -> None:
    found = go(folder, "trick.seconds=0.0,9000", "trick.keep=3", minutes=60)
    assert [(t.settings.get("trick.seconds"), t.status) for t in found.trials] == [
        (None, "dropped"),
        (0, "left"),
        (9000, "not begun"),
    ]
    assert "about 150.0 minutes" in found.trials[2].reason and len(Trick.fits) == 2
    assert go(folder, "trick.seconds=9000", "trick.keep=3", minutes=60).conclusion.verdict == "untold"
    go(folder, "trick.seconds=9000", "trick.keep=3")
    kept = go(folder, "trick.seconds=9000", "trick.keep=3", minutes=60)
    assert kept.conclusion.verdict == "gain" and len(Trick.fits) == 3, "what is fitted takes no time"


def test_a_fit_that_runs_over_is_stopped_and_the_others_go_on(folder: Path) -> None:
    found = go(folder, "trick.act='',late", "trick.keep=3")
    assert statuses(found)["trick.act=late trick.keep=3"] == "stopped" and found.conclusion.verdict == "gain"


def test_a_race_that_runs_over_tells_nothing_and_goes_on_later(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, plain = [], running.answer

    def slow(*given: Any) -> Any:
        calls.append(given)
        if len(calls) > 3:
            raise BudgetError("the time budget is used up.")
        return plain(*given)

    monkeypatch.setattr(running, "answer", slow)
    found = go(folder, "trick.keep=2,3")
    assert found.conclusion.verdict == "untold" and "to resume" in found.conclusion.why
    assert set(statuses(found).values()) == {"stopped"} and all(trial.score for trial in found.trials)
    monkeypatch.setattr(running, "answer", plain)
    assert go(folder, "trick.keep=2,3").conclusion.verdict == "gain" and len(Trick.fits) == 3


def test_a_run_that_was_stopped_fits_nothing_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(running, "answer", stop)
        with pytest.raises(KeyboardInterrupt):
            go(folder, "trick.keep=2,3")
    assert len(Trick.fits) == 3 and not (folder / ".rung" / "tune").exists()
    assert go(folder, "trick.keep=2,3").conclusion.verdict == "gain" and len(Trick.fits) == 3


def test_a_score_that_is_no_mean_over_rows_is_refused(folder: Path) -> None:
    set_task(folder, goal={"metric": "macro_f1", "at_least": 0.5})
    with pytest.raises(TaskError, match="macro_f1 is not"):
        go(folder, "trick.keep=2")
    assert not Trick.fits


def test_graded_rows_in_groups_are_raced_too(folder: Path) -> None:
    (folder / "own.py").write_text("def score(output, reference, example):\n    return 0.9 if output == reference else 0.2\n")
    set_task(folder, goal={"metric": "own.py:score", "at_least": 0.5}, data={"group": "who"})
    found = go(folder, "trick.keep=3")
    assert (
        found.conclusion.verdict == "gain"
        and found.conclusion.difference
        and 0 < found.conclusion.difference.low < found.conclusion.difference.value < 0.6
    )


def test_a_rung_that_lacks_what_it_needs_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trick, "needs", frozenset({Need.CORPUS}))
    with pytest.raises(TaskError, match="needs a corpus"):
        go(folder, "trick.keep=2")


def test_the_folder_is_held_and_the_result_kept(folder: Path) -> None:
    with Project(load_task(folder)).store.locked(), pytest.raises(BusyError):
        go(folder, "trick.keep=3")
    found = go(folder, "trick.keep=3")
    [path] = (folder / ".rung" / "tune").iterdir()
    kept = json.loads(path.read_text())
    assert kept["verdict"] == "gain" and kept["lines"] == found.conclusion.lines and kept["provenance"]["packages"]
    assert [trial["status"] for trial in kept["trials"]] == ["dropped", "left"]
    assert kept["trials"][1]["settings"] == {"trick.keep": 3} and kept["trials"][1]["score"]["value"] == 1.0


def test_the_watcher_sees_the_trials_come_along(folder: Path) -> None:
    watcher = Watcher()
    found = tune.tune(Project(load_task(folder)), watcher, ["trick.keep=2,3"])
    assert watcher.seen == found.trials and any("fitting" in text for text in watcher.texts)


def test_trials_elsewhere_come_to_the_same(folder: Path, tmp_path: Path, asked: list[str]) -> None:
    shutil.copytree(folder, there := tmp_path / "there")
    sets = ("trick.keep=3", "trick.act='',memory,late,mute")
    one = go(folder, *sets)
    rows = Counter(asked)
    two = go(there, *sets, on=elsewhere)
    lasting = [[replace(trial, fit_seconds=0.0) for trial in found.trials] for found in (one, two)]
    assert {trial.status for trial in lasting[0]} == {"left", "dropped", "failed", "stopped"}
    assert [trial.reason for trial in lasting[0] if trial.status == "stopped"] == ["out of time."]
    assert lasting[0] == lasting[1] and one.conclusion == two.conclusion
    assert rows and Counter(asked) == rows + rows, "nothing is asked twice"


def test_a_tuning_elsewhere_that_is_run_again_sends_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = go(folder, "trick.keep=2,3", on=elsewhere)
    monkeypatch.setattr(ray_worker, "run", lambda *_: pytest.fail("a job was sent"))
    assert go(folder, "trick.keep=2,3", on=elsewhere) == first and first.conclusion.verdict == "gain"


def losing(trial: int, rows: bool) -> Open:
    """An executor that loses the machines of a trial that fits, or answers."""

    @contextmanager
    def opened(setting: Setting) -> Iterator[Any]:
        with elsewhere(setting) as executor:

            def run(jobs: Iterable[Any]) -> Iterator[Record]:
                for job in jobs:
                    if job.name == f"trial {trial}" and bool(job.rows) == rows:
                        yield failed(job.blank, job.key, "lost 3 times.", lost=True)
                    else:
                        yield from executor.run([job])

            yield SimpleNamespace(run=run, concurrent=True)

    return opened


@pytest.mark.parametrize("rows", [False, True])
def test_lost_machines_are_no_gain(folder: Path, rows: bool) -> None:
    found = go(folder, "trick.keep=2,3", on=losing(0, rows))
    assert found.trials[0].status == "lost" and found.trials[0].reason == "lost 3 times."
    assert (found.conclusion.verdict, found.conclusion.lines) == ("untold", "") and "Run it again." in found.conclusion.why
    assert "run the same command again" in go(folder, "trick.keep=2", on=losing(1, rows)).conclusion.why
    assert go(folder, "trick.keep=2,3", on=losing(1, rows)).conclusion.verdict == "gain", "one of the others is left out"


def test_a_fit_that_the_driver_does_not_see_is_an_error_and_not_made_again(folder: Path) -> None:
    @contextmanager
    def unseen(setting: Setting) -> Iterator[Any]:
        yield SimpleNamespace(run=lambda jobs: (replace(job.blank, status="done") for job in jobs), concurrent=True)

    with pytest.raises(RungError, match="does not see its fit") as error:
        go(folder, "trick.keep=2", on=unseen)
    assert str(folder / ".rung" / "fits") in error.value.where and not Trick.fits


def test_answers_that_the_driver_does_not_see_are_an_error_and_not_asked_again(folder: Path, asked: list[str]) -> None:
    @contextmanager
    def unseen(setting: Setting) -> Iterator[Any]:
        """Fits are there from an earlier run; the answers stay on the other machine."""
        with elsewhere(setting) as executor:

            def run(jobs: Iterable[Any]) -> Iterator[Record]:
                for job in jobs:
                    yield from executor.run([job])
                    shutil.rmtree(folder / ".rung" / "predictions", ignore_errors=True)

            yield SimpleNamespace(run=run, concurrent=True)

    with pytest.raises(RungError, match="but this machine does not see all of its answers") as error:
        go(folder, "trick.keep=2", on=unseen)
    assert str(folder / ".rung" / "predictions") in error.value.where and "Mount the folder" in error.value.remedy
    assert error.value.what.startswith(f"trial 0 (present settings) has answered {len(asked) // 2} rows")
    assert set(Counter(asked).values()) == {2}, "by the two workers, not here"


def test_rows_that_fail_elsewhere_are_asked_again_here_which_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: FakeEngine, prompts: Sequence[Any], *_: Any) -> list[Choice]:
        return [Choice("", 0.0, None, error="the network is down") for _ in prompts]

    monkeypatch.setattr(FakeEngine, "choose", fails)
    found = go(folder, "trick.keep=2", on=elsewhere)
    assert set(statuses(found).values()) == {"unanswered"} and "the network is down" in found.trials[0].reason


def test_a_worker_refuses_a_trial_that_it_would_fit_otherwise(folder: Path) -> None:
    project = Project(load_task(folder))
    trial = {"methods": {"trick": {"keep": 2}}, "rows": 0}
    sent = order.Order(str(folder), order.write_climb(project), "trial 1", "another", "attempt", trial=trial)
    found = json.loads(ray_worker.run(sent, lambda *_: None, "there"))
    assert "would measure something else" in found["error"]["what"] and not Trick.fits


def test_learning_rates_of_a_real_training_are_raced(folder: Path, base: Callable[[str], Path]) -> None:
    write_rows(folder / "train.jsonl", range(100))
    set_task(folder, base=str(base("llama")), rungs=["lora"], methods={"lora": {"learning_rate": 1e-7, "epochs": 1}})
    found = go(folder, "lora.learning_rate=3e-2", "lora.rank=4")
    assert [trial.status in ("left", "dropped") for trial in found.trials] == [True, True]
    assert all(trial.fit_seconds and trial.score and trial.estimate.fit_seconds for trial in found.trials)
    assert "learning_rate: 0.03" in found.trials[1].lines("lora") and "epochs: 1" in found.trials[1].lines("lora")
    assert go(folder, "lora.learning_rate=3e-2", "lora.rank=4") == found, "nothing is fitted again, so the seconds are the same"
