"""How the GIL spent its time: held, free, and free while a thread waited."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
import pandas as pd

from gilscope.analysis import estimates
from gilscope.analysis.gils import Gil, Threads
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.errors import OptionError
from gilscope.tables.spans import Floats, Int, Mask, group_quantiles, group_sums

_QUANTILES = {"gap_p50_ns": 0.5, "gap_p90_ns": 0.9, "gap_p99_ns": 0.99, "gap_max_ns": 1.0}
_MOST_WINDOWS = 1_000_000


@dataclass(frozen=True)
class Changes:
    """Hand-offs of one GIL; ``gap`` is -1 if no thread waited, or a hole touches it."""

    to: Threads
    acquire: Int
    gap: Int
    forced: Mask


def changes(trace: ObservedTrace, gil: Gil) -> Changes:
    """Return the hand-offs of a GIL; empty for sampled edges, which do not see all of them."""
    acquire, release = (trace.numbers("handoffs", c) for c in ("acquire_ns", "release_ns"))
    mine: Any = slice(None if trace.exact else 0)
    if trace.exact and (len(trace.gils) > 1 or trace.lost_ns):
        inside = trace.numbers("handoffs", "interpreter") == gil.interpreter
        mine = np.flatnonzero(inside & ~trace.in_hole(acquire))
    acquire, release = trace.observed(acquire[mine]), trace.observed(release[mine])
    gap = trace.numbers("handoffs", "gap_ns")[mine]
    counts = (trace.numbers("handoffs", "waiters")[mine] > 0) & (acquire - release == gap)
    return Changes(
        to=trace.numbers("handoffs", "to_thread")[mine],
        acquire=acquire,
        gap=np.where(counts, gap, -1),
        forced=trace.numbers("handoffs", "forced")[mine] == 1,
    )


@dataclass(frozen=True)
class Figures:
    """The time of a GIL by group (a thread or a window), and hand-offs with the group of each.

    Times are in nanoseconds; ``waited`` is the sum over waiters.
    """

    wall: Int
    held: Int
    lost: Int
    waited: Int
    steals: Int
    group: Threads
    gap: Int
    forced: Mask

    def plus(self, other: Figures) -> Figures:
        """Return the figures of the same groups for two GILs together."""
        by_group = ("wall", "held", "lost", "waited", "steals")
        by_handoff = ("group", "gap", "forced")
        return Figures(
            **{name: getattr(self, name) + getattr(other, name) for name in by_group},
            **{name: np.concatenate((getattr(self, name), getattr(other, name))) for name in by_handoff},
        )

    def frame(self, seen: Int) -> pd.DataFrame:
        """Return the columns of `overhead`; ``seen`` is the wall time of each group, or of all, in ns."""
        n = len(self.wall)
        times = {"held": self.held, "free": self.wall - self.held, "overhead": self.lost}
        out: dict[str, Any] = {"wall_ns": self.wall}
        out |= {f"{word}_ns": ns for word, ns in times.items()}
        with np.errstate(divide="ignore", invalid="ignore"):
            out |= {f"{word}_share": ns / self.wall for word, ns in times.items()}
            out["handoffs"] = np.bincount(self.group, minlength=n)
            out["forced"] = np.bincount(self.group[self.forced], minlength=n)
            out["steals"] = self.steals
            out["handoffs_per_s"] = per_second(out["handoffs"], seen)
            out |= self._quantiles(n)
            out["mean_waiters"] = self.waited / seen
        return pd.DataFrame(out).astype(dict.fromkeys(("handoffs", "forced", "steals"), "Int64"))

    def _quantiles(self, n: int) -> dict[str, Any]:
        counts = self.gap >= 0
        found = group_quantiles(self.group[counts], self.gap[counts], n, list(_QUANTILES.values()))
        return {name: found[:, i] for i, name in enumerate(_QUANTILES)}


def per_second(count: Int, ns: Int) -> Floats:
    """Return a rate; null if the time is 0."""
    return count / np.where(ns > 0, ns / 1e9, np.nan)


def overhead(t: AnyTrace, by: Literal["thread", "interpreter"] | float | None = None) -> pd.DataFrame:
    """Return how the GIL spent its time, and how much of it hand-offs lost.

    ``overhead_ns`` is the time the GIL is free while at least one thread waits for it: pure loss. Held and
    free add up to the wall time; with several GILs each has its own, and a row for all of them is their sum.
    Gaps are those of hand-offs for which a thread waited.

    Args:
        t: a trace, its path, or its tables.
        by: None for one row. ``"interpreter"``: a row per GIL. ``"thread"``: a row per thread that acquired
            the GIL, with the time it held the GIL and the time the GIL was free before; the rows and the
            free time at the end add up to the trace. A number: a row per window of this many seconds.

    Returns:
        Columns ``interpreter``, or ``thread`` and ``thread_name``, or ``start_ns``, depending on ``by``; then
        ``wall_ns``, ``held_ns``, ``free_ns``, ``overhead_ns`` (int64); ``held_share``, ``free_share``,
        ``overhead_share`` of the wall time (float64); ``handoffs``, ``forced``, ``steals`` (Int64);
        ``handoffs_per_s``, ``gap_p50_ns``, ``gap_p90_ns``, ``gap_p99_ns``, ``gap_max_ns``, ``mean_waiters``
        (float64; null by thread); and for one row ``lost_ns``, the time that is left out because
        transitions were lost. With sampled edges times, shares and ``mean_waiters`` have ``_low`` and
        ``_high`` (95 %, see `gilscope.analysis`; per window by Wilson's interval and Poisson's); by thread
        the wall time is that of the trace, free time and overhead are null; ``handoffs`` is the GIL's own
        count of switches (null by thread), ``forced``, ``steals`` and gaps are null.

    Raises:
        OptionError: if ``by`` has another value.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> o = gilscope.analysis.overhead(t).iloc[0]
        >>> bool(o.held_ns + o.free_ns == o.wall_ns)
        True
    """
    trace = observe(t)
    if by == "thread":
        frame = _by_thread(trace)
    elif by == "interpreter":
        frame = pd.concat([_by_gil(trace, [gil]) for gil in trace.gils], ignore_index=True)
        frame.insert(0, "interpreter", [gil.interpreter for gil in trace.gils])
    elif by is None:
        frame = _by_gil(trace, trace.gils).assign(lost_ns=trace.lost_ns)
    else:
        if isinstance(by, str):
            raise OptionError(f"expected 'thread', 'interpreter', a number of seconds or None, got {by!r}")
        edges = window_edges(trace, by)
        frame = by_window(trace, edges)
        frame.insert(0, "start_ns", edges[:-1])
    return frame if trace.exact else _without_events(frame)


def _without_events(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop figures that sampling cannot measure."""
    frame[["forced", "steals"]] = pd.NA
    frame[list(_QUANTILES)] = np.nan
    return frame


