"""Data files read as a stream of raw rows, each with the place it came from: csv, tsv, jsonl, json, parquet, arrow."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rung.errors import DataError
from rung.types import Split

Row = Mapping[str, Any]
Rows = Iterator[tuple[Row, str]]


def read_rows(path: Path, label: str) -> Rows:
    """The rows of one file as (columns, place). `label` names the file in places and messages.

    Raises DataError with the line for a missing file, a wrong encoding, a ragged or broken row, a NUL byte.
    """
    if not path.exists():
        raise _no_such_file(path, label)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"files ending in {path.suffix or 'nothing'!r} cannot be read.",
            where=label,
            remedy=f"Give one of {', '.join(READERS)}, or a folder of them.",
        )
    return reader(path, label)


def _no_such_file(path: Path, label: str) -> DataError:
    from rapidfuzz import fuzz, process

    there = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    near = process.extractOne(path.name, there, scorer=fuzz.ratio, score_cutoff=60)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return DataError("there is no such file.", where=label, remedy=f"{hint}Paths are relative to rung.yaml.")


# Text


def lines(path: Path, label: str) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends. DataError with the line for another encoding or a NUL byte."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, 1):
                if "\0" in line:
                    raise DataError(
                        f"there is a NUL byte at character {line.index(chr(0)) + 1}.",
                        where=f"{label} line {number}",
                        remedy=f"The file is damaged or in UTF-16. Try: {_iconv('UTF-16', label)}",
                    )
                yield line
    except UnicodeDecodeError:
        raise _wrong_encoding(path, label) from None


def _iconv(encoding: str, label: str) -> str:
    path = Path(label)
    return f"iconv -f {encoding} -t UTF-8 '{path}' > '{path.with_suffix('.utf8' + path.suffix)}'"


def _wrong_encoding(path: Path, label: str) -> DataError:
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                encoding = "UTF-16" if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff") else _likely(line)
                return DataError(
                    f"byte {offset + error.start} of the file, {line[error.start : error.start + 1]!r}, is not UTF-8;"
                    f" this looks like {encoding}.",
                    where=f"{label} line {number}",
                    remedy=f"Save it as UTF-8, or run: {_iconv(encoding, label)}",
                )
            offset += len(line)
    raise AssertionError(f"{path} decodes line by line but not as a whole")


def _likely(line: bytes) -> str:
    """Lone high bytes are accents in Western text; runs of them are another script."""
    if max(map(len, re.findall(rb"[\x80-\xff]+", line))) == 1:
        return "WINDOWS-1252"
    for encoding in ("GB18030", "SHIFT_JIS", "WINDOWS-1251"):
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "WINDOWS-1252"


def _csv(path: Path, label: str) -> Rows:
    head = next((line for line in lines(path, label) if line.strip()), "")
    delimiter = max(",;\t", key=lambda mark: len(next(csv.reader([head], delimiter=mark), ())))
    return _separated(path, label, delimiter)


def _tsv(path: Path, label: str) -> Rows:
    return _separated(path, label, "\t")


LONGEST_CELL = 2**30
"""Characters; Python's csv stops at 131,072, which a document in a cell may have."""


def _separated(path: Path, label: str, delimiter: str) -> Rows:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(lines(path, label), delimiter=delimiter, strict=True)
    header: list[str] = []
    start = 1
    try:
        for cells in reader:
            where, start = f"{label} line {start}", reader.line_num + 1
            if not cells:
                continue
            if not header:
                header = _header(cells, where)
            elif len(cells) != len(header):
                raise DataError(
                    f"the row has {len(cells)} cells and the header {len(header)} (separator {delimiter!r}).",
                    where=where,
                    remedy="Put cells that hold the separator, a quote or a line break in double quotes.",
                )
            else:
                yield dict(zip(header, cells)), where
    except csv.Error as error:
        raise DataError(
            f"the row that starts here cannot be read: {error}.",
            where=f"{label} line {start}",
            remedy='Look for a double quote that is not closed, or not doubled ("") inside a quoted cell.',
        ) from None


def _header(cells: list[str], where: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"the column {twice!r} stands there twice.", where=where, remedy="Rename one of them.")
    return names


def _jsonl(path: Path, label: str) -> Rows:
    for number, line in enumerate(lines(path, label), 1):
        if line.strip():
            where = f"{label} line {number}"
            yield _mapping(_parse(line, where, "Each line must be one whole JSON object."), where), where


