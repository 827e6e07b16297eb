"""Goals with a coverage: chosen on train, decided, stored, asked and served, without a language model."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest
from commands import command

from rung import api
from rung import predictor as predictors
from rung.climbing.climb import chosen
from rung.climbing.out_of_fold import divided
from rung.climbing.project import Project
from rung.climbing.selecting import with_threshold
from rung.errors import TaskError
from rung.report import html
from rung.task import load_task
from rung.types import Example

WORDS = {"refund": "money back account", "delay": "late parcel waiting", "other": "hours shop open"}


def rows(n: int, seed: int) -> list[tuple[str, str]]:
    """A quarter of the rows hold a word of another label, so that the nearest row is less near and often wrong."""
    rng, out = random.Random(seed), []
    for i in range(n):
        label = rng.choice(list(WORDS))
        words = rng.choices(WORDS[label].split(), k=2)
        if i % 4 == 0:
            words = [rng.choice(WORDS[rng.choice(list(WORDS))].split()), f"x{rng.random():.6f}"[:7]]
        out.append((f"{' '.join(words)} {rng.randrange(10**9)}", label))
    return out


def task(
    folder: Path, goal: str = "{at_least: 0.75, coverage: 0.5}", rungs: str = "[majority, nearest]", kind: str = "classify"
) -> Path:
    for split, (n, seed) in {"train": (150, 1), "dev": (120, 2), "test": (120, 3)}.items():
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("input", "output"), *rows(n, seed)])
    data = "{train: train.csv, dev: dev.csv, test: test.csv}"
    lines = ["task: sort", f"kind: {kind}", f"data: {data}", "base: fake", f"rungs: {rungs}", f"goal: {goal}", ""]
    (folder / "rung.yaml").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = task(tmp_path_factory.mktemp("selective"))
    api.climb(folder, everything=True, progress=False)
    return folder


def test_a_climb_states_score_and_coverage_in_one_claim(climbed: Path) -> None:
    found = json.loads(command("show", climbed, "--json").stdout)
    assert (found["verdict"], found["chosen"]) == ("meets", "nearest")
    assert found["claim"]["at_least"] >= 0.75 and found["claim"]["coverage"] >= 0.5
    assert found["why"].startswith("nearest meets accuracy >= 0.75 at coverage 0.50: accuracy at least ")
    assert "on the rows it answers, and it answers at least" in found["why"]
    nearest = found["rungs"][1]
    assert nearest["selection"]["folds"] == 5 and nearest["selection"]["rows"] == 150
    assert 0.5 < nearest["coverage"]["value"] < 1 and nearest["score"]["n"] == round(120 * nearest["coverage"]["value"])
    assert nearest["selection"]["auc"] > 0.7
    assert 0.5 < found["test_coverage"]["value"] < 1
    shown = command("show", climbed).stdout
    assert "accuracy of answered (dev)" in shown and f"{nearest['coverage']['value']:.0%} of 120" in shown


def test_the_threshold_is_chosen_without_dev_and_test_rows(climbed: Path, tmp_path: Path) -> None:
    other = task(tmp_path)
    for split in ("dev", "test"):
        lines = (other / f"{split}.csv").read_text().splitlines()
        (other / f"{split}.csv").write_text("\n".join([lines[0], *[f"{line.split(',')[0]},other" for line in lines[1:]]]) + "\n")
    api.climb(other, everything=True, progress=False)
    first, second = (json.loads(command("show", place, "--json").stdout)["rungs"][1]["selection"] for place in (climbed, other))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}, "labels of dev and test change nothing"


def test_the_score_is_over_the_rows_answered(climbed: Path) -> None:
    project = Project(load_task(climbed))
    record = project.store.records()[-1]
    scores = record.scores
    assert scores and scores.coverage and record.selection
    values = [value for value, done in zip(scores.per_row, scores.answered) if done]
    assert scores.overall.value == pytest.approx(sum(values) / len(values))
    everything = scores.others["accuracy of all rows"]
    assert everything.value == pytest.approx(sum(scores.per_row) / len(scores.per_row)) and everything.n == 120
    assert scores.overall.value > everything.value


def test_asking_says_not_sure_with_the_best_guess(climbed: Path, tmp_path: Path) -> None:
    sure, unsure = command("ask", climbed, "late parcel waiting"), command("ask", climbed, "zzz")
    assert sure.stdout.startswith("delay")
    assert unsure.stdout.startswith("Not sure. Best guess: ") and "is under" in unsure.stdout
    [given, guess] = api.load(climbed).predict(["late parcel waiting", "zzz"])
    assert (given.label, given.guess, given.abstained) == ("delay", "", "")
    assert (guess.label, guess.guess in WORDS) == ("", True) and guess.abstained.startswith("not sure: its confidence")
    assert str(guess) == f"Not sure. Best guess: {guess.guess}"
    (tmp_path / "rows.csv").write_text("input\nlate parcel waiting\nzzz\n")
    command("ask", climbed, "--rows", tmp_path / "rows.csv", "--to", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["answer"], first["guess"]) == ("delay", "") and (second["answer"], second["guess"]) == ("", guess.guess)


def test_a_saved_predictor_keeps_its_threshold(climbed: Path, tmp_path: Path) -> None:
    project = Project(load_task(climbed))
    plain = chosen(project)
    cut = with_threshold(project, plain)
    predictors.save(cut, tmp_path / "saved")
    loaded = predictors.load(tmp_path / "saved")
    assert loaded.threshold == cut.threshold and loaded.threshold and loaded.digest == cut.digest != plain.digest
    assert loaded.predict([Example("zzz", "")], project.engines)[0].guess


def test_the_report_draws_score_against_coverage(climbed: Path) -> None:
    page = html.rendered(Project(load_task(climbed)))
    assert 'id="coverage"' in page and page.count("<polyline points=") >= 2
    assert "answers " in page and "chosen on 150 train rows answered by 5 fits, each on the others" in page
    assert '<th scope="row">Coverage</th>' in page


def test_more_rows_or_another_coverage_is_another_measurement(climbed: Path) -> None:
    project = Project(load_task(climbed))
    before = len(project.store.records())
    api.climb(climbed, everything=True, progress=False)
    assert len(project.store.records()) == before, "nothing is measured twice"


def test_a_rung_without_confidence_is_told_so_and_answers_every_row(tmp_path: Path) -> None:
    folder = task(tmp_path, "{metric: exact_match, at_least: 0.75, coverage: 0.5}", "[zero-shot]", "answer")
    api.climb(folder, progress=False)
    found = json.loads(command("show", folder, "--json").stdout)["rungs"][0]
    assert found["selection"]["why"] == "it gives no confidence, so no threshold can be chosen"
    assert found["coverage"]["value"] == 1.0
    assert "zero-shot: it gives no confidence" in command("show", folder).stdout
    assert "it gives no confidence" in html.rendered(Project(load_task(folder)))
    assert command("ask", folder, "a b").stdout.strip() == "b"


def test_what_the_rows_can_show_is_said_before(climbed: Path, tmp_path: Path) -> None:
    said = " ".join(command("check", climbed).stdout.split())
    assert "a rung must answer at least" in said and "of the 240 held-out rows" in said
    assert "if a rung answers" in " ".join(command("plan", climbed).stdout.split())
    held = json.loads(command("plan", climbed, "--json").stdout)["held_out"]["others_far"]
    assert held["coverage"]["needed"] > 120 and held["score"]["needed"] <= held["score"]["rows"]
    few = command("check", task(tmp_path, "{at_least: 0.999, coverage: 0.9}"))
    assert few.returncode == 1 and "would not show that the goal is met" in " ".join(few.stdout.split())


def test_the_estimate_counts_the_fits_on_the_other_parts(climbed: Path, tmp_path: Path) -> None:
    plain = task(tmp_path, "{at_least: 0.75}", "[encoder, few-shot]")
    (tmp_path / "with").mkdir()
    cut = task(tmp_path / "with", "{at_least: 0.75, coverage: 0.5}", "[encoder, few-shot]")
    without, with_ = (json.loads(command("plan", place, "--json").stdout)["rungs"] for place in (plain, cut))
    without, with_ = ({one["rung"]: one["raw_quote"] for one in found} for found in (without, with_))
    assert with_["encoder"]["fit_seconds"] > 9 * without["encoder"]["fit_seconds"]
    assert with_["few-shot"]["fit_seconds"] > without["few-shot"]["fit_seconds"], "train rows are asked"


@pytest.mark.parametrize(
    ("goal", "told"),
    [
        ("{at_least: 0.9, coverage: 1}", "line 6: 'goal.coverage' is 1: it should be less than 1"),
        ("{at_least: 0.9, coverage: 0}", "line 6: 'goal.coverage' is 0: it should be greater than 0"),
        ("{at_least: 0.9, coverage: most}", "'goal.coverage' is 'most'"),
        ("{at_least: 0.9, coverage: 0.5}\nrace: true", "`race` cannot be combined with goal.coverage"),
    ],
)
def test_a_wrong_coverage_is_an_error_with_its_place(tmp_path: Path, goal: str, told: str) -> None:
    with pytest.raises(TaskError) as error:
        load_task(task(tmp_path, goal))
    assert told in str(error.value)


def test_parts_of_train_hold_every_label_and_split_no_question() -> None:
    found = [Example(f"q {i % 40}", f"label {i % 4}", where=str(i)) for i in range(80)]
    parts = divided(found, 5)
    assert sorted(row.where for part in parts for row in part) == sorted(row.where for row in found)
    assert all({row.output for row in part} == {f"label {k}" for k in range(4)} for part in parts)
    places = {row.input: {k for k, part in enumerate(parts) if row.input in {one.input for one in part}} for row in found}
    assert all(len(where) == 1 for where in places.values())
