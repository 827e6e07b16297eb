"""An answer's text to a label: signs and symbols tell labels apart, and nothing is guessed."""

from __future__ import annotations

import pytest

from rung.lm.remote.label_matching import match_label


@pytest.mark.parametrize(
    ("said", "labels", "label"),
    [
        ("-2", ["0", "1", "2"], None),
        ("−2", ["-2", "0", "2"], "-2"),
        ("-2.", ["-2", "0", "2"], "-2"),
        ("**-2**", ["-2", "2"], "-2"),
        ("1.7", ["1", "2", "3"], None),
        ("1", ["10", "20"], None),
        ("C++", ["C", "Java"], None),
        ("c++ of course", ["C", "C++"], "C++"),
        ("C++", ["C", "C#", "C++"], "C++"),
        ("c#", ["C", "C#", "C++"], "C#"),
        (".NET", ["net", "java"], None),
        (".net", [".NET", "Net"], ".NET"),
        ("net", [".NET", "Net"], "Net"),
        ("Refund.", ["refund", "delay"], "refund"),
        ("refund, since", ["refund", "delay"], "refund"),
        ("order-status", ["order_status", "delay"], "order_status"),
        ("order - status", ["order_status", "delay"], "order_status"),
        ("top-2", ["top 2", "top 3"], "top 2"),
        ("ref", ["refund", "delay"], "refund"),
        ("2%", ["2", "3"], None),
        ("...refund", ["refund"], "refund"),
        ("Answer: refund", ["refund", "delay"], "refund"),
        ("满意度低", ["满意", "不满意"], None),
        ("不满意。", ["满意", "不满意"], "不满意"),
        ("A+", ["A", "B"], None),
        ("A.", ["A", "B"], "A"),
        ("A-", ["A", "A-"], "A-"),
        ("5 kg", ["5", "6"], None),
        ("$5", ["5", "6"], None),
    ],
)
def test_the_label_that_an_answer_names(said: str, labels: list[str], label: str | None) -> None:
    assert match_label(said, labels) == label
