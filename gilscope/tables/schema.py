"""The tables of a trace: each column is declared here once, for every reader, writer and check.

To add a column, declare it at the end of its table with a new version, and write it in `gilscope.convert`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

STATES = ("run", "wait")
RELEASES = ("forced", "voluntary", "open")
SOURCES = ("start", "trace argument", "call", "observed")

_LARGEST_INTERPRETER = (1 << 31) - 1  # ids are not used again
_LARGEST_IDENT = (1 << 64) - 1


class Kind(enum.Enum):
    """What the values of a column are; each kind has a usual Arrow type."""

    INSTANT = "instant"
    DURATION = "duration"
    ID = "id"
    COUNT = "count"
    LINE = "line"
    TEXT = "text"
    WORD = "word"
    FLAG = "flag"

    @property
    def unit(self) -> str | None:
        """The unit: nanoseconds of times (instants count from the start of the trace), else None."""
        return "ns" if self in (Kind.INSTANT, Kind.DURATION) else None


_TYPES = {
    Kind.INSTANT: pa.int64(),
    Kind.DURATION: pa.int64(),
    Kind.ID: pa.int32(),
    Kind.COUNT: pa.int64(),
    Kind.LINE: pa.int32(),
    Kind.TEXT: pa.string(),
    Kind.WORD: pa.dictionary(pa.int8(), pa.string()),
    Kind.FLAG: pa.bool_(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table. Numbers are never negative.

    Args:
        kind: what its values are.
        arrow: its Arrow type, if it is not the usual one of its kind.
        null: whether values may be null.
        since: the version of the tables that added it.
        of: of an id, the table whose row it is: from 0 to less than the number of rows.
        most: the largest number, if it is smaller or larger than that of other columns.
        words: of words, the ones that may occur.
        default: the value where a table that was not written by gilscope lacks the column; None for null.
    """

    kind: Kind
    arrow: pa.DataType | None = None
    null: bool = False
    since: int = 1
    of: str | None = None
    most: int | None = None
    words: tuple[str, ...] = ()
    default: int | bool | None = None

    @property
    def type(self) -> pa.DataType:
        """The Arrow type."""
        return self.arrow or _TYPES[self.kind]

    @property
    def needed(self) -> bool:
        """Whether a table that was not written by gilscope must have it."""
        return not self.null and self.default is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table.

    Args:
        columns: in order; later versions add columns at the end only.
        since: the version that added the table.
        numbered: the column that holds 0, 1, 2 and so on.
        ordered: the column that never decreases from row to row.
    """

    columns: dict[str, Column]
    since: int = 1
    numbered: str | None = None
    ordered: str | None = None

    def names(self, kind: Kind) -> list[str]:
        """Return the names of all columns of a kind."""
        return [name for name, column in self.columns.items() if column.kind is kind]

    @property
    def needed(self) -> list[str]:
        """Columns that a table must have that was not written by gilscope."""
        return [name for name, column in self.columns.items() if column.needed]

    @property
    def refers_to(self) -> set[str]:
        """The tables whose rows its ids are."""
        return {column.of for column in self.columns.values() if column.of}


_INTERPRETER = Column(kind=Kind.ID, most=_LARGEST_INTERPRETER, default=0)
_THREAD = Column(kind=Kind.ID, of="threads")
_INSTANT = Column(kind=Kind.INSTANT)
_INSTANT_OR_NULL = Column(kind=Kind.INSTANT, null=True)
_DURATION_OR_NULL = Column(kind=Kind.DURATION, null=True)
_COUNT_OR_NULL = Column(kind=Kind.COUNT, null=True)
_LINE_OR_NULL = Column(kind=Kind.LINE, null=True)
_TEXT_OR_NULL = Column(kind=Kind.TEXT, null=True)

DECLARED = {
    "threads": Table(
        numbered="thread",
        columns={
            "thread": _THREAD,
            "native_id": Column(kind=Kind.ID, arrow=pa.int64(), null=True),
            "ident": Column(kind=Kind.ID, arrow=pa.uint64(), null=True, most=_LARGEST_IDENT),
            "name": _TEXT_OR_NULL,
            "interpreter": Column(kind=Kind.ID, null=True, most=_LARGEST_INTERPRETER, default=0),
            "is_main": Column(kind=Kind.FLAG, null=True),
            "first_ns": _INSTANT_OR_NULL,
            "last_ns": _INSTANT_OR_NULL,
            "run_ns": _DURATION_OR_NULL,
            "wait_ns": _DURATION_OR_NULL,
            "cpu_ns": _DURATION_OR_NULL,
        },
    ),
    "intervals": Table(
        columns={
            "thread": _THREAD,
            "interpreter": _INTERPRETER,
            "state": Column(kind=Kind.WORD, words=STATES),
            "start_ns": _INSTANT,
            "duration_ns": Column(kind=Kind.DURATION),
            "release": Column(kind=Kind.WORD, words=RELEASES, null=True),
            "site": Column(kind=Kind.ID, of="sites", null=True, since=2),
        },
    ),
    "handoffs": Table(
        columns={
            "interpreter": _INTERPRETER,
            "from_thread": _THREAD,
            "to_thread": _THREAD,
            "request_ns": _INSTANT_OR_NULL,
            "drop_request_ns": _INSTANT_OR_NULL,
            "release_ns": _INSTANT,
            "acquire_ns": _INSTANT,
            "gap_ns": _DURATION_OR_NULL,
            "forced": Column(kind=Kind.FLAG, null=True),
            "waiters": Column(kind=Kind.COUNT, arrow=pa.int32(), null=True),
        },
    ),
    "switch_intervals": Table(
        ordered="time_ns",
        columns={
            "time_ns": _INSTANT,
            "interval_ns": Column(kind=Kind.DURATION),
            "previous_ns": _DURATION_OR_NULL,
            "thread": Column(kind=Kind.ID, of="threads", null=True),
            "source": Column(kind=Kind.WORD, words=SOURCES, null=True),
            "file": _TEXT_OR_NULL,
            "line": _LINE_OR_NULL,
        },
    ),
    "samples": Table(
        ordered="time_ns",
        columns={
            "time_ns": _INSTANT,
            "late_ns": _DURATION_OR_NULL,
            "switches": _COUNT_OR_NULL,
            "dropped": _COUNT_OR_NULL,
        },
    ),
    "marks": Table(
        since=2,
        columns={
            "thread": _THREAD,
            "name": Column(kind=Kind.TEXT),
            "start_ns": _INSTANT,
            "duration_ns": _DURATION_OR_NULL,
            "complete": Column(kind=Kind.FLAG, default=True),
        },
    ),
    "sites": Table(
        since=2,
        numbered="site",
        columns={
            "site": Column(kind=Kind.ID, of="sites"),
            "parent": Column(kind=Kind.ID, of="sites", null=True),
            "function": Column(kind=Kind.TEXT),
            "file": _TEXT_OR_NULL,
            "line": _LINE_OR_NULL,
            "first_line": _LINE_OR_NULL,
        },
    ),
}

TABLES: dict[str, pa.Schema] = {
    name: pa.schema([(c, column.type) for c, column in table.columns.items()])
    for name, table in DECLARED.items()
}
"""The Arrow schema of each table."""


def versions(name: str) -> list[pa.Schema]:
    """Return the schemas that a table has had, the newest first."""
    table = DECLARED[name]
    numbers = sorted({table.since, *(column.since for column in table.columns.values())}, reverse=True)
    return [
        pa.schema([(c, column.type) for c, column in table.columns.items() if column.since <= number])
        for number in numbers
    ]


def completed(name: str, rows: Any) -> Any:
    """Return a table or record batch of any version with the columns that later versions added, null."""
    for field in list(TABLES[name])[len(rows.schema) :]:
        rows = rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows
