"""From a spool to the tables of a trace, as Arrow files, in chunks: memory does not grow with length."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.convert.edges import Exact, Sampled
from gilscope.convert.marks import Marks
from gilscope.convert.sites import Sites
from gilscope.convert.spool import Batch, Clock, SpoolReader
from gilscope.convert.switchintervals import SwitchIntervals
from gilscope.convert.threads import Threads
from gilscope.convert.ticks import Ticks
from gilscope.convert.writer import RowWriter, Writer
from gilscope.tables.arrays import column, strings

CHUNK_RECORDS = 1 << 19
CHUNK_TICKS = 1 << 16

Int = npt.NDArray[np.int64]


@dataclass(slots=True)
class Totals:
    """What a conversion counted; times are nanoseconds since the start of the trace."""

    start_monotonic_ns: int = 0
    start_unix_ns: int = 0
    duration_ns: int = 0
    ticks: int = 0
    late_ticks: int = 0
    transitions: int = 0
    dropped: int = 0
    switches: int = 0
    illegal: int = 0
    clock_error_ns: int = 0
    complete: bool = False


class Conversion:
    """One pass over a spool: reads chunks of batches and passes each part to its reader."""

    def __init__(self, reader: SpoolReader, folder: Path, *, interval_argument: bool) -> None:
        header = reader.header
        self._reader = reader
        self._period_ns = header.period_ns
        self.totals = Totals()
        self.writer = Writer(folder)
        self._threads = Threads(by_record=header.exact)
        self._clock = Clock(header.start_stamp, header.start_monotonic_ns, counts=header.clock == "tsc")
        self._zero: int | None = None  # the trace's beginning, in the clock's nanoseconds
        self._end: int | None = None
        self._last_ns = 0
        self._complete_ns = 0  # all later records have later times
        self._looks = np.zeros((2, 0), np.int64)  # of the sampler, at the switch interval; later than that
        self._switches: int | None = None
        self._first_switches = 0
        self._switches_begin: int | None = None
        self._switches_end: int | None = None
        self._saw_cpu = False
        rows = RowWriter(self.writer, self._threads)
        self._sites = Sites(self.writer)
        self._exact = Exact(rows, self._threads, self._sites) if header.exact else None
        self._sampled = (
            Sampled(rows, self._threads, counted=header.counted)
            if header.sampled and not header.exact
            else None
        )
        self._intervals = SwitchIntervals(self.writer, header.interval_us, argument=interval_argument)
        self._marks = Marks(self.writer, self._threads)
        self._ticks = Ticks(self.writer)

    def run(self, progress: Callable[[int], None] | None = None) -> Totals:
        """Convert all; call ``progress`` with the bytes of spool read so far."""
        for chunk in self._chunks():
            self._convert(chunk)
            if progress:
                progress(self._reader.position)
        self._close()
        return self.totals

    def _chunks(self) -> Iterator[list[Batch]]:
        chunk: list[Batch] = []
        records = 0
        for batch in self._reader.batches():
            chunk.append(batch)
            records += len(batch.records) + len(batch.cpus) + len(batch.states)
            self.totals.complete = batch.last
            if records >= CHUNK_RECORDS or len(chunk) >= CHUNK_TICKS:
                yield chunk
                chunk, records = [], 0
        if chunk:
            yield chunk

    def _convert(self, chunk: list[Batch]) -> None:
        for batch in chunk:
            self._clock.add(batch.stamp, batch.monotonic_ns, batch.pair_error_ns)
            for block in batch.described:
                self._sites.read(block)
        records = np.concatenate([b.records for b in chunk])
        stamps = records["stamp"] & ~spool.LAP_BIT
        time = self._clock.convert(stamps)
        # A batch's own time is taken after its records.
        np.minimum(time, chunk[-1].monotonic_ns - self._clock.start_monotonic_ns, out=time)
        kind = (records["word"] & np.uint64(31)).astype(np.uint8)
        gil = (records["word"] >> np.uint64(5) & np.uint64(127)).astype(np.uint8)
        speaker = (records["word"] >> np.uint64(12) & np.uint64(0xFFFFF)).astype(np.int32)
        arg = records["word"] >> np.uint64(32)
        self._find_begin(kind, time, arg)
        time -= self._zero or 0
        # Not the last batch's time: a sampler that came late drains what happened long before its ticks.
        np.maximum(time, self._complete_ns, out=time)
        # Processors' counters agree to nanoseconds, not exactly; slot order is the order of events.
        np.maximum.accumulate(time, out=time)
        self._find_end(kind, time, arg)
        if len(time):
            self._last_ns = int(time[-1])
        self._complete_ns = max(self._complete_ns, self._last_ns, self._empty_ns(chunk))
        self._read_others(kind, gil, speaker, arg, time)
        self._add_ticks(chunk, kind, arg, time)
        thread = self._numbers(kind, speaker, time) if self._exact else speaker
        self._add_intervals(chunk, (kind == spool.REQUEST) & (gil == 0), thread, arg, time)
        self._add_cpus(chunk)
        if self._exact:
            self._exact.add(kind, gil, thread, arg, time)
        if self._sampled:
            self._sampled.add(chunk, self._relative)
        self._marks.add(kind, speaker, arg, time)
        self._last_ns = max(self._last_ns, self._relative(chunk[-1].monotonic_ns))
        self._clock.forget(stamps[-1] if len(stamps) else None)

    def _relative(self, monotonic_ns: int) -> int:
        """Turn CLOCK_MONOTONIC into the trace's time, kept inside the trace."""
        since = monotonic_ns - self._clock.start_monotonic_ns - (self._zero or 0)
        return max(since if self._end is None else min(since, self._end), 0)

    def _empty_ns(self, chunk: list[Batch]) -> int:
        """Return when the ring was last seen empty: what was recorded by then has been read."""
        return next((self._relative(b.monotonic_ns) for b in reversed(chunk) if not len(b.records)), 0)

    def _find_begin(self, kind: npt.NDArray[np.uint8], time: Int, arg: npt.NDArray[Any]) -> None:
        if self._zero is None and (begins := np.flatnonzero(kind == spool.BEGIN)).size:
            self._zero = int(time[begins[0]])
            self._switches_begin = int(arg[begins[0]])

    def _find_end(self, kind: npt.NDArray[np.uint8], time: Int, arg: npt.NDArray[Any]) -> None:
        if self._end is None and (ends := np.flatnonzero(kind == spool.END)).size:
            self._end = int(time[ends[0]])
            self._switches_end = int(arg[ends[0]])
            self._ticks.end(self._end)

    def _read_others(
        self,
        kind: npt.NDArray[np.uint8],
        gil: npt.NDArray[np.uint8],
        thread: npt.NDArray[np.int32],
        arg: npt.NDArray[Any],
        time: Int,
    ) -> None:
        others = np.flatnonzero(
            ((kind >= spool.THREAD) & (kind <= spool.LINE) & (kind != spool.BEGIN) & (kind != spool.END))
            | spool.is_about_a_gil(kind)
        )
        columns = (kind[others], gil[others], thread[others], arg[others], time[others])
        for k, g, speaker, value, at in zip(*(c.tolist() for c in columns), strict=True):
            self._threads.read(k, speaker, value, at, gil=g)
            self._intervals.read(k, speaker, value, at)
            if k == spool.INTERVAL:
                self._intervals.set_thread(speaker, self._threads.number_of_speaker(speaker, at))

    def _numbers(
        self, kind: npt.NDArray[np.uint8], speaker: npt.NDArray[np.int32], time: Int
    ) -> npt.NDArray[np.int32]:
        """Return the threads' numbers in the tables; a record of a loss has no thread."""
        own = np.flatnonzero(kind != spool.LOST)
        thread = speaker.copy()
        thread[own] = self._threads.numbers(speaker[own], time[own])
        return thread

    def _add_ticks(
        self, chunk: list[Batch], kind: npt.NDArray[np.uint8], arg: npt.NDArray[Any], time: Int
    ) -> None:
        self.totals.dropped += int(arg[kind == spool.LOST].sum())
        rows: list[tuple[int, int, int]] = []
        for batch in chunk:
            if self._switches is None:
                self._switches = self._first_switches = batch.switches
            self.totals.switches = batch.switches - self._first_switches
            if batch.tick:
                switches = max(batch.switches - self._switches, 0)
                rows.append((self._relative(batch.monotonic_ns), batch.late_ns, switches))
                self._switches = batch.switches
        self.totals.ticks += len(rows)
        self.totals.late_ticks += sum(row[1] > self._period_ns for row in rows)
        self._ticks.add(rows, kind, arg, time, self._complete_ns)

    def _add_intervals(
        self,
        chunk: list[Batch],
        asks: npt.NDArray[np.bool_],
        thread: npt.NDArray[np.int32],
        arg: npt.NDArray[Any],
        time: Int,
    ) -> None:
        now = [(self._relative(b.monotonic_ns), b.interval_us) for b in chunk]
        looks = np.hstack((self._looks, np.array(now, np.int64).T))
        final = looks[0] <= self._complete_ns
        self._looks = looks[:, ~final]
        at, seen = looks[:, final]
        self._intervals.add(
            np.concatenate((time[asks], at)),
            np.concatenate((arg[asks].astype(np.int64), seen)),
            np.concatenate((thread[asks].astype(np.int64), np.full(len(at), -1, np.int64))),
        )

    def _add_cpus(self, chunk: list[Batch]) -> None:
        for batch in chunk:
            if not len(batch.cpus):
                continue
            take = self._threads.cpu if self._saw_cpu else self._threads.start_cpu
            for native_id, cpu_ns in zip(
                batch.cpus["native_id"].tolist(), batch.cpus["cpu_ns"].tolist(), strict=True
            ):
                take(native_id, cpu_ns)
            self._saw_cpu = True

    def _close(self) -> None:
        header = self._reader.header
        t = self.totals
        t.duration_ns = self._last_ns if self._end is None else self._end
        t.start_monotonic_ns = self._clock.start_monotonic_ns + (self._zero or 0)
        t.start_unix_ns = header.start_unix_ns + (self._zero or 0)
        t.clock_error_ns = self._clock.error_ns
        since_tick = max(t.switches + self._first_switches - (self._switches or 0), 0)
        t.ticks += self._ticks.close(t.duration_ns, since_tick)
        t.switches = self._count_switches(t.switches)
        for source in (self._exact, self._sampled):
            if source:
                source.end(t.duration_ns)
        if self._exact:
            self._exact.close()
            t.illegal, t.transitions = self._exact.illegal, self._exact.transitions
        self._marks.close(t.duration_ns)
        self._sites.close()
        self._write_threads()
        at, seen = self._looks
        self._intervals.add(np.minimum(at, t.duration_ns), seen, np.full(len(at), -1, np.int64))
        self._intervals.close()
        self.writer.close()

    def _count_switches(self, between_looks: int) -> int:
        """Return the switches inside the trace: looks come a little before and after its bounds."""
        if self._switches_begin is None or self._switches_end is None:
            return between_looks
        inside = (self._switches_end - self._switches_begin) % (1 << 32)
        return inside + max(round((between_looks - inside) / (1 << 32)), 0) * (1 << 32)

    def _write_threads(self) -> None:
        threads = self._threads.in_order
        idents = [t.ident for t in threads]

        def numbers(attribute: str) -> Int:
            return np.array([getattr(t, attribute) for t in threads], np.int64)

        self.writer.write(
            "threads",
            thread=np.arange(len(threads)),
            native_id=numbers("native_id"),
            ident=column(
                np.array([i or 0 for i in idents], np.uint64),
                null=np.array([i is None for i in idents], np.bool_),
            ),
            name=strings([t.label for t in threads]),
            interpreter=numbers("interpreter"),
            is_main=numbers("native_id") == self._reader.header.pid,
            first_ns=numbers("first_ns"),
            last_ns=numbers("last_ns"),
            run_ns=numbers("run_ns"),
            wait_ns=numbers("wait_ns"),
            cpu_ns=numbers("cpu_ns"),
        )
