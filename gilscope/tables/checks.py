"""What a trace that somebody else made must fulfil before anybody computes on it.

The helpers rely on it: a thread's number is a position, a time can be added to another. What is merely
nonsense, such as two threads that hold the GIL at once, harms nobody and is not looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gilscope.tables import schema
from gilscope.tables.arrays import numpy_of
from gilscope.tables.metadata import is_required, keys

LATEST_NS = 1 << 60
"""36 years: no trace is longer, so that two times can be added."""
MOST_NS = 1 << 62
"""All intervals together are shorter, so that they can be added up."""
LARGEST_ID = (1 << 31) - 1
"""Of an interpreter: they are not used again."""

_NEVER_NULL = {
    "threads": ("thread",),
    "intervals": ("thread", "interpreter", "state", "start_ns", "duration_ns"),
    "handoffs": ("interpreter", "from_thread", "to_thread", "release_ns", "acquire_ns"),
    "switch_intervals": ("time_ns", "interval_ns"),
    "samples": ("time_ns",),
    "marks": ("thread", "start_ns", "complete"),
    "sites": ("site", "function"),
}
MOST_PIDS = 1 << 22
"""Of Linux, on 64 bits."""

_WORDS = {"state": schema.STATES, "release": schema.RELEASES, "source": schema.SOURCES}
INSTANTS = (
    "first_ns",
    "last_ns",
    "start_ns",
    "request_ns",
    "drop_request_ns",
    "release_ns",
    "acquire_ns",
    "time_ns",
)
_IN_ORDER = ("samples", "switch_intervals")


def check_rows(
    name: str, rows: pa.Table | pa.RecordBatch, n_threads: int, n_sites: int, length_ns: int
) -> None:
    """Look at each value of a table, or of a part of one.

    Args:
        name: a key of `gilscope.tables.schema.TABLES`.
        rows: with the columns of that table.
        n_threads: rows of the table ``threads``.
        n_sites: rows of the table ``sites``.
        length_ns: how long the trace is.

    Raises:
        ValueError: a value is none that a trace can have.
        pyarrow.ArrowException: the buffers of a column do not fit one another.
    """
    rows.validate(full=True)
    for field in schema.TABLES[name]:
        column = rows.column(field.name)
        if column.null_count and field.name in _NEVER_NULL[name]:
            raise ValueError(f"column {field.name!r}: expected a value in each row, found nulls")
        if pa.types.is_dictionary(field.type):
            _check_words(field.name, column)
        elif pa.types.is_integer(field.type):
            _check_numbers(field.name, column, _most(field.name, n_threads, n_sites, length_ns))
    if name == "intervals":
        _check_intervals(rows, length_ns)


def check_table(name: str, table: pa.Table) -> None:
    """Look at how the rows of a whole table follow one another.

    Raises:
        ValueError: threads or sites are not numbered from 0, a site is called by itself or a later one, or
            rows are not in order of time.
    """
    numbered = {"threads": "thread", "sites": "site"}.get(name)
    if numbered and table[numbered].to_pylist() != list(range(table.num_rows)):
        raise ValueError(f"column {numbered!r}: expected 0, 1, 2 and so on")
    if name == "sites" and pc.any(pc.greater_equal(table["parent"], table["site"])).as_py():
        raise ValueError("column 'parent': expected an earlier site")
    if name in _IN_ORDER:
        times = numpy_of(table["time_ns"])
        if (times[1:] < times[:-1]).any():
            raise ValueError("column 'time_ns': expected times that never decrease")


def _check_words(name: str, column: pa.ChunkedArray | pa.DictionaryArray) -> None:
    allowed = {*_WORDS[name]}
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        found = {*chunk.dictionary.to_pylist()}
        if not found <= allowed:
            raise ValueError(f"column {name!r}: expected {', '.join(_WORDS[name])}, found {found - allowed}")


def _most(name: str, n_threads: int, n_sites: int, length_ns: int) -> int:
    """Return the largest number that a column can hold."""
    if name.endswith("thread"):
        return n_threads - 1
    if name in ("site", "parent"):
        return n_sites - 1
    if name in INSTANTS:
        return length_ns
    return {"interpreter": LARGEST_ID, "ident": (1 << 64) - 1}.get(name, MOST_NS)


def _check_numbers(name: str, column: pa.ChunkedArray | pa.Array, most: int) -> None:
    found = pc.min_max(column).as_py()
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
    """Look at each value of a trace's metadata that anything relies on; others may be what they are.

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
        for name in schema.TABLES
        if whole and name not in schema.LATER and f"{name}.arrow" not in metadata["files"]
    ]
    if missing:
        raise ValueError(f"key 'files': expected {', '.join(missing)} in it")
