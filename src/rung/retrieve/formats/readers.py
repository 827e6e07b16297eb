"""Which reader reads which ending, from the bytes of a file to its blocks."""

from __future__ import annotations

from collections.abc import Callable

from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.docx import read_docx
from rung.retrieve.formats.html import read_html
from rung.retrieve.formats.markdown import read_markdown
from rung.retrieve.formats.pdf import read_pdf
from rung.retrieve.formats.plain import read_rst, read_text_file
from rung.retrieve.formats.rows import read_csv, read_jsonl
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
}
BINARY_READERS: dict[str, Callable[[bytes], Blocks]] = {
    ".pdf": read_pdf,
    **dict.fromkeys((".docx", ".docm", ".dotx"), read_docx),
}
DECLARING = {".html", ".htm", ".xhtml"}
"""Endings of formats that name their encoding themselves."""
ENDINGS = (*TEXT_READERS, *BINARY_READERS)


def read(ending: str, data: bytes) -> Blocks:
    """The blocks of a file with one of ENDINGS. Raises DataError, or whatever a parser throws at damaged bytes."""
    if ending in BINARY_READERS:
        return BINARY_READERS[ending](data)
    return TEXT_READERS[ending](read_text(data, ending in DECLARING))
