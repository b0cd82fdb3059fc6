"""Writing the tables of a trace as Arrow files, a record batch at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gilscope.convert import transitions as tr
from gilscope.convert.directory import Directory
from gilscope.tables import schema
from gilscope.tables.arrays import coded, column

Int = npt.NDArray[np.int64]


class Writer:
    """Writes the Arrow files of a trace folder, a record batch at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, pa.ipc.RecordBatchFileWriter] = {}

    def write(self, name: str, columns: list[Any]) -> None:
        """Append rows to a table.

        Args:
            name: a key of `gilscope.tables.schema.TABLES`.
            columns: one array a column, in the schema's order.
        """
        fields = schema.TABLES[name]
        batch = pa.RecordBatch.from_arrays(
            [
                c if isinstance(c, pa.Array) else column(c, f.type)
                for c, f in zip(columns, fields, strict=True)
            ],
            schema=fields,
        )
        self._writer(name).write_batch(batch)

    def _writer(self, name: str) -> pa.ipc.RecordBatchFileWriter:
        if name not in self._open:
            # Not compressed: tables are memory-mapped, so that those larger than memory can be read.
            self._open[name] = pa.ipc.new_file(str(self.file(name)), schema.TABLES[name])
        return self._open[name]

    def file(self, name: str) -> Path:
        """Return where a table lies."""
        return self._folder / f"{name}.arrow"

    def close(self) -> None:
        """Finish every table, the empty ones too."""
        for name in schema.TABLES:
            self._writer(name).close()
        self._open.clear()


def _nullable(times: Int) -> pa.Array:
    return column(times, pa.int64(), times == tr.NO_TIME)


class Rows:
    """Writes intervals and hand-offs, and sums up run and wait per thread."""

    def __init__(self, writer: Writer, directory: Directory) -> None:
        self._writer = writer
        self._directory = directory

    def intervals(self, rows: tr.Intervals, interpreter: Int | int = 0) -> None:
        """Write rows of ``intervals`` and add them to their threads.

        Args:
            rows: in the order in which they are to be read.
            interpreter: id of the interpreter whose GIL it is, of all rows or of each.
        """
        if not len(rows.thread):
            return
        n = len(self._directory.threads)
        for state, attribute in ((tr.RUN, "run_ns"), (tr.WAIT, "wait_ns")):
            mine = rows.state == state
            # Exact: sums of integers stay below 2**53 ns, 104 days.
            sums = np.bincount(rows.thread[mine], rows.duration[mine].astype(np.float64), minlength=n)
            for i in np.flatnonzero(sums):
                thread = self._directory.threads[i]
                setattr(thread, attribute, getattr(thread, attribute) + int(sums[i]))
        self._writer.write(
            "intervals",
            [
                rows.thread,
                np.broadcast_to(interpreter, len(rows.thread)),
                coded(rows.state, schema.STATES),
                rows.start,
                rows.duration,
                coded(rows.release, schema.RELEASES),
                column(rows.site, pa.int32(), rows.site == tr.NO_SITE),
            ],
        )

    def handoffs(self, rows: tr.Handoffs, interpreter: Int | int = 0, *, exact: bool) -> None:
        """Write rows of ``handoffs``; of sampled ones gap and kind of release are not known."""
        n = len(rows.from_thread)
        if not n:
            return
        self._writer.write(
            "handoffs",
            [
                np.broadcast_to(interpreter, n),
                rows.from_thread,
                rows.to_thread,
                _nullable(rows.request),
                _nullable(rows.drop_request),
                rows.release,
                rows.acquire,
                rows.acquire - rows.release if exact else pa.nulls(n, pa.int64()),
                rows.forced if exact else pa.nulls(n, pa.bool_()),
                rows.waiters,
            ],
        )
