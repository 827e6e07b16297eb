"""The pages are true: their programs run, their commands and keys exist, their tables are those of the code."""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import re
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from rung.cli import app
from rung.data.load import load
from rung.lm.models.resolve import KNOWN
from rung.methods import METHODS, RUNGS, ZERO_SHOT, rung
from rung.metrics import METRICS
from rung.task import Task, load_task
from rung.task.cascade_names import with_parts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TICKETS = ROOT / "examples" / "tickets"
EXAMPLES = sorted(ROOT.glob("examples/*/README.md"))
PAGES = [ROOT / "README.md", ROOT / "README.zh.md", *EXAMPLES, *sorted(DOCS.rglob("*.md"))]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FAST = {"majority", "nearest", "zero-shot", "few-shot"}
"""Rungs whose commands are really run; those of the others are only parsed."""

DOCUMENTS = {"index", "search"}
"""Commands on a task with documents, which the example has none of: tests/cli/test_cli_knowledge.py runs them."""

SERVING = {"serve", "chat", "keys"}
"""Commands that run until they are stopped, or are about a server: tests/serve runs them."""

LABELLING = {"label"}
"""Asks a person, of rows without a label: tests/labelling runs it."""

COMMANDS = get_command(app)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text(encoding="utf-8")) if found == language]


def having(language: str) -> Any:
    return pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, language)], ids=name)


# --- both readmes -----------------------------------------------------------------------------------------------------


def test_both_readmes_have_the_same_blocks() -> None:
    english, chinese = (BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) for page in ("README.md", "README.zh.md"))
    assert english == chinese


def test_both_readmes_have_the_same_parts_and_links() -> None:
    english, chinese = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "README.zh.md"))
    for marks in (r"^#+ ", r"^- ", r"`[^`\n]+`"):
        found = [len(re.findall(marks, BLOCK.sub("", text), re.MULTILINE)) for text in (english, chinese)]
        assert found[0] == found[1], f"{marks}: {found[0]} in English, {found[1]} in Chinese"
    swapped = {"README.zh.md": "README.md"}
    assert {swapped.get(link, link) for link in LINK.findall(english)} == set(LINK.findall(chinese))


# --- rung.yaml --------------------------------------------------------------------------------------------------------


@having("yaml")
def test_task_files_are_accepted(page: Path, tmp_path: Path) -> None:
    for text in blocks(page, "yaml"):
        if "task" not in yaml.safe_load(text):  # some keys only: the rest is made up
            text += "".join(line for key, line in REST.items() if key not in yaml.safe_load(text))
        (tmp_path / "rung.yaml").write_text(text, encoding="utf-8")
        task = load_task(tmp_path)
        rungs = with_parts(task.rungs or RUNGS)
        for one in rungs:
            rung(one, task.methods)
        unused = set(task.methods) - {part for one in rungs for part in one.split("+")}
        assert not unused, f"options for {unused}, which no rung of the block has"
        write_rows(task)
        assert load(task).train


REST = {
    "task": "\ntask: What is it about?\n",
    "kind": "kind: classify\n",
    "data": "data: {examples: rows.csv}\n",
    "goal": "goal: {at_least: 0.8}\n",
}


def write_rows(task: Task) -> None:
    """Files of a few rows wherever the task names one."""
    label = next(iter(task.labels)) if task.labels else "10"
    if database := re.fullmatch(r"execution\((.+)\)", task.goal.metric):
        with sqlite3.connect(task.folder / database[1]) as made:
            made.execute("create table items (name text)")
        made.close()
    if task.tools:
        label = "[]"
        (task.folder / task.tools).write_text('[{"name": "get_weather"}]')
    row = {
        task.data.input: "a text",
        task.data.output: label,
        **{column: "g" for column in (task.data.group, task.data.source) if column},
    }
    for place in (*task.data.examples, *task.data.train, *task.data.dev, *task.data.test):
        path = task.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            if path.suffix == ".csv":
                writer = csv.DictWriter(file, row)
                writer.writeheader()
                writer.writerow(row)
            else:
                file.write(json.dumps(row) + "\n")


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def table() -> Iterator[None]:
    """The table of methods is put back as it was."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@having("python")
def test_programs_run_and_print_what_they_say(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    table: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A page's blocks run one after another in a module of its own. `print(x)  # [1 2]: y` promises `[1 2]`."""
    module = ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look their module up
    monkeypatch.chdir(tmp_path)
    whole = page.read_text(encoding="utf-8")
    for text in blocks(page, "python"):
        source = "\n" * whole[: whole.index(text)].count("\n") + text  # a traceback then names the page's own lines
        exec(compile(source, str(page), "exec"), module.__dict__)
    printed = " ".join(capsys.readouterr().out.split())
    promised = re.findall(r"^print\(.*\)  # ([\d(\[][^:\n]*)", "".join(blocks(page, "python")), re.MULTILINE)
    assert not [value for value in promised if value not in printed], printed


# --- commands ---------------------------------------------------------------------------------------------------------


def commands(page: Path) -> list[list[str]]:
    """The `rung` commands of a page, without comments, what they are fed, and where their output goes."""
    found = []
    for line in "\n".join(blocks(page, "bash")).splitlines():
        words = shlex.split(line, comments=True)
        words = words[words.index("|") + 1 :] if "|" in words else words
        words = words[: words.index(">")] if ">" in words else words
        if words and words[0] == "rung":
            found.append(words[1:])
    return found


