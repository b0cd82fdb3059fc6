"""Rows of the tables ``intervals`` and ``handoffs`` as arrays, for all that write or read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gilscope.errors import TraceFormatError
from gilscope.tables.arrays import filled, numpy_of, strings
from gilscope.tables.schema import DECLARED, RELEASES, STATES, Column, Kind

Int = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Codes = npt.NDArray[np.int8]

RUN, WAIT = range(len(STATES))
FORCED, VOLUNTARY, OPEN = range(len(RELEASES))

NULL = -1
"""Stands for null in arrays of numbers, codes and flags: the numbers of a table are never negative."""
NO_TIME = NO_SITE = NO_RELEASE = NULL


class _Rows:
    """Arrays of one length; each field is a column of the table, without the ``_ns`` at its end.

    Words are positions among the words of the column, flags are 0 or 1, and null is `NULL`.
    """

    __slots__ = ()
    table: ClassVar[str]

    @classmethod
    def of(cls, **columns: npt.ArrayLike) -> Self:
        """Return rows whose fields are arrays (at least one of them) or one value for all rows.

        Fields that are left out are null.
        """
        n = next(len(values) for values in columns.values() if isinstance(values, np.ndarray))
        arrays = {}
        for name in cls._names():
            values = np.asarray(columns.get(name, NULL), _dtype(cls._column(name)))
            arrays[name] = values if values.ndim else np.full(n, values)
        return cls(**arrays)

    @classmethod
    def none(cls) -> Self:
        """Return no rows."""
        return cls(*(np.zeros(0, _dtype(cls._column(name))) for name in cls._names()))

    @classmethod
    def read(cls, batch: pa.RecordBatch) -> Self:
        """Return the rows of a batch of the table.

        Raises:
            TraceFormatError: if values are missing, or words are unknown.
        """
        declared = DECLARED[cls.table].columns
        missing = [name for name, column in declared.items() if not column.null and batch[name].null_count]
        if missing:
            raise damaged(cls.table, f"missing values in one of the columns {', '.join(missing)}")
        columns = {
            name.removesuffix("_ns"): _numpy_of(cls.table, name, column, batch[name])
            for name, column in declared.items()
        }
        return cls._of_columns(columns)

    @classmethod
    def _of_columns(cls, columns: dict[str, npt.NDArray[Any]]) -> Self:
        return cls(**columns)

    @classmethod
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls)]  # type: ignore[arg-type]

    @classmethod
    def _column(cls, name: str) -> Column | None:
        declared = DECLARED[cls.table].columns
        return declared.get(name) or declared.get(f"{name}_ns")

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the columns of the table, by name."""
        return {name: getattr(self, name.removesuffix("_ns")) for name in DECLARED[self.table].columns}

    def arrays(self) -> list[npt.NDArray[Any]]:
        """Return the fields, in order."""
        return [getattr(self, name) for name in self._names()]

    def __len__(self) -> int:
        return len(self.arrays()[0])

    def __getitem__(self, which: slice | npt.NDArray[np.bool_] | Int) -> Self:
        return type(self)(*(values[which] for values in self.arrays()))


@dataclass(slots=True)
class Intervals(_Rows):
    """Rows of ``intervals``, which hold the end instead of the duration."""

    table: ClassVar[str] = "intervals"
    interpreter: Numbers
    thread: Numbers
    state: Codes
    start: Int
    end: Int
    release: Codes
    site: Numbers

    @property
    def duration(self) -> Int:
        """Nanoseconds of each interval."""
        return self.end - self.start

    @classmethod
    def _of_columns(cls, columns: dict[str, npt.NDArray[Any]]) -> Self:
        end = columns["start"] + columns.pop("duration")
        return cls(**columns, end=end)


@dataclass(slots=True)
class Handoffs(_Rows):
    """Rows of ``handoffs``."""

    table: ClassVar[str] = "handoffs"
    interpreter: Numbers
    from_thread: Numbers
    to_thread: Numbers
    request: Int
    drop_request: Int
    release: Int
    acquire: Int
    gap: Int
    forced: Codes
    waiters: Numbers


Rows = TypeVar("Rows", Intervals, Handoffs)


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, of which there is at least one."""
    columns = zip(*(part.arrays() for part in parts), strict=True)
    return type(parts[0])(*(np.concatenate(column) for column in columns))


def by_start(rows: Intervals) -> Intervals:
    """Return the rows ordered by their start; those that start together keep their order."""
    return rows[np.argsort(rows.start, kind="stable")]


def damaged(table: str, what: str) -> TraceFormatError:
    """Return the error for a table that gilscope did not write like this."""
    return TraceFormatError(
        f"table {table!r}: {what}; the trace is damaged or was made by another program, record it again"
    )


def _dtype(column: Column | None) -> npt.DTypeLike:
    if column is None:
        return np.int64
    return np.int8 if column.kind in (Kind.WORD, Kind.FLAG) else np.dtype(str(column.type))


def _numpy_of(table: str, name: str, column: Column, values: pa.Array) -> npt.NDArray[Any]:
    """Return a column as numbers, with `NULL` for null."""
    if column.kind is Kind.WORD:
        codes = pc.index_in(values.dictionary_decode(), value_set=strings(column.words))
        if codes.null_count != values.null_count:
            raise damaged(table, f"column {name!r}: values other than {', '.join(column.words)}")
        values = codes
    elif column.kind is Kind.FLAG:
        values = values.cast(pa.int8())
    return numpy_of(filled(values, NULL)).astype(_dtype(column), copy=False)
