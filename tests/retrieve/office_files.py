"""Presentations, spreadsheets, OpenDocument texts and books made for tests out of the XML of their parts."""

from __future__ import annotations

import io
import zipfile

_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_P = f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="{_OFFICE}" {_A}'
_ODF = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in {"office": "office", "text": "text", "table": "table", "style": "style", "draw": "drawing"}.items()
)


def zipped(files: dict[str, str]) -> bytes:
    """A zip archive of texts."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def links(*targets: tuple[str, str]) -> str:
    """A part's relations: kind and target of each; ids are r1, r2, ..."""
    found = (f'<Relationship Id="r{i}" Type="{_OFFICE}/{kind}" Target="{to}"/>' for i, (kind, to) in enumerate(targets, 1))
    return f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{"".join(found)}</Relationships>'


def pptx(*slides: str, notes: str = "", hidden: int = 0) -> bytes:
    """A presentation of slides, each the XML of its shapes; `notes` are those of the first, `hidden` counts from 1."""
    files = {
        "_rels/.rels": links(("officeDocument", "ppt/presentation.xml")),
        "ppt/_rels/presentation.xml.rels": links(*(("slide", f"slides/s{i}.xml") for i in range(1, len(slides) + 1))),
        "ppt/presentation.xml": f"<p:presentation {_P}><p:sldIdLst>"
        + "".join(f'<p:sldId id="{255 + i}" r:id="r{i}"/>' for i in range(1, len(slides) + 1))
        + "</p:sldIdLst></p:presentation>",
        "ppt/slides/_rels/s1.xml.rels": links(("notesSlide", "../notes/n1.xml")),
        "ppt/notes/n1.xml": f"<p:notes {_P}>{shape(notes)}{shape('1', 'sldNum')}</p:notes>",
    }
    for i, slide in enumerate(slides, 1):
        show = ' show="0"' if i == hidden else ""
        files[f"ppt/slides/s{i}.xml"] = f"<p:sld {_P}{show}><p:cSld><p:spTree>{slide}</p:spTree></p:cSld></p:sld>"
    return zipped(files)


def shape(text: str, kind: str = "") -> str:
    """A shape of a slide; text or the XML of paragraphs."""
    place = f'<p:nvPr><p:ph type="{kind}"/></p:nvPr>' if kind else "<p:nvPr/>"
    body = text if text.startswith("<") else f"<a:p><a:r><a:t>{text}</a:t></a:r></a:p>"
    return f'<p:sp><p:nvSpPr><p:cNvPr id="1" name="x"/>{place}</p:nvSpPr><p:txBody>{body}</p:txBody></p:sp>'


def xlsx(**sheets: list[list[str | float]]) -> bytes:
    """A workbook of sheets; a sheet whose name begins with `hidden` is."""
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": links(("officeDocument", "xl/workbook.xml")),
        "xl/_rels/workbook.xml.rels": links(*(("worksheet", f"worksheets/{name}.xml") for name in sheets)),
    }
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    listed = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="r{i}" state="{"hidden" if name.startswith("hidden") else "visible"}"/>'
        for i, name in enumerate(sheets, 1)
    )
    files["xl/workbook.xml"] = f'<workbook {space} xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>'
    for name, rows in sheets.items():
        cells = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
        files[f"xl/worksheets/{name}.xml"] = f"<worksheet {space}><sheetData>{cells}</sheetData></worksheet>"
    return zipped(files)


def _cell(value: str | float) -> str:
    return f"<c><v>{value}</v></c>" if isinstance(value, float) else f'<c t="inlineStr"><is><t>{value}</t></is></c>'


def odt(body: str, styles: str = "") -> bytes:
    """An OpenDocument text."""
    head = f"<office:automatic-styles>{styles}</office:automatic-styles>"
    inside = f"<office:body><office:text>{body}</office:text></office:body>"
    return zipped({"content.xml": f"<office:document-content {_ODF}>{head}{inside}</office:document-content>"})


def epub(*chapters: str, encrypted: str = "") -> bytes:
    """A book whose chapters stand in the file backwards."""
    items = "".join(f'<item id="c{i}" href="c%20{i}.xhtml"/>' for i in range(len(chapters)))
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    files = {
        "META-INF/container.xml": '<container><rootfiles><rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>",
        **{f"OPS/c {i}.xhtml": chapter for i, chapter in reversed(list(enumerate(chapters)))},
    }
    if encrypted:
        files["META-INF/encryption.xml"] = f'<encryption><CipherReference URI="{encrypted}"/></encryption>'
    return zipped(files)
