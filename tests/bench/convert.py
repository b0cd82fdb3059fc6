"""Conversion of a long spool to tables: transitions a second on one core, and peak memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gilscope.progress import progress_bar
from tests.bench.common import TARGET, Bound, Figure, Plan, fresh, peak_mb, pin_to_one_core, scratch

_SPEED = Bound(5.0, TARGET, least=True)
_PEAK = Bound(500.0, TARGET)
_PATTERNS = ("two threads writing", "mixed", "one thread writing")


def synthesise(name: str, path: str, transitions: int) -> dict[str, Any]:
    """Write a spool that repeats a real recording of a workload; return what its recorder knew."""
    from tests.bench.synthesis import record_pattern, repeat

    pattern = record_pattern(name, 0.5)
    repeat(pattern, Path(path), transitions)
    return pattern.facts


def converted(path: str, folder: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Convert a spool as `gilscope.trace` does; return what it cost this process."""
    from gilscope.convert.conversion import Conversion
    from gilscope.convert.folder import convert
    from gilscope.convert.spool import SpoolReader

    del SpoolReader, Conversion  # loaded before the clock runs
    pin_to_one_core()
    before = peak_mb()
    wall, cpu = time.perf_counter(), time.process_time()
    metadata = convert(Path(path), Path(folder), facts, quiet=True)
    return {
        "seconds": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": peak_mb(),
        "before_mb": before,
        "transitions": metadata["transitions"],
        "doubts": metadata["not_measured"],
    }


def _figures(name: str, result: dict[str, Any], size_mb: float) -> Iterator[Figure]:
    millions = result["transitions"] / 1e6
    note = f"{result['seconds']:.1f} s, processor {result['cpu_s']:.1f} s; spool {size_mb:.0f} MB"
    if result["doubts"]:
        note += f"; DOUBTS: {result['doubts']}"
    yield Figure(f"{name}: transitions a second", millions / result["seconds"], "million", _SPEED, note)
    yield Figure(f"{name}: a second of processor time", millions / result["cpu_s"], "million")
    note = f"{millions:.0f} million transitions; {result['before_mb']:.0f} MB before it began"
    yield Figure(f"{name}: peak memory", result["peak_mb"], "MB", _PEAK, note=note)


def run(plan: Plan) -> Iterator[Figure]:
    """Convert long spools of several kinds, each in a fresh process on one core."""
    transitions = 10_000_000 if plan.quick else 100_000_000
    names = _PATTERNS[:1] if plan.quick else _PATTERNS
    with progress_bar("convert", 2 * len(names)) as done:
        for i, name in enumerate(names):
            with scratch() as folder:
                spool = folder / "spool.bin"
                facts = fresh(synthesise, name, str(spool), transitions)
                done(2 * i + 1)
                tables = folder / "tables"
                tables.mkdir()
                result = fresh(converted, str(spool), str(tables), facts)
                done(2 * i + 2)
                yield from _figures(name, result, spool.stat().st_size / 1e6)
