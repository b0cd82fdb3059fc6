"""Arithmetic on spans of time, in whole nanoseconds: how much of it, how many at once, which overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_PAIRS_AT_ONCE = 1 << 18
_BLOCK = 1 << 15


class Coverage:
    """How many of some spans are on, and for how long in all, up to any instant.

    With S(t) and E(t) the starts and ends up to t, the integral of the number of spans that are on is
    t (|S| - |E|) - sum(S) + sum(E): two sorted arrays and their running sums answer every question. Sums may
    pass 2**63 and wrap around; differences of integrals are right all the same.

    Args:
        start: nanoseconds, in any order.
        end: nanoseconds, of the same spans.
    """

    def __init__(self, start: Int, end: Int) -> None:
        self._start, self._end = in_order(start), in_order(end)
        self._starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._start)))
        self._ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._end)))

    def until(self, at: Int) -> Int:
        """Return the nanoseconds that spans cover up to each instant, added up over spans."""
        return _in_blocks(self._until, at)

    def _until(self, at: Int) -> Int:
        begun = np.searchsorted(self._start, at, "right")
        over = np.searchsorted(self._end, at, "right")
        return at * (begun - over) - self._starts[begun] + self._ends[over]

    def within(self, start: Int, end: Int) -> Int:
        """Return the nanoseconds that spans cover between two instants, added up over spans."""
        return _in_blocks(lambda a, b: self._until(b) - self._until(a), start, end)

    def on(self, at: Int) -> Int:
        """Return how many spans are on at each instant: begun, and not over."""
        return _in_blocks(self._on, at)

    def _on(self, at: Int) -> Int:
        return np.searchsorted(self._start, at, "right") - np.searchsorted(self._end, at, "right")

    def touched(self, start: Int, end: Int) -> Int:
        """Return how many spans share time with each of others (which last longer than nothing)."""
        return _in_blocks(self._touched, start, end)

    def _touched(self, start: Int, end: Int) -> Int:
        return np.searchsorted(self._start, end, "left") - np.searchsorted(self._end, start, "right")


def _in_blocks(function: Callable[..., Int], *columns: Int) -> Int:
    """Apply a function to blocks of rows: what it makes on the way stays in the processor's cache."""
    out = np.empty(len(columns[0]), np.int64)
    for i in range(0, len(out), _BLOCK):
        out[i : i + _BLOCK] = function(*(c[i : i + _BLOCK] for c in columns))
    return out


def in_order(times: Int) -> Int:
    """Return times sorted; mostly they are already."""
    return times if is_sorted(times) else np.sort(times)


def is_sorted(times: Int) -> bool:
    """Tell whether times never decrease."""
    return bool((times[1:] >= times[:-1]).all())


def union(start: Int, end: Int) -> tuple[Int, Int]:
    """Return the spans of time in which at least one span is on: disjoint, in order, none empty."""
    lasting = end > start
    if not lasting.all():
        start, end = start[lasting], end[lasting]
    if not is_sorted(start):
        order = np.argsort(start, kind="stable")
        start, end = start[order], end[order]
    if not len(start):
        return start, end
    latest = np.maximum.accumulate(end)
    first = np.flatnonzero(np.concatenate(([True], start[1:] > latest[:-1])))
    last = np.concatenate((first[1:], [len(start)])) - 1
    return start[first], latest[last]


def overlaps(start: Int, end: Int, others_start: Int, others_end: Int) -> Iterator[tuple[Int, Int, Int]]:
    """Yield which spans overlap which of others and by how many nanoseconds, a few million pairs at a time.

    Args:
        start: of spans in any order.
        end: of the same spans.
        others_start: of spans that do not overlap one another, in order.
        others_end: of the same.

    Yields:
        Positions in the spans, positions in the others, and nanoseconds.
    """
    first = np.searchsorted(others_end, start, "right")
    count = np.maximum(np.searchsorted(others_start, end, "left") - first, 0)
    until = np.cumsum(count)
    begin = 0
    while begin < len(start):
        done = until[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(until, done + _PAIRS_AT_ONCE, "right")), begin + 1)
        n = count[begin:stop]
        which = np.repeat(np.arange(begin, stop), n)
        offset = np.arange(len(which)) - np.repeat(until[begin:stop] - n - done, n)
        other = first[which] + offset
        both = np.minimum(end[which], others_end[other]) - np.maximum(start[which], others_start[other])
        yield which, other, both
        begin = stop


def by_thread(thread: npt.NDArray[np.integer[Any]]) -> Int:
    """Return the order that sorts rows by thread and keeps their order within a thread."""
    if len(thread) and int(thread.max()) < 1 << 16:
        # NumPy sorts 16 bits by radix: five times faster.
        return np.argsort(thread.astype(np.uint16), kind="stable")
    return np.argsort(thread, kind="stable")


def longest_first(duration: Int) -> Int:
    """Return the order that sorts durations from the longest, equal ones as they stand."""
    if not len(duration):
        return np.zeros(0, np.int64)
    most, bits = int(duration.max()), len(duration).bit_length()
    if most.bit_length() + bits < 63:
        # One key for both: sorting numbers is many times faster than sorting positions.
        key = most - duration
        key <<= bits
        key |= np.arange(len(duration))
        key.sort()
        key &= (1 << bits) - 1
        return key
    return np.argsort(-duration, kind="stable")


def group_sums(group: npt.NDArray[np.integer[Any]], value: Int, n_groups: int) -> Int:
    """Return the sum of each group's values, exact up to 2**53: 104 days of nanoseconds.

    Args:
        group: of each value, from 0.
        value: whole numbers.
        n_groups: how many groups there are.

    Returns:
        Array of int64 of shape (n_groups,); 0 for empty groups.

    Example:
        >>> group_sums(np.array([0, 2, 2]), np.array([5, 1, 2]), 3).tolist()
        [5, 0, 3]
    """
    # Weights are float64, which holds whole numbers below 2**53.
    return np.bincount(group, value, minlength=n_groups).astype(np.int64)


def group_quantiles(group: npt.NDArray[np.integer[Any]], value: Int, n_groups: int, q: list[float]) -> Floats:
    """Return quantiles of each group's values, NaN for empty groups.

    Linear interpolation between the two nearest values (definition 7 of Hyndman and Fan 1996, NumPy's own).

    Args:
        group: of each value, from 0.
        value: not negative.
        n_groups: how many groups there are.
        q: which quantiles.

    Returns:
        Array of shape (n_groups, len(q)).
    """
    out = np.full((n_groups, len(q)), np.nan)
    if not len(value):
        return out
    n = np.bincount(group, minlength=n_groups)
    first = np.cumsum(n) - n
    ordered = _sorted_within(group, value)
    filled = n > 0
    for i, share in enumerate(q):
        at = (n[filled] - 1) * share
        low = first[filled] + np.floor(at).astype(np.int64)
        high = first[filled] + np.ceil(at).astype(np.int64)
        out[filled, i] = ordered[low] + (ordered[high] - ordered[low]) * (at - np.floor(at))
    return out


def _sorted_within(group: npt.NDArray[np.integer[Any]], value: Int) -> Int:
    bits = int(value.max()).bit_length()
    if bits + int(group.max()).bit_length() < 63:
        # One key for both: sorting numbers is many times faster than sorting positions.
        key = group.astype(np.int64)
        key <<= bits
        key |= value
        key.sort()
        key &= (1 << bits) - 1
        return key
    return value[np.lexsort((value, group))]
