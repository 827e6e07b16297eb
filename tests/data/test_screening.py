"""What is left out of raw text: the same by any number of processes, counted and named, and nothing else."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data import corpus, crew, ranges
from rung.data.screening import contamination, repeats, screen, signatures
from rung.data.screening.filters import FILTERS
from rung.data.screening.words import hashes, runs, words
from rung.errors import BudgetError, DataError
from rung.files import locked
from rung.task.screening import Screening
from rung.types import Example, Texts

NO_RUNS = contamination.HeldRuns({}, ())
WORDS = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "lmnrst"]


def text(seed: int, count: int = 60) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def write(folder: Path, files: dict[str, Sequence[str]]) -> Texts:
    for name, documents in files.items():
        lines = "".join(json.dumps({"text": one}) + "\n" for one in documents)
        (folder / name).write_text(lines, encoding="utf-8")
    return corpus.find_texts(folder, files)


def screened(found: Texts, folder: Path, rows: Sequence[Example] = (), processes: int = 1, **settings: object) -> tuple:
    place = screen.Place(folder / f"screened-{processes}", folder, processes)
    return screen.screened(found, Screening(**settings), contamination.held_runs(rows), place)


SLOW = """
import fcntl, time
from rung.data import crew

def job(spec, number):
    file = open(f"{spec}/{number}.lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write("locked")
    file.flush()
    time.sleep(90)

if __name__ == "__main__":
    crew.work(job)
"""
PARENT = """
from pathlib import Path
from rung.data import crew

crew.share_out("slow_job", None, Path("spec.json"), range(2), 2)
"""


@pytest.fixture
def files(tmp_path: Path) -> Texts:
    """Three files, in which five documents should go."""
    a = [text(i) for i in range(4)]
    near = " ".join([*text(1).split()[:-2], "other", "words"])
    b = ["few words", text(5), text(0), f"before {text(6)} {text(100, 20).upper()}, and {text(7)}"]
    return write(tmp_path, {"a.jsonl": a, "b.jsonl": b, "c.jsonl": [near, "few words", text(8)]})


ROW = Example(text(100, 20), "yes", where="rows.csv line 7")


def test_what_goes_is_counted_and_named_whatever_the_number_of_processes(files: Texts, tmp_path: Path) -> None:
    one, two = (screened(files, tmp_path, [ROW], n, near=0.8, filters=("few-words",)) for n in (1, 2))
    assert one[1] == two[1]
    assert one[0].digest == two[0].digest != files.digest
    assert one[1].left_out == {"contamination": 1, "duplicate": 1, "near-duplicate": 1, "few-words": 2}
    assert one[1].documents == 11
    assert one[1].examples == {
        "contamination": ("b.jsonl document 4 = rows.csv line 7",),
        "duplicate": ("b.jsonl document 3 = a.jsonl document 1",),
        "near-duplicate": ("c.jsonl document 1 = a.jsonl document 2",),
        "few-words": ("b.jsonl document 1 “few words”", "c.jsonl document 2 “few words”"),
    }
    left = [*map(text, range(4)), text(5), text(8)]
    assert list(corpus.documents(one[0])) == list(corpus.documents(two[0])) == left
    low, high = corpus.cuts(one[0], 0.3, 0.2)
    held, learnt = list(corpus.between(one[0], 0, low)), list(corpus.between(one[0], low, 1))
    assert held and learnt and sorted(held + learnt) == sorted(left)
    places = sorted(corpus.place(document) for document in left)
    assert low <= places[-1] and high <= places[-1] and places[0] < low
    assert not list((tmp_path / "screened-1").glob("*/*.survey"))


def test_a_stored_screening_names_files_and_rows_as_they_are_called_now(files: Texts, tmp_path: Path) -> None:
    other = Example(text(200, 20), "no", where="rows.csv line 1")
    screened(files, tmp_path, [ROW, other])
    (tmp_path / "b.jsonl").rename(tmp_path / "renamed.jsonl")
    found = corpus.find_texts(tmp_path, ["a.jsonl", "renamed.jsonl", "c.jsonl"])
    assert found.digest == files.digest
    stored, report = screened(found, tmp_path, [other, replace(ROW, where="rows.csv line 2")])
    assert report.examples["contamination"] == ("renamed.jsonl document 4 = rows.csv line 2",)
    assert report.examples["duplicate"][0] == "renamed.jsonl document 3 = a.jsonl document 1"
    assert list(Path(stored.screened).parent.glob("*/report.json")) == [Path(stored.screened) / "report.json"]


def test_screenings_that_are_of_no_use_any_more_are_removed(files: Texts, tmp_path: Path) -> None:
    def stop(made: int, of: int) -> None:
        raise BudgetError("stopped")

    unused, used = (screened(files, tmp_path, near=near)[0].screened for near in (0.8, 0.9))
    with pytest.raises(BudgetError):
        screen.screened(files, Screening(), NO_RUNS, screen.Place(tmp_path / "screened-1", tmp_path, 1, stop))
    assert len(list((tmp_path / "screened-1").glob("*/*.survey"))) == 1
    os.utime(Path(unused) / "report.json", (0, 0))
    (of_other_text := tmp_path / "screened-1" / "other" / "key").mkdir(parents=True)
    (of_other_text / "report.json").touch()
    os.utime(of_other_text / "report.json", (0, 0))
    now, _ = screened(files, tmp_path, filters="symbols")
    left = {one for one in (tmp_path / "screened-1").glob("*/*") if one.is_dir()}
    assert left == {Path(used), Path(now.screened)}, "a climb may still read by the other one"


def test_a_screening_waits_for_another_of_the_same_text_and_may_give_up(files: Texts, tmp_path: Path) -> None:
    def give_up() -> None:
        raise BudgetError("late")

    folder = Path(screen.screened(files, Screening(), NO_RUNS, screen.Place(tmp_path / "s", tmp_path))[0].screened)
    place = screen.Place(tmp_path / "s", tmp_path, wait=give_up)
    with locked(folder.parent / "lock", give_up):
        assert screen.screened(files, Screening(), NO_RUNS, place)[1].total == 2, "what is stored is opened"
        with pytest.raises(BudgetError, match="late"):
            screen.screened(files, Screening(filters="symbols"), NO_RUNS, place)


def test_where_nothing_goes_the_text_has_the_digest_that_it_had(tmp_path: Path) -> None:
    found = write(tmp_path, {"a.jsonl": [text(i) for i in range(9)]})
    clean, report = screened(found, tmp_path, [ROW])
    assert clean.digest == found.digest and report.total == 0
    assert corpus.cuts(clean, 0.2, 0.1) == corpus.cuts(found, 0.2, 0.1)
    off, report = screened(write(tmp_path, {"a.jsonl": [text(1)] * 2}), tmp_path, duplicates=False, contamination=False)
    assert report.total == 0 and len(list(corpus.documents(off))) == 2


def test_a_stopped_screening_goes_on_with_what_is_missing(files: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop(made: int, of: int) -> None:
        if made == 2:
            raise Stopped

    with pytest.raises(Stopped):
        screen.screened(files, Screening(), NO_RUNS, screen.Place(tmp_path / "s", tmp_path, 1, stop))
    (survey,) = (tmp_path / "s").glob("*/*.survey")
    made = {path: path.stat().st_mtime_ns for path in survey.glob("0*/*")}
    assert len({path.parent for path in made}) == 2
    kept: dict[Path, int] = {}
    real = repeats.mark_equal

    def looked(found: repeats.Surveyed) -> list:
        kept.update({path: path.stat().st_mtime_ns for path in survey.glob("0*/*")})
        return real(found)

    monkeypatch.setattr(repeats, "mark_equal", looked)
    with monkeypatch.context() as late:
        late.setattr(screen, "_report", lambda *_: stop(2, 3))
        with pytest.raises(Stopped):
            screen.screened(files, Screening(), NO_RUNS, screen.Place(tmp_path / "s", tmp_path))
    _, report = screen.screened(files, Screening(), NO_RUNS, screen.Place(tmp_path / "s", tmp_path))
    assert report.left_out == {"duplicate": 2}
    assert made.items() <= kept.items()


def test_a_fault_in_a_worker_is_the_error_of_the_file(tmp_path: Path) -> None:
    found = write(tmp_path, {"a.jsonl": [text(1)], "b.jsonl": [text(2)]})
    (tmp_path / "b.jsonl").write_text('{"text": "fine"}\n{"text": 3}\n', encoding="utf-8")
    with pytest.raises(DataError, match="the column 'text' is 3") as raised:
        screened(found, tmp_path, processes=2)
    assert raised.value.where.endswith("b.jsonl line 2")


def test_a_worker_that_breaks_down_is_named(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(Exception, match=r"broke down .*KeyError"):
        crew.share_out(screen.MODULE, lambda spec, i: None, tmp_path / "spec.json", range(2), 2)


def test_workers_end_when_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "slow_job.py").write_text(SLOW)
    (tmp_path / "spec.json").write_text(json.dumps(str(tmp_path)))
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths})
    locks = [tmp_path / f"{number}.lock" for number in range(2)]
    until = time.monotonic() + 60
    try:
        while not all(lock.exists() and lock.stat().st_size for lock in locks):
            assert time.monotonic() < until and parent.poll() is None
            time.sleep(0.05)
        with locks[0].open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        parent.kill()
        parent.wait()
    for lock in locks:
        with lock.open() as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    assert time.monotonic() < until, "the worker is still there"
                    time.sleep(0.05)


def test_text_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 of 2 documents of raw text are left out: 2 for few-words"):
        screened(write(tmp_path, {"a.jsonl": ["one", "two"]}), tmp_path, filters=("few-words",))


# --- contamination ------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(1, 14))
def test_a_run_of_words_has_one_hash_wherever_it_stands(numbers: list[int], length: int) -> None:
    found = [WORDS[n] for n in numbers]
    values = runs(hashes(found), length).tolist()
    naive = [tuple(found[i : i + length]) for i in range(len(found) - length + 1)]
    assert len(values) == len(naive)
    assert [[a == b for b in values] for a in values] == [[a == b for b in naive] for a in naive]


@given(st.lists(st.integers(0, 2), min_size=8, max_size=30), st.lists(st.integers(0, 2), max_size=60))
def test_a_document_repeats_a_row_where_a_run_of_13_or_all_of_it_stands_in_it(row: list[int], document: list[int]) -> None:
    asked, given_ = " ".join(WORDS[n] for n in row), " ".join(WORDS[n] for n in document)
    size = min(13, len(row))
    naive = {tuple(row[i : i + size]) for i in range(len(row) - size + 1)}
    expected = any(tuple(document[i : i + size]) in naive for i in range(len(document) - size + 1))
    held = contamination.held_runs([Example(asked, "x")])
    found = contamination.repeated_run(hashes(words(given_)), contamination.tables(held.hashes))
    assert (found is not None) == expected


def test_a_short_input_is_found_with_its_answer_and_one_shorter_still_is_counted() -> None:
    rows = [Example("where is my parcel now", "it is on its way", where="a"), Example("late", "refund", where="b")]
    held = contamination.held_runs(rows)
    assert held.too_short == 1 and held.where == ("a",)
    asked = hashes(words("Where is my parcel now?\nIt is on its way!"))
    known = contamination.tables(held.hashes)
    assert held.places()[contamination.repeated_run(asked, known)] == "a"
    assert contamination.repeated_run(hashes(words("where is my parcel now, and why")), known) is None
    assert "parcel" not in json.dumps(held.by_length)


# --- repeats and filters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [1, 1 << 22])
def test_equal_documents_are_found_by_shares_of_their_keys(
    files: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: int
) -> None:
    monkeypatch.setattr(repeats, "MOST_KEYS", keys)
    assert screened(files, tmp_path, near=0.8)[1].left_out == {"duplicate": 2, "near-duplicate": 1}


def test_bands_find_what_is_as_alike_as_the_threshold() -> None:
    for threshold in (0.5, 0.8, 0.95):
        rows = signatures.rows_per_band(threshold)
        assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.99 > 1 - (1 - threshold ** (rows + 1)) ** (128 // (rows + 1))


@pytest.mark.parametrize(
    ("name", "breaks", "keeps"),
    [
        ("few-words", "a b c", text(1)),
        ("odd-words", "a b " * 40, text(1)),
        ("odd-words", "x" * 40, "日本語の文" * 20),
        ("symbols", "# one " * 20, text(1)),
        ("few-letters", "12 34 a " * 20, text(1)),
        ("repeated-lines", "same\n" * 9 + "other", "one\n\n\ntwo\nthree"),
    ],
)
def test_rules_of_quality(name: str, breaks: str, keeps: str) -> None:
    rule = FILTERS[name][0]
    assert rule(breaks, words(breaks)) and not rule(keeps, words(keeps))


# --- ranges -------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=20), st.integers(20, 300))
def test_ranges_have_each_document_once(tmp_path_factory: pytest.TempPathFactory, written: list[str], size: int) -> None:
    root = tmp_path_factory.mktemp("ranges")
    found = write(root, {"a.jsonl": written, "b.jsonl": written[:1]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "SMALLEST", size)
        assert list(corpus.documents(found)) == [*written, written[0]]


@given(st.text("aé \n\r", min_size=1), st.booleans(), st.integers(1, 60))
def test_prose_is_divided_between_lines_and_each_range_begins_a_piece(
    tmp_path_factory: pytest.TempPathFactory, written: str, marked: bool, size: int
) -> None:
    path = tmp_path_factory.mktemp("prose") / "a.txt"
    whole = ("\ufeff" * marked + written.replace("\n\r", "\r\n")).encode()
    path.write_bytes(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "SMALLEST", size)
        patch.setattr(ranges, "PIECE_CHARS", 12)
        cut = ranges.ranges([str(path)])
        assert len(cut) == -(-len(whole) // max(2, size))
        found = [list(ranges.documents(one)) for one in cut]
        starts = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)]
        for one, documents in zip(cut, found):
            begin, end = (one.begin, one.end) if len(cut) > 1 else (0, len(whole))
            own = [whole[at:after] for at, after in zip(starts, [*starts[1:], len(whole)]) if begin <= at < end]
            (alone := path.with_name("alone.txt")).write_bytes(b"".join(own))
            assert documents == list(ranges.documents(ranges.Range(str(alone))))


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_text_is_read(tmp_path: Path, ending: str) -> None:
    plain = "".join(json.dumps({"text": one}) + "\n" for one in map(text, range(3))).encode()
    with pa.output_stream(str(tmp_path / f"a.jsonl{ending}"), compression={".gz": "gzip", ".zst": "zstd"}[ending]) as stream:
        stream.write(plain)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"first half, ") + gzip.compress(b"second half"))
    found = corpus.find_texts(tmp_path, ["."])
    assert list(corpus.documents(found)) == [*map(text, range(3)), "first half, second half"]
    whole = (tmp_path / f"a.jsonl{ending}").read_bytes()
    (tmp_path / f"a.jsonl{ending}").write_bytes(whole[:-20])
    with pytest.raises(DataError, match="cannot be unpacked"):
        list(corpus.documents(found))


def test_a_parquet_file_is_divided_by_row_groups_and_a_fault_keeps_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [text(i) for i in range(12)]
    pq.write_table(pa.table({"text": documents, "n": range(12)}), tmp_path / "a.parquet", row_group_size=2)
    lines = [json.dumps({"text": one}) for one in documents]
    (tmp_path / "b.jsonl").write_text("\n".join([*lines, '{"text": null}']), encoding="utf-8")
    monkeypatch.setattr(ranges, "SMALLEST", 1000)
    found = corpus.find_texts(tmp_path, ["a.parquet"])
    assert len(ranges.ranges(found.files)) > 2
    assert list(corpus.documents(found)) == documents
    with pytest.raises(DataError) as raised:
        list(corpus.documents(corpus.find_texts(tmp_path, ["b.jsonl"])))
    assert raised.value.where.endswith("b.jsonl line 13")
