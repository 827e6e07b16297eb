"""Files to Examples: the forms of rows, true places, and faults that name file, line, value and remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rung.data.load import Loaded, load
from rung.errors import DataError
from rung.task import Task, load_task
from rung.types import Example, Message

Make = Callable[..., Task]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A task over files written into a fresh folder."""

    def make_task(files: dict[str, str | bytes], kind: str = "answer", labels: Any = None, **data: Any) -> Task:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if not {"examples", "train"} & set(data):
            data["examples"] = next(iter(files))
        raw = {"task": "t", "kind": kind, "data": data, "goal": {"at_least": 0.5}, "labels": labels}
        (tmp_path / "rung.yaml").write_text(json.dumps(raw))
        return load_task(tmp_path)

    return make_task


def fault(task: Task) -> str:
    with pytest.raises(DataError) as caught:
        load(task)
    return str(caught.value)


def pairs(rows: tuple[Example, ...] | None) -> list[tuple[str, str]]:
    assert rows is not None
    return [(row.input, row.output) for row in rows]


# Separated text


def test_csv_places_are_physical_lines(make: Make) -> None:
    text = 'input,output,note\r\n"a\r\nb",x,1\r\n\r\nc,y,2\r\n'
    rows = load(make({"t.csv": text})).train
    assert [(row.where, row.input) for row in rows] == [("t.csv line 2", "a\r\nb"), ("t.csv line 5", "c")]
    assert rows[1].extra == {"note": "2"}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_separator_is_found(make: Make, mark: str) -> None:
    text = f'\ufeffinput{mark}output\n"a{mark} b"{mark}x, y; z\n'
    if mark != "\t":
        text = text.replace("x, y; z", '"x, y; z"')
    assert pairs(load(make({"t.csv": text})).train) == [(f"a{mark} b", "x, y; z")]


def test_tsv_keeps_commas(make: Make) -> None:
    assert pairs(load(make({"t.tsv": "input\toutput\na, b, c\tx\n"})).train) == [("a, b, c", "x")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("input,output\na,b\na,b,c\n", "t.csv line 3: the row has 3 cells but the header 2 (separator ',')"),
        ('input,output\na,b\n"a\n\n,b\n', "t.csv line 3: the row that starts here cannot be read: unexpected end"),
        ('input,output\n"a"b,c\n', "t.csv line 2: the row that starts here cannot be read"),
        ("input,input\na,b\n", "t.csv line 1: the column 'input' occurs twice"),
        ("input,output\na,b\0\n", "t.csv line 2: there is a NUL byte at character 4"),
        ("input,output\n", "t.csv: there are no rows"),
        ("", "t.csv: there are no rows"),
        ("input,output\na,b\n ,b\n", "t.csv line 3: the input is empty"),
        ("input,output\na,\n", "t.csv line 2: the output is empty"),
        ("text,label\na,b\n", "t.csv line 2: the columns 'text', 'label' do not identify"),
    ],
)
def test_csv_faults(make: Make, content: str, says: str) -> None:
    assert says in fault(make({"t.csv": content}))


def test_several_bad_rows_come_in_one_error(make: Make) -> None:
    said = fault(make({"t.csv": "input,output\n" + "a,\n" * 12 + "a,b\n"}))
    assert said.startswith("t.csv: 12 rows are unusable.")
    assert "(12 rows: t.csv line 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more)" in said


def test_faults_of_all_kinds_and_files_come_in_one_readable_error(make: Make) -> None:
    """Thirty-three faults of four kinds in two files: a line for each kind, not for each row."""
    bad = "input,output\n" + "a,\n" * 12 + ",b\n" * 12 + "a,b,c\n" * 8 + "a,nan\n"
    said = fault(make({"t.csv": bad, "d.csv": bad}, kind="classify", train="t.csv", dev="d.csv"))
    assert said.startswith("t.csv, d.csv: 66 rows are unusable.")
    assert len(said.splitlines()) == 5 and max(map(len, said.splitlines())) < 300


