"""Plans with models behind an API: where rows may go, what is quoted of seconds and dollars, what nothing is ruled out by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung import methods
from rung.climbing import fit
from rung.climbing.project import Project
from rung.errors import ModelError, TaskError
from rung.lm.base import ModelRef
from rung.lm.engines import Engines
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Settings
from rung.machine import Machine
from rung.methods.chain import asks_api, estimate_rung
from rung.methods.estimate import CostEstimate, api_usd, estimate_base, price
from rung.methods.facts import Answerer, Facts
from rung.methods.proposing import MAX_NEW_TOKENS, SHOWN
from rung.methods.reasoning import WRITTEN
from rung.planning import corrections
from rung.planning.bases import CALL_SECONDS, answerer
from rung.planning.corrections import Correction, PastEstimate, corrected, correction_for
from rung.planning.steps import Step, plan
from rung.planning.total import total
from rung.task import load_task
from rung.types import Cost

TARIFF = Price(2.0, 10.0)
DEAR = Price(20.0, 100.0)
FAR = "http://127.0.0.1:9/v1#org/big"
"""Nobody listens there: a plan asks nothing."""
OUTSIDE = "https://models.example.org/v1#m"
HERE = Facts(
    train_rows=200,
    parameters=100_000_000,
    encoder_parameters=20_000_000,
    shared_tokens=60.0,
    input_tokens=20.0,
    output_tokens=5.0,
    labels=3,
    label_tokens=12.0,
    unlabelled=400,
)
API = replace(HERE, parameters=0, call_seconds=1.0, tariff=TARIFF, concurrency=8)


def taught(facts: Facts, **who: Any) -> Facts:
    """The facts with a teacher to be had by any name."""
    return replace(facts, teacher=lambda name: Answerer(**({"parameters": 0} | who)))


def rung(name: str, facts: Facts, machine: Machine, **options: Any) -> CostEstimate:
    """The quote of a rung, with options for its last method."""
    return estimate_rung(methods.rung(name, {name.split("+")[-1]: options}), facts, machine)


def bill(calls: float, tokens_in: float, tokens_out: float, tariff: Price = TARIFF) -> float:
    return tariff.usd(round(calls * tokens_in), round(calls * tokens_out))


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    return tmp_path


def project(folder: Path, bases: Sequence[str] = ("fake",), longest: int = 40, **more: Any) -> Project:
    rows = [{"input": f"question {i}", "output": "word " * (longest // 5) + str(i % 2)} for i in range(80)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "Answer.",
        "kind": "answer",
        "data": {"examples": "rows.jsonl"},
        "encoder": "fake",
        "goal": {"at_least": 0.9},
        "prices": {"org/big": {"input": 2.0, "output": 10.0}},
        **({"bases": list(bases)} if len(bases) > 1 else {"base": bases[0]}),
        **more,
    }
    (folder / "rung.yaml").write_text(json.dumps(task))  # JSON is YAML
    return Project(load_task(folder))


# --- where rows may go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["distil", "prompt-search", "self-consistency", "dspy"])
def test_rows_go_to_no_teacher_outside_the_house_where_they_may_not(folder: Path, name: str) -> None:
    with pytest.raises(TaskError, match=r"needs\.data_may_leave is no") as error:
        _ = project(folder, methods={name: {"teacher": "openai:gpt-5"}}, needs={"data_may_leave": "no"}).starts
    assert error.value.where == f"rung.yaml methods.{name}.teacher"
    for teacher in ("fake", FAR):
        assert project(folder, methods={name: {"teacher": teacher}}, needs={"data_may_leave": "no"}).starts
    assert project(folder, methods={name: {"teacher": "openai:gpt-5"}}, needs={"data_may_leave": "yes"}).starts


def test_nor_do_they_in_a_fit_whose_teacher_the_task_does_not_name(folder: Path) -> None:
    made = project(folder, needs={"data_may_leave": "no"})
    tuned = methods.rung("reasoning", {"reasoning": {"teacher": "openai:gpt-5"}})
    with pytest.raises(TaskError, match=r"the teacher is 'openai:gpt-5', and needs\.data_may_leave is no"):
        fit.fit(fit.fit_context(made), tuned, float("inf"), lambda *_: None)


@pytest.mark.parametrize(("teacher", "said"), [(OUTSIDE, "no price is known for 'm'"), ("openai:", "names no model")])
def test_a_teacher_that_cannot_be_priced_is_told_where_it_is_named(folder: Path, teacher: str, said: str) -> None:
    with pytest.raises(ModelError, match=said) as error:
        _ = project(folder, methods={"distil": {"teacher": teacher}}).starts
    assert error.value.where == "rung.yaml methods.distil.teacher"


# --- room for an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("longest", "room"), [(10, 32), (500, 256), (1500, 1024), (9000, 1024)])
def test_an_answer_behind_an_api_has_room_as_one_here_has(folder: Path, longest: int, room: int) -> None:
    made = project(folder, [FAR], longest)
    assert made.start.decoding.max_new_tokens == room and next(iter(made.plan.bases.values())).facts.max_new_tokens == room
    assert project(folder, ["fake"], longest).start.decoding.max_new_tokens == 256


# --- nothing is ruled out by what is assumed --------------------------------------------------------------------------


def test_no_rung_is_ruled_out_by_an_assumed_latency(folder: Path) -> None:
    made = project(folder, ["fake", FAR], goal={"at_least": 0.9, "latency_ms": 0.001})
    told = {step.rung: step.skip for step in made.plan.steps}
    assert not told["zero-shot@big"] and not told["few-shot@big"]
    assert "the limit is" in told["zero-shot"], "what is quoted of this machine still rules out"


# --- quotes that learn ------------------------------------------------------------------------------------------------


def test_of_an_endpoint_only_the_same_one_in_this_task_tells() -> None:
    far = PastEstimate("a", "zero-shot", True, row=3.0, base="far", remote=True)
    assert correction_for("zero-shot@big", True, [far], [], "far", True) == Correction(row=pytest.approx(3.0), runs=1, own=True)
    for own, others in (([replace(far, base="other")], []), ([], [far]), ([replace(far, remote=False)], [])):
        assert correction_for("zero-shot", True, own, others, "far", True) == Correction()
    for own, others in (([far], []), ([], [far])):
        assert (
            correction_for("zero-shot", True, own, others, "far")
            == correction_for("zero-shot", True, own, others, "near")
            == Correction()
        )


def test_what_an_endpoint_took_is_not_kept_for_the_machine(home: Path, machine: Machine) -> None:
    corrections.append_history(machine, PastEstimate("a", "distil+lora", True, fit=3.0, remote=True))
    assert corrections.load_history(machine) == [] and not list(home.glob("quotes-*"))


def test_dollars_of_an_endpoint_do_not_follow_the_seconds(machine: Machine) -> None:
    quote = CostEstimate(fit_seconds=100.0, fit_usd=3.0, prompt_tokens=20, row_seconds=1.0, memory_bytes=0, output_tokens=5)
    raw, now = (price(one, machine, 1000, TARIFF) for one in (quote, corrected(quote, Correction(2.0, 0.1, 1.0, 1))))
    assert (now.fit_seconds, now.row_seconds, now.per_1k_usd) == (200.0, pytest.approx(0.1), raw.per_1k_usd)
    assert raw.once_usd == pytest.approx(machine.usd(100) + 3.0) and now.once_usd == pytest.approx(machine.usd(200) + 3.0)
    here = price(corrected(quote, Correction(2.0, 0.1, 1.0, 1)), machine, 1000)
    assert here.per_1k_usd == pytest.approx(machine.usd(100))


def test_a_plan_is_corrected_by_what_the_endpoint_took(folder: Path) -> None:
    made = project(folder, [FAR], rungs=["zero-shot"])
    digest = made.start.model.digest
    seen = [PastEstimate("a", "zero-shot", True, row=3.0, base=digest, remote=True)]
    before, after = (plan(made.task, made.inputs.data, made.plan.bases, made.machine, None, (own, seen)) for own in ([], seen))
    assert before[0].estimate and after[0].estimate and before[0].estimate.row_seconds == CALL_SECONDS
    assert after[0].estimate.row_seconds == pytest.approx(3 * CALL_SECONDS) and after[0].scale.runs == 1
    assert after[0].estimate.per_1k_usd == before[0].estimate.per_1k_usd


def test_which_rungs_ask_an_endpoint() -> None:
    far, near = ModelRef("remote", FAR, "x"), ModelRef("causal", "b", "y")
    told = {"distil": {"teacher": FAR}}
    assert asks_api(methods.rung("zero-shot", {}), far) and asks_api(methods.rung("distil+encoder", {}), far)
    assert not asks_api(methods.rung("encoder", {}), far) and not asks_api(methods.rung("distil+lora", {}), near)
    assert asks_api(methods.rung("distil+lora", told), near)


# --- building through an API ------------------------------------------------------------------------------------------


def test_rows_asked_in_a_fit_go_side_by_side_and_are_billed(machine: Machine) -> None:
    start = estimate_base(API, machine)
    search = rung("prompt-search", API, machine, calls=803)
    demos, writing = 8 * 25.0, bill(3, 60 + SHOWN * 25, MAX_NEW_TOKENS)
    assert search.fit_seconds == pytest.approx((800 + 3) / 8)
    assert search.fit_usd == pytest.approx(bill(800, 60 + 12 + 20 + demos / 2, 5) + writing)
    assert search.shared_tokens == start.shared_tokens + demos
    short = rung("prompt-search", API, machine, calls=803, seconds=50.0)
    assert short.fit_seconds == pytest.approx(50 + 3 / 8) and short.fit_usd == pytest.approx(search.fit_usd / 2, rel=0.05)
    dspy = rung("dspy", API, machine, calls=800)
    assert (dspy.fit_seconds, dspy.fit_usd) == (100.0, pytest.approx(bill(800, 60 + 12 + 20 + demos / 2, 5)))
    distil = rung("distil", API, machine, most=300)
    assert (distil.fit_seconds, distil.fit_usd) == (pytest.approx(300 / 8), pytest.approx(bill(300, 92, 5)))
    for quote in (search, dspy, distil):
        cost = price(quote, machine, 1000, TARIFF)
        assert cost.once_usd == pytest.approx(machine.usd(quote.fit_seconds) + quote.fit_usd)


def test_here_a_fit_costs_the_machines_time_alone(machine: Machine) -> None:
    for name in ("prompt-search", "dspy", "distil", "few-shot+reasoning"):
        quote = rung(name, HERE, machine)
        assert quote.fit_usd == 0 and price(quote, machine, 1000).once_usd == pytest.approx(machine.usd(quote.fit_seconds))
    assert rung("distil", HERE, machine).fit_seconds == pytest.approx(400 * estimate_base(HERE, machine).row_seconds)


def test_what_was_paid_stays_paid_behind_a_model_of_its_own(machine: Machine) -> None:
    before = rung("distil", API, machine)
    for name in ("distil+encoder", "distil+nearest"):
        found = rung(name, API, machine)
        assert found.fit_usd == before.fit_usd and found.fit_seconds >= before.fit_seconds
        assert price(found, machine, 1000, TARIFF).per_1k_usd == pytest.approx(machine.usd(1000 * found.row_seconds))


def test_dev_rows_are_answered_side_by_side(machine: Machine) -> None:
    from types import SimpleNamespace

    base: Any = SimpleNamespace(start=SimpleNamespace(digest="a"), facts=API)
    steps = [
        Step(name, methods.rung(name, {}), base, Cost(row_seconds=1.0), remote=name == "zero-shot")
        for name in ("zero-shot", "nearest")
    ]
    probe: Any = SimpleNamespace(texts=(), questions=())
    assert total(steps, 80, probe, machine).answer == pytest.approx(80 / 8 + 80)


def test_a_site_says_how_many_calls_are_under_way_at_once(folder: Path) -> None:
    made = project(folder, ["fake", FAR], api={"concurrency": 5})
    assert [base.facts.concurrency for base in made.plan.bases.values()] == [1, 5]
    assert {step.rung: step.remote for step in made.plan.steps}["zero-shot@big"]


# --- teachers ---------------------------------------------------------------------------------------------------------


def test_a_teacher_is_quoted_by_its_own_seconds_and_price(machine: Machine) -> None:
    known = taught(HERE, call_seconds=2.0, tariff=DEAR, concurrency=4)
    found = rung("distil", known, machine, teacher="t")
    assert found.fit_seconds == pytest.approx(400 * 2.0 / 4) and found.fit_usd == pytest.approx(bill(400, 92, 5, DEAR))
    shown = rung("few-shot+distil", known, machine, teacher="t")
    assert shown.fit_usd == pytest.approx(bill(400, 92 + 8 * 25, 5, DEAR)), "it is shown the examples too"
    large = rung("distil", taught(HERE, parameters=7_000_000_000), machine, teacher="t")
    assert large.fit_usd == 0 and large.fit_seconds > 20 * rung("distil", HERE, machine).fit_seconds
    assert rung("distil", taught(API, parameters=1_000_000), machine, teacher="t").fit_usd == 0, "the teacher runs here"
    writes = rung("prompt-search", known, machine, teacher="t")
    assert writes.fit_usd == pytest.approx(bill(3, 60 + SHOWN * 25, MAX_NEW_TOKENS, DEAR))


def test_any_base_can_be_quoted_as_a_teacher(machine: Machine, tmp_path: Path) -> None:
    engines = Engines(machine, api=Settings(folder=tmp_path, concurrency=3, prices={"org/big": TARIFF}))
    assert answerer(FAR, engines) == Answerer(parameters=0, call_seconds=CALL_SECONDS, tariff=TARIFF, concurrency=3)
    assert answerer("fake", engines) == Answerer(parameters=1_000_000)
    named = replace(HERE, teacher=lambda name: answerer(name, engines))
    assert named.of("") is named and named.of(FAR).tariff == TARIFF and HERE.of(FAR) is HERE


def test_a_plan_quotes_the_teacher_that_the_task_names(folder: Path) -> None:
    (folder / "new.txt").write_text("".join(f"another {i}\n" for i in range(50)))
    data = {"examples": "rows.jsonl", "unlabelled": "new.txt"}
    [step] = project(folder, data=data, rungs=["distil"], methods={"distil": {"teacher": FAR}}).plan.steps
    assert step.estimate and step.estimate.fit_seconds == pytest.approx(50 / 8) and not step.remote
    assert step.estimate.once_usd > 50 * TARIFF.usd(10, 5)


# --- more than one call a row -----------------------------------------------------------------------------------------


def test_every_call_of_a_vote_carries_the_prompt(machine: Machine) -> None:
    written = 256 * WRITTEN
    free = rung("self-consistency", replace(API, labels=0, label_tokens=0.0), machine)
    assert api_usd(free, 1, TARIFF) == pytest.approx(bill(5, 80, 5 + written)) and free.row_seconds == pytest.approx(5.0)
    found = rung("self-consistency", API, machine)
    assert found.row_seconds == pytest.approx(10.0), "the label is a call of its own, behind the reasoning"
    assert api_usd(found, 1, TARIFF) == pytest.approx(TARIFF.usd(round(10 * 92 + 5 * written), round(10 * 5 + 5 * written)))
    assert price(found, machine, 1000, TARIFF).per_1k_usd == pytest.approx(api_usd(found, 1000, TARIFF))
    asked = rung("self-consistency+distil", API, machine)
    assert asked.fit_usd == pytest.approx(api_usd(found, 400, TARIFF))


def test_reasoning_of_demonstrations_is_asked_for_and_shown(machine: Machine) -> None:
    written = 256 * WRITTEN
    facts = replace(API, labels=0, label_tokens=0.0)
    found = rung("few-shot+reasoning", facts, machine)
    assert found.fit_seconds == pytest.approx(8 / 8) and found.fit_usd == pytest.approx(bill(8, 80, 5 + written))
    assert found.shared_tokens == pytest.approx(60 + 8 * (25 + written))
    by = rung("few-shot+reasoning", taught(facts, call_seconds=1.0, tariff=DEAR), machine, teacher="t")
    assert by.fit_usd == pytest.approx(bill(8, 80, 5 + written, DEAR))


def test_similar_examples_stand_behind_the_fixed_ones(machine: Machine) -> None:
    fixed, both = rung("few-shot", API, machine), rung("few-shot+few-shot-similar", API, machine)
    assert both.shared_tokens == fixed.shared_tokens - API.label_tokens > API.shared_tokens
    assert rung("few-shot-similar", API, machine).shared_tokens == API.shared_tokens
