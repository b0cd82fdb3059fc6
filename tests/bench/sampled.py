"""Sampled edges against exact ones: one recording with both, converted as each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from gilscope.progress import progress_bar
from gilscope.record.options import SAMPLED_PERIOD_S
from tests.bench.common import TARGET, Bound, Figure, Plan, fresh, recording, scratch
from tests.bench.workloads import run_for

_ALIKE = Bound(2.0, TARGET)
_COVERAGE = Bound(0.95, "definition: 95 % intervals", least=True)
_SAME = Bound(0, "invariant: the GIL counts its own switches")
_NAMES = (
    "two threads counting",
    "convoy",
    "C calls that hold",
    "four threads compressing",
    "two threads writing",
)
_STATES = ("run", "wait")


def _record_both(spool: Path, name: str, seconds: float) -> int:
    """Record transitions and samples at once; return the sampler's processor time in ns.

    `gilscope.trace` does one or the other.
    """
    from gilscope import _core

    _core.start(spool, exact=True, states=True, period_ns=round(SAMPLED_PERIOD_S * 1e9))
    try:
        run_for(name, seconds)
    finally:
        stopped = _core.stop()
    return stopped["sampler_cpu_ns"]


def _converted(spool: Path, folder: Path, sampler_cpu_ns: int, *, exact: bool) -> Any:
    """Return the spool's recording, made from its transitions or from its samples."""
    from gilscope.convert.conversion import Conversion
    from gilscope.convert.spool import SpoolReader
    from gilscope.tables.stored import Tables

    folder.mkdir()
    with SpoolReader(spool) as reader:
        reader.header = replace(reader.header, exact=exact, sampled=not exact)
        totals = Conversion(reader, folder, interval_argument=False).run()
    metadata = {
        "edges": "exact" if exact else "sampled",
        "duration_ns": totals.duration_ns,
        "switches": totals.switches,
        "dropped": totals.dropped,
        "ticks": totals.ticks,
        "sampler_cpu_ns": sampler_cpu_ns,
    }
    return Tables(folder, metadata)


def _rows(trace: Any) -> dict[int, Any]:
    """Return the row of `gilscope.analysis.threads` for each native id."""
    from gilscope import analysis

    native = dict(zip(*(trace.threads[c].to_pylist() for c in ("thread", "native_id")), strict=True))
    rows = analysis.threads(trace).to_dict("records")
    for row in rows:  # of the trace, not of a thread's life: sampling cannot tell when that began
        row |= {f"{word}_share": row[f"{word}_ns"] / trace.metadata["duration_ns"] for word in _STATES}
    return {native[row["thread"]]: row for row in rows}


def points_off(exact: Any, sampled: Any) -> tuple[float, bool]:
    """Return the difference of two shares in points, and whether the sampled interval covers the exact one.

    Args:
        exact: a share.
        sampled: a share, its low and its high end.
    """
    share, low, high = sampled
    return abs(share - exact) * 100, bool(low <= exact <= high)


def share_at_ticks(exact: Any, thread: int, state: str) -> float:
    """Return the share of the ticks at which a thread really was in a state: what perfect sight would see."""
    intervals = exact.intervals
    in_state = pc.equal(intervals["state"].cast("string"), state)
    mine = intervals.filter(pc.and_(pc.equal(intervals["thread"], thread), in_state))
    if mine.num_rows == 0:
        return 0.0
    start = mine["start_ns"].to_numpy()
    end = start + mine["duration_ns"].to_numpy()
    ticks = exact.samples["time_ns"].to_numpy()
    at = np.searchsorted(start, ticks, "right") - 1
    return float(np.mean((at >= 0) & (ticks < end[at])))


def trial(name: str, seconds: float) -> dict[str, Any]:
    """Record a workload once and compare what both conversions say."""
    with scratch() as folder:
        cpu_ns = _record_both(folder / "spool.bin", name, seconds)
        exact = _converted(folder / "spool.bin", folder / "exact", cpu_ns, exact=True)
        sampled = _converted(folder / "spool.bin", folder / "sampled", cpu_ns, exact=False)
        ours, theirs = _rows(exact), _rows(sampled)
        shares, floors = [], []
        for native_id, row in ours.items():
            other = theirs.get(native_id)
            for word in _STATES:
                guess = [other[f"{word}_share{end}"] for end in ("", "_low", "_high")] if other else [0.0] * 3
                shares.append((row["thread"], word, *points_off(row[f"{word}_share"], guess), *guess))
                at_ticks = share_at_ticks(exact, row["thread"], word)
                floors.append(abs(at_ticks - row[f"{word}_share"]) * 100)
        return {
            "shares": shares,
            "floors": floors,
            "handoffs": exact.handoffs.num_rows,
            "switches": sampled.metadata["switches"],
            "dropped": exact.metadata["dropped"],
            "ticks": sampled.metadata["ticks"],
        }


def alone(name: str, seconds: float) -> dict[str, int]:
    """Record a workload with sampled edges only; return the GIL's switches as counted in three ways."""
    from gilscope.analysis import overhead
    from gilscope.tables.stored import Tables

    with scratch() as folder:
        with recording(folder, "sampled") as recorded:
            run_for(name, seconds)
        metadata = recorded.convert()
        trace = Tables(recorded.folder, metadata)
        return {
            "metadata": metadata["switches"],
            "samples": sum(trace.samples["switches"].to_pylist()),
            "analysis": int(overhead(trace)["handoffs"].iloc[0]),
        }


def _figures(name: str, trials: list[dict[str, Any]]) -> Iterator[Figure]:
    shares = [share for t in trials for share in t["shares"]]
    worst = max(shares, key=lambda share: share[2])
    floor = max(points for t in trials for points in t["floors"])
    covered = sum(share[3] for share in shares)
    note = f"worst: {worst[1]} of thread {worst[0]}; {len(shares)} shares"
    yield Figure(f"{name}: worst difference", worst[2], "points", _ALIKE, note=note)
    note = "exact edges at the instants of the ticks, against all of the time"
    yield Figure(f"{name}: the floor", floor, "points", note=note)
    missed = {
        f"{s[1]} of {s[0]} ({s[2]:.2f} points, half-width {(s[6] - s[5]) * 50:.2f})"
        for s in shares
        if not s[3]
    }
    note = f"{covered} of {len(shares)}" + (f"; not: {', '.join(sorted(missed))}" if missed else "")
    yield Figure(f"{name}: 95 % intervals that cover", covered / len(shares), "", _COVERAGE, note=note)
    off = sum(abs(t["handoffs"] - t["switches"]) for t in trials)
    note = (
        f"{sum(t['handoffs'] for t in trials)} hand-offs, {sum(t['dropped'] for t in trials)} records dropped"
    )
    yield Figure(f"{name}: switch counter - hand-offs", off, "", _SAME, note=note)


def run(plan: Plan) -> Iterator[Figure]:
    """Compare shares, their intervals and the count of hand-offs for several programs."""
    seconds, trials = (1.0, 1) if plan.quick else (5.0, 3)
    names = _NAMES[:3] if plan.quick else _NAMES
    with progress_bar("sampled", len(names) * trials + 1) as done:
        for n, name in enumerate(names):
            results = []
            for i in range(trials):
                results.append(fresh(trial, name, seconds))
                done(n * trials + i + 1)
            yield from _figures(name, results)
        counts = fresh(alone, "mixed", seconds)
    off = max(counts.values()) - min(counts.values())
    note = f"{counts['metadata']} switches in metadata, samples and analysis"
    yield Figure("sampled alone: counts of hand-offs differ by", off, "", _SAME, note=note)
