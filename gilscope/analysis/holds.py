"""Holds, and the waits that they cause."""

from __future__ import annotations

import itertools
from numbers import Real
from typing import Literal

import numpy as np
import pandas as pd

from gilscope.analysis import estimates
from gilscope.analysis.gils import MOST_CELLS, Gil, Spans, Threads
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.analysis.places import Places, labelled, places
from gilscope.errors import OptionError
from gilscope.tables.rows import NO_SITE, NO_TIME, OPEN
from gilscope.tables.schema import RELEASES
from gilscope.tables.spans import Int, group_sums, longest_first, overlaps

LONG = 4
"""Mean wait per waiter, in switch intervals, above which a hold is long if its drop request is not known."""


def holds(t: AnyTrace, over: float | None = None) -> pd.DataFrame:
    """Return one row per run interval, the longest first: which thread held the GIL, and what it cost others.

    ``inflicted_ns`` is the time that threads waited during the hold, summed over threads: two threads that
    wait through a hold of 100 ms make 200 ms.

    Args:
        t: a trace, its path, or its tables.
        over: seconds; only longer holds are returned. None for all.

    Returns:
        Columns ``thread``, ``thread_name`` (category), ``interpreter``, ``start_ns``, ``duration_ns``
        (int64), ``release`` (category: forced, voluntary, open; null with sampled edges), ``waiters``
        (threads that waited during it; int64), ``inflicted_ns`` (int64), ``overrun_ns`` (how long the hold
        went on after the drop request of the thread that took over; Int64, null if that sent none), ``site``
        (a row of the table ``sites``, see `sites`; Int32, null if not known). A hold that a hole touches has
        the part that is known, and no overrun. With sampled edges all are as precise as the period.

    Raises:
        OptionError: if ``over`` is negative or not a number.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> int(gilscope.analysis.holds(t)["inflicted_ns"].sum())
        0
    """
    trace = observe(t)
    least = _nanoseconds(over)
    parts = [_holds(trace, gil, least) for gil in trace.gils]
    return parts[0] if len(parts) == 1 else _longest_first(pd.concat(parts, ignore_index=True))


def _nanoseconds(over: float | None) -> int:
    if over is None:
        return -1
    if isinstance(over, bool) or not isinstance(over, Real) or not 0 <= over < 1e9:
        raise OptionError(f"over must be a number of seconds of at least 0, or None; got {over!r}")
    return round(over * 1e9)


def _longest_first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("duration_ns", ascending=False, kind="stable", ignore_index=True)


def _holds(trace: ObservedTrace, gil: Gil, least: int) -> pd.DataFrame:
    # Computed in order of time, in which searching is fast; sorted afterwards.
    runs, overrun = gil.runs, overruns(trace, gil)
    if least >= 0:
        longer = np.flatnonzero(runs.duration > least)
        runs, overrun = runs[longer], overrun[longer]
    inflicted = gil.waiting.within(runs.start, runs.end)
    waiters = _waiters(trace, gil, runs)
    duration = runs.duration
    order = longest_first(duration)
    thread, overrun, site = runs.thread[order], overrun[order], runs.sites[order]
    return pd.DataFrame(
        {
            "thread": thread,
            "thread_name": trace.labels(thread),
            "interpreter": np.full(len(runs), gil.interpreter, np.int32),
            "start_ns": runs.at[order],
            "duration_ns": duration[order],
            "release": pd.Categorical.from_codes(runs.release[order], list(RELEASES)),
            "waiters": waiters[order],
            "inflicted_ns": inflicted[order],
            "overrun_ns": pd.arrays.IntegerArray(overrun, overrun == NO_TIME),
            "site": pd.arrays.IntegerArray(site, site == NO_SITE),
        },
        copy=False,
    )


