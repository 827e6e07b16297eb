"""Executors without a cluster: the order of records, which jobs wait, where they run, and what is lost is done once more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from watcher import Watcher

from rung.cli import cluster
from rung.cli.screens.progress import Board
from rung.climbing.executors import Job, Setting, alone, job, local, on_ray, order, placing, ray_worker
from rung.climbing.executors.job import waits_for
from rung.climbing.executors.order import Order
from rung.climbing.executors.placing import Demand, Node, place
from rung.climbing.executors.trial import TrialJob
from rung.climbing.fit import fit
from rung.climbing.measuring import rung_key
from rung.climbing.project import Project
from rung.climbing.train_parts import split_train
from rung.errors import RungError
from rung.task import load_task
from rung.tune.trials import plan
from rung.types import Record

LABELS = ("refund", "delay", "other")


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    return write(tmp_path / "task")


def write(place: Path, rungs: str = "majority, zero-shot, few-shot, majority>zero-shot", more: str = "") -> Path:
    place.mkdir()
    rows = [{"input": f"{LABELS[i % 3]} number {i}", "output": LABELS[i % 3]} for i in range(200)]
    (place / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    text = "task: What is it about?\nkind: classify\ndata: {examples: rows.jsonl}\nbase: fake\nencoder: fake\n"
    (place / "rung.yaml").write_text(f"{text}goal: {{at_least: 0.8}}\nrungs: [{rungs}]\n{more}")
    return place


def setting(folder: Path, **more: Any) -> Setting:
    return Setting(Project(load_task(folder)), Watcher(), float("inf"), **more)


def jobs(given: Setting) -> list[Job]:
    return [Job(step) for step in given.project.plan.steps]


def trials(folder: Path, rung: str, sets: str, methods: Any = None) -> list[TrialJob]:
    """Jobs that fit trials."""
    project = Project(load_task(folder))
    parts = split_train(project, project.plan.steps[0].base)
    return [TrialJob(f"trial {i}", one.methods, one.given, parts) for i, one in enumerate(plan(rung, methods or {}, [sets]))]


def test_nothing_is_begun_here_before_it_is_asked_for(folder: Path) -> None:
    given = setting(folder)
    with local(given) as executor:
        records = executor.run(jobs(given))
        first = next(records)
        records.close()
    assert first.status == "done" and [rung for rung, text in given.watcher.said if text == "began"] == [first.rung]


# --- which jobs wait --------------------------------------------------------------------------------------------------


def test_a_rung_waits_for_those_whose_fits_it_shares(tmp_path: Path, home: Path) -> None:
    given = setting(write(tmp_path / "task", "few-shot, majority, zero-shot, majority>few-shot, majority>zero-shot"))
    names = [one.step.rung for one in jobs(given)]
    after = waits_for(given.project, jobs(given), False)
    shared = {("majority>few-shot", part) for part in ("majority", "few-shot", "majority>zero-shot")}
    shared |= {("majority>zero-shot", part) for part in ("majority", "zero-shot")}
    expected = [{i for i in range(k) if {(names[i], names[k]), (names[k], names[i])} & shared} for k in range(len(names))]
    assert after == expected and any(after)


def test_a_rung_that_costs_dollars_waits_for_all_that_may_make_it_needless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(folder)
    monkeypatch.setattr(job, "asks_api", lambda step: step.rung in ("zero-shot", "few-shot"))
    names = [one.step.rung for one in jobs(given)]

    def before(everything: bool, name: str) -> set[str]:
        return {names[i] for i in waits_for(given.project, jobs(given), everything)[names.index(name)]}

    later = max(("zero-shot", "few-shot"), key=names.index)
    assert before(False, later) == set(names[: names.index(later)])
    assert {"zero-shot", "few-shot"} - {later} <= before(True, later) and "majority" not in before(True, later)


def test_trials_wait_only_for_the_first_that_fits_what_they_share(folder: Path) -> None:
    made = trials(folder, "few-shot+calibrated", "calibrated.rows=8,16,32")
    project = Project(load_task(folder))
    assert waits_for(project, made, True) == [set(), {0}, {0}, {0}]
    assert waits_for(project, [replace(one, rows=5) for one in made], True) == [set()] * 4
    fit(replace(made[0].parts.context, store=project.store), made[0].methods[:1], float("inf"), lambda *_: None)
    assert waits_for(project, made, True) == [set()] * 4, "the fit that they share is stored"


# --- where jobs run ---------------------------------------------------------------------------------------------------

SMALL, LARGE = Node("a", "a", 4, 8), Node("b", "b", 4, 100, 2)


def test_jobs_are_spread_and_share_a_machine_only_where_its_memory_suffices() -> None:
    assert place([SMALL, LARGE], {}, 4, 5) == (LARGE, Demand(2, 5, 0, 0.5))
    there = {"b": [Demand(2, 5)]}
    assert place([SMALL, LARGE], there, 4, 5) == (SMALL, Demand(2, 5, 0, 0.5))
    both = {"a": [Demand(2, 5)], "b": [Demand(2, 5)]}
    assert place([SMALL, LARGE], both, 4, 5) == (LARGE, Demand(2, 5, 0, 0.5))
    assert place([SMALL], {"a": [Demand(2, 5)]}, 2, 5) is None


def test_a_job_larger_than_every_machine_gets_a_whole_one() -> None:
    assert place([SMALL, LARGE], {}, 2, 1000) == (LARGE, Demand(4, 100, 0, 1.0))
    assert place([SMALL, LARGE], {"b": [Demand(4, 1)]}, 4, 1000) is None


def test_a_machine_that_lost_a_job_gets_it_again_only_where_there_is_no_other() -> None:
    assert place([SMALL, LARGE], {}, 2, 1, avoid={"b"}) == (SMALL, Demand(4, 1, 0, 1.0))
    assert place([LARGE], {}, 1, 1, avoid={"b"}) == (LARGE, Demand(4, 1, 0, 1.0))


def test_gpus_are_counted() -> None:
    assert place([SMALL, LARGE], {}, 2, 1, 2.0) == (LARGE, Demand(2, 1, 2.0, 0.5))
    assert place([LARGE], {"b": [Demand(1, 1, 1.0)]}, 2, 1, 2.0) is None
    assert placing.slots([SMALL, LARGE], 3) == 2


# --- latency is measured alone ----------------------------------------------------------------------------------------


def test_others_stand_still_while_latency_is_measured(tmp_path: Path) -> None:
    worker, measuring_ = alone.Room(tmp_path), alone.Room(tmp_path)
    ended, steps = threading.Event(), list[float]()

    def work() -> None:
        while not ended.is_set():
            steps.append(time.monotonic())
            time.sleep(0.005)
            worker.pause()

    thread = threading.Thread(target=work)
    thread.start()
    while not steps:
        time.sleep(0.005)
    with measuring_.alone():
        begun = time.monotonic()
        time.sleep(0.3)
        over = time.monotonic()
    until = over + 60
    while steps[-1] <= over and time.monotonic() < until:
        time.sleep(0.01)
    ended.set()
    thread.join()
    assert not [one for one in steps if begun < one < over]
    assert steps[0] < begun and steps[-1] > over and worker.paused > 0.5 * (over - begun)


def test_two_that_measure_take_turns(tmp_path: Path) -> None:
    inside, most = list[int](), list[int]()

    def measure() -> None:
        one = alone.Room(tmp_path)
        with one.alone():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.05)
            inside.pop()
        one.close()

    threads = [threading.Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1, 1, 1, 1]


# --- a job on its way -------------------------------------------------------------------------------------------------


def order_of(given: Setting, step: Any, **changes: Any) -> Order:
    project = given.project
    climb = order.write_climb(project)
    made = Order(str(project.task.folder), climb, step.rung, rung_key(project, step), "attempt", False, None)
    return replace(made, **changes)


def test_a_worker_makes_the_same_plan_and_measures_under_the_same_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(folder)
    for step in given.project.plan.steps:
        sent = Order.from_json(order_of(given, step).to_json())
        built = order.rebuilt(sent)
        assert rung_key(built, built.plan.named(sent.rung)) == sent.key
        assert [one.estimate for one in built.plan.steps] == [one.estimate for one in given.project.plan.steps]
    monkeypatch.setattr(order, "load_or_measure", lambda **_: replace(given.project.machine, bf16_speedup=2.0))
    assert not order.rebuilt(sent).worker.frozen_bf16, "a worker with other hardware fits as the task asks"
    shared = order.rebuilt(replace(sent, share=0.5))
    assert shared.worker.usd_per_hour == given.project.machine.usd_per_hour / 2
    assert rung_key(shared, shared.plan.named(sent.rung)) == sent.key


@pytest.mark.slow
def test_keys_agree_with_those_of_another_process(folder: Path) -> None:
    given = setting(folder)
    sent = [order_of(given, step).to_json() for step in given.project.plan.steps]
    code = "import sys; from rung.climbing.executors.ray_worker import run; from rung.climbing.executors.order import Order\n"
    code += "for line in sys.stdin: print(run(Order.from_json(line), lambda *_: None, 'there'))"
    found = subprocess.run([sys.executable, "-c", code], input="\n".join(sent), capture_output=True, text=True, check=False)
    records = [json.loads(line) for line in found.stdout.splitlines()]
    assert [one["record"]["provenance"]["key"] for one in records] == [json.loads(one)["key"] for one in sent], found.stderr


def test_a_worker_refuses_what_it_would_measure_otherwise(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(folder)
    step = given.project.plan.steps[0]
    found = json.loads(ray_worker.run(order_of(given, step, key="another"), lambda *_: None, "there"))
    assert "would measure something else" in found["error"]["what"]
    sent = order_of(given, step)
    (folder / "rows.jsonl").write_text((folder / "rows.jsonl").read_text().replace("number 7", "number seven"))
    assert "error" in json.loads(ray_worker.run(sent, lambda *_: None, "there"))


def test_a_folder_of_another_user_is_the_machines_fault(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone.tempfile, "gettempdir", lambda: str(tmp_path / "shared"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / f"rung-{os.getuid()}").symlink_to(tmp_path / "theirs")
    given = setting(folder)
    found = json.loads(ray_worker.run(order_of(given, given.project.plan.steps[0]), lambda *_: None, "there"))
    assert found["error"]["what"] == "another user made this folder."


def test_a_worker_with_another_key_believes_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = setting(folder)
    sent = order_of(given, given.project.plan.steps[0])
    monkeypatch.setenv("RUNG_KEY_FILE", str(tmp_path / "another-key"))
    found = json.loads(ray_worker.run(sent, lambda *_: None, "there"))
    assert "signature" in found["error"]["what"] and "RUNG_KEY_FILE" in found["error"]["remedy"]


def test_nothing_secret_and_no_object_travels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    given = setting(folder)
    sent = order_of(given, given.project.plan.steps[0])
    assert set(json.loads(sent.to_json())) == {
        "folder",
        "climb",
        "rung",
        "key",
        "attempt",
        "raced",
        "seconds",
        "share",
        "trial",
        "index",
    }
    written = "".join(path.read_text() for path in (folder / ".rung" / "jobs").iterdir())
    assert "sk-secret" not in sent.to_json() + written
    [trial, _] = trials(folder, "few-shot", "few-shot.shots=2", methods={"few-shot": {"shots": 1}, "lora": {"rank": 2}})
    assert json.loads(json.dumps(trial.sent())) == {"trial": {"methods": {"few-shot": {"shots": 1}}, "rows": 0}}


@pytest.mark.parametrize("name", ["a b", "a'; rm -rf ~ #", "ünï\u202ecode", "a\nb", "--flag"])
def test_a_folder_of_any_name_is_measured_elsewhere(tmp_path: Path, home: Path, name: str) -> None:
    given = setting(write(tmp_path / name, "majority"))
    sent = Order.from_json(order_of(given, given.project.plan.steps[0]).to_json())
    found = json.loads(ray_worker.run(sent, lambda *_: None, "there"))
    assert found["record"]["status"] == "done" and found["record"]["provenance"]["ran"]["node"] == "there"


def test_a_worker_that_cannot_report_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_worker, "BEAT", 0.01)
    monkeypatch.setattr(ray_worker, "FENCE", 0.05)
    ended = threading.Event()

    def leave(code: int) -> None:
        assert code == ray_worker.FENCED
        ended.set()

    monkeypatch.setattr(ray_worker.os, "_exit", leave)

    def send(number: int, text: str, share: float) -> None:
        if number > 3:
            raise TimeoutError

    with ray_worker.Reports(send):
        assert ended.wait(60)


def test_options_of_a_cluster_have_a_meaning_only_there() -> None:
    assert cluster.executor_of("", 0, None) is local
    for given, words in (
        (("", 2, None), "--parallel"),
        (("", 0, 1.0), "--gpus-per-rung"),
        (("mars", 0, None), "'mars'; use ray"),
    ):
        with pytest.raises(RungError, match=words):
            cluster.executor_of(*given)


def test_a_fit_on_a_cluster_names_the_cluster_and_its_workers() -> None:
    for given, words in ((("ray", 0), "--on: a fit on a cluster needs both"), (("", 2), "--workers"), (("mars", 2), "use ray")):
        with pytest.raises(RungError, match=words):
            cluster.trainer_of(*given)


def test_lines_about_rungs_that_run_at_once_name_them(folder: Path) -> None:
    said = StringIO()
    with Board(Console(file=said, width=100), load_task(folder).goal) as board:
        board.began("majority")
        board.ended(Record("majority", "failed", "no reason"))
        board.began("zero-shot")
        board.began("few-shot")
        board.ended(Record("zero-shot", "failed", "no memory"))
        assert set(board.running) == {"few-shot"}
    assert "  failed no reason" in said.getvalue() and "  zero-shot: failed no memory" in said.getvalue()


# --- the driver -------------------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """In place of Ray: tasks that end, fail or fall silent as a test says. Time goes on with every look."""

    acts: Callable[[str, int], Any]
    """Of a rung and its attempt: a record's JSON, an exception, None for silence, or a number of looks until it ends."""
    machines: int = 2
    now: float = 0.0
    sent: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[tuple[str, bool]] = field(default_factory=list)
    looks: dict[Any, int] = field(default_factory=dict)

    def nodes(self, ray: Any) -> list[Node]:
        return [Node(f"n{i}", f"n{i}", 2, 2**40) for i in range(self.machines)]

    def actors(self, ray: Any) -> Any:
        outer = self

        class Board:
            class read:
                @staticmethod
                def remote() -> Any:
                    return {key: (count, "at it", 0.5) for key, count in outer.looks.items()}

        def task(node: Node, demand: Demand) -> Any:
            class Task:
                @staticmethod
                def remote(text: str, board: Any, name: str) -> Any:
                    made = Order.from_json(text)
                    attempt = sum(rung == made.rung for rung, _ in outer.sent)
                    outer.sent.append((made.rung, node.id))
                    return made, attempt

            return Task

        return Board, task

    def wait(self, refs: Any, **how: Any) -> Any:
        self.now += 1.0
        ready = []
        for ref in refs:
            made, attempt = ref
            act = self.acts(made.rung, attempt)
            count = self.looks.get(made.attempt, 0)
            if act is not None and count >= (act if isinstance(act, int) else 1):
                ready.append(ref)
            elif act is not None or not count:  # a silent one reports once
                self.looks[made.attempt] = count + 1
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: Any, timeout: float = 0) -> Any:
        if isinstance(ref, dict):
            return ref
        made, attempt = ref
        act = self.acts(made.rung, attempt)
        if isinstance(act, Exception):
            raise act
        return act if isinstance(act, str) else ray_worker.run(made, lambda *_: None, "there")

    def cancel(self, ref: Any, force: bool) -> None:
        self.cancelled.append((ref[0].rung, force))


