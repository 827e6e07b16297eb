"""Resolves a row's `source` to documents, for access, training, measures and reports.

Sources are written by hand or exported by other tools, so the usual spellings are recognised: other case or Unicode form,
backslashes, percent escapes, `./`, absolute paths, path suffixes, a missing extension, a section after `#`. Nothing is guessed: a
source that names no document, or could name two, stays unresolved with all its possible meanings, so that access control can
assume the worst.
"""

from __future__ import annotations

import html
import json
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

MAX_HASHES = 16
"""Maximum number of # in a source, each of which may start a section."""
NEAREST, NEAR_ENOUGH = 3, 50
"""Number of suggestions for an unknown source, and their minimum similarity of 100."""
CACHE_SIZE = 100_000
"""Cached sources per resolver."""

_LISTS = tuple(map(re.compile, (r"[\n\r]+", ";", r"\|", r"[\n\r;|]+", ",")))
"""Separators of several sources in a cell, most reliable first; JSON lists are parsed."""
_LINK = re.compile(r"\[[^\]]*\]\(([^()]*)\)")
_PAIRS = ('""', "''", "``", "<>", "()", "[]", "“”", "‘’", "«»")
_QUOTES = str.maketrans("‘’ʼ“”", "'''\"\"")


@dataclass(frozen=True, slots=True)
class ResolvedSource:
    """A resolved source."""

    given: str
    """As written in the row."""
    path: str = ""
    """The document; empty if there is none or it is ambiguous."""
    section: str = ""
    may: tuple[str, ...] = ()
    """All documents it could mean, including `path`."""

    @property
    def canonical(self) -> str:
        """As in citations: `document` or `document#section`; unchanged if unresolved."""
        return (f"{self.path}#{self.section}" if self.section else self.path) or self.given


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading of a source: a path and a section."""

    head: str
    section: str


@dataclass(frozen=True, slots=True)
class _Document:
    path: str
    plain: str
    """The path in composed form, for exact comparison."""
    steps: tuple[str, ...]
    """Folded path components, absolute if the root is known."""
    loose: tuple[str, ...]
    """Letters and digits of the components."""


class Documents:
    """Finds a task's documents by the sources of rows. `root`: the folder that paths start from."""

    def __init__(self, paths: Iterable[str], root: str = ""):
        self.paths = tuple(dict.fromkeys(paths))
        self._named: dict[str, list[_Document]] = defaultdict(list)
        self._alike: dict[str, list[_Document]] = defaultdict(list)
        self._root = _fold(posixpath.basename(root.replace("\\", "/").rstrip("/")))
        self._plain = frozenset(map(_plain, self.paths))
        self._memory: dict[str, tuple[ResolvedSource, ...]] = {}
        for path in self.paths:
            steps = _steps(posixpath.join(root.replace("\\", "/"), path))
            one = _Document(path, _plain(path), steps, tuple(map(_loose, steps)))
            for name in {steps[-1], _stem(steps[-1])} if steps else ():
                self._named[name].append(one)
                self._alike[_loose(name)].append(one)

    def find(self, source: str) -> tuple[ResolvedSource, ...]:
        """Resolve a row's source: one result per listed document; none if empty."""
        if source not in self._memory:
            if len(self._memory) >= CACHE_SIZE:
                self._memory.clear()
            self._memory[source] = tuple(self._found(source)) if source.strip() else ()
        return self._memory[source]

    def nearest(self, source: str) -> tuple[str, ...]:
        """The documents with the most similar names, best first."""
        from rapidfuzz import fuzz, process

        folded = {path: _fold(path) for path in self.paths}
        found = process.extract(_fold(source), folded, scorer=fuzz.WRatio, limit=NEAREST, score_cutoff=NEAR_ENOUGH)
        return tuple(path for _, _, path in found)

    def _found(self, source: str) -> Iterator[ResolvedSource]:
        if (listed := _list(source)) and _plain(source) not in self._plain:
            for one in listed:  # list items may be text again
                yield from self._found(one) if isinstance(one, str) else [self._one(json.dumps(one))]
            return
        whole = self._one(source)
        ways = () if whole.may else (list(filter(str.strip, sign.split(source))) for sign in _LISTS)
        several = ([one for part in parts for one in self._part(part.strip())] for parts in ways if len(parts) > 1)
        yield from next((found for found in several if any(one.may for one in found)), [whole])

    def _part(self, part: str) -> list[ResolvedSource]:
        """One of several sources in a cell; a JSON list among them is still a list."""
        return list(self._found(part)) if _list(part) else [self._one(part)]

    def _one(self, source: str) -> ResolvedSource:
        """A source that is not a list."""
        readings = list(_readings(source))
        hits = [(reading, one) for reading in readings for one in self._hits(reading)]
        may = dict.fromkeys(one.path for _, one in hits)
        as_it_is = any(_plain(source) == one.plain for _, one in hits)
        beside = dict.fromkeys(self._beside(source) if hits and not as_it_is else ())
        exact = next(((reading, one) for reading, one in hits if _is_exact(reading.head, one)), None)
        if hits and not exact:
            may |= dict.fromkeys(one.path for reading in readings if not reading.section for one in self._similar(reading.head))
        if exact or len(may) == 1:
            reading, one = exact or hits[0]
            return ResolvedSource(source, one.path, unquote(reading.section.lstrip("#＃ ")), tuple(may | beside))
        return ResolvedSource(source, may=tuple(may | beside))

    def _hits(self, reading: _Reading) -> Iterator[_Document]:
        """Documents matching a path by suffix, or whose own path is the suffix after the root's name."""
        steps = _steps(reading.head)
        for one in self._named.get(steps[-1], ()) if steps else ():
            if steps[-1] != one.steps[-1] and _ends_as_file(reading.section, one):
                continue  # `pay#2.md` is a misspelt file, not section 2.md of pay.md
            own = (self._root, *_steps(one.path))[:-1]
            if _ends(one.steps[:-1], steps[:-1]) or (self._root and _ends(steps[:-1], own)):
                yield one

    def _beside(self, source: str) -> Iterator[str]:
        """Documents named by parts of a source: `docs/a.md#x docs/b.md` may be two."""
        words = [word for word in re.split(r"[\s;,|]+", source) if "/" in word or "\\" in word or posixpath.splitext(word)[1]]
        for parts in (*(sign.split(source) for sign in _LISTS[:-1]), words):
            if len(parts) > 1:
                yield from (one.path for part in parts for reading in _readings(part) for one in self._hits(reading))

    def _similar(self, head: str) -> Iterator[_Document]:
        """Documents whose name differs from a path suffix only by punctuation, spaces and accents."""
        steps = tuple(map(_loose, _steps(head)))
        for one in self._alike.get(steps[-1], ()) if steps and steps[-1] else ():
            if _ends(one.loose[:-1], steps[:-1]):
                yield one


