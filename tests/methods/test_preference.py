"""Tuning on preferences: what is compared with what, measured on which rows, and kept through a kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from slowly import slow_but

from rung.data.preferences import as_example, split_holdout
from rung.errors import BudgetError, DataError, TaskError
from rung.lm.engines import Engines
from rung.lm.training import preferences as losses
from rung.machine import Machine
from rung.methods import METHODS, pairing, tuning
from rung.methods.base import Run
from rung.methods.lora import Lora
from rung.methods.preference import Preferring
from rung.predictor import Predictor
from rung.types import Example, Need, Preference, TrainData

DATA = TrainData((), preferences=tuple(Preference(f"parcel {i}?", "late" * (1 + i % 2), "refund") for i in range(24)))
VOTES = TrainData((), preferences=tuple(Preference(f"parcel {i}?", "late" * (i % 3 > 0), "no" * (i % 3 == 0)) for i in range(24)))
SMALL: dict[str, Any] = {"rank": 2, "epochs": 3, "batch": 4, "learning_rate": 1e-2, "held": 0.3}

one_or_every = pytest.mark.parametrize("name", slow_but(["dpo"], ("dpo", "kto", "orpo", "simpo")))
"""All four where the slow tests run, since they resume in the same way."""


@pytest.fixture
def start(base: Callable[[str], Path], machine: Machine) -> Predictor:
    return Predictor(kind="answer", model=Engines(machine).reference(str(base("llama"))), instruction="Be short.")


@pytest.fixture
def run(machine: Machine, tmp_path: Path) -> Callable[..., Run]:
    engines = Engines(machine, say=lambda text: None)

    def made(name: str = "fit", **given: Any) -> Run:
        (tmp_path / name).mkdir(exist_ok=True)
        return Run(tmp_path / name, engines, **given)

    return made


def tuned(name: str) -> Preferring:
    method = METHODS[name]
    assert isinstance(method, Preferring)
    return replace(method, **SMALL)


@one_or_every
def test_held_out_pairs_are_ranked_before_and_after(start: Predictor, run: Callable[..., Run], name: str) -> None:
    done = run()
    tuned(name).fit(start, DATA, done)
    _, held = split_holdout(DATA.preferences, 0.3, 0)
    found = done.notes["preferences"]
    assert {"accuracy_before", "accuracy_after", "accuracy_rise", "reward_accuracy", "margin"} == set(found)
    assert all(part["n"] == len(held) and part["low"] <= part["value"] <= part["high"] for part in found.values())
    assert found["accuracy_after"]["value"] - found["accuracy_before"]["value"] == pytest.approx(found["accuracy_rise"]["value"])
    assert found["margin"]["value"] > 0
    assert len(done.notes["losses"]) == 3 * -(-(2 if name == "kto" else 1) * (24 - len(held)) // 4)


def test_no_held_out_pair_is_trained_on(start: Predictor, run: Callable[..., Run]) -> None:
    """Turning the held-out pairs round changes what is measured and not what is learnt."""
    _, held = split_holdout(DATA.preferences, 0.3, 0)
    turned = tuple(replace(one, chosen=one.rejected, rejected=one.chosen) if one in held else one for one in DATA.preferences)
    one, other = run("one"), run("other")
    found = [tuned("dpo").fit(start, data, r) for data, r in ((DATA, one), (TrainData((), preferences=turned), other))]
    assert found[0].digest == found[1].digest
    assert one.notes["preferences"]["margin"]["value"] == pytest.approx(-other.notes["preferences"]["margin"]["value"])


def test_votes_teach_kto_and_are_refused_by_the_others(start: Predictor, run: Callable[..., Run]) -> None:
    done = run()
    assert tuned("kto").fit(start, VOTES, done).digest != start.digest
    assert "preferences" not in done.notes, "votes are no pairs to rank"
    for name in ("dpo", "orpo", "simpo"):
        with pytest.raises(DataError, match="compares two answers"):
            tuned(name).fit(start, VOTES, run(name))


def test_patience_keeps_the_epoch_that_ranks_other_pairs_best(
    start: Predictor, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fitted(name: str, scores: list[float]) -> tuple[str, Run]:
        left = iter(scores)
        monkeypatch.setattr(pairing, "score", lambda *_: lambda: next(left))
        done = run(name)
        return replace(tuned("dpo"), epochs=6, patience=2).fit(start, DATA, done).digest, done

    second, done = fitted("second", [0.2, 0.9, 0.5, 0.4])
    assert done.notes["held"] == [0.2, 0.9, 0.5, 0.4], "after two epochs that are no better it stops"
    assert fitted("again", [0.3, 0.8, 0.1, 0.0])[0] == second
    assert fitted("first", [0.9, 0.8, 0.7])[0] != second
    learnt, held = split_holdout(DATA.preferences, 0.3, 0)
    rest, choosing = split_holdout(learnt, tuning.HELD, 1)
    assert choosing and len(done.notes["losses"]) == 4 * -(-len(rest) // 4)
    assert done.notes["preferences"]["margin"]["n"] == len(held), "what chooses is not what is told"


@one_or_every
def test_patience_looks_at_which_answer_gained_more(start: Predictor, run: Callable[..., Run], name: str) -> None:
    done = run()
    found = replace(tuned(name), epochs=1, patience=1, learning_rate=3e-4).fit(start, DATA, done)
    _, choosing = split_holdout(split_holdout(DATA.preferences, 0.3, 0)[0], tuning.HELD, 1)
    prompts = start.prompts([as_example(one) for one in choosing], done.engines)
    logs = []
    for predictor in (start, found):
        engine = done.engines.open(predictor.model)
        logs.append([engine.score(prompts, [getattr(one, side) for one in choosing]) for side in ("chosen", "rejected")])
    ((good0, bad0), (good, bad)) = logs
    gained = [g - g0 > b - b0 for g0, b0, g, b in zip(good0, bad0, good, bad)]
    assert done.notes["held"] == [pytest.approx(sum(gained) / len(gained), abs=1e-4)]


@pytest.mark.slow
def test_killed_with_patience_it_goes_on_to_the_same_weights(start: Predictor, run: Callable[..., Run]) -> None:
    method = replace(tuned("dpo"), patience=9)
    whole = method.fit(start, DATA, run("whole"))

    class Killed(Exception):
        pass

    def kill(text: str, share: float) -> None:
        if text.startswith("step 6"):
            raise Killed

    with pytest.raises(Killed):
        method.fit(start, DATA, run("cut", progress=kill))
    done = run("cut")
    assert method.fit(start, DATA, done).digest == whole.digest
    assert len(done.notes["held"]) == 3


def test_votes_leave_no_pairs_to_choose_by(start: Predictor, run: Callable[..., Run]) -> None:
    done = run()
    replace(tuned("kto"), patience=1).fit(start, VOTES, done)
    assert "patience has no effect" in done.notes["said"][0]
    assert done.notes["held"] == []


@one_or_every
def test_killed_it_goes_on_to_the_same_weights_without_the_reference_anew(
    start: Predictor, run: Callable[..., Run], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(name).fit(start, DATA, run("whole"))

    class Killed(Exception):
        pass

    def kill(text: str, share: float) -> None:
        if text.startswith("step 6"):
            raise Killed

    with pytest.raises(Killed):
        tuned(name).fit(start, DATA, run("cut", progress=kill))
    kept = losses.cached
    monkeypatch.setattr(losses, "cached", lambda path, compute: kept(path, lambda: pytest.fail("computed anew")))
    assert tuned(name).fit(start, DATA, run("cut")).digest == whole.digest


@one_or_every
def test_stopped_within_its_only_epoch_it_goes_on_from_there(start: Predictor, run: Callable[..., Run], name: str) -> None:
    once = replace(tuned(name), epochs=1)
    whole = once.fit(start, DATA, run("whole"))

    class Killed(Exception):
        pass

    def kill(text: str, share: float) -> None:
        if text.startswith("step 4 "):
            raise Killed

    with pytest.raises(Killed):
        once.fit(start, DATA, run("cut", progress=kill))
    told: list[str] = []
    again = once.fit(start, DATA, run("cut", progress=lambda text, share: told.append(text)))
    assert next(text for text in told if text.startswith("step ")).startswith("step 4 ")
    assert again.digest == whole.digest


def test_the_reference_is_what_stood_before(start: Predictor, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """After lora, the reference log-probabilities are those of the adapted model, and dpo's adapter stands on lora's."""
    rows = tuple(Example(f"parcel {i}?", "late") for i in range(8))
    first = Lora(rank=2, epochs=4, batch=4, learning_rate=2e-2).fit(start, TrainData(rows), run("lora"))
    asked: list[tuple[Any, list[float]]] = []
    logs = losses.score_rows

    def watched(loaded: Any, *given: Any, **more: Any) -> list[float]:
        asked.append((loaded.model, logs(loaded, *given, **more)))
        return asked[-1][1]

    monkeypatch.setattr(losses, "score_rows", watched)
    plain, stacked = run("plain"), run("stacked")
    tuned("dpo").fit(start, DATA, plain)
    found = tuned("dpo").fit(first, DATA, stacked)
    (_, alone), _, (_, after), _ = asked
    assert alone != pytest.approx(after, abs=0.5), "the reference is the untouched base though lora stood before"
    assert (Path(found.model.files) / "before" / "adapter_config.json").exists()
    assert stacked.notes["losses"][0] == pytest.approx(0.6931, abs=1e-3), "a first margin that is not 0"


def test_only_the_adapter_is_trained_and_kept(start: Predictor, run: Callable[..., Run]) -> None:
    found = tuned("dpo").fit(start, DATA, run())
    assert all("lora" in name for name in load_file(Path(found.model.files) / "adapter_model.safetensors"))


def test_what_is_too_long_is_told_with_its_place(start: Predictor, run: Callable[..., Run]) -> None:
    long = Preference("x" * 3000, "late", "refund", where="p.jsonl line 7")
    with pytest.raises(DataError, match=r"p.jsonl line 7: .* tokens long"):
        replace(tuned("dpo"), held=0.0).fit(start, TrainData((), preferences=(long,)), run())


def test_kto_computes_as_much_at_once_as_it_is_told(
    start: Predictor, run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    real = losses.kto

    def watched(beta: float, good: float, bad: float, loaded: Any, tokens: int = 2048) -> Any:
        given.append(tokens)
        return real(beta, good, bad, loaded, tokens)

    monkeypatch.setattr(losses, "kto", watched)
    replace(tuned("kto"), tokens=300, epochs=1).fit(start, DATA, run())
    assert given == [300]


def test_the_deadline_stops_the_reference_too(start: Predictor, run: Callable[..., Run]) -> None:
    with pytest.raises(BudgetError, match="scoring"):
        tuned("dpo").fit(start, DATA, run(deadline=0.0))


def test_an_unknown_loss_is_told_the_known_ones(start: Predictor, run: Callable[..., Run]) -> None:
    with pytest.raises(TaskError, match="loss must be 'dpo', 'kto', 'orpo' or 'simpo', got "):
        Preferring(loss="ppo").fit(start, DATA, run())  # type: ignore[arg-type]


def test_the_task_file_names_them(tmp_path: Path) -> None:
    from rung.climbing.climb import Project
    from rung.task import load_task

    (tmp_path / "rows.csv").write_text("input,output\n" + "".join(f"q{i},a{i}\n" for i in range(20)))
    (tmp_path / "prefs.csv").write_text("prompt,chosen,rejected\nHi?,Hello.,No.\n")
    (tmp_path / "rung.yaml").write_text(
        "task: Be short.\nkind: answer\ndata: {examples: rows.csv, preferences: prefs.csv}\ngoal: {at_least: 0.5}\n"
    )
    found = Project(load_task(tmp_path)).inputs.data
    assert found.preferences == (Preference("Hi?", "Hello.", "No.", where="prefs.csv line 2"),)
    assert found.only(frozenset({Need.PREFERENCES})).digest != found.only(frozenset()).digest
