"""A corpus tokenized range by range into shards on disk, by several processes, and read back as one text.

The ranges follow from the files and a shard from its range alone, so the shards are the same whatever the number of processes
and machines, and a killed run resumes with those that are missing. Run as a program, this is a worker of `rung.data.crew`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from rung import files
from rung.data import corpus, crew, ranges
from rung.errors import DataError
from rung.lm.raw_text import shards
from rung.lm.raw_text.shards import Encoder, Shard
from rung.types import Texts

MODULE = "rung.lm.raw_text.pack"
PARTS = ("train", "held", "choosing")
"""Of a corpus: to learn from; to measure on; to choose the checkpoint by."""
MANIFEST, SPEC, TOKENIZER = "manifest.json", "spec.json", "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Workers:
    """Who packs: `processes` here, as number `rank` of `machines` that share the folder and the ranges."""

    processes: int = 1
    rank: int = 0
    machines: int = 1
    wait: Callable[[], None] = lambda: None
    """Returns when all machines have called it."""
    done: Callable[[int, int], None] = lambda made, of: None
    """Called with the ranges done here and their number; may raise, to stop."""


def pack(
    found: Texts, bounds: tuple[float, float], tokenizer: Any, folder: Path, source: str, workers: Workers
) -> dict[str, Shard]:
    """The parts of a corpus as tokens in `folder`; those that are there are opened.

    Documents with a hash below the first bound are held out to measure on, below the second to choose a checkpoint by.
    `source`: digest of text, bounds and tokenizer. DataError if a part that should have documents has none.
    """
    count = len(ranges.ranges(found.files))
    if not _whole(folder, source):
        spec, job = _prepared(found, bounds, tokenizer, folder, source, workers.rank)
        numbers = range(count)[workers.rank :: workers.machines]
        processes = workers.processes if (spec.parent / TOKENIZER).exists() else 1
        crew.share_out(MODULE, job, spec, numbers, processes, lambda made: workers.done(made, len(numbers)))
        workers.wait()
        if workers.rank == 0:
            _write_manifest(folder, count, source)
        workers.wait()
    stored = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    wanted = [part for part, empty in zip(PARTS, (False, not bounds[0], bounds[1] <= bounds[0])) if not empty]
    for part in wanted:
        if not sum(one[part]["documents"] for one in stored["ranges"]):
            raise DataError("there are no documents to tokenize.", where=", ".join(found.files[:3]), remedy="Add text.")
    return {part: shards.join([_range_folder(folder, i) / part for i in range(count)], stored["dtype"]) for part in wanted}


def pack_range(spec: Mapping[str, Any], number: int, encode: Encoder | None = None) -> None:
    """Tokenize one range, unless that is done. `encode`: by default with the tokenizer that the spec names."""
    found = Texts(tuple(spec["files"]), share=spec["share"], screened=spec["screened"])
    encode = encode or _fast_encoder(spec["tokenizer"], spec["end"], spec["dtype"], spec["of"])
    documents = _in_parts(found, number, spec["bounds"], spec["of"])
    shards.write_parts(_range_folder(Path(spec["folder"]), number), documents, PARTS, encode, spec["of"])


def _in_parts(found: Texts, number: int, bounds: tuple[float, float], of: str) -> Iterator[tuple[str, str]]:
    held, chosen = bounds
    for document in corpus.documents_of(found, number, _ranges(found.files, of)[number]):
        at = corpus.place(document)
        yield "held" if at < held else "choosing" if at < chosen else "train", document


def _prepared(
    found: Texts, bounds: tuple[float, float], tokenizer: Any, folder: Path, source: str, rank: int
) -> tuple[Path, crew.Job]:
    """The spec on disk, with the tokenizer if a worker can open it, and the job."""
    encode = shards.encoder(tokenizer)
    own = folder / f"rank-{rank}"
    if tokenizer.is_fast:
        files.write_text(own / TOKENIZER, tokenizer.backend_tokenizer.to_str())
    spec = {
        "of": source,
        "folder": str(folder),
        "files": found.files,
        "share": found.share,
        "screened": found.screened,
        "bounds": bounds,
        "tokenizer": str(own / TOKENIZER),
        "end": encode.end,
        "dtype": encode.dtype,
    }
    files.write_json(own / SPEC, spec)
    return own / SPEC, pack_range if tokenizer.is_fast else partial(pack_range, encode=encode)


def _write_manifest(folder: Path, count: int, source: str) -> None:
    notes = [json.loads((_range_folder(folder, i) / shards.METADATA).read_text(encoding="utf-8")) for i in range(count)]
    if wrong := [i for i, note in enumerate(notes) if note["of"] != source]:
        raise DataError(f"shard {wrong[0]} was packed from other text.", where=str(folder), remedy="Delete the folder.")
    files.write_json(folder / MANIFEST, {"of": source, "dtype": notes[0]["dtype"], "ranges": [note["parts"] for note in notes]})


def _whole(folder: Path, source: str) -> bool:
    path = folder / MANIFEST
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["of"] == source


def _range_folder(folder: Path, number: int) -> Path:
    return folder / f"{number:05}"


@lru_cache(maxsize=1)
def _ranges(names: tuple[str, ...], of: str) -> tuple[ranges.Range, ...]:
    """`of`: digest of the content, since a file may have changed under its name."""
    return ranges.ranges(names)


@lru_cache(maxsize=1)
def _fast_encoder(path: str, end: int | None, dtype: str, of: str) -> Encoder:
    """As transformers encodes with a fast tokenizer, which is not imported here: a worker starts in a fraction of a second.

    `of`: as for `_ranges`.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Encoder(lambda texts: [one.ids for one in tokenizer.encode_batch_fast(list(texts))], end, dtype)


if __name__ == "__main__":
    crew.work(pack_range)
