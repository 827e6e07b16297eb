"""Measures of grounded answers, against counts made by hand."""

from __future__ import annotations

from rung import metrics
from rung.metrics.grounded import grounded
from rung.types import Example, Prediction, Source


def source(path: str, cited: bool = False) -> Source:
    return Source(path, path, "", path, "text", cited)


ROWS = [Example(f"q{i}", "a", source="right.md") for i in range(4)] + [Example("q4", "a")]
FOUND = [
    Prediction(ROWS[0].id, "a", sources=(source("right.md", cited=True), source("wrong.md", cited=True))),
    Prediction(ROWS[1].id, "b", sources=(source("wrong.md", cited=True), source("right.md"))),
    Prediction(ROWS[2].id, "", sources=(source("wrong.md"),), abstained="it is far"),
    Prediction(ROWS[3].id, "", sources=(source("right.md"),), abstained="it is far"),
    Prediction(ROWS[4].id, "a", sources=(source("wrong.md", cited=True),)),
]


def test_each_measure_speaks_of_its_own_rows() -> None:
    found = grounded(ROWS, FOUND)
    assert found["coverage"] == [(0, 1), (1, 1), (2, 0), (3, 0), (4, 1)]
    assert found["retrieval recall"] == [(0, 1), (1, 1), (2, 0), (3, 1)]
    assert found["retrieval MRR"] == [(0, 1), (1, 0.5), (2, 0), (3, 1)]
    assert found["citation precision"] == [(0, 0.5), (1, 0)]
    assert found["citation recall"] == [(0, 1), (1, 0)]
    assert found["abstention precision"] == [(2, 1), (3, 0)]


def test_they_stand_beside_the_score_with_their_n() -> None:
    others = metrics.score(metrics.METRICS["token_f1"], ROWS, FOUND, "dev").others
    assert (others["retrieval recall"].value, others["retrieval recall"].n) == (0.75, 4)
    assert (others["coverage"].value, others["coverage"].n) == (0.6, 5)


def test_nothing_is_said_where_nothing_was_retrieved() -> None:
    assert grounded(ROWS, [Prediction(row.id, "a") for row in ROWS]) == {}
