"""A climb on a Ray cluster of this machine against one in this process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_executors import write
from watcher import Watcher

from rung.climbing.cascading import missing_fits
from rung.climbing.climb import Climb, climb
from rung.climbing.executors import job, local, ray_cluster, ray_train
from rung.climbing.executors.on_ray import on_ray
from rung.climbing.executors.order import Order
from rung.climbing.executors.placing import Node
from rung.climbing.executors.ray_train import _measure, _train, measure_by
from rung.climbing.project import Project
from rung.climbing.reindex import reindex
from rung.errors import RungError
from rung.retrieve import knowledge
from rung.retrieve.store import Allow
from rung.task import load_task
from rung.tune.run import tune
from rung.types import Record

pytest.importorskip("ray", reason="the extra ray is not installed")


def climbed(folder: Path, **how: Any) -> Climb:
    return climb(Project(load_task(folder)), Watcher(), everything=True, **how)


def lasting(record: Record) -> Any:
    """What of a record does not depend on the clock or on the machine."""
    found = record.provenance
    same = (record.rung, record.status, record.reason, record.scores, record.predictor, record.selection, record.forgetting)
    return (
        same,
        found.key,
        found.fits,
        found.base,
        found.train,
        found.dev,
        found.test,
        found.options,
        found.seed,
        found.attack,
        found.failed,
    )


def test_a_climb_on_a_cluster_decides_as_one_here(tmp_path: Path, home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One start of Ray for all of it: a token is asked for, workers agree on keys, records and the decision are the same."""
    here = climbed(write(tmp_path / "here"))
    there = climbed(write(tmp_path / "there"), on=on_ray(2))
    assert [lasting(one) for one in there.records] == [lasting(one) for one in here.records]
    for name in ("verdict", "chosen"):
        assert getattr(there.decision, name) == getattr(here.decision, name)
    ran = [one.provenance.ran for one in there.records]
    assert all(one and one["executor"] == "ray" and one["latency"] == "alone" for one in ran)
    assert not list((tmp_path / "there" / ".rung" / "leases").glob("*.json"))
    said, warned = capfd.readouterr()
    assert not said and os.environ[ray_cluster.TOKEN] not in warned


def test_a_cluster_that_asks_for_no_token_is_not_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(RungError, match="anybody who reaches the cluster"), ray_cluster.connected():
        pass


def test_a_check_of_the_cluster_that_takes_too_long_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "CHECK_SECONDS", 0.01)
    with pytest.raises(RungError, match="could not be found out: no answer in"):
        ray_cluster._refuse_open("127.0.0.1:9")


def test_what_ray_prints_comes_back_after_the_block() -> None:
    import ray._private.worker as worker

    before: Any = worker.print_to_stdstream
    with ray_cluster._quiet():
        assert worker.print_to_stdstream is not before
    assert worker.print_to_stdstream is before


