"""The table of ticks: a row for each, with the number of records that were lost before it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.convert.writer import Writer

Int = npt.NDArray[np.int64]


class Ticks:
    """Writes the table ``samples``.

    Records are lost while the ring is full, and the first record that finds room again holds their number:
    they are missing between the record before it and it. By then a sampler that came too late has ticked. So
    rows are held back until no loss can belong to them.

    Args:
        writer: of the tables.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._times: list[int] = []
        self._rows: list[list[int]] = []  # late_ns, switches, dropped
        self._written_until = 0
        self._complete_ns = 0
        self._losses: list[tuple[int, int, int]] = []  # after, until, how many

    def add(
        self,
        ticks: list[tuple[int, int, int]],
        kind: npt.NDArray[np.uint8],
        arg: npt.NDArray[Any],
        time: Int,
        complete_ns: int,
    ) -> None:
        """Add a chunk: its ticks (``time_ns``, ``late_ns``, ``switches``) and its records.

        All records to come are at ``complete_ns`` or later.
        """
        self._times += [tick[0] for tick in ticks]
        self._rows += [[late, switches, 0] for _, late, switches in ticks]
        at = np.flatnonzero(kind == spool.LOST)
        after = np.concatenate((np.array([self._complete_ns], np.int64), time))[at]
        self._losses += zip(after.tolist(), time[at].tolist(), arg[at].tolist(), strict=True)
        self._complete_ns = complete_ns
        over = [loss for loss in self._losses if self._times and loss[1] < self._times[-1]]
        self._losses = self._losses[len(over) :]
        self._locate(over)
        self._write(bisect_right(self._times, min([complete_ns, *(loss[0] for loss in self._losses)])))

    def end(self, end_ns: int) -> None:
        """Set the end of the trace, which may be read after a tick that came later."""
        self._times = [min(time, max(end_ns, self._written_until)) for time in self._times]

    def close(self, end_ns: int, switches: int) -> bool:
        """Write what is left; return whether a row had to be added, for losses after all ticks.

        Args:
            end_ns: the end of the trace.
            switches: of the GIL, since the last tick.
        """
        self.end(end_ns)
        last = self._times[-1] if self._times else self._written_until
        added = any(until > last for _, until, _ in self._losses) or (bool(self._losses) and not self._times)
        if added:
            self._times.append(max(end_ns, last))
            self._rows.append([0, switches, 0])
        self._locate(self._losses)
        self._write(len(self._rows))
        return added

    def _locate(self, losses: list[tuple[int, int, int]]) -> None:
        """Give losses to the rows in whose time they lie."""
        for after, until, n in losses:
            last = len(self._times) - 1
            first = min(bisect_right(self._times, after), last)
            self._share_out(
                range(first, min(bisect_left(self._times, until, first), last) + 1), after, until, n
            )

    def _share_out(self, rows: range, after: int, until: int, n: int) -> None:
        """Give each row one lost record, and the row with most of the time the rest."""

        def overlap(row: int) -> int:
            begin = self._times[row - 1] if row else self._written_until
            return min(self._times[row], until) - max(begin, after)

        widest = max(rows, key=overlap)
        for row in rows:
            if row != widest and n > 1:
                self._rows[row][2] += 1
                n -= 1
        self._rows[widest][2] += n

    def _write(self, n: int) -> None:
        if n == 0:
            return
        late, switches, dropped = np.array(self._rows[:n], np.int64).T
        times = np.array(self._times[:n], np.int64)
        self._writer.write("samples", time_ns=times, late_ns=late, switches=switches, dropped=dropped)
        self._written_until = self._times[n - 1]
        del self._times[:n], self._rows[:n]
