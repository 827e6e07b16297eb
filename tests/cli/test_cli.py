"""The commands as a user types them, on a task without a model (base: fake).

They run in this process, since starting Python takes longer than most of them; one test starts a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import command, ended

from rung import __version__

WORDS = {"refund": ["money", "back", "repay"], "delivery": ["parcel", "courier", "late"], "fault": ["broken", "hums", "dead"]}


@pytest.fixture
def task(tmp_path: Path, home: Path) -> Path:
    """90 rows of three intents, told apart by their words."""
    rows = [f'"my {word} case {i} {label[0]}{i}",{label}' for i in range(10) for label, words in WORDS.items() for word in words]
    (tmp_path / "rows.csv").write_text("text,intent\n" + "\n".join(rows) + "\n")
    write(tmp_path)
    return tmp_path


def write(folder: Path, **changes: str) -> None:
    keys = {
        "task": "Name the intent.",
        "kind": "classify",
        "data": "{examples: rows.csv, input: text, output: intent}",
        "base": "fake",
        "rungs": "[majority, nearest, zero-shot]",
        "goal": "{metric: accuracy, at_least: 0.6}",
    } | changes
    (folder / "rung.yaml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))


def rung(*words: str | Path, code: int = 0) -> str:
    """Run a command, hold it to its exit code, and return standard output (of a failure: standard error)."""
    done = command(*words)
    assert (ended(words, done.returncode) if code == 0 else done.returncode) == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def test_the_exit_code_says_what_became_of_the_goal(task: Path) -> None:
    write(task, rungs="[majority]")
    assert command("climb", task).returncode == command("show", task).returncode == 3
    write(task, rungs="[majority, nearest]")
    assert command("climb", task).returncode == command("show", task).returncode == 0


def test_a_climb_that_fails_names_the_rungs_that_were_left_out(task: Path) -> None:
    write(task, rungs="[majority]")
    said = " ".join(rung("climb", task, code=3).split())
    named = said.split("`rungs` in rung.yaml does not name them: ")[1]
    assert "nearest" in named and "majority" not in named.partition("rung report")[0]
    write(task, rungs="[majority, nearest]")
    assert "does not name them" not in rung("climb", task), "it meets the goal"


def test_from_climb_to_answer(task: Path) -> None:
    found = json.loads(rung("climb", task, "--json"))
    assert found["verdict"] == "meets" and found["chosen"] == "nearest"
    assert [(r["name"], r["status"]) for r in found["rungs"]] == [("majority", "done"), ("nearest", "done")]
    nearest = found["rungs"][1]
    assert nearest["score"]["low"] <= nearest["score"]["value"] <= nearest["score"]["high"] and nearest["score"]["n"] > 15
    assert set(nearest["cost"]) == {"once_usd", "per_month_usd", "per_1k_usd"}
    assert {"p50", "p95"} <= set(nearest["latency_ms"]) and nearest["fit_seconds"] >= 0 and nearest["predict_seconds"] >= 0
    assert found["test"]["n"] > 0 and found["goal"]["at_least"] == 0.6
    assert json.loads(rung("show", task, "--json")) == found
    assert "nearest" in rung("show", task)
    assert rung("ask", task, "the courier is late").startswith("delivery")
    assert "majority" in json.loads(rung("ask", task, "x", "--rung", "majority", "--json"))["model"]
    assert Path(rung("report", task).split("wrote ")[1].strip()).read_text().startswith("<!doctype html>")


def test_all_goes_on_after_the_goal_is_met(task: Path) -> None:
    found = json.loads(rung("climb", task, "--all", "--json"))
    assert [r["name"] for r in found["rungs"]] == ["majority", "nearest", "zero-shot"]


def test_a_rung_alone(task: Path) -> None:
    assert json.loads(rung("fit", task, "nearest", "--json"))["status"] == "done"
    assert "few-shot-similar" in rung("fit", task, "lorra", code=2)


def test_plan_and_check(task: Path) -> None:
    steps = json.loads(rung("plan", task, "--json"))["rungs"]
    assert [step["rung"] for step in steps] == ["majority", "nearest", "zero-shot"]
    assert all(step["quote"]["per_month_usd"] >= 0 for step in steps)
    assert json.loads(rung("check", task, "--json"))["blocking"] is False


def test_a_plan_asks_shows_and_remembers(task: Path) -> None:
    answers = "maybe\nyes\n" + 20 * "\n"  # maybe is no answer, and is asked again; the rest take the default
    done = command("plan", task, "--ask", "--json", typed=answers)
    found = {one["key"]: (one["value"], one["origin"]) for one in json.loads(done.stdout)["answers"]}
    assert found["external_knowledge"] == ("yes", "given") and found["changing"] == ("no", "given")
    assert "'maybe' is not one of yes, no" in done.stderr and "needs: {external_knowledge: yes" in done.stderr
    assert "first choice" in rung("plan", task) and "H100" in rung("plan", task, "--machine", "h100x8")
    assert rung("plan", task, "--mermaid").startswith("flowchart TD")
    assert "h200" in rung("plan", task, "--machine", "z80", code=2)
    assert json.loads(rung("plan", task, "--json"))["hindsight"] is None
    rung("climb", task, "--all")
    assert "plan and measurement" in rung("plan", task)
    assert {line["rung"] for line in json.loads(rung("plan", task, "--json"))["hindsight"]["lines"]} >= {"majority", "nearest"}
    rung("report", task)
    page = (task / "report.html").read_text()
    assert 'id="plan"' in page and page.count('class="flow ') == 2


def test_an_encoder_cannot_be_tried_without_labels(task: Path) -> None:
    write(task, kind="generate", goal="{at_least: 0.5}", rungs="[nearest, encoder]")
    skipped = [step for step in json.loads(rung("plan", task, "--json"))["rungs"] if step["skip"]]
    assert [(s["rung"], s["skip"]) for s in skipped] == [("encoder", "needs labels, which this task does not have")]


def test_init_writes_a_task_that_check_reads(tmp_path: Path, home: Path) -> None:
    for kind in ("classify", "multilabel", "extract", "answer", "generate"):
        folder = tmp_path / kind
        rung("init", folder, "--kind", kind)
        text = (folder / "rung.yaml").read_text()
        (folder / "rung.yaml").write_text(text.replace("smollm2-135m-instruct", "fake "))
        assert "block" in rung("check", folder, code=1)  # six rows decide nothing, and it says so
        assert "a task exists here already" in rung("init", folder, code=2)
        (folder / "rung.yaml").unlink()
        (folder / "data" / "examples.csv").write_text("mine")
        assert "README.md" in rung("init", folder, code=2)
        (folder / "README.md").unlink()
        assert "examples.csv" in rung("init", folder, code=2) and (folder / "data" / "examples.csv").read_text() == "mine"
        assert ("# documents: docs/" in text) == ("# source: source" in text) == (kind == "answer")
    assert "multilabel, extract, answer or generate" in rung("init", tmp_path / "x", "--kind", "sort", code=2)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volum": "3"}, "Did you mean 'volume'?"),
        ({"data": "{examples: rows.csv, input: txt, output: intent}"}, "text"),
        ({"data": "{examples: none.csv}"}, "none.csv"),
        ({"goal": "{metric: acuracy, at_least: 0.6}"}, "accuracy"),
        ({"rungs": "[zero]"}, "zero-shot"),
        ({"labels": "[refund, delivery]"}, "fault"),
        ({"methods": "{nearest: {speed: 3}}"}, "Known: rule"),
        ({"methods": "{neerest: {}}"}, "Did you mean nearest?"),
        ({"methods": "{lora: {rnk: 3}}"}, "Known: rank"),  # though it is not tried
        ({"labels": '["[refund]", "[/delay]"]'}, "is not one of [refund], [/delay]"),
        ({"base": "all-minilm-l6-v2"}, "an embedding model goes under `encoder`"),
    ],
)
def test_a_fault_is_one_sentence_with_its_remedy(task: Path, changes: dict[str, str], said: str) -> None:
    write(task, **changes)
    assert said in rung("climb", task, code=2)


def test_a_file_of_rows_is_answered(task: Path) -> None:
    rung("climb", task)
    (task / "new.csv").write_text("id,text\n1,the courier is late\n2,it hums and is dead\n")
    assert "2 rows, 0 without an answer" in rung("ask", task, "--rows", task / "new.csv", "--to", task / "out.jsonl")
    found = [json.loads(line) for line in (task / "out.jsonl").read_text().splitlines()]
    assert [(row["id"], row["answer"]) for row in found] == [("1", "delivery"), ("2", "fault")]
    rung("ask", task, "--rows", task / "out.jsonl", "--to", task / "again.csv", code=2)  # it has an answer already
    rung("ask", task, "--rows", task / "new.csv", "--to", task / "out.csv")
    assert (task / "out.csv").read_text().splitlines()[0] == "id,text,answer,confidence,error,abstained"
    assert not list(task.glob("*.part"))
    assert "either a text or --rows" in rung("ask", task, code=2)
    (task / "odd.csv").write_text("message\nhello\n")
    assert "no column 'text'" in rung("ask", task, "--rows", task / "odd.csv", "--to", task / "x.csv", code=2)


def test_an_answer_of_an_old_choice_says_so(task: Path) -> None:
    rung("climb", task)
    write(task, volume="7")
    assert "rung.yaml has changed" in command("ask", task, "the courier is late").stderr
    write(task, rungs="[majority]")
    rung("climb", task)
    assert "not shown to meet the goal" in command("ask", task, "the courier is late").stderr


def test_what_the_system_refuses_is_one_sentence_too(task: Path) -> None:
    rung("climb", task)
    assert "nowhere" in rung("report", task, "--to", task / "nowhere" / "report.html", code=2)
    assert "a task is a folder" in rung("init", task / "rows.csv", code=2)


def test_a_blocked_climb_tells_programs_why(task: Path) -> None:
    (task / "rows.csv").write_text("text,intent\n" + "".join(f"case {i},{'ab'[i % 2]}\n" for i in range(20)))
    done = command("climb", task, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["blocking"] and "few-dev-rows" in [one["code"] for one in found["findings"]]


def test_a_changed_task_says_so_when_shown(task: Path) -> None:
    rung("climb", task)
    rows = (task / "rows.csv").read_text()
    (task / "rows.csv").write_text(rows + "a new parcel,delivery\n")
    assert "the data have changed since" in command("show", task).stderr
    write(task, volume="7")
    assert "rung.yaml has changed since" in command("show", task).stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no SIGHUP")
def test_what_nohup_has_ignored_stays_ignored(home: Path) -> None:
    program = """
