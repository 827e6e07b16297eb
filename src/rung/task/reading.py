"""Reads the task file's YAML by YAML 1.2 rules, with line numbers of keys; duplicate keys are errors.

A task file may be hostile, so size, depth and number of values (with each use of an alias counted) are limited before anything
is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from rung.errors import TaskError
from rung.task.bounds import MAX_FILE_BYTES, Loader, TooLarge, check_size, read_file, shorten
from rung.task.broken import remedy

Node = yaml.MappingNode

REPARSE_CHARS = 20_000
"""Texts up to this length are parsed again for a better message."""

MAX_NUMBER = 1e15
"""Limit for prices, minutes and rates, so that sums and products stay finite."""

MAX_INTEGER = 2**63
"""Limit for integers. A longer one is a name or a mistake."""


def read_yaml(path: Path) -> tuple[Node, Any]:
    """The node tree with line marks, and the plain value. TaskError for a missing, broken or too large file."""
    text = _text(path)
    tree = _compose(text, path.name)
    _refuse_duplicates(tree, path.name)
    try:
        return tree, _Loader("").construct_document(tree)
    except yaml.YAMLError as error:
        raise _broken(error, path.name, text) from None


def read_value(text: str, where: str) -> Any:
    """A value from elsewhere, parsed as in the task file. TaskError if it is broken."""
    try:
        check_size(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise _broken(error, where, text) from None


def line_of(tree: Node, loc: tuple[int | str, ...]) -> int:
    """The line of the key or list item at `loc`, or of its closest existing parent."""
    node: yaml.Node = tree
    line = tree.start_mark.line + 1
    for part in loc:
        child = next((found for key, found in _children(node) if key == part), None)
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


class _Loader(Loader):  # type: ignore[misc, valid-type]  # chosen at run time
    """Plain scalars as in YAML 1.2: PyYAML's 1.1 rules read the label `no` as False and the rate `5e-4` as text.

    Only the tags of JSON values are known; numbers must fit a float or 64 bits.
    """


_TAG = "tag:yaml.org,2002:"
_PATTERNS = {
    "null": (r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    "int": (r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}
_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {
    f"{_TAG}{name}": yaml.SafeLoader.yaml_constructors[f"{_TAG}{name}"] for name in ("null", "str", "seq", "map")
} | {None: yaml.SafeLoader.yaml_constructors[None]}
for _name, (_pattern, _first) in _PATTERNS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^{_pattern}$"), _first)


def _add_scalar(name: str, made: Callable[[str], Any]) -> None:
    """Register a constructor for a tag, also if written out: `!!int abc` is an error with its line."""

    def construct(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
        text = loader.construct_scalar(node)
        try:
            if re.fullmatch(_PATTERNS[name][0], text) is None:
                raise ValueError(f"{shorten(text)!r} is not a valid {name}")
            return made(text)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None

    _Loader.add_constructor(f"{_TAG}{name}", construct)


def _whole(text: str) -> int:
    if len(text) > len(str(MAX_INTEGER)) + 1 or abs(value := int(text)) >= MAX_INTEGER:
        raise ValueError(f"the number {shorten(text)} has too many digits (if it is a name, put it in quotes)")
    return value


def _number(text: str) -> float:
    if not abs(value := float(text)) <= MAX_NUMBER:
        raise ValueError(f"the number {shorten(text)} is too large")
    return value


_add_scalar("int", _whole)
_add_scalar("float", _number)
_add_scalar("bool", lambda text: text.lower() == "true")


def _compose(text: str, name: str) -> Node:
    try:
        check_size(text)
        root = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        raise _broken(error, name, text) from None
    if root is None:
        raise TaskError("the file is empty.", where=f"{name} line 1", remedy="Add the keys task, kind, data and goal.")
    if not isinstance(root, yaml.MappingNode):
        raise TaskError("the file is not a mapping.", where=f"{name} line 1", remedy="Write lines of `key: value`.")
    return root


_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that YAML does not allow."""


def _text(path: Path) -> str:
    """The file's text. TaskError if it is not a file, too large, not UTF-8, or contains control characters."""
    content = read_file(path, MAX_FILE_BYTES)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TaskError("the file is in UTF-16.", where=f"{path.name} line 1", remedy="Save the file as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        where = f"{path.name} line {line}"
        raise TaskError(f"byte {error.start} is not UTF-8.", where=where, remedy="Save the file as UTF-8.") from None
    if barred := _FORBIDDEN.search(text):
        line = text.count("\n", 0, barred.start()) + 1
        raise TaskError(
            f"the character {barred.group()!r} is not allowed.", where=f"{path.name} line {line}", remedy="Remove it."
        )
    return text


def _broken(error: yaml.YAMLError, name: str, text: str) -> TaskError:
    error = _in_words(error, text)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    where = f"{name} line {mark.line + 1}" if mark else name
    if isinstance(error, TooLarge):
        return TaskError(f"{problem}.", where=where, remedy="A task file holds settings; keep data in separate files.")
    return TaskError(
        f"this is not valid YAML: {shorten(problem, 200)}.",
        where=where,
        remedy=remedy(problem, shorten(text.split("\n")[mark.line], 1000) if mark and mark.line <= text.count("\n") else ""),
    )


def _in_words(error: yaml.YAMLError, text: str) -> yaml.YAMLError:
    """The error of PyYAML's own parser, which is clearer than libyaml's, for short texts."""
    if len(text) > REPARSE_CHARS or isinstance(error, TooLarge):
        return error
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as plainer:
        return plainer
    return error


def _refuse_duplicates(root: yaml.Node, name: str) -> None:
    pending, seen_nodes = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen_nodes:  # aliases may form a cycle
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                pending.append(value)
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise TaskError("a key is a list or a mapping.", where=f"{name} line {line}", remedy="Write keys as text.")
                if str(key.value) in lines:
                    raise TaskError(
                        f"the key '{shorten(key.value)}' is given twice (first on line {lines[str(key.value)]}).",
                        where=f"{name} line {line}",
                        remedy="Keep one of them.",
                    )
                lines[str(key.value)] = line
