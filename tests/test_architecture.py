"""The shape of the code: imports go one way and in no circle, torch stays in its folder, methods are named in theirs alone."""

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
    (
        "",
        "version",
        "measurements",
        "message",
        "rows",
        "types",
        "decisions",
        "errors",
        "calls",
        "label_sets",
        "tools",
        "tool_schemas",
        "sources",
        "visible",
        "files",
        "sqlite_transaction",
        "signed",
        "marks",
        "plugins",
        "home",
        "hardware",
    ),
    ("task", "machine", "machine_prices", "contention"),
    ("metrics",),
    ("claims",),
    ("data",),
    ("lm",),
    ("retrieve",),
    ("naming",),
    ("predictor",),
    ("store", "evaluate"),
    ("sequential", "selective"),
    ("methods",),
    ("advise", "planning"),
    ("climbing", "tune"),
    ("labelling",),
    ("init", "answer_rows", "trust", "report", "export"),
    ("serve",),
    ("cli",),
    ("api",),
)
"""Folders and files of `rung`, from the bottom up. Each imports from its own layer and from those before it."""

HEAVY = {"torch", "transformers", "peft", "sentence_transformers", "accelerate", "tokenizers", "gguf"}
SLOW = {"sklearn", "scipy", "pandas", "pyarrow", "rouge_score", "rapidfuzz"}
"""Imported late, inside functions: `import rung` and `rung --help` stay quick."""