@pytest.fixture
def driving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Any, Cluster]]]:
    pytest.importorskip("ray", reason="the extra ray is not installed")

    def made(acts: Callable[[str, int], Any], parallel: int = 2, **how: Any) -> tuple[Any, Cluster]:
        found = Cluster(acts, **how)
        monkeypatch.setattr(on_ray, "_actors", found.actors)
        monkeypatch.setattr(on_ray.ray_cluster, "nodes", found.nodes)
        monkeypatch.setattr(on_ray, "time", type("Clock", (), {"monotonic": lambda: found.now, "sleep": lambda s: None}))
        return on_ray.OnRay(setting(folder), found, parallel, 0.0), found

    yield made


def names(records: Sequence[Record]) -> list[str]:
    return [one.rung for one in records]


def test_records_come_in_the_plans_order_whichever_ends_first(driving: Any) -> None:
    executor, found = driving(lambda rung, attempt: 9 if rung == "majority" else 1)
    records = list(executor.run(jobs(executor.setting)))
    assert names(records) == [step.rung for step in executor.setting.project.plan.steps]
    assert all(one.status == "done" for one in records) and len(found.sent) == len(records)
    assert [one.rung for one in executor.setting.project.store.records()] == names(records)


def test_what_a_decision_makes_needless_is_stopped_and_not_stored(driving: Any) -> None:
    executor, found = driving(lambda rung, attempt: 1 if rung == "majority" else 999, parallel=3)
    records = executor.run(jobs(executor.setting))
    first = next(records)
    records.close()
    assert names(executor.setting.project.store.records()) == [first.rung]
    others = [rung for rung, _ in found.sent if rung != first.rung]
    assert others and found.cancelled == [(rung, force) for force in (False, True) for rung in others]