def names_document(source: str, path: str, section: str) -> bool:
    """Whether a source, or one of several, names this document (considered alone), and its section if it gives one."""
    found = (one.section for one in _alone(path).find(source) if one.path)
    return any(not named or _slug(named) == _slug(section) for named in found)


@lru_cache(maxsize=1 << 14)
def _alone(path: str) -> Documents:
    return Documents((path,))


def join_sources(found: Sequence[ResolvedSource]) -> str:
    """Sources as one text that `find` parses: a single one as cited, several as a JSON list."""
    if len(found) == 1:
        return found[0].canonical
    return json.dumps([one.canonical for one in found], ensure_ascii=False) if found else ""


def split_sources(source: str) -> tuple[str, ...]:
    """Inverse of `join_sources`; any other text is a single source."""
    read = _list(source)
    return tuple(map(str, read)) if read else (source,)


# --- spellings --------------------------------------------------------------------------------------------------------


def _list(source: str) -> list[object]:
    """Items of a JSON list; empty for other text."""
    if not source.lstrip().startswith("["):
        return []
    try:
        read = json.loads(source)
    except (ValueError, RecursionError):
        return []
    return [one for one in read if one not in ("", None)] if isinstance(read, list) else []


def _readings(source: str) -> Iterator[_Reading]:
    """Possible readings of a source, with and without a section, plain ones first."""
    seen: set[tuple[str, str]] = set()
    for text in _spellings(source):
        marks = [i for i, sign in enumerate(text) if sign in "#＃"]
        if len(marks) > MAX_HASHES:
            continue
        for end in [len(text), *reversed(marks)]:
            head, section = text[:end].strip(), text[end + 1 :].strip()
            if head and (head, section) not in seen and "\n" not in section:  # headings are single lines
                seen.add((head, section))
                yield _Reading(head, section)


def _spellings(source: str) -> Iterator[str]:
    """The source, and variants without link, scheme, quotes or escapes."""
    text = source.strip()
    yield text
    bare = (link[1] if (link := _LINK.fullmatch(text)) else text).strip()
    if bare[:1] + bare[-1:] in _PAIRS and len(bare) > 1:
        bare = bare[1:-1].strip()
    bare = re.sub(r"^file:/{0,2}(localhost)?", "", bare, flags=re.IGNORECASE)
    decoded = html.unescape(unquote(unquote(bare)))
    yield from (bare, unquote(bare), decoded, decoded.replace("+", " "))


def _steps(path: str) -> tuple[str, ...]:
    """Folded path components, with `.` and `..` resolved."""
    out: list[str] = []
    for step in _fold(path).replace("\\", "/").split("/"):
        name = step.strip()
        if name == "..":
            del out[-1:]
        elif name := name.rstrip(" ."):
            out.append(name)
    return tuple(out)


@lru_cache(maxsize=1 << 16)
def _fold(text: str) -> str:
    """Normalise case, composition, compatibility characters, dashes, quotes and spaces; drop invisible characters."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.translate(_QUOTES)).casefold())
    kinds = ((sign, unicodedata.category(sign)) for sign in text)
    kept = "".join("-" if kind == "Pd" else sign for sign, kind in kinds if kind != "Cf" and sign != "\ufe0f")
    return " ".join(kept.replace("\0", " ").split())


def _loose(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", _fold(text)) if sign.isalnum())


def _slug(heading: str) -> str:
    return "-".join("".join(sign if sign.isalnum() else " " for sign in heading.casefold()).split())


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0].rstrip(" .")


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", posixpath.normpath(path.strip())) if path.strip() else ""


def _is_exact(head: str, one: _Document) -> bool:
    """Whether a path is exactly the document's, relative or absolute."""
    absolute = head.startswith(("/", "\\")) and len(one.steps) > len(_steps(one.path))
    return _plain(head) == one.plain or (absolute and _steps(head) == one.steps)


def _ends(steps: tuple[str, ...], end: tuple[str, ...]) -> bool:
    return len(end) <= len(steps) and steps[len(steps) - len(end) :] == end


def _ends_as_file(section: str, one: _Document) -> bool:
    return bool(section) and _fold(section).endswith(posixpath.splitext(one.steps[-1])[1])
