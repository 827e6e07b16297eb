"""Several processes on one store: lines, texts, workplaces and fits of each stay, and one does a piece of work at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from rung.errors import BudgetError, RungError
from rung.lm.base import ModelRef
from rung.predictor import Predictor
from rung.store import LeasedError, LeaseLostError, Store, leases
from rung.store.rows import FolderRows
from rung.types import Provenance, Record

START = Predictor(kind="classify", model=ModelRef("fake", "fake", "fake"), instruction="Sort.", labels=("a", "b"))
WORKER = """
import os, sys, time
from pathlib import Path
from rung.store import Store
from rung.types import Prediction
name, folder, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
store = Store(folder)
{body}
"""
EVERYTHING = """
for i in range(count):
    store.keep_predictions("d", [Prediction(f"{name}-{i}", "x")])
    store.write("decision.json", {"by": name, "number": i})
    if i % 4 == 0:
        store.change("test.json", lambda old: {**old, f"{name}-{i}": 1})
        with store.lease("fits/k"):
            place = store.workplace("k")
            (place / "output").mkdir()
            (place / "output" / "file").write_text(name)
            assert (place / "output" / "file").read_text() == name
"""
HOLDS = """
with store.lease("fits/k"):
    (store.workplace("k") / "work" / "checkpoint-3").mkdir(parents=True)
    print("has it", flush=True)
    sys.stdin.read()
"""


def start(body: str, name: str, folder: Path, count: int = 1) -> subprocess.Popen[str]:
    code = WORKER.replace("{body}", body)
    return subprocess.Popen(
        [sys.executable, "-c", code, name, str(folder), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_on_one_folder_lose_nothing(tmp_path: Path) -> None:
    for process in [start(EVERYTHING, name, tmp_path, 100) for name in ("one", "two")]:
        process.communicate(timeout=120)
        assert process.returncode == 0
    said: list[str] = []
    store = Store(tmp_path, said.append)
    assert len(store.predictions("d")) == 200 and not said
    assert store.read("decision.json")["number"] == 99
    assert len(store.read("test.json")) == 50


@pytest.fixture
def held(tmp_path: Path):
    """A process that has the lease of a fit."""
    other = start(HOLDS, "other", tmp_path)
    assert other.stdout and other.stdout.readline() == "has it\n"
    yield other
    other.kill()
    other.communicate()


def test_a_lease_is_refused_waited_for_and_taken_from_a_killed_process(held: subprocess.Popen[str], tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(LeasedError), store.lease("fits/k", None):
        pass
    with pytest.raises(BudgetError), store.lease("fits/k", time.monotonic() + 0.1):
        pass
    with store.lease("fits/other", None):
        pass
    held.kill()
    held.wait()
    with store.lease("fits/k", None):  # at once, though it has not run out
        assert [path.name for path in store.workplace("k").rglob("checkpoint-*")] == ["checkpoint-3"]
    assert not list((store.folder / "leases").glob("*.json"))


def test_what_is_renewed_does_not_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still until each renewal has come, however slow the machine is."""
    clock, end = [1000.0], time.monotonic() + 60
    monkeypatch.setattr(FolderRows, "now", lambda self: clock[0])
    one, other = Store(tmp_path), Store(tmp_path)
    one.lease_seconds = 0.3
    with one.lease("fits/k"):
        for _ in range(4):
            clock[0] += 0.2
            while (found := leases.holder(one.rows, "fits/k")) is None or found.until < clock[0] + 0.3:
                assert time.monotonic() < end, "nobody renews it"
                time.sleep(0.01)
        with pytest.raises(LeasedError), other.lease("fits/k", None):
            pass
    with other.lease("fits/k", None):
        pass


def test_who_lost_a_lease_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases.Lease, "begin", lambda self: None)  # nothing renews: as in a process that was stopped
    slow, quick = Store(tmp_path), Store(tmp_path)
    slow.lease_seconds = 0.05
    record = Record(rung="lora", status="done", provenance=Provenance(key="r"))
    with slow.lease("fits/k"), slow.lease("rungs/r"):
        mine = slow.workplace("k")
        (mine / "work" / "checkpoint-3").mkdir(parents=True)
        time.sleep(0.1)
        with quick.lease("fits/k"), quick.lease("rungs/r"):
            theirs = quick.workplace("k")
            assert theirs != mine, "the one that lost it may still write into its own folder"
            assert [path.name for path in theirs.rglob("checkpoint-*")] == ["checkpoint-3"]
            with pytest.raises(LeaseLostError, match="taken over"):
                slow.keep_fit("k", START, {})
            with pytest.raises(LeaseLostError):
                slow.keep_record(record)
            quick.keep_fit("k", START, {"by": "quick"})
            quick.keep_record(record)
    assert Store(tmp_path).fit_notes("k") == {"by": "quick"}
    assert Store(tmp_path).records() == [record]
    assert not list((tmp_path / ".rung" / "work").iterdir())


