"""The flowchart: the table is whole, answers come from where they say, advice follows, and the prior is held to the records."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung import methods
from rung.advise import draw, facts, texts
from rung.advise.advise import Chart, chart
from rung.advise.overlap import answers_in_documents, answers_in_inputs
from rung.advise.questions import ASSUMED, COUNTED, Answer, alternatives, choices, question
from rung.advise.review import review_plan
from rung.advise.table import SOURCES, TABLE, source
from rung.climbing.decide import compare, decide
from rung.lm.base import ModelRef
from rung.machine import Machine
from rung.methods.base import Family
from rung.methods.facts import Facts
from rung.metrics import interval
from rung.planning import corrections
from rung.planning.bases import Base, available
from rung.planning.corrections import Correction, PastEstimate, corrected, correction_for
from rung.planning.steps import break_evens, flowchart_input, plan
from rung.predictor import Predictor
from rung.task import Task, TaskNeeds
from rung.types import Cost, Example, Interval, Latency, Preference, Provenance, Record, Scores, Texts, TrainData

FACTS = Facts(
    train_rows=200,
    parameters=134_000_000,
    encoder_parameters=22_000_000,
    shared_tokens=60.0,
    input_tokens=7.0,
    output_tokens=3.0,
    labels=3,
)
LABELS = ("delay", "other", "refund")
ROWS = tuple(Example(f"{LABELS[i % 3]} of parcel number {i * 7919}", LABELS[i % 3]) for i in range(90))
SORTED = TrainData(ROWS, LABELS)
START = Predictor(kind="classify", model=ModelRef("causal", "base", "digest"), instruction="x", labels=LABELS)
BASES = {"base": Base(START, FACTS)}


def a_task(**changes: Any) -> Task:
    return Task.model_validate(
        {"task": "x", "kind": "classify", "data": {"examples": "x.csv"}, "goal": {"at_least": 0.5}} | changes
    )


def answered(machine: Machine, data: TrainData = SORTED, known: Facts = FACTS, **changes: Any) -> dict[str, Answer]:
    return facts.answers(a_task(**changes), data, known, machine, available(START.model, data, machine))


def verdicts(machine: Machine, data: TrainData = SORTED, known: Facts = FACTS, **changes: Any) -> Mapping[str, str]:
    return {one.family: one.verdict for one in chart(answered(machine, data, known, **changes), {}).advice}


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_family_has_rules_and_the_last_needs_no_condition() -> None:
    assert set(TABLE) == set(Family)
    for name, rules in TABLE.items():
        assert not rules[-1].when, name
        assert all(rule.when for rule in rules[:-1]), f"{name}: what stands below a rule without conditions is never read"


def test_rules_ask_known_questions_and_name_sources() -> None:
    for rules in TABLE.values():
        for rule in rules:
            asked = {key for key, _, _ in rule.when} | set(re.findall(r"{(\w+)}", rule.why))
            assert asked <= set(ASSUMED) | set(COUNTED)
            assert rule.sources and all(name in SOURCES or re.fullmatch(r"\d{4}\.\d{5}", name) for name in rule.sources)
            assert 0 <= rule.bet <= 3 and (rule.verdict != "don't" or rule.bet == 0)
            for key, _, value in rule.when:
                assert not choices(key) or value in choices(key), f"{key} is never {value}"
    assert source("2312.05934") == "https://arxiv.org/abs/2312.05934"


def test_every_question_has_a_default_that_it_allows() -> None:
    assert set(ASSUMED) == set(TaskNeeds.model_fields)
    for key, assumption in ASSUMED.items():
        assert question(key) and (assumption.value in choices(key) or not choices(key))


def test_every_method_names_its_family() -> None:
    assert not [name for name, method in methods.METHODS.items() if method.family is None]


# --- answers ----------------------------------------------------------------------------------------------------------


def test_what_the_team_says_stands_before_what_is_read(machine: Machine) -> None:
    twice = TrainData(ROWS + tuple(replace(row, output="other") for row in ROWS), LABELS)
    read = answered(machine, twice)["labels_clean"]
    assert (read.value, read.origin) == ("no", "read")
    given = answered(machine, twice, needs={"labels_clean": "yes"})["labels_clean"]
    assert (given.value, given.origin) == ("yes", "given")
    assert answered(machine)["labels_clean"].value == "yes"
    assumed = answered(machine)["must_cite"]
    assert (assumed.value, assumed.origin) == ("no", "assumed") and assumed.how


def test_counts_are_read_and_volume_is_given_only_where_it_is(machine: Machine) -> None:
    found = answered(machine)
    assert (found["rows"].value, found["labels"].value, found["rows_per_label"].value) == (90, 3, 30)
    assert found["volume"].origin == "assumed" and answered(machine, volume=1000)["volume"].origin == "given"
    assert found["hardware"].value == "2 cores" and found["gpu"].value == "no"


def test_answers_that_stand_in_their_inputs_need_no_knowledge(machine: Machine) -> None:
    rows = tuple(Example(f"The tower in city{i} is {i + 100} metres high. How high?", f"{i + 100} metres") for i in range(30))
    assert answers_in_inputs(rows) == (30, 30)
    found = answered(machine, TrainData(rows), kind="answer")["external_knowledge"]
    assert (found.value, found.origin) == ("no", "read")


def test_answers_that_stand_in_documents_need_them(machine: Machine, tmp_path: Path) -> None:
    things = ["saddle", "bottle", "basket", "mirror", "helmet", "fender", "pannier", "kickstand", "speaker", "camera"]
    documents = tmp_path / "prices.md"
    documents.write_text("\n\n".join(f"The {thing} is sold for {310 + i} crowns." for i, thing in enumerate(things)))
    rows = tuple(Example(f"What does a {thing} cost?", f"{310 + i} crowns") for i, thing in enumerate(things))
    held, read = answers_in_documents(rows, [str(documents)])
    assert (held, read) == (10, 10)
    data = TrainData(rows, documents=Texts((str(documents),), "d"))
    found = answered(machine, data, kind="answer")
    assert (found["external_knowledge"].value, found["documents"].value) == ("yes", 1)
    assert verdicts(machine, data, kind="answer")["retrieval"] == "do"
    strange = tuple(Example(f"what is {i}", f"nothing of the kind {i}") for i in range(10))
    assert answers_in_documents(strange, [str(documents)])[0] == 0


def test_dates_are_read_off_names_before_times_of_change(tmp_path: Path) -> None:
    files = [tmp_path / "notes-2026-01-01.md", tmp_path / "notes-2026-03-01.md", tmp_path / "readme.md"]
    for file in files:
        file.write_text("x")
    assert texts.days_spanned([str(file) for file in files]) == 59
    os.utime(files[2], (0, 0))
    assert texts.days_spanned([str(files[2]), str(files[2])]) == 0 and texts.days_spanned([]) == 0
    assert texts.date_in_name("report_20260231.txt") is None and texts.date_in_name("room-1234567.txt") is None


def test_a_script_that_the_tokenizer_hardly_knows(machine: Machine) -> None:
    rows = tuple(Example("退款请求" * 5, "是") for _ in range(5))
    assert answered(machine, TrainData(rows), replace(FACTS, input_tokens=60.0), kind="answer")["new_language"].value == "yes"
    assert answered(machine)["new_language"].value == "no"


# --- advice -----------------------------------------------------------------------------------------------------------


def test_teachers_and_bases_that_are_named_are_read(machine: Machine) -> None:
    named = {"base": "openai:gpt-5-mini", "methods": {"distil": {"teacher": "openai:gpt-5"}}}
    found = answered(machine, known=replace(FACTS, call_seconds=1.0), **named)
    assert (found["teacher"].value, found["data_may_leave"].value) == ("remote", "yes")
    assert {found["teacher"].origin, found["data_may_leave"].origin} == {"read"}
    assert found["new_language"].origin == "assumed"  # its tokenizer is not at hand
    assert found["checkable"].value == "yes"  # a label is right or wrong
    assert answered(machine, base="http://localhost:8000/v1#x")["data_may_leave"].origin == "assumed"


def test_the_table_of_the_essay(machine: Machine) -> None:
    found = verdicts(machine)
    assert [found[name] for name in ("small encoders", "adapters", "full fine-tuning")] == ["do", "do", "later"]
    assert {found[name] for name in ("retrieval", "pre-training", "continued pre-training", "preference tuning")} == {"don't"}
    text = TrainData(ROWS)
    assert verdicts(machine, text, kind="generate")["small encoders"] == "don't"
    assert verdicts(machine, TrainData(ROWS[:20]), kind="generate")["adapters"] == "later"
    assert verdicts(machine, TrainData(()), kind="generate")["demonstrations"] == "don't"
    assert verdicts(machine, text, kind="answer", needs={"external_knowledge": "yes"})["retrieval"] == "later"
    pairs = TrainData(ROWS, preferences=(Preference("a", "b", "c"),))
    assert verdicts(machine, pairs, kind="generate")["preference tuning"] == "later"
    large = replace(FACTS, parameters=70_000_000_000)
    assert verdicts(machine, text, large, kind="generate")["full fine-tuning"] == "don't"


def test_pre_training_says_what_it_would_take(machine: Machine) -> None:
    why = next(one.why for one in chart(answered(machine), {}).advice if one.family == "pre-training")
    assert why == "Llama 2 70B took 1.7 million GPU hours; you have 2 cores"


def test_a_rung_is_as_cautious_as_its_most_cautious_method(machine: Machine) -> None:
    listed: dict[str, tuple[Family | None, ...]] = {
        "a": (Family.ENCODER,),
        "b": (Family.RETRIEVAL, Family.FULL),
        "c": (None,),
        "d": (Family.RETRIEVAL, Family.ADAPTERS),
    }
    found = chart(answered(machine), listed)
    assert (found.rungs["b"].verdict, found.rungs["b"].family, found.rungs["b"].bet) == ("don't", "retrieval", 2)
    assert found.rungs["d"].family == "retrieval with adapters"
    assert found.rungs["c"].verdict == "do" and found.first == "a"
    assert chart(answered(machine), {"b": (Family.RETRIEVAL,)}).first == ""


def test_flips_are_true(machine: Machine) -> None:
    answers = answered(machine)
    listed: dict[str, tuple[Family | None, ...]] = {"enc": (Family.ENCODER,), "ada": (Family.ADAPTERS,)}
    found = chart(answers, listed)
    assert {flip.key for flip in found.flips} == {"external_knowledge", "volume"}
    for flip in found.flips:
        then = chart({**answers, flip.key: replace(answers[flip.key], value=flip.instead)}, listed)
        assert then.advice != found.advice


@given(st.data())
def test_any_answers_get_advice(machine: Machine, data: st.DataObject) -> None:
    known = answered(machine)
    for key in ASSUMED:
        known[key] = replace(known[key], value=data.draw(st.sampled_from([known[key].value, *alternatives(known[key])])))
    for key in ("rows", "labels", "documents", "pairs", "unlabelled", "corpus_tokens", "volume", "input_tokens"):
        known[key] = Answer(key, data.draw(st.integers(0, 10**11)), "read")
    known["small_base"] = Answer("small_base", data.draw(st.sampled_from(["yes", "no"])), "read")
    found = chart(known, {"x": (Family.ADAPTERS,), "y": (Family.RETRIEVAL, Family.FULL)})
    assert [one.family for one in found.advice] == list(Family)
    assert found.first in ("", "x", "y") and "{" not in "".join(one.why for one in found.advice)
    assert found.first == "" or found.rungs[found.first].verdict != "don't"


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_what_is_ruled_out_comes_last_and_what_the_task_names_is_tried(machine: Machine) -> None:
    tiny = replace(machine, memory_bytes=600_000_000)
    steps = plan(a_task(), SORTED, BASES, tiny)
    out = [step for step in steps if step.estimate is None]
    assert out and steps[-len(out) :] == out and all("GB of memory" in step.skip for step in out)
    assert all(step.estimate for step in plan(a_task(rungs=[step.rung for step in out]), SORTED, BASES, tiny))


def test_money_and_latency_rule_out(machine: Machine) -> None:
    dear = replace(machine, usd_per_hour=1000.0)
    steps = {step.rung: step.skip for step in plan(a_task(needs={"money_usd": 1}), SORTED, BASES, dear)}
    assert any("needs.money_usd" in skip for skip in steps.values())
    slow = {step.rung: step.skip for step in plan(a_task(goal={"at_least": 0.5, "latency_ms": 1}), SORTED, BASES, machine)}
    assert "the limit is 1 ms" in slow["zero-shot"] and slow["majority"] == ""


def test_what_a_quote_rules_out_is_not_the_first_choice(machine: Machine) -> None:
    asked = flowchart_input(a_task(), SORTED, BASES, machine)
    first = asked.chart().first
    assert first and asked.chart([first]).first not in ("", first)


def test_break_evens_cost_the_same(machine: Machine) -> None:
    steps = plan(a_task(), SORTED, BASES, machine)
    quotes = {step.rung: step.estimate for step in steps if step.estimate}
    found = break_evens(steps)
    assert found
    for one in found:
        light, heavy = quotes[one.below], quotes[one.above]
        year = [cost.once_usd + 12 * one.volume * cost.per_1k_usd / 1000 for cost in (light, heavy)]
        assert year[0] == pytest.approx(year[1]) and light.once_usd < heavy.once_usd and one.volume >= 1


# --- quotes that learn ------------------------------------------------------------------------------------------------


def measured(
    rung: str, right: int, *, rows: int = 60, raw: Cost = Cost(10, 0.1, 2**30), cost: Cost = Cost(20, 0.4, 2**31), **more: Any
) -> Record:
    per_row = tuple(float(i < right) for i in range(rows))
    told = Provenance(key=rung + str(right), raw_quote=raw, writes=False, **more)
    scores = Scores("accuracy", "dev", interval(per_row), tuple(map(str, range(rows))), per_row)
    still = Latency(Interval(1, 1, 1, 5), Interval(1, 1, 1, 5))
    return Record(rung, "done", scores=scores, quote=raw, cost=cost, latency=still, provenance=told)


def test_a_record_is_held_to_its_raw_quote(machine: Machine) -> None:
    here = {"machine": asdict(machine), "formulas": corrections.FORMULA_VERSION}
    assert (
        corrections.measured_against_estimate(
            measured("lora", 30, machine=asdict(machine), formulas=corrections.FORMULA_VERSION - 1), machine
        )
        is None
    )
    one = corrections.measured_against_estimate(measured("lora", 30, **here), machine)
    assert one and (one.fit, one.row, one.memory) == (2.0, pytest.approx(4.0), 2.0)
    other = corrections.measured_against_estimate(measured("lora@b", 30, **here, base="its digest"), machine)
    assert other and (other.rung, other.base) == ("lora", "its digest")
    assert (
        corrections.measured_against_estimate(
            measured("lora", 30, machine=asdict(replace(machine, gflops={"float32": 1.0}))), machine
        )
        is None
    )
    early = corrections.measured_against_estimate(measured("lora", 30, **here, notes=({}, {"stopped": "learnt"})), machine)
    assert early and (early.fit, early.row) == (None, one.row), "the next fit may take all its steps"
    quick = Cost(0.01, 0.0001, 2**20)
    assert corrections.measured_against_estimate(measured("lora", 30, raw=quick, cost=quick, **here), machine) is None


def test_the_own_task_counts_before_others_and_kinds_of_answering_are_kept_apart() -> None:
    own, others_ = (
        [PastEstimate("a", "lora", False, 2.0, 8.0)],
        [PastEstimate("b", "lora", False, 9.0, 9.0), PastEstimate("c", "lora", True, 3.0, None)],
    )
    assert correction_for("lora", False, own, others_) == Correction(2.0, pytest.approx(8.0), 1.0, 1, own=True)
    assert correction_for("lora", True, own, others_) == Correction(pytest.approx(3.0), 1.0, 1.0, 1)
    assert correction_for("encoder", False, own, others_) == Correction()


def test_the_same_base_counts_before_another_of_the_task() -> None:
    own = [PastEstimate("a", "lora", False, 2.0, base="small"), PastEstimate("b", "lora", False, 8.0, base="large")]
    assert correction_for("lora", False, own, [], base="small") == Correction(pytest.approx(2.0), runs=1, own=True)
    assert correction_for("lora@large", False, own, [], base="large") == Correction(pytest.approx(8.0), runs=1, own=True)
    assert correction_for("lora@new", False, own, [], base="new") == Correction(pytest.approx(4.0), runs=2)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_a_scale_is_a_clamped_geometric_mean(ratios: list[float]) -> None:
    found = correction_for("x", True, [], [PastEstimate(str(i), "x", True, ratio) for i, ratio in enumerate(ratios)]).fit
    last = ratios[-corrections.MAX_HISTORY :]
    assert 1 / corrections.MAX_FACTOR <= found <= corrections.MAX_FACTOR
    assert min(min(last), corrections.MAX_FACTOR) * 0.999 <= found <= max(max(last), 1 / corrections.MAX_FACTOR) * 1.001


def test_a_quote_is_scaled_in_seconds_and_memory_and_dollars_are_said_anew() -> None:
    found = corrected(Cost(10, 0.1, 100, 1.0, 2.0, 3.0), Correction(2.0, 3.0, 4.0, 1))
    assert found == Cost(20, pytest.approx(0.3), 400, 1.0, 2.0, 3.0)


def test_what_is_kept_for_a_machine(home: Path, machine: Machine) -> None:
    assert corrections.load_history(machine) == []
    corrections.append_history(machine, PastEstimate("a", "lora", False, 2.0))
    corrections.append_history(machine, PastEstimate("a", "lora", False, 2.0))
    [file] = home.glob("quotes-*.jsonl")
    file.write_text(file.read_text() + '{"key": "cut')
    corrections.append_history(machine, PastEstimate("b", "lora", False, 3.0))
    assert [one.key for one in corrections.load_history(machine)] == ["a", "b"]
    assert corrections.load_history(replace(machine, name="another")) == []


# --- hindsight --------------------------------------------------------------------------------------------------------


def predicted_chart(machine: Machine) -> Chart:
    return chart(answered(machine), {"encoder": (Family.ENCODER,), "lora": (Family.ADAPTERS,), "rag": (Family.RETRIEVAL,)})


def seen(chart_: Chart, records: list[Record]) -> Any:
    return review_plan(chart_, decide(records, a_task().goal), records, compare)


def test_the_first_choice_wins_ties_or_is_wrong(machine: Machine) -> None:
    prior = predicted_chart(machine)
    won = seen(prior, [measured("encoder", 50), measured("lora", 30)])
    assert (won.winner, won.tied) == ("encoder", True)
    tied = seen(prior, [measured("encoder", 40), measured("lora", 42)])
    assert (tied.winner, tied.tied) == ("lora", True)
    lost = seen(prior, [measured("encoder", 20), measured("lora", 50)])
    assert not lost.tied and "encoder was expected to score best; lora did (+0.500 [" in lost.wrong[0]
    stopped = seen(prior, [measured("lora", 50)])  # a cheaper rung met the goal: what was not asked was not wrong
    assert not stopped.tied and not any("expected" in sentence for sentence in stopped.wrong)
    broke = seen(prior, [Record("encoder", "failed", "out of memory"), measured("lora", 50)])
    assert broke.wrong[0] == "encoder was expected to score best, but failed: out of memory"
    ruled = seen(prior, [measured("encoder", 20), measured("rag", 60)])
    assert any(sentence.startswith("rag scored best, but was ruled out") for sentence in ruled.wrong)
    assert seen(prior, []).lines == ()


def test_quotes_that_were_off_are_told(machine: Machine) -> None:
    wrong = seen(predicted_chart(machine), [measured("encoder", 50, cost=Cost(11, 0.4, 2**30))]).wrong
    assert wrong == ("encoder: answering 60 rows was estimated at 6.0 s and took 24.0 s.",)


# --- drawn ------------------------------------------------------------------------------------------------------------


def test_mermaid_names_every_family_once_and_links_it(machine: Machine) -> None:
    text = draw.mermaid(predicted_chart(machine), 'accuracy "at least" 0.5')
    assert text.startswith("flowchart TD\n") and '"at least"' not in text
    for number, name in enumerate(Family):
        assert text.count(f"<b>{name.value}</b>") == 1
        assert len(re.findall(rf"-+> f{number}\b", text)) == 1


@pytest.mark.parametrize("width", [860, 360])
def test_the_picture_keeps_its_boxes_apart_and_inside(machine: Machine, width: int) -> None:
    found = draw.picture(predicted_chart(machine), {"encoder": "0.812"}, width)
    assert [box.family for box in found.boxes] == [name.value for name in Family]
    assert "encoder (first choice) 0.812" in next(box.rungs for box in found.boxes if box.first)
    for above, below in zip(found.boxes, found.boxes[1:]):
        foot = above.beside_y + draw.LINE * (len(above.beside) - 1) if above.beside else 0
        assert max(above.y + above.height, foot) < below.y
    for box in found.boxes:
        assert box.x >= 0 and box.x + box.width <= width and box.y + box.height <= found.height
        assert all(box.beside_x + draw.LETTER * len(line) <= width for line in box.beside)
    json.dumps(asdict(found))
