"""The table ``switch_intervals``: which value was in force from when on, and what set it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.convert.threads import LONGEST_NAME
from gilscope.convert.writer import Writer
from gilscope.tables.arrays import strings
from gilscope.tables.rows import NULL
from gilscope.tables.schema import SOURCES

Int = npt.NDArray[np.int64]

START, ARGUMENT, CALL, OBSERVED = range(len(SOURCES))
"""Positions in `gilscope.tables.schema.SOURCES`."""

_LAST_LINE = (1 << 31) - 1
_MOST_HELD_BACK = 1 << 16  # rows, behind a call whose records never end
_ASKING_NS = 1_000_000  # far longer than from reading the interval to waiting with it


@dataclass(slots=True)
class _Row:
    time_ns: int
    interval_us: int
    previous_us: int | None
    thread: int
    source: int
    line: int = 0
    file: bytearray = field(default_factory=bytearray)
    whole: bool = True  # false while records of the caller's file may follow


def _began_before(seen: _Row, call: _Row) -> bool:
    """Return whether a wait saw the interval from before a call because its request began before."""
    old = call.source == CALL and seen.interval_us == call.previous_us
    return old and seen.thread >= 0 and seen.time_ns - call.time_ns < _ASKING_NS


def _with_first_after(calls: list[_Row], changed: Int, time: Int) -> Int:
    """Add the first value seen after each call: the call changed what is compared with."""
    after = np.searchsorted(time, [c.time_ns for c in calls], "right")
    return np.union1d(changed, after[after < len(time)])


class SwitchIntervals:
    """Merges the recorded calls with the values that waits and ticks saw.

    Args:
        writer: where rows go.
        interval_us: the interval in force when the trace began.
        argument: whether an argument of `gilscope.trace` set it.
    """

    def __init__(self, writer: Writer, interval_us: int, *, argument: bool) -> None:
        self._writer = writer
        self._rows = [_Row(0, interval_us, None, -1, ARGUMENT if argument else START)]
        self._last = interval_us
        self._open: dict[int, _Row] = {}  # by thread: the call whose records are not complete
        self._calls: list[_Row] = []  # of this chunk

    def read(self, kind: int, speaker: int, arg: int, time_ns: int) -> None:
        """Read one record that is not a transition; a record about something else ends a call."""
        if kind == spool.INTERVAL:
            row = self._open[speaker] = _Row(time_ns, arg, None, speaker, CALL, whole=False)
            self._calls.append(row)
            return
        call = self._open.get(speaker)
        if call is None:
            return
        if kind == spool.INTERVAL_WAS:
            call.previous_us = arg
        elif kind == spool.LINE:
            call.line = min(arg, _LAST_LINE)
        elif kind == spool.TEXT:
            call.file += arg.to_bytes(4, "little")
            call.whole = call.file.endswith(b"\0") or len(call.file) >= LONGEST_NAME
        else:
            call.whole = True
        if call.whole:
            del self._open[speaker]

    def set_thread(self, speaker: int, thread: int) -> None:
        """Set the number that the thread of an open call has in the tables."""
        self._open[speaker].thread = thread

    def add(self, time: Int, interval_us: Int, thread: Int) -> None:
        """Add values that were seen, in any order, and the calls read since the last time.

        Args:
            time: nanoseconds since the start of the trace.
            interval_us: the value seen then.
            thread: the thread that waited with it; -1 if the sampler saw it.
        """
        calls, self._calls = self._calls, []
        order = np.argsort(time, kind="stable")
        time, interval_us, thread = time[order], interval_us[order], thread[order]
        # Only a value that differs from the one before is a change.
        changed = np.flatnonzero(np.diff(interval_us, prepend=self._last) != 0)
        if calls:
            changed = _with_first_after(calls, changed, time)
        seen = [
            _Row(*row, OBSERVED)
            for row in zip(
                time[changed].tolist(),
                interval_us[changed].tolist(),
                [None] * len(changed),
                thread[changed].tolist(),
                strict=True,
            )
        ]
        for row in sorted(seen + calls, key=lambda row: row.time_ns):
            self._add(row)
        self._flush(keep=1)

    def _add(self, row: _Row) -> None:
        last = self._rows[-1] if self._rows else None
        if row.source == OBSERVED:
            if row.interval_us == self._last or (last and _began_before(row, last)):
                return
            row.previous_us = self._last
        elif last and last.source == OBSERVED and last.interval_us == row.interval_us != row.previous_us:
            # A tick came between the call and its record: it saw what the call did.
            self._rows.pop()
        self._last = row.interval_us
        self._rows.append(row)

    def _flush(self, keep: int) -> None:
        """Write the rows that nothing to come can change."""
        n = max(len(self._rows) - keep, 0)
        n = next((i for i, row in enumerate(self._rows[:n]) if not row.whole and n - i < _MOST_HELD_BACK), n)
        rows, self._rows = self._rows[:n], self._rows[n:]
        if not rows:
            return
        unknown = np.array([r.source != CALL for r in rows], np.bool_)
        self._writer.write(
            "switch_intervals",
            time_ns=np.array([r.time_ns for r in rows], np.int64),
            interval_ns=np.array([r.interval_us * 1000 for r in rows], np.int64),
            previous_ns=np.array(
                [NULL if r.previous_us is None else r.previous_us * 1000 for r in rows], np.int64
            ),
            thread=np.array([r.thread for r in rows], np.int32),
            source=np.array([r.source for r in rows], np.int8),
            file=strings([r.file.rstrip(b"\0").decode("utf-8", "replace") for r in rows], unknown),
            line=np.where(unknown, NULL, [r.line for r in rows]),
        )

    def close(self) -> None:
        """Write what is left."""
        for row in self._rows:
            row.whole = True
        self._flush(keep=0)