def _of_gil(trace: ObservedTrace, gil: Gil) -> Figures:
    c, free = changes(trace, gil), gil.gaps

    def one(n: Any) -> Int:
        return np.array([n], np.int64)

    return Figures(
        wall=one(gil.wall),
        held=one(gil.runs.total),
        lost=one(free.lost.sum()),
        waited=one(gil.waits.total),
        steals=one(free.steal.sum()),
        group=np.zeros(len(c.to), np.int64),
        gap=c.gap,
        forced=c.forced,
    )


def _by_gil(trace: ObservedTrace, gils: list[Gil]) -> pd.DataFrame:
    wall = np.array([trace.wall])
    figures = functools.reduce(Figures.plus, (_of_gil(trace, gil) for gil in gils))
    frame = figures.frame(wall)
    if trace.exact:
        return frame
    switches = int(trace.metadata.get("switches", 0))
    frame["handoffs"], frame["handoffs_per_s"] = switches, per_second(np.array([switches]), wall)
    return frame.assign(**_intervals(trace, gils)).astype({"handoffs": "Int64"})


def _intervals(trace: ObservedTrace, gils: list[Gil]) -> dict[str, object]:
    """Return the 95 % intervals of the estimates of one row."""
    at = estimates.edges(trace)
    held = np.sum([np.diff(gil.held.until(at)) for gil in gils], axis=0)
    lost = np.sum([np.diff(gil.gaps.lost_until(at)) for gil in gils], axis=0)
    waited = np.sum([np.diff(gil.waiting.until(at)) for gil in gils], axis=0)
    row: dict[str, object] = {}
    for word, ns in (("held", held), ("free", np.diff(at) * len(gils) - held), ("overhead", lost)):
        estimates.add_interval(row, word, trace, ns, gils=len(gils))
    half, mean = float(estimates.half_widths(trace, waited)), float(waited.sum()) / max(trace.wall, 1)
    return row | {"mean_waiters_low": max(mean - half, 0.0), "mean_waiters_high": mean + half}


def _by_thread(trace: ObservedTrace) -> pd.DataFrame:
    n = len(trace.names)
    figures = functools.reduce(Figures.plus, (_of_threads(trace, gil, n) for gil in trace.gils))
    frame = figures.frame(np.array([trace.wall])).assign(mean_waiters=np.nan)
    if not trace.exact:
        frame["handoffs"], frame["handoffs_per_s"] = pd.NA, np.nan
        frame = _held_by(trace, frame)
    frame.insert(0, "thread", np.arange(n))
    frame.insert(1, "thread_name", trace.names)
    took = np.bincount(np.concatenate([gil.runs.thread for gil in trace.gils]), minlength=n) > 0
    return frame[took].reset_index(drop=True)


