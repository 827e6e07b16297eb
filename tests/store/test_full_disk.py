"""Full disks, damaged databases and kills: an error that says how to go on, and the same end as without them."""

from __future__ import annotations

import errno
import importlib.util
import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from rung import files
from rung.errors import DataError, RungError
from rung.lm.remote.calls import LEDGER, FileCalls
from rung.retrieve import ours
from rung.retrieve.index import Folder, index_config, update
from rung.retrieve.knowledge import opened, place, point
from rung.retrieve.sqlite import NAME, Sqlite
from rung.retrieve.store import Change

KILLS = Path(__file__).parents[2] / "benchmarks" / "kills.py"


def no_room() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def documents(folder: Path) -> Path:
    folder.mkdir()
    for i in range(40):
        (folder / f"{i}.md").write_text(f"# Part {i}\n\n" + f"word{i} " * 300)
    return folder


def test_what_a_full_disk_says_is_recognised_through_causes() -> None:
    try:
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.OperationalError as error:
            raise ValueError("could not be kept") from error
    except ValueError as error:
        assert files.is_full(error)
    assert files.is_full(no_room()) and not files.is_full(ValueError("x")) and not files.is_full(None)


def test_an_index_that_finds_no_room_says_so_and_goes_on(tmp_path: Path) -> None:
    root, how = documents(tmp_path / "documents"), index_config(None)
    store = Sqlite(tmp_path / "index")
    pages = store._db.execute("pragma page_count").fetchone()[0]
    store._db.execute(f"pragma max_page_count = {pages + 4}")
    with pytest.raises(RungError, match=r"the disk is full .*it resumes"):
        update(Folder(root, ("**/*.md",)), store, None, how)
    store.close()
    again = Sqlite(tmp_path / "index")
    update(Folder(root, ("**/*.md",)), again, None, how)
    assert len(again.documents()) == 40


def test_the_books_of_calls_say_that_the_disk_is_full(tmp_path: Path) -> None:
    books = FileCalls(tmp_path)
    pages = books._db.execute("pragma page_count").fetchone()[0]
    books._db.execute(f"pragma max_page_count = {pages}")
    with pytest.raises(RungError, match="the disk is full"), books.alone():
        books.keep("a", "x" * 100_000)
    books._db.execute(f"pragma max_page_count = {pages + 100}")
    with books.alone():
        books.keep("a", "x")


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_a_cut_database_names_the_file(tmp_path: Path, cut: float) -> None:
    root = documents(tmp_path / "documents")
    store = Sqlite(tmp_path / "index")
    update(Folder(root, ("**/*.md",)), store, None, index_config(None))
    store.close()
    for path in (tmp_path / "index" / NAME, tmp_path / LEDGER):
        if not path.exists():
            path.write_bytes(b"no database at all" * 200)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * cut)])
    with pytest.raises(DataError, match=r"knowledge\.sqlite.*Delete the folder"):
        list(Sqlite(tmp_path / "index").contents())
    with pytest.raises(RungError, match=r"ledger of API calls cannot be read.*Delete the file"):
        FileCalls(tmp_path)


def test_an_append_that_finds_no_room_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    files.append(path, "1\n")

    def full(number: int) -> None:
        raise no_room()

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.append(path, "2\n")
    monkeypatch.undo()
    assert path.read_text() == "1\n"


def test_a_write_that_finds_no_room_leaves_nothing_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text(tmp_path / "a", "old")

    def full(self: Path, *_: object, **__: object) -> int:
        raise no_room()

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "old"


def test_an_index_of_somebody_else_is_built_anew_in_a_task_and_not_opened_elsewhere(tmp_path: Path) -> None:
    for folder in (tmp_path / ".rung" / "index", tmp_path / "shared"):
        Sqlite(folder).close()
    said: list[str] = []
    opened(str(tmp_path / ".rung" / "index"), said.append)
    assert len(said) == 1 and "rebuilt from the documents" in said[0]
    opened(str(tmp_path / ".rung" / "index"), said.append)
    assert len(said) == 1
    with pytest.raises(DataError, match=r"carries no signature.*rung trust"):
        opened(str(tmp_path / "shared"), said.append)


def test_of_two_processes_that_find_no_index_one_makes_it_and_the_other_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it has its mark it looks like somebody else's, which is deleted: under the process that is filling it."""
    folder = tmp_path / ".rung" / "index"
    made, go_on, first, plain = threading.Event(), threading.Event(), threading.current_thread(), ours.claim

    def slow(place: Path) -> bool:
        if threading.current_thread() is not first:
            made.set()
            assert go_on.wait(60)
        return plain(place)

    monkeypatch.setattr(ours, "claim", slow)
    said: list[str] = []
    with ThreadPoolExecutor(1) as other:
        theirs = other.submit(opened, str(folder), said.append)
        assert made.wait(60)
        threading.Timer(0.3, go_on.set).start()  # long enough to have deleted it
        mine = opened(str(folder), said.append)
        assert said == []
        mine.apply([Change("a.md", "digest")], index_config(None))
        assert theirs.result().documents() == {"a.md": "digest"}


def test_where_an_index_was_moved_to_is_believed_only_when_signed(tmp_path: Path) -> None:
    point(tmp_path, "lance://elsewhere")
    assert place(tmp_path) == "lance://elsewhere"
    (tmp_path / "index.json").write_text('{"store": "lance://evil"}')
    with pytest.raises(DataError, match="carries no signature"):
        place(tmp_path)


def kills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kills", KILLS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["kills"] = module
    spec.loader.exec_module(module)
    return module


def test_what_the_program_of_kills_imports_exists() -> None:
    """The modules are named in strings, and the kind that needs them is only killed by the slow tests."""
    named = [name for kind in kills().KINDS.values() for name in kind.imports]
    assert named and all(importlib.util.find_spec(name) for name in named)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(
    ("kind", "count"),
    [("climb", 3), ("index", 3), ("lance", 3), ("beside", 2)]
    + [pytest.param(kind, count, marks=pytest.mark.slow) for kind, count in [("climb", 100), ("index", 100), ("fit", 10)]],
)
def test_killed_at_any_moment_the_end_is_that_of_an_undisturbed_run(tmp_path: Path, home: Path, kind: str, count: int) -> None:
    """In a process of its own: it forks, and a fork of one in which other tests have used LanceDB's threads may crash."""
    if needs := kills().KINDS[kind].needs:
        pytest.importorskip(needs, reason="the extra `lance` is not installed")
    command = [sys.executable, str(KILLS), "--kills", str(count), "--seed", "7", "--full", "0", "--only", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert int(done.stdout.partition(f"{kind}: ")[2].split()[0]) >= count, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["climb", "fit", "index", "beside"])
def test_a_disk_that_fills_up_is_named_and_the_next_run_ends_as_an_undisturbed_one(tmp_path: Path, home: Path, kind: str) -> None:
    program = kills()
    if not program.may_mount():
        pytest.skip("this user may not mount a file system")
    found = program.full(program.KINDS[kind], tmp_path, 4, seed=3)
    assert found.kills
    assert (found.different, found.twice, found.unclear) == (0, 0, 0)
