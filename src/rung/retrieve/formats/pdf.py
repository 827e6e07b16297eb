"""PDF: the text of each page. https://pypdf.readthedocs.io"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks

if TYPE_CHECKING:
    from pypdf import PdfReader

MOST_PAGES = 5_000
MOST_TEXT = 20_000_000
"""Characters of the whole file."""


def read_pdf(data: bytes) -> Blocks:
    """One block a page; encrypted ones too, if they open without a password.

    Raises DataError for a file that is locked, endless, or holds pictures of text only.
    """
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted:
        _open(reader)
    blocks, total, pages = Blocks(), 0, 0
    for pages, page in enumerate(reader.pages, 1):
        text = page.extract_text()
        total += len(text)
        if pages > MOST_PAGES or total > MOST_TEXT:
            raise DataError(
                f"it has over {MOST_PAGES:,} pages or {MOST_TEXT:,} characters.", remedy="Split it into files by subject."
            )
        blocks.add(text, page=pages)
    if not blocks.done():
        raise DataError(
            f"its {pages} page{'s' * (pages != 1)} hold no text; they are likely scans.", remedy="Run OCR over it (ocrmypdf)."
        )
    return blocks


def _open(reader: PdfReader) -> None:
    """Most encrypted files only forbid printing or copying, and any viewer opens them with the empty password."""
    from pypdf.errors import DependencyError

    try:
        opened = reader.decrypt("")
    except DependencyError as error:
        raise DataError(
            f"it is encrypted, and a package is missing: {error}.", remedy="Run: pip install 'pypdf[crypto]'"
        ) from None
    if not opened:
        raise DataError("it is locked with a password.", remedy="Save it without one.")
