"""A `.rung` folder that an earlier rung (commit d5d8069) wrote is read whole; every stored type comes back equal.

`tests/data/rung_0_1` is a task with `dot_rung` for `.rung`: paths in tracebacks are shortened, some predictions left out.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung import predictor, signed, trust
from rung.cli.climb_json import summary
from rung.climbing.project import Project
from rung.decisions import Comparison, Decision, RungVerdict
from rung.report import write
from rung.report.report_data import read_report_data
from rung.store import Store, codec
from rung.task import load_task
from rung.types import (
    Attack,
    Cost,
    Forgetting,
    Interval,
    Latency,
    Prediction,
    Provenance,
    Raced,
    Record,
    Scores,
    Source,
    Unscored,
)

OLD = Path(__file__).parents[1] / "data" / "rung_0_1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "tickets"
    shutil.copytree(OLD, place)
    (place / "dot_rung").rename(place / ".rung")
    trust.trust(Store(place))  # its key was another
    return place


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is not used is reported
        yield Store(folder)


def raw(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != signed.FIELD} for row in rows]


def as_json(value: Any) -> dict[str, Any]:
    return value.to_json() if isinstance(value, Record) else asdict(value)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(as_json(value)))


def known(read: Any, written: Any) -> bool:
    """Whether what was read is what was written, with nothing in the fields that came later."""
    if isinstance(written, dict):
        later = [value for key, value in read.items() if key not in written]
        return not any(later) and all(known(read[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(read) == len(written) and all(map(known, read, written))
    return bool(read == written)


def test_every_record_and_every_prediction_is_read(store: Store) -> None:
    assert known([plain(one) for one in store.records()], raw(OLD / "dot_rung" / "records.jsonl"))
    for path in (OLD / "dot_rung" / "predictions").iterdir():
        assert known([plain(one) for one in store.predictions(path.stem).values()], raw(path))


def test_every_fit_is_read_and_keeps_its_digest(store: Store) -> None:
    fits = {key for record in store.records() if record.status == "done" for key in record.provenance.fits or ()}
    assert fits and fits == {path.name for path in (OLD / "dot_rung" / "fits").iterdir()} & fits
    for key in fits:
        assert store.fitted(key) and store.fit_notes(key)["seconds"] >= 0
    digests = {record.predictor for record in store.records() if record.status == "done"}
    assert digests & {predictor.load(store.folder / "fits" / key).digest for key in fits}


def test_latencies_looks_and_tunings_are_read(store: Store) -> None:
    for path in (OLD / "dot_rung" / "latency").iterdir():
        found = store.latency(path.stem)
        assert found and plain(found) == {k: v for k, v in json.loads(path.read_text()).items() if k != signed.FIELD}
    assert all(codec.scores(look["scores"]).split == "test" for look in store.read("test.json").values())
    [tuned] = (OLD / "dot_rung" / "tune").iterdir()
    assert store.read(f"tune/{tuned.name}")["verdict"] == "no gain"


def test_show_and_report_work_on_it(folder: Path) -> None:
    content = Store(folder).read("decision.json")
    read = plain(codec.decision(content["decision"]))
    assert {key: read[key] for key in content["decision"] if key != "rungs"} == {
        k: v for k, v in content["decision"].items() if k != "rungs"
    }
    assert [{key: one[key] for key in old} for one, old in zip(read["rungs"], content["decision"]["rungs"])] == content[
        "decision"
    ]["rungs"]
    assert read["claim"] is None and not read["left"]
    assert summary(content)["chosen"] == content["decision"]["chosen"]
    assert read_report_data(content).chosen
    page = write(Project(load_task(folder), say=lambda text: None)).read_text(encoding="utf-8")
    assert content["decision"]["chosen"] in page


# --- round trips ------------------------------------------------------------------------------------------------------


def same(value: Any) -> None:
    line = signed.dumps(as_json(value))
    [found] = codec.from_lines(type(value), [line.encode()])
    found = codec.adapter(type(value)).validate_python(json.loads(line)) if found is None else found
    assert found == value and asdict(found) == asdict(value)


NUMBER, COUNT, TEXT = st.floats(allow_nan=False), st.integers(0, 1 << 40), st.text(max_size=20)
INTERVAL = st.builds(Interval, NUMBER, NUMBER, NUMBER, COUNT)
COST = st.builds(Cost, NUMBER, NUMBER, COUNT, NUMBER, NUMBER, NUMBER)
LATENCY = st.builds(Latency, INTERVAL, INTERVAL)
FORGETTING = st.builds(Forgetting, INTERVAL, INTERVAL, TEXT, st.tuples(NUMBER, NUMBER), st.tuples(COUNT, COUNT))
SOURCE = st.builds(Source, TEXT, TEXT, TEXT, TEXT, TEXT, st.booleans(), st.tuples(TEXT))
PREDICTION = st.builds(
    Prediction,
    TEXT,
    TEXT,
    st.none() | NUMBER,
    COUNT,
    COUNT,
    NUMBER,
    TEXT,
    COUNT,
    st.booleans(),
    st.booleans(),
    st.lists(SOURCE, max_size=2).map(tuple),
    TEXT,
)
SCORES = st.builds(
    Scores,
    TEXT,
    st.sampled_from(["train", "dev", "test"]),
    INTERVAL,
    st.tuples(TEXT, TEXT),
    st.tuples(NUMBER, NUMBER),
    st.tuples(TEXT, TEXT),
    st.dictionaries(TEXT, INTERVAL, max_size=2),
    st.lists(st.builds(Unscored, TEXT, TEXT, st.booleans()), max_size=2).map(tuple),
)
JSON = st.recursive(
    st.none() | st.booleans() | COUNT | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
RATE = st.dictionaries(TEXT, st.tuples(COUNT, COUNT), max_size=2)
MAPPING = st.dictionaries(TEXT, JSON, max_size=2)
PROVENANCE = st.builds(
    Provenance,
    packages=st.none() | st.dictionaries(TEXT, TEXT, max_size=2),
    machine=st.none() | MAPPING,
    key=st.none() | TEXT,
    raw_quote=st.none() | COST,
    api=st.none() | st.dictionaries(TEXT, COUNT | NUMBER, max_size=2),
    writes=st.none() | st.booleans(),
    fits=st.none() | st.lists(TEXT, max_size=2).map(tuple),
    notes=st.none() | st.lists(MAPPING, max_size=2).map(tuple),
    attack=st.none() | st.builds(Attack, st.none() | INTERVAL, RATE, TEXT),
    errors=st.none() | COUNT,
    race=st.none() | st.builds(Raced, st.tuples(COUNT, COUNT), st.tuples(NUMBER, NUMBER), COUNT, COUNT),
    traceback=st.none() | TEXT,
    extra=st.dictionaries(TEXT.map("new ".__add__) | st.just("extra"), JSON, max_size=2),
)
RECORD = st.builds(
    Record,
    TEXT,
    st.sampled_from(["done", "skipped", "failed"]),
    TEXT,
    st.none() | SCORES,
    st.none() | COST,
    st.none() | COST,
    st.none() | LATENCY,
    st.none() | FORGETTING,
    TEXT,
    PROVENANCE,
)
VERDICT = st.sampled_from(["meets", "fails", "undecided"])
DECISION = st.builds(
    Decision,
    VERDICT,
    TEXT,
    TEXT,
    st.lists(st.builds(RungVerdict, TEXT, VERDICT, TEXT, COUNT, st.booleans()), max_size=2).map(tuple),
    st.lists(st.builds(Comparison, TEXT, TEXT, INTERVAL, NUMBER, COUNT, COUNT), max_size=2).map(tuple),
)


@given(st.one_of(PREDICTION, RECORD, DECISION, SCORES, LATENCY, FORGETTING))
def test_what_is_written_comes_back_equal(value: Any) -> None:
    same(value)


def test_half_a_surrogate_pair_comes_back_equal(tmp_path: Path) -> None:
    found = [Prediction("a", "half \ud83d of one"), Prediction("b", "none")]
    store = Store(tmp_path)
    store.keep_predictions("d", found)
    assert list(store.predictions("d").values()) == found
