"""Raw text as tokens on disk: documents are tokenized once and memory-mapped, so a corpus may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung import files
from rung.errors import DataError
from rung.lm.trees.tree import Ints

TOKENIZE_BATCH = 64
"""Documents per call of the tokenizer."""

METADATA = "shard.json"


@dataclass(frozen=True)
class Shard:
    """Concatenated documents, each with its end token and, if the tokenizer adds one, its begin token."""

    tokens: NDArray[Any]  # (N,) uint16 or uint32, memory-mapped
    ends: Ints  # (D,) one past the last token of each document
    sizes: Ints  # (D,) bytes of each document

    @property
    def starts(self) -> Ints:
        return np.concatenate([[0], self.ends[:-1]])


def write(folder: Path, documents: Iterable[str], tokenizer: Any, source: str) -> Shard:
    """Tokenize documents into `folder`, atomically; a folder that already has them is opened.

    `source`: digest of the documents and the tokenizer. The text of a special token inside a document is encoded as plain
    text, so no document can end itself. DataError if there are no documents.
    """
    if (folder / METADATA).exists() and json.loads((folder / METADATA).read_text(encoding="utf-8"))["of"] == source:
        return read(folder)
    kind: type = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    with files.whole_folder(folder) as part:
        ends, sizes, total = [], [], 0
        with (part / "tokens.bin").open("wb") as file:
            for ids, size in _tokenized(documents, tokenizer):
                np.array(ids, kind).tofile(file)
                total += len(ids)
                ends.append(total)
                sizes.append(size)
        if not ends:
            raise DataError("there are no documents to tokenize.", remedy="Add text.")
        np.array(ends, np.int64).tofile(part / "ends.bin")
        np.array(sizes, np.int64).tofile(part / "sizes.bin")
        metadata = {"of": source, "dtype": np.dtype(kind).name, "tokens": total, "documents": len(ends), "bytes": sum(sizes)}
        files.write_json(part / METADATA, metadata)
    return read(folder)


def read(folder: Path) -> Shard:
    """Memory-map the tokens of a folder that `write` created."""
    kind = json.loads((folder / METADATA).read_text(encoding="utf-8"))["dtype"]
    tokens = np.memmap(folder / "tokens.bin", kind, "r")
    return Shard(tokens, np.fromfile(folder / "ends.bin", np.int64), np.fromfile(folder / "sizes.bin", np.int64))


def _tokenized(documents: Iterable[str], tokenizer: Any) -> Iterator[tuple[list[int], int]]:
    end, remaining = tokenizer.eos_token_id, iter(documents)
    while batch := list(islice(remaining, TOKENIZE_BATCH)):
        for ids, text in zip(tokenizer(batch, split_special_tokens=True).input_ids, batch):
            yield ids if end is None or ids[-1:] == [end] else [*ids, end], len(text.encode())
