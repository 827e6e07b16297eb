"""Markdown and Quarto: the source itself, cut at its blocks, so that a citation's lines are the text. https://commonmark.org"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from rung.retrieve.formats.blocks import LONGEST_HEADING, Blocks
from rung.retrieve.formats.scripts import lowered, raised

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

KINDS: dict[str, Literal["text", "table", "code"]] = {"fence": "code", "code_block": "code", "table_open": "table"}
LONGEST_FRONT = 200
"""Lines of front matter that are read as YAML, whose reader is slow; longer, and it is text."""
LONGEST_FRONT_TEXT = 20_000
"""Characters of it. Everything in it is taken for text, and no key is merged: merges can swell without end."""
_DIV = re.compile(r"^:{3,}\s*(\S?)")
_ATTRIBUTES = re.compile(r"\s*\{[#.][^{}]*\}\s*$")
_COMMENT = re.compile(r"<!--.*?(-->|\Z)", re.DOTALL)
_UNREAD = re.compile(r"<(script|style|template)\b.*?(</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_SCRIPT = re.compile(r"<(su[bp])>([^<>\n]{1,200})</\1>", re.IGNORECASE)
_CELL = re.compile(r"</t[dh]>[ \t]*<t[dh]\b[^<>]*>", re.IGNORECASE)
_TAGS = re.compile(r"(?:</?[A-Za-z][^<>]*>)+")
_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9]*)")
_INLINE = {
    *("a", "abbr", "b", "bdi", "bdo", "cite", "code", "data", "dfn", "em", "font", "i", "ins", "kbd", "mark", "q", "s", "samp"),
    *("small", "span", "strong", "sub", "sup", "u", "var", "wbr", "acronym", "big", "button", "del", "img", "input", "label"),
    *("nobr", "strike", "time", "tt"),
}


def read_markdown(text: str) -> Blocks:
    """A file's blocks; see `read_into`."""
    return read_into(Blocks(), text)


def read_into(blocks: Blocks, text: str) -> Blocks:
    """Blocks of the outermost level: paragraphs, lists, quotes, tables, fences. Comments and bare tags are left out.

    The front matter's title is the outermost heading and its description a paragraph. What stands in a Quarto div (a
    callout, a tab set) keeps the div's opening line; headings in it end with it.
    """
    lines = text.split("\n")
    start = _front_matter(lines, blocks)
    body = "\n" * start + "\n".join(lines[start:])
    tokens = _outermost(body)
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


def _outermost(text: str) -> list[Token]:
    """The tokens of the outermost level, and what their lines say.

    Those within lists and quotes, which may be a hundred times as many, are let go of as they are made.
    """
    from markdown_it.rules_block import StateBlock

    class Outermost(StateBlock):
        def push(self, ttype: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
            token = super().push(ttype, tag, nesting)
            if token.level > (ttype == "inline"):
                self.tokens.pop()
            return token

    parser = _parser()
    tokens: list[Token] = []
    state = Outermost(text.replace("\0", "\ufffd"), parser, {}, tokens)
    parser.block.tokenize(state, 0, state.lineMax)
    return tokens


def _front_matter(lines: list[str], blocks: Blocks) -> int:
    """How many lines it takes; 0 where there is none that can be read."""
    import yaml

    if lines[0].rstrip() != "---":
        return 0
    end = next((i for i, line in enumerate(lines[1 : LONGEST_FRONT + 1], 1) if line.rstrip() in ("---", "...")), 0)
    try:
        front: Any = yaml.load("\n".join(lines[1:end])[:LONGEST_FRONT_TEXT], yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return 0  # then it is a rule and a paragraph, and stays text
    if not isinstance(front, dict):
        return 0
    if isinstance(front.get("title"), str) and front["title"] not in ("null", "~"):
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
        text = "\n".join(lines[first:end])
        blocks.add(text if kind == "code" else _scripts_set(text), first + 1, end, kind=kind)
        return
    lines = [_scripts_set(line) for line in lines[first:end]]
    first, end, offset = 0, end - first, first
    start = first
    for i in range(first, end):
        div = _DIV.match(lines[i])
        if not div:
            continue
        blocks.add("\n".join(lines[start:i]), offset + start + 1, offset + i)
        start = i if div[1] and i + 1 < end else i + 1  # with its text, the opening line says what that is; alone, nothing
        if div[1]:
            outside.append(blocks.levels)
        elif outside:
            blocks.leave(outside.pop())
    blocks.add("\n".join(lines[start:end]), offset + start + 1, offset + end)


def _plain(heading: str) -> str:
    """A heading as it is read aloud: no attributes, emphasis, code marks or link targets."""
    if len(heading) > LONGEST_HEADING:
        return heading
    heading = _ATTRIBUTES.sub("", _scripts_set(heading))
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    heading = re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", heading)
    return re.sub(r"(?<!\w)([*_])(\S(?:.*?\S)?)\1(?!\w)", r"\2", heading)


def _without_tags(html: str) -> str:
    """The words of a piece of HTML, on their lines."""
    for unseen in (_COMMENT, _UNREAD):
        html = unseen.sub(lambda found: "\n" * found[0].count("\n"), html)
    html = _CELL.sub(" | ", _scripts_set(html))
    return _TAGS.sub(lambda tags: _apart(html, tags), html)


def _apart(html: str, tags: re.Match[str]) -> str:
    """A blank for tags between words of which one begins a line of its own on a page: `5</li><li>10` is not 510."""
    around = html[max(0, tags.start() - 1) : tags.start()].isalnum() and html[tags.end() : tags.end() + 1].isalnum()
    return " " if around and not _INLINE.issuperset(map(str.lower, _NAME.findall(tags[0]))) else ""


def _scripts_set(text: str) -> str:
    """Raised and lowered text apart from what it stands at: "10<sup>6</sup>" is "10^6"."""

    def placed(found: re.Match[str]) -> str:
        before = text[max(0, found.start() - 10) : found.start()]
        return (raised if found[1].lower() == "sup" else lowered)(before, found[2])

    return _SCRIPT.sub(placed, text) if "<su" in text or "<SU" in text else text