def test_progress_outlives_two_takeovers_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases.Lease, "begin", lambda self: None)
    places: list[Path] = []

    def attempt(number: int) -> None:
        """An attempt that gets on, and loses its lease to the next one."""
        store = Store(tmp_path)
        store.lease_seconds = 0.01
        with store.lease("fits/k"):
            place = store.workplace("k")
            places.append(place)
            assert {path.name for path in place.rglob("checkpoint-*")} == {f"checkpoint-{i}" for i in range(number)}
            (place / "work").mkdir(exist_ok=True)
            (place / "work" / f"checkpoint-{number}").write_text("")
            time.sleep(0.02)
            if number < 2:
                attempt(number + 1)

    attempt(0)
    assert len({*places}) == 3, "each of the earlier ones may still write into its own"
    store = Store(tmp_path)
    with store.lease("fits/k"):  # the last one has given its lease back, the first ones may still run
        place = store.workplace("k")
        assert place not in places and len(list(place.rglob("checkpoint-*"))) == 3
        store.keep_fit("k", START, {})
    assert not list((tmp_path / ".rung" / "work").iterdir())


def test_checkpoints_of_a_stranger_are_not_taken_up(tmp_path: Path) -> None:
    (tmp_path / ".rung" / "work" / "k-1" / "work" / "checkpoint-9").mkdir(parents=True)
    said: list[str] = []
    store = Store(tmp_path, said.append)
    for _ in range(2):
        with store.lease("fits/k"):
            assert not list(store.workplace("k").iterdir())
    assert "carries no signature" in said[0] and [path.name for path in (tmp_path / ".rung" / "work").glob("k-*")] == []


def test_others_wait_for_the_renaming_of_a_fit_and_not_for_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, plain, seen = Store(tmp_path), FolderRows.alone, []

    def look() -> tuple[int, bool]:
        fits = store.folder / "fits"
        return len(list(fits.glob("k.*.part/manifest.json"))), (fits / "k").exists()

    @contextmanager
    def alone(self: FolderRows) -> Iterator[None]:
        with plain(self):
            before = look()
            yield
            seen.append((before, look()))

    with store.lease("fits/k"):
        monkeypatch.setattr(FolderRows, "alone", alone)
        store.keep_fit("k", START, {})
    assert seen[0] == ((1, False), (0, True)), "sealed before, and only renamed in the block"


def test_a_lease_that_ran_out_is_still_its_owners_while_nobody_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases.Lease, "begin", lambda self: None)
    store = Store(tmp_path)
    store.lease_seconds = 0.01
    with store.lease("fits/k"):
        time.sleep(0.05)
        store.keep_fit("k", START, {})


def test_a_thread_takes_a_lease_again_and_another_thread_waits(tmp_path: Path) -> None:
    store, done = Store(tmp_path), []

    def other() -> None:
        with store.lease("fits/k"):
            done.append(time.monotonic())

    with store.lease("fits/k"), store.lease("fits/k", None):
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.2)
        assert not done
        freed = time.monotonic()
    thread.join()
    assert done[0] >= freed


@pytest.mark.parametrize("text", ["", "{", "[]", '{"token": 1}', "null"])
def test_a_lease_that_cannot_be_read_binds_nobody(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    (store.folder / "leases").mkdir(parents=True)
    (store.folder / "leases" / "fits-k.json").write_text(text)
    with store.lease("fits/k", None):
        pass


def test_a_lease_for_years_is_not_believed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    owner = leases.Owner("t", "another machine", 1, 0.0)
    for until, free in ((time.time() + 20, False), (time.time() + 1e9, True), (time.time() - 1, True)):
        store.rows.write("leases/fits-k.json", json.dumps(asdict(replace(owner, until=until))))
        if free:
            with store.lease("fits/k", None):
                pass
        else:
            with pytest.raises(LeasedError), store.lease("fits/k", None):
                pass


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_a_stopped_process_loses_its_lease_only_when_it_has_run_out(held: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(held.pid, signal.SIGSTOP)
    store = Store(tmp_path)
    with pytest.raises(LeasedError), store.lease("fits/k", None):
        pass
    owner = leases.holder(store.rows, "fits/k")
    assert owner and not owner.gone()
    store.rows.write("leases/fits-k.json", json.dumps(asdict(replace(owner, until=time.time() - 1))))
    with store.lease("fits/k", None):
        assert store.taken_over("fits/k")


def test_kills_in_a_later_part_of_a_fit_are_counted_anew(tmp_path: Path) -> None:
    store = Store(tmp_path)
    work = store.workplace("k") / "work"

    def killed(times: int) -> None:
        for _ in range(times):
            with pytest.raises(SystemExit), store.trying("k"):
                raise SystemExit

    (work / "questions" / "checkpoint-3").mkdir(parents=True)
    killed(3)
    (work / "questions").rename(work / "questions-done")  # its checkpoints are gone, as those of the next part are
    (work / "questions-done" / "checkpoint-3").rmdir()
    killed(3)
    (work / "reranker" / "checkpoint-3").mkdir(parents=True)
    killed(3)
    with pytest.raises(RungError, match="started 3 times"), store.trying("k"):
        pass
