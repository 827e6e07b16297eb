"""The shape of the code: imports go one way, torch stays in its folder, files and functions stay small, all is told."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from rung.methods import METHODS

SRC = Path(__file__).parents[1] / "src" / "rung"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("", "message", "rows", "types", "errors", "calls", "sources", "visible", "files", "signed", "marks"),
    ("task", "machine", "contention"),
    ("metrics",),
    ("data",),
    ("lm",),
    ("retrieve",),
    ("naming",),
    ("predictor",),
    ("runs", "measure"),
    ("race",),
    ("methods",),
    ("flowchart", "plan", "decide"),
    ("site",),
    ("fitting",),
    ("seal",),
    ("ladder", "tune"),
    ("preflight", "trust", "scaffold", "draft", "bulk", "terminal", "preview", "summary", "report"),
    ("cli",),
)
"""From the bottom up. A file imports from its own layer and from those before it, never from a later one."""

UPWARD = {("machine", "lm")}
"""The one import against the arrow, made late: measuring a machine takes torch."""

HEAVY = {"torch", "transformers", "peft", "sentence_transformers", "accelerate", "tokenizers", "gguf"}
SLOW = {"sklearn", "scipy", "pandas", "pyarrow", "rouge_score", "rapidfuzz"}
"""Taken late, inside functions: `import rung` and `rung --help` stay quick."""

LONGEST_FILE, LONGEST_FUNCTION = 350, 60
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()
"""What is still too long. To be shrunk, never to be added to."""

SILENT = {
    f"{file}:{function}"
    for file, functions in {
        "data/check.py": "blocking",
        "data/finding.py": "pair some",
        "data/labels.py": "label_findings",
        "data/leaks.py": "repeats contradictions",
        "data/near.py": "index",
        "measure/evaluate.py": "score",
        "lm/probe.py": "find_device",
        "lm/rules.py": "save_rows",
        "lm/vectors.py": "save_vectors load_vectors",
        "machine.py": "cpu_name",
        "measure/provenance.py": "packages gather",
        "terminal/form.py": "duration dollars size points",
        "terminal/shown.py": "findings leaderboard outcome",
    }.items()
    for function in functions.split()
}
"""Public functions whose name says it all, so far. Not to be added to."""

FILES = sorted(SRC.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def part(module: str) -> str:
    """rung.lm.tree and lm/tree.py are of the part lm; rung itself is of the part ''."""
    return module.removesuffix(".py").replace("/", ".").removeprefix("rung").strip(".").split(".")[0].replace("__init__", "")


def imports(path: Path, late: bool = True) -> set[str]:
    """Modules imported, with what is taken from `rung` itself as rung.NAME. `late`: those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree(path)) if late else _early(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"rung.{alias.name}" for alias in node.names} if node.module == "rung" else {node.module}
    return found