def test_a_lost_worker_is_replaced_elsewhere_and_its_record_stands_once(driving: Any) -> None:
    from ray.exceptions import WorkerCrashedError

    executor, found = driving(lambda rung, attempt: WorkerCrashedError() if rung == "zero-shot" and not attempt else 1)
    records = list(executor.run(jobs(executor.setting)))
    assert all(one.status == "done" for one in records)
    where = [node for rung, node in found.sent if rung == "zero-shot"]
    assert len(where) == 2 and len(set(where)) == 2
    assert names(executor.setting.project.store.records()).count("zero-shot") == 1


def test_a_cut_link_does_not_stall(driving: Any) -> None:
    executor, found = driving(lambda rung, attempt: None if rung == "majority" and not attempt else 1)
    records = list(executor.run(jobs(executor.setting)))
    assert all(one.status == "done" for one in records) and ("majority", True) in found.cancelled
    assert found.now < 2 * on_ray.SILENT


def test_a_rung_that_is_lost_again_and_again_is_recorded_as_failed(driving: Any) -> None:
    from ray.exceptions import WorkerCrashedError

    executor, _ = driving(lambda rung, attempt: WorkerCrashedError() if rung == "zero-shot" else 1)
    records = {one.rung: one for one in executor.run(jobs(executor.setting))}
    assert records["zero-shot"].status == "failed" and "lost 3 times: WorkerCrashedError on" in records["zero-shot"].reason
    assert records["zero-shot"].provenance.lost and records["few-shot"].provenance.lost is None
    assert records["few-shot"].status == "done"


