"""MDX: Markdown with components. Imports, exports and comments are left out, of tags their titles and labels stay. https://mdxjs.com"""

from __future__ import annotations

import re

from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.markdown import read_markdown

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})", re.MULTILINE)
_MODULE = re.compile(r"(?m)^(?:import|export)\b(?=[^\n]*(?:from\s|[\"'{(=]|default|function|const))[^\n]*(?:\n(?!\s*\n)[^\n]+)*")
_COMMENT = re.compile(r"\{\s*/\*.*?\*/\s*\}", re.DOTALL)
_TAG = r"</?(?:[A-Z][\w.]*)?(?:\s(?:[^<>{}\"']|\"[^\"]*\"|'[^']*'|\{[^{}]{0,2000}\}|\{\{[^{}]{0,2000}\}\})*)?/?>"
_TAGS = re.compile(f"(?:{_TAG})+")
_SAID = re.compile(
    r"\b(?:title|label|summary|header|heading|caption|description)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|\{\s*[\"']([^\"']*)[\"']\s*\})"
)


def read_mdx(text: str) -> Blocks:
    """The Markdown of it, on the same lines."""
    return read_markdown("".join(part if code else _plain(part) for part, code in _parts(text)))


def _parts(text: str) -> list[tuple[str, bool]]:
    """Runs of text, and whether each is a fence of code."""
    found, start, fence = [], 0, ""
    for mark in _FENCE.finditer(text):
        if not fence:
            found.append((text[start : mark.start()], False))
            start, fence = mark.start(), mark[1]
        elif mark[1].startswith(fence) and not text[mark.end() : text.find("\n", mark.end()) % (len(text) + 1)].strip():
            found.append((text[start : mark.end()], True))
            start, fence = mark.end(), ""
    return [*found, (text[start:], bool(fence))]


def _plain(text: str) -> str:
    for unseen in (_COMMENT, _MODULE):
        text = unseen.sub(lambda found: "\n" * found[0].count("\n"), text)
    return _TAGS.sub(_said, text)


def _said(tags: re.Match[str]) -> str:
    """What components that stand beside each other show of their own attributes, apart from the text around them."""
    words = " ".join(filter(None, (next(filter(None, found), "") for found in _SAID.findall(tags[0]))))
    before, after = tags.string[max(0, tags.start() - 1) : tags.start()].strip(), tags.string[tags.end() : tags.end() + 1].strip()
    if words:
        words = " " * before.isalnum() + words + (": " if words[-1].isalnum() else " ") * after.isalnum()
    elif before.isalnum() and after.isalnum():
        words = " "
    return f"{words}{chr(10) * (tags[0].count(chr(10)) - words.count(chr(10)))}"