def _early(module: ast.Module) -> list[ast.AST]:
    """Everything that runs when the module is imported: not inside functions, not for type checkers only."""
    out: list[ast.AST] = []
    todo: list[ast.AST] = [module]
    while todo:
        node = todo.pop()
        out.append(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        todo += ast.iter_child_nodes(node)
    return out


def layer(of: str) -> int:
    found = [i for i, names in enumerate(LAYERS) if of in names]
    assert found, f"{of!r} stands in no layer: put it where it belongs in LAYERS"
    return found[0]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    own = part(name(path))
    for module in imports(path):
        if module.split(".")[0] != "rung" or module == "rung.__version__":
            continue
        other = part(module)
        if (own, other) not in UPWARD:
            assert layer(other) <= layer(own), f"{name(path)} imports {module}, which stands above it"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_torch_stays_in_its_folder(path: Path) -> None:
    if part(name(path)) != "lm":
        heavy = {module for module in imports(path) if module.split(".")[0] in HEAVY}
        assert not heavy, f"{name(path)} imports {heavy}"


@pytest.mark.parametrize("path", [p for p in FILES if part(name(p)) != "lm"], ids=name)
def test_what_is_slow_to_import_is_imported_late(path: Path) -> None:
    slow = {module for module in imports(path, late=False) if module.split(".")[0] in SLOW}
    assert not slow, f"{name(path)} imports {slow} at once"


LIGHT = {
    *(f"lm/remote/{one}.py" for one in ("__init__", "client", "engine", "house", "labels", "ledger", "prices")),
    *(f"lm/remote/{one}.py" for one in ("settings", "tokens", "wire", "bounded", "forms", "gate", "heard", "shapes")),
    "lm/__init__.py",
    "lm/asking.py",
    "lm/base.py",
    "lm/embed.py",
    "lm/encoder.py",
    "lm/engines.py",
    "lm/fake.py",
    "lm/layers.py",
    "lm/gguf.py",
    "lm/hub.py",
    "lm/models.py",
    "lm/openmp.py",
    "lm/quiet.py",
    "lm/reach.py",
    "lm/rules.py",
    "lm/thinking.py",
    "lm/vectors.py",
    "lm/wheels.py",
}
"""Files of lm that load no torch when they are imported."""


@pytest.mark.parametrize("path", [p for p in FILES if name(p) in LIGHT], ids=name)
def test_the_light_files_of_lm_stay_light(path: Path) -> None:
    assert not {module for module in imports(path, late=False) if module.split(".")[0] in HEAVY | SLOW}


def test_only_light_files_of_lm_are_taken_at_once() -> None:
    light = {f"rung.{file.removesuffix('.py').replace('/', '.')}" for file in LIGHT} | {"rung.lm", "rung.lm.remote"}
    for path in FILES:
        if part(name(path)) != "lm" or name(path) in LIGHT:
            taken = {module for module in imports(path, late=False) if module.startswith("rung.lm")}
            assert taken <= light, f"{name(path)} loads torch when it is imported"


@pytest.mark.parametrize("path", [p for p in FILES if part(name(p)) not in ("methods", "scaffold")], ids=name)
def test_no_method_is_named_outside_its_folder(path: Path) -> None:
    """Methods state what they need as data; nothing asks which one it has before it."""
    told = _docstrings(tree(path))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            if part(name(path)) == "lm" and node.value in ("majority", "nearest", "encoder"):
                continue  # there they are a rule's and an engine's own names
            assert node.value not in METHODS, f"{name(path)} line {node.lineno} names the method {node.value!r}"


def _docstrings(module: ast.Module) -> set[int]:
    return {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_opens_with_what_it_is(path: Path) -> None:
    first = (ast.get_docstring(tree(path)) or "").split("\n")[0]
    assert re.search(r"\.( https://\S+)?$", first), f"{name(path)} opens with {first!r}"


def test_files_are_short() -> None:
    long = {name(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE}
    assert long <= LONG_FILES, f"too long: {long - LONG_FILES}"
    assert long >= LONG_FILES, f"no longer too long, take it off the list: {LONG_FILES - long}"


def test_functions_are_short() -> None:
    long = {
        f"{name(path)}:{node.name}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    }
    assert long <= LONG_FUNCTIONS, f"too long: {long - LONG_FUNCTIONS}"


def test_public_functions_say_what_they_do() -> None:
    silent = {
        f"{name(path)}:{node.name}"
        for path in FILES
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and ast.get_docstring(node) is None
    }
    assert not silent - SILENT, f"no docstring on {', '.join(sorted(silent - SILENT))}"


def test_nothing_is_swallowed() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
                hides = all(isinstance(line, ast.Pass | ast.Continue) for line in node.body)
                assert not (broad and hides), f"{name(path)} line {node.lineno} hides whatever goes wrong"


def test_importing_rung_loads_nothing_heavy() -> None:
    code = (
        "import sys, rung.cli; print([m for m in ('torch', 'transformers', 'sklearn', 'scipy', 'pyarrow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"
