"""What every store must do: atomic changes, filters inside both legs, vectors kept by content, and moving to another."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rung.errors import BusyError, DataError
from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.search import Settings, search
from rung.retrieve.sqlite import NAME, Sqlite
from rung.retrieve.store import Allow, Change, IndexConfig, Store, Vector, move, text_digest

CONFIG = IndexConfig("toy", "toy-digest")
LINE = "parcel refund delay card crew vitamin solar dragon wizard lemon harbour castle violin tunnel comet"
WORDS = LINE.split()
OPEN = Settings(k=50)


def embed(texts: list[str]) -> Vector:
    """Bags of the known words, of length one."""
    counts = np.array([[text.count(word) + 1e-3 for word in WORDS] for text in texts], np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def passage(path: str, text: str, access: str = "", **extra: str) -> Passage:
    return Passage(f"{path}:{text}:{access}", path, ("Top", "Sub"), text, 3, 4, 0, access, extra)


def put(store: Store, *passages: Passage, digest: str = "d") -> None:
    """One file with these passages, in one transaction."""
    texts = [text_digest(p) for p in passages]
    store.keep_vectors(CONFIG.embedder_digest, texts, embed([embedded_text(p) for p in passages]))
    store.apply([Change(passages[0].path, digest, passages)], CONFIG)


def found(store: Store, question: str, allow: Allow = Allow(access=None), leg: str = "both") -> set[str]:
    legs = {"both": ("lexical", "dense"), "lexical": ("lexical",), "dense": ("dense",)}[leg]
    hits = search(store, question, embed([question])[0], Settings(legs=legs, k=50), allow)
    return {hit.passage.text for hit in hits if hit.dense is None or hit.dense > 0.1}


@pytest.fixture(params=["sqlite", "lance"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Store]:
    if request.param == "sqlite":
        return lambda name: Sqlite(tmp_path / name)
    pytest.importorskip("lancedb", reason="the extra `lance` is not installed")
    from rung.retrieve.lance import Lance

    return lambda name: Lance(str(tmp_path / name), tmp_path / "derived" / name)


def test_what_goes_in_comes_out(make: Callable[[str], Store]) -> None:
    store = make("a")
    assert store.config() is None and store.documents() == {}
    p = passage("docs/a.md", "a parcel 包裹", "staff", year="2024")
    put(store, p)
    assert store.config() == CONFIG
    assert store.documents() == {"docs/a.md": "d"}
    assert store.passages([p.id]) == [p]
    assert store.file("docs/a.md") == [p] and store.file("docs/b.md") == []
    with pytest.raises(KeyError):
        store.passages(["gone"])
    assert store.health().whole and store.health().passages == 1


def test_a_changed_file_loses_its_old_passages_and_a_deleted_one_all(make: Callable[[str], Store]) -> None:
    store = make("a")
    put(store, passage("a.md", "old parcel"), passage("a.md", "the refund"))
    put(store, passage("b.md", "another parcel"))
    before = store.generation()
    put(store, passage("a.md", "new dragon"), digest="d2")
    assert store.generation() > before
    assert found(store, "parcel") == {"another parcel"}
    assert found(store, "refund") == set()
    assert found(store, "dragon") == {"new dragon"}
    store.apply([Change("b.md")], CONFIG)
    assert found(store, "parcel") == set()
    assert store.documents() == {"a.md": "d2"}
    assert store.health().whole


def test_changes_given_together_are_one_generation(make: Callable[[str], Store]) -> None:
    store = make("a")
    old, new = passage("old.md", "the parcel"), passage("new.md", "the parcel")
    put(store, old)
    store.apply([Change("old.md"), Change("new.md", "d", (new,))], CONFIG)
    assert [p.path for p in store.passages([new.id])] == ["new.md"]
    assert store.documents() == {"new.md": "d"}


def test_a_refused_file_has_no_passages_and_a_reason(make: Callable[[str], Store]) -> None:
    store = make("a")
    put(store, passage("a.md", "the parcel"))
    store.apply([Change("a.md", "d2", refused="it is empty.")], CONFIG)
    assert found(store, "parcel") == set()
    assert store.health().refused == {"a.md": "it is empty."}
    assert store.documents() == {"a.md": "d2"} and store.health().documents == 0


@pytest.mark.parametrize("leg", ["lexical", "dense"])
def test_filters_act_inside_each_leg(make: Callable[[str], Store], leg: str) -> None:
    store = make("a")
    for i in range(30):  # hidden ones that would fill any list which is filtered afterwards
        put(store, passage(f"hr/{i}.md", f"parcel parcel {i}", "hr"))
    put(store, passage("open/a.md", "a parcel for all"), passage("open/a.md", "a parcel of 2024", year="2024"))
    put(store, passage("open/ab/b.md", "a parcel for the board", "board"))
    legs = Settings(legs=(leg,), k=5, depth=5)  # type: ignore[arg-type]

    def seen(allow: Allow) -> set[str]:
        return {hit.passage.text for hit in search(store, "parcel", embed(["parcel"])[0], legs, allow)}

    everyone = {"a parcel for all", "a parcel of 2024"}
    assert seen(Allow()) == everyone
    assert seen(Allow(frozenset({"board"}))) == {*everyone, "a parcel for the board"}
    assert seen(Allow(frozenset({"board"}), under="open/ab")) == {"a parcel for the board"}
    assert seen(Allow(under="open/a")) == set(), "a folder is no prefix of letters"
    assert seen(Allow(under="open/a.md")) == everyone
    assert seen(Allow(where={"year": "2024"})) == {"a parcel of 2024"}
    assert seen(Allow(where={"year": "1999"})) == set()
    assert any("parcel parcel" in text for text in seen(Allow(access=None)))


def test_no_label_no_passage_of_another_label_whatever_is_asked(make: Callable[[str], Store]) -> None:
    """No chunk of tenant B in anything of tenant A."""
    store, rng = make("a"), random.Random(0)
    labels = ["", "a", "b", "it's", "a=b"]
    for i in range(40):
        label = rng.choice(labels)
        put(store, passage(f"{i}.md", f"{' '.join(rng.sample(WORDS, 3))} {i}", label))
    for _ in range(30):
        mine = frozenset(rng.sample(labels[1:], rng.randint(0, 3)))
        question = " ".join(rng.sample(WORDS, 2))
        hits = search(store, question, embed([question])[0], OPEN, Allow(mine))
        assert {hit.passage.access for hit in hits} <= {"", *mine}
        assert hits


def test_a_text_is_embedded_once_even_when_its_file_is_renamed(make: Callable[[str], Store]) -> None:
    store = make("a")
    one, other = passage("a.md", "a parcel"), passage("b.md", "a parcel")
    assert store.embedded(CONFIG.embedder_digest, [text_digest(one)]) == set()
    put(store, one)
    assert store.embedded(CONFIG.embedder_digest, [text_digest(other), "x"]) == {text_digest(one)}
    assert store.embedded("another model", [text_digest(one)]) == set()


def test_the_dense_leg_is_exact(make: Callable[[str], Store]) -> None:
    store, rng = make("a"), np.random.default_rng(0)
    texts = [f"{' '.join(rng.choice(WORDS, 4))} {i}" for i in range(80)]
    for i, text in enumerate(texts):
        put(store, passage(f"{i}.md", text))
    for i in range(0, 60, 2):
        store.apply([Change(f"{i}.md")], CONFIG)
    left = [texts[i] for i in range(80) if i >= 60 or i % 2]
    question = embed(["parcel wizard comet"])[0]
    scores = embed([embedded_text(passage("", text)) for text in left]) @ question
    hits = search(store, "", question, Settings(legs=("dense",), k=10))
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores, reverse=True)[:10], abs=1e-5)


def test_another_opening_of_the_store_sees_the_change(make: Callable[[str], Store]) -> None:
    store = make("a")
    put(store, passage("a.md", "a parcel"))
    other = make("a")
    assert found(other, "parcel") == {"a parcel"}
    put(store, passage("a.md", "a dragon"), digest="d2")
    assert found(other, "parcel") == set()
    assert found(other, "dragon") == {"a dragon"}


def test_moving_keeps_every_answer(make: Callable[[str], Store], tmp_path: Path) -> None:
    rng, numbers = random.Random(1), np.random.default_rng(1)  # no two passages alike: equals may stand in any order
    store, other, back = Sqlite(tmp_path / "from"), make("to"), Sqlite(tmp_path / "back")
    for i in range(30):
        texts = [f"{' '.join(rng.sample(WORDS, 5))} {i}.{j} Rückgabebedingungen 退货" for j in range(3)]
        passages = tuple(passage(f"f{i % 4}/{i}.md", text, rng.choice(["", "x"]), n=str(i)) for text in texts)
        vectors = numbers.standard_normal((3, 16)).astype(np.float32)
        store.keep_vectors(CONFIG.embedder_digest, [text_digest(p) for p in passages], vectors / 4)
        store.apply([Change(f"f{i % 4}/{i}.md", "d", passages)], CONFIG)
    store.apply([Change("bad.md", "r", refused="it is empty.")], CONFIG)
    move(store, other)
    move(other, back)
    assert other.documents() == store.documents() == back.documents()
    assert other.health().whole and other.health().refused == store.health().refused
    for _ in range(20):
        question = " ".join(rng.sample([*WORDS, "Rückgabe", "Bedingungen", "退货"], 2))
        vector = numbers.standard_normal(16).astype(np.float32)
        for allow in (Allow(), Allow(access=None), Allow(under="f1")):
            hits = [search(one, question, vector, OPEN, allow) for one in (store, other, back)]
            assert [h.passage for h in hits[0]] == [h.passage for h in hits[1]] == [h.passage for h in hits[2]]


# --- SQLite's own -----------------------------------------------------------------------------------------------------


def test_a_failing_change_leaves_the_old_index(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "a")
    put(store, passage("a.md", "a parcel"))
    with pytest.raises(AssertionError, match="no vector is stored"):
        store.apply([Change("b.md"), Change("a.md", "d2", (passage("a.md", "no vector"),))], CONFIG)
    assert found(store, "parcel") == {"a parcel"}
    assert store.documents() == {"a.md": "d"}


def test_a_broken_file_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database at all, only words" * 50)
    with pytest.raises(DataError, match="Delete the folder"):
        Sqlite(tmp_path)


def test_two_updates_at_once_are_refused(tmp_path: Path) -> None:
    one, two = Sqlite(tmp_path / "a"), Sqlite(tmp_path / "a")
    with one.updating(), pytest.raises(BusyError), two.updating():
        pass


DERIVED = ["dense", "lexical", "dense/stamp.json", "lexical/stamp.json", "dense/vectors.f32", "dense/codes.i8"]


@pytest.mark.parametrize("lost", DERIVED)
def test_a_lost_derived_file_is_made_anew(tmp_path: Path, lost: str) -> None:
    import shutil

    store = Sqlite(tmp_path / "a")
    put(store, passage("a.md", "a parcel"))
    assert found(store, "parcel")
    store.close()
    path = tmp_path / "a" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    store = Sqlite(tmp_path / "a")
    assert found(store, "parcel", leg="lexical") == found(store, "parcel", leg="dense") == {"a parcel"}
    assert store.health().whole


def test_an_index_made_again_never_takes_the_old_derived_files(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "a")
    put(store, passage("a.md", "a parcel"))
    assert found(store, "parcel")
    store.close()
    for path in (tmp_path / "a").glob(f"{NAME}*"):
        path.unlink()
    store = Sqlite(tmp_path / "a")
    put(store, passage("b.md", "a dragon"))  # the same generation as the old one
    assert found(store, "parcel") == set()
    assert found(store, "dragon") == {"a dragon"}


def test_lines_of_passages_that_are_gone_are_cleared(tmp_path: Path) -> None:
    store = Sqlite(tmp_path / "a")
    for turn in range(12):
        put(store, *(passage("a.md", f"parcel {turn} {i}") for i in range(5)), digest=str(turn))
        store.settle()
    assert (tmp_path / "a/dense/rows.i64").stat().st_size // 8 <= 15
    db = sqlite3.connect(tmp_path / "a" / NAME)
    assert db.execute("select count(*) from vectors").fetchone()[0] <= 15, "vectors without a passage pile up"
    assert found(store, "parcel") == {f"parcel 11 {i}" for i in range(5)}


WRITER = """
    import sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from rung.retrieve import dense, lexical
    from test_store import Sqlite, passage, put
    store = Sqlite(Path({folder!r}))
    {spoil}
    print("ready", flush=True)
    for turn in range(1, 10_000):
        put(store, *(passage("a.md", f"parcel turn{{turn}} part{{i}}") for i in range(20)), digest=str(turn))
        store.settle()