def test_faults_of_many_kinds_are_cut(make: Make) -> None:
    rows = "".join(f"a,label {i}\n" for i in range(30))
    said = fault(make({"t.csv": f"input,output\n{rows}"}, kind="classify", labels=["x", "y"]))
    assert len(said.splitlines()) == 12 and "and 20 more of other kinds" in said


def test_wrong_encoding_names_byte_line_and_the_command(make: Make) -> None:
    said = fault(make({"t.csv": b"input,output\na,b\ncaf\xe9,c\n"}))
    assert "t.csv line 3: byte 20 of the file, b'\\xe9', is not UTF-8; this looks like WINDOWS-1252" in said
    assert "iconv -f WINDOWS-1252 -t UTF-8 't.csv' > 't.utf8.csv'" in said


@pytest.mark.parametrize(("encoding", "text"), [("gb18030", "input,output\n退款,丙\n")])
def test_other_encodings_are_named(make: Make, encoding: str, text: str) -> None:
    assert f"this looks like {encoding.upper()}" in fault(make({"t.csv": text.encode(encoding)}))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(make: Make, encoding: str) -> None:
    """As Excel saves "Unicode text"."""
    assert pairs(load(make({"t.csv": "input\toutput\nä,b\t退款\n".encode(encoding)})).train) == [("ä,b", "退款")]


def test_utf16_that_breaks_off(make: Make) -> None:
    assert "starts as UTF-16 but is invalid later" in fault(make({"t.csv": "input,output\na,b\n".encode("utf-16") + b"\xd8"}))


def test_utf16_without_mark_shows_as_nul(make: Make) -> None:
    assert "in UTF-16" in fault(make({"t.csv": "input,output\na,b\n".encode("utf-16-le")}))


# JSON


def test_jsonl_values_become_text(make: Make) -> None:
    rows = [
        {"input": "a", "output": {"b": 1, "a": ["é"]}},
        {"input": 3, "output": True},
        {"input": "c", "output": 1.5},
    ]
    text = "\n\n".join(json.dumps(row) for row in rows)
    found = load(make({"t.jsonl": text}, kind="extract")).train
    assert pairs(found) == [("a", '{"b":1,"a":["é"]}'), ("3", "true"), ("c", "1.5")]
    assert [row.where for row in found] == ["t.jsonl line 1", "t.jsonl line 3", "t.jsonl line 5"]


def test_json_list_and_json_lines_under_the_same_name(make: Make) -> None:
    rows = [{"input": "a", "output": "b"}, {"input": "c", "output": "d"}]
    assert load(make({"t.json": json.dumps(rows, indent=1)})).train[1].where == "t.json item 2"
    assert load(make({"t.json": "\n".join(map(json.dumps, rows))})).train[1].where == "t.json line 2"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.jsonl", '{"input": "a", "output": "b"}\n{"input": "a"\n', "t.jsonl line 2: invalid JSON at"),
        ("t.jsonl", '["a"]\n', "t.jsonl line 1: ['a'] is not an object"),
        ("t.jsonl", '{"input": "a", "output": null}\n', "t.jsonl line 1: the output is empty"),
        ("t.jsonl", '{"input": "a", "output": "b"}\n{"input": "a"}\n', "t.jsonl line 2: the output is empty"),
        ("t.jsonl", '{"input": "a \\ud83d", "output": "b"}\n', "t.jsonl line 1: character 3 of 'a \\ud83d' is a lone surrogate"),
        ("t.json", '[{"input": "a",}]', "t.json: invalid JSON at column"),
        ("t.json", '["a", "b"]', "t.json item 1: 'a' is not an object"),
        ("t.json", "[]", "t.json: there are no rows"),
        ("t.json", "", "t.json: there are no rows"),
        ("t.txt", "a", "files ending in '.txt' cannot be read"),
        ("t.parquet", "PAR1 no", "t.parquet: the file cannot be read"),
        ("t.arrow", "no arrow", "t.arrow: the file cannot be read"),
    ],
)
def test_other_faults(make: Make, name: str, content: str, says: str) -> None:
    assert says in fault(make({name: content}))


