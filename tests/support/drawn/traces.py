"""Traces for the tests of `gilscope.analysis`: drawn by hypothesis, and made by hand."""

from collections.abc import Iterable, Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gilscope.convert.spool import ACQUIRE, DROP_REQUEST, FORCED, RELEASE, REQUEST
from tests.support.drawn import transitions as legal
from tests.support.drawn.rows import Handoff, Interval, Mark, Sample, SwitchInterval, Thread, Trace
from tests.support.oracles import spans as slowspans
from tests.support.oracles import transitions as oracle

MS = 1_000_000

calm = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Examples take as long as they take: other work may run beside."""

History = list[oracle.Event]
Hole = tuple[int, int]

intervals_in_force = st.sampled_from([1000, 100_000, MS, 5 * MS, 20 * MS])


@st.composite
def switch_intervals(draw) -> list[SwitchInterval]:
    """Draw values of the switch interval; now and then a table without any."""
    changes = draw(st.lists(st.tuples(st.integers(0, 200 * MS), intervals_in_force), max_size=3))
    rows = [SwitchInterval(0, draw(intervals_in_force))]
    rows += [SwitchInterval(time, value, None, "observed") for time, value in sorted(changes)]
    return rows if draw(st.integers(0, 9)) else []


@st.composite
def convoy_like(draw) -> History:
    """Draw a thread that comes back for moments while two others count; lengths around the thresholds."""
    n = draw(st.integers(1, 9))
    unit = draw(st.sampled_from([1000, 5 * MS]))
    lengths = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.6, 0.9, 1.0, 1.1, 2.0, 2.4, 2.5, 2.6, 4.0])
    odd = st.sampled_from([False] * draw(st.integers(1, 20)) + [True])

    def about(usual: float) -> int:
        return round(unit * (draw(lengths) if draw(odd) else usual))

    time, holder = 0, 0
    out = [(ACQUIRE, holder, 0)]
    for _ in range(n):
        time += about(0.1)
        out.append((REQUEST, 1, time))
        other = draw(st.sampled_from([0, 2])) if draw(odd) else holder
        asked = time
        if other != holder:
            time += about(0.5)
            out += [(REQUEST, other, time), (RELEASE, holder, time), (ACQUIRE, other, time)]
            holder = other
        time += about(1.0)
        if time - asked >= unit:
            out.append((DROP_REQUEST, 1, time))
        out += [(RELEASE, holder, time)]
        time += draw(st.integers(0, 3))
        out += [(ACQUIRE, 1, time)]
        if draw(st.booleans()):
            out.append((REQUEST, holder, time))
        time += about(0.1)
        if out[-1][0] == REQUEST and draw(odd):
            out.append((DROP_REQUEST, holder, time))
        out.append((RELEASE, 1, time))
        time += draw(st.integers(0, 3))
        out.append((ACQUIRE, holder, time))
    return out


def moved(events: History, threads: int, time: int) -> History:
    """Return a history of other threads, later."""
    return [(kind, thread + threads, at + time) for kind, thread, at in events]


def fold_with_holes(events: History, end: int, lost: Sequence[Hole] = ()) -> oracle.Folded:
    """Tell a history of which what happened within some spans of time was lost.

    Holds and waits end with the last thing known before a hole, and begin with the first thing known
    after it.
    """
    folded = oracle.Folded()
    begin = -1
    for start, stop in [*lost, (end + 1, end + 1)]:
        part = [e for e in events if begin < e[2] <= start]
        if begin >= 0:
            first = next((i for i, e in enumerate(part) if e[0] == ACQUIRE), len(part))
            part = [e for i, e in enumerate(part) if i >= first or e[0] == REQUEST]
        begin = stop
        if not part:
            continue
        found = oracle.fold(part, end if start > end else part[-1][2])
        folded.intervals += found.intervals
        folded.handoffs += found.handoffs
    folded.intervals.sort(key=lambda row: row[2])
    return folded


@st.composite
def ticks(draw, end: int, *, lossy: bool) -> tuple[list[Sample], list[Hole]]:
    """Draw ticks, and spans of time between them in which records were lost."""
    times = sorted(set(draw(st.lists(st.integers(0, end), max_size=8))))
    samples, lost, before = [], [], 0
    for time in times:
        dropped = draw(st.integers(0, 2)) if lossy and time > before else 0
        if dropped:
            first = draw(st.integers(before, time))
            lost.append((first, draw(st.integers(first, time))))
        samples.append(Sample(time, 0, 0, dropped))
        before = time
    return samples, lost


@st.composite
def regions(draw, trace: Trace) -> Trace:
    """Draw marks and regions for a trace: of threads that did something and of others, at any instants."""
    edges = [i.start_ns for i in trace.intervals] + [i.start_ns + i.duration_ns for i in trace.intervals]
    instants = st.integers(0, trace.duration) | st.sampled_from([*edges, 0, trace.duration])
    spans = st.tuples(st.integers(0, 6), st.sampled_from("ab"), instants, instants, st.booleans())
    marks = [
        Mark(thread, name, min(begin, end), None if instant else abs(end - begin))
        for thread, name, begin, end, instant in draw(st.lists(spans, max_size=12))
    ]
    return trace.but(marks=marks)


@st.composite
def traces(draw, *, lossy: bool = True, most_gils: int = 3) -> Trace:
    """Draw a legal trace: GILs with threads of their own, each with a history, some of it lost."""
    histories, n_threads = [], 0
    for _ in range(draw(st.integers(0, most_gils))):
        events = draw(legal.events(40) | convoy_like())
        events = moved(events, n_threads, draw(st.integers(0, 5) | st.integers(0, 10 * MS)))
        n_threads = 1 + max(thread for _, thread, _ in events)
        histories.append(events)
    end = max((events[-1][2] for events in histories), default=draw(st.integers(0, MS)))
    end += draw(st.integers(0, 3) | st.integers(0, 10 * MS))
    samples, lost = draw(ticks(end, lossy=lossy and draw(st.booleans())))
    gils = [fold_with_holes(events, end, lost) for events in histories]
    return of_gils(
        gils,
        end,
        switch_intervals=draw(switch_intervals()),
        samples=samples,
        idle=[n_threads] if draw(st.booleans()) else [],
    )


def of_gils(gils: Sequence[oracle.Folded], end: int, *, idle: Iterable[int] = (), **changes) -> Trace:
    """Return a trace of these GILs; ``idle`` are threads that nobody saw do anything."""
    intervals = [
        Interval(thread, gil, state, start, duration, release)
        for gil, folded in enumerate(gils)
        for thread, state, start, duration, release in folded.intervals
    ]
    handoffs = [
        Handoff(gil, a, b, request, drop, release, acquire, acquire - release, forced, waiters)
        for gil, folded in enumerate(gils)
        for a, b, request, drop, release, acquire, forced, waiters in folded.handoffs
    ]
    threads = [Thread(thread, f"idle {thread}", 0, 0) for thread in idle]
    for thread in sorted({i.thread for i in intervals}):
        mine = [i for i in intervals if i.thread == thread]
        first = min(i.start_ns for i in mine)
        last = max(i.start_ns + i.duration_ns for i in mine)
        threads.append(
            Thread(
                thread,
                None if thread % 5 == 4 else f"t{thread % 4}",
                first,
                last,
                thread if thread % 3 else None,
                mine[0].interpreter,
                4301 + thread,
            )
        )
    return Trace(end, threads, intervals, handoffs, **changes)


def history(*steps: tuple[str, int, int]) -> History:
    """Return events from words: acquire, release, request, drop, forced; a thread; a time."""
    kinds = {
        "acquire": ACQUIRE,
        "release": RELEASE,
        "request": REQUEST,
        "drop": DROP_REQUEST,
        "forced": FORCED,
    }
    return [(kinds[word], thread, time) for word, thread, time in steps]


def round_robin(n_threads: int, turns: int, hold: int = MS, gap: int = 1000) -> Trace:
    """Return a trace of threads that all want the GIL all the time and get it in turn."""
    out: History = [(ACQUIRE, 0, 0)]
    out += [(REQUEST, thread, 0) for thread in range(1, n_threads)]
    time = 0
    for turn in range(n_threads * turns):
        thread, after = turn % n_threads, (turn + 1) % n_threads
        time += hold
        out += [(DROP_REQUEST, after, time), (RELEASE, thread, time)]
        time += gap
        out += [(ACQUIRE, after, time), (REQUEST, thread, time)]
    folded = oracle.fold(out, time + hold)
    return of_gils([folded], time + hold)


def sampled(trace: Trace, period: int = MS, **changes) -> Trace:
    """Return what a sampler might have written: no releases, no gaps, no requests."""
    samples = [Sample(t, 0, 1, 0) for t in range(period, trace.duration + 1, period)]
    return trace.but(
        edges="sampled",
        intervals=[i._replace(release=None) for i in trace.intervals],
        handoffs=[
            h._replace(request_ns=None, drop_request_ns=None, gap_ns=None, forced=None)
            for h in trace.handoffs
        ],
        samples=samples,
        ticks=len(samples),
        switches=len(samples),
        sampler_cpu_ns=trace.duration // 100,
    ).but(**changes)


def is_tied(trace: Trace) -> bool:
    """Tell whether the order of holds cannot be told from their times alone."""
    runs = [(s.interpreter, s.start) for g in slowspans.gils(trace) for s in slowspans.runs_of(trace, g)]
    return len(set(runs)) < len(runs)
