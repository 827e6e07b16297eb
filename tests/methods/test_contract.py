"""What every method of the table keeps to, whatever it does."""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
from slowly import slow_but

from rung import methods
from rung import predictor as predictors
from rung.data import corpus
from rung.errors import BudgetError, TaskError
from rung.lm.base import ModelRef
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods import METHODS, RUNGS, ZERO_SHOT
from rung.methods.base import Method, Run, options
from rung.methods.chain import asks_base
from rung.methods.estimate import estimate_base, price
from rung.methods.facts import Facts
from rung.planning.bases import Base
from rung.planning.steps import plan
from rung.predictor import Predictor
from rung.retrieve.knowledge import documents
from rung.task import Task
from rung.types import Example, Need, Preference, TrainData

LABELS = ("delay", "other", "refund")
ROWS = tuple(Example(f"the {LABELS[i % 3]} of parcel {'abcdefghijklmnopqr'[i]}", LABELS[i % 3]) for i in range(18))
JUDGED = tuple(Preference(row.input, row.output, f"no {row.output}") for row in ROWS)
TEXT = corpus.find_texts(Path(__file__).parents[2] / "docs", ["deciding.md", "records.md"])
DOCUMENTS = documents(Path(__file__).parents[2], ("examples/tickets/docs",))
DATA = TrainData(ROWS, LABELS, JUDGED, corpus=TEXT, documents=DOCUMENTS, unlabelled=("a delay", "a refund"))
DEV = tuple(Example(f"my {label} please", label) for label in LABELS)
FACTS = Facts(
    train_rows=500,
    parameters=134_000_000,
    encoder_parameters=22_000_000,
    shared_tokens=60.0,
    input_tokens=20.0,
    output_tokens=3.0,
    labels=3,
)
BASES = {"b": Base(Predictor(kind="answer", model=ModelRef("causal", "b", "b"), instruction="x", labels=LABELS), FACTS)}
NONE = Facts(train_rows=0, parameters=1, encoder_parameters=1, shared_tokens=0.0, input_tokens=0.0, output_tokens=0.0, labels=0)
QUICK = {
    "thought": 8,
    "epochs": 1,
    "rank": 2,
    "parameters": 300_000,
    "vocabulary": 400,
    "steps": 2,
    "longest": 8,
    "measured": 500,
}
"""Smaller than the defaults, for options of these names."""

MAY_KEEP = {"distil", "dspy", "prompt-search", "structured"}
"""Give back the start where nothing better was found, as on these few rows, or where labels are held to anyway."""

every = pytest.mark.parametrize("name", sorted(METHODS))
ONE_OF_A_KIND = {type(method): name for name, method in reversed(METHODS.items())}
"""The first method of each class."""
trained_here = pytest.mark.parametrize(
    "name", slow_but(ONE_OF_A_KIND.values(), sorted(name for name in METHODS if Need.GPU not in METHODS[name].needs))
)


def small(name: str) -> Method:
    method = METHODS[name]
    return replace(method, **{key: value for key, value in QUICK.items() if key in options(method)})  # type: ignore[type-var]


@dataclass
class Bench:
    """A tiny base, a tiny encoder, and somewhere to work."""

    engines: Engines
    start: Predictor
    root: Path
    runs: int = 0

    def fit(self, name: str, seed: int = 0, start: Predictor | None = None) -> tuple[Predictor, Run]:
        self.runs += 1
        folder = self.root / f"fit{self.runs}"
        folder.mkdir()
        run = Run(folder, self.engines, seed)
        return small(name).fit(start or self.start, DATA, run), run


