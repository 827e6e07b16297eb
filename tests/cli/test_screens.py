"""No text from outside reaches a terminal but through the consoles of rung.cli.screens.console."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import Terminal, styled

SRC = Path(__file__).parents[2] / "src" / "rung"
FILES = sorted(SRC.rglob("*.py"))
CONSOLE = SRC / "cli" / "screens" / "console.py"

BARRED_IMPORTS = {
    "rich.markup",
    "rich.status",
    "rich.panel",
    "rich.progress",
    "rich.prompt",
    "rich.spinner",
    "rich.markdown",
    "rich",
}
"""What reads markup from a string by itself, or prints to a console of its own."""

PRINTS = {
    "visible.py": 1,
    "api/notices.py": 1,
    "metrics/sql_child.py": 1,
    "climbing/executors/order.py": 1,
    "climbing/executors/ray_worker.py": 1,
    "data/crew.py": 2,
}
"""Calls of print: of a text that went through `visible`, or of numbers and JSON that a worker sends to its parent process."""

WRITES = {
    "cli/common.py": 1,
    "cli/plan.py": 1,
    "cli/label.py": 2,
    "cli/screens/console.py": 2,
    "retrieve/formats/isolated.py": 1,
}
"""Writes to standard output or error: JSON by `json_text`, a `visible` text, a printable key that was typed, a reader's answer
to its parent process."""

NASTY = "[red]x[ [/] \x1b]52;c;aGk=\x07 \x9b2J \u202eevil\u2069 \U000e0041 :smile: \ud800 [link=file:///]y"


def _calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def _imported(path: Path) -> set[str | None]:
    """Modules that a file imports, by name."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom)}


def test_nothing_prints_by_itself() -> None:
    for path in FILES:
        if path == CONSOLE:
            continue
        name = path.relative_to(SRC).as_posix()
        assert not _imported(path) & BARRED_IMPORTS, f"{name}: use rung.cli.screens.console"
        said = [ast.unparse(call.func) for call in _calls(path)]
        assert "Console" not in said, f"{name}: print to `out` or `err` of rung.cli.screens.console"
        assert not [one for one in said if one.endswith(("from_markup", "from_ansi", ".echo", ".secho"))], name
        assert said.count("print") == PRINTS.get(name, 0), name
        assert len([one for one in said if re.search(r"(stdout|stderr)\.(buffer\.)?write", one)]) == WRITES.get(name, 0), name


def test_styles_stand_in_literals_alone() -> None:
    files = [path for path in FILES if "rung.cli.screens.console" in path.read_text("utf-8")]
    styling = [(path, call) for path in files for call in _calls(path) if ast.unparse(call.func) in ("styled", "joined")]
    assert styling
    for path, call in styling:
        assert isinstance(call.args[0], ast.Constant), f"{path} line {call.lineno}: the template is no literal"


def test_markup_stands_in_templates_alone() -> None:
    for path in [path for path in FILES if path.parent.name in ("cli", "screens")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
        templates = [call.args[0] for call in calls if ast.unparse(call.func) == "styled"]
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and "[/]" in node.value
                and not _documents(tree, node)
            ):
                assert node in templates, f"{path} line {node.lineno}: consoles read no markup; use `styled`"


def _documents(tree: ast.AST, node: ast.Constant) -> bool:
    """Whether a constant is a docstring."""
    return any(isinstance(one, ast.Expr) and one.value is node for one in ast.walk(tree))


def _drawn(thing: object, **options: object) -> str:
    file = io.StringIO()
    Terminal(file=file, width=200, **options).print(thing)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [False, True], ids=["piped", "terminal"])
@pytest.mark.parametrize("how", ["text", "styled", "cell", "header", "a Text", "a Text in a cell", "title"])
def test_a_nasty_text_is_shown_and_steers_nothing(how: str, terminal: bool) -> None:
    table = Table("a", "b")
    things = {
        "text": NASTY,
        "styled": styled("[bold]{}[/] and {}", NASTY, styled("[red]{}[/]", NASTY)),
        "cell": table,
        "header": Table(NASTY),
        "a Text": Text(NASTY, "red"),
        "a Text in a cell": table,
        "title": Table("a", title=NASTY),
    }
    if "cell" in how:
        table.add_row(NASTY if how == "cell" else Text(NASTY), "b")
    shown = _drawn(things[how], force_terminal=terminal, color_system="truecolor" if terminal else None)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown) if terminal else shown
    assert not set(plain) & {"\x1b", "\x9b", "\x07", "\u202e", "\u2069", "\U000e0041", "\ud800"}
    if how != "title":  # wrapped
        assert "[red]x[ [/] \\x1b]52;c;aGk=" in plain and ":smile:" in plain and "\\u202eevil" in plain


def test_styles_of_the_template_hold_and_values_keep_theirs() -> None:
    made = styled("[bold]{}[/] {}", "a[dim]", Text("b", "red"))
    assert made.plain == "a[dim] b"
    assert [(span.start, span.end, str(span.style)) for span in made.spans] == [(0, 6, "bold"), (7, 8, "red")]