def parsed(words: list[str]) -> dict[str, Any]:
    """The command's own parser, which refuses unknown options and missing arguments."""
    command = COMMANDS.commands.get(words[0])  # type: ignore[attr-defined]
    assert command, f"there is no command {words[0]!r}"
    try:
        return command.make_context(words[0], words[1:]).params
    except Exception as error:  # typer carries its own click, whose errors have no public name
        raise AssertionError(f"rung {shlex.join(words)}: {error}") from error


@having("bash")
def test_commands_exist(page: Path) -> None:
    goals = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in "\n".join(blocks(page, "bash")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert re.search(rf"^{words[1]}:", goals, re.MULTILINE), f"the Makefile has no {words[1]}"
    for words in commands(page):
        parsed(words)


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example task with the fast rungs only. Pages share it, and with it what was measured."""
    folder = tmp_path_factory.mktemp("docs") / "tickets"
    shutil.copytree(TICKETS, folder, ignore=shutil.ignore_patterns(".rung", "report.html"))
    task = (folder / "rung.yaml").read_text(encoding="utf-8")
    task = re.sub(r"^base:.*$", f"base: fake\nencoder: fake\nrungs: {json.dumps(sorted(FAST))}", task, flags=re.MULTILINE)
    (folder / "rung.yaml").write_text(task, encoding="utf-8")
    return folder


def invoke(words: list[str]) -> str:
    result = CliRunner().invoke(app, words, input="my card has not come")
    ends = {0, 3, 4} if words[0] in ("climb", "show") else {0}  # whatever becomes of the goal
    assert result.exit_code in ends, f"rung {shlex.join(words)}: {result.exception or result.output}"
    return result.output


@having("bash")
def test_fast_commands_run(page: Path, tickets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.chdir(tmp_path)
    if not (tickets / ".rung" / "decision.json").exists():  # the last that a climb writes
        invoke(["climb", str(tickets)])
    (tmp_path / "new.csv").write_text("text\nmy card has not come\n", encoding="utf-8")
    for words in commands(page):
        given = parsed(words)
        if (given.get("rung") and given["rung"] not in FAST) or words[0] in DOCUMENTS | SERVING | LABELLING or given.get("from_"):
            continue
        if "--on" in words or any(word.startswith("postgresql:") for word in words):  # a cluster, a server that is not there
            continue
        place = tmp_path / "new" if words[0] == "init" else tickets
        folder = str(given.get("folder") or given.get("for_"))
        invoke([str(place) if word == folder else word for word in words])


def test_the_json_of_a_climb_is_told(tickets: Path, home: Path) -> None:
    told = (DOCS / "records.md").read_text(encoding="utf-8")
    found = json.loads(CliRunner().invoke(app, ["climb", str(tickets), "--json"]).stdout)
    keys = {*found, *found["goal"], *found["rungs"][0], *found["comparisons"][0]}
    for part in ("score", "latency_ms", "cost"):
        keys |= set(found["rungs"][0][part])
    keys -= {"a", "b"}
    assert not [key for key in keys - {"name"} if f"`{key}`" not in told]


# --- what the code knows ----------------------------------------------------------------------------------------------


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current() -> None:
    old = [name(path) for path, before, after in generator().pages() if before != after]
    assert not old, f"run python docs/generate.py: {old}"


def test_the_generator_sees_a_stale_part() -> None:
    page = "<!-- generated: options encoder -->\nstale\n<!-- /generated -->"
    made = generator()
    new = made.PART.sub(lambda found: f"{found[1]}{made.part(*found[2].split())}\n{found[3]}", page)
    assert "stale" not in new
    assert "`strengths`" in new


def test_every_rung_metric_model_and_finding_is_told() -> None:
    def told(page: str) -> str:
        return (DOCS / page).read_text(encoding="utf-8")

    linked = " ".join(re.findall(r"^\| (\[`.+?\)) \|", told("methods/index.md"), re.MULTILINE))  # the first column
    assert not [one for one in (ZERO_SHOT, *METHODS) if f"`{one}`" not in linked]
    assert not [one for one in METRICS if f"- `{one}`:" not in told("task.md")]
    assert not [one for one in KNOWN if f"`{one}`" not in told("models.md")]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", told("data.md").split("## The check")[1], re.MULTILINE)) == finding_codes()
    options = {f"<!-- generated: options {' '.join(part)} -->" for part in options_by_class()}
    assert options == set(re.findall(r"<!-- generated: options .+? -->", "".join(page.read_text() for page in PAGES)))


def finding_codes() -> set[str]:
    """The first argument of every Finding that is made: a string, or a constant of its module."""
    found = set()
    for path in (ROOT / "src" / "rung").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {ast.unparse(one.targets[0]): one.value for one in tree.body if isinstance(one, ast.Assign)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                code = node.args[0]
                found.add(ast.literal_eval(constants[code.id] if isinstance(code, ast.Name) else code))
    return found


def options_by_class() -> list[list[str]]:
    by: dict[type, list[str]] = {}
    for one, method in METHODS.items():
        by.setdefault(type(method), []).append(one)
    return list(by.values())


# --- links ------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Headings as the renderers name them: lower case, signs dropped, blanks to hyphens."""
    heads = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name(page)} links to {link}, and there is no such heading"
        assert not page.is_relative_to(DOCS) or target.is_relative_to(DOCS), f"{link} leads out of the site"


def test_the_site_has_every_page() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def leaves(part: Any) -> Iterator[str]:
        if isinstance(part, str):
            yield part
        else:
            for inner in part if isinstance(part, list) else part.values():
                yield from leaves(inner)

    assert sorted(leaves(site["nav"])) == [page.relative_to(DOCS).as_posix() for page in sorted(DOCS.rglob("*.md"))]
