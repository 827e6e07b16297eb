"""JSON, columnar files and folders: what is missing, what stands twice, what is no data, and files under a wrong name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from rung.data.files import READERS, read_rows
from rung.data.folders import data_files, shards
from rung.data.formats import text_of
from rung.errors import DataError


def rows(path: Path) -> list[dict[str, Any]]:
    return [dict(row) for row, _ in read_rows(path, path.name)]


def fault(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        rows(path)
    return str(caught.value)


def written(tmp_path: Path, name: str, text: str | bytes) -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# JSON


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_nan_in_json_is_missing(tmp_path: Path, name: str) -> None:
    text = '{"input": NaN, "output": {"a": [NaN, 1]}}'
    assert rows(written(tmp_path, name, text if name == "t.jsonl" else f"[{text}]")) == [
        {"input": None, "output": {"a": [None, 1]}}
    ]


@pytest.mark.parametrize(
    "row",
    [
        '{"text": "a", "desk": "x", "desk": "y"}',
        '{"text": "a", "desk": {"k": 1, "k": 2}}',
        '{"text": "a", "desk": [{"k": 1, "k": 1}]}',
        '{"desk": "x", "text": "a", "d\\u0065sk": "x"}',
    ],
)
def test_a_key_that_stands_twice(tmp_path: Path, row: str) -> None:
    assert "is repeated 2 times, with" in fault(written(tmp_path, "t.jsonl", row + "\n"))
    assert "is repeated 2 times, with" in fault(written(tmp_path, "t.json", f"[{row}]"))


def test_all_faulty_lines_are_told(tmp_path: Path) -> None:
    said = fault(written(tmp_path, "t.jsonl", '{"a": 1, "a": 2}\n{"a": 1}\n[]\n{"a": \n'))
    assert said.startswith("t.jsonl: 3 rows are unusable.") and all(f"line {n}" in said for n in (1, 3, 4))


# Columnar


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_columns_of_one_name(tmp_path: Path, kind: str) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["x"]), pa.array(["y"])], names=["text", "desk", "desk"])
    path = tmp_path / f"t.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(str(path), table.schema) as sink:
            sink.write_table(table)
    assert fault(path) == f"t.{kind}: the column 'desk' occurs twice. Rename or delete all but one."


def test_fields_of_one_name_within_a_column(tmp_path: Path) -> None:
    inner = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["k", "k"])
    table = pa.table({"text": ["a"], "desk": pa.ListArray.from_arrays([0, 1], inner)})
    path = tmp_path / "t.arrow"
    with pa.ipc.new_stream(str(path), table.schema) as sink:
        sink.write_table(table)
    assert "the column 'k' occurs twice" in fault(path)


@pytest.mark.parametrize("values", [[1.0, float("nan")], [1.0, None]])
def test_nan_in_columns_is_missing(tmp_path: Path, values: list[Any]) -> None:
    pq.write_table(pa.table({"text": ["a", "b"], "desk": pa.array(values, pa.float64())}), tmp_path / "t.parquet")
    assert [text_of(row["desk"], "") for row in rows(tmp_path / "t.parquet")] == ["1.0", ""]
    assert text_of({"a": [float("nan")]}, "") == '{"a":[null]}'


def test_values_that_python_cannot_hold(tmp_path: Path) -> None:
    times = pa.array([2**62], pa.timestamp("us"))
    pq.write_table(pa.table({"text": ["a"], "at": times}), tmp_path / "t.parquet")
    assert "t.parquet row 1: a value of the 1 rows from here on cannot be read" in fault(tmp_path / "t.parquet")


# Files under a wrong name


def zipped(tmp_path: Path, name: str, *inside: str) -> Path:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        for one in inside:
            archive.writestr(one, "x")
    return tmp_path / name


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.json", "t.parquet"])
def test_a_workbook_under_another_name(tmp_path: Path, name: str) -> None:
    said = fault(zipped(tmp_path, name, "[Content_Types].xml", "xl/workbook.xml"))
    assert said.startswith(f"{name}: the file ends in {Path(name).suffix}, but")
    assert "Rename it to end in .xlsx" in said


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file, or one with a password"),
        (b"PAR1", "a parquet file"),
        (b"ARROW1\0\0", "an arrow file"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"%PDF-1.7", "a PDF"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git LFS"),
        (b"\xef\xbb\xbf<!DOCTYPE html><html>", "an HTML page"),
        (b"\n<table><tr>", "an HTML page"),
        (b"PK\x03\x04 cut off", "truncated"),
    ],
)
def test_other_content_under_csv(tmp_path: Path, start: bytes, says: str) -> None:
    assert says in fault(written(tmp_path, "t.csv", start))


def test_other_archives_are_named(tmp_path: Path) -> None:
    assert "a Word document" in fault(zipped(tmp_path, "t.csv", "word/document.xml"))
    assert "a zip archive" in fault(zipped(tmp_path, "t.csv", "rows.csv"))
    assert "an OpenDocument spreadsheet" in fault(zipped(tmp_path, "t.csv", "content.xml"))


def test_text_that_begins_with_a_tag_is_text(tmp_path: Path) -> None:
    assert rows(written(tmp_path, "t.csv", "<input>,output\na,b\n")) == [{"<input>": "a", "output": "b"}]


# Folders


def saved(folder: Path, names: list[str], state: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"text": ["a"], "desk": ["x"]})
    for name in names:
        with pa.ipc.new_stream(str(folder / name), table.schema) as sink:
            sink.write_table(table)
    if state is not None:
        (folder / "state.json").write_text(state if isinstance(state, str) else json.dumps(state))


DATA, CACHE = "data-00000-of-00001.arrow", "cache-34fc9b19a7fa838b.arrow"


@pytest.mark.parametrize(
    ("names", "state"),
    [
        ([DATA, CACHE], {"_data_files": [{"filename": DATA}]}),
        ([DATA, "data-00001-of-00002.arrow"], {"_data_files": [{"filename": DATA}]}),  # left over from a larger save
        ([DATA, "copy.arrow"], {"_data_files": [{"filename": DATA}], "_indices_files": None}),
        ([DATA, CACHE, "cache-34fc9b19a7fa838b_00000_of_00002.arrow", "tmpab12_x9z.arrow"], None),
        ([DATA, CACHE], {"another": "program's"}),
    ],
)
def test_only_what_the_state_names_is_data(tmp_path: Path, names: list[str], state: Any) -> None:
    saved(tmp_path / "ds", names, state)
    assert data_files(tmp_path / "ds", READERS) == [tmp_path / "ds" / DATA]


def test_each_split_has_its_own_state(tmp_path: Path) -> None:
    for split in ("train", "test"):
        saved(tmp_path / "ds" / split, [DATA, CACHE], {"_data_files": [{"filename": DATA}]})
    (tmp_path / "ds" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert shards(tmp_path / "ds", READERS) == {split: [tmp_path / "ds" / split / DATA] for split in ("test", "train")}


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"_data_files": [{"filename": "gone.arrow"}]}, "it lists the file 'gone.arrow', which does not exist"),
        ({"_data_files": [7]}, "it lists the file None"),
        ({"_data_files": [{"filename": DATA}], "_indices_files": [{"filename": CACHE}]}, "selects rows of its files"),
        ("{", "this is not valid JSON"),
    ],
)
def test_states_that_cannot_be_followed(tmp_path: Path, state: Any, says: str) -> None:
    saved(tmp_path / "ds", [DATA, CACHE], state)
    with pytest.raises(DataError, match=says):
        shards(tmp_path / "ds", READERS)


def test_lock_files_of_spreadsheets_are_no_data(tmp_path: Path) -> None:
    for name in ("labels.csv", "~$labels.xlsx", ".hidden.csv"):
        written(tmp_path, f"d/{name}", "text,desk\na,b\n")
    assert [path.name for path in data_files(tmp_path / "d", READERS)] == ["labels.csv"]
