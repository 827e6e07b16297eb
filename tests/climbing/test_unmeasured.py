"""Rows and rungs that fail for a reason outside the model decide nothing: undecided, with count and reason, everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rung import metrics
from rung.cli import app
from rung.climbing.decide import compare, decide
from rung.lm.base import Choice
from rung.lm.inference.fake import FakeEngine
from rung.metrics import METRICS
from rung.types import Example, Prediction, Record

WHY = "the server answered 500: out of order"
Fails = Callable[[str], bool]


def answers(rows: Sequence[Example], failed: int, right: int, **more: Any) -> list[Prediction]:
    """The first rows failed, the next are right, the others wrong."""
    said = [(row.output, "") if i >= failed and i < failed + right else ("no", "") for i, row in enumerate(rows)]
    return [
        Prediction(row.id, "" if i < failed else text, error=WHY if i < failed else "", **(more if i < failed else {}))
        for i, (row, (text, _)) in enumerate(zip(rows, said))
    ]


ROWS = [Example(f"question {i}", "ab"[i % 2]) for i in range(40)]


def goal(at_least: float, metric: str = "accuracy") -> Any:
    from types import SimpleNamespace

    sides = dict.fromkeys(("coverage", "latency_ms", "usd_per_1k", "usd_per_month", "max_forgetting"))
    return SimpleNamespace(metric=metric, at_least=at_least, **sides)


def record(rung: str, failed: int, right: int, metric: str = "accuracy", **more: Any) -> Record:
    found = metrics.score(METRICS[metric], ROWS, answers(ROWS, failed, right, **more), "dev")
    return Record(rung, "done", scores=found)


REFERENCES = {row.id: row.output for row in ROWS}


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize(
    ("failed", "right", "verdict"), [(40, 0, "undecided"), (20, 20, "undecided"), (2, 0, "fails"), (1, 39, "meets")]
)
def test_rows_that_failed_count_neither_for_nor_against(metric: str, failed: int, right: int, verdict: str) -> None:
    found = decide([record("one", failed, right, metric)], goal(0.8, metric), references=REFERENCES)
    assert found.verdict == verdict and found.unmeasured == (verdict == "undecided")
    assert f"{failed} of 40 rows have no score ({WHY})" in found.rungs[0].why


def test_an_error_of_the_model_itself_counts_as_wrong() -> None:
    found = decide([record("one", 40, 0, wrong=True)], goal(0.8), references=REFERENCES)
    assert found.verdict == "fails" and not found.unmeasured


def test_rungs_are_compared_on_rows_that_both_have_scored() -> None:
    found = compare(record("one", 10, 30), record("two", 0, 40))
    assert found.difference.n == 30 and found.only_b == 0


def test_a_rung_that_failed_leaves_the_goal_undecided_unless_another_meets_it() -> None:
    broken = Record("lora", "failed", "OSError: [Errno 28] No space left on device")
    poor, good = record("zero-shot", 0, 10), record("few-shot", 0, 40)
    found = decide([poor, broken], goal(0.8), references=REFERENCES)
    assert (found.verdict, found.chosen, found.unmeasured) == ("undecided", "zero-shot", True)
    assert "No space left" in found.why
    met = decide([poor, broken, good], goal(0.8), references=REFERENCES)
    assert (met.verdict, met.chosen, met.unmeasured) == ("meets", "few-shot", False)


# --- through the commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    place = tmp_path / "task"
    place.mkdir()
    rows = [f"number {i} {word},{word}" for i in range(150) for word in ("red", "green")]
    (place / "rows.csv").write_text("input,output\n" + "\n".join(rows) + "\n")
    (place / "rung.yaml").write_text(
        "task: Say the last word.\nkind: classify\ndata: {examples: rows.csv}\n"
        "base: fake\nrungs: [zero-shot]\ngoal: {at_least: 0.8}\n"
    )
    return place


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fails], list[str]]:
    """Have the fake base fail on some prompts; returns what it is asked."""
    whole = FakeEngine.choose

    def made(fails: Fails) -> list[str]:
        asked: list[str] = []

        def choose(self: FakeEngine, prompts: Sequence[Any], *rest: Any) -> list[Choice]:
            asked.extend(prompt.input for prompt in prompts)
            found = whole(self, prompts, *rest)
            return [
                replace(one, error=f"{WHY} ({i})") if fails(p.input) else one for i, (one, p) in enumerate(zip(found, prompts))
            ]

        monkeypatch.setattr(FakeEngine, "choose", choose)
        return asked

    return made


def run(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join((done.stdout if "--json" in words else done.output).split())


def test_where_all_rows_fail_every_command_says_undecided_with_count_and_reason(folder: Path, broken: Any) -> None:
    asked = broken(lambda text: True)
    for command in (("climb", folder), ("show", folder), ("fit", folder, "zero-shot"), ("climb", folder, "--json")):
        code, said = run(*command)
        assert (
            code == (1 if command[0] == "fit" else 4)
            and "undecided" in said
            and "rows asked all failed in the same way" in said
            and WHY in said
        ), command
        assert "fails" not in said and "0.000" not in said
    code, said = run("fit", folder, "zero-shot", "--json")
    assert code == 1 and json.loads(said)["verdict"] == "undecided" and WHY in json.loads(said)["why"]
    code, said = run("show", folder, "--json")
    assert code == 4 and json.loads(said)["verdict"] == "undecided" and json.loads(said)["rungs"][0]["verdict"] == "undecided"
    assert run("report", folder)[0] == 0
    page = (folder / "report.html").read_text()
    assert "undecided" in page and WHY in page
    assert len(set(asked)) <= 64, "the rest is not asked"


def test_where_some_rows_fail_too(folder: Path, broken: Any) -> None:
    broken(lambda text: int(text.split()[1]) % 2 == 0)
    code, said = run("climb", folder)
    assert code == 4 and "undecided" in said and "rows have no score" in said and WHY in said
    code, said = run("show", folder, "--json")
    [rung] = json.loads(said)["rungs"]
    assert code == 4 and rung["verdict"] == "undecided" and rung["failed_rows"] > 10 and WHY in rung["why"]
    assert rung["score"]["high"] == 1.0


def test_rows_that_failed_are_asked_again_and_only_these(folder: Path, broken: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(lambda text: int(text.split()[1]) % 2 == 0)
    assert run("climb", folder)[0] == 4
    monkeypatch.undo()
    monkeypatch.setenv("RUNG_HOME", str(folder.parent / "home"))
    code, said = run("climb", folder)
    assert code == 0 and "meets" in said


def test_tune_tells_nothing_of_settings_that_could_not_be_asked(folder: Path, broken: Any) -> None:
    broken(lambda text: True)
    code, said = run("tune", folder, "few-shot", "--set", "few-shot.shots=2,4")
    assert code == 1 and "ndecided" in said and WHY in said
