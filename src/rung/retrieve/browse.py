"""Documents as an agent sees them: it lists them, finds text in them and reads on from there.

The text is that of the index's passages, so what an asker may not see is not there, whatever is asked for. Texts are sought
word for word and never as patterns: a model's pattern could take hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from rung.lm.engines import Engines
from rung.retrieve.knowledge import followed, open_kept
from rung.retrieve.passage import Passage
from rung.retrieve.store import Allow, tags

NAMES = 40
"""Files or folders that a list has at most."""
LINES = 12
"""Lines that a search shows at most."""
MIN_WORD = 3
"""Letters of a word that counts where no line has the whole text."""
WIDTH = 160
"""Characters of a line that a search shows at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far an agent may go for one question."""

    steps: int = 6
    """Lists, searches and readings; then it must answer."""
    tokens: int = 12_000
    """Prompt tokens of all its steps together; once they are used up it must answer."""
    passages: int = 2
    """Passages that one reading gives."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The passages that one asker may see: by file, and in a file by number, from 1."""

    passages: tuple[tuple[int, Passage], ...]

    def files(self, under: str) -> list[str]:
        """Files in a folder, with their first heading; folders instead of files where there are many."""
        first: dict[str, str] = {}
        for _, one in self._in(under):
            first.setdefault(one.path, one.heading[0] if one.heading else "")
        if len(first) <= NAMES:
            return [f"{path}: {heading}" if heading else path for path, heading in first.items()]
        start = len(_folder(under))
        names = list(dict.fromkeys(path[: path.find("/", start) + 1] or path for path in first))
        return names[:NAMES] + [f"and {len(names) - NAMES} more"] * (len(names) > NAMES)

    def grep(self, text: str, under: str = "") -> list[str]:
        """Lines with the text in any case, as `file, part 2: text`; where there is none, those with most of its words."""
        wanted = text.casefold().strip()
        words = {word for word in re.findall(r"\w+", wanted) if len(word) >= MIN_WORD}
        found: dict[str, int] = {}
        for part, one in self._in(under):
            for line in (" > ".join(one.heading), *one.text.splitlines()):
                low = line.casefold()
                score = len(words) + 1 if wanted and wanted in low else sum(word in low for word in words)
                if score:
                    found.setdefault(f"{one.path}, part {part}: {line.strip()[:WIDTH]}", score)
        most = max(found.values(), default=0)
        best = [line for line, score in found.items() if score == most]
        return best[:LINES] + [f"and {len(best) - LINES} more"] * (len(best) > LINES)

    def read(self, path: str, part: int, most: int) -> list[Passage]:
        """Passages of a file from this part on."""
        return [one for number, one in self.passages if one.path == path and number >= part][:most]

    def _in(self, under: str) -> Iterator[tuple[int, Passage]]:
        folder = _folder(under)
        return (one for one in self.passages if f"{one[1].path}/".startswith(folder))


@dataclass
class _Held:
    """The passages of an index, as long as it does not change."""

    generation: int = -1
    passages: tuple[tuple[int, Passage], ...] = ()


def shelf(index: str, engines: Engines, allow: Allow) -> Shelf:
    """What this asker may see of an index."""
    store = open_kept(index, engines)
    held: _Held = engines.keep(f"passages of {followed(index)}", _Held)
    if held.generation != (generation := store.generation()):
        files = sorted((change for change, _ in store.contents()), key=lambda change: change.path)
        held.passages = tuple((number, one) for file in files for number, one in enumerate(file.passages, 1))
        held.generation = generation
    clauses = allow.clauses()
    return Shelf(tuple(one for one in held.passages if all(not clause.isdisjoint(tags(one[1])) for clause in clauses)))


def _folder(under: str) -> str:
    plain = under.strip().removeprefix("./").strip("/")
    return f"{plain}/" if plain and plain != "." else ""
