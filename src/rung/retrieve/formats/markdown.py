"""Markdown and Quarto: the source itself, cut at its blocks, so that a citation's lines are the text. https://commonmark.org"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from rung.retrieve.formats.blocks import LONGEST_HEADING, Blocks

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

KINDS: dict[str, Literal["text", "table", "code"]] = {"fence": "code", "code_block": "code", "table_open": "table"}
LONGEST_FRONT = 200
"""Lines of front matter that are read as YAML, whose reader is slow; longer, and it is text."""
_DIV = re.compile(r"^:{3,}\s*(\S?)")
_ATTRIBUTES = re.compile(r"\s*\{[#.][^{}]*\}\s*$")
_COMMENT = re.compile(r"<!--.*?(-->|\Z)", re.DOTALL)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def read_markdown(text: str) -> Blocks:
    """Blocks of the outermost level: paragraphs, lists, quotes, tables, fences. Comments and bare tags are left out.

    The front matter's title is the outermost heading and its description a paragraph. What stands in a Quarto div (a
    callout, a tab set) keeps the div's opening line; headings in it end with it.
    """
    blocks, lines = Blocks(), text.split("\n")
    start = _front_matter(lines, blocks)
    body = "\n" * start + "\n".join(lines[start:])
    tokens = [token for token in _parser().parse(body) if token.level == 0 or token.type == "inline"]
    outside: list[list[tuple[int, str]]] = []  # headings as they stood before each open div
    for i, token in enumerate(tokens):
        if token.level or not token.map or token.nesting < 0:
            continue
        first, end = token.map
        if token.type == "heading_open":
            blocks.heading(int(token.tag[1]), _plain(tokens[i + 1].content), first + 1)
        elif token.type == "html_block":
            blocks.add(_without_tags("\n".join(lines[first:end])), first + 1, end)
        elif token.type != "hr":
            _add(blocks, lines, first, end, KINDS.get(token.type, "text"), outside)
    return blocks


@cache
def _parser() -> MarkdownIt:
    """Blocks only: what is inside a line stays as written. Link definitions stay text too, and cost no search for their end."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").disable(["reference", "inline", "text_join"])


def _front_matter(lines: list[str], blocks: Blocks) -> int:
    """How many lines it takes; 0 where there is none that can be read."""
    import yaml

    if lines[0].rstrip() != "---":
        return 0
    end = next((i for i, line in enumerate(lines[1 : LONGEST_FRONT + 1], 1) if line.rstrip() in ("---", "...")), 0)
    try:
        front: Any = yaml.safe_load("\n".join(lines[1:end]))
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a thirteenth month
        return 0  # then it is a rule and a paragraph, and stays text
    if not isinstance(front, dict):
        return 0
    if isinstance(front.get("title"), str):
        blocks.heading(0, front["title"], 1)
    if isinstance(front.get("description"), str):
        blocks.add(front["description"], 1, end + 1)
    return end + 1


def _add(
    blocks: Blocks,
    lines: list[str],
    first: int,
    end: int,
    kind: Literal["text", "table", "code"],
    outside: list[list[tuple[int, str]]],
) -> None:
    while end > first and not lines[end - 1].strip():  # a list's range takes the blank lines behind it
        end -= 1
    if kind != "text":
        blocks.add("\n".join(lines[first:end]), first + 1, end, kind=kind)
        return
    start = first
    for i in range(first, end):
        div = _DIV.match(lines[i])
        if not div:
            continue
        blocks.add("\n".join(lines[start:i]), start + 1, i)
        start = i if div[1] and i + 1 < end else i + 1  # with its text, the opening line says what that is; alone, nothing
        if div[1]:
            outside.append(blocks.levels)
        elif outside:
            blocks.leave(outside.pop())
    blocks.add("\n".join(lines[start:end]), start + 1, end)


def _plain(heading: str) -> str:
    """A heading as it is read aloud: no attributes, emphasis, code marks or link targets."""
    if len(heading) > LONGEST_HEADING:
        return heading
    heading = _ATTRIBUTES.sub("", heading)
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    heading = re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", heading)
    return re.sub(r"(?<!\w)([*_])(\S(?:.*?\S)?)\1(?!\w)", r"\2", heading)


def _without_tags(html: str) -> str:
    """The words of a piece of HTML, on their lines."""
    return _TAG.sub("", _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), html))
