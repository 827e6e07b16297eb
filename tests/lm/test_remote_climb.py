"""A whole climb on a base behind an API, over real sockets: rungs, costs, budget, and what is kept of the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from commands import command, ended
from servers import FAILING, STREAMS, Odd, Server, completion, serving, slow
from typer.testing import CliRunner

from rung.cli import app
from rung.errors import TaskError
from rung.task import load_task

WORDS = {"refund": ["money", "back", "repay"], "delivery": ["parcel", "courier", "late"], "fault": ["broken", "hums", "dead"]}
KEY = "sk-secret-0123456789"


def answer(body: dict[str, Any]) -> tuple[str, int, int]:
    """Right where a demonstration has shown it; without any, the first label."""
    text = body["messages"][-1]["content"]
    label = next(label for label, words in WORDS.items() if any(word in text for word in words))
    shown = [m["content"] for m in body["messages"] if m["role"] == "assistant"]
    return json.dumps({"label": label if label in shown else "fault"}), 100 + 10 * len(shown), 5


@pytest.fixture
def task(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    folder = tmp_path / "task"
    folder.mkdir()
    rows = [f'"my {word} case {i} {label[0]}{i}",{label}' for i in range(10) for label, words in WORDS.items() for word in words]
    (folder / "rows.csv").write_text("input,output\n" + "\n".join(rows) + "\n")
    monkeypatch.setenv("RUNG_TEST_KEY", KEY)

    def made(server: Server, **changes: str) -> Path:
        keys = {
            "task": "Name the intent.",
            "kind": "classify",
            "data": "{examples: rows.csv}",
            "base": f'"{server.url}#m"',
            "rungs": "[zero-shot, few-shot]",
            "goal": "{at_least: 0.8}",
            "api": "{key_env: RUNG_TEST_KEY, retries: 3}",
            "prices": "{m: {input: 2.0, output: 10.0}}",
        } | changes
        (folder / "rung.yaml").write_text("".join(f"{key}: {value}\n" for key, value in keys.items()))
        return folder

    return made


def climb(folder: Path, code: int = 0) -> dict[str, Any]:
    done = command("climb", folder, "--json")
    got = done.returncode if code else ended(("climb",), done.returncode)
    assert got == code, done.stdout + done.stderr
    assert KEY not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_a_climb_over_http(task: Callable[..., Path]) -> None:
    with serving(Server(cycle(["ok"] * 9 + ["500", "garbage"]), answer)) as server:
        folder = task(server)
        found = climb(folder)
        rungs = {rung["name"]: rung for rung in found["rungs"]}
        assert found["chosen"] == "few-shot" and rungs["zero-shot"]["score"]["value"] < 0.6
        assert rungs["zero-shot"]["cost"]["per_1k_usd"] == pytest.approx(1000 * (100 * 2.0 + 5 * 10.0) / 1e6)
        assert rungs["few-shot"]["cost"]["per_1k_usd"] > 1.5 * rungs["zero-shot"]["cost"]["per_1k_usd"]
        sent = server.moves.total()
        assert climb(folder) == found and server.moves.total() == sent, "measured once, paid once"
        records = [json.loads(line) for line in (folder / ".rung" / "records.jsonl").read_text().splitlines()]
        booked = records[-1]["provenance"]["api"]
        assert booked["usd"] <= server.tokens_in * 2e-6 + server.tokens_out * 10e-6 + 1e-9
    for path in folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def run(*words: str | Path) -> str:
    """A command in this very process: quicker than one of its own."""
    done = CliRunner().invoke(app, [*map(str, words)], catch_exceptions=False)
    assert ended(words, done.exit_code) == 0, done.output
    return done.stdout


def test_one_ladder_with_a_local_and_a_remote_base(task: Callable[..., Path]) -> None:
    with serving(Server(answer=answer)) as server:
        far = f"{server.url}#m"
        folder = task(server, bases=f'[fake, "{far}"]', rungs="[majority, zero-shot, few-shot]", goal="{at_least: 0.8}")
        text = (folder / "rung.yaml").read_text()
        (folder / "rung.yaml").write_text("".join(line for line in text.splitlines(True) if not line.startswith("base:")))
        found = climb(folder)
        rungs = {rung["name"]: rung for rung in found["rungs"]}
        assert {name: rung["base"] for name, rung in rungs.items()} == {
            "majority": None,
            "zero-shot": "fake",
            "few-shot": "fake",
            "zero-shot@m": far,
            "few-shot@m": far,
        }
        assert list(rungs)[-1] == found["chosen"] == "few-shot@m", "the dearest is tried last"
        assert rungs["zero-shot@m"]["cost"]["per_1k_usd"] == pytest.approx(1000 * (100 * 2.0 + 5 * 10.0) / 1e6)
        assert rungs["zero-shot"]["cost"]["per_1k_usd"] < rungs["zero-shot@m"]["cost"]["per_1k_usd"]
        sent = server.moves.total()
        assert climb(folder) == found == json.loads(run("show", folder, "--json")) and server.moves.total() == sent
        said = f"rungs without @ on fake, @m on {far}"
        assert said in " ".join(run("show", folder).split()) and said in " ".join(run("plan", folder).split())
        plan = json.loads(run("plan", folder, "--json"))
        assert {step["rung"]: step["base"] for step in plan["rungs"]}["few-shot@m"] == far
        assert {line["rung"] for line in plan["hindsight"]["lines"]} == set(rungs)
        assert run("ask", folder, "my parcel").startswith("delivery")
        assert json.loads(run("ask", folder, "my parcel", "--rung", "zero-shot@m", "--json"))["model"] == far
        assert json.loads(run("ask", folder, "my parcel", "--rung", "zero-shot", "--json"))["model"] == "fake"
        assert json.loads(run("fit", folder, "few-shot@m", "--json"))["rung"] == "few-shot@m"
        assert json.loads(run("fit", folder, "few-shot", "--json"))["rung"] == "few-shot"
        run("report", folder)
    page = (folder / "report.html").read_text()
    assert said in page and "<option" in page and "few-shot@m" in page
    records = [json.loads(line) for line in (folder / ".rung" / "records.jsonl").read_text().splitlines()]
    assert len({record["provenance"]["base"] for record in records}) == 2 and len({record["rung"] for record in records}) == 5


def test_training_needs_weights(task: Callable[..., Path]) -> None:
    with serving(Server(answer=answer)) as server:
        found = climb(task(server, rungs="[lora, zero-shot]"))
    skipped = {rung["name"]: rung["reason"] for rung in found["rungs"] if rung["status"] == "skipped"}
    assert skipped == {"lora": "needs open weights, which this task does not have"}


def test_the_budget_ends_a_rung_and_a_larger_one_goes_on(task: Callable[..., Path]) -> None:
    with serving(Server(answer=answer)) as server:
        stopped = climb(task(server, budget="{calls: 10}", rungs="[zero-shot]"), code=4)
        assert stopped["verdict"] == "undecided" and stopped["not_measured"] == ["zero-shot"]
        assert server.moves.total() == 10
        assert stopped["rungs"][0]["status"] == "skipped" and "calls are limited to 10" in stopped["rungs"][0]["reason"]
        found = climb(task(server, budget="{calls: 1000, usd: 1}", rungs="[zero-shot]"))
        assert found["rungs"][0]["status"] == "done"
    assert set(server.answered.values()) == {1}


def test_rows_that_failed_are_asked_again_by_the_next_climb(task: Callable[..., Path]) -> None:
    with serving(Server(["ok", *["500"] * 4], answer)) as server:
        folder = task(server, rungs="[zero-shot]", api="{retries: 1, concurrency: 1}")
        first = climb(folder)
        second = climb(folder)
    assert first["rungs"][0]["score"]["n"] == second["rungs"][0]["score"]["n"]
    errors = [json.loads(line)["provenance"]["again"] for line in (folder / ".rung" / "records.jsonl").read_text().splitlines()]
    assert errors == [2, 0] and set(server.answered.values()) == {1}


def test_data_that_may_not_leave_does_not(task: Callable[..., Path]) -> None:
    with serving(Server()) as server:
        folder = task(server, base='"https://models.example.org/v1#m"', needs='{data_may_leave: "no"}')
    done = command("plan", folder)
    assert done.returncode == 2 and "needs.data_may_leave is no" in done.stderr.replace("\n", " ")


def test_task_keys(task: Callable[..., Path]) -> None:
    with serving(Server()) as server:
        folder = task(server, prices="{m: {input: 1, output: 2, cached: 0.5}, n: {input: 1, outptu: 2}}")
    with pytest.raises(TaskError, match="Did you mean 'output'") as error:
        load_task(folder)
    assert "'prices.n'" in str(error.value) and "prices.n.output" in str(error.value)


@pytest.mark.parametrize("given", [KEY, f"[{KEY}]", f'"{KEY} "', "0123", '"a b"'])
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_told(task: Callable[..., Path], given: str) -> None:
    with serving(Server()) as server:
        folder = task(server, api=f"{{key_env: {given}}}")
    with pytest.raises(TaskError, match=r"'api.key_env': this is not a variable name") as error:
        load_task(folder)
    assert KEY not in str(error.value) + repr(error.value)


def test_a_quote_of_an_endpoint_learns_its_time_and_keeps_its_price(task: Callable[..., Path]) -> None:
    with serving(Server(answer=slow(answer, 0.05))) as server:
        folder = task(server, rungs="[zero-shot]")
        first = json.loads(run("plan", folder, "--json"))["rungs"][0]
        climb(folder)
        then = json.loads(run("plan", folder, "--json"))["rungs"][0]
    assert first["quote"]["row_seconds"] == 1.0 and first["scale"]["runs"] == 0
    assert then["raw_quote"] == first["quote"] and then["scale"]["runs"] == 1
    assert then["quote"]["row_seconds"] < 0.5 and then["quote"]["per_1k_usd"] == first["quote"]["per_1k_usd"]


@pytest.mark.parametrize("way", ["all refused", "null content", "filtered"])
def test_a_broken_endpoint_leaves_a_rung_undecided(way: str, task: Callable[..., Path]) -> None:
    with serving(Odd(FAILING[way])) as server:
        folder = task(server, rungs="[zero-shot]", api="{retries: 1}")
        found = climb(folder, code=4)
        [rung] = found["rungs"]
        assert found["verdict"] == rung["verdict"] == "undecided" and "the first 8 of" in rung["why"]
        assert server.moves.total() < 40, "it stops early"
        done = CliRunner().invoke(app, ["fit", str(folder), "zero-shot"])
        assert (
            done.exit_code == 1 and "undecided" in done.output and "all failed in the same way" in " ".join(done.output.split())
        )


def test_ask_works_where_fit_does(task: Callable[..., Path]) -> None:
    for way in ("options refused", "no finish, no DONE", "one JSON"):
        whole = lambda body, way=way: STREAMS[way](body) if body.get("stream") else (200, completion("something"))  # noqa: E731
        with serving(Odd(whole)) as server:
            folder = task(
                server, kind="generate", rungs="[zero-shot]", goal="{metric: token_f1, at_least: 0.1}", api="{retries: 1}"
            )
            assert json.loads(run("fit", folder, "zero-shot", "--json"))["status"] == "done"
            assert run("ask", folder, "any text", "--rung", "zero-shot").strip() == "something"


def reader(body: dict[str, Any]) -> tuple[str, int, int]:
    """Finds the part that the question names, reads its document, and answers with the document's second line."""
    messages = body["messages"]
    if "response_format" not in body:
        lines = messages[-1]["content"].splitlines()
        return (lines[2] if len(lines) > 3 else "I don't know"), 30, 5
    part = messages[1]["content"].split()[-2]
    turns = [("grep", "", part), ("read", f"docs/{part}.md", ""), ("done", "", "")]
    do, path, text = turns[len(messages) // 2 - 1]
    return json.dumps({"do": do, "path": path, "text": text, "part": 1}), 100, 10


@pytest.fixture
def documented(task: Callable[..., Path], encoder: Path) -> Callable[..., Path]:
    """A task with a document for each of twenty parts, and six questions for each document."""

    def made(server: Server, **changes: str) -> Path:
        data = "{examples: rows.csv, documents: [docs/]}"
        folder = task(
            server, kind="answer", encoder=str(encoder), data=data, goal="{metric: exact_match, at_least: 0.5}", **changes
        )
        parts = [f"part{a}{b}" for a in "abcde" for b in "klmn"]
        facts = {part: f"The {part} is guaranteed for {i + 2} years." for i, part in enumerate(parts)}
        (folder / "docs").mkdir()
        for part, fact in facts.items():
            (folder / "docs" / f"{part}.md").write_text(f"# {part}\n\n{fact}\n")
        askers = ("Ann", "Bob", "Cem", "Dee", "Eli", "Fay")
        rows = [f"{asker} asks how long is the {part} guaranteed,{fact}" for asker in askers for part, fact in facts.items()]
        (folder / "rows.csv").write_text("\n".join(["input,output", *rows]))
        return folder

    return made


def test_a_model_behind_an_api_looks_through_the_documents(documented: Callable[..., Path]) -> None:
    with serving(Server(answer=reader)) as server:
        found = climb(documented(server, rungs="[agent-search]"))
        [rung] = found["rungs"]
        assert rung["score"]["value"] == 1.0
        assert any("response_format" in body for body in server.bodies)
        assert rung["cost"]["per_1k_usd"] == pytest.approx(1.01), "three turns of 100 and 10 tokens, and the answer's 30 and 5"


def test_agent_search_is_tried_on_models_behind_an_api(documented: Callable[..., Path]) -> None:
    with serving(Server(answer=reader)) as server:
        folder = documented(server, rungs="[]")
        text = (folder / "rung.yaml").read_text().replace("rungs: []\n", "")
        for base, tried in ((f"{server.url}#m", True), ("fake", False)):
            (folder / "rung.yaml").write_text(text.replace(f"{server.url}#m", base))
            planned = json.loads(command("plan", folder, "--json").stdout)
            assert ("agent-search" in [step["rung"] for step in planned["rungs"]]) == tried, planned
