"""Office Open XML packages: parts, the relations between them, and XML with short names. ECMA-376, part 2.

Elements are renamed after the prefixes of the standard ("w-p" for w:p), attributes lose their namespace ("val", but "r-id"),
and both editions of the standard (transitional and strict) come out alike.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from xml.etree.ElementTree import Element, ParseError, fromstring

from rung.errors import DataError
from rung.retrieve.formats.archive import open_zip

_PREFIXES = {
    **{
        f"http://schemas.openxmlformats.org/{name}": prefix
        for name, prefix in {
            "wordprocessingml/2006/main": "w",
            "officeDocument/2006/math": "m",
            "drawingml/2006/main": "a",
            "presentationml/2006/main": "p",
            "markup-compatibility/2006": "mc",
        }.items()
    },
    "http://purl.oclc.org/ooxml/wordprocessingml/main": "w",
    "http://purl.oclc.org/ooxml/officeDocument/math": "m",
    "http://purl.oclc.org/ooxml/drawingml/main": "a",
    "http://purl.oclc.org/ooxml/presentationml/main": "p",
    "http://schemas.openxmlformats.org/drawingml/2006/diagram": "dgm",
    "http://purl.oclc.org/ooxml/drawingml/diagram": "dgm",
    "http://schemas.microsoft.com/office/word/2010/wordml": "w14",
}


@dataclass(frozen=True, slots=True)
class Relation:
    """A link from one part to another."""

    kind: str
    """The last step of its type: styles, footnotes, slide, ..."""
    target: str
    """The other part's path in the package; empty for what lies outside."""


class Package:
    """A docx or pptx file."""

    def __init__(self, data: bytes) -> None:
        self._zip = open_zip(data)
        found = [link.target for link in self.relations("").values() if link.kind == "officeDocument"]
        if not found:
            raise DataError("it is no Office document: the part that holds the text is missing.", remedy="Save it anew.")
        self.main = found[0]

    def xml(self, part: str) -> Element | None:
        """A part's root with short names; None where there is no such part."""
        try:
            data = self._zip.read(part)
        except KeyError:
            return None
        return parsed(data, part, _PREFIXES)

    def relations(self, part: str) -> dict[str, Relation]:
        """What a part links to, by id; of the package itself for the empty path."""
        folder, name = posixpath.split(part)
        root = self.xml(posixpath.join(folder, "_rels", f"{name}.rels"))
        found = {}
        for link in root if root is not None else ():
            outside = link.get("TargetMode") == "External"
            target = "" if outside else posixpath.normpath(posixpath.join("/", folder, link.get("Target", ""))).lstrip("/")
            found[link.get("Id", "")] = Relation(posixpath.basename(link.get("Type", "")), target)
        return found

    def related(self, part: str, kind: str) -> Element | None:
        """The part of that kind to which `part` links first; None where it links to none."""
        return next((self.xml(link.target) for link in self.relations(part).values() if link.kind == kind), None)


def _short(key: str) -> str:
    space, _, local = key.rpartition("}")
    return f"r-{local}" if space.endswith("/relationships") else local


def parsed(data: bytes, part: str, prefixes: dict[str, str]) -> Element:
    """The root of an XML part, with short names. Raises DataError with the place of the fault."""
    try:
        return shortened(fromstring(data), prefixes)
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"its part {part!r} is broken XML: {error}.", remedy="It is damaged; save it anew.") from None


def shortened(root: Element, prefixes: dict[str, str]) -> Element:
    """The tree with namespaces replaced by prefixes; unknown ones are cut off."""
    names: dict[str, str] = {}
    for node in root.iter():
        if isinstance(node.tag, str):
            if node.tag not in names:
                space, _, local = node.tag.rpartition("}")
                prefix = prefixes.get(space[1:], "")
                names[node.tag] = f"{prefix}-{local}" if prefix else local
            node.tag = names[node.tag]
        if any("}" in key for key in node.keys()):  # noqa: SIM118 an element is no dict
            node.attrib = {_short(key): value for key, value in node.items()}
    return root
