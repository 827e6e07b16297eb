"""Raw text as tokens on disk: documents are tokenized once and memory-mapped, so a corpus may be larger than memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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

    tokens: Any  # (N,) uint16 or uint32, memory-mapped: one array, or several as `Joined`
    ends: Ints  # (D,) one past the last token of each document
    sizes: Ints  # (D,) bytes of each document

    @property
    def starts(self) -> Ints:
        return np.concatenate([[0], self.ends[:-1]])


class Joined:
    """Arrays one after another, read by slices as if they were one."""

    def __init__(self, arrays: Sequence[NDArray[Any]]):
        self.arrays = arrays
        self.ends = np.cumsum([len(one) for one in arrays])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, wanted: slice) -> NDArray[Any]:
        begin, end, _ = wanted.indices(len(self))
        at = int(np.searchsorted(self.ends, begin, side="right"))
        parts = [self.arrays[0][:0]]
        while begin < end:
            start = int(self.ends[at]) - len(self.arrays[at])
            parts.append(self.arrays[at][begin - start : end - start])
            begin, at = int(self.ends[at]), at + 1
        return np.concatenate(parts)


@dataclass(frozen=True)
class Encoder:
    """How documents become tokens."""

    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]
    """The tokens of each text. The text of a special token is encoded as plain text, so no document can end itself."""
    end: int | None
    """The token that ends a document, added where it is missing."""
    dtype: str
    """Data type of the tokens."""


def encoder(tokenizer: Any) -> Encoder:
    """How a tokenizer of transformers encodes documents."""
    kind = "uint16" if len(tokenizer) <= 2**16 else "uint32"
    return Encoder(lambda texts: tokenizer(texts, split_special_tokens=True).input_ids, tokenizer.eos_token_id, kind)


def write(folder: Path, documents: Iterable[str], tokenizer: Any, source: str) -> Shard:
    """Tokenize documents into `folder`, atomically; a folder that already has them is opened.

    `source`: digest of the documents and the tokenizer. DataError if there are no documents.
    """
    note = write_parts(folder, (("", text) for text in documents), ("",), encoder(tokenizer), source)
    if not note["parts"][""]["documents"]:
        raise DataError("there are no documents to tokenize.", remedy="Add text.")
    return join([folder], note["dtype"])


def write_parts(
    folder: Path, documents: Iterable[tuple[str, str]], parts: Sequence[str], encode: Encoder, source: str
) -> Mapping[str, Any]:
    """Tokenize documents, each given with the name of its part, into a subfolder of `folder` for each part, atomically.

    Returns the metadata: of each part its tokens, documents and bytes, and the SHA-256 of its files. A folder that already has
    these documents is left as it is.
    """
    if (stored := _metadata(folder)).get("of") == source:
        return stored
    with files.whole_folder(folder) as whole:
        opened = {name: _Part(whole / name, encode.dtype) for name in parts}
        left = iter(documents)
        while batch := list(islice(left, TOKENIZE_BATCH)):
            for (name, text), ids in zip(batch, encode.encode([text for _, text in batch])):
                ended = encode.end is None or list(ids[-1:]) == [encode.end]
                opened[name].add(ids if ended else [*ids, encode.end], len(text.encode()))
        note = {"of": source, "dtype": encode.dtype, "parts": {name: part.close() for name, part in opened.items()}}
        files.write_json(whole / METADATA, note)
    return note


def join(folders: Sequence[Path], dtype: str) -> Shard:
    """Memory-map the tokens of folders that have been written, as one text."""
    sizes = [(one / "tokens.bin").stat().st_size for one in folders]
    arrays = [np.memmap(one / "tokens.bin", dtype, "r") for one, size in zip(folders, sizes) if size]
    before = np.cumsum([0, *sizes[:-1]]) // np.dtype(dtype).itemsize
    ends = [np.fromfile(one / "ends.bin", np.int64) + start for one, start in zip(folders, before)]
    bytes_ = [np.fromfile(one / "sizes.bin", np.int64) for one in folders]
    tokens: Any = arrays[0] if len(arrays) == 1 else Joined(arrays) if arrays else np.empty(0, dtype)
    return Shard(tokens, np.concatenate(ends), np.concatenate(bytes_))


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class _Part:
    """The files of one part under way."""

    def __init__(self, folder: Path, dtype: str):
        folder.mkdir(exist_ok=True)
        self.dtype, self.tokens, self.documents, self.bytes = dtype, 0, 0, 0
        self.files = [(folder / f"{name}.bin").open("wb") for name in ("tokens", "ends", "sizes")]  # written into: a new folder
        self.hashed = hashlib.sha256()

    def add(self, ids: Sequence[Any], size: int) -> None:
        self.tokens += len(ids)
        self.documents += 1
        self.bytes += size
        for file, values, kind in zip(self.files, (ids, [self.tokens], [size]), (self.dtype, "int64", "int64")):
            content = np.array(values, kind).tobytes()
            file.write(content)
            self.hashed.update(content)

    def close(self) -> dict[str, Any]:
        for file in self.files:
            file.close()
        return {"tokens": self.tokens, "documents": self.documents, "bytes": self.bytes, "sha256": self.hashed.hexdigest()}
