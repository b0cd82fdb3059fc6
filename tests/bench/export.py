"""A timeline for the viewer: a million intervals, and the part that is shown of twenty million."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gilscope.progress import progress_bar
from tests.bench.common import TARGET, Bound, Figure, Plan, fresh, median, peak_mb, scratch
from tests.bench.convert import converted, synthesise

_WAIT = Bound(3.0, TARGET)
_PEAK = Bound(1000.0, TARGET)
_MILLION = 1_000_000
_MANY = 20_000_000
# Transitions that make an interval: an uncontended write is two and one hold; between two threads that fight
# for the GIL a cycle is about three, and a hold and a wait.
_KINDS = {"one thread writing": 2.0, "two threads writing": 1.6}


def exported(folder: str, out: str) -> dict[str, Any]:
    """Export a trace on disk; return what it cost this process."""
    from gilscope import viztracer
    from gilscope.tables.metadata import read_metadata
    from gilscope.tables.stored import Tables

    trace = Tables(Path(folder), read_metadata(Path(folder)))
    intervals, handoffs = trace.intervals.num_rows, trace.handoffs.num_rows
    before, begun = peak_mb(), time.perf_counter()
    said = viztracer.export(trace, Path(out))
    seconds = time.perf_counter() - begun
    size = Path(out).stat().st_size / 1e6
    return {
        "seconds": seconds,
        "peak_mb": peak_mb(),
        "before_mb": before,
        "intervals": intervals,
        "handoffs": handoffs,
        "mb": size,
        "said": said,
    }


def _trace(folder: Path, name: str, intervals: int) -> str:
    """Make a trace of about this many intervals and return its path."""
    tables = folder / f"{name}-{intervals}"
    tables.mkdir()
    facts = fresh(synthesise, name, str(folder / "spool.bin"), int(_KINDS[name] * intervals))
    fresh(converted, str(folder / "spool.bin"), str(tables), facts)
    return str(tables)


def run(plan: Plan) -> Iterator[Figure]:
    """Export in fresh processes; the figures are those of the median run."""
    trials = 1 if plan.quick else 5
    with scratch() as folder, progress_bar("export", len(_KINDS) * (trials + 1) + 2) as done:
        step = 0
        for name in _KINDS:
            tables = _trace(folder, name, _MILLION)
            done(step := step + 1)
            results = []
            for i in range(trials):
                results.append(fresh(exported, tables, str(folder / f"{i}.json.gz")))
                done(step := step + 1)
            yield from _figures(name, results)
        if not plan.quick:
            yield from _of_many(
                fresh(exported, _trace(folder, "two threads writing", _MANY), str(folder / "x.json.gz"))
            )
        done(step + 2)


def _figures(name: str, results: list[dict[str, Any]]) -> Iterator[Figure]:
    seconds = [r["seconds"] * _MILLION / r["intervals"] for r in results]
    first = results[0]
    note = f"{first['intervals']} intervals, {first['handoffs']} hand-offs, {first['mb']:.0f} MB"
    note += f"; {min(seconds):.2f} to {max(seconds):.2f} s"
    yield Figure(f"{name}: a million intervals to .json.gz", median(seconds), "s", _WAIT, note=note)
    peak = max(r["peak_mb"] for r in results)
    yield Figure(
        f"{name}: peak memory", peak, "MB", _PEAK, note=f"{first['before_mb']:.0f} MB before it began"
    )


def _of_many(result: dict[str, Any]) -> Iterator[Figure]:
    note = f"{result['intervals']} intervals, {result['mb']:.0f} MB; {result['said'] or 'NOTHING SAID'}"
    yield Figure("the part shown of 20 million", result["seconds"], "s", note=note)
    yield Figure("... peak memory", result["peak_mb"], "MB")