def _held_by(trace: ObservedTrace, frame: pd.DataFrame) -> pd.DataFrame:
    """Keep only how long each thread held the GIL, which is all that sampling can measure."""
    at = estimates.edges(trace)
    per_gil = [[np.diff(c.until(at)) for c in trace.coverages(gil.runs)] for gil in trace.gils]
    covered = np.sum(np.array(per_gil, np.int64).reshape(len(per_gil), -1, estimates.WINDOWS), axis=0)
    half = estimates.half_widths(trace, covered)
    share = covered.sum(axis=1) / max(trace.wall, 1)
    frame["wall_ns"], frame["held_share"] = trace.wall, share
    for end, value in (("low", np.maximum(share - half, 0.0)), ("high", np.minimum(share + half, 1.0))):
        frame[f"held_share_{end}"], frame[f"held_ns_{end}"] = value, value * trace.wall
    frame[["free_share", "overhead_share"]] = np.nan
    unknown = frame[["free_ns", "overhead_ns"]].astype("Int64").mask(np.ones((len(frame), 2), np.bool_))
    return frame.assign(**{name: unknown[name] for name in unknown})


def _of_threads(trace: ObservedTrace, gil: Gil, n: int) -> Figures:
    c, free = changes(trace, gil), gil.gaps
    came = free.by >= 0
    held = group_sums(gil.runs.thread, gil.runs.duration, n)
    before = group_sums(free.by[came], (free.end - free.start)[came], n)
    return Figures(
        wall=held + before,
        held=held,
        lost=group_sums(free.by[came], free.lost[came], n),
        waited=group_sums(gil.waits.thread, gil.waits.duration, n),
        steals=np.bincount(free.by[free.steal], minlength=n),
        group=c.to,
        gap=c.gap,
        forced=c.forced,
    )


def window_edges(trace: ObservedTrace, seconds: float) -> Int:
    """Return the edges of windows of equal length, the last one cut, in nanoseconds of the trace.

    Raises:
        OptionError: if ``seconds`` is not above zero, or makes more than a million windows.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, Real):
        raise OptionError(f"expected a number of seconds, got {seconds!r}")
    step = round(seconds * 1e9) if 0 < seconds < 1e9 else 0
    if step < 1 or trace.duration / step > _MOST_WINDOWS:
        raise OptionError(
            f"a window of {seconds!r} s cannot be used on a trace of {trace.duration / 1e9:g} s: expected a "
            f"length above zero that makes at most {_MOST_WINDOWS} windows"
        )
    starts = np.arange(0, max(trace.duration, 1), step, dtype=np.int64)
    return np.concatenate((starts, np.array([trace.duration])))


def window_of_ticks(trace: ObservedTrace, edges: Int) -> Int:
    """Return the window of each tick; a tick on an edge reports the window before."""
    ticks = np.searchsorted(edges[1:], trace.numbers("samples", "time_ns"), "left")
    return np.minimum(ticks, len(edges) - 2)


def by_window(trace: ObservedTrace, edges: Int) -> pd.DataFrame:
    """Return the columns of `overhead`, a row per window between edges in nanoseconds of the trace."""
    at = trace.observed(edges)
    n = len(at) - 1
    figures = functools.reduce(Figures.plus, (_of_windows(trace, gil, at) for gil in trace.gils))
    with np.errstate(divide="ignore", invalid="ignore"):
        frame = figures.frame(np.diff(at))
        if not trace.exact:
            window = window_of_ticks(trace, edges)
            switches = group_sums(window, trace.numbers("samples", "switches"), n)
            frame["handoffs"] = switches
            frame["handoffs_per_s"] = per_second(switches, np.diff(at))
            ticks = np.bincount(window, minlength=n)
            for word in ("held", "free", "overhead"):
                low, high = estimates.wilson(trace, frame[f"{word}_share"].to_numpy(), ticks)
                frame[f"{word}_share_low"], frame[f"{word}_share_high"] = low, high
                frame[f"{word}_ns_low"], frame[f"{word}_ns_high"] = low * figures.wall, high * figures.wall
            low, high = estimates.poisson(trace, frame["mean_waiters"].to_numpy(np.float64), ticks)
            frame["mean_waiters_low"], frame["mean_waiters_high"] = low, high
    return frame.astype({"handoffs": "Int64"})


def _of_windows(trace: ObservedTrace, gil: Gil, at: Int) -> Figures:
    c, free, n = changes(trace, gil), gil.gaps, len(at) - 1
    inner = at[1:-1]
    return Figures(
        wall=np.diff(at),
        held=np.diff(gil.held.until(at)),
        lost=np.diff(free.lost_until(at)),
        waited=np.diff(gil.waiting.until(at)),
        steals=np.bincount(np.searchsorted(inner, free.end[free.steal], "right"), minlength=n),
        group=np.searchsorted(inner, c.acquire, "right"),
        gap=c.gap,
        forced=c.forced,
    )
