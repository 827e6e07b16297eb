"""Which reader reads which ending, from the bytes of a file to its blocks; installed packages may add some.

A reader's module is imported when it first reads: a command that searches an index reads no documents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rung.plugins import Table

if TYPE_CHECKING:
    from rung.retrieve.formats.blocks import Blocks


@dataclass(frozen=True, slots=True)
class Reader:
    """One of rung's own readers."""

    module: str
    """In `rung.retrieve.formats`."""
    function: str
    """From a text, or from bytes, to blocks."""

    def __call__(self, data: Any) -> Blocks:
        function: Callable[[Any], Blocks] = getattr(import_module(f"rung.retrieve.formats.{self.module}"), self.function)
        return function(data)


_PLAIN, _MARKDOWN, _HTML = Reader("plain", "read_text_file"), Reader("markdown", "read_markdown"), Reader("html", "read_html")
TEXT_READERS = {
    **dict.fromkeys((".md", ".markdown", ".qmd"), _MARKDOWN),
    **dict.fromkeys((".html", ".htm", ".xhtml"), _HTML),
    **dict.fromkeys((".txt", ".text"), _PLAIN),
    ".rst": Reader("plain", "read_rst"),
    **dict.fromkeys((".csv", ".tsv"), Reader("rows", "read_csv")),
    **dict.fromkeys((".jsonl", ".ndjson"), Reader("rows", "read_jsonl")),
    ".mdx": Reader("mdx", "read_mdx"),
    ".ipynb": Reader("notebook", "read_notebook"),
    ".json": Reader("jsonfile", "read_json"),
    **dict.fromkeys((".yaml", ".yml"), _PLAIN),
}
BINARY_READERS = {
    ".pdf": Reader("pdf", "read_pdf"),
    **dict.fromkeys((".docx", ".docm", ".dotx"), Reader("docx", "read_docx")),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx"), Reader("pptx", "read_pptx")),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), Reader("sheets", "read_sheets")),
    **dict.fromkeys((".odt", ".odp"), Reader("odf", "read_odf")),
    ".epub": Reader("epub", "read_epub"),
    ".rtf": Reader("rtf", "read_rtf"),
    ".eml": Reader("mail", "read_mail"),
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
    from rung.retrieve.formats.source import read_text

    reader = TABLE.get(ending.removeprefix("."))
    assert reader, f"no reader reads {ending}"
    return reader(read_text(data, ending in DECLARING) if ending in TEXT_READERS else data)
