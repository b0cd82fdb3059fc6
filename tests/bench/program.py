"""Cost to the program: wall time of the same work, traced and bare, interleaved at random in one process."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from gilscope.progress import progress_bar
from tests.bench.common import Figure, Plan, fresh, median, recording, scratch, spread
from tests.bench.workloads import FREE, WORKLOADS, Done, run_fixed

_BOUNDS = {
    "two threads counting": 1.02,
    "convoy": 1.02,
    "four threads compressing": 1.02,
    "one thread writing": 1.10,
    "two threads writing": 1.10,
    "four threads writing": 1.10,
}
_ORDERS = (("bare", "traced", "traced", "bare"), ("traced", "bare", "bare", "traced"))
_PAIRS_AT_ONCE = 10


def _records(spool: Path) -> dict[str, int]:
    """Count what a spool holds."""
    import numpy as np

    from gilscope.spool import LOST, SpoolReader

    records = lost = 0
    with SpoolReader(spool) as reader:
        for batch in reader.batches():
            records += len(batch.records)
            told = batch.records["word"][(batch.records["word"] & np.uint64(31)) == LOST]
            lost += int((told >> np.uint64(32)).sum())
    return {"records": records, "lost": lost}


def _one_run(name: str, way: str, scale: float) -> dict[str, float]:
    """Do the work once; return wall and processor time, and, of a free-running thread, time per round."""
    if way == "bare":
        return _costs(name, run_fixed(name, scale))
    with scratch() as folder:
        with recording(folder) as recorded:
            done = run_fixed(name, scale)
        return _costs(name, done) | _records(recorded.spool)


def _costs(name: str, done: Done) -> dict[str, float]:
    free = sum(n for n, most in zip(done.rounds, WORKLOADS[name].rounds, strict=True) if most == FREE)
    costs = {"wall": float(done.wall_ns), "cpu": float(done.cpu_ns)}
    return costs | {"per round": done.wall_ns / free} if free else costs


def trial(name: str, seed: int, scale: float, pairs: int) -> list[dict[str, list[dict[str, float]]]]:
    """Run the work bare and traced, two and two, in one of two orders that a steady drift does not favour."""
    import gilscope.spool  # noqa: F401  loaded before anything is timed

    run_fixed(name, scale / 10)
    chance = random.Random(f"{name} {seed}")
    groups = []
    for _ in range(-(-pairs // 2)):
        group: dict[str, list[dict[str, float]]] = {"bare": [], "traced": []}
        for way in chance.choice(_ORDERS):
            time.sleep(0.02)  # what the run before left behind in the kernel
            group[way].append(_one_run(name, way, scale))
        groups.append(group)
    return groups


def ratios(groups: list[dict[str, list[dict[str, float]]]], key: str) -> tuple[list[float], list[float]]:
    """Return traced / bare of each group of two and two runs, and, to show the noise, bare / bare."""
    traced = [sum(r[key] for r in g["traced"]) / sum(r[key] for r in g["bare"]) for g in groups]
    noise = [g["bare"][1][key] / g["bare"][0][key] for g in groups]
    return traced, noise


def _figures(name: str, groups: list[dict[str, list[dict[str, float]]]]) -> Iterator[Figure]:
    wall, noise = ratios(groups, "wall")
    cpu, _ = ratios(groups, "cpu")
    traced = [r for g in groups for r in g["traced"]]
    bare_s = median([r["wall"] for g in groups for r in g["bare"]]) / 1e9
    rate = median([r["records"] / r["wall"] * 1e3 for r in traced])
    note = f"{spread(wall)}; processor time {median(cpu):.3f}; bare {bare_s:.2f} s; {rate:.2g} M records/s"
    if lost := sum(r["lost"] for r in traced):
        note += f"; {lost:.0f} records LOST"
    yield Figure(name, median(wall), "", _BOUNDS[name], note=note)
    yield Figure("    bare / bare, the noise", median(noise), "", note=spread(noise))
    if "per round" in traced[0]:
        per, _ = ratios(groups, "per round")
        yield Figure("    time per unit of counting", median(per), "", _BOUNDS[name], note=spread(per))


def run(plan: Plan) -> Iterator[Figure]:
    """Measure each workload in several fresh processes."""
    scale = 0.3 if plan.quick else 1.0
    batches = {name: -(-plan.pairs * (2 if "writing" in name else 1) // _PAIRS_AT_ONCE) for name in _BOUNDS}
    with progress_bar("program", sum(batches.values())) as done:
        so_far = 0
        for name in _BOUNDS:
            groups = []
            for seed in range(batches[name]):
                groups += fresh(trial, name, seed, scale, min(plan.pairs, _PAIRS_AT_ONCE))
                so_far += 1
                done(so_far)
            yield from _figures(name, groups)
