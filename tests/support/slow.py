"""The slow and obvious twin of `gilscope.analysis`: rows as tuples, one at a time, from the definitions.

Functions have the names of their twins and return rows as dictionaries, None for null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from typing import NamedTuple

import pyarrow as pa

from gilscope import schema
from gilscope.recording import Recording

Rows = list[dict]


class Thread(NamedTuple):
    thread: int
    name: str | None
    first_ns: int | None
    last_ns: int | None
    cpu_ns: int | None = None
    interpreter: int | None = None
    native_id: int | None = None


class Interval(NamedTuple):
    thread: int
    interpreter: int
    state: str
    start_ns: int
    duration_ns: int
    release: str | None


class Handoff(NamedTuple):
    interpreter: int
    from_thread: int
    to_thread: int
    request_ns: int | None
    drop_request_ns: int | None
    release_ns: int
    acquire_ns: int
    gap_ns: int | None
    forced: bool | None
    waiters: int


class SwitchInterval(NamedTuple):
    time_ns: int
    interval_ns: int
    thread: int | None = None
    source: str = "start"


class Sample(NamedTuple):
    time_ns: int
    late_ns: int = 0
    switches: int = 0
    dropped: int = 0


class Mark(NamedTuple):
    thread: int
    name: str
    start_ns: int
    duration_ns: int | None = None
    complete: bool = True


@dataclass
class Trace:
    """A trace in memory: its tables as lists of tuples, and what its metadata says."""

    duration: int
    threads: list[Thread] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    handoffs: list[Handoff] = field(default_factory=list)
    switch_intervals: list[SwitchInterval] = field(default_factory=lambda: [SwitchInterval(0, 5_000_000)])
    samples: list[Sample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    edges: str = "exact"
    ticks: int = 0
    switches: int = 0
    sampler_cpu_ns: int | None = 0

    def but(self, **changes) -> Trace:
        """Return this trace with something else in it."""
        return replace(self, **changes)

    def tables(self) -> dict[str, pa.Table]:
        """Return the tables as Arrow has them."""
        return {
            name: pa.Table.from_pylist([row._asdict() for row in getattr(self, name)], schema=columns)
            for name, columns in schema.TABLES.items()
        }

    def recording(self, **more) -> Recording:
        """Return what gilscope would have recorded; more is added to its metadata."""
        metadata = {
            "edges": self.edges,
            "duration_ns": self.duration,
            "ticks": self.ticks,
            "switches": self.switches,
        }
        if self.sampler_cpu_ns is not None:
            metadata["sampler_cpu_ns"] = self.sampler_cpu_ns
        return Recording(None, metadata | more, self.tables())


@dataclass(frozen=True)
class Span:
    """An interval as far as it is known; start and end in observed nanoseconds."""

    thread: int
    interpreter: int
    state: str
    at: int
    start: int
    end: int
    whole: bool
    release: str | None

    @property
    def duration(self) -> int:
        return self.end - self.start


class Slice(NamedTuple):
    """A stretch of observed time in which nothing changes."""

    start: int
    end: int
    holder: int | None
    waiters: list[int]


def holes(trace: Trace) -> list[tuple[int, int]]:
    """Return the time between two ticks in which records were dropped."""
    found, before = [], 0
    for sample in trace.samples:
        tick = min(max(sample.time_ns, 0), trace.duration)
        if sample.dropped > 0 and tick > before and trace.edges == "exact":
            found.append((before, tick))
        before = tick
    return found


def observed(trace: Trace, time: int) -> int:
    """Return how much of the time up to an instant is known."""
    return time - sum(min(time, end) - start for start, end in holes(trace) if start < time)


def in_hole(trace: Trace, time: int) -> bool:
    return any(start <= time < end for start, end in holes(trace))


def wall(trace: Trace) -> int:
    return observed(trace, trace.duration)


def spans(trace: Trace) -> list[Span]:
    """Return what is known of intervals; those that lie in a hole are left out."""
    out = []
    for thread, interpreter, state, start, duration, release in trace.intervals:
        a, b = observed(trace, start), observed(trace, start + duration)
        if (a == b and duration > 0) or (duration == 0 and in_hole(trace, start)):
            continue
        out.append(Span(thread, interpreter, state, start, a, b, b - a == duration, release))
    return out


def gils(trace: Trace) -> list[int]:
    return sorted({s.interpreter for s in spans(trace)}) or [0]


def runs_of(trace: Trace, gil: int) -> list[Span]:
    """Return the holds of a GIL in order of time."""
    mine = [s for s in spans(trace) if s.state == "run" and s.interpreter == gil]
    return sorted(mine, key=lambda s: (s.start, s.end))


def waits_of(trace: Trace, gil: int) -> list[Span]:
    return [s for s in spans(trace) if s.state == "wait" and s.interpreter == gil]


def names(trace: Trace) -> dict[int, str]:
    """Return the name of every thread that any table mentions."""
    seen = {i.thread for i in trace.intervals}
    seen |= {who for h in trace.handoffs for who in (h.from_thread, h.to_thread)}
    seen |= {t.thread for t in trace.threads} | {m.thread for m in trace.marks}
    return {n: f"thread {n}" for n in seen} | {t.thread: t.name for t in trace.threads if t.name}


def slices(trace: Trace, gil: int) -> list[Slice]:
    """Cut observed time wherever somebody begins or ends something."""
    mine = runs_of(trace, gil) + waits_of(trace, gil)
    cuts = sorted({0, wall(trace), *(s.start for s in mine), *(s.end for s in mine)})
    out = []
    on: list[Span] = []
    begins: dict[int, list[Span]] = {}
    for s in mine:
        begins.setdefault(s.start, []).append(s)
    for start, end in pairwise(cuts):
        on = [s for s in on + begins.get(start, []) if s.end > start]
        holders = [s.thread for s in on if s.state == "run"]
        assert len(holders) <= 1
        waiters = [s.thread for s in on if s.state == "wait"]
        out.append(Slice(start, end, holders[0] if holders else None, waiters))
    return out


def next_holder(trace: Trace, gil: int, time: int) -> int | None:
    """Return who takes the GIL first at an instant or after it."""
    return next((r.thread for r in runs_of(trace, gil) if r.start >= time), None)


def steals_of(trace: Trace, gil: int) -> list[tuple[int, int]]:
    """Return who took the GIL back while another one waited, and when (observed)."""
    out = []
    waits = [w for w in waits_of(trace, gil) if w.duration]
    for before, after in pairwise(runs_of(trace, gil)):
        unbroken = after.at - before.at == after.start - before.start
        waiting = any(w.start <= before.end < w.end for w in waits)
        if unbroken and before.thread == after.thread and waiting:
            out.append((after.thread, after.start))
    return out


def changes_of(trace: Trace, gil: int) -> list[tuple[int, int, int | None, bool]]:
    """Return hand-offs: new holder, when (observed), the gap if it counts, and whether it was forced."""
    out = []
    for h in trace.handoffs:
        if h.interpreter != gil or in_hole(trace, h.acquire_ns):
            continue
        whole = observed(trace, h.acquire_ns) - observed(trace, h.release_ns) == h.gap_ns
        gap = h.gap_ns if h.waiters > 0 and whole else None
        out.append((h.to_thread, observed(trace, h.acquire_ns), gap, h.forced))
    return out


def quantile(values: list[int], q: float) -> float | None:
    """Return a quantile by linear interpolation."""
    if not values:
        return None
    ordered, at = sorted(values), (len(values) - 1) * q
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def regions(trace: Trace, name: str) -> dict[int, list[tuple[int, int]]]:
    """Return the observed time of each thread in regions of a name, cut where one begins or ends."""
    out: dict[int, list[tuple[int, int]]] = {}
    mine = [m for m in trace.marks if m.name == name and m.duration_ns is not None]
    for who in {m.thread for m in mine}:
        own = [
            (observed(trace, m.start_ns), observed(trace, m.start_ns + m.duration_ns))
            for m in mine
            if m.thread == who
        ]
        cuts = sorted({time for span in own for time in span})
        out[who] = [(a, b) for a, b in pairwise(cuts) if any(start <= a < end for start, end in own)]
    return out


def threads_within(trace: Trace, region: str) -> Rows:
    out = []
    for number, parts in sorted(regions(trace, region).items()):
        mine = [s for s in spans(trace) if s.thread == number]

        def within(s: Span, parts=parts) -> int:
            return sum(max(min(s.end, b) - max(s.start, a), 0) for a, b in parts)

        runs = [s for s in mine if s.state == "run"]
        waits = [s for s in mine if s.state == "wait"]
        begun = [s for s in mine if any(a <= s.start < b for a, b in parts)]
        life, run, wait = sum(b - a for a, b in parts), sum(map(within, runs)), sum(map(within, waits))
        row = {"thread": number, "thread_name": names(trace)[number], "life_ns": life}
        row |= {"run_ns": run, "wait_ns": wait, "off_ns": life - run - wait}
        row |= {"run_share": share(run, life), "wait_share": share(wait, life)}
        row["off_share"] = share(life - run - wait, life)
        row |= {"acquires": sum(s.state == "run" for s in begun)}
        row |= {"waits": sum(s.state == "wait" for s in begun)}
        row["forced"] = sum(s.release == "forced" for s in begun)
        row["longest_ns"] = max((within(s) for s in runs if s.whole), default=0)
        whole = [s.duration for s in begun if s.whole and s.state == "wait"]
        row |= {f"wait_{n}_ns": quantile(whole, q) for n, q in _QUANTILES.items()}
        row |= {"cpu_ns": None, "slowdown": share(run + wait, run)}
        out.append(row)
    return out


def threads(trace: Trace) -> Rows:
    mine: dict[int, list[Span]] = {}
    for s in spans(trace):
        mine.setdefault(s.thread, []).append(s)
    table = {t.thread: t for t in trace.threads}
    out = []
    for number, name in sorted(names(trace).items()):
        told = table.get(number)
        begins = [s.start for s in mine.get(number, [])]
        ends = [s.end for s in mine.get(number, [])]
        if told and told.first_ns is not None:
            begins.append(observed(trace, told.first_ns))
        if told and told.last_ns is not None:
            ends.append(observed(trace, told.last_ns))
        if not ends:
            continue
        runs = [s for s in mine.get(number, []) if s.state == "run"]
        waits = [s for s in mine.get(number, []) if s.state == "wait"]
        life = max(ends) - min(begins)
        run = sum(s.duration for s in runs)
        wait = sum(s.duration for s in waits)
        off = life - run - wait
        row = {"thread": number, "thread_name": name, "life_ns": life}
        row |= {"run_ns": run, "wait_ns": wait, "off_ns": off}
        row |= {"run_share": share(run, life), "wait_share": share(wait, life), "off_share": share(off, life)}
        row |= {"acquires": len(runs), "waits": len(waits)}
        row["forced"] = sum(s.release == "forced" for s in runs)
        row["longest_ns"] = max((s.duration for s in runs if s.whole), default=0)
        whole = [s.duration for s in waits if s.whole]
        row |= {f"wait_{n}_ns": quantile(whole, q) for n, q in _QUANTILES.items()}
        row["cpu_ns"] = told.cpu_ns if told else None
        row["slowdown"] = share(run + wait, run)
        out.append(row)
    return out


_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def _overhead_row(
    wall_ns: int,
    seen_ns: int,
    parts: list[Slice],
    changes: list[tuple],
    steals: int,
) -> dict:
    held = sum(s.end - s.start for s in parts if s.holder is not None)
    lost = sum(s.end - s.start for s in parts if s.holder is None and s.waiters)
    free = wall_ns - held
    row = {"wall_ns": wall_ns, "held_ns": held, "free_ns": free, "overhead_ns": lost}
    row |= {"held_share": share(held, wall_ns), "free_share": share(free, wall_ns)}
    row |= {"overhead_share": share(lost, wall_ns)}
    row |= {"handoffs": len(changes), "forced": sum(c[3] for c in changes), "steals": steals}
    row["handoffs_per_s"] = share(len(changes), seen_ns / 1e9)
    gaps = [c[2] for c in changes if c[2] is not None]
    row |= {f"gap_{n}_ns": quantile(gaps, q) for n, q in _QUANTILES.items()}
    waited = sum((s.end - s.start) * len(s.waiters) for s in parts)
    row["mean_waiters"] = share(waited, seen_ns)
    return row


def overhead(trace: Trace, by: str | float | None = None) -> Rows:
    if by == "thread":
        return _overhead_by_thread(trace)
    if by == "interpreter":
        return [{"interpreter": g} | _overhead_of(trace, [g]) for g in gils(trace)]
    if by is None:
        lost = {"lost_ns": trace.duration - wall(trace)}
        return [_overhead_of(trace, gils(trace)) | lost]
    return _overhead_by_window(trace, by)


def _overhead_of(trace: Trace, which: list[int]) -> dict:
    parts = [s for g in which for s in slices(trace, g)]
    changes = [c for g in which for c in changes_of(trace, g)]
    steals = sum(len(steals_of(trace, g)) for g in which)
    return _overhead_row(wall(trace) * len(which), wall(trace), parts, changes, steals)


def _overhead_by_thread(trace: Trace) -> Rows:
    out = []
    took = sorted({r.thread for g in gils(trace) for r in runs_of(trace, g)})
    whose: dict[int, list[Slice]] = {n: [] for n in took}
    for g in gils(trace):
        for s in slices(trace, g):
            who = next_holder(trace, g, s.end) if s.holder is None else s.holder
            if who is not None:
                whose[who].append(s)
    for number in took:
        answers = sum(s.end - s.start for s in whose[number])
        changes = [c for g in gils(trace) for c in changes_of(trace, g) if c[0] == number]
        steals = [s for g in gils(trace) for s in steals_of(trace, g) if s[0] == number]
        row = _overhead_row(answers, wall(trace), whose[number], changes, len(steals))
        row = {"thread": number, "thread_name": names(trace)[number]} | row | {"mean_waiters": None}
        out.append(row)
    return out


def windows(trace: Trace, seconds: float) -> list[tuple[int, int]]:
    """Return windows of a length, the last one cut."""
    step = round(seconds * 1e9)
    starts = list(range(0, trace.duration, step)) or [0]
    return list(pairwise([*starts, trace.duration]))


def window_of(trace: Trace, edges: list[tuple[int, int]], time: int) -> int:
    """Return in which window an observed instant lies: the last one that has begun."""
    return max([i for i, (start, _) in enumerate(edges) if observed(trace, start) <= time], default=0)


def _cut(s: Slice, start: int, end: int) -> Slice:
    return Slice(max(s.start, start), min(s.end, end), s.holder, s.waiters)


def _overhead_by_window(trace: Trace, seconds: float) -> Rows:
    edges = windows(trace, seconds)
    all_slices = [s for g in gils(trace) for s in slices(trace, g)]
    changes = [c for g in gils(trace) for c in changes_of(trace, g)]
    steals = [s for g in gils(trace) for s in steals_of(trace, g)]
    out = []
    for i, (begin, stop) in enumerate(edges):
        start, end = observed(trace, begin), observed(trace, stop)
        parts = [_cut(s, start, end) for s in all_slices if s.start < end and s.end > start]
        mine = [c for c in changes if window_of(trace, edges, c[1]) == i]
        stolen = sum(window_of(trace, edges, when) == i for _, when in steals)
        row = _overhead_row((end - start) * len(gils(trace)), end - start, parts, mine, stolen)
        out.append({"start_ns": begin} | row)
    return out


def handoffs(trace: Trace) -> Rows:
    def between(a: int | None, b: int | None) -> int | None:
        return None if a is None or b is None else b - a

    out = []
    for h in trace.handoffs:
        row = h._asdict()
        row["from_thread_name"] = names(trace)[h.from_thread]
        row["to_thread_name"] = names(trace)[h.to_thread]
        row["patience_ns"] = between(h.request_ns, h.drop_request_ns)
        row["response_ns"] = between(h.drop_request_ns, h.release_ns)
        row["wait_ns"] = between(h.request_ns, h.acquire_ns)
        out.append(row)
    return out


def holds(trace: Trace, over: float | None = None) -> Rows:
    out = []
    for g in gils(trace):
        runs, waits, parts = runs_of(trace, g), waits_of(trace, g), slices(trace, g)
        overruns = _overruns(trace, g, runs)
        for i, r in enumerate(runs):
            if over is not None and r.duration <= round(over * 1e9):
                continue
            meanwhile = {w.thread for w in waits if w.duration and w.start < r.end and w.end > r.start}
            inflicted = sum(
                (s.end - s.start) * len(s.waiters) for s in parts if r.start <= s.start and s.end <= r.end
            )
            row = {"thread": r.thread, "thread_name": names(trace)[r.thread], "interpreter": g}
            row |= {"start_ns": r.at, "duration_ns": r.duration, "release": r.release}
            row |= {"waiters": len(meanwhile), "inflicted_ns": inflicted, "overrun_ns": overruns[i]}
            out.append(row)
    return sorted(out, key=lambda row: -row["duration_ns"])


def _overruns(trace: Trace, gil: int, runs: list[Span]) -> list[int | None]:
    """Walk along holds and hand-offs, both in order of time, and pair those that belong together."""
    left = [h for h in trace.handoffs if h.interpreter == gil]
    out: list[int | None] = []
    for run, after in zip_longest(runs, runs[1:]):
        out.append(None)
        if after is None or after.thread == run.thread or not run.whole or run.release == "open":
            continue
        end = run.at + run.duration
        mine = next((h for h in left if (h.from_thread, h.release_ns) == (run.thread, end)), None)
        if mine is None:
            continue
        left.remove(mine)
        if mine.drop_request_ns is not None:
            out[-1] = mine.release_ns - mine.drop_request_ns
    return out


def blame(trace: Trace) -> dict[int, dict[int | str, int]]:
    """Return waiter -> holder or "free" -> nanoseconds, without zeros."""
    out: dict[int, dict[int | str, int]] = {}
    for g in gils(trace):
        for s in slices(trace, g):
            for who in s.waiters:
                row = out.setdefault(who, {})
                whom = "free" if s.holder is None else s.holder
                row[whom] = row.get(whom, 0) + s.end - s.start
    return out


def interval_at(trace: Trace, time: int) -> int:
    """Return the switch interval in force."""
    if not trace.switch_intervals:
        return 5_000_000
    value = trace.switch_intervals[0].interval_ns
    for row in trace.switch_intervals:
        if row.time_ns <= time:
            value = row.interval_ns
    return value


def convoys(trace: Trace) -> Rows:
    out = []
    for g in gils(trace):
        for who in sorted({w.thread for w in waits_of(trace, g)}):
            out += [_convoy(trace, who, c) for c in _convoys_of(trace, g, who) if len(c) >= 3]
    return sorted(out, key=lambda row: -row["lost_ns"])


def _convoys_of(trace: Trace, gil: int, who: int) -> list[list[tuple[Span, int, int]]]:
    """Return the rounds of a thread, those behind one another for one holder together."""
    found: list[list[tuple[Span, int, int]]] = []
    last_holder: int | None = None  # of the long wait before, if that was a round
    for w in sorted(waits_of(trace, gil), key=lambda w: w.start):
        interval = interval_at(trace, w.at)
        if w.thread != who or not w.whole or w.duration < max(0.5 * interval, 1):
            continue
        round_ = _round(trace, gil, w, interval)
        if round_ is not None and round_[1] == last_holder:
            found[-1].append(round_)
        elif round_ is not None:
            found.append([round_])
        last_holder = None if round_ is None else round_[1]
    return found


def _round(trace: Trace, gil: int, w: Span, interval: int) -> tuple[Span, int, int] | None:
    """Return the wait, the holder and when the hold before ended, if this is a round."""
    runs = runs_of(trace, gil)
    over = [r for r in runs if r.thread == w.thread and r.end <= w.start]
    ahead = [r for r in runs if r.start < w.end]
    if not over or not ahead or ahead[-1].thread == w.thread:
        return None
    hold, off = over[-1], w.start - over[-1].end
    released = hold.at + hold.duration
    short = hold.whole and hold.release == "voluntary" and hold.duration < interval
    known = w.at - released == off
    if not short or not known or off > 2 * interval or w.duration > 2.5 * interval:
        return None
    return w, ahead[-1].thread, released


def _convoy(trace: Trace, who: int, rounds: list[tuple[Span, int, int]]) -> dict:
    start, end = rounds[0][2], rounds[-1][0].at + rounds[-1][0].duration
    lost, holder = sum(w.duration for w, _, _ in rounds), rounds[0][1]
    row = {"thread": who, "thread_name": names(trace)[who]}
    row |= {"holder": holder, "holder_name": names(trace)[holder], "start_ns": start, "end_ns": end}
    row |= {"rounds": len(rounds), "mean_wait_ns": lost / len(rounds), "lost_ns": lost}
    row["idle_ns"] = observed(trace, end) - observed(trace, start) - lost
    return row


def _in_window(trace: Trace, who: int, state: str, start: int, end: int) -> int:
    mine = [s for s in spans(trace) if s.thread == who and s.state == state]
    return sum(max(min(s.end, end) - max(s.start, start), 0) for s in mine)


def timeline(trace: Trace, window: float) -> Rows:
    out = []
    active = sorted({s.thread for s in spans(trace)})
    lasting = [(n, w) for n in active for w in ("run", "wait") if _in_window(trace, n, w, 0, wall(trace))]
    shown = [n for n in active if any(n == who for who, _ in lasting)]
    for row in _overhead_by_window(trace, window):
        begin = row["start_ns"]
        stop = min(begin + round(window * 1e9), trace.duration)
        start, end = observed(trace, begin), observed(trace, stop)
        kept = {"start_ns": begin, "wall_ns": end - start}
        kept |= {"held_share": row["held_share"], "overhead_share": row["overhead_share"]}
        kept |= {"waiters": row["mean_waiters"], "handoffs_per_s": row["handoffs_per_s"]}
        for n in shown:
            for word in ("run", "wait"):
                ns = _in_window(trace, n, word, start, end)
                kept[f"{word}_share_{n}"] = share(ns, end - start)
        out.append(kept)
    return out


def fairness(trace: Trace, window: float | None = None) -> Rows:
    out = []
    everybody = {s.thread for s in spans(trace)}
    for begin, stop in [(0, trace.duration)] if window is None else windows(trace, window):
        start, end = observed(trace, begin), observed(trace, stop)
        got = []
        for n in everybody:
            run, wait = (_in_window(trace, n, state, start, end) for state in ("run", "wait"))
            if run + wait:
                got.append(run / (run + wait))
        squares = len(got) * sum(x * x for x in got)
        index = sum(got) ** 2 / squares if squares else None
        out.append({"start_ns": begin, "threads": len(got), "fairness": index})
    return out


def switch_interval(trace: Trace, intervals: list[float]) -> Rows:
    """Return the model's figures for each interval and that in force, from its docstring."""
    in_force = interval_at(trace, trace.duration)
    ladder = sorted({round(i * 1e9) for i in intervals} | {in_force})
    rows = [_with_interval(trace, new, in_force) for new in ladder]
    measured = next(row["wait_ns"] for row in rows if row["interval_ns"] == in_force)
    return [row | {"saved_ns": measured - row["wait_ns"]} for row in rows]


