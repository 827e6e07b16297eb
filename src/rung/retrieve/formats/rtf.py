"""RTF: its text without the marks. https://github.com/joshy/striprtf"""

from __future__ import annotations

import re

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.scripts import lowered, raised

_WORDS = r"(?:\\[a-z]+-?\d*[ ]?)*"
_SCRIPT = re.compile(
    rf"\{{{_WORDS}\\(super|sub)(?![a-z]){_WORDS}[ ]?([^{{}}\\\r\n]{{1,200}})\}}"
    r"|\\(super|sub)[ ]([^{}\\\r\n]{1,200})\\nosupersub[ ]?"
)
"""A group that is raised or lowered, or a run of text between two control words."""


def read_rtf(data: bytes) -> Blocks:
    """A block a paragraph or a row of a table; RTF has no headings that can be relied on."""
    try:
        from striprtf.striprtf import rtf_to_text
    except ImportError:
        raise DataError("striprtf, which reads RTF, is not installed.", remedy="Run: pip install 'rung[docs]'") from None
    if not data.lstrip().startswith(b"{\\rtf"):
        raise DataError("it is no RTF: it does not begin with {\\rtf.", remedy="Give it its own ending.")
    source = data.decode("latin-1")
    source = re.sub(r"\\_", "-", source)  # the hyphen that does not break
    source = _scripts_set(source)
    blocks = Blocks()
    for line in rtf_to_text(_without_hidden(source), errors="replace").split("\n"):
        blocks.add(line.strip().rstrip("|").replace("|", " | ") if "|" in line else line, kind="table" if "|" in line else "text")
    return blocks


def _scripts_set(source: str) -> str:
    """Raised and lowered text apart from what it stands at: 10{\\super 6} is 10^6."""

    def placed(found: re.Match[str]) -> str:
        before = source[max(0, found.start() - 10) : found.start()].rpartition("\\")[2]
        text = (raised if (found[1] or found[3]) == "super" else lowered)(before, found[2] or found[4])
        return "".join(sign if sign.isascii() else f"\\u{ord(sign)}?" for sign in text)

    return _SCRIPT.sub(placed, source)


def _without_hidden(source: str) -> str:
    """Groups that are hidden as a whole are left out."""
    return re.sub(r"\{(?:\\[a-uw-z]\w*[ ]?)*\\v(?![a-z0-9])[^{}]*\}", "", source)
