"""Rows of data frames and data sets become plain values: what is missing is empty, what is no text is a named error."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.api import tables
from rung.errors import DataError

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def test_pandas_missing_values_are_empty() -> None:
    frame = pd.DataFrame(
        {
            "text": ["a", None, "nan"],
            "count": [1, np.nan, 3],
            "share": [0.5, np.nan, 2.0],
            "when": [pd.Timestamp("2024-02-29 12:00"), pd.NaT, pd.NaT],
            "known": pd.array([True, None, False], dtype="boolean"),
            "whole": pd.array([7, None, 9], dtype="Int64"),
            "kind": pd.Categorical(["x", None, "y"]),
        },
        index=[3, 3, 3],
    )
    assert tables.rows(frame, "train") == [
        {"text": "a", "count": 1, "share": 0.5, "when": "2024-02-29T12:00:00", "known": True, "whole": 7, "kind": "x"},
        dict.fromkeys(frame.columns),
        {"text": "nan", "count": 3, "share": 2.0, "when": None, "known": False, "whole": 9, "kind": "y"},
    ]
    assert json.dumps(tables.rows(frame, "train"), allow_nan=False)


def test_polars_missing_values_are_empty() -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", None],
            "share": [0.5, float("nan")],
            "when": [datetime.date(2024, 2, 29), None],
            "turns": [[{"role": "user", "content": "hi"}], None],
            "kind": pl.Series(["x", None], dtype=pl.Categorical),
        }
    )
    first = {"text": "a", "share": 0.5, "when": "2024-02-29", "turns": [{"role": "user", "content": "hi"}], "kind": "x"}
    assert tables.rows(frame, "train") == [first, dict.fromkeys(frame.columns)]


def test_cells_of_other_kinds() -> None:
    given = {
        "a": Decimal("1.50"),
        "b": np.int64(3),
        "c": np.array([1.0, np.nan]),
        "d": (1, {"e": uuid.UUID(int=5)}),
        "f": np.str_("s"),
    }
    found = {"a": "1.50", "b": 3, "c": [1.0, None], "d": [1, {"e": str(uuid.UUID(int=5))}], "f": "s"}
    assert tables.rows([given], "train") == [found]
    assert tables.rows(pd.DataFrame([["a", "b"]]), "train") == [{"0": "a", "1": "b"}]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame([["a", "b"]], columns=["x", "x"]), "two columns are named 'x'"),
        (pd.DataFrame([["a", "b"]], columns=[1, "1"]), "two columns are named '1'"),
        (pd.DataFrame([["a"]], columns=pd.MultiIndex.from_tuples([("x", "y")])), "is not text. Rename the columns"),
        (pd.DataFrame({"x": []}), "there are no rows"),
        (pd.DataFrame({"x": ["a", b"b"]}), "row 2, column 'x': b'b' is a bytes, not text"),
        (pd.DataFrame({"x": [pd.Timedelta("1s")]}), "is a Timedelta, not text"),
        (pd.DataFrame({"x": [float("inf")]}), "row 1, column 'x': inf cannot be stored"),
        ([{"x": "a\ud83d"}], "lone surrogate"),
        (pd.Series(["a"]), "a Series has one column"),
        (pl.DataFrame({"x": ["a"]}).lazy(), "Call .collect()"),
        ([{"x": {1, 2}}], "is a set, not text"),
        ([["a", "b"]], "row 1: ['a', 'b'] is not a dict"),
        ({"x": ["a"]}, "a dict is not a table"),
        (3, "a int is not a table"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_a_row_is_a_named_error(table: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        tables.rows(table, "train")
    assert said in str(caught.value) and str(caught.value).startswith("train")


def test_a_hugging_face_dataset() -> None:
    """Classes are named; a negative one stands for no label."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    one = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features=features)
    rows = [{"text": "a", "label": "yes"}, {"text": "b", "label": "no"}, {"text": "c", "label": None}]
    assert tables.rows(one, "train") == rows
    assert tables.is_table(one) and list(tables.column(one, "text", "rows")) == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"several splits: train\. Name one"):
        tables.rows(datasets.DatasetDict({"train": one}), "train")


def test_names_of_files_are_no_table() -> None:
    assert not any(map(tables.is_table, ("a.csv", Path("a.csv"), ["a.csv", Path("b.csv")])))
    assert all(map(tables.is_table, ([{"x": "a"}], [], iter([]), pd.DataFrame(), pl.DataFrame())))
