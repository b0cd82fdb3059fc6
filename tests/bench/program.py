"""Cost to the program: wall time of the same work, bare, watched, traced, and traced with sites.

The four are interleaved at random in one process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from gilscope.progress import progress_bar
from gilscope.watching.watches import watch
from tests.bench.common import TARGET, Bound, Figure, Plan, fresh, median, recording, scratch, spread
from tests.bench.workloads import FREE, WORKLOADS, Done, run_fixed

_WATCHED = Bound(1.01, TARGET)
_USUAL = {
    "watched": _WATCHED,
    "traced": Bound(1.02, TARGET),
    "located": Bound(1.05, TARGET),
}
_WORST = {
    "watched": _WATCHED,
    "traced": Bound(1.10, TARGET),
    "located": Bound(1.20, TARGET),
}
_BOUNDS = {
    "two threads counting": _USUAL,
    "convoy": _USUAL,
    "four threads compressing": _USUAL,
    "one thread writing": _WORST,
    "two threads writing": _WORST,
    "four threads writing": _WORST,
}
_MEANING = {"watched": "watched", "traced": "without sites", "located": "with sites, the default"}
WAYS = ("bare", *_MEANING)
_PAIRS_AT_ONCE = 10


def _records(spool: Path) -> dict[str, int]:
    """Count what a spool holds."""
    import numpy as np

    from gilscope.convert.spool import LOST, SpoolReader

    records = lost = 0
    with SpoolReader(spool) as reader:
        for batch in reader.batches():
            records += len(batch.records)
            losses = batch.records["word"][(batch.records["word"] & np.uint64(31)) == LOST]
            lost += int((losses >> np.uint64(32)).sum())
    return {"records": records, "lost": lost}


def _one_run(name: str, way: str, scale: float) -> dict[str, float]:
    """Do the work once; return wall and processor time, and, of a free-running thread, time per round."""
    if way == "bare":
        return _costs(name, run_fixed(name, scale))
    if way == "watched":
        with watch():
            return _costs(name, run_fixed(name, scale))
    with scratch() as folder:
        with recording(folder, sites=way == "located") as recorded:
            done = run_fixed(name, scale)
        return _costs(name, done) | _records(recorded.spool)


def _costs(name: str, done: Done) -> dict[str, float]:
    free = sum(n for n, most in zip(done.rounds, WORKLOADS[name].rounds, strict=True) if most == FREE)
    costs = {"wall": float(done.wall_ns), "cpu": float(done.cpu_ns)}
    return costs | {"per round": done.wall_ns / free} if free else costs


def there_and_back(chance: random.Random) -> list[str]:
    """Return the ways in an order, and then in the opposite one."""
    order = chance.sample(WAYS, len(WAYS))
    return [*order, *reversed(order)]


def trial(name: str, seed: int, scale: float, pairs: int) -> list[dict[str, list[dict[str, float]]]]:
    """Run the work each way twice, in an order and back again: a steady drift favours none."""
    import gilscope.convert.spool  # noqa: F401  loaded before anything is timed

    run_fixed(name, scale / 10)
    chance = random.Random(f"{name} {seed}")
    groups = []
    for _ in range(-(-pairs // 2)):
        group: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for way in there_and_back(chance):
            time.sleep(0.02)  # what the run before left behind in the kernel
            group[way].append(_one_run(name, way, scale))
        groups.append(group)
    return groups


def ratios(groups: list[dict[str, list[dict[str, float]]]], key: str, way: str) -> list[float]:
    """Return one way / bare of each group of two and two runs."""
    return [sum(r[key] for r in g[way]) / sum(r[key] for r in g["bare"]) for g in groups]


def _figures(name: str, groups: list[dict[str, list[dict[str, float]]]]) -> Iterator[Figure]:
    for way in _MEANING:
        yield from _figures_of(name, groups, way)
    noise = [g["bare"][1]["wall"] / g["bare"][0]["wall"] for g in groups]
    yield Figure("    bare / bare, the noise", median(noise), "", note=spread(noise))


def _recorded(runs: list[dict[str, float]]) -> str:
    if "records" not in runs[0]:
        return ""
    rate = median([r["records"] / r["wall"] * 1e3 for r in runs])
    lost = sum(r["lost"] for r in runs)
    return f"; {rate:.2g} M records/s" + (f"; {lost:.0f} records LOST" if lost else "")


def _figures_of(name: str, groups: list[dict[str, list[dict[str, float]]]], way: str) -> Iterator[Figure]:
    wall, cpu = ratios(groups, "wall", way), ratios(groups, "cpu", way)
    traced = [r for g in groups for r in g[way]]
    bare_s = median([r["wall"] for g in groups for r in g["bare"]]) / 1e9
    note = f"{spread(wall)}; processor time {median(cpu):.3f}; bare {bare_s:.2f} s{_recorded(traced)}"
    bound = _BOUNDS[name][way]
    yield Figure(f"{name}, {_MEANING[way]}", median(wall), "", bound, note=note)
    if "per round" in traced[0]:
        per = ratios(groups, "per round", way)
        yield Figure("    time per unit of counting", median(per), "", bound, note=spread(per))


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
