"""Which reader reads which ending, from the bytes of a file to its blocks; installed packages may add some."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rung.plugins import Table
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.docx import read_docx
from rung.retrieve.formats.epub import read_epub
from rung.retrieve.formats.html import read_html
from rung.retrieve.formats.jsonfile import read_json
from rung.retrieve.formats.mail import read_mail
from rung.retrieve.formats.markdown import read_markdown
from rung.retrieve.formats.mdx import read_mdx
from rung.retrieve.formats.notebook import read_notebook
from rung.retrieve.formats.odf import read_odf
from rung.retrieve.formats.pdf import read_pdf
from rung.retrieve.formats.plain import read_rst, read_text_file
from rung.retrieve.formats.pptx import read_pptx
from rung.retrieve.formats.rows import read_csv, read_jsonl
from rung.retrieve.formats.rtf import read_rtf
from rung.retrieve.formats.sheets import read_sheets
from rung.retrieve.formats.source import read_text

TEXT_READERS: dict[str, Callable[[str], Blocks]] = {
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".qmd": read_markdown,
    ".html": read_html,
    ".htm": read_html,
    ".xhtml": read_html,
    ".txt": read_text_file,
    ".text": read_text_file,
    ".rst": read_rst,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".mdx": read_mdx,
    ".ipynb": read_notebook,
    ".json": read_json,
    ".yaml": read_text_file,
    ".yml": read_text_file,
}
BINARY_READERS: dict[str, Callable[[bytes], Blocks]] = {
    ".pdf": read_pdf,
    **dict.fromkeys((".docx", ".docm", ".dotx"), read_docx),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx"), read_pptx),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), read_sheets),
    **dict.fromkeys((".odt", ".odp"), read_odf),
    ".epub": read_epub,
    ".rtf": read_rtf,
    ".eml": read_mail,
}
DECLARING = {".html", ".htm", ".xhtml"}
"""Endings of formats that name their encoding themselves."""


def _accept(name: str, given: Any) -> Callable[[bytes], Blocks]:
    """A plug-in's reader, from the bytes of a file to its blocks."""
    if not callable(given):
        raise ValueError("a reader is a function from bytes to rung.retrieve.formats.blocks.Blocks")
    return given


_OWN: dict[str, Callable[[Any], Blocks]] = {**TEXT_READERS, **BINARY_READERS}
TABLE = Table("rung.formats", "document format", {ending.removeprefix("."): _OWN[ending] for ending in _OWN}, _accept)
"""All readers by ending, without the dot."""


def endings() -> list[str]:
    """The endings that can be read, those of installed packages last."""
    return [f".{name}" for name in TABLE.names()]


def origin(ending: str) -> str:
    """Package and version whose reader reads an ending; empty for rung's own."""
    return TABLE.origin(ending.removeprefix("."))


def read(ending: str, data: bytes) -> Blocks:
    """The blocks of a file with one of `endings`. Raises RungError, or whatever a parser throws at damaged bytes."""
    reader = TABLE.get(ending.removeprefix("."))
    assert reader, f"no reader reads {ending}"
    return reader(read_text(data, ending in DECLARING) if ending in TEXT_READERS else data)
