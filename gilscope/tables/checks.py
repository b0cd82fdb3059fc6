"""Checks the tables and the metadata of a trace from an unknown source before they are used.

The helpers rely on them: a thread's number is a position, and two times can be added. Rows that merely
contradict one another, such as two threads that hold the GIL at once, do no harm and are not looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gilscope.tables import schema
from gilscope.tables.arrays import numpy_of
from gilscope.tables.metadata import is_required, keys
from gilscope.tables.schema import Column, Kind

LATEST_NS = 1 << 60
"""36 years: no trace is longer, so that two times can be added."""
MOST_NS = 1 << 62
"""All intervals together are shorter, so that they can be added up."""
MOST_PIDS = 1 << 22
"""Of Linux, on 64 bits."""


def check_rows(name: str, rows: pa.Table | pa.RecordBatch, n_rows: Mapping[str, int], length_ns: int) -> None:
    """Check each value of a table, or of a part of one, against the declaration of its column.

    Args:
        name: a key of `gilscope.tables.schema.TABLES`.
        rows: with the columns of that table.
        n_rows: how many rows the tables have that this one refers to.
        length_ns: how long the trace is.

    Raises:
        ValueError: if a value is out of range.
        pyarrow.ArrowException: if the buffers of a column do not fit one another.
    """
    rows.validate(full=True)
    for column_name, column in schema.DECLARED[name].columns.items():
        values = rows.column(column_name)
        if values.null_count and not column.null:
            raise ValueError(f"column {column_name!r}: expected a value in each row, found nulls")
        if column.kind is Kind.WORD:
            _check_words(column_name, values, column.words)
        elif pa.types.is_integer(column.type):
            _check_numbers(column_name, values, _most(column, n_rows, length_ns))
    if name == "intervals":
        _check_intervals(rows, length_ns)


def check_table(name: str, table: pa.Table) -> None:
    """Check how the rows of a whole table follow one another.

    Raises:
        ValueError: if threads or sites are not numbered from 0, a site is called by itself or a later one, or
            rows are not in order of time.
    """
    numbered, ordered = schema.DECLARED[name].numbered, schema.DECLARED[name].ordered
    if numbered and table[numbered].to_pylist() != list(range(table.num_rows)):
        raise ValueError(f"column {numbered!r}: expected 0, 1, 2 and so on")
    if name == "sites" and pc.any(pc.greater_equal(table["parent"], table["site"])).as_py():
        raise ValueError("column 'parent': expected an earlier site")
    if ordered:
        times = numpy_of(table[ordered])
        if (times[1:] < times[:-1]).any():
            raise ValueError(f"column {ordered!r}: expected times that never decrease")


def _check_words(name: str, values: pa.ChunkedArray | pa.DictionaryArray, allowed: tuple[str, ...]) -> None:
    for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
        found = {*chunk.dictionary.to_pylist()}
        if not found <= {*allowed}:
            raise ValueError(f"column {name!r}: expected {', '.join(allowed)}, found {found - {*allowed}}")


def _most(column: Column, n_rows: Mapping[str, int], length_ns: int) -> int:
    """Return the largest number that a column can hold."""
    if column.of:
        return n_rows[column.of] - 1
    if column.kind is Kind.INSTANT:
        return length_ns
    return MOST_NS if column.most is None else column.most


def _check_numbers(name: str, values: pa.ChunkedArray | pa.Array, most: int) -> None:
    found = pc.min_max(values).as_py()
    if found["min"] is not None and not (found["min"] >= 0 and found["max"] <= most):
        value = found["min"] if found["min"] < 0 else found["max"]
        raise ValueError(f"column {name!r}: expected values from 0 to {most}, found {value}")


def _check_intervals(rows: pa.Table | pa.RecordBatch, length_ns: int) -> None:
    start, duration = (rows.column(name) for name in ("start_ns", "duration_ns"))
    if (pc.max(pc.add(start, duration)).as_py() or 0) > length_ns:
        raise ValueError(f"columns 'start_ns' and 'duration_ns': expected sums of at most {length_ns}")
    if _total(duration) > MOST_NS:
        raise ValueError(f"column 'duration_ns': expected a sum of at most {MOST_NS}, found more")


def _total(durations: pa.ChunkedArray | pa.Array) -> float:
    """Return a sum without a carry, or a bound of it where that is enough."""
    bound = float((pc.max(durations).as_py() or 0) * len(durations))
    return bound if bound <= MOST_NS else pc.sum(durations.cast(pa.float64(), safe=False)).as_py()


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_NS


def _is_count_or_null(value: object) -> bool:
    return value is None or _is_count(value)


def _is_pid(value: object) -> bool:
    return _is_count(value) and isinstance(value, int) and value <= MOST_PIDS


def _is_length(value: object) -> bool:
    return _is_count(value) and isinstance(value, int) and value <= LATEST_NS


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST_NS


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _is_edges(value: object) -> bool:
    return value in ("exact", "sampled")


def _is_files(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(v, dict) and v.keys() == {"bytes", "crc32"} and all(map(_is_count, v.values()))
        for v in value.values()
    )


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "Text": (_is_text, "a text"),
    "Texts": (_is_texts, "a list of texts"),
    "Flag": (_is_flag, "true or false"),
    "Count": (_is_count, "a count"),
    "CountOrNull": (_is_count_or_null, "a count or null"),
    "Pid": (_is_pid, "a process id"),
    "Length": (_is_length, f"nanoseconds up to {LATEST_NS}"),
    "Seconds": (_is_number, "seconds"),
    "Edges": (_is_edges, "'exact' or 'sampled'"),
    "Files": (_is_files, "bytes and crc32 of each file"),
}
"""Types of keys of `gilscope.tables.metadata.Metadata`: what fits, and what to expect."""


def check_metadata(metadata: dict[str, Any], *, whole: bool) -> None:
    """Check each value of a trace's metadata that is used; other keys may have any value.

    Args:
        metadata: the content of ``metadata.json``.
        whole: whether the trace has tables, or only a spool yet.

    Raises:
        ValueError: if a key is missing, or has a value that does not fit.
    """
    for key in keys():
        fits, expected = _KINDS[str(key.type)]
        if is_required(key, whole=whole) and key.name not in metadata:
            raise ValueError(f"key {key.name!r}: expected {expected}, found nothing")
        if key.name in metadata and not fits(metadata[key.name]):
            raise ValueError(f"key {key.name!r}: expected {expected}, found {metadata[key.name]!r:.60}")
    missing = [
        f"{name}.arrow"
        for name, table in schema.DECLARED.items()
        if whole and table.since == 1 and f"{name}.arrow" not in metadata["files"]
    ]
    if missing:
        raise ValueError(f"key 'files': expected {', '.join(missing)} in it")
