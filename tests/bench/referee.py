"""Exact edges against perf uprobes in the same run.

Uprobes on the return of ``take_gil`` and the entry of ``drop_gil`` say how many acquires and releases
there are, and in which order. They stand apart from the transition itself: behind it ``take_gil`` still
wakes the releaser that waits for the switch, and before it ``drop_gil`` waits for a mutex. So times are
compared with uprobes on the very calls in those functions that announce a transition. Between such a
uprobe and gilscope's stamp the thread may still lose its processor, to another thread or to an interrupt:
the kernel's own events, recorded too, tell these cases.
"""

from __future__ import annotations

import bisect
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gilscope.progress import progress_bar
from tests.bench import uprobes
from tests.bench.common import TARGET, Bound, Figure, Plan, SkippedError, fresh, quantile, recording, scratch
from tests.bench.workloads import run_fixed

Event = tuple[int, str, int]
"""Native thread id, ``acquire`` or ``release``, nanoseconds of CLOCK_MONOTONIC."""

_SAME = Bound(0, "invariant: both see the same calls")
_CLOSE = Bound(5.0, TARGET)
_BOUND_NS = 5_000
_DISTURBANCES = (
    "sched:sched_switch",
    "irq:irq_handler_entry",
    "irq:softirq_entry",
    "irq_vectors:local_timer_entry",
    "irq_vectors:reschedule_entry",
    "irq_vectors:call_function_single_entry",
    "exceptions:page_fault_user",
)
_LINE = re.compile(r"\s*(\d+)\s+(\d+)\.(\d{9}):\s+(\S+?):?\s*$")
_SUBJECTS = {"mixed": 0.04, "convoy": 0.2, "C calls that hold": 0.3, "two threads counting": 0.2}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two logs of one run, thread by thread.

    Args:
        threads: how many threads either log has.
        unequal: threads whose number of acquires and releases, or their order, differs.
        events: events of the threads that agree.
        differences: ours minus theirs for each of them, in nanoseconds, with thread and both times.
    """

    threads: int
    unequal: int
    events: int
    differences: list[tuple[int, int, int]]


def compare(ours: Sequence[Event], theirs: Sequence[Event]) -> Comparison:
    """Pair the events of two logs, each ordered by time, thread by thread."""
    mine, other = _by_thread(ours), _by_thread(theirs)
    threads = sorted(mine.keys() | other.keys())
    pairs: list[tuple[int, int, int]] = []
    unequal = 0
    for thread in threads:
        a, b = mine.get(thread, []), other.get(thread, [])
        if [kind for kind, _ in a] != [kind for kind, _ in b]:
            unequal += 1
            continue
        pairs += [(thread, x, y) for (_, x), (_, y) in zip(a, b, strict=True)]
    return Comparison(len(threads), unequal, len(pairs), pairs)


def _by_thread(events: Sequence[Event]) -> dict[int, list[tuple[str, int]]]:
    found: dict[int, list[tuple[str, int]]] = {}
    for thread, kind, time_ns in events:
        found.setdefault(thread, []).append((kind, time_ns))
    return found


def undisturbed(
    pairs: Sequence[tuple[int, int, int]], disturbed: Sequence[tuple[int, int]]
) -> list[tuple[int, int, int]]:
    """Leave out pairs between whose two times the thread lost its processor.

    Args:
        pairs: thread and two times.
        disturbed: thread and time of each such moment.
    """
    at: dict[int, list[int]] = {}
    for thread, time_ns in sorted(disturbed):
        at.setdefault(thread, []).append(time_ns)
    kept = []
    for thread, a, b in pairs:
        times = at.get(thread, [])
        if bisect.bisect_left(times, min(a, b)) == bisect.bisect_right(times, max(a, b)):
            kept.append((thread, a, b))
    return kept


def subject(scale: float) -> dict[str, list[Event] | list[int]]:
    """Record a few workloads; return the trace's acquires and releases, and its first and last instant."""
    from gilscope.tables.stored import Tables

    with scratch() as folder:
        with recording(folder) as recorded:
            for name, share in _SUBJECTS.items():
                run_fixed(name, share * scale)
        metadata = recorded.convert()
        trace = Tables(recorded.folder, metadata)
        native = dict(zip(*(trace.threads[c].to_pylist() for c in ("thread", "native_id")), strict=True))
        rows = trace.intervals.to_pylist()
    zero, events = metadata["start_monotonic_ns"], list[Event]()
    for row in rows:
        if row["state"] != "run":
            continue
        thread, start = native[row["thread"]], row["start_ns"]
        if start > 0:  # the trace begins inside the first hold and ends inside the last
            events.append((thread, "acquire", zero + start))
        if row["release"] != "open":
            events.append((thread, "release", zero + start + row["duration_ns"]))
    events.sort(key=lambda event: event[2])
    return {"events": events, "bounds": [zero, zero + metadata["duration_ns"]]}


