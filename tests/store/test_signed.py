"""What is kept is believed only while its signature holds: changed, swapped, foreign and old records, fits and answers."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung import signed
from rung.climbing.fit import named
from rung.errors import RungError
from rung.lm.base import ModelRef
from rung.lm.remote.calls import LEDGER, FileCalls
from rung.lm.remote.ledger import Ledger, Usage
from rung.predictor import Predictor
from rung.store import Store
from rung.trust import trust
from rung.types import Prediction, Provenance, Record

START = Predictor(kind="classify", model=ModelRef("fake", "fake", "fake"), instruction="Sort.", labels=("a", "b"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), JSON, max_size=4)


class Kept:
    """A store and what it says."""

    def __init__(self, folder: Path):
        self.said: list[str] = []
        self.store = Store(folder, self.said.append)
        self.folder = self.store.folder

    def again(self) -> Kept:
        """The same folder, as the next command finds it."""
        return Kept(self.folder.parent)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def other_key(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv(signed.KEY_FILE, str(folder / "other-key"))


def fit(kept: Kept, key: str = "k", answer: str = "[]") -> Predictor:
    folder = kept.store.workplace(key)
    (folder / "model").mkdir()
    (folder / "model" / "rows.json").write_text(answer)
    model = ModelRef("rule", "majority", "", str(folder / "model"), "d")
    return kept.store.keep_fit(key, replace(START, model=model), {"seconds": 1.0})


# --- signatures -------------------------------------------------------------------------------------------------------


@given(OBJECTS.filter(lambda value: signed.FIELD not in value), st.sampled_from([None, 1]))
def test_what_is_signed_comes_back_equal_and_under_no_other_name(value: dict, indent: int | None) -> None:
    text = signed.seal("a", signed.dumps(value, indent))
    assert signed.opened("a", text) == (value, "")
    assert json.loads(text).keys() == value.keys() | {signed.FIELD}
    assert signed.opened("b", text) == (value, signed.FOREIGN)


@given(OBJECTS.filter(bool), st.data())
def test_no_changed_byte_is_believed(value: dict, data: st.DataObject) -> None:
    text = signed.seal("a", signed.dumps(value))
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters(exclude_categories=["Cs"])) + text[at + 1 :]
    found, why = signed.opened("a", changed)
    assert why or ((found == value and changed.rstrip() == text) or changed[at].isspace())


def test_the_key_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signed.KEY_FILE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert signed.key_path() == tmp_path / "rung" / "key"
    first = signed.seal("a", "{}")
    assert (tmp_path / "rung" / "key").stat().st_mode & 0o777 == 0o600
    signed._key.cache_clear()
    assert signed.seal("a", "{}") == first
    (tmp_path / "rung" / "key").chmod(0o644)
    signed._key.cache_clear()
    with pytest.raises(RungError, match=r"others may read the key.*chmod 600"):
        signed.seal("a", "{}")


# --- records and answers ----------------------------------------------------------------------------------------------


def test_a_changed_or_swapped_answer_is_asked_again_and_said(kept: Kept) -> None:
    kept.store.keep_predictions("d", [Prediction("1", "no"), Prediction("2", "no")])
    path = kept.folder / "predictions" / "d.jsonl"
    path.write_text(path.read_text().replace('"id": "1", "output": "no"', '"id": "1", "output": "yes"'))
    shutil.copy(path, path.with_name("e.jsonl"))
    again = kept.again()
    assert list(again.store.predictions("d")) == ["2"]
    assert again.store.predictions("e") == {}
    assert f"{path}: line 1: it {signed.FOREIGN}. Those rows are asked again." in again.said[0]
    assert "e.jsonl: line 1, 2: it has a signature that does not hold" in again.said[1] and "rung trust" in again.said[1]
    again.store.keep_predictions("d", [Prediction("1", "no")])
    last = again.again()
    assert len(last.store.predictions("d")) == 2 and not last.said, "what is made up for is not said again"


GARBAGE = [b"null", b"{", b"\xff\xfe", b"[1]", b"7", b'{"id": 1', b"\x00" * 40, b"[" * 20_000, b"9" * 5000]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_damaged_line_is_said_and_the_rest_is_used(kept: Kept, garbage: bytes) -> None:
    record = Record(rung="few-shot", status="done", provenance=Provenance(key="k"))
    kept.store.keep_record(record)
    path = kept.folder / "records.jsonl"
    path.write_bytes(path.read_bytes() + garbage + b"\n")
    kept.store.keep_record(record)
    again = kept.again()
    assert again.store.records() == [record, record]
    assert again.said == [f"{path}: line 2: it {signed.DAMAGED}. Those rungs are measured again."]


@pytest.mark.parametrize("content", [b"", b"null", b'{"decision": {', b"\xff", b"[]"])
def test_a_cut_decision_is_said_and_costs_nothing_else(kept: Kept, content: bytes) -> None:
    kept.store.write("decision.json", {"a": 1})
    (kept.folder / "decision.json").write_bytes(content)
    again = kept.again()
    assert again.store.read("decision.json") == {} == again.store.read("decision.json")
    [said] = again.said
    assert "decision.json: it is damaged" in said and "Climb again; the measurements are in records.jsonl" in said


def test_a_record_of_the_right_key_and_the_wrong_shape_is_damage(kept: Kept) -> None:
    kept.store._append("records.jsonl", [{"rung": 1}])
    assert kept.store.records() == [] and "its fields are not those of such a line" in kept.said[0]


# --- fits -------------------------------------------------------------------------------------------------------------


def _other_server(folder: Path) -> None:
    path = folder / "predictor.json"
    content = json.loads(path.read_text())
    content["model"] |= {"kind": "remote", "name": "http://127.0.0.1:9/v1#m"}
    path.write_text(json.dumps(content))


def _other_labels(folder: Path) -> None:
    path = folder / "predictor.json"
    path.write_text(path.read_text().replace('"b"', '"c"'))


def _added(folder: Path) -> None:
    (folder / "model" / "config.json").write_text("{}")


def _linked(folder: Path) -> None:
    shutil.copy(folder / "model" / "rows.json", folder.parents[1] / "rows.json")
    (folder / "model" / "rows.json").unlink()
    (folder / "model" / "rows.json").symlink_to(folder.parents[1] / "rows.json")


CHANGES: list[Callable[[Path], object]] = [
    _other_server,
    _other_labels,
    _added,
    _linked,
    lambda folder: (folder / "model" / "rows.json").write_text('["b"]'),
    lambda folder: (folder / "model" / "rows.json").unlink(),
    lambda folder: (folder / "fit.json").write_text("{}"),
    lambda folder: (folder / signed.MANIFEST).unlink(),
    lambda folder: (folder / signed.MANIFEST).write_text("{"),
    lambda folder: (folder / "predictor.json").write_text("{"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_fit_is_no_fit(kept: Kept, change: Callable[[Path], object]) -> None:
    fit(kept)
    assert kept.again().store.fitted("k")
    change(kept.folder / "fits" / "k")
    again = kept.again()
    assert again.store.fitted("k") is None
    assert len(again.said) == 1 and "It is fitted again." in again.said[0] and str(kept.folder / "fits" / "k") in again.said[0]
    assert fit(again) == again.again().store.fitted("k")


def test_swapped_fits_are_no_fits(kept: Kept) -> None:
    fit(kept, "a", '["a"]')
    fit(kept, "b", '["b"]')
    fits = kept.folder / "fits"
    (fits / "a").rename(fits / "c")
    (fits / "b").rename(fits / "a")
    assert kept.again().store.fitted("a") is None and kept.again().store.fitted("c") is None


@pytest.mark.parametrize("path", ["../../../secret", "/etc", "model/../..", "other"])
def test_files_of_a_predictor_lie_inside_it(kept: Kept, path: str) -> None:
    fit(kept)
    folder = kept.folder / "fits" / "k"
    content = json.loads((folder / "predictor.json").read_text())
    content["model"]["files"] = path
    (folder / "predictor.json").write_text(json.dumps(content))
    taken = trust(kept.again().store)  # even who takes the folder as it is does not take this
    assert taken.fits == 0 and "its files are outside the folder" in taken.left[0]


def test_a_server_that_the_task_does_not_name_is_not_asked() -> None:
    remote = replace(START, model=ModelRef("remote", "http://evil:1/v1#m", "d"))
    with pytest.raises(RungError, match=r"would ask 'http://evil:1/v1#m', which rung\.yaml does not name"):
        named(remote, START)
    assert named(remote, START, remote) is remote


def test_checkpoints_of_somebody_else_are_not_gone_on_from(kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def checkpoint(of: Kept) -> Path:
        return of.store.workplace("k") / "work" / "checkpoint-3"

    checkpoint(kept).mkdir(parents=True)
    assert checkpoint(kept.again()).is_dir()
    other_key(monkeypatch, tmp_path)
    stranger = kept.again()
    assert not checkpoint(stranger).exists() and "The fit starts again." in stranger.said[0]


# --- older folders, other machines ------------------------------------------------------------------------------------


def test_a_folder_from_elsewhere_is_made_anew_or_taken_over_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = Record(rung="few-shot", status="done", provenance=Provenance(key="k"))
    kept.store.keep_record(record)
    kept.store.keep_predictions("d", [Prediction("1", "no")])
    kept.store.write("decision.json", {"a": 1})
    fitted = fit(kept)
    other_key(monkeypatch, tmp_path)
    there = kept.again()
    assert there.store.records() == [] and there.store.fitted("k") is None and there.store.read("decision.json") == {}
    assert len(there.said) == 3 and all("rung trust" in said for said in there.said)
    taken = trust(there.store)
    assert (taken.lines, taken.files, taken.fits, taken.left) == (2, 1, 1, ())
    now = there.again()
    assert now.store.records() == [record] and now.store.fitted("k") == fitted and now.store.read("decision.json") == {"a": 1}
    assert now.store.predictions("d")["1"].output == "no" and not now.said
    assert trust(now.store).lines == 0


def test_an_older_folder_without_signatures_is_taken_over(kept: Kept) -> None:
    (kept.folder / "predictions").mkdir(parents=True)
    (kept.folder / "predictions" / "d.jsonl").write_text('{"id": "1", "output": "no"}\nnull\n')
    assert kept.store.predictions("d") == {} and len(kept.said) == 2
    taken = trust(kept.store)
    assert taken.lines == 1 and "line 2: it is damaged" in taken.left[0]
    assert kept.again().store.predictions("d") == {"1": Prediction("1", "no")}


def test_answers_of_endpoints_are_signed_too(tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / ".rung"
    books = Ledger(FileCalls(folder))
    for key in "ab":
        books.settle(books.reserve(1, 0.0), Usage(1, 1), None, key, {"text": key})
    assert Ledger(FileCalls(folder), say=said.append).cached("a") == {"text": "a"} and not said
    with sqlite3.connect(folder / LEDGER) as db:
        db.execute("UPDATE answers SET content = (SELECT content FROM answers WHERE key = 'a') WHERE key = 'b'")
        db.execute("INSERT INTO answers VALUES ('c', '{\"text\": \"c\"}')")
    again = Ledger(FileCalls(folder), say=said.append)
    assert [again.cached(key) for key in "abc"] == [{"text": "a"}, None, None] and len(said) == 1
    assert trust(Store(tmp_path)).answers == 2
    assert Ledger(FileCalls(folder)).cached("c") == {"text": "c"}


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="links")
@pytest.mark.parametrize("name", ["predictions", "records.jsonl", "lock", "fits/k"])
def test_nothing_is_written_through_a_link(kept: Kept, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (kept.folder / name).parent.mkdir(parents=True)
    (kept.folder / name).symlink_to(outside)
    with pytest.raises(RungError, match="it is a link"), kept.store.locked():
        pass
    assert not list(outside.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_the_folder_may_be_a_link_to_an_empty_one_or_one_of_its_kind(tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "big").mkdir()
    (tmp_path / "task" / ".rung").symlink_to(tmp_path / "big")
    store = Store(tmp_path / "task")
    for _ in range(2):
        with store.locked():
            store.write("decision.json", {})
    (tmp_path / "big" / "lock").unlink()
    with pytest.raises(RungError, match="not rung's"), store.locked():
        pass
