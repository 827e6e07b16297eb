"""The first pass of a screening: each range's documents, judged one by one, as files of numbers.

Run as a program, it is a worker of `rung.data.crew`. A range's folder holds, in the order of its documents, their content
hashes, the reasons for which some are left out, and where near duplicates are looked for, their MinHash signatures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung import files
from rung.data import crew, ranges
from rung.data.corpus import content_hash
from rung.data.screening import signatures
from rung.data.screening.contamination import repeated_run, tables
from rung.data.screening.filters import FILTERS
from rung.data.screening.words import hashes, words

if TYPE_CHECKING:
    from numpy.typing import NDArray

REASONS = ("contamination", "duplicate", "near-duplicate", *FILTERS)
"""Why a document is left out; stored as a place in this list, from 1."""
CONTAMINATION, DUPLICATE, NEAR_DUPLICATE = 1, 2, 3
BATCH = 256
"""Documents whose signatures are computed at once."""
EXAMPLES = 3
"""Documents of a range that are named for each reason."""
EXCERPT = 60
"""Characters of a document that are shown."""
METADATA, DIGESTS, LEFT_OUT = "survey.json", "digests.bin", "reasons.bin"


def survey(spec: Mapping[str, Any], number: int) -> None:
    """Judge the documents of one range, unless that is done."""
    folder = Path(spec["folder"]) / f"{number:05}"
    if (folder / METADATA).exists() and json.loads((folder / METADATA).read_text(encoding="utf-8"))["of"] == spec["of"]:
        return
    known = _tables(json.dumps(spec["runs"]))
    documents = ranges.documents(_ranges(tuple(spec["files"]), spec["of"])[number])
    examples: dict[str, list[dict[str, Any]]] = {}
    counted = 0
    with files.whole_folder(folder) as part, (part / DIGESTS).open("wb") as digests, (part / LEFT_OUT).open("wb") as reasons:
        while batch := list(islice(documents, BATCH)):
            values = []
            for text in batch:
                found = words(text)
                values.append(hashes(found))
                reason, more = _reason(text, found, values[-1], known, spec["filters"])
                digests.write(content_hash(text).to_bytes(8, "little"))
                reasons.write(bytes([reason]))
                if reason and len(seen := examples.setdefault(REASONS[reason - 1], [])) < EXAMPLES:
                    seen.append({"number": counted, **more})
                counted += 1
            if spec["near"]:
                with (part / signatures.SIGNATURES).open("ab") as file:
                    signatures.signatures(values).tofile(file)
        if spec["near"]:
            signatures.write_bands(part, spec["near"])
        files.write_json(part / METADATA, {"of": spec["of"], "documents": counted, "examples": examples})


def excerpt(text: str) -> str:
    """The beginning of a document, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…"


def _reason(
    text: str, found: Sequence[str], values: NDArray[Any], known: Mapping[int, Any], filters: Sequence[str]
) -> tuple[int, dict[str, Any]]:
    """The first reason to leave a document out, 0 for none, and what an example says of it."""
    run = repeated_run(values, known)
    if run is not None:
        return CONTAMINATION, {"run": run}  # not the text: it may be that of a sealed row
    for name in filters:
        if FILTERS[name][0](text, found):
            return REASONS.index(name) + 1, {"text": excerpt(text)}
    return 0, {}


@lru_cache(maxsize=1)
def _ranges(names: tuple[str, ...], of: str) -> tuple[ranges.Range, ...]:
    """`of`: digest of the content, since a file may have changed under its name."""
    return ranges.ranges(names)


@lru_cache(maxsize=1)
def _tables(runs_as_json: str) -> dict[int, NDArray[Any]]:
    return tables(json.loads(runs_as_json))


if __name__ == "__main__":
    crew.work(survey)
