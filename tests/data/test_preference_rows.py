"""Preferences: every form of a row, faults with their place and remedy, and the share held out by question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data.preferences import load, split_holdout
from rung.errors import DataError
from rung.types import Message, Preference

USER, BOT = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}
MORE = {"role": "user", "content": "And you?"}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def written(folder: Path, *rows: Any, name: str = "p.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


FORMS = {
    "strings": {"prompt": "Hi?", "chosen": "Hello.", "rejected": "No."},
    "messages": {"prompt": [USER], "chosen": [BOT], "rejected": [said("No.")]},
    "prompt beside whole conversations": {"prompt": "Hi?", "chosen": [USER, BOT], "rejected": [USER, said("No.")]},
    "the prompt implied": {"chosen": [USER, BOT], "rejected": [USER, said("No.")]},
    "transcripts": {"chosen": "\n\nHuman: Hi?\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi?\n\nAssistant: No."},
}


@pytest.mark.parametrize("row", FORMS.values(), ids=FORMS)
def test_a_pair_is_read_in_every_form(tmp_path: Path, row: dict) -> None:
    (found,) = load(written(tmp_path, row), ["p.jsonl"])
    assert found == Preference("Hi?", "Hello.", "No.", (), "p.jsonl line 1")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER, BOT, MORE], "chosen": "Fine.", "rejected": "Go."},
        {"chosen": [USER, BOT, MORE, said("Fine.")], "rejected": [USER, BOT, MORE, said("Go.")]},
        {
            name: f"\n\nHuman: Hi?\n\nAssistant: Hello.\n\nHuman: And you?\n\nAssistant: {text}"
            for name, text in (("chosen", "Fine."), ("rejected", "Go."))
        },
    ],
    ids=["prompt", "implied", "transcript"],
)
def test_earlier_turns_are_the_history(tmp_path: Path, row: dict) -> None:
    (found,) = load(written(tmp_path, row), ["p.jsonl"])
    history = (Message("user", "Hi?"), Message("assistant", "Hello."))
    assert found == Preference("And you?", "Fine.", "Go.", history, "p.jsonl line 1")


@pytest.mark.parametrize("label", [True, 1, "1", "Good", False, 0, -1, "bad"])
def test_a_vote_leaves_the_other_answer_empty(tmp_path: Path, label: Any) -> None:
    (found,) = load(written(tmp_path, {"prompt": "Hi?", "completion": "Hm.", "label": label}), ["p.jsonl"])
    assert (found.chosen, found.rejected) == (("Hm.", "") if label in (True, 1, "1", "Good") else ("", "Hm."))


def test_csv_and_folders_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "prefs").mkdir()
    (tmp_path / "prefs" / "a.csv").write_text("prompt,completion,label\nHi?,Hello.,true\nHi?,No.,false\n")
    found = load(tmp_path, ["prefs"])
    assert [one.where for one in found] == ["prefs/a.csv line 2", "prefs/a.csv line 3"]
    assert [one.chosen for one in found] == ["Hello.", ""]


FAULTS = {
    "no such columns": ({"question": "Hi?", "answer": "x"}, "neither a pair nor a vote"),
    "the same answer": ({"prompt": "Hi?", "chosen": "x", "rejected": "x"}, "are the same: 'x'"),
    "an empty answer": ({"prompt": "Hi?", "chosen": "x", "rejected": " "}, "rejected is empty"),
    "an empty question": ({"prompt": "", "chosen": "x", "rejected": "y"}, "question is empty"),
    "no question": ({"chosen": "x", "rejected": "y"}, "there is no prompt"),
    "another question": ({"chosen": [USER, BOT], "rejected": [MORE, BOT]}, "chosen answers 'Hi\\?' and rejected 'And you\\?'"),
    "no answer at the end": ({"chosen": [USER, BOT, MORE], "rejected": [USER, BOT]}, "ends with 'And you\\?', said by the user"),
    "not a vote": ({"prompt": "Hi?", "completion": "x", "label": "perhaps"}, "'perhaps', which is not a vote"),
    "no role": ({"chosen": [{"text": "x"}], "rejected": "y"}, "not a message with a role"),
}


@pytest.mark.parametrize(("row", "what"), FAULTS.values(), ids=FAULTS)
def test_a_fault_names_its_line(tmp_path: Path, row: dict, what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        load(written(tmp_path, FORMS["strings"], row), ["p.jsonl"])
    assert "p.jsonl line 2" in str(caught.value)
    assert caught.value.remedy


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 rows are unusable"):
        load(written(tmp_path, {"x": 1}, FORMS["strings"], {"x": 2}), ["p.jsonl"])


def test_a_file_that_is_not_there_or_empty_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path, ["p.jsonl"])
    with pytest.raises(DataError, match="no rows"):
        load(written(tmp_path), ["p.jsonl"])


@given(st.lists(st.text("abc ", min_size=1, max_size=4), max_size=30), st.floats(0, 1), st.integers(0, 5))
def test_answers_to_one_question_are_held_out_together_and_new_rows_move_none(
    questions: list[str], share: float, seed: int
) -> None:
    rows = [Preference(question, f"{i}", "no") for i, question in enumerate(questions)]
    learnt, held = split_holdout(rows, share, seed)
    assert sorted((*learnt, *held), key=rows.index) == rows
    assert not {one.input for one in learnt} & {one.input for one in held}
    half = rows[: len(rows) // 2]
    assert split_holdout(half, share, seed) == tuple(tuple(one for one in side if one in half) for side in (learnt, held))


def test_the_share_held_out_is_about_what_was_asked() -> None:
    rows = [Preference(f"question {i}", "yes", "no") for i in range(2000)]
    assert 150 < len(split_holdout(rows, 0.1, 0)[1]) < 250


def test_real_transcripts_are_read(tmp_path: Path) -> None:
    import gzip

    path = Path(__file__).parents[3] / "shared" / "data" / "hh_rlhf" / "harmless-base_test.jsonl.gz"
    if not path.exists():
        pytest.skip("hh_rlhf is absent")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)[:80]
    (tmp_path / "hh.jsonl").write_text("".join(lines))
    found = load(tmp_path, ["hh.jsonl"])
    assert len(found) == 80
    assert any(one.history for one in found)
    assert all(len(one.history) % 2 == 0 for one in found)
