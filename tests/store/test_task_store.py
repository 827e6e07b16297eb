"""The `.rung` folder: what is appended, what a kill cuts off, what comes back equal."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung import files
from rung import store as runs
from rung.decisions import Comparison, Decision, RungVerdict
from rung.errors import BusyError, RungError
from rung.lm.base import ModelRef
from rung.predictor import Predictor
from rung.store import Store
from rung.types import Cost, Forgetting, Interval, Latency, Prediction, Provenance, Record, Scores

INTERVAL = Interval(0.5, 0.25, 0.75, 4)
RECORD = Record(
    rung="few-shot",
    status="done",
    reason="why, 理由",
    scores=Scores("accuracy", "dev", INTERVAL, ("a", "b"), (1.0, 0.0), ("x", "y"), {"macro_f1": INTERVAL}),
    quote=Cost(1.0, 0.1, 5, 0.2, 0.3, 0.4),
    cost=Cost(2.0),
    latency=Latency(INTERVAL, INTERVAL),
    forgetting=Forgetting(INTERVAL, INTERVAL, "nats a token", (0.5, -0.25), (3, 4)),
    predictor="abc",
    provenance=Provenance(key="k", extra={"list": [1, {"deep": None}]}),
)
START = Predictor(kind="classify", model=ModelRef("fake", "fake", "fake"), instruction="Sort.", labels=("a", "b"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize("record", [RECORD, Record(rung="lora", status="failed", reason="out of memory")])
def test_a_record_comes_back_equal(store: Store, record: Record) -> None:
    store.keep_record(record)
    assert store.records() == [record]


def test_records_are_added_and_never_replaced(store: Store) -> None:
    for _ in range(3):
        store.keep_record(RECORD)
    assert store.records() == [RECORD] * 3


@pytest.mark.parametrize("length", [0, 1, files.BLOCK - 1, files.BLOCK, files.BLOCK + 1, 3 * files.BLOCK])
def test_a_half_line_of_any_length_is_cut_off(tmp_path: Path, length: int) -> None:
    path = tmp_path / "lines.jsonl"
    for whole in (b"", b'{"a": 1}\n', b'{"a": "' + b"x" * 2 * files.BLOCK + b'"}\n'):
        path.write_bytes(whole + b"y" * length)
        files.append(path, '{"b": 2}\n')
        assert path.read_bytes() == whole + b'{"b": 2}\n'


def test_adding_a_line_reads_only_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n' * 500_000)
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            found = super().read(size)
            read.append(len(found))
            return found

    assert files.last_line_end(Counted(path)) == path.stat().st_size  # type: ignore[arg-type]
    assert sum(read) <= files.BLOCK


def test_a_decision_comes_back_equal(store: Store) -> None:
    decision = Decision(
        "meets", "lora", "because", (RungVerdict("lora", "meets", "so"),), (Comparison("a", "b", INTERVAL, 0.04, 3, 1),)
    )
    store.write("decision.json", asdict(decision))
    assert runs.decision(store.read("decision.json")) == decision


def test_a_store_without_anything_has_nothing(store: Store) -> None:
    assert store.records() == []
    assert store.predictions("none") == {}
    assert store.latency("none") is None
    assert store.fitted("none") is None
    assert store.read("decision.json") == {}


def test_latency_comes_back_equal(store: Store) -> None:
    store.keep_latency("d", Latency(INTERVAL, INTERVAL))
    assert store.latency("d") == Latency(INTERVAL, INTERVAL)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(texts, min_size=1, max_size=6, unique=True), st.integers(0, 400))
def test_whatever_is_cut_off_whole_lines_stay(tmp_path_factory: pytest.TempPathFactory, outputs: list[str], cut: int) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    made = [Prediction(str(i), text, 0.5) for i, text in enumerate(outputs)]
    store.keep_predictions("d", made)
    path = store.folder / "predictions" / "d.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    left = store.predictions("d")
    assert list(left.values()) == made[: len(left)]
    assert len(left) >= len(made) - 1 - whole[max(0, len(whole) - cut) :].count(b"\n")
    store.keep_predictions("d", made[len(left) :])
    assert list(store.predictions("d").values()) == made


def test_a_line_separator_inside_an_answer_ends_no_line(store: Store) -> None:
    made = [Prediction("1", "a\u2028b\x85c\x0bd\re"), Prediction("2", "\n")]
    store.keep_predictions("d", made)
    assert list(store.predictions("d").values()) == made


def test_the_last_answer_to_a_row_counts(store: Store) -> None:
    store.keep_predictions("d", [Prediction("1", "old")])
    store.keep_predictions("d", [Prediction("1", "new")])
    assert store.predictions("d")["1"].output == "new"


def test_a_workplace_keeps_checkpoints_alone(store: Store) -> None:
    folder = store.workplace("k")
    (folder / "work" / "checkpoint-3").mkdir(parents=True)
    (folder / "model").mkdir()
    (folder / "note").write_text("x")
    assert [path.name for path in store.workplace("k").iterdir()] == ["work"]
    assert (folder / "work" / "checkpoint-3").is_dir()


def test_a_fit_is_kept_and_its_workplace_cleared(store: Store) -> None:
    folder = store.workplace("k")
    (folder / "model").mkdir()
    (folder / "model" / "rows.json").write_text("[]")
    fitted = Predictor(kind="classify", model=ModelRef("rule", "majority", "", str(folder / "model"), "d"), instruction="Sort.")
    kept = store.keep_fit("k", fitted, {"seconds": 1.5})
    assert not folder.exists()
    assert kept == store.fitted("k")
    assert kept.digest == fitted.digest
    assert (Path(kept.model.files) / "rows.json").read_text() == "[]"
    assert store.fit_notes("k") == {"seconds": 1.5}


def test_a_fit_that_was_not_saved_whole_is_no_fit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        store.keep_fit("k", START, {})
    monkeypatch.undo()
    assert store.fitted("k") is None
    assert store.keep_fit("k", START, {}) == START


def test_a_broken_fit_says_what_to_do(store: Store) -> None:
    store.keep_fit("k", START, {})
    (store.folder / "fits" / "k" / "predictor.json").write_text("{")
    with pytest.raises(RungError, match="not a saved Predictor"):
        store.fitted("k")


def test_a_json_file_appears_whole_or_not_at_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("test.json", {"a": 1})

    class Bad:
        def __str__(self) -> str:
            raise RuntimeError("cannot be written")

    with pytest.raises(RuntimeError):
        store.write("test.json", {"a": Bad()})
    assert store.read("test.json") == {"a": 1}


HOLD = """
import sys
from pathlib import Path
from rung.store import Store
with Store(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_finds_the_folder_busy_until_it_ends(store: Store, tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(BusyError) as caught, store.locked():
            pass
        assert str(store.folder) in str(caught.value)
    finally:
        other.kill()
        other.communicate()
    with store.locked():
        pass  # a killed process holds nothing
