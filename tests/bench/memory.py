"""Memory that recording adds, over its length, and bytes of spool for a transition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.progress import progress_bar
from tests.bench.common import TARGET, Bound, Figure, Plan, fresh, recording, scratch
from tests.bench.workloads import run_for

if TYPE_CHECKING:
    from gilscope.record.options import Edges

_ADDED = Bound(32.0, TARGET)
_RECORD = Bound(16.0, "definition: the size of a record")
_STATUS = Path("/proc/self/status")


def _resident_mb(key: str) -> float:
    found = re.search(rf"^{key}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"{_STATUS} has no {key}")
    return int(found[1]) * 1024 / 1e6


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def added(edges: Edges | None, name: str, seconds: float) -> dict[str, float]:
    """Return what a recording added to resident memory in MB, at most, and what it wrote.

    Args:
        edges: None: no recording, for comparison.
        name: the workload.
        seconds: how long it runs.
    """
    run_for(name, 0.3)
    with scratch() as folder:
        _forget_peak()
        before = _resident_mb("VmRSS")
        if edges is None:
            run_for(name, seconds)
            return {"mb": _resident_mb("VmHWM") - before}
        with recording(folder, edges) as recorded:
            run_for(name, seconds)
            peak = _resident_mb("VmHWM")
        transitions = recorded.convert()["transitions"] or 0
    return {"mb": peak - before, "bytes": recorded.stopped["spool_bytes"], "transitions": transitions}


def _lengths(plan: Plan) -> tuple[float, ...]:
    return (0.5, 2.0) if plan.quick else (1.0, 5.0, 20.0)


def _growth(plan: Plan) -> Iterator[Figure]:
    name = "two threads writing"
    bare = fresh(added, None, name, _lengths(plan)[0])["mb"]
    for edges in ("exact", "sampled"):
        for seconds in _lengths(plan):
            result = fresh(added, edges, name, seconds)
            note = f"spool {result['bytes'] / 1e6:.0f} MB; untraced {bare:.1f} MB"
            yield Figure(
                f"{edges}, {name} for {seconds:g} s: RSS added", result["mb"], "MB", _ADDED, note=note
            )


def _spool(plan: Plan) -> Iterator[Figure]:
    seconds = _lengths(plan)[1]
    for name in ("two threads writing", "one thread writing"):
        result = fresh(added, "exact", name, seconds)
        per = result["bytes"] / result["transitions"]
        beside = result["bytes"] - 16 * result["transitions"]
        note = f"{result['transitions']} transitions; {beside:.0f} bytes beside"
        # To a hundredth of a byte: the headers of batches are not what was meant.
        yield Figure(f"{name}: spool per transition", round(per, 2), "bytes", _RECORD, note=note)
    for name in ("two threads counting", "convoy"):
        result = fresh(added, "exact", name, seconds)
        rate, per = result["bytes"] / seconds, result["bytes"] / result["transitions"]
        note = f"{result['transitions']} transitions, {per:.1f} bytes each: few, so the ticks weigh"
        yield Figure(f"{name}: spool per second", rate / 1e3, "kB", note=note)


def run(plan: Plan) -> Iterator[Figure]:
    """Measure resident memory over several lengths, and the spool of busy and quiet programs."""
    with progress_bar("memory", 10) as done:
        for i, figure in enumerate((*_growth(plan), *_spool(plan))):
            done(i + 1)
            yield figure