def test_missing_file_names_the_nearest(make: Make) -> None:
    said = fault(make({"tickets.csv": "input,output\na,b\n"}, examples="tikets.csv"))
    assert "tikets.csv: the file does not exist. Did you mean 'tickets.csv'?" in said


# Forms


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, ("Add.\n\n1 1", "2")),
        ({"instruction": "Say hi.", "input": "", "output": "hi"}, ("Say hi.", "hi")),
        ({"instruction": "Say hi.", "output": "hi"}, ("Say hi.", "hi")),
        ({"prompt": "q", "completion": " a"}, ("q", " a")),
    ],
)
def test_forms_without_history(make: Make, row: dict[str, Any], expected: tuple[str, str]) -> None:
    found = load(make({"t.jsonl": json.dumps(row)})).train[0]
    assert (found.input, found.output) == expected
    assert found.history == () and found.extra == {}


def chat(*turns: tuple[str, Any], keys: tuple[str, str] = ("role", "content")) -> list[dict[str, Any]]:
    return [{keys[0]: role, keys[1]: text} for role, text in turns]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": chat(("system", "s"), ("user", "u1"), ("assistant", "a1"), ("user", "u2"), ("assistant", "a2"))},
        {
            "conversations": chat(
                ("system", "s"), ("human", "u1"), ("gpt", "a1"), ("human", "u2"), ("gpt", "a2"), keys=("from", "value")
            )
        },
        {
            "prompt": chat(("system", "s"), ("user", "u1"), ("assistant", "a1"), ("user", "u2")),
            "completion": chat(("assistant", "a2")),
        },
        {
            "prompt": chat(("developer", "s"), ("user", "u1"), ("assistant", "a1"), ("user", "u2")),
            "completion": "a2",
        },
        {
            "messages": chat(
                ("system", "s"),
                ("user", [{"type": "text", "text": "u1"}]),
                ("assistant", "a1"),
                ("user", "u2"),
                ("assistant", "a2"),
                ("user", "never answered"),
            )
        },
    ],
)
def test_chat_forms(make: Make, row: dict[str, Any]) -> None:
    found = load(make({"t.jsonl": json.dumps(row | {"id": 7})})).train[0]
    assert (found.input, found.output) == ("u2", "a2")
    assert found.history == (Message("system", "s"), Message("user", "u1"), Message("assistant", "a1"))
    assert found.extra == {"id": 7}


@pytest.mark.parametrize(
    ("turns", "says"),
    [
        (chat(("user", "u")), "does not directly follow a user message"),
        (chat(("assistant", "a")), "does not directly follow"),
        (chat(("tool", "t"), ("assistant", "a")), "does not directly follow"),
        (chat(("bot", "u")), "{'role': 'bot', 'content': 'u'} is not a message with a role"),
        (["u"], "'u' is not a message"),
        (chat(("user", [{"type": "image_url"}]), ("assistant", "a")), "is not text"),
        (chat(("user", "u"), ("assistant", None)), "the output is empty"),
    ],
)
def test_chat_faults(make: Make, turns: list[Any], says: str) -> None:
    assert says in fault(make({"t.jsonl": json.dumps({"messages": turns})}))


def test_named_columns_rule(make: Make) -> None:
    row = {"instruction": "i", "input": "x", "output": "o", "answer": "A", "messages": []}
    found = load(make({"t.jsonl": json.dumps(row)}, input="instruction", output="answer")).train[0]
    assert (found.input, found.output) == ("i", "A")
    assert set(found.extra) == {"input", "output", "messages"}


