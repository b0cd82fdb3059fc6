"""The tables of a trace: their names, columns and types, said once for every reader and writer.

Every time is an integer of nanoseconds since the start of the trace and its column ends in ``_ns``.
"""

from typing import Any

import pyarrow as pa

_STATE = pa.dictionary(pa.int8(), pa.string())

STATES = ("run", "wait")
RELEASES = ("forced", "voluntary", "open")
SOURCES = ("start", "trace argument", "call", "observed")

THREADS = pa.schema(
    [
        ("thread", pa.int32()),
        ("native_id", pa.int64()),
        ("ident", pa.uint64()),
        ("name", pa.string()),
        ("interpreter", pa.int32()),
        ("is_main", pa.bool_()),
        ("first_ns", pa.int64()),
        ("last_ns", pa.int64()),
        ("run_ns", pa.int64()),
        ("wait_ns", pa.int64()),
        ("cpu_ns", pa.int64()),
    ]
)

INTERVALS = pa.schema(
    [
        ("thread", pa.int32()),
        ("interpreter", pa.int32()),
        ("state", _STATE),
        ("start_ns", pa.int64()),
        ("duration_ns", pa.int64()),
        ("release", _STATE),
        ("site", pa.int32()),
    ]
)

HANDOFFS = pa.schema(
    [
        ("interpreter", pa.int32()),
        ("from_thread", pa.int32()),
        ("to_thread", pa.int32()),
        ("request_ns", pa.int64()),
        ("drop_request_ns", pa.int64()),
        ("release_ns", pa.int64()),
        ("acquire_ns", pa.int64()),
        ("gap_ns", pa.int64()),
        ("forced", pa.bool_()),
        ("waiters", pa.int32()),
    ]
)

SWITCH_INTERVALS = pa.schema(
    [
        ("time_ns", pa.int64()),
        ("interval_ns", pa.int64()),
        ("previous_ns", pa.int64()),
        ("thread", pa.int32()),
        ("source", _STATE),
        ("file", pa.string()),
        ("line", pa.int32()),
    ]
)

SAMPLES = pa.schema(
    [
        ("time_ns", pa.int64()),
        ("late_ns", pa.int64()),
        ("switches", pa.int64()),
        ("dropped", pa.int64()),
    ]
)

MARKS = pa.schema(
    [
        ("thread", pa.int32()),
        ("name", pa.string()),
        ("start_ns", pa.int64()),
        ("duration_ns", pa.int64()),
        ("complete", pa.bool_()),
    ]
)

SITES = pa.schema(
    [
        ("site", pa.int32()),
        ("parent", pa.int32()),
        ("function", pa.string()),
        ("file", pa.string()),
        ("line", pa.int32()),
        ("first_line", pa.int32()),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "threads": THREADS,
    "intervals": INTERVALS,
    "handoffs": HANDOFFS,
    "switch_intervals": SWITCH_INTERVALS,
    "samples": SAMPLES,
    "marks": MARKS,
    "sites": SITES,
}

LATER = ("marks", "sites")
"""Tables that traces of the first version do not have."""

LATER_COLUMNS = {"intervals": ("site",)}
"""Columns at the end of tables that traces of the first version do not have; there they are null."""


def first(name: str) -> pa.Schema:
    """Return the columns that a table had in the first version."""
    later = LATER_COLUMNS.get(name, ())
    return pa.schema([field for field in TABLES[name] if field.name not in later])


def completed(name: str, rows: Any) -> Any:
    """Return a table or record batch with the columns that came later, null where it has none."""
    for column in TABLES[name].names[len(rows.schema) :]:
        field = TABLES[name].field(column)
        rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows
