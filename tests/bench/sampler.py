"""The sampler thread: its share of a core, its ticks while a C call holds the GIL, how late it comes."""

from __future__ import annotations

import ctypes
import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gilscope.progress import progress_bar
from gilscope.record.options import EXACT_PERIOD_S, SAMPLED_PERIOD_S
from tests.bench.common import TARGET, Bound, Figure, Plan, fresh, quantile, recording, scratch
from tests.bench.workloads import run_for

if TYPE_CHECKING:
    from gilscope.record.options import Edges

_PERIODS: dict[Edges, float] = {"exact": EXACT_PERIOD_S, "sampled": SAMPLED_PERIOD_S}


_SHARE = Bound(3.0, TARGET)
_TICKS = Bound(0.9, TARGET, least=True)


def share(edges: Edges, name: str, seconds: float) -> dict[str, Any]:
    """Record a workload; return the sampler's share of a core and how late each tick was, in us."""
    from gilscope.tables.stored import Tables

    with scratch() as folder:
        with recording(folder, edges) as recorded:
            if name:
                run_for(name, seconds)
            else:
                time.sleep(seconds)
        metadata = recorded.convert()
        samples = Tables(recorded.folder, metadata).samples
        late = [ns / 1e3 for ns in samples["late_ns"].to_pylist()]
    return {"share": recorded.stopped["sampler_cpu_ns"] / metadata["duration_ns"], "late_us": late}


def held(edges: Edges) -> dict[str, Any]:
    """Hold the GIL for a second; return how long, and when the ticks in it came, in ms."""
    from gilscope.tables.stored import Tables

    with scratch() as folder:
        with recording(folder, edges) as recorded:
            begun = time.monotonic_ns()
            ctypes.PyDLL(None).usleep(1_000_000)
            ended = time.monotonic_ns()
        metadata = recorded.convert()
        times = Tables(recorded.folder, metadata).samples["time_ns"].to_pylist()
    zero = metadata["start_monotonic_ns"]
    ticks = [(zero + t - begun) / 1e6 for t in times if begun <= zero + t <= ended]
    return {"seconds": (ended - begun) / 1e9, "ticks_ms": ticks}


def _share_figures(edges: Edges, name: str, seconds: float, trials: int) -> Iterator[Figure]:
    results = [fresh(share, edges, name, seconds) for _ in range(trials)]
    worst = max(r["share"] for r in results)
    late = [us for r in results for us in r["late_us"]]
    what = f"{edges}, {_PERIODS[edges] * 1e3:g} ms, {name or 'idle'}"
    late_note = ", ".join(
        f"{word} {quantile(late, q):.0f}" for word, q in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    )
    note = f"worst of {trials}; ticks late by us: {late_note}"
    yield Figure(f"{what}: share of a core", worst * 100, "%", _SHARE, note=note)


def _held_figures(edges: Edges) -> Iterator[Figure]:
    result = fresh(held, edges)
    ticks = result["ticks_ms"]
    expected = result["seconds"] / _PERIODS[edges]
    pause = max((b - a for a, b in itertools.pairwise(ticks)), default=result["seconds"] * 1e3)
    note = f"{len(ticks)} ticks, {expected:.0f} expected; longest pause {pause:.1f} ms"
    yield Figure(f"{edges}: ticks while a C call holds for 1 s", len(ticks) / expected, "", _TICKS, note)


def run(plan: Plan) -> Iterator[Figure]:
    """Measure both kinds of edges at their default periods."""
    seconds, trials = (1.0, 1) if plan.quick else (5.0, 3)
    names = ("two threads counting", "") if plan.quick else ("two threads counting", "convoy", "")
    cases = [(edges, name) for edges in _PERIODS for name in names]
    with progress_bar("sampler", len(cases)) as done:
        for i, (edges, name) in enumerate(cases):
            yield from _share_figures(edges, name, seconds, trials)
            done(i + 1)
        for edges in _PERIODS:
            yield from _held_figures(edges)