import signal, sys
from rung.cli.commands import main
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.argv = ["rung", "--version"]
try:
    main()
except SystemExit:
    print(signal.getsignal(signal.SIGHUP).name, signal.getsignal(signal.SIGTERM).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["SIG_IGN", "_stopped"]


def test_the_version_is_told(home: Path) -> None:
    assert rung("--version").strip() == __version__


def test_nothing_climbed_yet(task: Path) -> None:
    for words in (("show", task), ("report", task)):
        assert "rung climb" in rung(*words, code=2).replace("\n", " ")


def test_before_a_climb_a_rung_that_trains_nothing_answers(task: Path) -> None:
    done = command("ask", task, "the parcel delivery", "--json")
    assert json.loads(done.stdout)["output"] == "delivery"
    assert "few-shot answers" in done.stderr and "nothing was measured" in done.stderr
    rung("climb", task)
    assert "measured" not in command("ask", task, "the courier is late").stderr


def test_a_process_of_its_own_ends_with_the_same_words_and_code(task: Path) -> None:
    for words, code in ((["check", str(task), "--json"], 0), (["show", str(task)], 2)):
        done = subprocess.run([sys.executable, "-m", "rung.cli", *words], capture_output=True, text=True, check=False)
        here = command(*words)
        assert (done.returncode, done.stdout, done.stderr) == (here.returncode, here.stdout, here.stderr)
        assert done.returncode == code


def test_models_shows_whole_names_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [one["name"] for one in json.loads(rung("models", "--json"))]
    shown = rung("models").splitlines()
    assert names and all(any(line.startswith(f"{name} ") for line in shown) for name in names)