def test_a_named_column_that_is_missing(make: Make) -> None:
    said = fault(make({"t.csv": "text,intent\na,b\n"}, input="text", output="intnt"))
    assert "there is no column 'intnt' (data.output). Did you mean 'intent'? The columns are 'text', 'intent'." in said
    said = fault(make({"t.csv": "text,category\na,b\n"}, input="text", output="next"))
    assert "(data.output). The columns are 'text', 'category'." in said, "text is the input already"


def test_group(make: Make) -> None:
    task = make({"t.jsonl": '{"input": "a", "output": "b", "customer": 7}'}, group="customer")
    assert load(task).train[0].group == "7"
    assert load(task).train[0].extra == {}
    assert "no column 'custmer' (data.group). Did you mean 'customer'" in fault(
        make({"t.csv": "input,output,customer\na,b,c\n"}, group="custmer")
    )


# Labels


def test_labels_are_stripped_only_where_they_are_labels(make: Make) -> None:
    files: dict[str, str | bytes] = {"t.csv": "input,output\na, x \n"}
    assert pairs(load(make(files, kind="classify")).train) == [("a", "x")]
    assert pairs(load(make(files, kind="answer")).train) == [("a", " x ")]


def test_unknown_label(make: Make) -> None:
    said = fault(make({"t.csv": "input,output\na,refund\nb,Refnd\n"}, kind="classify", labels=["refund", "delay"]))
    assert said == (
        "t.csv line 3: label 'Refnd' is not one of refund, delay."
        " Did you mean 'refund'? Fix the line or add the label to rung.yaml."
    )


# Several files, folders


def test_files_per_split_are_taken_as_they_are(make: Make) -> None:
    files = {f"{name}.csv": f"input,output\n{name},x\n" for name in ("train", "dev", "test")}
    task = make(files, train=["train.csv", "dev.csv"], test="test.csv")  # type: ignore[arg-type]
    loaded = load(task)
    assert pairs(loaded.train) == [("train", "x"), ("dev", "x")]
    assert loaded.dev is None
    assert pairs(loaded.test) == [("test", "x")]


@pytest.mark.parametrize(
    ("train", "dev", "test"),
    [
        ("train.csv", "dev.csv", "test.csv"),
        ("data/train-00000-of-00001.csv", "data/validation-00000-of-00001.csv", "data/test-00000-of-00001.csv"),
        ("train/a.csv", "valid/a.csv", "test/a.csv"),
        ("my_train.csv", "my_val.csv", "my_test.csv"),
    ],
)
def test_a_folder_tells_splits_by_names(make: Make, tmp_path: Path, train: str, dev: str, test: str) -> None:
    files: dict[str, str | bytes] = {
        f"rows/{name}": f"input,output\n{split},x\n" for split, name in (("a", train), ("b", dev), ("c", test))
    }
    files |= {"rows/labels.json": '["x"]', "rows/README.md": "text", "rows/.cache/train.csv": "broken"}
    assert load(make(files, examples="rows")) == Loaded(
        *((Example(text, "x", where=f"rows/{name} line 2"),) for text, name in (("a", train), ("b", dev), ("c", test)))
    )
    assert pairs(load(make({}, train="rows", test="rows")).test) == [("c", "x")]


def test_folder_faults(make: Make) -> None:
    one = "input,output\na,x\n"
    assert "no readable file" in fault(make({"a/x.txt": "x"}, examples="a"))
    assert "several kinds (.csv, .jsonl)" in fault(make({"b/x.csv": one, "b/y.jsonl": "{}"}, examples="b"))
    assert "the name of 'more.csv' contains no split" in fault(make({"c/train.csv": one, "c/more.csv": one}, examples="c"))
    assert "no file is for training; there are files for test" in fault(make({"d/test.csv": one}, examples="d"))
    assert "has files for train, none for dev" in fault(make({"e/train.csv": one}, train="e", dev="e"))