"""
SPOILS = {
    "anywhere": "",
    "between commit and derived files": "dense.catch_up = lambda *a: __import__('os').kill(__import__('os').getpid(), 9)",
    "between vectors and their stamp": "dense._write = lambda *a: __import__('os').kill(__import__('os').getpid(), 9)",
    "between tantivy's commit and its stamp": "lexical._write = lambda *a: __import__('os').kill(__import__('os').getpid(), 9)",
}


@pytest.mark.parametrize("where", [*SPOILS, "anywhere", "anywhere"])
def test_killed_at_any_moment_the_index_is_the_old_one_or_the_new_one(tmp_path: Path, where: str, request) -> None:
    store = Sqlite(tmp_path / "a")
    put(store, *(passage("a.md", f"parcel turn0 part{i}") for i in range(20)), digest="0")
    store.settle()
    code = textwrap.dedent(WRITER).format(tests=str(Path(__file__).parent), folder=str(tmp_path / "a"), spoil=SPOILS[where])
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert writer.stdout and writer.stdout.readline() == b"ready\n"
    if where == "anywhere":
        time.sleep(random.Random(request.node.name).uniform(0.01, 0.4))
        writer.kill()
    assert writer.wait(timeout=30) == -signal.SIGKILL
    for one in (Sqlite(tmp_path / "a"), store):
        turn = one.documents()["a.md"]
        whole = {f"parcel turn{turn} part{i}" for i in range(20)}
        assert found(one, f"parcel turn{turn}", leg="lexical") == found(one, "parcel", leg="dense") == whole
        assert one.health().whole
    put(store, passage("a.md", "a dragon"), digest="after")
    assert found(store, "dragon parcel") == {"a dragon"}


def test_searches_beside_a_writer_see_whole_generations(tmp_path: Path) -> None:
    import threading

    reader, writer = Sqlite(tmp_path / "a"), Sqlite(tmp_path / "a")
    put(writer, *(passage("a.md", f"parcel turn0 part{i}") for i in range(5)))
    seen: list[set[str]] = []

    def write() -> None:
        for turn in range(1, 8):
            put(writer, *(passage("a.md", f"parcel turn{turn} part{i}") for i in range(5)), digest=str(turn))

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        try:
            seen.append(found(reader, "parcel"))
        except BusyError:
            continue
    thread.join()
    for texts in seen:
        assert len(texts) == 5 and len({text.split()[1] for text in texts}) == 1
