"""The task file's YAML: read by the rules of YAML 1.2, duplicate keys refused, and the line of every key known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rung.errors import TaskError
from rung.task.broken import remedy

Node = yaml.MappingNode


def read_yaml(path: Path) -> tuple[Node, Any]:
    """The tree with its line marks, and the plain value. TaskError where it is missing or broken."""
    tree = _compose(path)
    _refuse_duplicates(tree, path.name)
    try:
        return tree, _Loader("").construct_document(tree)
    except yaml.YAMLError as error:
        raise _broken(error, path.name) from None


def read_value(text: str, where: str) -> Any:
    """A value given elsewhere, read as the task file would. TaskError where it is broken."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _broken(error, where) from None


def line_of(tree: Node, loc: tuple[int | str, ...]) -> int:
    """The line of the key or list item at `loc`; where there is none, of what would hold it."""
    node: yaml.Node = tree
    line = tree.start_mark.line + 1
    for part in loc:
        child = dict(_children(node)).get(part)
        if child is None:
            break
        line, node = child
    return line


def _children(node: yaml.Node) -> Iterator[tuple[int | str, tuple[int, yaml.Node]]]:
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield index, (value.start_mark.line + 1, value)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield str(key.value), (key.start_mark.line + 1, value)


class _Loader(yaml.SafeLoader):
    """Plain scalars as in YAML 1.2: PyYAML's 1.1 rules read the label `no` as False and the rate `5e-4` as text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
    ("merge", r"^<<$", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _compose(path: Path) -> Node:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise TaskError(
            "there is no such file.",
            where=str(path),
            remedy="Give the folder that holds rung.yaml, or write one with the keys task, kind, data and goal.",
        ) from None
    except UnicodeDecodeError as error:
        raise TaskError(f"byte {error.start} is not UTF-8.", where=path.name, remedy="Save the file as UTF-8.") from None
    try:
        root = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        raise _broken(error, path.name) from None
    if root is None:
        raise TaskError("the file is empty.", where=path.name, remedy="It needs the keys task, kind, data and goal.")
    if not isinstance(root, yaml.MappingNode):
        raise TaskError("the file is no mapping.", where=f"{path.name} line 1", remedy="Write lines of `key: value`.")
    return root


def _broken(error: yaml.YAMLError, name: str) -> TaskError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return TaskError(
        f"this is no YAML: {problem}.",
        where=f"{name} line {mark.line + 1}" if mark else name,
        remedy=remedy(problem, _line(mark)),
    )


def _line(mark: yaml.Mark | None) -> str:
    """The line of the text that a mark points into."""
    lines = (mark.buffer or "").rstrip("\0").splitlines() if mark else []
    return lines[mark.line] if mark and mark.line < len(lines) else ""


def _refuse_duplicates(root: yaml.Node, name: str) -> None:
    pending, seen_nodes = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen_nodes:  # an alias may point back up
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                pending.append(value)
                line = key.start_mark.line + 1
                if str(key.value) in lines:
                    raise TaskError(
                        f"the key '{key.value}' stands there twice (first on line {lines[str(key.value)]}).",
                        where=f"{name} line {line}",
                        remedy="Keep one of them.",
                    )
                lines[str(key.value)] = line