@pytest.fixture(scope="module")
def bench(base: Callable, encoder: Path, machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    engines = Engines(machine, say=lambda text: None)
    start = Predictor(
        kind="classify",
        model=engines.reference(str(base("llama"))),
        encoder=str(encoder),
        instruction="What is it about?",
        labels=LABELS,
        descriptions=("", "", ""),
    )
    return Bench(engines, start, tmp_path_factory.mktemp("contract"))


@pytest.fixture(scope="module")
def fitted(bench: Bench) -> Callable[[str], Predictor]:
    kept: dict[str, Predictor] = {}

    def once(name: str) -> Predictor:
        if name not in kept:
            kept[name] = bench.fit(name)[0]
        return kept[name]

    return once


def answers(predictor: Predictor, engines: Engines) -> list[tuple[str, float | None]]:
    return [(p.output, p.confidence) for p in predictor.predict(DEV, engines)]


@every
def test_options_are_a_frozen_dataclass_and_the_rest_is_data(name: str) -> None:
    method = METHODS[name]
    assert is_dataclass(method)
    assert type(method).__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert method.needs <= set(Need)
    assert isinstance(method.fit_version, int)
    assert isinstance(method.name, str)
    if Need.OPEN_WEIGHTS in method.needs:
        assert "https://" in (inspect.getmodule(type(method)).__doc__ or ""), "a method that trains names its source"


@every
@pytest.mark.parametrize("facts", [FACTS, NONE], ids=["usual", "nothing"])
def test_a_quote_is_pure_quick_and_finite(name: str, facts: Facts, machine: Machine) -> None:
    start = estimate_base(facts, machine)
    before = copy.deepcopy((start, facts, METHODS[name]))
    begun = time.process_time()
    quotes = [METHODS[name].estimate(start, facts, machine) for _ in range(10)]
    assert (time.process_time() - begun) / 10 < 0.010
    assert (start, facts, METHODS[name]) == before
    assert len(set(quotes)) == 1
    shared = quotes[0].shared_passages
    values = {**vars(quotes[0]), **(vars(shared) if shared else {}), "shared_passages": 0}
    assert all(isfinite(value) and value >= 0 for value in values.values()), values
    cost = price(quotes[0], machine, 1000)
    assert isfinite(cost.once_usd + cost.per_month_usd + cost.per_1k_usd)


@every
def test_a_quote_adds_to_what_stands_before_it(name: str, machine: Machine) -> None:
    start = replace(estimate_base(FACTS, machine), fit_seconds=100.0)
    found = METHODS[name].estimate(start, FACTS, machine)
    if found.prompt_tokens > 0:  # the base is still asked, so what was fitted before still counts
        assert found.fit_seconds >= 100.0


@trained_here
def test_a_fit_is_new_and_leaves_the_start_as_it_was_and_a_seed_gives_one_predictor(
    name: str, bench: Bench, fitted: Callable
) -> None:
    before = copy.deepcopy(bench.start)
    found, run = bench.fit(name)
    assert found.digest == fitted(name).digest
    assert bench.start == before
    assert (replace(found, taught=()) != bench.start) == (found.digest != bench.start.digest) == (name not in MAY_KEEP)
    assert (found.kind, found.labels, found.instruction) == (before.kind, before.labels, before.instruction)
    assert not (run.folder / "work").exists(), "checkpoints are left lying about"
    for files, named in ((found.model.files, found.model.files_digest), (found.demos.files, found.demos.files_digest)):
        if files:
            assert Path(files).is_relative_to(run.folder)
            assert predictors.folder_digest(Path(files)) == named
    answered = answers(found, bench.engines)
    assert {output for output, _ in answered} <= set(LABELS)
    assert answered == answers(fitted(name), bench.engines)


@trained_here
def test_saved_and_loaded_it_answers_the_same(name: str, bench: Bench, fitted: Callable, tmp_path: Path) -> None:
    predictors.save(fitted(name), tmp_path / "saved")
    found = predictors.load(tmp_path / "saved")
    assert found.digest == fitted(name).digest
    assert answers(found, bench.engines) == answers(fitted(name), bench.engines)


@trained_here
def test_it_takes_what_another_method_has_fitted(name: str, bench: Bench, fitted: Callable) -> None:
    found, _ = bench.fit(name, start=fitted("few-shot"))
    assert {p.output for p in found.predict(DEV, bench.engines)} <= set(LABELS)


@pytest.mark.parametrize("name", sorted(name for name, method in METHODS.items() if not asks_base([method])))
def test_what_asks_no_base_is_the_same_on_any(name: str, bench: Bench, fitted: Callable) -> None:
    other = replace(bench.start, model=bench.engines.reference("fake"))
    found, _ = bench.fit(name, start=other)
    assert found.model.files_digest == fitted(name).model.files_digest


@every
def test_a_missing_need_is_a_skip_with_its_name(name: str, machine: Machine) -> None:
    task = Task.model_validate(
        {"task": "x", "kind": "answer", "data": {"examples": "x.csv"}, "goal": {"at_least": 0.5}, "rungs": [name]}
    )
    (step,) = plan(task, TrainData(()), BASES, machine)
    lacking = METHODS[name].needs - {Need.OPEN_WEIGHTS}
    assert (step.estimate is None) == bool(lacking)
    assert all(need in step.skip for need in lacking)
    (step,) = plan(task, DATA, BASES, machine)
    lacking = METHODS[name].needs & {Need.GPU}
    assert (step.skip != "", step.estimate is None) == (bool(lacking), bool(lacking))


@every
def test_an_unknown_option_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(TaskError) as caught:
        methods.rung(name, {name: {"no_such": 1}})
    for option in options(METHODS[name]):
        assert option in str(caught.value)


@every
def test_an_option_of_the_wrong_kind_is_refused(name: str) -> None:
    for option in options(METHODS[name]):
        with pytest.raises(TaskError, match=option):
            methods.rung(name, {name: {option: {"a": 1}}})


def test_an_option_is_one_of_its_words_and_a_whole_number_may_stand_for_a_float() -> None:
    with pytest.raises(TaskError, match="'majority' or 'nearest'"):
        methods.rung("nearest", {"nearest": {"rule": "none"}})
    (lora,) = methods.rung("lora", {"lora": {"learning_rate": 1}})
    assert options(lora)["learning_rate"] == 1.0 and type(options(lora)["learning_rate"]) is float
    (encoder,) = methods.rung("encoder", {"encoder": {"strengths": [1, 2.5]}})
    assert options(encoder)["strengths"] == (1.0, 2.5)


@every
def test_every_option_says_what_it_is(name: str) -> None:
    bodies = [ast.parse(inspect.getsource(one)).body[0].body for one in type(METHODS[name]).__mro__ if is_dataclass(one)]  # type: ignore[attr-defined]
    told = {
        a.target.id  # type: ignore[union-attr]
        for body in bodies
        for a, b in itertools.pairwise(body)
        if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }
    assert set(options(METHODS[name])) <= told


def test_an_unknown_method_is_told_the_known_ones() -> None:
    with pytest.raises(TaskError) as caught:
        methods.rung("few-shots", {})
    assert all(name in str(caught.value) for name in (*METHODS, ZERO_SHOT))


def test_rungs_are_methods_joined_in_order() -> None:
    assert methods.rung(ZERO_SHOT, {}) == ()
    assert methods.rung("few-shot+majority", {}) == (METHODS["few-shot"], METHODS["majority"])
    for name in RUNGS:
        methods.rung(name, {})


def test_a_whole_number_will_do_for_a_share() -> None:
    for name, method in METHODS.items():
        for option, default in options(method).items():
            if type(default) is float:
                whole = 1 if option in ("learning_rate", "beta", "clip", "temperature") else 0
                (given,) = methods.rung(name, {name: {option: whole}})
                assert type(options(given)[option]) is float


def test_a_deadline_that_is_past_stops_a_training(bench: Bench) -> None:
    for name in ONE_OF_A_KIND.values():
        if Need.OPEN_WEIGHTS in METHODS[name].needs and Need.GPU not in METHODS[name].needs:
            folder = bench.root / f"late-{name}"
            folder.mkdir()
            with pytest.raises(BudgetError):
                small(name).fit(bench.start, DATA, Run(folder, bench.engines, deadline=time.monotonic() - 1))


def test_references_to_models_are_found_again(bench: Bench, base: Callable[[str], Any]) -> None:
    assert bench.start.model == ModelRef("causal", str(base("llama")), bench.engines.find(str(base("llama"))).digest)