def parse(script: str) -> dict[str, list[tuple[int, int]]]:
    """Return thread and time of each event in ``perf script``'s output, by the event's name."""
    found: dict[str, list[tuple[int, int]]] = {}
    for line in script.splitlines():
        if match := _LINE.match(line):
            name = match[4].rpartition(":")[2].removesuffix("__return")
            found.setdefault(name, []).append((int(match[1]), int(match[2]) * 1_000_000_000 + int(match[3])))
    return found


@dataclass(frozen=True, slots=True)
class Watched:
    """A run that perf watched.

    Args:
        functions: the trace against entry and return of the two functions.
        calls: the trace against the calls in them; None where these could not be found.
        disturbed: thread and time of each moment at which a thread lost its processor.
    """

    functions: Comparison
    calls: Comparison | None
    disturbed: list[tuple[int, int]]


def _points() -> dict[str, str]:
    points = {"returned": "take_gil%return", "entered": "drop_gil"}
    offsets = {symbol: uprobes.signal_offset(symbol) for symbol in uprobes.SYMBOLS}
    if None not in offsets.values():
        points |= {"acquire": f"take_gil+{offsets['take_gil']}", "release": f"drop_gil+{offsets['drop_gil']}"}
    return points


def _disturbances() -> list[str]:
    """Return perf's options for what takes the processor from a thread: switches, interrupts, page faults."""
    listed = subprocess.run(
        ["perf", "list", "tracepoint"], capture_output=True, text=True, check=False
    ).stdout
    wanted = [name for name in _DISTURBANCES if name.rstrip("*") in listed]
    return [word for name in wanted for word in ("-e", name)]


def _perf(scale: float, file: Path, points: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Return what the traced process says of itself, and perf's listing."""
    with uprobes.placed(points) as group:
        watch = ["perf", "record", "-q", "-k", "CLOCK_MONOTONIC", "-m", "4096", "-o", str(file)]
        watch += ["-e", f"{group}:*", *_disturbances(), "--"]
        ours = fresh(subject, scale, prefix=watch)
        show = ["perf", "script", "-i", str(file), "-F", "tid,time,event", "--ns"]
        done = subprocess.run(show, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SkippedError(f"perf script failed: {done.stderr.strip()}")
    return ours, done.stdout


def _watched(scale: float, file: Path) -> Watched:
    uprobes.require()
    points = _points()
    ours, script = _perf(scale, file, points)
    first, last = ours["bounds"]
    seen = parse(script)
    mine = [tuple(event) for event in ours["events"]]

    def theirs(acquire: str, release: str) -> list[Event]:
        events = [(thread, "acquire", at) for thread, at in seen.get(acquire, []) if first <= at <= last]
        events += [(thread, "release", at) for thread, at in seen.get(release, []) if first <= at <= last]
        return sorted(events, key=lambda event: event[2])

    return Watched(
        compare(mine, theirs("returned", "entered")),
        compare(mine, theirs("acquire", "release")) if "acquire" in points else None,
        [event for name, events in seen.items() if name not in points for event in events],
    )


def _differences(where: str, pairs: Sequence[tuple[int, int, int]], bound: Bound | None) -> Iterator[Figure]:
    every = [abs(a - b) for _, a, b in pairs]
    late = sum(ns > _BOUND_NS for ns in every)
    note = f"median {quantile(every, 0.5) / 1e3:.2f} us; {late} of {len(every)} beyond 5 us"
    yield Figure(f"{where}: difference, 99 % below", quantile(every, 0.99) / 1e3, "us", bound, note=note)
    yield Figure(f"{where}: worst difference", max(every) / 1e3, "us")


def _figures(watched: Watched) -> Iterator[Figure]:
    functions, calls = watched.functions, watched.calls
    note = f"{functions.threads} threads, {functions.events} events agree"
    yield Figure("threads whose count or order differs", functions.unequal, "", _SAME, note=note)
    yield from _differences("entry and return", functions.differences, None if calls else _CLOSE)
    if calls is None:
        return
    yield Figure("the same, at the calls", calls.unequal, "", _SAME, note=f"{calls.events} events agree")
    yield from _differences("at the calls", calls.differences, _CLOSE)
    quiet = undisturbed(calls.differences, watched.disturbed)
    every = [abs(a - b) for _, a, b in quiet]
    beyond = sum(ns > _BOUND_NS for ns in every)
    left_out = len(calls.differences) - len(quiet)
    note = f"{beyond} of {len(every)} beyond 5 us; {left_out} left out: a switch, interrupt or fault between"
    yield Figure("at the calls: worst, undisturbed", max(every) / 1e3, "us", _CLOSE, note=note)


def run(plan: Plan) -> Iterator[Figure]:
    """Record under perf and compare event by event."""
    trials = 1 if plan.quick else 3
    with progress_bar("referee", trials) as done:
        for i in range(trials):
            with scratch() as folder:
                watched = _watched(0.5 if plan.quick else 1.0, folder / "perf.data")
            done(i + 1)
            yield from _figures(watched)
