"""Word files made for tests out of the XML of their parts."""

from __future__ import annotations

import io
import zipfile

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SPACES = (
    f'xmlns:w="{W}" xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_KINDS = ("styles", "numbering", "footnotes", "endnotes", "header", "footer")
_ROOTS = {"header": "hdr", "footer": "ftr"}


def docx(body: str, strict: bool = False, **parts: str) -> bytes:
    """A file with this body; parts by their kind: styles, numbering, footnotes, endnotes, header, footer."""
    out = io.BytesIO()
    links = "".join(
        f'<Relationship Id="{kind}" Type="{_RELATIONS}/{kind}" Target="{kind}.xml"/>' for kind in _KINDS if kind in parts
    )
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": _links(f'<Relationship Id="a" Type="{_RELATIONS}/officeDocument" Target="word/document.xml"/>'),
        "word/_rels/document.xml.rels": _links(links),
        "word/document.xml": f"<w:document {_SPACES}><w:body>{body}</w:body></w:document>",
        **{f"word/{kind}.xml": _part(_ROOTS.get(kind, kind), content) for kind, content in parts.items()},
    }
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text.replace(W, "http://purl.oclc.org/ooxml/wordprocessingml/main") if strict else text)
    return out.getvalue()


def p(*inside: str, props: str = "") -> str:
    """A paragraph; plain words are put into a run."""
    return f"<w:p><w:pPr>{props}</w:pPr>{''.join(map(_run, inside))}</w:p>"


def r(text: str, props: str = "") -> str:
    """A run with properties."""
    return f'<w:r><w:rPr>{props}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def tc(inside: str, props: str = "") -> str:
    """A cell."""
    return f"<w:tc><w:tcPr>{props}</w:tcPr>{inside if inside.startswith('<') else p(inside)}</w:tc>"


def tbl(*rows: str) -> str:
    """A table of rows, each the XML of its cells."""
    return "<w:tbl>" + "".join(row if row.startswith("<w:tr") else f"<w:tr>{row}</w:tr>" for row in rows) + "</w:tbl>"


def _run(inside: str) -> str:
    return inside if inside.startswith("<") else r(inside)


def _links(inside: str) -> str:
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inside}</Relationships>'


def _part(root: str, inside: str) -> str:
    return f"<w:{root} {_SPACES}>{inside}</w:{root}>"