def test_an_error_of_a_machine_ends_the_climb_and_a_strangers_record_is_refused(driving: Any, folder: Path) -> None:
    executor, _ = driving(lambda rung, attempt: json.dumps({"error": {"what": "no such key", "where": "x", "remedy": ""}}))
    with pytest.raises(RungError, match="no such key"):
        list(executor.run(jobs(executor.setting)))
    other = json.dumps({"record": Record("lora", "done").to_json(), "store": True})
    executor, _ = driving(lambda rung, attempt: other)
    with pytest.raises(RungError, match="record of another rung"):
        list(executor.run(jobs(executor.setting)))


def test_a_cluster_without_enough_gpus_is_refused(driving: Any) -> None:
    executor, _ = driving(lambda rung, attempt: 1)
    executor.gpus = 1.0
    with pytest.raises(RungError, match=r"gpus_per_rung: each job .* no machine of the cluster has more than 0"):
        list(executor.run(jobs(executor.setting)))


def test_a_stored_record_is_not_measured_again(driving: Any) -> None:
    executor, found = driving(lambda rung, attempt: 1)
    for one in jobs(executor.setting):
        job.measure(executor.setting.project, one.step, float("inf"), lambda *_: None)
    assert len(list(executor.run(jobs(executor.setting)))) == 4 and not found.sent
