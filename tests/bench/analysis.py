"""The helpers of `gilscope.analysis` on long traces: seconds on one core, and peak memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gilscope.progress import progress_bar
from tests.bench.common import TARGET, Bound, Figure, Plan, fresh, peak_mb, pin_to_one_core, scratch

_EVERY_REPORT = Bound(5.0, TARGET)
_ON_REQUEST = Bound(10.0, TARGET)
_PEAK = Bound(2000.0, TARGET)
_WORKLOADS = ("mixed", "four threads writing", "four threads compressing")
_FIRST = ("threads", "overhead", "handoffs", "holds", "timeline")
_THEN = ("blame", "convoys")
_MILLIONS = (1, 3, 10)


def synthesise(name: str, folder: str, intervals: int) -> None:
    """Write the tables of a trace that repeats a real recording of a workload."""
    from gilscope.convert import spool
    from gilscope.convert.folder import convert
    from tests.bench.synthesis import record_pattern, repeat

    pattern = record_pattern(name, 0.5)
    records = np.concatenate([b.records for b in pattern.batches])
    kinds = (records["word"] & np.uint64(31)).astype(np.uint8)
    each = int(np.isin(kinds, (spool.ACQUIRE, spool.REQUEST)).sum())
    file = Path(folder) / spool_name()
    repeat(pattern, file, -(-intervals // each) * pattern.transitions)
    convert(file, Path(folder), pattern.facts, quiet=True)
    file.unlink()


def spool_name() -> str:
    """Return the name of a trace's spool."""
    from gilscope.tables.folder import SPOOL_FILE

    return SPOOL_FILE


def analysed(folder: str) -> dict[str, Any]:
    """Call every helper on a trace; return the seconds of each, and the memory it all took."""
    import gilscope
    from gilscope import analysis

    pin_to_one_core()
    before = peak_mb()
    t = gilscope.load(folder)
    window = t.metadata["duration_ns"] / 1e9 / 100
    out: dict[str, Any] = {"before_mb": before}
    for name in (*_FIRST, *_THEN):
        begun = time.perf_counter()
        rows = getattr(analysis, name)(t, window) if name == "timeline" else getattr(analysis, name)(t)
        out[name] = time.perf_counter() - begun
        out[f"{name}_rows"] = len(rows)
        if name == _FIRST[-1]:
            out["peak_mb"] = peak_mb()
        del rows
    out["intervals"], out["handoffs_rows"] = t.intervals.num_rows, t.handoffs.num_rows
    return out


def _figures(name: str, result: dict[str, Any], *, bounds: bool) -> Iterator[Figure]:
    millions = result["intervals"] / 1e6
    what = f"{name}, {millions:.1f} million intervals"
    for names, bound in ((_FIRST, _EVERY_REPORT), (_THEN, _ON_REQUEST)):
        note = ", ".join(f"{n} {result[n]:.2f}" for n in names)
        total = sum(result[n] for n in names)
        yield Figure(f"{what}: {', '.join(names)}", total, "s", bound if bounds else None, note=note)
    before = f"{result['before_mb']:.0f} MB before it began"
    note = f"{result['handoffs_rows'] / 1e6:.2f} million hand-offs; {before}"
    yield Figure(f"{what}: peak memory", result["peak_mb"], "MB", _PEAK if bounds else None, note=note)


def run(plan: Plan) -> Iterator[Figure]:
    """Analyse traces of three lengths, each in a fresh process on one core."""
    names = _WORKLOADS[:1] if plan.quick else _WORKLOADS
    sizes = _MILLIONS[:1] if plan.quick else _MILLIONS
    with progress_bar("analysis", len(names) * len(sizes)) as done:
        for i, name in enumerate(names):
            for j, millions in enumerate(sizes):
                with scratch() as folder:
                    fresh(synthesise, name, str(folder), millions * 1_000_000)
                    result = fresh(analysed, str(folder))
                done(i * len(sizes) + j + 1)
                yield from _figures(name, result, bounds=millions == _MILLIONS[-1])
