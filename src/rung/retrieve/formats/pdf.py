"""PDF: the text of each page. https://pypdf.readthedocs.io"""

from __future__ import annotations

import io

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks

MOST_PAGES = 5_000
MOST_TEXT = 20_000_000
"""Characters of the whole file."""


def read_pdf(data: bytes) -> Blocks:
    """One block a page. Raises DataError for a file that is locked, endless, or holds pictures of text only."""
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise DataError("it is encrypted.", remedy="Save it without a password.")
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
