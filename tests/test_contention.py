"""Other programs on the machine are seen, said where quotes are read, and do not starve training."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rung import contention
from rung.cli import app
from rung.contention import BUSY_SHARE
from rung.hardware import affinity, usable_cores
from rung.lm.openmp import SPIN_COUNT, limit_spinning


@pytest.fixture
def busy_machine() -> Iterator[None]:
    """A spinning process on each of our processors."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(usable_cores())]
    time.sleep(0.3)
    yield
    for process in spinning:
        process.kill()
        process.wait()


def test_the_share_of_others_is_what_we_did_not_take_on_our_processors() -> None:
    share = contention.share_of_others
    assert share([100, 100], [0, 1], own_seconds=2.0, seconds=2.0) == pytest.approx(0.5)
    assert share([100, 0, 100], [1, 2], own_seconds=1.0, seconds=1.0) == pytest.approx(0.0)  # 0 is not ours
    assert share([80, 20], [12, 13], own_seconds=0.0, seconds=1.0) == pytest.approx(0.5)  # numbered anew
    assert share([0, 0], [0, 1], own_seconds=1.0, seconds=1.0) == 0.0  # a system that tells nothing


def test_a_busy_machine_is_seen(busy_machine: None) -> None:
    assert contention.measure_others(0.5) > BUSY_SHARE


def test_what_we_compute_ourselves_does_not_count_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both shares are of one time, so that what other programs do in it is in both."""
    own, started = contention._own_cpu_seconds(), time.perf_counter()
    with contention.watch_others() as share:
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        ours_left_out = share()
        monkeypatch.setattr(contention, "_own_cpu_seconds", lambda: own)
        ours_counted = share()
    ours = 0.5 / ((time.perf_counter() - started) * len(affinity()))
    assert ours_counted - ours_left_out > 0.7 * ours


@pytest.mark.parametrize(("others", "said"), [(0.0, False), (BUSY_SHARE - 0.01, False), (BUSY_SHARE, True), (1.0, True)])
def test_the_warning_stands_where_the_share_is_large(others: float, said: bool) -> None:
    warning = contention.busy_warning(others)
    assert bool(warning) is said
    assert not said or f"{others:.0%}" in warning


def test_plan_says_that_the_machine_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task_folder = tmp_path / "task"
    rows = "\n".join(f"the {word} number {k} is gone,{word}" for k in range(20) for word in ("card", "loan"))
    task_folder.mkdir()
    (task_folder / "rows.csv").write_text(f"input,output\n{rows}\n")
    (task_folder / "rung.yaml").write_text(
        "task: Name the topic.\nkind: classify\ndata: {examples: rows.csv}\n"
        "base: fake\nencoder: fake\ngoal: {at_least: 0.8}\nrungs: [majority]\n"
    )
    monkeypatch.setattr(contention, "measure_others", lambda: 0.62)
    told = CliRunner().invoke(app, ["plan", str(task_folder)])
    assert told.exit_code == 0, told.output
    assert "62%" in told.output
    monkeypatch.setattr(contention, "measure_others", lambda: 0.0)
    assert "Other programs" not in CliRunner().invoke(app, ["plan", str(task_folder)]).output


def test_what_the_user_has_set_about_waiting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        environment = {name: "own"}
        assert not limit_spinning(environment)
        assert environment == {name: "own"}
    environment = {}
    assert limit_spinning(environment)
    assert environment == {"GOMP_SPINCOUNT": SPIN_COUNT}


def test_after_torch_is_loaded_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    environment: dict[str, str] = {}
    assert not limit_spinning(environment)
    assert not environment


def test_the_limit_is_set_before_our_torch_is_loaded() -> None:
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': print(os.environ['GOMP_SPINCOUNT']); sys.exit()\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import rung.lm.inference.causal"
    )
    clean = {"PATH": "", "PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == SPIN_COUNT
