"""The dense leg finds what the plain product finds, to the last bit, whatever it leaves out on the way; and its files agree."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.retrieve import dense
from rung.retrieve.coarse import VERSION, Coarse, _reached, encode
from rung.retrieve.store import Vector


def matrix(vectors: Vector, first: bool = True) -> dense.Matrix:
    codes, bounds = encode(vectors)
    coarse = Coarse(codes, *bounds[:, :2].T.copy(), float(bounds[:, 1:].sum(1).max())) if first else None
    return dense.Matrix(vectors, np.arange(len(vectors)) * 3 + 5, coarse)


def plain(one: dense.Matrix, vector: Vector, depth: int, allowed: np.ndarray) -> list[tuple[int, float]]:
    """All scores that reach the last asked for, sorted: what any search must equal."""
    scores = np.vecdot(one.vectors, vector)
    found = [(int(row), float(score)) for row, score in zip(one.rows[allowed], scores[allowed])]
    found.sort(key=lambda hit: (-hit[1], hit[0]))
    return [hit for hit in found if hit[1] >= found[min(depth, len(found)) - 1][1]]


def unit(vectors: Vector) -> Vector:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(kind: str, lines: int, width: int, rng: np.random.Generator) -> Vector:
    """Vectors that are hard in one way each."""
    found = rng.standard_normal((lines, width))
    if kind == "clustered":
        found = found[rng.integers(0, min(3, lines), lines)] + rng.choice([1e-6, 1e-4, 1e-2]) * found
    if kind == "duplicate":
        found = found[rng.integers(0, max(1, lines // 8), lines)]
    if kind == "whole numbers":
        found = rng.integers(-2, 3, (lines, width)) + 0.0
    if kind == "spikes":
        found[rng.random(lines) < 0.3] *= np.eye(width)[rng.integers(0, width)] * 50 + 0.01
    if kind in ("random", "clustered", "duplicate", "spikes"):
        found = unit(found)
    if kind == "many lengths":
        found *= 10.0 ** rng.uniform(-30, 6, (lines, 1))
    if kind == "tiny":
        found *= 1e-41
    found[rng.random(lines) < 0.05] = 0
    return found.astype(np.float32)


KINDS = ["random", "clustered", "duplicate", "whole numbers", "spikes", "many lengths", "tiny", "lengths"]
DRAWN = {
    "kind": st.sampled_from(KINDS),
    "lines": st.integers(1, 700),
    "width": st.sampled_from([1, 3, 16, 64, 100, 384]),
    "depth": st.integers(1, 60),
    "share": st.sampled_from([0.05, 0.3, 0.9, 1.0]),
    "seed": st.integers(0, 2**32),
}


@settings(max_examples=300, deadline=None)
@given(**DRAWN)
def test_the_first_pass_loses_nothing(kind: str, lines: int, width: int, depth: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, allowed = matrix(drawn(kind, lines, width, rng)), rng.random(lines) < share
    asked = one.vectors[rng.integers(lines)].copy() if rng.random() < 0.5 else drawn(kind, 1, width, rng)[0]
    if rng.random() < 0.3:
        asked[rng.integers(width)] = 100 * np.abs(asked).max()  # leaves the question's other numbers a few whole ones
    with patch.object(dense, "COARSE_FROM", 0):
        assert one.search(asked, depth, allowed) == plain(one, asked, depth, allowed)
    assert matrix(one.vectors, first=False).search(asked, depth, allowed) == plain(one, asked, depth, allowed)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(KINDS), width=st.sampled_from([1, 3, 64, 384]), seed=st.integers(0, 2**32))
def test_no_product_lies_outside_its_bound(kind: str, width: int, seed: int) -> None:
    """Cauchy-Schwarz, worked out in float64."""
    rng = np.random.default_rng(seed)
    vectors, asked = drawn(kind, 60, width, rng), drawn(kind, 1, width, rng)
    (codes, bounds), (code, bound) = encode(vectors), encode(asked)
    near = bounds[:, 0].astype(float) * bound[0, 0] * (codes.astype(int) @ code[0].astype(int))
    off = np.linalg.norm(asked.astype(float)) * bounds[:, 1] + float(bound[0, 1]) * bounds[:, 2]
    assert np.all(np.abs(vectors.astype(float) @ asked[0].astype(float) - near) <= off * (1 + 1e-6) + 1e-45)


def test_the_first_pass_leaves_little_to_look_at() -> None:
    rng = np.random.default_rng(0)
    one = matrix(unit(rng.standard_normal((20_000, 384))))
    assert one.coarse
    found = one.coarse.near(one.vectors[7], 50, np.ones(20_000, bool))
    assert 7 in found and len(found) < 600
    assert list(found) == sorted(found)


def test_all_that_are_as_near_as_the_last_are_found() -> None:
    one = matrix(np.ones((9_000, 16), np.float32) / 4)
    assert one.search(one.vectors[0], 3, np.ones(9_000, bool)) == [(row, 1.0) for row in one.rows.tolist()]
    assert one.search(one.vectors[0], 3, np.arange(9_000) > 1)[0] == (11, 1.0)
    assert one.search(one.vectors[0], 3, np.zeros(9_000, bool)) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9000), st.integers(1, 60), st.integers(0, 2**31), st.booleans())
def test_as_many_scores_as_asked_reach_the_mark(count: int, depth: int, seed: int, ties: bool) -> None:
    """Masked scores are minus infinity and do not count."""
    rng = np.random.default_rng(seed)
    scores = (rng.integers(0, 5, count) if ties else rng.standard_normal(count)).astype(np.float32)
    scores[rng.random(count) < 0.5] = -np.inf
    depth = min(depth, int((scores > -np.inf).sum()))
    if depth:
        mark = _reached(scores, depth)
        assert np.isfinite(mark) and (scores >= mark).sum() >= depth


# --- its files ----------------------------------------------------------------------------------------------------------


class Passages:
    """What a store would give: rows with vectors, some of them taken away again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept, self.row, self.generation = folder, dict[int, Vector](), 0, 0
        self.rng = np.random.default_rng(0)

    def change(self, more: int, fewer: float = 0.0) -> dense.Matrix:
        self.generation += 1
        self.kept = {row: vector for row, vector in self.kept.items() if self.rng.random() >= fewer}
        for _ in range(more):
            self.row += 1
            self.kept[self.row] = self.rng.standard_normal(24).astype(np.float32)
        return self.caught_up()

    def caught_up(self) -> dense.Matrix:
        live = np.array(sorted(self.kept), np.int64)
        dense.catch_up(self.folder, "me", self.generation, live, 24, self.after)
        return dense.load(self.folder)

    def after(self, row: int):
        return ((one, vector.tobytes()) for one, vector in sorted(self.kept.items()) if one > row)

    def check(self, found: dense.Matrix) -> None:
        """Every line has its row's vector, and the codes that belong to it."""
        assert found.coarse or not len(found.rows)
        for row, vector in zip(found.rows, found.vectors):
            if row in self.kept:
                np.testing.assert_array_equal(vector, self.kept[row])
        assert set(self.kept) <= set(found.rows.tolist())
        if found.coarse:
            codes, bounds = encode(found.vectors)
            np.testing.assert_array_equal(found.coarse.codes, codes)
            np.testing.assert_array_equal(np.column_stack([found.coarse.scale, found.coarse.rest]), bounds[:, :2])
            assert found.coarse.longest == bounds[:, 1:].sum(1).max()


