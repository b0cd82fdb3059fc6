"""Holds and whom they made wait."""

from __future__ import annotations

import itertools
from numbers import Real

import numpy as np
import pandas as pd

from gilscope.analysis import estimates
from gilscope.analysis.gils import NO_TIME, OPEN, Gil, Spans, Threads
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.source import Source, of
from gilscope.errors import OptionError
from gilscope.schema import RELEASES
from gilscope.spans import Int, longest_first, overlaps

_MOST_CELLS = 25_000_000


def holds(t: AnyTrace, over: float | None = None) -> pd.DataFrame:
    """Return one row per run interval, the longest first: who held the GIL, and what it cost others.

    ``inflicted_ns`` is the sum over waiting threads of how long each waited during the hold: two threads
    that wait through a hold of 100 ms make 200 ms.

    Args:
        t: a trace, its path, or its tables.
        over: seconds; leave out holds that are not longer.

    Returns:
        Columns ``thread``, ``thread_name`` (category), ``interpreter``, ``start_ns``, ``duration_ns``
        (int64), ``release`` (category: forced, voluntary, open; null with sampled edges), ``waiters``
        (threads that waited meanwhile; int64), ``inflicted_ns`` (int64), ``overrun_ns`` (how long the hold
        went on after the drop request of the thread that took over; Int64, null where that did not ask). Of
        a hold that a hole touches the part that is known, and no overrun. With sampled edges all are as
        sharp as the period.

    Raises:
        OptionError: ``over`` is negative or no number.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> int(gilscope.analysis.holds(t)["inflicted_ns"].sum())
        0
    """
    source = of(t)
    least = _nanoseconds(over)
    parts = [_holds(source, gil, least) for gil in source.gils]
    return parts[0] if len(parts) == 1 else _longest_first(pd.concat(parts, ignore_index=True))


def _nanoseconds(over: float | None) -> int:
    if over is None:
        return -1
    if isinstance(over, bool) or not isinstance(over, Real) or not 0 <= over < 1e9:
        raise OptionError(f"over must be a number of seconds, not negative, or None; got {over!r}")
    return round(over * 1e9)


def _longest_first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values("duration_ns", ascending=False, kind="stable", ignore_index=True)


def _holds(source: Source, gil: Gil, least: int) -> pd.DataFrame:
    # Asked of holds in order of time, where searching is fast; then brought into order.
    runs, overrun = gil.runs, _overrun(source, gil)
    if least >= 0:
        longer = np.flatnonzero(runs.duration > least)
        runs, overrun = runs[longer], overrun[longer]
    inflicted = gil.waiting.within(runs.start, runs.end)
    waiters = _waiters(source, gil, runs)
    duration = runs.duration
    order = longest_first(duration)
    thread, overrun = runs.thread[order], overrun[order]
    return pd.DataFrame(
        {
            "thread": thread,
            "thread_name": source.labels(thread),
            "interpreter": np.full(len(runs), gil.interpreter, np.int32),
            "start_ns": runs.at[order],
            "duration_ns": duration[order],
            "release": pd.Categorical.from_codes(runs.release[order], list(RELEASES)),
            "waiters": waiters[order],
            "inflicted_ns": inflicted[order],
            "overrun_ns": pd.arrays.IntegerArray(overrun, overrun == NO_TIME),
        },
        copy=False,
    )


