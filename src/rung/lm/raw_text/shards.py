"""Raw text as tokens on disk: documents tokenised once, then read by memory map, so that a corpus may outgrow memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.errors import DataError
from rung.lm.trees.tree import Ints

TOGETHER = 64
"""Documents tokenised at once."""

NOTE = "shard.json"


@dataclass(frozen=True)
class Shard:
    """Documents one after another, each with its begin token, where the tokenizer sets one, and its end token."""

    tokens: NDArray[Any]  # (N,) uint16 or uint32, mapped
    ends: Ints  # (D,) one past the last token of each document
    sizes: Ints  # (D,) bytes of each document

    @property
    def starts(self) -> Ints:
        return np.concatenate([[0], self.ends[:-1]])


def write(folder: Path, documents: Iterable[str], tokenizer: Any, of: str) -> Shard:
    """Tokenise documents into `folder`, which appears whole or not at all; one that holds the same already is opened.

    `of`: content name of the documents and the tokenizer. A special token's text inside a document is text, so no
    document can end itself. DataError where there is no document.
    """
    if (folder / NOTE).exists() and json.loads((folder / NOTE).read_text(encoding="utf-8"))["of"] == of:
        return read(folder)
    kind: type = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    work = folder.with_name(folder.name + ".part")
    for old in (work, folder):
        shutil.rmtree(old, ignore_errors=True)
    work.mkdir(parents=True)
    ends, sizes, total = [], [], 0
    with (work / "tokens.bin").open("wb") as file:
        for ids, size in _tokenised(documents, tokenizer):
            np.array(ids, kind).tofile(file)
            total += len(ids)
            ends.append(total)
            sizes.append(size)
    if not ends:
        raise DataError("no document is left to make tokens of.", remedy="Give more text.")
    np.array(ends, np.int64).tofile(work / "ends.bin")
    np.array(sizes, np.int64).tofile(work / "sizes.bin")
    note = {"of": of, "dtype": np.dtype(kind).name, "tokens": total, "documents": len(ends), "bytes": sum(sizes)}
    (work / NOTE).write_text(json.dumps(note, indent=1), encoding="utf-8")
    work.replace(folder)
    return read(folder)


def read(folder: Path) -> Shard:
    """Map the tokens of a folder that `write` made."""
    kind = json.loads((folder / NOTE).read_text(encoding="utf-8"))["dtype"]
    tokens = np.memmap(folder / "tokens.bin", kind, "r")
    return Shard(tokens, np.fromfile(folder / "ends.bin", np.int64), np.fromfile(folder / "sizes.bin", np.int64))


def _tokenised(documents: Iterable[str], tokenizer: Any) -> Iterator[tuple[list[int], int]]:
    end, left = tokenizer.eos_token_id, iter(documents)
    while some := list(islice(left, TOGETHER)):
        for ids, text in zip(tokenizer(some, split_special_tokens=True).input_ids, some):
            yield ids if end is None or ids[-1:] == [end] else [*ids, end], len(text.encode())