def _with_interval(trace: Trace, new: int, in_force: int) -> dict:
    sums = dict.fromkeys(
        ("patience_ns", "response_ns", "gap_ns", "voluntary_ns", "handoffs", "overhead_ns"), 0.0
    )
    for g in gils(trace):
        for name, value in _one_with_interval(trace, g, new, in_force).items():
            sums[name] += value
    row = {name: round(value) for name, value in sums.items()}
    wait = sum(sums[name] for name in ("patience_ns", "response_ns", "gap_ns", "voluntary_ns"))
    return {"interval_ns": new, "in_force": new == in_force, "wait_ns": round(wait)} | row


def _one_with_interval(trace: Trace, gil: int, new: int, in_force: int) -> dict[str, float]:
    known = [h for h in trace.handoffs if h.interpreter == gil and _handoff_is_known(trace, h)]
    asked = [h for h in known if h.request_ns is not None and h.drop_request_ns is not None]
    others = [h for h in known if h.request_ns is not None and h.drop_request_ns is None]
    responses = sorted(h.release_ns - h.drop_request_ns for h in asked)
    gaps = sorted(h.gap_ns for h in asked)
    out = dict.fromkeys(("patience_ns", "response_ns", "gap_ns", "voluntary_ns"), 0.0)
    out["handoffs"] = float(len(known))
    lost = sum(s.end - s.start for s in slices(trace, gil) if s.holder is None and s.waiters)
    rest = sum(w.duration for w in waits_of(trace, gil) if w.whole)
    for h in asked:
        ratio = 1.0 if new == in_force else new / interval_at(trace, h.request_ns)
        times = 1 / ratio if _is_forced_out(trace, gil, h) else 1.0
        out["patience_ns"] += (h.drop_request_ns - h.request_ns) * ratio * times
        out["response_ns"] += (h.release_ns - h.drop_request_ns) * times
        out["gap_ns"] += h.gap_ns * times
        out["handoffs"] += times - 1
        rest -= h.acquire_ns - h.request_ns
    for h in others:
        waited = h.acquire_ns - h.request_ns
        most = new + (quantile(responses, 0.5) or 0.0) + h.gap_ns
        cut = waited if new == in_force else min(waited, most)
        out["voluntary_ns"] += cut
        out["handoffs"] += cut < waited
        rest -= waited
    out["voluntary_ns"] += rest
    out["overhead_ns"] = max(lost + (out["handoffs"] - len(known)) * (quantile(gaps, 0.5) or 0.0), 0.0)
    return out


def _handoff_is_known(trace: Trace, h: Handoff) -> bool:
    begin = h.release_ns if h.request_ns is None else h.request_ns
    whole = observed(trace, h.acquire_ns) - observed(trace, begin) == h.acquire_ns - begin
    return whole and not in_hole(trace, h.acquire_ns)


def _is_forced_out(trace: Trace, gil: int, h: Handoff) -> bool:
    """Tell whether the hold that a hand-off began (the last to begin at that instant) ended by force."""
    at = observed(trace, h.acquire_ns)
    return [r for r in runs_of(trace, gil) if r.start <= at][-1].release == "forced"
