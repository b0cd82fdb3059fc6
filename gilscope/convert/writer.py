"""Writing the tables of a trace as Arrow files, a record batch at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gilscope.convert.threads import Threads
from gilscope.tables.arrays import coded, column
from gilscope.tables.rows import NULL, RUN, WAIT, Handoffs, Intervals
from gilscope.tables.schema import DECLARED, TABLES, Column, Kind
from gilscope.tables.spans import group_sums


class Writer:
    """Writes the Arrow files of a trace folder, a record batch at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, pa.ipc.RecordBatchFileWriter] = {}

    def write(self, name: str, /, **columns: npt.NDArray[Any] | pa.Array) -> None:
        """Append rows to a table.

        Args:
            name: a key of `gilscope.tables.schema.TABLES`.
            columns: every column of the table, as an Arrow array of its type or a NumPy array of numbers or
                positions among the column's words, with `gilscope.tables.rows.NULL` for null.
        """
        declared = DECLARED[name].columns
        if columns.keys() != declared.keys():
            raise TypeError(f"expected the columns {[*declared]}, got {[*columns]}")
        arrays = [_array(column, columns[c]) for c, column in declared.items()]
        self._writer(name).write_batch(pa.RecordBatch.from_arrays(arrays, schema=TABLES[name]))

    def _writer(self, name: str) -> pa.ipc.RecordBatchFileWriter:
        if name not in self._open:
            # Not compressed: tables are memory-mapped, so that those larger than memory can be read.
            self._open[name] = pa.ipc.new_file(str(self.file(name)), TABLES[name])
        return self._open[name]

    def file(self, name: str) -> Path:
        """Return where a table lies."""
        return self._folder / f"{name}.arrow"

    def close(self) -> None:
        """Finish every table, the empty ones too."""
        for name in TABLES:
            self._writer(name).close()
        self._open.clear()


def _array(declared: Column, values: npt.NDArray[Any] | pa.Array) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    if declared.kind is Kind.WORD:
        return coded(values, declared.words)
    return column(values, declared.type, values == NULL if declared.null else None)


class RowWriter:
    """Writes intervals and hand-offs, and sums up run and wait per thread."""

    def __init__(self, writer: Writer, threads: Threads) -> None:
        self._writer = writer
        self._threads = threads

    def intervals(self, rows: Intervals) -> None:
        """Write rows of ``intervals`` and add them to their threads."""
        if not len(rows):
            return
        threads = self._threads.in_order
        for state, attribute in ((RUN, "run_ns"), (WAIT, "wait_ns")):
            mine = rows.state == state
            sums = group_sums(rows.thread[mine], rows.duration[mine], len(threads))
            for i in np.flatnonzero(sums):
                setattr(threads[i], attribute, getattr(threads[i], attribute) + int(sums[i]))
        self._writer.write("intervals", **rows.columns())

    def handoffs(self, rows: Handoffs) -> None:
        """Write rows of ``handoffs``."""
        if len(rows):
            self._writer.write("handoffs", **rows.columns())