def _waiters(source: Source, gil: Gil, runs: Spans) -> Int:
    """Return how many threads waited during each hold."""
    if source.exact:
        # A wait ends in a hold of its own thread: none waits twice during another's.
        return gil.waiting.touched(runs.start, runs.end)
    n = len(source.names)
    pairs = [np.zeros(0, np.int64)]
    for which, other, ns in overlaps(gil.waits.start, gil.waits.end, runs.start, runs.end):
        pairs.append(other[ns > 0] * n + gil.waits.thread[which[ns > 0]])
    return np.bincount(np.unique(np.concatenate(pairs)) // max(n, 1), minlength=len(runs))


def _overrun(source: Source, gil: Gil) -> Int:
    """Return how long each hold went on after its drop request; the hand-off that ended it tells."""
    runs = gil.runs
    out = np.full(len(runs), NO_TIME, np.int64)
    mine = np.flatnonzero(source.numbers("handoffs", "interpreter") == gil.interpreter)
    asked = source.numbers("handoffs", "drop_request_ns")[mine]
    if not (asked != NO_TIME).any():
        return out
    release = source.numbers("handoffs", "release_ns")[mine]
    key, nth, order = _ends(source, release, source.numbers("handoffs", "from_thread")[mine])
    ended = np.flatnonzero((runs.thread[1:] != runs.thread[:-1]) & (runs.release[:-1] != OPEN))
    # Of a hold that a hole touches this is no end, but an instant at which it went on: it finds nothing.
    wanted, wanted_nth, ended_order = _ends(source, (runs.at + runs.duration)[ended], runs.thread[ended])
    at = np.searchsorted(key, wanted, "left") + wanted_nth
    found = np.flatnonzero(at < len(key))
    found = found[(key[at[found]] == wanted[found]) & (nth[at[found]] == wanted_nth[found])]
    which = order[at[found]]
    out[ended[ended_order[found]]] = np.where(asked[which] == NO_TIME, NO_TIME, release[which] - asked[which])
    return out


def _ends(source: Source, end: Int, thread: Threads) -> tuple[Int, Int, Int]:
    """Return ends of holds as one number for time and thread, sorted; which of equal ones each is; the order.

    Where the number wraps around, it does so for hand-offs and holds alike. Stamps can be equal: then the
    order of rows tells which hold a hand-off ended.
    """
    key = end * np.int64(len(source.names)) + thread
    order = np.argsort(key, kind="stable")
    key = key[order]
    return key, np.arange(len(key)) - np.searchsorted(key, key, "left"), order


def blame(t: AnyTrace) -> pd.DataFrame:
    """Return how long each thread waited while each other thread held the GIL, and while it was free.

    Each row adds up to what the thread waited in all, to the nanosecond.

    Args:
        t: a trace, its path, or its tables.

    Returns:
        A matrix of nanoseconds (int64): waiting threads down (index ``waiter``), holders across, by number
        (columns of int, those who made nobody wait left out), and a last column ``free``. Names are in
        ``threads(t)``. With sampled edges further columns ``N_low`` and ``N_high``, ``free_low`` and
        ``free_high`` hold 95 % intervals (float64, see `gilscope.analysis`).

    Raises:
        OptionError: the matrix would have more than 25 million cells.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> gilscope.analysis.blame(t).columns[-1]
        'free'
    """
    source = of(t)
    edges = estimates.edges(source)
    windows = [(0, source.wall)] if source.exact else list(itertools.pairwise(edges.tolist()))
    n = len(source.names)
    waiters, holders = _present(source)
    cells = len(waiters) * (len(holders) + 1) * len(windows)
    if cells > _MOST_CELLS:
        raise OptionError(
            f"a matrix of {len(waiters)} waiting threads and {len(holders)} holders is too large; use "
            "holds(t), or leave threads out of the tables"
        )
    row, column = np.zeros(n, np.int64), np.zeros(n, np.int64)
    row[waiters], column[holders] = np.arange(len(waiters)), np.arange(len(holders))
    matrices = np.zeros((len(windows), len(waiters), len(holders) + 1), np.int64)
    for matrix, (begin, end) in zip(matrices, windows, strict=True):
        for gil in source.gils:
            _add_blame(matrix, _within(gil.waits, int(begin), int(end)), gil.runs, row, column)
    return _blame_frame(source, matrices, waiters, holders)


def _present(source: Source) -> tuple[Int, Int]:
    """Return who waited, and who held the GIL meanwhile."""
    waited = [gil.waits.thread[gil.waits.end > gil.waits.start] for gil in source.gils]
    held = [gil.runs.thread[gil.waiting.within(gil.runs.start, gil.runs.end) > 0] for gil in source.gils]
    return np.unique(np.concatenate(waited)), np.unique(np.concatenate(held))


def _within(waits: Spans, begin: int, end: int) -> Spans:
    start, stop = np.maximum(waits.start, begin), np.minimum(waits.end, end)
    kept = stop > start
    return Spans(waits.thread, start, stop, waits.release)[kept]


def _add_blame(matrix: Int, waits: Spans, runs: Spans, row: Int, column: Int) -> None:
    rows, columns = matrix.shape
    mine = row[waits.thread]
    # Exact: sums of integers stay below 2**53 ns, 104 days of waiting.
    left = np.bincount(mine, waits.duration.astype(np.float64), minlength=rows).astype(np.int64)
    for which, other, ns in overlaps(waits.start, waits.end, runs.start, runs.end):
        cell = mine[which] * columns + column[runs.thread[other]]
        held = np.bincount(cell, ns, minlength=matrix.size).astype(np.int64).reshape(rows, columns)
        matrix += held
        left -= held.sum(axis=1)
    matrix[:, -1] += left  # while nobody held it


def _blame_frame(source: Source, matrices: Int, waiters: Int, holders: Int) -> pd.DataFrame:
    columns: list[object] = [*holders.tolist(), "free"]
    index = pd.Index(waiters, name="waiter")
    frame = pd.DataFrame(matrices.sum(axis=0), index=index, columns=pd.Index(columns, dtype=object))
    if source.exact:
        return frame
    half = estimates.half_widths(source, np.moveaxis(matrices, 0, -1)) * source.wall
    for i, name in enumerate(columns):
        frame[f"{name}_low"] = np.maximum(frame[name] - half[:, i], 0.0)
        frame[f"{name}_high"] = frame[name] + half[:, i]
    return frame
