"""Rows of a data frame, a data set or a list of dicts as plain JSON values. Imports none of the packages they come from."""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from rung.data.formats import refuse_surrogates
from rung.data.rows import quoted
from rung.errors import DataError

Table: TypeAlias = Any
"""A pandas or Polars DataFrame, a `datasets.Dataset`, a pyarrow Table, or an iterable of dicts (a column's name to its value).

An alias of Any: rung imports none of these packages, so a type checker cannot name their classes.
"""

MISSING = ("NAType", "NaTType")
"""Types of pandas' missing values; each is equal to nothing, itself included."""


def is_table(value: object) -> bool:
    """Whether a value holds rows rather than the names of files."""
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        return False
    return _package(value) in READERS or not (isinstance(value, Sequence) and value and _are_paths(value))


def rows(table: Table, name: str) -> list[dict[str, Any]]:
    """The rows of a table: None for a missing cell, ISO 8601 for dates, lists and dicts for nested values; an index is left out.

    `name` names the table in messages. DataError for no rows, for two columns of one name, for a cell that is not text,
    a number, a date, a list or a dict.
    """
    reader = READERS.get(_package(table), _dicts)
    found = []
    for number, (columns, values) in enumerate(reader(table, name), 1):
        names = _names(columns, name)
        found.append({key: cell(value, f"{name} row {number}, column {key!r}") for key, value in zip(names, values, strict=True)})
    if not found:
        raise DataError("there are no rows.", where=name, remedy="Give a table with at least some rows.")
    return found


def is_frame(value: object) -> bool:
    """Whether a value is a table with named columns."""
    return _package(value) in READERS and (hasattr(value, "columns") or hasattr(value, "column_names"))


def column(table: Table, wanted: str, name: str) -> Iterator[Any]:
    """The values of one column of a frame; DataError where it has none of that name."""
    for number, (columns, values) in enumerate(READERS[_package(table)](table, name), 1):
        row = dict(zip(_names(columns, name), values, strict=True))
        if wanted not in row:
            raise DataError(f"there is no column {wanted!r}.", where=name, remedy=f"The columns are {', '.join(row)}.")
        yield cell(row[wanted], f"{name} row {number}")


def cell(value: Any, where: str) -> Any:
    """One value as JSON stores it; DataError if JSON cannot."""
    if value is None or type(value).__name__ in MISSING:
        return None
    if isinstance(value, str):
        refuse_surrogates(value, where)
        return str(value)
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float | Decimal):
        return _number(value, where)
    if isinstance(value, datetime.date | datetime.time):  # a datetime and pandas' Timestamp are dates too
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if _package(value) == "numpy":
        return cell(value.tolist(), where)  # an array or a scalar
    if isinstance(value, Mapping):
        return {_name(key, where): cell(part, where) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [cell(part, where) for part in value]
    raise DataError(
        f"{quoted(value)} is a {type(value).__name__}, not text.",
        where=where,
        remedy="Convert the column to text, or leave it out.",
    )


def _number(value: float | Decimal, where: str) -> Any:
    if value != value:
        return None
    if math.isinf(value):
        raise DataError(f"{value} cannot be stored as JSON.", where=where, remedy="Replace it, or drop the row.")
    return float(value) if isinstance(value, float) else str(value)


def _name(column: Any, where: str) -> str:
    if isinstance(column, str):
        refuse_surrogates(column, where)
        return str(column)
    if isinstance(column, int) or _package(column) == "numpy":
        return str(column)
    raise DataError(f"the column name {quoted(column)} is not text.", where=where, remedy="Rename the columns to texts.")


def _names(columns: Iterable[Any], name: str) -> list[str]:
    names = [_name(column, name) for column in columns]
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise DataError(f"two columns are named {twice!r}.", where=name, remedy="Rename or drop all but one.")
    return names


# --- readers: an iterator of (columns, values) for each package ---------------------------------------------------------

Read = Iterator[tuple[Iterable[Any], Iterable[Any]]]


def _pandas(table: Any, name: str) -> Read:
    if not hasattr(table, "columns"):
        raise DataError(f"a {type(table).__name__} has one column.", where=name, remedy="Give a DataFrame with input and output.")
    columns = _names(table.columns, name)
    for values in zip(*[_widened(table.iloc[:, at]) for at in range(len(columns))]):
        yield columns, values


def _widened(column: Any) -> Iterable[Any]:
    """A column's values. Integers that pandas stored as floats, because some are missing, become integers again."""
    known = column.dropna()
    if column.dtype.kind == "f" and len(known) < len(column) and (known % 1 == 0).all():
        return [None if value != value else int(value) for value in column]
    return list(column)


def _polars(table: Any, name: str) -> Read:
    if not hasattr(table, "iter_rows"):
        raise DataError(f"a {type(table).__name__} holds no rows yet.", where=name, remedy="Call .collect() on a lazy frame.")
    for values in table.iter_rows():
        yield table.columns, values


def _datasets(table: Any, name: str) -> Read:
    if isinstance(table, Mapping):
        splits = ", ".join(map(str, table))
        raise DataError(
            f"a {type(table).__name__} holds several splits: {splits}.", where=name, remedy='Name one: train=dataset["train"].'
        )
    classes = {column: kind.names for column, kind in (table.features or {}).items() if type(kind).__name__ == "ClassLabel"}
    for row in table:
        yield row, [_class(value, classes[column]) if column in classes else value for column, value in row.items()]


def _class(value: int | None, names: Sequence[str]) -> str | None:
    """The name of a class; a negative number means no label."""
    return None if value is None or value < 0 else names[value]


def _arrow(table: Any, name: str) -> Read:
    for row in table.to_pylist():
        yield row, row.values()


def _dicts(table: Any, name: str) -> Read:
    if isinstance(table, Mapping) or not isinstance(table, Iterable):
        raise DataError(
            f"a {type(table).__name__} is not a table.",
            where=name,
            remedy="Give a pandas or Polars DataFrame, a datasets.Dataset or a list of dicts.",
        )
    for number, row in enumerate(table, 1):
        if not isinstance(row, Mapping):
            raise DataError(f"{quoted(row)} is not a dict.", where=f"{name} row {number}", remedy='Write {"input": …}.')
        yield row, row.values()


READERS: dict[str, Callable[[Any, str], Read]] = {
    "pandas": _pandas,
    "polars": _polars,
    "datasets": _datasets,
    "pyarrow": _arrow,
}
"""By the package that a table's class comes from."""


def _package(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def _are_paths(values: Sequence[object]) -> bool:
    return all(isinstance(one, str) or hasattr(one, "__fspath__") for one in values)