def test_a_cluster_without_machines_is_named(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(load_task(write(tmp_path / "task", "majority", "")))
    monkeypatch.setattr(ray_cluster, "connected", lambda _: nullcontext(SimpleNamespace(nodes=list)))
    with pytest.raises(RungError, match="no machine of the cluster is alive"):
        measure_by(2)(project, project.plan.alone, lambda *_: None)


def test_a_fit_deletes_no_files_of_another(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at the same time: the second begins and ends while the first one runs."""
    project = Project(load_task(write(tmp_path / "task", "majority", "")))
    order = Order("", "", "majority", "key", "", False, None)
    places: list[Path] = []

    class Trainer:
        def __init__(self, *_: Any, run_config: Any, **__: Any) -> None:
            self.place = Path(run_config.storage_path)

        def fit(self) -> None:
            self.place.mkdir(parents=True)
            places.append(self.place)
            if len(places) == 1:
                _train(order, 2, 1, project)
                assert [one.exists() for one in places] == [True, False]

    parts = dict.fromkeys(("FailureConfig", "RunConfig", "ScalingConfig"), SimpleNamespace)
    monkeypatch.setitem(sys.modules, "ray.train", SimpleNamespace(**parts))
    monkeypatch.setitem(sys.modules, "ray.train.torch", SimpleNamespace(TorchConfig=SimpleNamespace, TorchTrainer=Trainer))
    _train(order, 2, 1, project)
    assert len(places) == 2 and not any(one.exists() for one in places)


@pytest.mark.parametrize("seen", (True, False))
def test_a_deleted_fit_is_made_again_by_the_workers(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    project = Project(load_task(write(tmp_path / "task", "few-shot", "")))
    step = project.plan.alone
    record, trained = job.measure(project, step, float("inf"), lambda *_: None), []

    def train(order: Order, *_: Any) -> None:
        trained.append(order.rung)
        if seen:
            _measure(order)

    monkeypatch.setattr(ray_cluster, "connected", lambda _: nullcontext(None))
    monkeypatch.setattr(ray_cluster, "nodes", lambda _: [Node("a", "a", 2, 8)])
    monkeypatch.setattr(ray_train, "_train", train)
    shutil.rmtree(project.store.folder / "fits")
    if not seen:
        with pytest.raises(RungError, match="fitted few-shot, and this machine does not see the fit"):
            measure_by(2)(project, step, lambda *_: None)
        return
    assert measure_by(2)(project, step, lambda *_: None) == record
    assert not missing_fits(project, step) and trained == ["few-shot"]
    assert measure_by(2)(project, step, lambda *_: None) == record and len(trained) == 1, "nothing is missing any more"


def test_a_fit_that_cannot_be_made_again_is_recorded_as_failed(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the driver of a cluster, which reads the store, says why."""
    project = Project(load_task(write(tmp_path / "task", "few-shot", "")))
    step = project.plan.alone
    job.measure(project, step, float("inf"), lambda *_: None)
    shutil.rmtree(project.store.folder / "fits")

    def broken(*_: Any) -> None:
        raise ValueError("no such weights")

    monkeypatch.setattr(job, "fit_step", broken)
    found = job.measure(project, step, float("inf"), lambda *_: None)
    assert found.status == "failed" and "no such weights" in found.reason and project.store.records()[-1] == found


@pytest.mark.slow
def test_a_cluster_that_lets_anybody_in_is_found_out(tmp_path: Path) -> None:
    """It was started without a token, and this client has one."""
    code = (
        "import os, ray; os.environ['RAY_AUTH_MODE'] = 'disabled'\n"
        "ray.init(address='local', include_dashboard=False, _node_ip_address='127.0.0.1', object_store_memory=80_000_000)\n"
        "from rung.climbing.executors import ray_cluster\n"
        "try: ray_cluster._refuse_open(ray.get_runtime_context().gcs_address)\n"
        "except Exception as error: print(str(error))\n"
    )
    given = os.environ | {"RAY_AUTH_MODE": "disabled"}
    found = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert "lets in anybody" in found.stdout, found.stderr


@pytest.mark.slow
def test_trials_on_a_cluster_come_to_the_same(tmp_path: Path, home: Path) -> None:
    watcher: Any = SimpleNamespace(changed=lambda trials: None, progress=lambda *_: None)
    found = []
    for name, on in (("here", local), ("there", on_ray(2))):
        project = Project(load_task(write(tmp_path / name, "few-shot", "")))
        found.append(tune(project, watcher, ["few-shot.shots=2,4,8"], on=on))
    here, there = ([replace(one, fit_seconds=0.0) for one in tuning.trials] for tuning in found)
    assert here == there and found[0].conclusion == found[1].conclusion
    assert len(here) == 4 and all(one.score for one in here)


@pytest.mark.slow
def test_an_index_made_on_a_cluster_is_that_of_one_machine(tmp_path: Path, home: Path, encoder: Path) -> None:
    pytest.importorskip("lancedb", reason="the extra `lance` is not installed")
    found, words = [], [f"{a}{b}zy" for a in "bcdfg" for b in "aeiourst"]
    for name, on in (("here", local), ("there", on_ray(2))):
        place = write(tmp_path / name, "majority", "")
        (place / "docs").mkdir()
        for i in range(40):
            (place / "docs" / f"{i:02}.md").write_text(
                f"# Part {i}\n\nPart {i} of {'abcdefgh'[i % 8]}zy{i} is guaranteed for {i} years.\n"
            )
        text = (place / "rung.yaml").read_text()
        (place / "rung.yaml").write_text(
            text.replace("rows.jsonl}", "rows.jsonl, documents: docs/}").replace("r: fake", f"r: {encoder}")
        )
        store = f"lance://{tmp_path}/{name}-index"
        knowledge.point(place / ".rung", store)
        changes = reindex(Project(load_task(place)), on=on)
        opened = knowledge.opened(store)
        hits = [[one for one, _ in opened.lexical(word, 3, Allow())] for word in words]
        found.append((changes, opened.documents(), hits, opened.health().passages))
    assert found[0] == found[1] and len(found[0][0].added) == 40 and found[0][0].embedded == 40


@pytest.mark.slow
def test_a_fit_by_two_workers_is_that_of_one_process(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    """Ray Train starts them; the store has the record and the fit, and nothing of Ray's is left."""
    lora = f"methods: {{lora: {{epochs: 2, batch: 8}}}}\nbase: {base('llama')}\n"
    records = []
    for name in ("one", "two"):
        place = write(tmp_path / name, "lora", "")
        (place / "rung.yaml").write_text((place / "rung.yaml").read_text().replace("base: fake\n", lora))
        project = Project(load_task(place))
        measure = measure_by(2) if name == "two" else lambda *given: job.measure(*given[:2], float("inf"), given[2])
        records.append(measure(project, project.plan.alone, lambda *_: None))
    one, two = records
    assert one.status == two.status == "done", (one.reason, two.reason)
    assert one.provenance.fits == two.provenance.fits and one.provenance.key == two.provenance.key
    losses = [record.provenance.notes[-1]["losses"] for record in records if record.provenance.notes]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and len(losses[0]) > 10
    assert not list((tmp_path / "two" / ".rung").glob("ray*"))
    assert measure_by(2)(project, project.plan.alone, lambda *_: None) == two  # stored: Ray is not started
