"""Cost of a transition: the hook's, beside one clock read and a uprobe's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from gilscope import _core
from gilscope.progress import progress_bar
from tests.bench import uprobes
from tests.bench.common import TARGET, Bound, Figure, Plan, SkippedError, fresh, median, quantile

_EVENTS = 2_000_000


def _deep(n: int, frames: int) -> dict[str, float]:
    return _deep(n, frames - 1) if frames else dict(_core.event_cost(n))


def _cost(n: int) -> dict[str, float]:
    cost = _deep(n, 4)
    names = {"event": "event_ns", "located": "located_ns", "call": "bare_call_ns", "clock": "clock_read_ns"}
    return {name: cost[column] for name, column in names.items()}


def _writes(n: int) -> float:
    """Return nanoseconds per 1-byte write: one release and one acquire each."""
    file, put, one = os.open(os.devnull, os.O_WRONLY), os.write, b"x"
    begun = time.perf_counter_ns()
    for _ in range(n):
        put(file, one)
    return (time.perf_counter_ns() - begun) / n


def _probe_cost(plan: Plan) -> list[dict[str, float]]:
    n = _EVENTS // 10 if plan.quick else _EVENTS
    rounds = 5 if plan.quick else 15
    with progress_bar("event: the hook", rounds) as done:
        costs = []
        for i in range(rounds):
            costs.append(fresh(_cost, n))
            done(i + 1)
    return costs


def _uprobe_ns(plan: Plan) -> float:
    writes = 20_000 if plan.quick else 100_000
    with uprobes.placed({"take": "take_gil", "drop": "drop_gil"}) as group:
        watch = ["perf", "stat", "-x,", "-e", f"{group}:*", "--"]
        costs = [
            (fresh(_writes, writes, prefix=watch) - fresh(_writes, writes)) / 2
            for _ in range(3 if plan.quick else 7)
        ]
    return median(costs)


def run(plan: Plan) -> Iterator[Figure]:
    """Measure one call of a hook, less the call it stands for."""
    costs = _probe_cost(plan)
    events = [c["event"] for c in costs]
    clock = _core.prove(exact=True)["clock"]
    spread = f"least {min(events):.1f}, 90 % below {quantile(events, 0.9):.1f}, {len(events)} processes"
    fast = clock == "tsc"  # other clocks cost more than all the rest
    bound = Bound(20.0, TARGET) if fast else None
    yield Figure("a transition, exact edges", median(events), "ns", bound, note=f"clock {clock}; {spread}")
    located = [c["located"] for c in costs]
    bound = Bound(40.0, TARGET) if fast else None
    yield Figure("a release with its site, four frames deep", median(located), "ns", bound)
    yield Figure("one clock read (the floor)", median([c["clock"] for c in costs]), "ns")
    yield Figure("the call without the hook", median([c["call"] for c in costs]), "ns")
    try:
        yield Figure(
            "a uprobe at the same place", _uprobe_ns(plan), "ns", note="perf stat on take_gil, drop_gil"
        )
    except SkippedError as why:
        yield Figure("a uprobe at the same place", None, note=str(why))