def _hugging_face_table() -> pa.Table:
    features = {"input": {"_type": "Value"}, "output": {"_type": "ClassLabel", "names": ["neg", "pos"]}}
    table = pa.table({"input": ["a", "b"], "output": [1, 0]})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def test_a_damaged_page_of_parquet(make: Make, tmp_path: Path) -> None:
    pq.write_table(pa.table({"input": ["some text"] * 500, "output": ["x"] * 500}), tmp_path / "t.parquet", compression="snappy")
    whole = bytearray((tmp_path / "t.parquet").read_bytes())
    whole[4:40] = b"\xff" * 36
    (tmp_path / "t.parquet").write_bytes(whole)
    assert "t.parquet: the file cannot be read" in fault(make({}, examples="t.parquet"))


def test_fields_are_read_before_anything_is_spent(make: Make) -> None:
    rows = 'input,output\na,"{""name"": ""x""}"\nb,not json\n'
    assert "t.csv line 3: the output 'not json' is not valid JSON" in fault(make({"t.csv": rows}, kind="extract"))


def test_labels_of_a_column_that_is_gone_are_forgotten(make: Make, tmp_path: Path) -> None:
    table = _hugging_face_table()
    name = next(one for one in table.column_names if pa.types.is_integer(table.schema.field(one).type))
    named = table.set_column(table.column_names.index(name), name, pa.array(["a name"] * len(table)))
    pq.write_table(named.replace_schema_metadata(table.schema.metadata), tmp_path / "t.parquet")
    assert load(make({}, examples="t.parquet", kind="answer")).train[0].output == "a name"


def test_rows_that_break_readers_are_faults_of_the_row(make: Make) -> None:
    assert "cannot be read" in fault(make({"t.jsonl": '{"input": "a", "output": ' + "9" * 5000 + "}\n"}, examples="t.jsonl"))
    assert "cannot be read" in fault(make({"t.jsonl": '{"input": "a", "output": ' + "[" * 99_999 + "\n"}, examples="t.jsonl"))
    chat = json.dumps({"messages": [{"role": ["user"], "content": "a"}, {"role": "assistant", "content": "b"}]})
    assert "not a message with a role" in fault(make({"t.jsonl": chat + "\n"}, examples="t.jsonl"))


def test_a_cell_may_hold_a_document(make: Make) -> None:
    text = "word " * 40_000
    assert load(make({"t.csv": f"input,output\n{text},x\n"})).train[0].input == text


def test_parquet_and_its_class_names(make: Make, tmp_path: Path) -> None:
    pq.write_table(_hugging_face_table(), tmp_path / "t.parquet")
    rows = load(make({}, examples="t.parquet", kind="classify")).train
    assert pairs(rows) == [("a", "pos"), ("b", "neg")]
    assert rows[1].where == "t.parquet row 2"


def test_class_minus_one_is_no_label(make: Make, tmp_path: Path) -> None:
    table = _hugging_face_table().set_column(1, "output", pa.array([1, -1]))
    pq.write_table(table, tmp_path / "t.parquet")
    assert "t.parquet row 2: the output is empty" in fault(make({}, examples="t.parquet"))


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_a_saved_arrow_dataset(make: Make, tmp_path: Path, kind: str) -> None:
    table = _hugging_face_table()
    for split in ("train", "test"):
        folder = tmp_path / "saved" / split
        folder.mkdir(parents=True)
        new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
        with new(str(folder / "data-00000-of-00001.arrow"), table.schema) as sink:
            sink.write_table(table, max_chunksize=1)
        (folder / "state.json").write_text("{}")
    (tmp_path / "saved" / "dataset_dict.json").write_text("{}")
    loaded = load(make({}, examples="saved", kind="classify"))
    assert pairs(loaded.train) == pairs(loaded.test) == [("a", "pos"), ("b", "neg")]
    assert loaded.train[1].where == "saved/train/data-00000-of-00001.arrow row 2"
