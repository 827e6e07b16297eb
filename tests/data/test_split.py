"""Splits: rows stay where they are, questions and groups stay together, and the test stays sealed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rung.data.split import Sealed, Splits, make_splits, normalise, question, split
from rung.task import load_task
from rung.types import Example, Message

examples = st.lists(
    st.builds(Example, st.text(min_size=1, max_size=8), st.sampled_from("xy"), group=st.sampled_from(["", "g1", "g2"])),
    max_size=40,
)


def parts(splits: Splits) -> dict[str, tuple[Example, ...]]:
    return {"train": splits.train, "dev": splits.dev, "test": splits.test.open()}


@given(examples, examples, st.integers())
def test_adding_rows_never_moves_old_ones(old: list[Example], new: list[Example], seed: int) -> None:
    before = parts(split(old, dev=0.3, test=0.3, seed=seed))
    after = parts(split(new + old, dev=0.3, test=0.3, seed=seed))
    for name, rows in before.items():
        assert set(rows) <= set(after[name])
    assert sum(map(len, after.values())) == len(old) + len(new)


@given(examples)
def test_groups_and_questions_stay_together(rows: list[Example]) -> None:
    homes: dict[str, str] = {}
    for name, some in parts(split(rows, dev=0.3, test=0.3, seed=0)).items():
        for row in some:
            assert homes.setdefault(row.group or f"\0{question(row)}", name) == name


@given(st.text())
def test_normalise_settles(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert normalise(f"  {text}\n") == once
    assert normalise(unicodedata.normalize("NFD", text)) == once


def test_spellings_of_one_question_are_equal() -> None:
    same = ["Can't I top-up?", "cant i  top up", "CAN’T I TOP UP!", "Ｃan't I top up?"]
    assert len({question(Example(text, "x")) for text in same}) == 1
    other = ["2 + 3", "2 - 3", "2-3", "2 3", "C++", "C", "?!", "!?"]
    assert len({question(Example(text, "x")) for text in other}) == len(other)
    assert question(Example("yes", "x", (Message("user", "a"),))) != question(Example("yes", "x"))


def test_shares_and_seed() -> None:
    rows = [Example(f"question {i}", "x") for i in range(4000)]
    splits = split(rows, dev=0.2, test=0.1, seed=0)
    assert abs(len(splits.dev) / 4000 - 0.2) < 0.03
    assert abs(len(splits.test) / 4000 - 0.1) < 0.03
    assert split(rows, dev=0.2, test=0.1, seed=1) != splits
    assert split(rows, dev=0.4, test=0.1, seed=0).test == splits.test


def test_the_test_is_sealed() -> None:
    sealed = Sealed((Example("secret", "x"), Example("hidden", "y")))
    assert "secret" not in f"{sealed!r} {sealed} {Splits((), (), sealed)}"
    assert len(sealed) == 2 and not hasattr(sealed, "__iter__") and not hasattr(sealed, "__getitem__")
    assert sealed.open()[0].input == "secret"
    assert sealed.digest == Sealed((Example("secret", "x", where="elsewhere"), Example("hidden", "y"))).digest
    assert sealed.digest != Sealed(sealed.open()[:1]).digest


def test_what_is_missing_is_carved_from_train(tmp_path: Path) -> None:
    def rows(name: str, count: int) -> None:
        lines = "".join(f"{name} {i},x\n" for i in range(count))
        (tmp_path / f"{name}.csv").write_text("input,output\n" + lines)

    rows("train", 200)
    rows("test", 5)
    raw = {"task": "t", "kind": "answer", "data": {"train": "train.csv", "test": "test.csv"}, "goal": {"at_least": 0.5}}
    (tmp_path / "rung.yaml").write_text(json.dumps(raw))
    splits = make_splits(load_task(tmp_path))
    assert len(splits.test) == 5
    assert 25 < len(splits.dev) < 75 and len(splits.train) + len(splits.dev) == 200
    raw["data"] = {"train": "train.csv"}
    (tmp_path / "rung.yaml").write_text(json.dumps(raw))
    carved = make_splits(load_task(tmp_path))
    assert carved.dev == splits.dev
    assert len(carved.test) > 25
