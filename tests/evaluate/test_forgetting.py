"""Forgetting: the probe, the measurement against plain transformers, the comparison and the decision by hand."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watcher import Watcher

from rung.cli.screens import results
from rung.climbing.climb import climb
from rung.climbing.decide import decide
from rung.climbing.project import Project
from rung.data import corpus
from rung.errors import BudgetError, DataError
from rung.evaluate import forgetting as forget
from rung.evaluate.forgetting import Ability, Probe, Question, bounds, compare, measure, probe, replay_text
from rung.lm.base import ModelRef
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.metrics import interval, stats
from rung.report import pictures, report_data, verdict
from rung.store import Store
from rung.task import load_task
from rung.types import Cost, Forgetting, Interval, Latency, Record, Scores, digest

# --- the package's probe ----------------------------------------------------------------------------------------------

PACKAGE = probe(Path(), ())


def test_the_package_brings_passages_and_questions() -> None:
    assert len(PACKAGE.passages) == len(set(PACKAGE.passages)) == 60
    assert all(60 <= len(passage.split()) <= 120 and passage == passage.strip() for passage in PACKAGE.passages)
    assert len({question.question for question in PACKAGE.questions}) == len(PACKAGE.questions) == 120
    assert all(len(set(question.choices)) == 4 for question in PACKAGE.questions)
    places = [question.answer for question in PACKAGE.questions]
    assert {places.count(place) for place in range(4)} == {30}  # no place is a good guess
    assert sum(path.stat().st_size for path in forget.PACKAGE_PROBE.iterdir()) < 150_000


# --- a team's own -----------------------------------------------------------------------------------------------------


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def asked(i: int, **fields: Any) -> dict[str, Any]:
    return {"question": f"What is {i} + 1?", "choices": [str(i), str(i + 1), "no idea"], "answer": 1, **fields}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    write(tmp_path / "text.jsonl", [{"text": f"document number {i} says this"} for i in range(600)])
    write(tmp_path / "asked.jsonl", [asked(i) for i in range(40)])
    return tmp_path


def test_what_the_probe_keeps_is_never_replayed(own: Path) -> None:
    replayed = set(corpus.documents(replay_text(own, ["text.jsonl", "asked.jsonl"])))
    found = probe(own, ["text.jsonl", "asked.jsonl"])
    every = {f"document number {i} says this" for i in range(600)}
    assert replayed | set(found.passages) == every and not replayed & set(found.passages)
    assert 30 <= len(found.passages) <= 90  # a tenth
    assert set(found.questions) == {Question(f"What is {i} + 1?", (str(i), str(i + 1), "no idea"), 1) for i in range(40)}


def test_more_text_moves_no_document_to_the_other_side(own: Path) -> None:
    before = set(corpus.documents(replay_text(own, ["text.jsonl"])))
    write(own / "more.jsonl", [{"text": f"another text {i}"} for i in range(50)])
    after = set(corpus.documents(replay_text(own, ["text.jsonl", "more.jsonl"])))
    assert {text for text in after if text.startswith("document")} == before
    assert replay_text(own, ["text.jsonl"]).digest != replay_text(own, ["text.jsonl", "more.jsonl"]).digest


def test_held_out_text_of_a_method_is_taken_from_what_may_be_replayed(own: Path) -> None:
    found = replay_text(own, ["text.jsonl"])
    below = corpus.holdout_cut(found, 0.05)
    held, rest = (set(corpus.train_or_holdout(found, below, held=held)) for held in (True, False))
    assert held and rest and held | rest == set(corpus.documents(found))


def test_too_little_of_ones_own_is_joined_by_the_packages(own: Path) -> None:
    (own / "few.md").write_text("one short text")
    write(own / "three.jsonl", [asked(i, answer=str(i + 1)) for i in range(3)])
    found = probe(own, ["few.md", "three.jsonl"])
    assert found.passages[-60:] == PACKAGE.passages
    assert [question.answer for question in found.questions[:3]] == [1, 1, 1] and len(found.questions) == 123
    alone = probe(own, ["asked.jsonl"])
    assert alone.passages == PACKAGE.passages and len(alone.questions) == 40 and replay_text(own, ["asked.jsonl"]).files == ()


def test_of_too_much_a_part_is_taken_and_long_documents_are_cut_at_a_word(tmp_path: Path) -> None:
    write(tmp_path / "text.jsonl", [{"text": f"{i} " + "word " * 300} for i in range(2000)])
    write(tmp_path / "asked.jsonl", [asked(i) for i in range(300)])
    found = probe(tmp_path, ["text.jsonl", "asked.jsonl"])
    assert (len(found.passages), len(found.questions)) == (forget.MAX_PASSAGES, forget.MAX_QUESTIONS)
    assert all(len(passage) <= forget.PASSAGE_CHARS and passage.endswith("word") for passage in found.passages)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"question": " "}, "the question is ' '"),
        ({"choices": "a, b"}, "the choices are 'a, b'"),
        ({"choices": ["a", "a"]}, "the choices are"),
        ({"choices": ["a"]}, "the choices are"),
        ({"answer": 3}, "the answer 3 is not one of the 3 choices"),
        ({"answer": "B"}, "the answer 'B' is not one"),
        ({"answer": True}, "the answer True is not one"),
    ],
)
def test_a_question_that_cannot_be_used_is_told_with_its_line(tmp_path: Path, fields: dict[str, Any], told: str) -> None:
    write(tmp_path / "asked.jsonl", [asked(1), asked(2, **fields)])
    with pytest.raises(DataError) as error:
        probe(tmp_path, ["asked.jsonl"])
    assert told in str(error.value) and "asked.jsonl line 2" in str(error.value) and "choices (a list" in str(error.value)


# --- reading bare text ------------------------------------------------------------------------------------------------

TEXTS = [" the parcel is late café", " order", " 日本 refund please, the parcel is late where is my order 🙂", "y"]
FRONTS = ["where", "my", "is", "read"]


@pytest.mark.parametrize("kind", ["llama", "llama-bos", "gemma3", "bloom"])
def test_read_is_what_plain_transformers_computes(kind: str, base: Callable[[str], Path], machine: Machine) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    engines = Engines(machine, say=lambda text: None)
    engine = engines.open(engines.reference(str(base(kind))))
    plain = AutoModelForCausalLM.from_pretrained(base(kind), dtype=torch.float32)
    tokenizer = engine.loaded.chat.tokenizer  # type: ignore[attr-defined]
    for text, front, (logs, tokens) in zip(TEXTS, FRONTS, engine.read(TEXTS, FRONTS)):  # type: ignore[attr-defined]
        known, ids = tokenizer(front).input_ids, tokenizer(front + text).input_ids
        same = next((k for k, pair in enumerate(zip(known, ids)) if pair[0] != pair[1]), len(known))
        with torch.no_grad():
            wanted = plain(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        assert tokens == len(ids) - max(same, 1)
        assert logs == pytest.approx(sum(float(wanted[k - 1, ids[k]]) for k in range(max(same, 1), len(ids))), rel=1e-5)


def test_text_longer_than_the_context_is_read_in_windows(base: Callable[[str], Path], machine: Machine) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    engines = Engines(machine, say=lambda text: None)
    engine = engines.open(engines.reference(str(base("gpt2-short"))))
    text = " the parcel is late" * 30
    [(logs, tokens)] = engine.read([text], ["where"])  # type: ignore[attr-defined]
    plain = AutoModelForCausalLM.from_pretrained(base("gpt2-short"), dtype=torch.float32)
    tokenizer = engine.loaded.chat.tokenizer  # type: ignore[attr-defined]
    first, ids = len(tokenizer("where").input_ids), tokenizer("where" + text).input_ids
    assert len(ids) > 2 * engine.context and tokens == len(ids) - first
    total = 0.0
    for start in range(0, len(ids) - 1, engine.context - 1):
        window = ids[start : start + engine.context]
        with torch.no_grad():
            found = plain(torch.tensor([window])).logits[0].double().log_softmax(-1)
        total += sum(float(found[k - 1, window[k]]) for k in range(1, len(window)) if start + k >= first)
    assert logs == pytest.approx(total, rel=1e-5)


# --- measuring by hand ------------------------------------------------------------------------------------------------


class Letters:
    """Foretells each letter with probability 1/e, an x with certainty; a letter is a token."""

    def read(self, texts: Sequence[str], before: Sequence[str]) -> list[tuple[float, int]]:
        self.before = before
        return [(-float(len(text) - text.count("x")), len(text)) for text in texts]


def test_ability_by_hand() -> None:
    engine = Letters()
    asked = (Question("Which?", ("abcd", "xx"), 1), Question("And?", ("abxxxx", "ab"), 1))
    found = measure(engine, Probe(("one axé", "two bb c"), asked))
    assert found.nats == (3.0, 5.0) and found.tokens == (4, 5) and found.bytes == (5, 5)  # behind the first word
    # a letter: -4/5 and -1/3 of the blank; -3/7 and -3/3: the longer choice is as likely in all and likelier a byte
    assert found.right == (True, False)
    assert engine.before == ["Question: Which?\nAnswer:"] * 2 + ["Question: And?\nAnswer:"] * 2


BEFORE = Ability(nats=(10.0, 30.0), tokens=(5, 15), bytes=(20, 60), right=(True, True, False, False))


def test_a_model_against_itself_has_forgotten_exactly_nothing() -> None:
    found = compare(BEFORE, BEFORE)
    assert (found.loss.value, found.loss.low, found.loss.high, found.loss.n) == (0.0, 0.0, 0.0, 2)
    assert found.rise == found.accuracy.value == 0.0
    assert found.accuracy.high > 0  # four questions answered alike show little


def test_the_rise_is_weighted_by_tokens_and_the_answers_are_paired() -> None:
    found = compare(BEFORE, replace(BEFORE, nats=(12.0, 30.0), right=(False, False, True, False)))
    assert found.loss.value == found.rise == pytest.approx(2 / 20)
    assert found.unit == "nats a token" and found.rises == (2.0, 0.0) and found.tokens == (5, 15)
    assert found.accuracy == stats.paired_difference(2, 1, 4) and found.accuracy.value == -0.25


def test_other_tokens_are_compared_a_byte() -> None:
    found = compare(BEFORE, replace(BEFORE, nats=(14.0, 34.0), tokens=(4, 15)))
    assert found.unit == "bits a byte"
    assert found.loss.value == pytest.approx(8 / math.log(2) / 80)
    assert found.rise == pytest.approx(8 / 20)  # still a token of the untouched model


def forgot(*rises: float) -> Forgetting:
    """Of each passage of ten tokens, in nats a token."""
    nats = tuple(40 + 10 * rise for rise in rises)
    right = (True,) * 9
    sizes = (10,) * len(rises)
    return compare(Ability((40.0,) * len(rises), sizes, sizes, right), Ability(nats, sizes, sizes, right))


def test_bounds_are_students_where_that_holds() -> None:
    found = bounds(forgot(*[0.0, 0.2] * 50), 0.05)
    reach = 1.6604 * 0.2 / 2 * math.sqrt(100 / 99) / 10  # t of 99 degrees at 0.05, standard error of the mean
    assert found.value == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1 + reach, abs=1.5e-3) and found.low == pytest.approx(0.1 - reach, abs=1.5e-3)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=30), st.floats(0.001, 0.2), st.floats(0.25, 0.5))
def test_a_smaller_error_never_narrows_the_bounds(rises: list[float], small: float, large: float) -> None:
    strict, loose = bounds(forgot(*rises), small), bounds(forgot(*rises), large)
    assert strict.low <= loose.low <= loose.high <= strict.high


# --- kept ------------------------------------------------------------------------------------------------------------


@dataclass
class Counting:
    """Engines that open nothing but letters, and count it."""

    machine: Machine
    opened: int = 0
    until: float = float("inf")

    def reader(self, model: ModelRef) -> ModelRef:
        return model

    def open(self, model: ModelRef) -> Letters:
        self.opened += 1
        return Letters()


def test_an_ability_is_measured_once_for_each_model_and_probe(tmp_path: Path, machine: Machine) -> None:
    engines, store = Counting(machine), Store(tmp_path)
    on = Probe(("one ax", "two bb"), (Question("Which?", ("a", "x"), 1),))
    bare, fitted = ModelRef("causal", "m", "d"), ModelRef("causal", "m", "d", "files", "f")

    def found(model: ModelRef, untouched: ModelRef = bare, on: Probe = on) -> Forgetting | None:
        return forget.measure_forgetting(model, untouched, on, store, engines)  # type: ignore[arg-type]

    first = found(fitted)
    assert first and first.rise == 0 and engines.opened == 2
    assert found(fitted) == first and found(replace(fitted, files="moved")) == first and engines.opened == 2
    found(replace(fitted, files_digest="g"))
    assert engines.opened == 3  # the untouched model's is known
    found(fitted, on=replace(on, passages=("one ax",)))
    assert engines.opened == 5
    engines.machine = replace(machine, dtype="bfloat16")
    found(fitted)
    assert engines.opened == 7


def test_a_measurement_of_another_process_is_waited_for_only_until_the_deadline(tmp_path: Path, machine: Machine) -> None:
    engines, on = Counting(machine, until=time.monotonic()), Probe(("one ax",), ())
    models = ModelRef("causal", "m", "d", "files", "f"), ModelRef("causal", "m", "d")
    name = digest([models[0].digest, "f", on.digest, machine.device, machine.dtype, forget.MEASURE_VERSION])
    with Store(tmp_path).lease(f"ability/{name}"), pytest.raises(BudgetError):
        forget.measure_forgetting(*models, on, Store(tmp_path), engines)  # type: ignore[arg-type]
    assert engines.opened == 0


@pytest.mark.parametrize("kind", ["encoder", "classifier", "rule", "fake"])
def test_what_touches_no_language_models_weights_forgets_nothing(kind: str, tmp_path: Path, machine: Machine) -> None:
    engines = Counting(machine)
    untouched = ModelRef("causal", "m", "d")
    for model in (ModelRef(kind, "m", "d", "files", "f"), untouched):
        assert forget.measure_forgetting(model, untouched, PACKAGE, Store(tmp_path), engines) is None  # type: ignore[arg-type]
    assert engines.opened == 0


# --- deciding ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    max_forgetting: float | None
    at_least: float = 0.8
    metric: str = "accuracy"
    latency_ms: float | None = None
    usd_per_1k: float | None = None
    usd_per_month: float | None = None
    coverage: float | None = None


def rung(name: str, right: int = 190, forgetting: Forgetting | None = None, usd: float = 1.0) -> Record:
    rows = (1.0,) * right + (0.0,) * (200 - right)
    scores = Scores("accuracy", "dev", interval(rows), tuple(map(str, range(200))), rows)
    fast = Interval(9, 9, 9, 20)
    return Record(name, "done", scores=scores, cost=Cost(per_month_usd=usd), latency=Latency(fast, fast), forgetting=forgetting)


def level(planned: int = 1) -> float:
    """The share of the error of one measured rung."""
    found = decide([rung("lora")], Goal(None), planned=planned).rungs[0].level
    assert 0.02 / planned < found <= 0.05
    return found


def test_only_an_upper_bound_at_or_under_the_limit_meets() -> None:
    even = rung("lora", forgetting=forgot(*[0.0625] * 20))  # rises all alike: its bounds are 0.0625 to the last bit
    for most, wanted in ((0.0625, "meets"), (0.062, "fails"), (None, "meets")):
        assert decide([even], Goal(most)).verdict == wanted
    uneven = forgot(*[0.0, 0.2] * 50)
    high, low = bounds(uneven, level()).high, bounds(uneven, 0.05).low
    for most, wanted in ((high, "meets"), (high - 1e-9, "undecided"), (0.1, "undecided"), (low - 1e-9, "fails")):
        assert decide([rung("lora", forgetting=uneven)], Goal(most)).verdict == wanted, most


def test_the_reason_is_told() -> None:
    uneven = forgot(*[0.0, 0.2] * 50)
    open_, over = (decide([rung("lora", forgetting=uneven)], Goal(most)).rungs[0] for most in (0.1, 0.05))
    told, least = (f"its loss on general text rises by {bounds(uneven, error)} nats a token" for error in (level(), 0.05))
    assert f"it reaches 0.80, but {told}, and 0.10 lies between these bounds; name more general text" in open_.why
    assert f"{least}, over 0.05" in over.why and open_.more_rows == over.more_rows == 0


def test_rungs_share_the_error_of_forgetting_too() -> None:
    uneven = forgot(*[0.0, 0.2] * 50)
    alone = Goal(bounds(uneven, level()).high)
    assert decide([rung("lora", forgetting=uneven)], alone).verdict == "meets"
    assert decide([rung("lora", forgetting=uneven)], alone, planned=5).verdict == "undecided"
    assert decide([rung("lora", forgetting=uneven)], Goal(bounds(uneven, level(5)).high), planned=5).verdict == "meets"


def test_a_rung_without_forgetting_keeps_any_limit() -> None:
    found = decide([rung("lora", 199, forgot(*[0.5] * 9)), rung("few-shot", 190, usd=5.0)], Goal(0.0))
    assert (found.verdict, found.chosen) == ("meets", "few-shot")
    assert decide([rung("lora", 199, forgot(*[0.5] * 9)), rung("zero-shot", 120)], Goal(0.02)).chosen == "zero-shot"


def test_ties_go_to_the_one_that_forgets_less_whatever_the_tokens() -> None:
    less = replace(forgot(*[0.1] * 9), unit="bits a byte", loss=Interval(9, 9, 9, 9))
    found = [rung("more", forgetting=forgot(*[0.3] * 9)), rung("less", forgetting=less)]
    assert decide(found, Goal(None)).chosen == "less"
    assert decide([*found, rung("none")], Goal(None)).chosen == "none"


# --- shown ------------------------------------------------------------------------------------------------------------


def test_the_leaderboard_has_a_column_only_where_weights_were_touched() -> None:
    from rich.console import Console

    def lines(*records: Record) -> list[str]:
        console = Console(width=80, record=True, file=io.StringIO())
        console.print(results.leaderboard(records, decide(records, Goal(None)), {"metric": "accuracy"}))
        return console.export_text().splitlines()

    heads, touched, untouched = lines(rung("lora", forgetting=forgot(0.25, 0.5)), rung("zero-shot"))
    assert "forgets" in heads and "+0.375" in touched and "+" not in untouched
    assert "forgets" not in lines(rung("zero-shot"))[0]


# --- a climb ----------------------------------------------------------------------------------------------------------


def test_a_climb_measures_what_was_forgotten_and_a_second_measures_nothing(
    tmp_path: Path, home: Path, base: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rung.lm.inference.causal import CausalEngine

    monkeypatch.setattr(forget, "MIN_ITEMS", 1)
    write(tmp_path / "rows.jsonl", [{"input": f"parcel {i}", "output": ("late", "refund")[i % 2]} for i in range(60)])
    write(tmp_path / "text.jsonl", [{"text": f"where is my order {i} please"} for i in range(100)])
    write(tmp_path / "asked.jsonl", [asked(i) for i in range(9)])
    data = {"examples": "rows.jsonl", "general": ["text.jsonl", "asked.jsonl"]}
    goal = {"at_least": 1.0, "max_forgetting": 0.02}
    task = {"task": "Sort.", "kind": "classify", "data": data, "goal": goal, "base": str(base("llama")), "encoder": "fake"}
    methods = {"lora": {"rank": 2, "epochs": 1, "batch": 8}}
    (tmp_path / "rung.yaml").write_text(json.dumps({**task, "rungs": ["zero-shot", "lora"], "methods": methods}))
    found = {r.rung: r for r in climb(Project(load_task(tmp_path), say=lambda text: None), Watcher(), everything=True).records}
    assert found["zero-shot"].status == found["lora"].status == "done", found["lora"].reason
    lost = found["lora"].forgetting
    assert found["zero-shot"].forgetting is None and lost and lost.unit == "nats a token" and lost.loss.value != 0
    assert lost.accuracy.n == 9 and lost.loss.n == len(lost.tokens) > 1
    told = report_data.read_report_data(Store(tmp_path).read("decision.json"))
    assert pictures.rises(told)["lora"].value == pytest.approx(lost.rise)
    assert any(demand.what == "Forgetting" for demand in verdict.requirements(told))

    monkeypatch.setattr(CausalEngine, "read", None)
    (tmp_path / ".rung" / "records.jsonl").unlink()  # as where the record is made anew from what is kept
    again = climb(Project(load_task(tmp_path), say=lambda text: None), Watcher(), everything=True)
    assert [r.forgetting for r in again.records if r.rung == "lora"] == [lost]


# --- the real default model -------------------------------------------------------------------------------------------


@pytest.mark.model
def test_a_model_trained_hard_on_nonsense_forgets(tmp_path: Path) -> None:
    from rung.methods.base import Run
    from rung.methods.lora import Lora
    from rung.predictor import Predictor
    from rung.types import Example, TrainData

    engines = Engines(say=lambda text: None)
    start = Predictor(kind="generate", model=engines.reference("smollm2-135m-instruct"), instruction="Say it.")
    few = Probe(PACKAGE.passages[::12], PACKAGE.questions[::30])
    before = measure(engines.open(start.model), few)  # type: ignore[arg-type]
    assert compare(before, measure(engines.open(start.model), few)).loss == Interval(0.0, 0.0, 0.0, 5)  # type: ignore[arg-type]
    assert 3 < sum(before.nats) / sum(before.tokens) < 5
    rows = tuple(Example(f"say {i}", f"zxq {7 * i % 5} vlk brr {i} wub wub grz") for i in range(4))
    fitted = Lora(rank=8, epochs=4, batch=4, learning_rate=1e-2).fit(start, TrainData(rows), Run(tmp_path, engines))
    lost = compare(before, measure(engines.open(fitted.model), few))  # type: ignore[arg-type]
    assert lost.unit == "nats a token" and lost.loss.low > 0.1
