"""Writing the tables of a trace as Arrow files, a record batch at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gilscope import schema
from gilscope import transitions as tr
from gilscope.names import Directory

Int = npt.NDArray[np.int64]

SOURCE_START, SOURCE_ARGUMENT, SOURCE_CALL, SOURCE_OBSERVED = range(len(schema.SOURCES))


class Writer:
    """Writes the Arrow files of a trace folder, a record batch at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, pa.ipc.RecordBatchFileWriter] = {}

    def write(self, name: str, columns: list[Any]) -> None:
        """Append rows to a table.

        Args:
            name: a key of `gilscope.schema.TABLES`.
            columns: one array a column, in the schema's order.
        """
        fields = schema.TABLES[name]
        batch = pa.record_batch([_array(c, f.type) for c, f in zip(columns, fields, strict=True)], fields)
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


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array(values, kind)


def _coded(codes: npt.NDArray[np.int8], words: tuple[str, ...]) -> pa.DictionaryArray:
    """Return a dictionary array; negative codes are null."""
    null = codes < 0
    indices = pa.array(codes, pa.int8(), mask=null if null.any() else None)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words))


def _nullable(times: Int) -> pa.Array:
    return pa.array(times, pa.int64(), mask=times == tr.NO_TIME)


class Rows:
    """Writes intervals and hand-offs, and sums up run and wait per thread."""

    def __init__(self, writer: Writer, directory: Directory) -> None:
        self._writer = writer
        self._directory = directory

    def intervals(self, rows: tr.Intervals) -> None:
        """Write rows of ``intervals`` and add them to their threads."""
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
                np.zeros(len(rows.thread), np.int32),
                _coded(rows.state, schema.STATES),
                rows.start,
                rows.duration,
                _coded(rows.release, schema.RELEASES),
            ],
        )

    def handoffs(self, rows: tr.Handoffs, *, exact: bool) -> None:
        """Write rows of ``handoffs``; of sampled ones gap and kind of release are not known."""
        n = len(rows.from_thread)
        if not n:
            return
        self._writer.write(
            "handoffs",
            [
                np.zeros(n, np.int32),
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


class SwitchIntervals:
    """Writes a row whenever the switch interval in force is not the one before."""

    def __init__(self, writer: Writer, interval_us: int, *, argument: bool) -> None:
        self._writer = writer
        self._last = interval_us
        source = SOURCE_ARGUMENT if argument else SOURCE_START
        self._write(np.zeros(1, np.int64), np.array([interval_us]), np.array([-1]), source)

    def see(self, time: Int, interval_us: Int, thread: Int) -> None:
        """Take in values seen, in any order; ``thread`` is -1 where it was the sampler that looked."""
        order = np.argsort(time, kind="stable")
        time, interval_us, thread = time[order], interval_us[order], thread[order]
        changed = np.diff(interval_us, prepend=self._last) != 0
        if changed.any():
            self._last = int(interval_us[-1])
            self._write(time[changed], interval_us[changed], thread[changed], SOURCE_OBSERVED)

    def _write(self, time: Int, interval_us: Int, thread: Int, source: int) -> None:
        self._writer.write(
            "switch_intervals",
            [
                time,
                interval_us.astype(np.int64) * 1000,
                pa.array(thread.astype(np.int32), pa.int32(), mask=thread < 0),
                _coded(np.full(len(time), source, np.int8), schema.SOURCES),
            ],
        )
