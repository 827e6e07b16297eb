"""Rows of parquet and arrow files. Duplicate columns are an error; label codes become label names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.data.rows import Rows, refuse_repeated
from rung.errors import DataError


def parquet_rows(path: Path, label: str, **which: Any) -> Rows:
    """The rows of a parquet file, batch by batch. `which`: row groups and batch size, as pyarrow's `iter_batches` has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield from _batch_rows(lambda: file.iter_batches(**which), file.schema_arrow, label)
    except (pa.ArrowException, OSError) as error:  # OSError: a page inside is damaged
        raise _unreadable(error, label) from None


def arrow_rows(path: Path, label: str) -> Rows:
    """The rows of an arrow file, of either form."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            if source.read(6) == b"ARROW1":
                file = pa.ipc.open_file(source)
                yield from _batch_rows(lambda: map(file.get_batch, range(file.num_record_batches)), file.schema, label)
            else:
                source.seek(0)
                stream = pa.ipc.open_stream(source)
                yield from _batch_rows(lambda: stream, stream.schema, label)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(error, label) from None


def _batch_rows(batches: Any, schema: Any, label: str) -> Rows:
    _refuse_repeated(schema, label)
    names = _class_names(schema)
    number = 0
    for batch in batches():
        for row in _values(batch, f"{label} row {number + 1}"):
            number += 1
            for column, labels in names.items():
                code = row[column]
                # -1 is how Hugging Face datasets write "not labelled"
                row[column] = labels[code] if code is not None and 0 <= code < len(labels) else None
            yield row, f"{label} row {number}"


def _values(batch: Any, where: str) -> list[dict[str, Any]]:
    import pyarrow as pa

    try:
        rows: list[dict[str, Any]] = batch.to_pylist(maps_as_pydicts="strict")
    except (pa.ArrowException, OSError):
        raise
    except (ValueError, OverflowError, TypeError) as error:  # invalid UTF-8, times outside Python's range
        raise DataError(
            f"a value of the {batch.num_rows} rows from here on cannot be read: {str(error).splitlines()[0]}.",
            where=where,
            remedy="Write times as text or with microseconds, and text as UTF-8; a map has each key once.",
        ) from None
    for field in batch.schema:
        if short := _short(field.type):
            for row in rows:
                row[field.name] = short(row[field.name])
    return rows


def _short(kind: Any) -> Callable[[Any], Any] | None:
    """What reads a number of 32 or 16 bits, also in an object, as it was written; None for types without any.

    Python widens 0.1 of 32 bits to 0.10000000149011612. Lists of numbers are left: those are embeddings, large and not read.
    """
    import numpy as np
    import pyarrow as pa

    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        narrow = np.float32 if pa.types.is_float32(kind) else np.float16
        return lambda value: value if value is None else float(str(narrow(value)))
    if pa.types.is_struct(kind):
        parts = {field.name: short for field in kind if (short := _short(field.type))}
        change = {name: parts.get(name, _same) for name in (field.name for field in kind)}
        return (lambda value: value and {name: change[name](one) for name, one in value.items()}) if parts else None
    return None


def _same(value: Any) -> Any:
    return value


def _refuse_repeated(kind: Any, label: str) -> None:
    """DataError if two columns, or two fields within one, have the same name: Python would keep only the last."""
    import pyarrow as pa

    fields = [kind.field(i) for i in range(kind.num_fields if isinstance(kind, pa.DataType) else len(kind.names))]
    if isinstance(kind, pa.Schema) or pa.types.is_struct(kind):
        refuse_repeated([field.name for field in fields], label)
    for field in fields:
        _refuse_repeated(field.type, label)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Label names of ClassLabel columns, from Hugging Face metadata in the schema."""
    import pyarrow as pa

    noted = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(noted)["info"]["features"] if noted else {}
    except (ValueError, KeyError, TypeError):  # other metadata
        return {}
    return {
        column: feature["names"]
        for column, feature in features.items()
        # the column may have been dropped or converted
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and pa.types.is_integer(_type(schema, column))
    }


def _type(schema: Any, column: str) -> Any:
    import pyarrow as pa

    return schema.field(column).type if column in schema.names else pa.null()


def _unreadable(error: Exception, label: str) -> DataError:
    reason = str(error).splitlines()[0]
    return DataError(f"the file cannot be read: {reason}", where=label, remedy="It is damaged or truncated; get it again.")
