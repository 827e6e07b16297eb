"""Two processes train as one does: the same losses, the same weights, and one of them says when to stop."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import spread
import torch
from safetensors.torch import load_file
from slowly import slow_but

from rung.machine import Machine

QUICK = ["lora", "resumed", "packed"]
"""Trained in every run of the tests; the other trainings are marked slow."""
SHARDED = ["lora", "tied", "padded", "kto", "chosen", "resumed"]
"""What is also trained with the weights sharded over the processes."""
SHARDED_QUICK = ["resumed"]


@pytest.fixture(scope="module")
def two(
    base: Callable[[str], Path], machine: Machine, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """The folder in which two processes have left the results of the trainings."""
    to = tmp_path_factory.mktemp("two")
    bases = {kind: str(base(kind)) for kind in {kind for kind, *_ in spread.WORK.values()}}
    every = "not slow" not in (request.config.option.markexpr or "")
    work = {"plain": [*spread.WORK] if every else QUICK, "spread": SHARDED if every else SHARDED_QUICK}
    given = {"to": str(to), "machine": asdict(machine), "bases": bases, **work}
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", spread.__file__]
    done = subprocess.run([*run, json.dumps(given)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return to


@pytest.fixture(scope="module")
def one(base: Callable[[str], Path], machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder in which this process leaves what comes out of a training."""
    to = tmp_path_factory.mktemp("one")

    def made(name: str) -> Path:
        kind = spread.WORK[name][0]
        if not (to / f"{name}.json").exists():
            spread.do(name, {kind: str(base(kind))}, machine, to)
        return to

    return made


@pytest.mark.parametrize("name", slow_but(QUICK, spread.WORK))
def test_two_processes_train_as_one(two: Path, one: Callable[[str], Path], name: str) -> None:
    alike(two, one(name), name)


@pytest.mark.parametrize("name", slow_but(SHARDED_QUICK, SHARDED))
def test_spread_weights_are_trained_as_whole_ones(two: Path, one: Callable[[str], Path], name: str) -> None:
    alike(two / "fsdp", one(name), name)


def alike(two: Path, one: Path, name: str) -> None:
    got, wanted = (json.loads((place / f"{name}.json").read_text()) for place in (two, one))
    assert got["losses"] == pytest.approx(wanted["losses"], rel=1e-4)
    assert got["scores"] == wanted["scores"]
    assert got["rows_seen"] == wanted["rows_seen"]
    assert len(got["losses"]) < got["planned"] if name == "resumed" else got["stopped"] == ""
    assert not got["left"], "the checkpoints are left lying about"
    assert got["spread"] == (two.name == "fsdp")
    weights, others = (load_file(place / f"{name}.safetensors") for place in (two, one))
    assert weights.keys() == others.keys()
    for key, value in others.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-4, msg=lambda text, key=key: f"{key}: {text}")


def test_a_fit_that_fails_is_told_once_and_ends_nothing(two: Path) -> None:
    both, other, own, *_ = json.loads((two / "ends-0.json").read_text())
    assert both == "DataError: no row in 0"
    assert other == "RungError: process 1 of 2 failed. DataError: no row in 1"
    assert own == "DataError: no row in 0"


def test_a_process_that_is_gone_ends_the_others(two: Path) -> None:
    assert "has exited or hangs" in json.loads((two / "ends-0.json").read_text())[-1]
    assert not (two / "ends-1.json").exists()


def test_a_process_alone_may_not_train(two: Path) -> None:
    assert all("runs in one process" in (two / f"alone-{number}").read_text() for number in (0, 1))
