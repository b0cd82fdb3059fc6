"""What the slow twin of `gilscope.analysis` computes with: the words of the README, by definition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tests.support.drawn.rows import Trace


@dataclass(frozen=True)
class Span:
    """An interval as far as it is known; start and end in observed nanoseconds."""

    thread: int
    interpreter: int
    state: str
    at: int
    start: int
    end: int
    whole: bool
    release: str | None
    site: int | None = None

    @property
    def duration(self) -> int:
        return self.end - self.start


class Slice(NamedTuple):
    """A stretch of observed time in which nothing changes."""

    start: int
    end: int
    holder: int | None
    waiters: list[int]


def holes(trace: Trace) -> list[tuple[int, int]]:
    """Return the time between two ticks in which records were dropped."""
    found, before = [], 0
    for sample in trace.samples:
        tick = min(max(sample.time_ns, 0), trace.duration)
        if sample.dropped > 0 and tick > before and trace.edges == "exact":
            found.append((before, tick))
        before = tick
    return found


def observed(trace: Trace, time: int) -> int:
    """Return how much of the time up to an instant is known."""
    return time - sum(min(time, end) - start for start, end in holes(trace) if start < time)


def in_hole(trace: Trace, time: int) -> bool:
    return any(start <= time < end for start, end in holes(trace))


def wall(trace: Trace) -> int:
    return observed(trace, trace.duration)


def spans(trace: Trace) -> list[Span]:
    """Return what is known of intervals; those that lie in a hole are left out."""
    out = []
    for thread, interpreter, state, start, duration, release, site in trace.intervals:
        a, b = observed(trace, start), observed(trace, start + duration)
        if (a == b and duration > 0) or (duration == 0 and in_hole(trace, start)):
            continue
        out.append(Span(thread, interpreter, state, start, a, b, b - a == duration, release, site))
    return out


def gils(trace: Trace) -> list[int]:
    return sorted({s.interpreter for s in spans(trace)}) or [0]


def runs_of(trace: Trace, gil: int) -> list[Span]:
    """Return the holds of a GIL in order of time."""
    mine = [s for s in spans(trace) if s.state == "run" and s.interpreter == gil]
    return sorted(mine, key=lambda s: (s.start, s.end))


def waits_of(trace: Trace, gil: int) -> list[Span]:
    return [s for s in spans(trace) if s.state == "wait" and s.interpreter == gil]


def names(trace: Trace) -> dict[int, str]:
    """Return the name of every thread that any table mentions."""
    seen = {i.thread for i in trace.intervals}
    seen |= {thread for h in trace.handoffs for thread in (h.from_thread, h.to_thread)}
    seen |= {t.thread for t in trace.threads} | {m.thread for m in trace.marks}
    return {n: f"thread {n}" for n in seen} | {t.thread: t.name for t in trace.threads if t.name}


def slices(trace: Trace, gil: int) -> list[Slice]:
    """Cut observed time wherever a span begins or ends."""
    mine = runs_of(trace, gil) + waits_of(trace, gil)
    cuts = sorted({0, wall(trace), *(s.start for s in mine), *(s.end for s in mine)})
    out = []
    on: list[Span] = []
    begins: dict[int, list[Span]] = {}
    for s in mine:
        begins.setdefault(s.start, []).append(s)
    for start, end in pairwise(cuts):
        on = [s for s in on + begins.get(start, []) if s.end > start]
        holders = [s.thread for s in on if s.state == "run"]
        assert len(holders) <= 1
        waiters = [s.thread for s in on if s.state == "wait"]
        out.append(Slice(start, end, holders[0] if holders else None, waiters))
    return out


def next_holder(trace: Trace, gil: int, time: int) -> int | None:
    """Return the thread that acquires the GIL first at an instant or after it."""
    return next((r.thread for r in runs_of(trace, gil) if r.start >= time), None)


def steals_of(trace: Trace, gil: int) -> list[tuple[int, int]]:
    """Return the threads that took the GIL back while another one waited, and when (observed)."""
    out = []
    waits = [w for w in waits_of(trace, gil) if w.duration]
    for before, after in pairwise(runs_of(trace, gil)):
        unbroken = after.at - before.at == after.start - before.start
        waiting = any(w.start <= before.end < w.end for w in waits)
        if unbroken and before.thread == after.thread and waiting:
            out.append((after.thread, after.start))
    return out


def changes_of(trace: Trace, gil: int) -> list[tuple[int, int, int | None, bool]]:
    """Return hand-offs: new holder, when (observed), the gap if it counts, and whether it was forced."""
    out = []
    for h in trace.handoffs:
        if h.interpreter != gil or in_hole(trace, h.acquire_ns):
            continue
        whole = observed(trace, h.acquire_ns) - observed(trace, h.release_ns) == h.gap_ns
        gap = h.gap_ns if h.waiters > 0 and whole else None
        out.append((h.to_thread, observed(trace, h.acquire_ns), gap, h.forced))
    return out


def interval_at(trace: Trace, time: int) -> int:
    """Return the switch interval in force."""
    if not trace.switch_intervals:
        return 5_000_000
    value = trace.switch_intervals[0].interval_ns
    for row in trace.switch_intervals:
        if row.time_ns <= time:
            value = row.interval_ns
    return value


def quantile(values: list[int], q: float) -> float | None:
    """Return a quantile by linear interpolation."""
    if not values:
        return None
    ordered, at = sorted(values), (len(values) - 1) * q
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def regions(trace: Trace, name: str) -> dict[int, list[tuple[int, int]]]:
    """Return the observed time of each thread in regions of a name, cut where one begins or ends."""
    out: dict[int, list[tuple[int, int]]] = {}
    mine = [m for m in trace.marks if m.name == name and m.duration_ns is not None]
    for thread in {m.thread for m in mine}:
        own = [
            (observed(trace, m.start_ns), observed(trace, m.start_ns + m.duration_ns))
            for m in mine
            if m.thread == thread
        ]
        cuts = sorted({time for span in own for time in span})
        out[thread] = [(a, b) for a, b in pairwise(cuts) if any(start <= a < end for start, end in own)]
    return out
