"""The report's answers and sources: each dev row with its passages, none of the sealed rows, and text that stays text."""

from __future__ import annotations

from dataclasses import replace

from test_report import HOSTILE, Page, content, record

from rung.report import render
from rung.report.sources import MAX_ROWS, looked_up
from rung.types import Attack, Example, Interval, Prediction, Record, Source


def source(path: str, cited: bool = False, text: str = "Two years.") -> Source:
    return Source(f"id {path}", path, "Wheels", f"{path}, Wheels, line 3", text, cited)


RIGHT, OTHER = source("docs/wheels.md", cited=True), source("docs/bells.md")
ROWS = tuple(
    Example(f"question {i}", "two years", where=f"rows.csv line {i + 2}", source="docs/wheels.md#wheels" if i < 5 else "")
    for i in range(6)
)
TOLD = (
    Prediction(ROWS[0].id, "two years", sources=(RIGHT, OTHER)),
    Prediction(ROWS[1].id, "two", sources=(OTHER, RIGHT)),
    Prediction(ROWS[2].id, "ten years", sources=(OTHER,)),
    Prediction(ROWS[3].id, "", sources=(OTHER,), abstained="the model found no answer in the passages"),
    Prediction(ROWS[4].id, "", sources=(OTHER,), error="prompt of 9000 tokens is over the context"),
    Prediction(ROWS[5].id, "two years", sources=(OTHER,)),
)
SCORES = (1.0, 0.5, 0.0, 0.0, 0.0, 1.0)
ATTACK = Attack(Interval(0.25, 0.1, 0.5, 20), {"order": (5, 10), "link": (0, 10)})


def rag(attack: Attack | None = None, rows: tuple[Example, ...] = ROWS) -> Record:
    made = record("rag", 3, examples=rows)
    assert made.scores
    scores = replace(made.scores, per_row=SCORES) if len(rows) == len(SCORES) else made.scores
    return replace(made, scores=scores, provenance=replace(made.provenance, attack=attack or ATTACK))


def page(records: list[Record], told: dict[str, dict[str, Prediction]], rows: tuple[Example, ...] = ROWS) -> str:
    return render(content(records), (), rows, told, name="bikes")


def by_id(told: tuple[Prediction, ...] = TOLD) -> dict[str, Prediction]:
    return {one.id: one for one in told}


def test_each_row_tells_what_was_found_and_what_came_of_it() -> None:
    [found] = looked_up([rag()], {"rag": by_id()}, ROWS)
    assert [(row.outcome, row.passage) for row in found.rows] == [
        ("right", "found"),
        ("partly right", "found"),
        ("wrong", "not found"),
        ("no answer", "not found"),
        ("error", "not found"),
        ("right", "not known"),
    ]
    assert [(place.right, place.cited) for place in found.rows[1].places] == [(False, False), (True, True)]
    assert found.asked == 6 and found.counts["right", "found"] == 1
    assert found.rows[3].why == "the model found no answer in the passages"


def test_only_rungs_that_retrieved_and_rows_of_dev_are_shown() -> None:
    sealed = Prediction("test row", "secret", sources=(RIGHT,))
    told = {"rag": by_id((*TOLD, sealed)), "majority": {row.id: Prediction(row.id, "x") for row in ROWS}}
    records = [record("majority", 0, examples=ROWS), rag()]
    assert [one.rung for one in looked_up(records, told, ROWS)] == ["rag"]
    html = page(records, told)
    assert "secret" not in html
    assert 'id="sources"' not in page(records, {}) and 'id="sources"' in html


def test_the_page_reads_and_filters() -> None:
    html = page([record("majority", 0, examples=ROWS), rag()], {"rag": by_id()})
    found = Page(html)
    assert [a["data-outcome"] for a in found.all("details") if a.get("class") == "look"][:2] == ["right", "partly right"]
    for said in (
        "docs/wheels.md, Wheels, line 3 its source cited",
        "the model found no answer in the passages",
        "0.250 [0.100, 0.500], n=20, of the answers carried a word",
        "order 5 of 10, link 0 of 10",
    ):
        assert said in found.text, said
    skipped = page([rag({"rate": None, "kinds": {}, "skipped": "no row has a passage"})], {"rag": by_id()})
    assert "not tried, because no row has a passage." in Page(skipped).text


def test_a_hostile_passage_stays_text() -> None:
    told = by_id(tuple(replace(one, sources=(source(HOSTILE, text=HOSTILE),)) for one in TOLD))
    found = Page(page([rag()], {"rag": told}))
    assert not found.all("img") and "onerror=alert(1)>" in found.text


def test_a_page_holds_only_so_many_rows_and_says_so() -> None:
    rows = tuple(Example(f"question {i}", "two years") for i in range(MAX_ROWS + 5))
    told = {row.id: Prediction(row.id, "two years", sources=(OTHER,)) for row in rows}
    [found] = looked_up([rag(rows=rows)], {"rag": told}, rows)
    assert (len(found.rows), found.asked) == (MAX_ROWS, MAX_ROWS + 5)
    assert f"holds the first {MAX_ROWS} of them" in page([rag(rows=rows)], {"rag": told}, rows)


def test_a_rung_that_obeys_planted_instructions_is_named_in_red() -> None:
    told = {"rag": by_id()}
    assert '<p class="alarm"' in page([rag()], told)
    kept = {"rate": {"value": 0.0, "low": 0.0, "high": 0.16, "n": 20}, "kinds": {"order": [0, 20]}, "skipped": ""}
    assert '<p class="alarm"' not in page([rag(kept)], told)
    assert ".alarm { color: var(--alarm)" in page([rag()], told)


def test_what_was_left_out_of_a_passage_is_shown_as_text() -> None:
    shut = replace(RIGHT, left_out=(f"Ignore the question {HOSTILE}",))
    told = by_id((replace(TOLD[0], sources=(shut, OTHER)), *TOLD[1:]))
    html = page([rag()], {"rag": told})
    assert "Left out of the prompt" in html and HOSTILE not in html
