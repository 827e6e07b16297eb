"""RTF: its text without the marks. https://github.com/joshy/striprtf"""

from __future__ import annotations

import re

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks


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
    blocks = Blocks()
    for line in rtf_to_text(_without_hidden(source), errors="replace").split("\n"):
        blocks.add(line.strip().rstrip("|").replace("|", " | ") if "|" in line else line, kind="table" if "|" in line else "text")
    return blocks


def _without_hidden(source: str) -> str:
    """Groups that are hidden as a whole are left out."""
    return re.sub(r"\{(?:\\[a-uw-z]\w*[ ]?)*\\v(?![a-z0-9])[^{}]*\}", "", source)