@pytest.fixture
def passages(tmp_path: Path) -> Passages:
    return Passages(tmp_path / "dense")


def test_codes_follow_the_vectors_through_changes_and_holes(passages: Passages) -> None:
    with patch.object(dense, "ENCODE_BATCH", 7):
        for more, fewer in [(0, 0), (5, 0), (30, 0), (0, 0.3), (9, 0.9), (1, 0), (0, 1), (3, 0)]:
            passages.check(passages.change(more, fewer))


@pytest.mark.parametrize("lost", ["codes.i8", "bounds.f32", "both, as before there were codes", "half", "another version"])
def test_missing_codes_are_completed_and_no_vector_is_written_anew(passages: Passages, lost: str) -> None:
    passages.change(40)
    folder = passages.folder
    vectors, stamp = (folder / "vectors.f32").stat(), json.loads((folder / "stamp.json").read_text())
    for name in ("codes.i8", "bounds.f32"):
        if lost.startswith(("both", name)):
            (folder / name).unlink()
    if lost.startswith("both"):
        del stamp["codes"]
    if lost == "half":
        (folder / "codes.i8").write_bytes((folder / "codes.i8").read_bytes()[:100])
    if lost == "another version":
        stamp["codes"] = VERSION + 1
        (folder / "codes.i8").write_bytes(b"\0" * (folder / "codes.i8").stat().st_size)
    (folder / "stamp.json").write_text(json.dumps(stamp))
    passages.check(passages.caught_up())
    assert (folder / "vectors.f32").stat().st_ino == vectors.st_ino
    assert (folder / "vectors.f32").stat().st_mtime_ns == vectors.st_mtime_ns
    passages.check(passages.change(3))


def test_what_a_killed_process_left_behind_is_cut_off(passages: Passages) -> None:
    """Killed with the codes written and the stamp not; then other passages came."""
    passages.change(20)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with patch.object(dense, "_write", killed), pytest.raises(KeyboardInterrupt):
        passages.change(6)
    for row in range(21, 24):
        del passages.kept[row]
    passages.check(passages.change(2))


def test_a_matrix_in_use_stays_whole_when_its_codes_are_made_anew(passages: Passages) -> None:
    before = passages.change(50)
    assert before.coarse
    codes = before.coarse.codes.copy()
    stamp = json.loads((passages.folder / "stamp.json").read_text())
    (passages.folder / "stamp.json").write_text(json.dumps({**stamp, "codes": VERSION + 1}))
    passages.check(passages.caught_up())
    np.testing.assert_array_equal(before.coarse.codes, codes)
