"""A folder and its index: what comes, changes, moves, goes or is refused, and what is not done twice."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rung.errors import BusyError, TaskError
from rung.retrieve import index
from rung.retrieve.search import Settings, search
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Allow, IndexConfig, Vector

MANY = 40


class Toy:
    """Counts letters, and counts how often it was asked."""

    max_length = 256

    def __init__(self, width: int = 26) -> None:
        self.asked: list[str] = []
        self.width = width

    def embed(self, texts: Sequence[str]) -> Vector:
        self.asked += texts
        counts = np.array([[text.lower().count(chr(97 + i)) + 0.01 for i in range(self.width)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def count(self, text: str) -> int:
        return len(text.split())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "team"
    (root / "docs").mkdir(parents=True)
    (root / "docs/returns.md").write_text("# Returns\n\nParcels may come back within thirty days.\n")
    (root / "docs/fees.md").write_text("# Fees\n\nA wire transfer costs twelve crowns.\n")
    (root / "docs/hours.txt").write_text("The desk is open until six.\n")
    return root


@pytest.fixture
def store(tmp_path: Path) -> Sqlite:
    return Sqlite(tmp_path / "index")


def updated(
    root: Path, store: Sqlite, toy: Toy | None = None, progress: index.Progress = lambda what, share: None, **known
) -> index.Changes:
    toy = toy or Toy()
    made = index.index_config(toy, "toy", f"toy{toy.width}")
    return index.update(index.Folder(root, ["docs"], **known), store, toy, made, progress)


def found(store: Sqlite, question: str, allow: Allow = Allow()) -> list[str]:
    return [hit.passage.path for hit in search(store, question, None, Settings(legs=("lexical",)), allow)]


def test_the_first_time_everything_is_added(root: Path, store: Sqlite) -> None:
    toy = Toy()
    changes = updated(root, store, toy)
    assert changes.added == ("docs/fees.md", "docs/hours.txt", "docs/returns.md")
    assert changes.embedded == 3 and len(toy.asked) == 3
    assert found(store, "wire transfer") == ["docs/fees.md"]
    hit = search(store, "wire transfer", None, Settings(legs=("lexical",)))[0]
    assert (hit.passage.heading, hit.passage.first_line) == (("Fees",), 3)
    told, stale = index.health(store, index.Folder(root, ["docs"]))
    assert told.whole and told.documents == 3 and stale == 0


def test_nothing_changed_nothing_done(root: Path, store: Sqlite) -> None:
    updated(root, store)
    before = store.generation()
    for path in (root / "docs").iterdir():
        os.utime(path, (1, 1))  # a modification time is never a key
    toy = Toy()
    assert updated(root, store, toy) == index.Changes(unchanged=3)
    assert toy.asked == [] and store.generation() == before


def test_edited_deleted_renamed_and_refused_are_so_in_the_next_search(root: Path, store: Sqlite) -> None:
    updated(root, store)
    (root / "docs/fees.md").write_text("# Fees\n\nA cheque costs nine crowns.\n")
    (root / "docs/hours.txt").unlink()
    (root / "docs/returns.md").rename(root / "docs/sub.md")
    (root / "docs/bad.md").write_bytes(b"\x00\x01\x02" * 100)
    assert index.health(store, index.Folder(root, ["docs"]))[1] == 4
    toy = Toy()
    changes = updated(root, store, toy)
    assert changes.changed == ("docs/fees.md",)
    assert changes.deleted == ("docs/hours.txt",)
    assert changes.renamed == (("docs/returns.md", "docs/sub.md"),)
    assert list(changes.refused) == ["docs/bad.md"] and changes.added == ()
    assert len(toy.asked) == 1 and "cheque" in toy.asked[0], "a renamed file's texts are known"
    assert found(store, "wire transfer") == [] and found(store, "desk open") == []
    assert found(store, "cheque") == ["docs/fees.md"]
    assert found(store, "parcels come back") == ["docs/sub.md"]
    told, stale = index.health(store, index.Folder(root, ["docs"]))
    assert told.whole and stale == 0 and list(told.refused) == ["docs/bad.md"]
    assert updated(root, store) == index.Changes(unchanged=3), "a refused file is not read again"


def test_a_file_that_was_good_and_is_broken_now_is_found_no_more(root: Path, store: Sqlite) -> None:
    updated(root, store)
    (root / "docs/fees.md").write_bytes(b"%PDF-1.7 this is no markdown")
    assert list(updated(root, store).refused) == ["docs/fees.md"]
    assert found(store, "wire transfer") == []
    (root / "docs/fees.md").write_text("# Fees\n\nA wire transfer costs twelve crowns.\n")
    assert updated(root, store).changed == ("docs/fees.md",)
    assert found(store, "wire transfer") == ["docs/fees.md"]


def test_a_label_that_changes_is_seen_although_the_file_is_the_same(root: Path, store: Sqlite) -> None:
    updated(root, store)
    assert found(store, "wire transfer") == ["docs/fees.md"]
    toy = Toy()
    changes = updated(root, store, toy, label=lambda path: "staff" if "fees" in path else "")
    assert changes.changed == ("docs/fees.md",) and toy.asked == []
    assert found(store, "wire transfer") == []
    assert found(store, "wire transfer", Allow(frozenset({"staff"}))) == ["docs/fees.md"]


def test_other_making_replaces_everything_at_once(root: Path, store: Sqlite) -> None:
    updated(root, store)
    before, toy = store.generation(), Toy(width=5)
    changes = updated(root, store, toy)
    assert len(changes.changed) == 3 and len(toy.asked) == 3
    assert store.generation() == before + 1, "one transaction: never vectors of two models side by side"
    assert store.health().whole
    assert search(store, "", toy.embed(["wire"])[0], Settings(legs=("dense",)))
    (root / "docs/fees.md").unlink()
    toy = Toy()
    assert updated(root, store, toy).deleted == ("docs/fees.md",)
    assert store.health().passages == 2


def test_two_files_with_the_same_text_embed_it_once(root: Path, store: Sqlite) -> None:
    (root / "docs/copy.md").write_text((root / "docs/fees.md").read_text())
    toy = Toy()
    assert updated(root, store, toy).embedded == 3
    assert found(store, "wire transfer") == ["docs/copy.md", "docs/fees.md"]


def test_an_index_of_words_alone(root: Path, store: Sqlite) -> None:
    index.update(index.Folder(root, ["docs"]), store, None, index.index_config(None))
    assert found(store, "wire transfer") == ["docs/fees.md"]
    assert store.health().dense is None and store.health().whole


def test_an_empty_folder_is_an_empty_index(tmp_path: Path, store: Sqlite) -> None:
    (tmp_path / "none/docs").mkdir(parents=True)
    assert updated(tmp_path / "none", store) == index.Changes()
    assert found(store, "anything") == [] and store.health().whole
    assert search(store, "x", np.ones(26, np.float32), Settings()) == []


def test_passages_longer_than_the_embedder_reads_are_refused() -> None:
    with pytest.raises(TaskError, match="longer than the 256"):
        index.index_config(Toy(), "toy", "d", size=300)


def test_files_without_passages_and_deletions_are_committed_in_groups_too(
    root: Path, store: Sqlite, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    apply = store.apply
    monkeypatch.setattr(index, "GROUP", 4)
    monkeypatch.setattr(store, "apply", lambda changes, made: (sizes.append(len(changes)), apply(changes, made)))
    updated(root, store)
    for i in range(9):
        (root / f"docs/{i}.md").write_text("")
    sizes.clear()
    assert len(updated(root, store).refused) == 9 and sizes == [4, 4, 1]
    for i in range(9):
        (root / f"docs/{i}.md").unlink()
    sizes.clear()
    assert len(updated(root, store).deleted) == 9 and sizes == [4, 4, 1]


def test_progress_goes_from_nothing_to_all(root: Path, store: Sqlite) -> None:
    seen: list[tuple[str, float]] = []
    updated(root, store, progress=lambda what, share: seen.append((what, share)))
    assert seen[0] == ("reading docs/fees.md", 0.0) and seen[-1][1] == 1.0
    assert [share for _, share in seen] == sorted(share for _, share in seen)


KILLED = """
    import os, sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from rung.retrieve import index
    from test_index import Sqlite, Toy, updated
    index.GROUP = 5
    class Dying(Toy):
        def embed(self, texts):
            if len(self.asked) >= 20:
                os.kill(os.getpid(), 9)
            return super().embed(texts)
    updated(Path({root!r}), Sqlite(Path({folder!r})), Dying())
