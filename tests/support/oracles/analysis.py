"""The slow and obvious twin of `gilscope.analysis`: rows as tuples, one at a time, from the definitions.

Functions have the names of their twins and return rows as dictionaries, None for null.
"""

from __future__ import annotations

from itertools import pairwise, zip_longest

from tests.support.drawn.rows import Trace
from tests.support.oracles.spans import (
    Slice,
    Span,
    changes_of,
    gils,
    interval_at,
    names,
    next_holder,
    observed,
    quantile,
    regions,
    runs_of,
    share,
    slices,
    spans,
    steals_of,
    waits_of,
    wall,
)

Rows = list[dict]


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
        known = table.get(number)
        begins = [s.start for s in mine.get(number, [])]
        ends = [s.end for s in mine.get(number, [])]
        if known and known.first_ns is not None:
            begins.append(observed(trace, known.first_ns))
        if known and known.last_ns is not None:
            ends.append(observed(trace, known.last_ns))
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
        row["cpu_ns"] = known.cpu_ns if known else None
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
            thread = next_holder(trace, g, s.end) if s.holder is None else s.holder
            if thread is not None:
                whose[thread].append(s)
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
        late = overruns(trace, g, runs)
        for i, r in enumerate(runs):
            if over is not None and r.duration <= round(over * 1e9):
                continue
            meanwhile = {w.thread for w in waits if w.duration and w.start < r.end and w.end > r.start}
            inflicted = sum(
                (s.end - s.start) * len(s.waiters) for s in parts if r.start <= s.start and s.end <= r.end
            )
            row = {"thread": r.thread, "thread_name": names(trace)[r.thread], "interpreter": g}
            row |= {"start_ns": r.at, "duration_ns": r.duration, "release": r.release}
            row |= {"waiters": len(meanwhile), "inflicted_ns": inflicted, "overrun_ns": late[i]}
            row["site"] = r.site
            out.append(row)
    return sorted(out, key=lambda row: -row["duration_ns"])


def overruns(trace: Trace, gil: int, runs: list[Span]) -> list[int | None]:
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
            for thread in s.waiters:
                row = out.setdefault(thread, {})
                whom = "free" if s.holder is None else s.holder
                row[whom] = row.get(whom, 0) + s.end - s.start
    return out


def convoys(trace: Trace) -> Rows:
    out = []
    for g in gils(trace):
        for thread in sorted({w.thread for w in waits_of(trace, g)}):
            out += [_convoy(trace, thread, c) for c in _convoys_of(trace, g, thread) if len(c) >= 3]
    return sorted(out, key=lambda row: -row["lost_ns"])


def _convoys_of(trace: Trace, gil: int, thread: int) -> list[list[tuple[Span, int, int]]]:
    """Return the rounds of a thread, those behind one another for one holder together."""
    found: list[list[tuple[Span, int, int]]] = []
    last_holder: int | None = None  # of the long wait before, if that was a round
    for w in sorted(waits_of(trace, gil), key=lambda w: w.start):
        interval = interval_at(trace, w.at)
        if w.thread != thread or not w.whole or w.duration < max(0.5 * interval, 1):
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


def _convoy(trace: Trace, thread: int, rounds: list[tuple[Span, int, int]]) -> dict:
    start, end = rounds[0][2], rounds[-1][0].at + rounds[-1][0].duration
    lost, holder = sum(w.duration for w, _, _ in rounds), rounds[0][1]
    row = {"thread": thread, "thread_name": names(trace)[thread]}
    row |= {"holder": holder, "holder_name": names(trace)[holder], "start_ns": start, "end_ns": end}
    row |= {"rounds": len(rounds), "mean_wait_ns": lost / len(rounds), "lost_ns": lost}
    row["idle_ns"] = observed(trace, end) - observed(trace, start) - lost
    return row


def _in_window(trace: Trace, thread: int, state: str, start: int, end: int) -> int:
    mine = [s for s in spans(trace) if s.thread == thread and s.state == state]
    return sum(max(min(s.end, end) - max(s.start, start), 0) for s in mine)


def timeline(trace: Trace, window: float) -> Rows:
    out = []
    active = sorted({s.thread for s in spans(trace)})
    lasting = [(n, w) for n in active for w in ("run", "wait") if _in_window(trace, n, w, 0, wall(trace))]
    shown = [n for n in active if any(n == thread for thread, _ in lasting)]
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
