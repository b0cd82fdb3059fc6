"""What the helpers accept: a trace, its path, or its tables as Arrow or pandas; each becomes `Tables`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gilscope.convert.folder import open_tables
from gilscope.errors import OptionError
from gilscope.tables import schema
from gilscope.tables.stored import Tables


@runtime_checkable
class HasTables(Protocol):
    """A `gilscope.Trace`, as this package sees it without importing it."""

    @property
    def _tables(self) -> Tables:
        """The tables; raises while the trace is being recorded."""


AnyTable: TypeAlias = "pa.Table | pd.DataFrame"
AnyTrace: TypeAlias = "HasTables | Tables | AnyTable | Mapping[str, AnyTable] | str | os.PathLike[str]"
"""A trace, a path to one, its table ``intervals`` or ``handoffs``, or several by name, as Arrow or pandas."""


def as_tables(trace: AnyTrace) -> Tables:
    """Return the tables that a helper computes on; see `gilscope.analysis.observed.observe`."""
    if isinstance(trace, Tables):
        return trace
    if isinstance(trace, str | os.PathLike):
        return open_tables(Path(trace).absolute())
    if isinstance(trace, pa.Table | pd.DataFrame):
        trace = {_name_of(trace): trace}
    if isinstance(trace, HasTables):
        return trace._tables
    if not isinstance(trace, Mapping) or not set(trace) <= set(schema.TABLES):
        raise OptionError(
            "expected a trace, its path, an Arrow table or DataFrame, or a mapping of "
            f"{', '.join(schema.TABLES)} to such tables; got {type(trace).__name__}"
        )
    return _from_tables({name: _typed(name, table) for name, table in trace.items()})


def _name_of(table: AnyTable) -> str:
    columns = set(table.columns if isinstance(table, pd.DataFrame) else table.column_names)
    for name, needed in (("intervals", {"state", "duration_ns"}), ("handoffs", {"from_thread", "to_thread"})):
        if needed <= columns:
            return name
    raise OptionError(
        f"expected the columns of the table 'intervals' or 'handoffs', got {sorted(columns)}; "
        "pass a mapping such as {'threads': ..., 'intervals': ...} for others"
    )


def _typed(name: str, table: AnyTable) -> pa.Table:
    """Return a table with the columns of the schema; missing ones have their default."""
    if not isinstance(table, pa.Table | pd.DataFrame):
        raise OptionError(f"expected an Arrow table or DataFrame {name!r}, got {type(table).__name__}")
    try:
        if isinstance(table, pd.DataFrame):
            table = pa.Table.from_pandas(table, preserve_index=False)
        typed = _cast(name, table)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise OptionError(
            f"expected the table {name!r} with columns {_columns(name)}, got others: {error}"
        ) from error
    missing = [c for c in schema.DECLARED[name].needed if typed[c].null_count or c not in table.column_names]
    if missing:
        raise OptionError(f"expected a value in each row of {name!r} for {', '.join(missing)}")
    return typed


def _columns(name: str) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema.TABLES[name])


def _cast(name: str, table: pa.Table) -> pa.Table:
    columns = []
    for column_name, column in schema.DECLARED[name].columns.items():
        if column_name in table.column_names:
            columns.append(table[column_name].cast(column.type))
        else:
            columns.append(pa.repeat(pa.scalar(column.default, column.type), table.num_rows))
    return pa.Table.from_arrays(columns, schema=schema.TABLES[name])


def _from_tables(tables: dict[str, pa.Table]) -> Tables:
    last = [
        tables[name][column]
        for name, column in (("handoffs", "acquire_ns"), ("threads", "last_ns"), ("samples", "time_ns"))
        if name in tables
    ]
    for name in {"intervals", "marks"} & tables.keys():
        last.append(pc.add(tables[name]["start_ns"], pc.fill_null(tables[name]["duration_ns"], 0)))
    ends = [pc.max(times).as_py() or 0 for times in last]
    return Tables(
        None, {"edges": "exact", "duration_ns": max(ends, default=0), "ticks": 0, "switches": 0}, tables
    )
