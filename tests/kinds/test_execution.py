"""SQL answers scored by execution: what is the same, what is an error, and what the sandbox refuses."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from rung.data.check import check
from rung.data.split import make_splits
from rung.errors import DataError, TaskError
from rung.metrics import content_digests, execution, find, get, score
from rung.task import load_task
from rung.types import Example, Prediction

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits of processes are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "shop.sqlite") as made:
        made.execute("create table items (name text, price real, stock int)")
        made.executemany("insert into items values (?, ?, ?)", [("lamp", 20.5, 3), ("tent", 99.0, 0), ("mug", 4.25, 12)])
    made.close()
    return tmp_path


def rated(folder: Path, output: str, reference: str) -> float:
    return get("execution(shop.sqlite)", folder).rate(output, Example("", reference, where="rows.csv line 2"))


@pytest.mark.parametrize(
    ("output", "reference", "right"),
    [
        ("SELECT name FROM items WHERE stock > 0", "select i.name from items i where i.stock >= 1 ", 1),
        ("```sql\nselect count(*) from items;\n```", "select 3", 1),
        ("select 3.0", "select 3", 1),
        ("select '3'", "select 3", 0),
        ("select name as n from items order by price", "select name from items", 1),  # order is free
        ("select name from items order by price", "select name from items order by price desc", 0),  # and here it is not
        ("select name from (select name from items order by price)", "select name from items", 1),
        ("select sum(price) from items", "select 4.25 + 99.0 + 20.5", 1),
        ("select 0.1 + 0.2", "select 0.3", 1),
        ("select name, price from items", "select price, name from items", 0),
        ("select name from items union all select name from items", "select name from items", 0),
        ("select nam from items", "select name from items", 0),
        ("I would ask the items table.", "select 1", 0),
        ("", "select 1", 0),
        ("select 1; select 1", "select 1", 0),
    ],
)
def test_what_a_query_returns_counts(folder: Path, output: str, reference: str, right: int) -> None:
    assert rated(folder, output, reference) == right


@pytest.mark.parametrize(
    "query",
    [
        "delete from items",
        "drop table items",
        "insert into items values ('x', 1, 1)",
        "create table other (a)",
        "attach 'other.sqlite' as other",
        "vacuum into 'copy.sqlite'",
        "pragma query_only = 0",
        "pragma writable_schema = 1",
        "select load_extension('libc.so.6')",
        "select writefile('x', 'y')",
        "begin immediate",
    ],
)
def test_nothing_but_reading_is_allowed(folder: Path, query: str) -> None:
    before = (folder / "shop.sqlite").read_bytes()
    [found] = execution.run(folder / "shop.sqlite", [query])
    assert "error" in found, found
    assert (folder / "shop.sqlite").read_bytes() == before and [one.name for one in folder.iterdir()] == ["shop.sqlite"]


def test_time_rows_and_memory_are_limited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "SECONDS", 0.5)
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select "
    started = time.monotonic()
    long, many, big, fine = execution.run(
        folder / "shop.sqlite",
        [f"{endless}count(*) from n", f"{endless}i from n", "select length(randomblob(900000000))", "select 1"],
    )
    assert time.monotonic() - started < 10
    assert long["error"] == "longer than 0.5 s" and many["error"] == "more than 10000 rows"
    assert "error" in big and fine == {"rows": [[1]]}  # the others are answered


def test_a_right_query_that_fails_is_the_rows_fault(folder: Path) -> None:
    with pytest.raises(DataError, match=r"rows.csv line 2.*no such table"):
        rated(folder, "select 1", "select a from absent")


@pytest.mark.parametrize(("name", "what"), [("execution", "needs an SQLite file"), ("execution(absent.db)", "is no SQLite file")])
def test_a_wrong_file_is_an_error(folder: Path, name: str, what: str) -> None:
    with pytest.raises(TaskError, match=what):
        get(name, folder)


def test_another_database_is_another_score(folder: Path) -> None:
    before = content_digests("execution(shop.sqlite)", folder)
    with sqlite3.connect(folder / "shop.sqlite") as changed:
        changed.execute("update items set stock = 7")
    changed.close()
    assert content_digests("execution(shop.sqlite)", folder) != before and not content_digests("accuracy", folder)


def test_rows_are_right_or_wrong_beside_exact_match(folder: Path) -> None:
    metric = get("execution(shop.sqlite)", folder)
    rows = [Example(str(i), "select name from items") for i in range(4)]
    said = ["SELECT name FROM items", "select name from items where 1", "select 1", ""]
    found = score(metric, rows, [Prediction(row.id, text) for row, text in zip(rows, said)], "dev", kind="answer")
    known = find("execution(shop.sqlite)")
    assert found.per_row == (1, 1, 0, 0) and metric.binary and known and known.binary
    assert found.others["exact_match"].value == 0.25


def test_the_check_runs_the_right_queries(folder: Path) -> None:
    rows: list[dict[str, Any]] = [{"q": f"how many lamps cost over {i} crowns", "a": f"select {i}"} for i in range(120)]
    rows[5]["a"] = "select a from absent"
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "rung.yaml").write_text(
        "task: Write SQL.\nkind: answer\ndata: {examples: rows.jsonl, input: q, output: a}\nbase: fake\nencoder: fake\n"
        "goal: {metric: execution(shop.sqlite), at_least: 0.5}\n"
    )
    task = load_task(folder)
    found = {one.code: one for one in check(make_splits(task), task)}["queries-that-fail"]
    assert (found.severity, found.count, found.where) == ("block", 1, ("rows.jsonl line 6",)) and "no such table" in found.what
