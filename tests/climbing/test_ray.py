"""A climb on a Ray cluster of this machine against one in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_executors import Watcher, write

from rung.climbing import measuring
from rung.climbing.climb import Climb, climb
from rung.climbing.executors import ray_cluster
from rung.climbing.executors.on_ray import on_ray
from rung.climbing.executors.ray_train import measure_by
from rung.climbing.project import Project
from rung.errors import RungError
from rung.task import load_task
from rung.types import Record

pytest.importorskip("ray", reason="the extra ray is not installed")


def climbed(folder: Path, **how: Any) -> Climb:
    return climb(Project(load_task(folder)), Watcher(), everything=True, **how)


def lasting(record: Record) -> Any:
    """What of a record does not depend on the clock or on the machine."""
    told = record.provenance
    same = (record.rung, record.status, record.reason, record.scores, record.predictor, record.selection, record.forgetting)
    return (
        same,
        told.key,
        told.fits,
        told.base,
        told.train,
        told.dev,
        told.test,
        told.options,
        told.seed,
        told.attack,
        told.failed,
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
def test_a_fit_by_two_workers_is_that_of_one_process(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    """Ray Train starts them; the store has the record and the fit, and nothing of Ray's is left."""
    lora = f"methods: {{lora: {{epochs: 2, batch: 8}}}}\nbase: {base('llama')}\n"
    records = []
    for name in ("one", "two"):
        place = write(tmp_path / name, "lora", "")
        (place / "rung.yaml").write_text((place / "rung.yaml").read_text().replace("base: fake\n", lora))
        project = Project(load_task(place))
        measure = measure_by(2) if name == "two" else lambda *given: measuring.measure(*given[:2], float("inf"), given[2])
        records.append(measure(project, project.plan.alone, lambda *_: None))
    one, two = records
    assert one.status == two.status == "done", (one.reason, two.reason)
    assert one.provenance.fits == two.provenance.fits and one.provenance.key == two.provenance.key
    losses = [record.provenance.notes[-1]["losses"] for record in records if record.provenance.notes]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4) and len(losses[0]) > 10
    assert not (tmp_path / "two" / ".rung" / "ray").exists()
    assert measure_by(2)(project, project.plan.alone, lambda *_: None) == two  # stored: Ray is not started
