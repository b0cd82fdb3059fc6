"""How the switch interval contributes to waiting, and what another one could change."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from gilscope.analysis.gils import Gil
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.errors import OptionError
from gilscope.tables.rows import FORCED, NO_TIME
from gilscope.tables.spans import Floats, Int, Mask

LADDER = (0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1)
"""Seconds: the intervals of a model or a sweep when none are given, two steps a decade around 5 ms."""


def switch_interval(t: AnyTrace, intervals: Sequence[float] | None = None) -> pd.DataFrame:
    """Return the parts of all waits, and a model of them for the same work with other switch intervals.

    A wait that ended in a hand-off with a drop request is patience (which shrinks and grows with the
    interval), response and gap (which do not). Any other wait was for a voluntary release; a smaller
    interval cuts it short at the interval plus the median response. For another interval i' instead of i the
    model takes patience times i'/i, and i/i' times as many of the hand-offs to threads whose hold also ended
    by force (CPU-bound threads take turns; others do their work once); each further hand-off costs the
    median gap. The model does not know what threads do with the time they win, so ``saved_ns`` is an upper
    bound, nor the waits for voluntary releases that a larger interval would no longer cut short.

    Args:
        t: a trace, its path, or its tables.
        intervals: seconds; None for 50 us to 100 ms (`LADDER`).

    Returns:
        One row per interval, ascending, including the one in force at the end of the trace (its row is what
        was measured): ``interval_ns``, ``in_force`` (bool), ``wait_ns`` (all waiting), ``patience_ns``,
        ``response_ns``, ``gap_ns``, ``voluntary_ns``, which add up to it, ``saved_ns`` (less waiting than
        measured), ``handoffs``, ``overhead_ns`` (int64). Empty with sampled edges, which record no requests.

    Raises:
        OptionError: if an interval is not a number of seconds above zero.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> rows = gilscope.analysis.switch_interval(t, [0.001])
        >>> int(rows["in_force"].sum())
        1
    """
    asked = LADDER if intervals is None else intervals
    for value in asked:
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < 1e9:
            raise OptionError(f"a switch interval is a number of seconds above zero, not {value!r}")
    trace = observe(t)
    in_force = int(trace.interval_at(np.array([trace.duration]))[0])
    ladder = sorted({round(value * 1e9) for value in asked} | {in_force})
    parts = [_Waiting(trace, gil) for gil in trace.gils] if trace.exact else []
    rows = [_add_up([part.with_interval(ns, in_force) for part in parts], ns) for ns in ladder if parts]
    columns = ["interval_ns", "in_force", "wait_ns", "patience_ns", "response_ns", "gap_ns", "voluntary_ns"]
    frame = pd.DataFrame(rows, columns=[*columns, "saved_ns", "handoffs", "overhead_ns"])
    frame["in_force"] = frame["interval_ns"] == in_force
    if len(frame):
        frame["saved_ns"] = int(frame.loc[frame.in_force, "wait_ns"].iloc[0]) - frame["wait_ns"]
    return frame


def _add_up(parts: list[dict[str, float]], interval: int) -> dict[str, Any]:
    return {"interval_ns": interval} | {name: round(sum(p[name] for p in parts)) for name in parts[0]}


class _Waiting:
    """The waits of one GIL by their parts."""

    def __init__(self, trace: ObservedTrace, gil: Gil) -> None:
        columns = ("request_ns", "drop_request_ns", "release_ns", "acquire_ns", "gap_ns")
        values = [trace.numbers("handoffs", name) for name in columns]
        mine = trace.numbers("handoffs", "interpreter") == gil.interpreter
        mine &= _is_known(trace, np.where(values[0] == NO_TIME, values[2], values[0]), values[3])
        request, drop, release, acquire, gap = (v[mine] for v in values)
        asked = (drop != NO_TIME) & (request != NO_TIME)
        self.interval = trace.interval_at(request[asked])
        self.patience = (drop - request)[asked]
        self.response = (release - drop)[asked]
        self.gap = gap[asked]
        self.taking_turns = _forced_out(trace, gil, acquire[asked])
        self.voluntary, self.voluntary_gap = _others(request, acquire, gap, asked)
        self.handoffs = len(request)
        self.overhead = int(gil.gaps.lost.sum())
        waits = gil.waits.known.total
        known = int((self.patience + self.response + self.gap).sum()) + int(self.voluntary.sum())
        self.rest = waits - known  # of waits without a hand-off: open ones, and those cut by holes

    def with_interval(self, new: int, in_force: int) -> dict[str, float]:
        """Return the model's figures for an interval; those of the interval in force are as measured."""
        ratio = np.ones(len(self.interval)) if new == in_force else new / np.maximum(self.interval, 1)
        # Threads that take turns wait equally long in all: half as long, twice as often.
        times: Floats = np.where(self.taking_turns, 1 / ratio, 1.0)
        patience = float((self.patience * ratio * times).sum())
        cut = self._cut(new) if new != in_force else self.voluntary.astype(np.float64)
        gap = float((self.gap * times).sum())
        more = float((times - 1).sum()) + float((cut < self.voluntary).sum())
        overhead = self.overhead + more * self._median(self.gap)
        return {
            "wait_ns": patience + float((self.response * times).sum()) + gap + float(cut.sum()) + self.rest,
            "patience_ns": patience,
            "response_ns": float((self.response * times).sum()),
            "gap_ns": gap,
            "voluntary_ns": float(cut.sum()) + self.rest,
            "handoffs": self.handoffs + more,
            "overhead_ns": max(overhead, 0.0),
        }

    def _cut(self, new: int) -> Floats:
        most = new + self._median(self.response) + self.voluntary_gap
        return np.asarray(np.minimum(self.voluntary, most), np.float64)

    @staticmethod
    def _median(values: Int) -> float:
        return float(np.median(values)) if len(values) else 0.0


def _is_known(trace: ObservedTrace, begin: Int, end: Int) -> Mask:
    """Return between which pairs of instants no transition was lost."""
    if not trace.lost_ns:
        return np.ones(len(begin), np.bool_)
    whole = trace.observed(end) - trace.observed(begin) == end - begin
    return np.asarray(whole & ~trace.in_hole(end))


def _forced_out(trace: ObservedTrace, gil: Gil, acquire: Int) -> Mask:
    """Return for which hand-offs the new holder's hold also ended by a forced release."""
    if not len(gil.runs):
        return np.zeros(len(acquire), np.bool_)
    hold = np.searchsorted(gil.runs.start, trace.observed(acquire), "right") - 1
    return np.asarray(gil.runs.release[np.maximum(hold, 0)] == FORCED)


def _others(request: Int, acquire: Int, gap: Int, asked: Mask) -> tuple[Int, Int]:
    """Return the waits and gaps of hand-offs to threads that waited and sent no drop request."""
    others = (request != NO_TIME) & ~asked
    return (acquire - request)[others], np.maximum(gap[others], 0)
