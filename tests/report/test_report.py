"""The report on hand-made climbs: one file that needs no network, whose text cannot run, and that says what was measured."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rung.climbing.decide import decide
from rung.data.finding import Finding
from rung.decisions import Decision
from rung.errors import RungError
from rung.metrics import interval
from rung.report import figures, render, report_data, rows, scatter, verdict, write
from rung.report.numbers import millis, money, seconds, signed
from rung.store import Store
from rung.task import Task
from rung.types import Cost, Example, Forgetting, Interval, Latency, Provenance, Record, Scores

HOSTILE = "</script><img src=x onerror=alert(1)><!-- \u2028 ${x} {{ 7*7 }} 'quoted\" & <svg/onload=alert(2)>"
VOID = {"meta", "link", "img", "br", "hr", "input", "circle", "line", "path", "polyline"}


# --- making a climb ---------------------------------------------------------------------------------------------------


def example(i: int, output: str = "refund", text: str | None = None) -> Example:
    return Example(text or f"message {i}", output, where=f"tickets.csv line {i + 2}")


EXAMPLES = tuple(example(i, ("refund", "delay", "other")[i % 3]) for i in range(40))


def record(rung: str, right: int, *, examples: tuple[Example, ...] = EXAMPLES, wrong: str = "none", **fields: Any) -> Record:
    outputs = tuple(e.output if i < right else wrong for i, e in enumerate(examples))
    per_row = tuple(float(i < right) for i in range(len(examples)))
    scores = Scores("accuracy", "dev", interval(per_row), tuple(e.id for e in examples), per_row, outputs)
    some = Record(
        rung,
        "done",
        scores=scores,
        quote=Cost(fit_seconds=60),
        cost=Cost(fit_seconds=33, per_month_usd=1.5, once_usd=12.0, per_1k_usd=0.15),
        latency=Latency(Interval(20, 18, 22, 20), Interval(41, 38, 44, 20)),
        predictor="p" + rung,
        provenance=Provenance(
            revision="abc123+",
            packages={"torch": "2.13"},
            machine={"name": "box", "memory_bytes": 2**33, "device": "cpu", "dtype": "float32", "usd_per_hour": 0.1},
            seed=3,
            options=({"method": rung, "rank": 16},),
            notes=({},),
            errors=0,
        ),
    )
    return replace(some, **fields)


SKIPPED = Record("rag", "skipped", "needs documents, which this task does not have")
FAILED = Record("full", "failed", "OutOfMemory: 12 GB", provenance=Provenance(key="k", traceback="Traceback\n  line 7"))


def a_task(**fields: Any) -> Task:
    wanted = {"metric": "accuracy", "at_least": 0.6, "latency_ms": 1000.0} | fields.pop("goal", {})
    content = {"task": "Name the intent.", "kind": "classify", "data": {"examples": "tickets.csv"}, "goal": wanted}
    return Task.model_validate(content | fields)


def content(
    records: list[Record], *, decided: Decision | None = None, later: tuple[str, ...] = (), **fields: Any
) -> dict[str, Any]:
    """As decision.json holds it: through JSON and back."""
    task = fields.pop("task", a_task())
    whole = {
        "decision": asdict(decided or decide(records, task.goal)),
        "records": [r.to_json() for r in records],
        "test": None,
        "seals_broken": 0,
        "task": task.model_dump(mode="json"),
        "fits": {name: [] for name in [*(r.rung for r in records), *later]},
        **fields,
    }
    return json.loads(json.dumps(whole))


def shown(
    records: list[Record], examples: tuple[Example, ...] = EXAMPLES, findings: tuple[Finding, ...] = (), **fields: Any
) -> str:
    return render(content(records, **fields), findings, examples, name="bikes")


# --- reading a page ---------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags that must balance, text without scripts, and every attribute."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.said.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.said).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def embedded(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="rows-data">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


# --- the page as a whole ----------------------------------------------------------------------------------------------


FORGOT = Forgetting(Interval(0.02, 0.01, 0.03, 2), Interval(-0.1, -0.2, 0.01, 50), "nats a token", (3.0, 1.0), (150, 50))


def several() -> list[Record]:
    trained = {"losses": [3.0, 1.5, float("nan"), 0.4], "held": [0.5, 0.7], "trained_parameters": 10, "trained_share": 0.1}
    trained |= {"planned_steps": 9, "stopped": "the loss was low", "reranker": {"losses": [0.9, 0.25], "kept": True}}
    lora = record("lora", 36)
    lora = replace(lora, provenance=replace(lora.provenance, notes=(trained,)), forgetting=FORGOT)
    return [record("majority", 4), record("zero-shot", 24), lora, SKIPPED, FAILED]


def test_every_rung_of_the_plan_stands_on_the_leaderboard_with_its_state_and_reason() -> None:
    found = Page(shown(several(), later=("pretrain",)))
    for said in (
        "lora meets the goal.",
        "needs documents, which this task does not have",
        "OutOfMemory: 12 GB",
        "The climb ended before this rung.",
        "estimated 60 s",
        "loss on general text +0.020 [+0.010, +0.030] nats a token",
        "general questions answered right -0.100 [-0.200, +0.010], n=50",
        "4 of 9 steps: the loss was low",
        ", reranker",
        "2 steps",
        "last loss 0.25",
    ):
        assert said in found.text
    order = [
        found.text.index(f"{rung} {state}")
        for rung, state in (("majority", "fails"), ("rag", "skipped"), ("pretrain", "not tried"))
    ]
    assert order == sorted(order)
    assert all(a.get("scope") for a in found.all("th"))


def test_how_far_prompts_lie_apart_is_drawn_where_a_search_tried_several() -> None:
    spread = {"wording": {"tried": 4, "n": 32, "mean": 0.5, "min": 0.25, "max": 0.625}}
    searched = record("prompt-search", 30)
    searched = replace(searched, provenance=replace(searched.provenance, notes=({"spread": spread},)))
    page = Page(shown([record("zero-shot", 24), searched]))
    assert "prompt-search wording 4 0.500 0.250 to 0.625 32" in page.text
    assert "How far the prompt moves" not in Page(shown(several())).text


def test_forgetting_has_a_column_and_an_axis_only_where_weights_were_touched() -> None:
    touched, untouched = Page(shown(several())), Page(shown([record("majority", 4), record("zero-shot", 24)]))
    assert "Forgets" in touched.text and "+0.020" in touched.text and "Forgets" not in untouched.text
    for found, wanted in ((touched, {"cost", "latency", "fit", "forgetting"}), (untouched, {"cost", "latency", "fit"})):
        assert {a["value"] for a in found.all("input")} == {a["data-axis"] for a in found.all("g") if "data-axis" in a} == wanted


def test_the_page_loads_nothing_and_runs_only_its_own_script() -> None:
    html = shown(several())
    found = Page(html)
    for _, attrs in found.tags:
        assert not [name for name in attrs if name.startswith("on")]
        assert not attrs.get("src")
        assert (attrs.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|<link|<iframe|https?://", html)
    policy = next(a["content"] for a in found.all("meta") if a.get("http-equiv"))
    assert policy and "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_the_hash_in_the_policy_is_that_of_the_script() -> None:
    import base64
    import hashlib

    html = shown(several())
    script = html[html.rindex("<script>") + len("<script>") : html.rindex("</script>")]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in html


def test_hostile_text_stays_text_wherever_it_stands() -> None:
    rows_ = tuple(replace(e, input=HOSTILE + str(i), output=HOSTILE, where=HOSTILE) for i, e in enumerate(EXAMPLES))
    good = record("lora" + HOSTILE, 36, examples=rows_, wrong=HOSTILE + "?")
    bad = Record(
        "full",
        "failed",
        HOSTILE,
        provenance=Provenance(key=HOSTILE, traceback=HOSTILE, options=({"a": HOSTILE},), extra={"b": HOSTILE}),
    )
    findings = (Finding("x", "block", HOSTILE, HOSTILE, (HOSTILE,), 1),)
    task = a_task(task=HOSTILE, labels=[HOSTILE, "b"])
    html = render(content([good, record("b", 20, examples=rows_), bad], task=task), findings, rows_, name=HOSTILE)
    found = Page(html)
    assert not found.all("img") and "onerror=alert(1)>" in found.text
    assert [a for tag, a in found.tags if "onload" in a or "onerror" in a] == []
    assert "{{ 7*7 }}" in found.text  # no template runs inside a row
    assert embedded(html)["rows"][0]["right"] == HOSTILE


@given(st.text(min_size=1, max_size=40))
def test_any_text_survives_the_way_to_the_script(text: str) -> None:
    rows_ = (replace(EXAMPLES[0], input=text), *EXAMPLES[1:])
    html = shown([record("lora", 36, examples=rows_), record("zero", 0, examples=rows_)], rows_)
    assert text in [row["input"] for row in embedded(html)["rows"]]


def test_nothing_measured_still_makes_a_page() -> None:
    found = Page(shown([SKIPPED, FAILED]))
    assert "Undecided: nothing could be measured." in found.text and "there is nothing to draw" in found.text


def test_one_measured_rung_makes_a_page() -> None:
    found = Page(shown([record("lora", 36)]))
    assert "Comparing rows takes two measured rungs; there is one." in found.text and "What lora takes for what" in found.text


def test_77_labels_and_unicode() -> None:
    labels = [f"étiquette {i} 漢字 🙂" for i in range(77)]
    many = tuple(example(i, labels[i % 77]) for i in range(154))
    html = shown([record("lora", 60, examples=many, wrong=labels[0]), record("zero", 10, examples=many)], many)
    assert Page(html).text and "étiquette 59 漢字 🙂" in html
    assert html.count('<th scope="row" class="text">') == rows.MAX_CONFUSIONS


# --- what it says -----------------------------------------------------------------------------------------------------


def decision_text(**fields: Any) -> str:
    return verdict.test_sentence(report_data.read_report_data(content(several(), **fields)))


def test_the_sealed_number_and_how_often_the_seal_was_broken() -> None:
    ids = tuple(f"secret-{i}" for i in range(9))
    test = asdict(Scores("accuracy", "test", Interval(0.8, 0.7, 0.9, 9), ids, (1.0,) * 9, ("secret-answer",) * 9))
    once, often = decision_text(test=test, seals_broken=1), decision_text(test=test, seals_broken=3)
    assert "0.800 [0.700, 0.900], n=9" in once and "fresh" not in once
    assert "shown to 3 different fits" in often
    assert "secret" not in shown(several(), test=test, seals_broken=1)  # of the test, numbers only


def test_why_the_test_is_still_sealed() -> None:
    hard = a_task(goal={"at_least": 0.99})
    assert "still sealed, because no rung" in verdict.test_sentence(report_data.read_report_data(content(several(), task=hard)))
    assert "there are no test rows" in decision_text()
    assert "not for this rung, because no rung" in verdict.test_sentence(
        report_data.read_report_data(content(several(), task=hard, seals_broken=2))
    )


def test_a_rung_may_have_the_score_and_break_a_limit() -> None:
    slow = a_task(goal={"at_least": 0.5, "latency_ms": 10.0})
    demands = verdict.requirements(report_data.read_report_data(content([record("lora", 39)], task=slow)))
    assert [(d.what, d.state) for d in demands] == [("accuracy", "yes"), ("p95 latency", "no")]


def test_an_undecided_climb_says_how_many_rows_to_label() -> None:
    near = a_task(goal={"at_least": 0.85})
    found = Page(shown([record("lora", 36)], task=near))
    assert re.search(r"label about [\d,]+ more rows for dev and test", found.text)


def test_the_task_shown_can_be_used_again() -> None:
    task = a_task(labels={"refund": "", "delay": "late"}, methods={"lora": {"rank": 8}}, budget={"minutes": 5})
    html = shown(several(), task=task)
    from html import unescape

    block = re.search(r"rung.yaml, as it was run.*?<code>(.*?)</code>", html, re.S)
    assert block
    again = Task.model_validate(yaml.safe_load(unescape(block[1])))
    assert again.digest == task.digest


# --- rows to read -----------------------------------------------------------------------------------------------------


def by_rung(*records: Record) -> dict[str, Scores]:
    return {r.rung: r.scores for r in records if r.scores}


def test_disputed_rows_and_their_counts() -> None:
    found = rows.disputed(by_rung(record("a", 30), record("b", 10)), EXAMPLES, ("a", "b"))
    assert (found.wins[0][1], found.wins[1][0], found.found) == (20, 0, 20)
    assert {r.input for r in rows.side(found, 0, 1)} == {f"message {i}" for i in range(10, 30)}
    assert rows.side(found, 1, 0) == ()


def test_the_cap_keeps_the_first_pair_and_counts_all() -> None:
    many = tuple(example(i) for i in range(1000))
    told = by_rung(record("a", 600, examples=many), record("b", 500, examples=many), record("c", 0, examples=many))
    found = rows.disputed(told, many, ("a", "b"))
    assert len(found.rows) == rows.MAX_ROWS and found.found == 600 and found.wins[0][2] == 600
    assert len(rows.side(found, 0, 1)) == 100


def test_rows_that_left_dev_are_counted_and_not_shown() -> None:
    found = rows.disputed(by_rung(record("a", 40), record("b", 0)), EXAMPLES[:30], ("a", "b"))
    assert (found.lost, len(found.rows)) == (10, 30)


def test_long_rows_are_cut_and_say_so() -> None:
    long = (replace(EXAMPLES[0], input="x" * 5000), *EXAMPLES[1:])
    found = rows.disputed(by_rung(record("a", 1, examples=long), record("b", 0, examples=long)), long, ("a", "b"))
    assert found.rows[0].input.endswith("(3,000 more characters)")


def test_confusions_most_frequent_first() -> None:
    scores = record("a", 37, wrong="delay").scores
    assert scores
    found = rows.confusions(scores, EXAMPLES)
    assert [(c.right, c.answered, c.count, c.of) for c in found] == [("other", "delay", 1, 13), ("refund", "delay", 1, 14)]


def test_a_graded_metric_speaks_of_higher_scores() -> None:
    a, b = record("a", 36), record("b", 20)
    assert a.scores
    graded = replace(a, scores=replace(a.scores, per_row=(0.5, *a.scores.per_row[1:])))
    assert "a scored higher than b: 16 rows" in Page(shown([graded, b])).text


# --- figures and numbers ----------------------------------------------------------------------------------------------

unit = st.floats(0, 1)


@given(st.lists(st.tuples(unit, unit, unit).map(sorted), max_size=6), unit)
def test_bars_share_an_axis_that_holds_them_all(bounds: list[list[float]], goal: float) -> None:
    drawn = figures.bars([Interval(mid, low, high, 9) for low, mid, high in bounds], goal)
    for bar in drawn.bars:
        assert figures.BAR_PAD <= bar.low <= bar.at <= bar.high <= figures.BAR_WIDTH - figures.BAR_PAD
    assert drawn.ticks and len(drawn.ticks) <= 6


costs = st.one_of(st.none(), st.just(0.0), st.floats(1e-9, 1e9))


@given(st.lists(st.tuples(unit, costs), min_size=1, max_size=9))
def test_every_point_stands_in_the_plot_and_the_nearly_free_in_their_lane(points: list[tuple[float, float | None]]) -> None:
    made = [
        scatter.Point(f"rung {i}", "fails", False, Interval(score, score, score, 9), {"cost": cost, "latency": cost, "fit": cost})
        for i, (score, cost) in enumerate(points)
    ]
    drawn = scatter.scatter(made, 0.5, 800, 400)
    for axis in drawn.axes:
        for (_, cost), mark in zip(points, axis.marks, strict=True):
            assert (mark is None) == (cost is None)
            if mark is None or cost is None:
                continue
            assert drawn.left <= mark.x <= drawn.right
            assert (mark.x <= axis.lane_end) == (cost < axis.measure.floor)
        places = [tick.at for tick in axis.ticks]
        assert places == sorted(places) and 2 <= len(places) <= 10


def test_dearer_stands_further_right() -> None:
    made = [
        scatter.Point(str(c), "fails", False, Interval(0.5, 0.4, 0.6, 9), {"cost": c, "latency": c, "fit": c})
        for c in (0.0, 0.02, 3.0, 900.0)
    ]
    xs = [mark.x for mark in scatter.scatter(made, 0.5, 800, 400).axes[0].marks if mark]
    assert xs == sorted(set(xs)) and len(xs) == 4


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=700))
def test_a_curve_of_anything_is_drawn_within_its_frame_or_not_at_all(values: list[float]) -> None:
    drawn = figures.curve(values)
    if drawn is None:
        return
    places = [tuple(map(float, place.split(","))) for place in drawn.path.split()]
    assert 2 <= len(places) <= figures.MOST_POINTS
    assert all(drawn.left <= x <= drawn.right and drawn.top <= y <= drawn.bottom for x, y in places)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (money(0), "$0"),
        (money(3e-9), "<$0.0001"),
        (money(0.0123), "$0.012"),
        (money(0.5), "$0.50"),
        (money(12345), "$12,345"),
        (seconds(0.01), "<0.1 s"),
        (seconds(235), "3.9 min"),
        (seconds(10_000), "2.8 h"),
        (millis(0.2), "<1"),
        (millis(1484.2), "1,484"),
        (signed(-0.25), "−0.250"),
    ],
)
def test_numbers_for_people(said: str, expected: str) -> None:
    assert said == expected


# --- writing ----------------------------------------------------------------------------------------------------------


@dataclass
class FakeProject:
    task: Task
    store: Store


@pytest.fixture(autouse=True)
def dev_rows(monkeypatch: pytest.MonkeyPatch) -> list[Example]:
    """The dev rows that a report shows."""
    rows = list(EXAMPLES)
    monkeypatch.setattr("rung.report.html.open_dev_rows", lambda task: tuple(rows))
    return rows


def project(folder: Path) -> Any:
    folder.mkdir()
    task = a_task()
    task._folder = folder
    return FakeProject(task, Store(folder))


def test_nothing_climbed_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(RungError, match=r"no finished climb.*rung climb .*bikes"):
        write(project(tmp_path / "bikes"))


def test_the_page_is_written_beside_the_task_and_whole(tmp_path: Path) -> None:
    at = project(tmp_path / "bikes")
    at.store.write("decision.json", content(several()))
    path = write(at)
    assert path == tmp_path / "bikes" / "report.html" and "rung climb bikes" in path.read_text(encoding="utf-8")
    assert not list(path.parent.glob("*.part"))
    assert write(at, tmp_path / "other.html").is_file()


def test_half_a_surrogate_pair_does_not_stop_the_page(tmp_path: Path, dev_rows: list[Example]) -> None:
    at = project(tmp_path / "bikes")
    at.store.write("decision.json", content(several()))
    dev_rows[20:] = [replace(e, where="\ud800") for e in EXAMPLES[20:]]
    assert write(at).is_file()
