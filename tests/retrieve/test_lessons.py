"""Training rows with passages: rows that see the list of another still cite their own right passage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rung.lm.engines import Engines
from rung.retrieve import lookup as lookups
from rung.retrieve.ground import UNKNOWN
from rung.retrieve.lessons import lessons
from rung.retrieve.lookup import Lookup
from rung.retrieve.passage import Passage
from rung.retrieve.search import Hit, Settings
from rung.types import Example

TEXTS = {
    "P": "The frame is guaranteed for ten years, the bell for two.",
    "Q": "Shops stand open two hours longer in May.",
    "A": "Wheels are round.",
    "B": "Saddles are soft.",
    "C": "Chains want oil.",
}
LED, OTHER = Example("frame", "ten years"), Example("bell", "two")
Taught = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> Taught:
    """Names of the passages shown, and the answer, of rows whose searches find these."""

    def run(rows: Sequence[Example], found: Sequence[str], texts: Sequence[dict[str, str]] = (), **more: float) -> list:
        texts = texts or [TEXTS] * len(rows)
        hits = [[Hit(Passage(name, f"{name}.md", (), own[name]), 1.0) for name in one] for one, own in zip(found, texts)]
        monkeypatch.setattr(lookups, "sources", lambda *_: hits)
        made = lessons(Lookup("i", "d", "e", Settings(k=3), together=True, **more), rows, Engines())
        return [("".join(source.id for source in seen), answer) for seen, answer in made]

    return run


def test_a_row_cites_its_own_right_passage_in_the_list_of_another(taught: Taught) -> None:
    """Q contains the short answer of the second row too, and stands before P in the list of the first."""
    assert taught([LED, OTHER], ["QABP", "PABQ"]) == [("QAP", "ten years [3]"), ("QAP", "two [3]")]
    assert taught([OTHER, LED], ["PABQ", "QABP"]) == [("PAB", "two [1]"), ("PAB", "ten years [1]")]


def test_a_right_passage_beyond_those_shown_is_shared(taught: Taught) -> None:
    assert taught([LED, LED], ["ABCP", "CABP"]) == [("ABP", "ten years [3]")] * 2
    assert taught([OTHER, LED], ["QABP", "QABP"]) == [("QAP", "two [1]"), ("QAP", "ten years [3]")], "each cites another"


def test_few_lists_cover_all_that_is_cited(taught: Taught) -> None:
    """One list has both cited passages, the others one each, and the best hits of the last row, whose answer is nowhere."""
    rows, found = [LED, OTHER, LED, OTHER, Example("x", "zorblax")], ["PABC", "QABC", "PQAB", "QABC", "CPAB"]
    made = taught(rows, found)
    assert [seen for seen, _ in made] == ["PQA"] * 5
    assert [answer for _, answer in made] == ["ten years [1]", "two [2]", "ten years [1]", "two [2]", UNKNOWN]


def test_withheld_rows_share_a_list_without_their_answers(taught: Taught) -> None:
    assert taught([OTHER, OTHER], ["PABQC", "PCABQ"], withheld=1.0) == [("ABC", UNKNOWN)] * 2
    found = taught([LED, OTHER], ["PQAB", "PCABQ"], withheld=1.0)
    assert found == [("QAB", UNKNOWN), ("CAB", UNKNOWN)], "the list of the first has the answer of the second"


def test_a_passage_widened_otherwise_is_another(taught: Taught) -> None:
    cut = TEXTS | {"P": "The frame is guaranteed for ten years."}
    rows = [LED, OTHER, LED, OTHER]
    found = taught(rows, ["PAB", "PBA", "PCA", "PCB"], [cut, TEXTS, TEXTS, TEXTS])
    assert found == [("PAB", "ten years [1]"), ("PBA", "two [1]"), ("PBA", "ten years [1]"), ("PBA", "two [1]")]


def test_an_answer_in_no_passage_is_not_known(taught: Taught) -> None:
    assert taught([Example("x", "zorblax"), LED], ["PAB", "PAB"]) == [("PAB", UNKNOWN), ("PAB", "ten years [1]")]
