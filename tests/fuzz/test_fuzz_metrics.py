"""Any answer against any reference: every metric gives a share, and no input is a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.data.answers import answers
from rung.errors import DataError
from rung.lm.remote import label_matching
from rung.metrics import METRICS, score
from rung.metrics.unknown import is_unknown
from rung.task import Task
from rung.types import Example, Prediction

MANY = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))

SIGNS = "0123456789٣५０.,'’ \u202f-−–+/:%‰^×eE$€£°²½⁄kgmMAaCc#*_`()[]{}\"\\<>≤~≈±\n"
text = st.one_of(
    st.text(max_size=60),
    st.text(SIGNS, max_size=40),
    st.lists(
        st.sampled_from(
            [
                *(
                    "1,234.5",
                    "1.234,5",
                    "-2",
                    "2%",
                    "5 kg",
                    "$5",
                    "3:30 pm",
                    "2024-01-05",
                    "Jan 5, 2024",
                    "1 1/2",
                    "10^6",
                    "the",
                    "A",
                ),
                *(
                    "C++",
                    ".NET",
                    "I don't know.",
                    "{",
                    "}",
                    "[",
                    '"a":',
                    "null",
                    "NaN",
                    "1e999999",
                    "²",
                    "١٢",
                    "**",
                    "```json",
                    "\0",
                ),
                "\ud800",
            ]
        ),
        max_size=8,
    ).map(" ".join),
)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda v: st.lists(v) | st.dictionaries(text, v),
)
cell = st.one_of(value, text, st.fixed_dictionaries({"text": value, "answer_start": value}), st.lists(text).map(repr))


def _scores(output: str, references: list[str], name: str) -> None:
    metric = METRICS[name]
    row = Example("asked", references[0], references=tuple(references) if len(references) > 1 else ())
    try:
        found = metric.rate(output, row)
    except DataError:  # a reference that is no JSON is the data's fault, and loading refuses it
        assert name == "field_f1"
        return
    assert 0 <= found <= 1
    if not any("\ud800" in one for one in references):  # half a character in a row is refused when it is read
        whole = score(metric, [row], [Prediction(row.id, output)], "dev", kind=metric.kinds[0])
        assert whole.per_row == (found,)
    is_unknown(output)


def _cells(found: Any, kind: str, impossible: Any) -> None:
    task = Task.model_construct(task="Answer.", kind=kind)  # type: ignore[arg-type]
    try:
        read = answers({"a": found, "is_impossible": impossible}, "a", task, "rows.jsonl line 1")
    except DataError as fault:
        assert fault.where == "rows.jsonl line 1"
        return
    assert read is None or all(isinstance(one, str) and one.strip() for one in read) or kind == "extract"


def _labels(said: str, known: list[str]) -> None:
    found = label_matching.match_label(said, known)
    assert found is None or found in known


scores = given(
    text,
    st.lists(text, min_size=1, max_size=3, unique=True),
    st.sampled_from(["exact_match", "token_f1", "rouge_l", "squad_f1", "field_f1"]),
)
cells = given(
    cell, st.sampled_from(["answer", "generate", "extract", "classify"]), st.sampled_from([None, True, False, "true", 0, ""])
)
named = given(text, st.lists(text, max_size=4))

test_any_answer_is_scored = FEW(scores(_scores))
test_any_cell_is_read_or_refused_with_its_line = FEW(cells(_cells))
test_any_text_names_a_label_or_none = FEW(named(_labels))
test_ten_thousand_answers_are_scored = pytest.mark.slow(MANY(scores(_scores)))
test_ten_thousand_cells_are_read_or_refused = pytest.mark.slow(MANY(cells(_cells)))
test_ten_thousand_texts_name_a_label_or_none = pytest.mark.slow(MANY(named(_labels)))