def _waiters(trace: ObservedTrace, gil: Gil, runs: Spans) -> Int:
    """Return how many threads waited during each hold."""
    if trace.exact:
        # A wait ends in a hold of its own thread, so no thread waits twice during one hold of another.
        return gil.waiting.touched(runs.start, runs.end)
    n = len(trace.names)
    pairs = [np.zeros(0, np.int64)]
    for which, other, ns in overlaps(gil.waits.start, gil.waits.end, runs.start, runs.end):
        pairs.append(other[ns > 0] * n + gil.waits.thread[which[ns > 0]])
    return np.bincount(np.unique(np.concatenate(pairs)) // max(n, 1), minlength=len(runs))


def overruns(trace: ObservedTrace, gil: Gil) -> Int:
    """Return how long each hold went on after the drop request of the hand-off that ended it.

    `NO_TIME` if the new holder sent no drop request.
    """
    runs = gil.runs
    out = np.full(len(runs), NO_TIME, np.int64)
    mine = np.flatnonzero(trace.numbers("handoffs", "interpreter") == gil.interpreter)
    asked = trace.numbers("handoffs", "drop_request_ns")[mine]
    if not (asked != NO_TIME).any():
        return out
    release = trace.numbers("handoffs", "release_ns")[mine]
    key, nth, order = _ends(trace, release, trace.numbers("handoffs", "from_thread")[mine])
    ended = np.flatnonzero((runs.thread[1:] != runs.thread[:-1]) & (runs.release[:-1] != OPEN))
    # For a hold that a hole touches this instant is not its end, so it matches no hand-off.
    wanted, wanted_nth, ended_order = _ends(trace, (runs.at + runs.duration)[ended], runs.thread[ended])
    at = np.searchsorted(key, wanted, "left") + wanted_nth
    found = np.flatnonzero(at < len(key))
    found = found[(key[at[found]] == wanted[found]) & (nth[at[found]] == wanted_nth[found])]
    which = order[at[found]]
    out[ended[ended_order[found]]] = np.where(asked[which] == NO_TIME, NO_TIME, release[which] - asked[which])
    return out


def _ends(trace: ObservedTrace, end: Int, thread: Threads) -> tuple[Int, Int, Int]:
    """Return a sorted key of time and thread for ends of holds, the rank of each among equal keys, the order.

    A key that overflows does so for hand-offs and holds alike. Stamps can be equal: then the order of rows
    decides which hold a hand-off ended.
    """
    key = end * np.int64(len(trace.names)) + thread
    order = np.argsort(key, kind="stable")
    key = key[order]
    return key, np.arange(len(key)) - np.searchsorted(key, key, "left"), order


def unresponsive(t: AnyTrace, interval_ns: int) -> pd.DataFrame:
    """Return the rows of `holds` that went on for a switch interval or more after a drop request.

    Only holds of more than two switch intervals count; those with an unknown drop request if their waiters
    waited for more than `LONG` switch intervals on average. The interpreter releases within microseconds of a
    drop request; a call into native code does not check.
    """
    h = holds(t, over=2 * interval_ns / 1e9)
    slow = h.overrun_ns >= interval_ns
    return h[slow.fillna(h.inflicted_ns > LONG * interval_ns * h.waiters).astype(bool)]


def blame(t: AnyTrace, by: Literal["thread", "line", "function", "file"] = "thread") -> pd.DataFrame:
    """Return how long each thread waited while each other thread held the GIL, and while it was free.

    The sum of each row is exactly the time that the thread waited.

    Args:
        t: a trace, its path, or its tables.
        by: ``"thread"``, or the kind of place in the program: a row for each place of a waiting thread's last
            release, a column for each place where the hold that it waited for ended.

    Returns:
        A matrix of nanoseconds (int64): waiting threads down (index ``waiter``), holders across, by number
        (columns of int, without holders for which no thread waited), and a last column ``free``. Names are in
        ``threads(t)``; places are texts (``function (file:line)``). With sampled edges further columns
        ``N_low`` and ``N_high``, ``free_low`` and ``free_high`` hold 95 % intervals (float64, see
        `gilscope.analysis`).

    Raises:
        OptionError: if ``by`` has another value, the matrix would have more than 25 million cells, or places
            are asked for and the trace has no sites.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> gilscope.analysis.blame(t).columns[-1]
        'free'
    """
    trace = observe(t)
    if by != "thread":
        return _blame_places(trace, places(trace, by, "innermost"))
    edges = estimates.edges(trace)
    windows = [(0, trace.wall)] if trace.exact else list(itertools.pairwise(edges.tolist()))
    keys = [(gil.waits.thread.astype(np.int64), gil.runs.thread.astype(np.int64)) for gil in trace.gils]
    matrix = _Matrix(trace, keys, len(windows), len(trace.names))
    for cells, (begin, end) in zip(matrix.cells, windows, strict=True):
        matrix.add(cells, int(begin), int(end))
    return _blame_frame(trace, matrix)


def _blame_places(trace: ObservedTrace, found: Places) -> pd.DataFrame:
    where = [(found.of(gil.waits.sites), found.of(gil.runs.sites)) for gil in trace.gils]
    matrix = _Matrix(trace, where, 1, len(found))
    matrix.add(matrix.cells[0], 0, trace.wall)
    return pd.DataFrame(
        matrix.cells[0],
        index=pd.Index(labelled(found, matrix.waiters), name="waiter", dtype=object),
        columns=pd.Index([*labelled(found, matrix.holders), "free"], dtype=object),
    )


class _Matrix:
    """How long each key waited during the holds of each other key; a key is a thread or a place.

    Args:
        trace: a trace.
        keys: for each of its GILs, the key of each wait and of each hold.
        layers: number of matrices to fill.
        n: keys are below this.

    Raises:
        OptionError: if the matrices would have more than `MOST_CELLS` cells.
    """

    def __init__(self, trace: ObservedTrace, keys: list[tuple[Int, Int]], layers: int, n: int) -> None:
        self._gils, self._keys = trace.gils, keys
        pairs = list(zip(trace.gils, keys, strict=True))
        waited = [wait[gil.waits.end > gil.waits.start] for gil, (wait, _) in pairs]
        held = [run[gil.waiting.within(gil.runs.start, gil.runs.end) > 0] for gil, (_, run) in pairs]
        self.waiters, self.holders = np.unique(np.concatenate(waited)), np.unique(np.concatenate(held))
        if len(self.waiters) * (len(self.holders) + 1) * layers > MOST_CELLS:
            raise OptionError(
                f"a matrix of {len(self.waiters)} waiters and {len(self.holders)} holders is too large; "
                "use holds(t), or leave threads out of the tables"
            )
        self._row, self._column = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._row[self.waiters] = np.arange(len(self.waiters))
        self._column[self.holders] = np.arange(len(self.holders))
        self.cells = np.zeros((layers, len(self.waiters), len(self.holders) + 1), np.int64)

    def add(self, cells: Int, begin: int, end: int) -> None:
        """Add the waits between two instants to one layer."""
        for gil, (wait, run) in zip(self._gils, self._keys, strict=True):
            start, stop = np.maximum(gil.waits.start, begin), np.minimum(gil.waits.end, end)
            kept = stop > start
            self._add(cells, self._row[wait[kept]], start[kept], stop[kept], gil.runs, self._column[run])

    @staticmethod
    def _add(cells: Int, row: Int, start: Int, stop: Int, runs: Spans, column: Int) -> None:
        rows, columns = cells.shape
        left = group_sums(row, stop - start, rows)
        for which, other, ns in overlaps(start, stop, runs.start, runs.end):
            cell = row[which] * columns + column[other]
            held = group_sums(cell, ns, cells.size).reshape(rows, columns)
            cells += held
            left -= held.sum(axis=1)
        cells[:, -1] += left  # waited while the GIL was free


def _blame_frame(trace: ObservedTrace, matrix: _Matrix) -> pd.DataFrame:
    columns: list[object] = [*matrix.holders.tolist(), "free"]
    index = pd.Index(matrix.waiters, name="waiter")
    frame = pd.DataFrame(matrix.cells.sum(axis=0), index=index, columns=pd.Index(columns, dtype=object))
    if trace.exact:
        return frame
    half = estimates.half_widths(trace, np.moveaxis(matrix.cells, 0, -1)) * trace.wall
    for i, name in enumerate(columns):
        frame[f"{name}_low"] = np.maximum(frame[name] - half[:, i], 0.0)
        frame[f"{name}_high"] = frame[name] + half[:, i]
    return frame
