"""Training on raw text: pinned losses, exact resumption, held-out text kept apart, and rungs that stand on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from slowly import slow_but

from rung import methods
from rung.data import corpus
from rung.errors import TaskError
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods import pretrain, tuning
from rung.methods.base import Method, Run
from rung.methods.chain import estimate_rung
from rung.methods.continued import Continued
from rung.methods.facts import Facts
from rung.methods.pretrain import Pretrain
from rung.predictor import Predictor, folder_digest
from rung.types import Example, Texts, TrainData

HELD = 0.3
SMALL = Pretrain(parameters=300_000, vocabulary=300, context=64, batch=2, steps=5, held=HELD)
DOMAIN = Continued(window=64, step=256, held=HELD, replay=0.25, epochs=2, learning_rate=1e-3)
ROWS = tuple(Example(f"the parcel {i}", "late" if i % 2 else "refund") for i in range(8))


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainData:
    root = tmp_path_factory.mktemp("text")
    for name, what in (("domain", "the courier has lost parcel"), ("general", "rivers run to the sea, and hill")):
        rows = [{"text": f"{what} {i}, said {'abcdefgh'[i % 8]}. " * (1 + i % 4)} for i in range(16)]
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpora = {name: corpus.find_texts(root, [f"{name}.jsonl"]) for name in ("domain", "general")}
    return TrainData(ROWS, ("late", "refund"), corpus=corpora["domain"], general=corpora["general"])


@pytest.fixture
def start(base: Callable[[str], Path], machine: Machine) -> Predictor:
    model = Engines(machine, say=lambda text: None).reference(str(base("llama")))
    return Predictor(kind="classify", model=model, instruction="sort", labels=("late", "refund"))


@pytest.fixture
def fit(start: Predictor, data: TrainData, machine: Machine, tmp_path: Path) -> Callable[..., tuple[Predictor, Run]]:
    engines = Engines(machine, say=lambda text: None)

    def fitted(
        method: Method, name: str = "fit", on: Predictor = start, text: TrainData = data, **watched: Any
    ) -> tuple[Predictor, Run]:
        (tmp_path / name).mkdir(exist_ok=True)
        run = Run(tmp_path / name, engines, **watched)
        return method.fit(on, text, run), run

    return fitted


def kill_at(step: int) -> Callable[[str, float], None]:
    def progress(text: str, share: float) -> None:
        if text.startswith(f"step {step} "):
            raise Killed

    return progress


# --- pre-training -----------------------------------------------------------------------------------------------------


def test_the_first_losses_are_pinned(fit: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Engines] = []
    monkeypatch.setattr(Engines, "close", lambda self: closed.append(self))
    found, run = fit(SMALL)
    assert closed == [run.engines], "other models have left the memory"
    assert run.notes["losses"] == pytest.approx(PINNED, abs=2e-3)
    assert "n=" in run.notes["bits_per_byte"]
    assert not (run.folder / "work").exists()
    assert found.model.files_digest == folder_digest(Path(found.model.files))
    assert {path.name for path in Path(found.model.files).iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}


PINNED = [5.7367, 5.6011, 5.434, 5.3391, 5.3001]


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(replace(SMALL, steps=12), marks=pytest.mark.slow),
        replace(SMALL, steps=12, patience=20),
        pytest.param(DOMAIN, marks=pytest.mark.slow),
        pytest.param(replace(DOMAIN, patience=20), marks=pytest.mark.slow),
        pytest.param(replace(DOMAIN, rank=2), marks=pytest.mark.slow),
    ],
)
def test_a_killed_fit_goes_on_to_the_same_weights(fit: Callable, method: Method) -> None:
    whole, _ = fit(method, "whole")
    with pytest.raises(Killed):
        fit(method, "cut", progress=kill_at(7))
    told: list[str] = []
    again, _ = fit(method, "cut", progress=lambda text, share: told.append(text))
    steps = [text for text in told if text.startswith("step ")]
    assert not steps[0].startswith("step 1 ")
    assert again.model.files_digest == whole.model.files_digest


@pytest.mark.parametrize(
    "method",
    slow_but([SMALL, replace(DOMAIN, patience=99)], [SMALL, DOMAIN, replace(SMALL, patience=99), replace(DOMAIN, patience=99)]),
)
def test_held_out_text_is_never_trained_on(
    fit: Callable, data: TrainData, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    from rung.lm.training import train

    seen: list[str] = []
    real = train.run

    def watched(loaded: Any, rows: Any, *rest: Any, items: Any, **more: Any) -> Any:
        drawn = [row for step in rows for row in items.prepare([step], step)]
        seen.extend(loaded.chat.tokenizer.decode(row.tokens) for row in drawn)
        return real(loaded, rows, *rest, items=items, **more)

    monkeypatch.setattr(train, "run", watched)
    _, run = fit(replace(method, steps=60) if isinstance(method, Pretrain) else method)
    _, below = corpus.cuts(data.corpus, HELD, tuning.HELD * (1 - HELD) if method.patience else 0.0)
    for held, wanted in ((True, False), (False, True)):
        fronts = [document[:40] for document in corpus.train_or_holdout(data.corpus, below, held=held)]
        assert any(front in text for front in fronts for text in seen) == wanted
    assert bool(run.notes["held"]) == bool(method.patience) and all(score < 0 for score in run.notes["held"])


def test_it_learns(fit: Callable) -> None:
    _, run = fit(replace(SMALL, steps=60, batch=4, learning_rate=5e-3))
    assert run.notes["losses"][-1] < 0.5 * run.notes["losses"][0]


@pytest.mark.parametrize("then", slow_but(["lora"], ["full", "lora"]))
def test_a_rung_stands_on_it(fit: Callable, machine: Machine, then: str) -> None:
    made, _ = fit(SMALL, "made")
    rung = methods.rung(f"pretrain+{then}", {then: {"epochs": 1, "batch": 4}})
    found, run = fit(rung[1], "then", on=made)
    answers = found.predict(ROWS, run.engines)
    assert {answer.output for answer in answers} <= {"late", "refund"}
    assert [a.confidence for a in answers] != [a.confidence for a in made.predict(ROWS, run.engines)]


def test_advice_names_the_tokens_and_the_hours(machine: Machine) -> None:
    said = SMALL.advice(10_000_000, 100, machine)
    assert "640 tokens" in said
    assert "200,000,000 tokens, 20 a parameter" in said
    assert "1,720,320" in said
    assert "more than 4 times" in said
    assert "more than 4 times" not in SMALL.advice(10_000_000, 1000, machine)
    assert pretrain.gpu_hours(70_000_000_000, 2_000_000_000_000) == pytest.approx(1_720_320)


# --- continued --------------------------------------------------------------------------------------------------------


def test_perplexity_is_told_before_and_after(fit: Callable) -> None:
    _, run = fit(replace(DOMAIN, epochs=6))
    found = run.notes["perplexity"]
    assert set(found) == {"domain", "general"}
    for kind in found.values():
        assert kind["documents"] > 1
        assert kind["tokens"] > kind["documents"]
        before, after = (float(kind[when].split()[0]) for when in ("before", "after"))
        assert after < before
        assert float(kind["quotient"].split()[0]) == pytest.approx(after / before, abs=2e-3)
    assert not (run.folder / "work").exists()


def test_without_general_text_none_is_replayed_and_it_is_said(fit: Callable, data: TrainData) -> None:
    alone = replace(data, general=Texts())
    _, run = fit(DOMAIN, "alone", text=alone)
    assert "data.general" in run.notes["said"][0]
    assert set(run.notes["perplexity"]) == {"domain"}
    _, run = fit(replace(DOMAIN, replay=0.0), "asked", text=alone)
    assert "said" not in run.notes


def test_replay_changes_what_is_learnt(fit: Callable) -> None:
    after = []
    for share in (0.0, 0.25):
        _, run = fit(replace(DOMAIN, replay=share, epochs=6), str(share))
        after.append(float(run.notes["perplexity"]["general"]["after"].split()[0]))
    none, some = after
    assert some < none


@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_kept_is_what_was_trained(fit: Callable, rank: int) -> None:
    found, _ = fit(replace(DOMAIN, rank=rank))
    assert (Path(found.model.files) / ("adapter_config.json" if rank else "config.json")).exists()


@pytest.mark.parametrize(("option", "value"), [("replay", 1.0), ("replay", -0.1), ("held", 0.9)])
def test_a_share_that_cannot_be_is_refused(option: str, value: float) -> None:
    with pytest.raises(TaskError, match=option):
        methods.rung("continued", {"continued": {option: value}})


FACTS = Facts(
    train_rows=1,
    parameters=10**8,
    encoder_parameters=1,
    shared_tokens=9.0,
    input_tokens=9.0,
    output_tokens=9.0,
    labels=0,
    corpus_tokens=10**6,
)


def test_quotes_grow_with_the_work(machine: Machine) -> None:
    longer, larger = replace(SMALL, steps=50), replace(SMALL, steps=50, parameters=10**6)
    seconds = [
        estimate_rung([method], FACTS, machine).fit_seconds
        for method in (DOMAIN, replace(DOMAIN, epochs=4), SMALL, longer, larger)
    ]
    assert seconds[0] < seconds[1]
    assert seconds[2] < seconds[3] < seconds[4]


def test_what_follows_pretraining_is_quoted_for_the_model_that_it_made(machine: Machine) -> None:
    facts = replace(FACTS, parameters=10**8)
    alone, then = estimate_rung([SMALL], facts, machine), estimate_rung([SMALL, methods.METHODS["full"]], facts, machine)
    of_that_size = estimate_rung([methods.METHODS["full"]], replace(facts, parameters=SMALL.parameters), machine)
    assert then.fit_seconds - alone.fit_seconds == pytest.approx(of_that_size.fit_seconds)
