"""Writes those parts of the pages that the code itself knows: keys of rung.yaml, options of methods, known models.

A part stands between `<!-- generated: NAME -->` and `<!-- /generated -->`; what is around it is written by hand.
`python docs/generate.py` writes the parts anew, `python docs/generate.py --check` only says which pages are out of date.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from rung.advise.table import TABLE
from rung.lm.models.resolve import DEFAULT, KNOWN
from rung.machine_prices import list_price
from rung.methods import ENCODER_ROWS, ENCODER_TUNED, METHODS, RUNGS, TUNED, TUNED_ROWS, ZERO_SHOT
from rung.methods.base import Method, options
from rung.methods.option import describe, types
from rung.planning.machines import KINDS as KINDS_OF_MACHINE
from rung.task import Task
from rung.task.faults import section_of

DOCS = Path(__file__).parent
PART = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- /generated -->)", re.DOTALL)
BOUNDS = {"exclusiveMinimum": "over", "minimum": "from", "exclusiveMaximum": "under", "maximum": "to"}
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page that has generated parts: where, as it stands, and as it should stand."""
    for path in sorted(DOCS.rglob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = PART.sub(lambda found: f"{found[1]}{part(*found[2].split())}\n{found[3]}", old)
        if "<!-- generated:" in old:
            yield path, old, new


def part(name: str, *about: str) -> str:
    """One generated part: `task`, `options METHOD…`, `rungs`, `flowchart`, `machines` or `models`."""
    match name:
        case "task":
            return table(("key", "what", "default", "meaning"), keys(Task))
        case "options":
            return option_table([METHODS[one] for one in about], about)
        case "rungs":
            return table(("rung", "needs", "tried by default", "options"), map(rung_row, (ZERO_SHOT, *METHODS)))
        case "flowchart":
            return table(("family", "where", "advice", "bet", "why", "source"), rule_rows())
        case "machines":
            heads = ("name", "GPU", "10^12 operations a second, 16 bit", "8 bit", "32 bit", "memory", "US dollars an hour")
            return table(heads, machine_rows())
        case "models":
            return table(("name", "what", "parameters", "licence", "hub", "package index"), model_rows())
    raise SystemExit(f"there is no generated part {name!r}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; bars in the cells are escaped."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# The task file


def keys(model: type[BaseModel], front: str = "") -> Iterator[tuple[str, ...]]:
    """Every key of a part of rung.yaml, the keys under it straight after it."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        key, meaning = front + name, field.description or ""
        if inner := section_of(field.annotation):
            yield f"`{key}`", "keys below", "required" if field.is_required() else "", meaning
            yield from keys(inner, f"{key}.")
        else:
            yield f"`{key}`", kind(properties[name], field), default(field), meaning


def kind(schema: dict[str, Any], field: FieldInfo) -> str:
    """What a key takes, from its JSON schema. A validator that runs before the type lets a shorter form in."""
    shorter = any(isinstance(mark, BeforeValidator) for mark in field.metadata)
    if "anyOf" in schema:
        schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " | ".join(schema["enum"])
    match schema["type"]:
        case "array":
            return "text or list of texts" if shorter else "list of texts"
        case "object":
            return "list or mapping" if shorter else "mapping"
    bounds = [f"{word} {schema[name]}" for name, word in BOUNDS.items() if name in schema]
    return " ".join([KINDS[schema["type"]], *bounds])


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return "" if field.default in (None, "", (), {}) else f"`{field.default}`"


# Methods


def option_table(methods: Sequence[Method], names: Sequence[str]) -> str:
    """The options of methods of one class, with what each of the names sets them to."""
    of = type(methods[0])
    told, takes, found = meanings(of), types(of), [options(method) for method in methods]
    head = ("option", "takes", *(["default"] if len(names) == 1 else [f"`{name}`" for name in names]), "meaning")
    inherited = {name for one in of.__bases__ if is_dataclass(one) for name in types(one)}
    own_first = sorted(takes, key=inherited.__contains__)
    return table(head, ([f"`{key}`", describe(takes[key]), *(shown(one[key]) for one in found), told[key]] for key in own_first))


def meanings(of: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, its own before those of the classes it inherits from."""
    found: dict[str, str] = {}
    for one in (one for one in reversed(of.__mro__) if is_dataclass(one)):
        [body] = [node.body for node in ast.parse(inspect.getsource(one)).body if isinstance(node, ast.ClassDef)]
        found |= {
            field.target.id: " ".join(ast.literal_eval(text.value).split())
            for field, text in pairwise(body)
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
        }
    return found


def shown(value: Any) -> str:
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def rung_row(name: str) -> tuple[str, ...]:
    needs = "" if name == ZERO_SHOT else ", ".join(sorted(METHODS[name].needs))
    given = "" if name == ZERO_SHOT else ", ".join(f"`{option}`" for option in options(METHODS[name]))
    enough = {ENCODER_TUNED: ENCODER_ROWS, TUNED: TUNED_ROWS}.get(name)
    tried = f"from {enough} rows" if enough else "yes" if name in RUNGS else "no"
    return f"`{name}`", needs or "nothing", tried, given or "none"


# The flowchart and machines


def rule_rows() -> Iterator[tuple[str, ...]]:
    for name, rules in TABLE.items():
        for rule in rules:
            where = ", ".join(f"`{key}` {sign} {value}" for key, sign, value in rule.when) or "otherwise"
            cited = ", ".join(f"[{one}](https://arxiv.org/abs/{one})" if one[0].isdigit() else one for one in rule.sources)
            why = re.sub(r"{(\w+)}", r"`\1`", rule.why)
            yield name.value, where, rule.verdict, str(rule.bet), why, cited


def machine_rows() -> Iterator[tuple[str, ...]]:
    for name, kind in KINDS_OF_MACHINE.items():
        price = list_price("cuda", kind.title, 0)
        figures = (kind.tflops, kind.float8, kind.float32)
        yield f"`{name}`", kind.title, *(f"{one:g}" if one else "–" for one in figures), f"{kind.memory_gb:g} GB", f"{price:.2f}"


# Models


def model_rows() -> Iterator[tuple[str, ...]]:
    for model in KNOWN.values():
        name = f"`{model.name}`" + (" (the default `base`)" if model.name == DEFAULT else "")
        wheels = ", ".join(f"`{wheel}`" for wheel in model.wheels)
        yield name, model.what, f"{model.parameters / 1e6:.1f} M", model.licence, f"`{model.hub}`", wheels


def main(arguments: Sequence[str]) -> int:
    """Write what is out of date, or with --check only name it; 1 where a check finds something."""
    if stray := [one for one in arguments if one != "--check"]:
        raise SystemExit(f"unknown argument {stray[0]!r}; there is only --check")
    old = [(path, new) for path, before, new in pages() if before != new]
    for path, new in old:
        print(f"{'out of date' if arguments else 'wrote'}: {path.relative_to(DOCS.parent)}")
        if not arguments:
            path.write_text(new, encoding="utf-8")
    return 1 if arguments and old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