FILES = sorted(SRC.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def module_name(path: Path) -> str:
    return ".".join(("rung", *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(module: str) -> str:
    """The folder or file directly under `rung` that a module belongs to: rung.lm.trees.tree is of lm."""
    return [*module.split("."), ""][1]


@cache
def imports(path: Path, late: bool = True) -> frozenset[str]:
    """Modules imported: those of rung by their whole name. `late`: those inside functions too."""
    found: set[str] = set()
    for node in ast.walk(tree(path)) if late else _early(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {one if one in MODULES else node.module for one in whole}
    return frozenset(found)


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


@cache
def loaded(module: str) -> frozenset[str]:
    """Everything that importing a module of rung loads, directly and through other modules of rung."""
    found: set[str] = set()
    todo = [module]
    while todo:
        one = todo.pop()
        if one in found:
            continue
        found.add(one)
        if one in MODULES:
            parents = [".".join(one.split(".")[:k]) for k in range(1, one.count(".") + 1)]
            todo += [*imports(MODULES[one], late=False), *parents]
    return frozenset(found)


def layer(of: str) -> int:
    found = [i for i, names in enumerate(LAYERS) if of in names]
    assert found, f"{of!r} stands in no layer: put it where it belongs in LAYERS"
    return found[0]


FRONT = SRC / "__init__.py"
"""Names what is public, which is all in `rung.api`."""


def test_imports_go_one_way() -> None:
    upward = [
        f"{name(path)} imports {module}, which stands above it"
        for path in FILES
        if path != FRONT
        for module in imports(path)
        if module.split(".")[0] == "rung" and layer(room(module)) > layer(room(module_name(path)))
    ]
    assert not upward


def test_the_front_names_the_api_and_nothing_else() -> None:
    assert {module for module in imports(FRONT) if module.startswith("rung")} == {"rung.api", "rung.version"}


@pytest.mark.parametrize("inside", ["rung", "rung.lm"])
def test_no_folders_import_each_other_in_a_circle(inside: str) -> None:
    depth = inside.count(".") + 1
    arrows: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        own = module.split(".")[: depth + 1]
        for other in imports(path):
            if module.startswith(f"{inside}.") and other.startswith(f"{inside}.") and own != other.split(".")[: depth + 1]:
                arrows.setdefault(own[depth], set()).add(other.split(".")[depth])
    assert not (circle := _circle(arrows)), f"in {inside}: {' -> '.join(circle)}"


def test_no_files_import_each_other_in_a_circle() -> None:
    arrows = {module: {one for one in imports(path) if one in MODULES and one != module} for module, path in MODULES.items()}
    assert not (circle := _circle(arrows)), " -> ".join(circle)


def _circle(arrows: dict[str, set[str]]) -> list[str]:
    """A circle among the arrows, its first member repeated at the end; empty where there is none."""
    done: set[str] = set()

    def follow(one: str, way: list[str]) -> list[str]:
        if one in way:
            return [*way[way.index(one) :], one]
        if one in done:
            return []
        found = next((circle for other in sorted(arrows.get(one, ())) if (circle := follow(other, [*way, one]))), [])
        done.add(one)
        return found

    return next((circle for one in sorted(arrows) if (circle := follow(one, []))), [])


def test_a_circle_is_found() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _circle({"a": {"b", "c"}, "b": {"c"}}) == []


OUTSIDE_LM = [path for path in FILES if room(module_name(path)) != "lm"]


def test_torch_stays_in_its_folder() -> None:
    assert not [
        f"{name(path)} imports {module}" for path in OUTSIDE_LM for module in imports(path) if module.split(".")[0] in HEAVY
    ]


def test_what_is_slow_to_import_is_imported_late() -> None:
    assert not [
        f"importing {name(path)} loads {module}"
        for path in OUTSIDE_LM
        for module in sorted(loaded(module_name(path)))
        if module.split(".")[0] in HEAVY | SLOW
    ]


def methods_named(path: Path) -> list[str]:
    """Places in a file that name a method, outside its docstrings."""
    nodes = list(ast.walk(tree(path)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    names = set(METHODS)
    if room(module_name(path)) == "lm":
        names -= {"majority", "nearest", "encoder"}  # there they are a rule's and an engine's own names
    return [
        f"{name(path)} line {node.lineno} names the method {node.value!r}"
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings and node.value in names
    ]


def test_a_search_imports_no_methods_and_no_readers() -> None:
    found = loaded("rung.climbing.project") | loaded("rung.retrieve.lookup")
    assert [
        one for one in found if re.match(r"rung\.(methods|advise|data\.check|retrieve\.formats\.(docx|pdf|sheets))", one)
    ] == []


def test_no_method_is_named_outside_its_folder() -> None:
    """Methods state what they need as data; nothing asks which one it has before it."""
    assert not [place for path in FILES if room(module_name(path)) != "methods" for place in methods_named(path)]
    assert methods_named(SRC / "methods" / "lora.py"), "nothing is found where methods are named"


def test_a_file_opens_with_what_it_is() -> None:
    first = {name(path): (ast.get_docstring(tree(path)) or "").split("\n")[0] for path in FILES}
    assert not {path: line for path, line in first.items() if not re.search(r"\.( https://\S+)?$", line)}


def test_nothing_is_swallowed() -> None:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
                hides = all(isinstance(line, ast.Pass | ast.Continue) for line in node.body)
                assert not (broad and hides), f"{name(path)} line {node.lineno} hides whatever goes wrong"


WRITES = {"save_file", "savez", "os.rename", "shutil.move", "np.save"}
"""Functions that write or rename files."""
WRITING_METHODS = {"write_text", "write_bytes", "save_pretrained", "tofile", "rename"}
"""Methods that do."""
WRITTEN_INTO = re.compile(r"# written into: \S")
"""Marks a write into a folder that appears whole later, or outside any folder of rung's, and says which."""


def writes(call: ast.Call) -> bool:
    """Whether a call opens a file for writing, writes one or renames one, other than through rung.files."""
    where, _, called = ast.unparse(call.func).rpartition(".")
    if where.split(".")[-1] == "files":
        return False
    if called == "open":
        mode = [*call.args, *(one.value for one in call.keywords if one.arg in ("mode", "flags"))]
        flags = " ".join(ast.unparse(one) for one in mode)
        text = {one.value for one in mode if isinstance(one, ast.Constant) and isinstance(one.value, str)}
        return any(re.fullmatch(r"[rbt]*[wax+][wax+rbt]*", one) for one in text) or bool(
            re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)", flags)
        )
    if called == "replace":  # of a path: a text's takes two arguments, a value's takes names
        return where == "os" or (bool(where) and len(call.args) == 1 and not call.keywords)
    return bool({called, f"{where}.{called}"} & WRITES) or (bool(where) and called in WRITING_METHODS)


def written_elsewhere(module: ast.Module, text: str) -> list[int]:
    """Lines that write or rename a file, outside a block of rung.files and without a mark that says why that is safe."""
    inside = {
        id(node)
        for block in ast.walk(module)
        if isinstance(block, ast.With) and any(re.match(r"files\.whole(_folder)?\(", ast.unparse(one)) for one in block.items)
        for node in ast.walk(block)
    }
    lines = text.splitlines()
    return [
        node.lineno
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and writes(node) and id(node) not in inside
        if not any(WRITTEN_INTO.search(line) for line in lines[node.lineno - 1 : node.end_lineno])
    ]


def test_one_file_writes_files() -> None:
    """Files are written whole or not at all, which takes care: rung.files has it, and all others call it."""
    others = [path for path in FILES if path != SRC / "files.py"]
    found = {name(path): written_elsewhere(tree(path), path.read_text(encoding="utf-8")) for path in others}
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text(a)",
        "path.open('w')",
        "path.open('r+b')",
        "open(a, mode='ab')",
        "os.open(a, os.O_RDWR)",
        "part.replace(path)",
        "os.rename(a, b)",
        "np.save(a, b)",
        "model.save_pretrained(a)",
        "path.write_text(a)  # written into:",
    ],
)
def test_a_write_elsewhere_is_found(code: str) -> None:
    assert written_elsewhere(ast.parse(code), code) == [1]


@pytest.mark.parametrize(
    "code",
    [
        "files.write_text(path, a)",
        "path.open('rb')",
        "os.open(a, os.O_RDONLY)",
        "text.replace('a', 'b')",
        "replace(a, b=1)",
        "with files.whole(path) as part:\n    save_file(a, part)",
        "path.write_text(a)  # written into: a test",
    ],
)
def test_other_code_is_no_write_elsewhere(code: str) -> None:
    assert not written_elsewhere(ast.parse(code), code)


def test_importing_rung_loads_nothing_heavy() -> None:
    code = (
        "import sys, rung.cli; print([m for m in ('torch', 'transformers', 'sklearn', 'scipy', 'pyarrow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports each by its name alone, so a second one of a name is not collected."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
