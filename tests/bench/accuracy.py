"""Exact edges against known answers: C calls of known length that keep or release the GIL.

``usleep`` overshoots, so the answer is what the threads themselves read from the clock: right before and
after each call, and, for waits, the gap that a thread sees which does nothing but read the clock. Where
the kernel took the processor from the thread between clock and transition (its count of involuntary
switches says so) the clock does not know the answer; such intervals are kept apart.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gilscope.progress import progress_bar
from tests.bench.common import Bound, Figure, Plan, fresh, median, recording, scratch

Span = tuple[int, int]
Known = tuple[int, str, int, int, bool]
"""Native id, state, start and end in nanoseconds of CLOCK_MONOTONIC, whether the processor was taken away."""
Case = tuple[str, bool, int, float, float]
"""State, whether the processor was taken away, known length, by how much start and end are late."""

_WITHIN = Bound(1.0, "definition: within the tolerance")
_LENGTHS_US = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
_GAP_NS = 500_000
STATES = ("run", "off", "wait", "between holds")
"""``between holds``: from a release to the same thread's next acquire, whatever it did meanwhile."""


def tolerance_ns(length_ns: int) -> float:
    """Return by how much an interval may be off: 1 %, and 200 us for short ones."""
    return max(0.01 * length_ns, 200_000.0)


def overlap(a: Span, b: Span) -> int:
    """Return how long two spans overlap; negative when they are apart."""
    return min(a[1], b[1]) - max(a[0], b[0])


def edge_errors_ns(known: Span, found: Sequence[Span]) -> tuple[float, float]:
    """Return by how much start and end of the span that fits best are late; infinite without one."""
    best = max(found, key=lambda span: overlap(known, span), default=None)
    if best is None or overlap(known, best) <= 0:
        return float("inf"), float("inf")
    return float(best[0] - known[0]), float(best[1] - known[1])


def error_ns(start: float, end: float) -> float:
    """Return the worst error of start, end and length."""
    if math.isinf(start):
        return start
    return max(abs(start), abs(end), abs(end - start))


def _now() -> Span:
    """Return the time, and how often this thread has lost its processor against its will."""
    return time.monotonic_ns(), resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


def _alone(rounds: int) -> list[Known]:
    """Hold and release in turn, with no other thread about."""
    hold, let_go = ctypes.PyDLL(None).usleep, ctypes.CDLL(None).usleep
    let_go(1000)
    stamps = [_now()]
    for us in _LENGTHS_US * rounds:
        hold(us)
        stamps.append(_now())
        let_go(us)
        stamps.append(_now())
    me = threading.get_native_id()
    spans = itertools.pairwise(stamps)
    return [(me, STATES[i % 2], a[0], b[0], a[1] != b[1]) for i, (a, b) in enumerate(spans)]


def _contended(rounds: int) -> list[Known]:
    """Hold while another thread reads the clock: its gap is the wait that the hold inflicts."""
    hold, let_go, now = ctypes.PyDLL(None).usleep, ctypes.CDLL(None).usleep, time.monotonic_ns
    held_at: list[int] = []

    def holder() -> None:
        for us in _LENGTHS_US * rounds:
            let_go(10_000)
            held_at.append(now())
            hold(us)

    thread = threading.Thread(target=holder)
    thread.start()
    gaps: list[tuple[int, int, bool]] = []
    last = _now()
    while thread.is_alive():
        read = _now()
        if read[0] - last[0] > _GAP_NS:
            gaps.append((last[0], read[0], last[1] != read[1]))
        last = read
    me = threading.get_native_id()
    inflicted = [gap for gap in gaps if any(gap[0] < at < gap[1] for at in held_at)]
    return [(me, state, *gap) for gap in inflicted for state in ("wait", "between holds")]


def _in_thread(rounds: int) -> list[Known]:
    known: list[Known] = []
    thread = threading.Thread(target=lambda: known.extend(_alone(rounds)))
    thread.start()
    thread.join()
    return known


def _found(folder: Path, metadata: dict[str, Any]) -> dict[tuple[int, str], list[Span]]:
    """Return the spans of every thread and state; ``off`` is what no interval covers."""
    from gilscope.tables.stored import Tables

    trace = Tables(folder, metadata)
    native = dict(zip(*(trace.threads[c].to_pylist() for c in ("thread", "native_id")), strict=True))
    zero, found = metadata["start_monotonic_ns"], dict[tuple[int, str], list[Span]]()
    ends, releases = dict[int, int](), dict[int, int]()
    for row in trace.intervals.sort_by("start_ns").to_pylist():
        thread, start = native[row["thread"]], zero + row["start_ns"]
        end = start + row["duration_ns"]
        if thread in ends:
            found.setdefault((thread, "off"), []).append((ends[thread], start))
        ends[thread] = end
        if row["state"] == "run":
            if thread in releases:
                found.setdefault((thread, "between holds"), []).append((releases[thread], start))
            releases[thread] = end
        found.setdefault((thread, row["state"]), []).append((start, end))
    return found


def trial(rounds: int) -> list[Case]:
    """Compare every known interval of one recording."""
    with scratch() as folder:
        with recording(folder) as recorded:
            known = _in_thread(rounds) + _contended(rounds)
        found = _found(recorded.folder, recorded.convert())
    return [
        (state, taken, end - start, *edge_errors_ns((start, end), found.get((thread, state), ())))
        for thread, state, start, end, taken in known
    ]


def _figures(state: str, every: list[Case]) -> Iterator[Figure]:
    cases = [case for case in every if not case[1]]
    if not cases:
        note = f"the kernel took the processor away in each of {len(every)}: others keep it busy"
        yield Figure(f"{state}: worst error / tolerance", None, "", _WITHIN, note=note)
        return
    errors = [error_ns(start, end) for *_, start, end in cases]
    used = [error / tolerance_ns(length) for error, (_, _, length, _, _) in zip(errors, cases, strict=True)]
    starts, ends = ([float(case[i]) / 1e3 for case in cases] for i in (3, 4))
    late = f"start late by {median(starts):.1f}, end by {median(ends):.1f}"
    note = f"median {median(errors) / 1e3:.1f} us; {late}"
    yield Figure(f"{state}: worst error", max(errors) / 1e3, "us", note=note)
    outside, taken = sum(share > 1 for share in used), len(every) - len(cases)
    note = f"tolerance 1 % or 200 us; {outside} of {len(cases)} outside; processor taken away in {taken} more"
    yield Figure(f"{state}: worst error / tolerance", max(used), "", _WITHIN, note=note)


def run(plan: Plan) -> Iterator[Figure]:
    """Measure the worst error over all known intervals of several recordings."""
    trials, rounds = (1, 1) if plan.quick else (5, 3)
    cases: list[Case] = []
    with progress_bar("accuracy", trials) as done:
        for i in range(trials):
            cases += fresh(trial, rounds)
            done(i + 1)
    for state in STATES:
        yield from _figures(state, [case for case in cases if case[0] == state])
