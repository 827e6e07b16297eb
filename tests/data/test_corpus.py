"""Raw text: what counts as a document, what is refused, and a held-out share that training never sees."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data import corpus, ranges
from rung.errors import DataError
from rung.types import Texts


def folder_of(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return root


def test_documents_of_a_folder_come_in_the_order_of_names(tmp_path: Path) -> None:
    folder_of(
        tmp_path, b_md="# two\r\n", a_txt="one\n", c_jsonl='{"text": "three"}\n\n{"text": " "}\n{"text": "four"}\n', d_pdf="x"
    )
    (tmp_path / ".git").mkdir()
    folder_of(tmp_path / ".git", a_txt="hidden")
    found = corpus.find_texts(tmp_path.parent, [tmp_path.name])
    assert list(corpus.documents(found)) == ["one", "# two", "three", "four"]
    assert found.size == sum(Path(name).stat().st_size for name in found.files)
    assert corpus.find_texts(tmp_path, ["b.md", "a.txt"]).files == tuple(str(tmp_path / name) for name in ("b.md", "a.txt"))


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    folder_of(tmp_path, a_txt="one", b_txt="one", c_txt="two")
    one, same, other = (corpus.find_texts(tmp_path, [name]).digest for name in ("a.txt", "b.txt", "c.txt"))
    assert one == same != other
    assert corpus.find_texts(tmp_path, []) == Texts()


def test_the_digest_says_how_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = b'{"text": "one"}\n'
    for name in ("a.jsonl.gz", "a.txt.gz", "a.txt.GZ", "b.md.gz"):
        (tmp_path / name).write_bytes(gzip.compress(row, mtime=0))
    rows, *prose = (corpus.find_texts(tmp_path, [name]) for name in ("a.jsonl.gz", "a.txt.gz", "a.txt.GZ", "b.md.gz"))
    assert list(corpus.documents(rows)) != list(corpus.documents(prose[0]))
    assert prose[0].digest == prose[1].digest != prose[2].digest and rows.digest not in {one.digest for one in prose}
    (tmp_path / "a.jsonl").write_bytes(row * 100)
    folder_of(tmp_path, a_txt="a line\n\n" * 200, b_txt="short")
    mixed, long = ["a.jsonl", "b.txt", "a.txt.gz"], ["a.txt"]
    found = [corpus.find_texts(tmp_path, names).digest for names in (mixed, long)]
    monkeypatch.setattr(ranges, "SMALLEST", 500)
    assert corpus.find_texts(tmp_path, mixed).digest == found[0], "only tables are divided: the documents are the same"
    assert corpus.find_texts(tmp_path, long).digest != found[1]


def test_a_long_file_is_cut_where_a_line_is_blank(tmp_path: Path) -> None:
    paragraph = "word " * 500 + "\n\n"
    folder_of(tmp_path, a_txt=paragraph * 20)
    found = list(corpus.documents(corpus.find_texts(tmp_path, ["a.txt"])))
    assert len(found) == 5
    assert "\n\n".join(found) + "\n\n" == paragraph * 20
    folder_of(tmp_path, b_txt="a line\n" * 10_000)
    assert all(len(one) <= 2 * corpus.PIECE_CHARS + 7 for one in corpus.documents(corpus.find_texts(tmp_path, ["b.txt"])))


def test_faults_name_the_file_and_the_line(tmp_path: Path) -> None:
    folder_of(
        tmp_path,
        empty_txt="",
        blank_txt=" \n\n",
        other_jsonl='{"text": "a"}\n{"body": "b"}\n',
        number_jsonl='{"text": 3}\n',
        x_doc="x",
    )
    (tmp_path / "latin.txt").write_bytes(b"fine\nna\xefve\n")
    (tmp_path / "bare").mkdir()
    for name, message in (
        ("empty.txt", "empty files: .*empty.txt"),
        ("blank.txt", r"blank.txt: the file has no text"),
        ("other.jsonl", r"other.jsonl line 2: the column 'text' is not among 'body'"),
        ("number.jsonl", r"number.jsonl line 1: the column 'text' is 3"),
        ("latin.txt", r"latin.txt line 2: .*not UTF-8"),
        ("none.txt", "none.txt: the file does not exist"),
        ("x.doc", "x.doc: raw text cannot be read from a .doc"),
        ("bare", "bare: the folder has no text file"),
    ):
        with pytest.raises(DataError, match=message):
            list(corpus.documents(corpus.find_texts(tmp_path, [name])))


@given(
    st.lists(st.text(min_size=1).filter(lambda text: text.strip()), min_size=2, max_size=30, unique=True), st.floats(0.01, 0.5)
)
def test_held_out_documents_are_never_trained_on(
    tmp_path_factory: pytest.TempPathFactory, written: list[str], share: float
) -> None:
    root = tmp_path_factory.mktemp("text")
    (root / "a.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in [*written, *written[:3]]), encoding="utf-8"
    )
    found = corpus.find_texts(root, ["a.jsonl"])
    below = corpus.holdout_cut(found, share)
    held, learnt = (set(corpus.train_or_holdout(found, below, held=side)) for side in (True, False))
    assert held
    assert learnt
    assert not held & learnt
    assert held | learnt == set(written)


@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip()), min_size=3, max_size=30, unique=True), st.floats(0.0, 0.5))
def test_documents_to_choose_by_stand_apart(tmp_path_factory: pytest.TempPathFactory, written: list[str], share: float) -> None:
    root = tmp_path_factory.mktemp("text")
    (root / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in written), encoding="utf-8")
    found = corpus.find_texts(root, ["a.jsonl"])
    held, chosen = corpus.cuts(found, share, 0.1)
    parts = [list(corpus.between(found, low, high)) for low, high in ((0.0, held), (held, chosen), (chosen, 1.0))]
    assert parts[1] and parts[2] and bool(parts[0]) == bool(share)
    assert sorted(text for part in parts for text in part) == sorted(written)


def test_the_share_held_out_is_about_the_one_asked_and_settled_by_content(tmp_path: Path) -> None:
    rows = [f"document {i}" for i in range(2000)]
    for name, order in (("a.jsonl", rows), ("b.jsonl", [*rows[::-1], "one more"])):
        (tmp_path / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in order))
    a, b = (corpus.find_texts(tmp_path, [name]) for name in ("a.jsonl", "b.jsonl"))
    held = [set(corpus.train_or_holdout(one, corpus.holdout_cut(one, 0.1), held=True)) for one in (a, b)]
    assert 150 < len(held[0]) < 250
    assert held[1] - {"one more"} == held[0]
    assert corpus.holdout_cut(a, 0.0) == 0.0


def test_a_single_document_cannot_be_held_out(tmp_path: Path) -> None:
    folder_of(tmp_path, a_txt="all there is")
    with pytest.raises(DataError, match="only 1 document"):
        corpus.holdout_cut(corpus.find_texts(tmp_path, ["a.txt"]), 0.1)