"""


def test_killed_in_the_middle_the_next_run_goes_on(root: Path, tmp_path: Path) -> None:
    for i in range(MANY):
        (root / f"docs/{i:02}.md").write_text(f"Text number {i} about parcels {'x' * i}.")
    code = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent), root=str(root), folder=str(tmp_path / "index"))
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    store = Sqlite(tmp_path / "index")
    assert 0 < len(store.documents()) < MANY
    assert store.health().whole, "what was applied before the kill is searchable"
    toy = Toy()
    updated(root, store, toy)
    assert len(store.documents()) == MANY + 3 and store.health().whole
    assert len(toy.asked) <= MANY + 3 - 20, "texts embedded before the kill are not embedded again"


def test_parts_make_the_index_that_one_update_makes(root: Path, store: Sqlite, tmp_path: Path) -> None:
    for i in range(9):
        (root / f"docs/{i}.md").write_text(f"Text number {i} about parcels {'x' * i}.")
    updated(root, other := Sqlite(tmp_path / "other"))
    toy = Toy()
    usual = index.index_config(toy, "toy", f"toy{toy.width}")

    def add(part: int, of: int, made: IndexConfig = usual) -> int:
        return index.add_part(index.Folder(root, ["docs"]), store, toy, made, part=part, of=of)

    sizes = [add(part, 3) for part in (2, 0, 1)]
    assert sum(sizes) == len(toy.asked) == 12 and all(sizes)
    assert sum(add(part, 4) for part in range(4)) == 0
    changes = updated(root, store)
    assert (changes.added, changes.embedded, changes.unchanged) == ((), 0, 12)
    assert found(store, "parcels") == found(other, "parcels") and store.documents() == other.documents()
    (root / "docs/0.md").unlink()
    (root / "docs/1.md").write_text("It changed.")
    assert sum(add(part, 2) for part in range(2)) == 1 and "docs/0.md" in store.documents()
    other_way = index.index_config(toy, "toy", "another", size=100)
    assert add(0, 1, other_way) == 0, "an index made in another way is one writer's"


def test_an_update_waits_for_another_process_that_indexes(root: Path, store: Sqlite, tmp_path: Path) -> None:
    other = Sqlite(tmp_path / "index")
    held = other.updating()
    held.__enter__()
    said: list[str] = []

    def progress(text: str, share: float) -> None:
        said.append(text)
        if len(said) == 2:
            held.__exit__(None, None, None)

    assert len(updated(root, store, progress=progress).added) == 3
    assert said[:2] == ["waiting for another process that is indexing"] * 2


def test_an_update_does_not_wait_for_ever(root: Path, store: Sqlite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "WAIT_SECONDS", 0.3)
    with Sqlite(tmp_path / "index").updating(), pytest.raises(BusyError, match="another process is indexing"):
        updated(root, store)
