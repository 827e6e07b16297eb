"""Fusion worked out by hand, reranking, and choosing settings on questions whose passages are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rung.retrieve import search as s
from rung.retrieve.passage import Passage
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Change, IndexConfig, text_digest

LEGS = {"lexical": {"a": 9.0, "b": 5.0, "c": 1.0}, "dense": {"b": 0.9, "d": 0.5}}


def test_reciprocal_ranks_by_hand() -> None:
    fused = dict(s.fuse(LEGS, s.Settings(fusion="ranks", weight=0.25)))
    assert fused == pytest.approx({"a": 0.75 / 61, "b": 0.75 / 62 + 0.25 / 61, "c": 0.75 / 63, "d": 0.25 / 62})
    assert [name for name, _ in s.fuse(LEGS, s.Settings(fusion="ranks", weight=0.25))] == ["b", "a", "c", "d"]


def test_weighted_scores_by_hand() -> None:
    fused = dict(s.fuse(LEGS, s.Settings(fusion="scores", weight=0.25)))
    assert fused == pytest.approx({"a": 0.75, "b": 0.75 * 0.5 + 0.25, "c": 0.0, "d": 0.0})
    alone = s.fuse({"lexical": {"a": 3.0}, "dense": {}}, s.Settings(fusion="scores"))
    assert alone == [("a", 0.5)]


def test_a_single_leg_keeps_its_own_order_and_scores() -> None:
    assert s.fuse({"lexical": LEGS["lexical"]}, s.Settings(legs=("lexical",))) == [("a", 9.0), ("b", 5.0), ("c", 1.0)]


@pytest.fixture
def store(tmp_path: Path) -> Sqlite:
    """Twenty passages; the question `word i` has the lexical answer i, and dense vectors point to i as well."""
    store = Sqlite(tmp_path / "a")
    passages = [Passage(f"p{i}", f"f{i // 2}.md", (), f"word{i} " + "filler " * (i % 3)) for i in range(20)]
    store.keep_vectors("d", [text_digest(p) for p in passages], np.eye(20, dtype=np.float32))
    for number in range(10):
        two = tuple(passages[2 * number : 2 * number + 2])
        store.apply([Change(two[0].path, "x", two)], IndexConfig("toy", "d"))
    return store


def test_hits_carry_the_score_of_each_leg(store: Sqlite) -> None:
    hits = s.search(store, "word3", np.eye(20, dtype=np.float32)[5], s.Settings(depth=4, k=3))
    by_name = {hit.passage.id: hit for hit in hits}
    assert len(hits) == 3
    assert by_name["p3"].lexical is not None and by_name["p3"].lexical > 0 and by_name["p3"].dense in (None, 0.0)
    assert by_name["p5"].dense == 1.0 and by_name["p5"].lexical is None


def test_a_passage_that_goes_while_it_is_looked_for_is_not_missed(store: Sqlite, monkeypatch: pytest.MonkeyPatch) -> None:
    read, asked = store.passages, []

    def meanwhile(ids: list[str]) -> list[Passage]:
        asked.append(list(ids))
        if len(asked) == 1:
            store.apply([Change("f1.md", "", ())], IndexConfig("toy", "d"))
        return read(ids)

    monkeypatch.setattr(store, "passages", meanwhile)
    hits = s.search(store, "word3", np.eye(20, dtype=np.float32)[3], s.Settings(k=3))
    assert "p3" in asked[0] and len(asked) == 2
    assert "p3" not in {hit.passage.id for hit in hits} and len(hits) == 3


def test_a_passage_that_the_index_has_lost_is_not_taken_for_a_change(store: Sqlite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "passages", lambda ids: [{}[one] for one in ids])
    with pytest.raises(KeyError):
        s.search(store, "word3", None, s.Settings(legs=("lexical",), k=3))


def test_the_reranker_has_the_last_word(store: Sqlite) -> None:
    settings = s.Settings(legs=("dense",), rerank="model", depth=20, k=2)
    asked: list[str] = []

    def prefer_long(question: str, texts) -> list[float]:
        asked.extend(texts)
        return [float(len(text)) for text in texts]

    hits = s.search(store, "word3", np.eye(20, dtype=np.float32)[5], settings, reranker=prefer_long)
    assert len(asked) == 20 and len(hits) == 2
    assert hits[0].score >= hits[1].score == 21.0
    with pytest.raises(AssertionError, match="pass a reranker"):
        s.search(store, "word3", np.eye(20, dtype=np.float32)[5], settings)


def test_the_reranker_reads_the_first_passages_alone_and_its_scores_are_mixed_in(store: Sqlite) -> None:
    vector, settings = np.array([0.9**i for i in range(20)], np.float32), s.Settings(legs=("dense",), rerank="model", k=7)
    asked: list[str] = []

    def last_first(question: str, texts) -> list[float]:
        asked.extend(texts)
        return [float(i) for i in range(len(texts))]

    def found(weight: float) -> list[str]:
        mix = s.Mix(weight, read=5)
        return [hit.passage.id for hit in s.search(store, "x", vector, settings, reranker=last_first, mix=mix)]

    plain = [f"p{i}" for i in range(7)]
    assert found(1.0) == ["p4", "p3", "p2", "p1", "p0", "p5", "p6"] and len(asked) == 5
    assert found(0.0) == plain
    assert found(0.4) == plain, "the ends differ most, and the search's scores weigh more"
    for weight in (1.0, 0.4):
        hits = s.search(store, "x", vector, settings, reranker=last_first, mix=s.Mix(weight, read=5))
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True) and scores[4] > scores[5], "the order is that of the scores"
    assert s.mixed([2.0, 1.0, 0.0], [-1.0, 3.0, 1.0], 0.25) == [0.75, 0.625, 0.125]
    assert s.mixed([], [], 0.5) == []


def test_choosing_takes_the_leg_that_works(store: Sqlite) -> None:
    eye = np.eye(20, dtype=np.float32)
    asked = [s.LabelledQuestion(f"word{i}", frozenset({f"p{i}"})) for i in range(20)]
    assert s.choose(store, asked, np.roll(eye, 3, axis=0)).legs == ("lexical",), "dense vectors point elsewhere"
    blind = [s.LabelledQuestion("nothing known", frozenset({f"p{i}"})) for i in range(20)]
    assert s.choose(store, blind, eye).legs == ("dense",)
    assert s.choose(store, asked, None).legs == ("lexical",)


def test_choosing_fuses_where_each_leg_knows_another_half(store: Sqlite) -> None:
    eye = np.eye(20, dtype=np.float32)
    asked = [s.LabelledQuestion(f"word{i}" if i % 2 else "nothing known", frozenset({f"p{i}"})) for i in range(20)]
    vectors = np.array([eye[(i + 5) % 20] if i % 2 else eye[i] for i in range(20)])
    chosen = s.choose(store, asked, vectors)
    assert chosen.legs == ("lexical", "dense")


def test_gold_may_be_a_file(store: Sqlite) -> None:
    asked = [s.LabelledQuestion(f"word{i}", frozenset({f"f{i // 2}.md"})) for i in range(20)]
    assert s.choose(store, asked, np.roll(np.eye(20, dtype=np.float32), 7, axis=0)).legs == ("lexical",)


def test_the_first_within_one_standard_error() -> None:
    same = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
    assert s.first_within_error(same) == 0
    better = np.array([[0.1, 0.2, 0.1, 0.2], [0.9, 0.8, 0.9, 0.8]])
    assert s.first_within_error(better) == 1
    luck = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.9]])  # 0.1 behind, with a standard error of 0.1
    assert s.first_within_error(luck) == 0


def test_nothing_asked_means_the_defaults(store: Sqlite) -> None:
    assert s.choose(store, [], np.zeros((0, 20), np.float32)) == s.Settings()
