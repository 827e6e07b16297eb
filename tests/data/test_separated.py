"""Separated text: which separator is taken, headers among the rows, columns of one name."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data.files import read_rows
from rung.errors import DataError


def read(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> list[dict[str, str]]:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [dict(row) for row, _ in read_rows(path, name)]


def fault(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ("sep=;", ";"),
        ("sep=,", ","),
        ("SEP=;", ";"),
        ('"sep=;"', ";"),
        ("sep=;;;", ";"),
        ("sep=\t", "\t"),
        ("sep=\\t", "\t"),
        ("sep=|", "|"),
        ("sep=^", "^"),
        ("\ufeffsep=;", ";"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_first_line_may_state_the_separator(tmp_path: Path, line: str, mark: str, end: str) -> None:
    text = end.join([line, f"text{mark}desk", f'"a{mark} b, c; d"{mark}x', ""])
    assert read(tmp_path, text) == [{"text": f"a{mark} b, c; d", "desk": "x"}]


def test_places_count_the_line_that_states_the_separator(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('sep=;\ntext;desk\n"a\nb";x\nc;y\n')
    assert [where for _, where in read_rows(tmp_path / "t.csv", "t.csv")] == ["t.csv line 3", "t.csv line 5"]
    assert fault(tmp_path, "sep=;\ntext;desk\na;b;c\n").startswith("t.csv line 3: the row has 3 cells")


@pytest.mark.parametrize(
    "header",
    [
        "Text (free, any, long);Desk",
        "Text, free;Desk",
        "id;Text (a, b, c, d);Desk",
        "Text\tfree; any; long, indeed|Desk".replace("\t", " ").replace("|", "\t"),
        "Text (a, b; c)|Desk",
    ],
)
def test_other_separators_in_the_header_do_not_mislead(tmp_path: Path, header: str) -> None:
    mark = next(one for one in "\t|;" if one in header)
    names = header.split(mark)
    row = mark.join(["one, two"] * len(names))
    assert read(tmp_path, f"{header}\n{row}\nplain{row[8:]}\n{row}\n")[0] == dict.fromkeys(names, "one, two")


def test_commas_that_are_even_by_chance(tmp_path: Path) -> None:
    assert read(tmp_path, "Text, free;Desk\none, two;x\nthree, four;y\n")[0] == {"Text, free": "one, two", "Desk": "x"}


def test_a_ragged_row_does_not_change_the_separator(tmp_path: Path) -> None:
    assert "line 3: the row has 3 cells but the header 2 (separator ',')" in fault(tmp_path, "a,b\n1;2,3\n1,2;3,4\n5,6\n")


CELLS = st.text(st.sampled_from("ab ,;|\t\"'.\n"), max_size=12).filter(lambda text: text.strip() and not text.startswith("sep="))


@given(
    header=st.lists(st.text("abcxyz", min_size=1, max_size=5), min_size=2, max_size=4, unique=True),
    data=st.data(),
    mark=st.sampled_from(",;\t|"),
)
def test_what_a_csv_writer_writes_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, header: list[str], data: st.DataObject, mark: str
) -> None:
    rows = data.draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header)), min_size=3, max_size=8))
    rows = [row for row in rows if sorted(cell.strip() for cell in row) != sorted(header)]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, quoting=csv.QUOTE_ALL)
    writer.writerows([header, *rows])
    assert read(tmp_path_factory.mktemp("csv"), out.getvalue()) == [dict(zip(header, row)) for row in rows]


def test_a_tsv_without_tabs_is_read_as_csv(tmp_path: Path) -> None:
    assert read(tmp_path, "text,desk\na,b\n", "t.tsv") == [{"text": "a", "desk": "b"}]


# Headers


@pytest.mark.parametrize("again", ["text,desk", "Text, DESK", "\ufefftext,desk", "desk,text", " text ,desk"])
def test_a_header_among_the_rows(tmp_path: Path, again: str) -> None:
    said = fault(tmp_path, f"text,desk\na,b\n{again}\nc,d\n{again}\n")
    assert "the header occurs again among the rows." in said and "t.csv line 3, 5" in said


def test_a_header_among_other_rows(tmp_path: Path) -> None:
    said = fault(tmp_path, '{"text": "a", "desk": "b"}\n{"text": "text", "desk": "desk"}\n', "t.jsonl")
    assert said.startswith("t.jsonl line 2: the header occurs again among the rows.")


def test_a_word_that_is_a_column_name_is_no_header(tmp_path: Path) -> None:
    assert len(read(tmp_path, "text,desk\ntext,x\nx,desk\n")) == 2
    assert len(read(tmp_path, "text\ntext\n")) == 1


@pytest.mark.parametrize("header", ["text,desk,desk", "text,desk, desk ", "text,desk,desk\u200b", "text,desk,\u00a0desk"])
def test_columns_of_one_name(tmp_path: Path, header: str) -> None:
    assert "t.csv line 1: the column 'desk' occurs twice." in fault(tmp_path, f"{header}\na,b,c\n")


def test_invisible_signs_in_a_header(tmp_path: Path) -> None:
    assert read(tmp_path, "\u200btext,desk\u00a0\na,b\n") == [{"text": "a", "desk": "b"}]
