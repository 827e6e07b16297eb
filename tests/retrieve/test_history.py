"""The past of a folder shows nowhere: an index brought up to date searches as one made afresh, to the last bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_index import Toy

from rung.retrieve import index
from rung.retrieve.lookup import evidence
from rung.retrieve.search import Settings, search
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Store

WORDS = ["parcel", "parcels", "refund", "letter", "desk", "order", "vault", "cardigan", "Liebe", "Brief", "Liebesbrief", "undo"]
TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=60).map(" ".join)
NAME = st.sampled_from([f"{name}.md" for name in ("a", "b", "c/d", "e", "é")])
EDIT = st.one_of(
    st.tuples(st.just("write"), NAME, TEXT),
    st.tuples(st.just("write"), NAME, st.just("the same words in many files: parcel refund")),
    st.tuples(st.just("delete"), NAME, st.just("")),
    st.tuples(st.just("rename"), NAME, NAME),
    st.tuples(st.just("index"), st.just(""), st.just("")),
)
QUESTIONS = ("parcel", "refund the letter", "Liebesbrief", "Liebe", "vaul", "cardig parcel", "the same words", "undo")
STORES: list[str] = ["sqlite", "lance"]


def opened(kind: str, at: Path) -> Store:
    if kind == "sqlite":
        return Sqlite(at / "index")
    lance = pytest.importorskip("rung.retrieve.lance", reason="the extra `lance` is not installed")
    pytest.importorskip("lancedb", reason="the extra `lance` is not installed")
    return lance.Lance(str(at / "store"), at / "derived")


def bring(root: Path, store: Store) -> None:
    toy = Toy()
    index.update(index.Folder(root), store, toy, index.index_config(toy, "toy", "toy26", 20, 5))


def edit(root: Path, what: str, name: str, other: str) -> None:
    path = root / name
    if what == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n\n{other}\n")
    elif what == "delete":
        path.unlink(missing_ok=True)
    elif what == "rename" and path.exists():
        (root / other).parent.mkdir(parents=True, exist_ok=True)
        path.replace(root / other)


def searched(store: Store, depth: int) -> list[object]:
    """Ids and scores of each leg and of both, cut at a depth that falls among equal scores, and the evidence."""
    out: list[object] = []
    for question in QUESTIONS:
        [vector] = Toy().embed([question])
        for legs in (("lexical",), ("dense",), ("lexical", "dense")):
            how = Settings(legs=legs, depth=depth, k=depth)  # type: ignore[arg-type]
            hits = search(store, question, vector, how)
            out.append([(hit.passage.id, hit.score, hit.lexical, hit.dense) for hit in hits])
            out.append(evidence(question, hits))
    return out


def history(make: Callable[[Path], Store], at: Path, edits: list[tuple[str, str, str]]) -> None:
    root = at / "docs"
    shutil.rmtree(at, ignore_errors=True)
    root.mkdir(parents=True)
    (root / "stays.md").write_text("# Stays\n\nparcel and refund stay\n")
    store = make(at / "old")
    bring(root, store)
    for one in edits:
        if one[0] == "index":
            bring(root, store)
        else:
            edit(root, *one)
    bring(root, store)
    fresh = make(at / "new")
    bring(root, fresh)
    for depth in (1, 2, 5):
        assert searched(store, depth) == searched(fresh, depth)
    assert store.health().whole and store.health().lexical == fresh.health().lexical
    store.close()
    fresh.close()


@pytest.mark.parametrize("kind", STORES)
def test_an_index_brought_up_to_date_scores_as_a_fresh_one(kind: str, tmp_path: Path) -> None:
    """Half the files gone or changed: deleted passages counted in how rare a word is, and in how long passages are."""
    edits = [("write", f"{i}.md", f"parcel refund {'letter ' * i}") for i in range(20)]
    edits += [("index", "", ""), *(("delete", f"{i}.md", "") for i in range(5)), ("index", "", "")]
    edits += [("write", f"{i}.md", "a parcel came back undone") for i in range(5, 12)]
    history(lambda at: opened(kind, at), tmp_path / "one", edits)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EDIT, max_size=12))
def test_the_past_of_a_folder_does_not_show(tmp_path: Path, edits: list[tuple[str, str, str]]) -> None:
    history(lambda at: opened("sqlite", at), tmp_path / "one", edits)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EDIT, max_size=8))
def test_the_past_of_a_folder_does_not_show_in_lance(tmp_path: Path, edits: list[tuple[str, str, str]]) -> None:
    history(lambda at: opened("lance", at), tmp_path / "one", edits)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STORES)
def test_no_past_of_a_folder_shows(kind: str, tmp_path: Path) -> None:
    @settings(max_examples=300 if kind == "sqlite" else 60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(EDIT, max_size=25))
    def tried(edits: list[tuple[str, str, str]]) -> None:
        history(lambda at: opened(kind, at), tmp_path / "one", edits)

    tried()