def _json(path: Path, label: str) -> Rows:
    head = next((line for line in lines(path, label) if line.strip()), "").lstrip()
    if head.startswith("{"):  # JSON lines under the other name
        yield from _jsonl(path, label)
        return
    rows = _parse("".join(lines(path, label)) or "[]", label, "The file must be one JSON list of objects.")
    for number, row in enumerate(rows if isinstance(rows, list) else [rows], 1):
        where = f"{label} item {number}"
        yield _mapping(row, where), where


def _parse(text: str, where: str, remedy: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        near = text[max(0, error.pos - 20) : error.pos + 20].strip()
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"broken JSON at {place}, near {near!r}: {error.msg}.", where=where, remedy=remedy) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets within brackets
        raise DataError(f"this JSON cannot be read: {str(error)[:100]}.", where=where, remedy=remedy) from None


def _mapping(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{quoted(row)} is no object.", where=where, remedy='Write rows as {"column": value, ...}.')
    return row


def quoted(value: Any, longest: int = 60) -> str:
    """A value as messages quote it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


# Columnar


def _parquet(path: Path, label: str) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _batch_rows(file.iter_batches(), file.schema_arrow, label)
    except (pa.ArrowException, OSError) as error:  # OSError: a page inside is damaged
        raise _unreadable(error, label) from None


def _arrow(path: Path, label: str) -> Rows:
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                file = pa.ipc.open_file(source)
                yield from _batch_rows(map(file.get_batch, range(file.num_record_batches)), file.schema, label)
            else:
                source.seek(0)
                stream = pa.ipc.open_stream(source)
                yield from _batch_rows(stream, stream.schema, label)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error, label) from None


def _batch_rows(batches: Iterable[Any], schema: Any, label: str) -> Rows:
    names = _class_names(schema)
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            for column, labels in names.items():
                code = row[column]
                # -1 is how Hugging Face datasets write "not labelled"
                row[column] = labels[code] if code is not None and 0 <= code < len(labels) else None
            yield row, f"{label} row {number}"


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Columns that hold codes of labels, with the labels, as Hugging Face datasets note them in the schema."""
    import pyarrow as pa

    noted = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(noted)["info"]["features"] if noted else {}
    except (ValueError, KeyError, TypeError):  # notes of another kind
        return {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        # a column may have been dropped since, or its codes turned into names
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and pa.types.is_integer(_type(schema, column))
    }


def _type(schema: Any, column: str) -> Any:
    import pyarrow as pa

    return schema.field(column).type if column in schema.names else pa.null()


def _unreadable(error: Exception, label: str) -> DataError:
    reason = str(error).splitlines()[0]
    return DataError(f"the file cannot be read: {reason}", where=label, remedy="It is damaged or cut off; get it anew.")


READERS: dict[str, Callable[[Path, str], Rows]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
    ".tsv": _tsv,
    ".json": _json,
}

# Folders

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "validation", "valid", "val", "eval"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_NOTES = {"dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json"}


def shards(folder: Path) -> dict[Split | None, list[Path]]:
    """The readable files of a Hugging Face style folder, by the split that their file or folder name tells.

    The key None holds them where no name tells a split. Names some tell and some don't are a DataError.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not _is_hidden(p, folder) and p.name not in _NOTES)
    kinds = {p.suffix.lower() for p in files} & set(READERS)
    kinds -= {".json"} if len(kinds) > 1 else set()  # beside data, json is a list of labels or a config
    if len(kinds) != 1:
        found = f"files of several kinds ({', '.join(sorted(kinds))})" if kinds else "no readable file"
        raise DataError(
            f"the folder holds {found}.",
            where=str(folder),
            remedy=f"Name one file, or keep one of {', '.join(READERS)}.",
        )
    by_split: dict[Split | None, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in kinds:
            by_split.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if None in by_split and len(by_split) > 1:
        raise DataError(
            f"the name of {quoted(by_split[None][0].name)} tells no split, and those of other files do.",
            where=str(folder),
            remedy="Name the files under data.train, data.dev and data.test.",
        )
    return by_split


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _split_of(path: Path) -> Split | None:
    for part in (path.stem, *reversed(path.parent.parts)):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLIT_NAMES:
                return SPLIT_NAMES[word]
    return None
