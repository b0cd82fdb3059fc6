"""One million slices to a timeline for the viewer: seconds and peak memory."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gilscope.progress import progress_bar
from tests.bench.common import Figure, Plan, SkippedError, fresh, median, peak_mb, scratch
from tests.bench.convert import converted, synthesise

_SLICES = 1_000_000


def exported(folder: str, out: str) -> dict[str, Any]:
    """Export a trace on disk; return what it cost this process."""
    from gilscope import viztracer
    from gilscope.recording import Recording, read_metadata

    metadata = read_metadata(Path(folder)) | {"start_monotonic_ns": 0, "argv": ["bench.py"], "pid": 1}
    trace = Recording(Path(folder), metadata)
    slices = trace.intervals.num_rows
    before, begun = peak_mb(), time.perf_counter()
    viztracer.export(trace, Path(out))
    seconds = time.perf_counter() - begun
    size = Path(out).stat().st_size / 1e6
    return {"seconds": seconds, "peak_mb": peak_mb(), "before_mb": before, "slices": slices, "mb": size}


def _trace(folder: Path) -> None:
    """Make a trace of about a million slices: an uncontended write is two transitions and one slice."""
    (folder / "tables").mkdir()
    fresh(synthesise, "one thread writing", str(folder / "spool.bin"), 2 * _SLICES)
    fresh(converted, str(folder / "spool.bin"), str(folder / "tables"))


def run(plan: Plan) -> Iterator[Figure]:
    """Export in fresh processes; the figures are those of the median run."""
    if importlib.util.find_spec("gilscope.viztracer") is None:
        raise SkippedError("this gilscope has no gilscope.viztracer")
    trials = 1 if plan.quick else 5
    with scratch() as folder, progress_bar("export", trials + 1) as done:
        _trace(folder)
        done(1)
        results = []
        for i in range(trials):
            results.append(fresh(exported, str(folder / "tables"), str(folder / f"{i}.json.gz")))
            done(i + 2)
    seconds = [r["seconds"] * _SLICES / r["slices"] for r in results]
    first = results[0]
    note = f"{first['slices']} slices, {first['mb']:.0f} MB; {min(seconds):.2f} to {max(seconds):.2f} s"
    yield Figure("a million slices to .json.gz", median(seconds), "s", 3.0, note=note)
    peak = max(r["peak_mb"] for r in results)
    yield Figure("peak memory", peak, "MB", 1000.0, note=f"{first['before_mb']:.0f} MB before it began")
