"""Findings: problems that a trace shows, with their cost, advice and evidence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from gilscope.analysis.convoys import convoys
from gilscope.analysis.holds import unresponsive
from gilscope.analysis.inputs import AnyTrace, as_tables
from gilscope.analysis.jain import jains_index
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.analysis.overhead import overhead
from gilscope.analysis.places import Places, labelled, places
from gilscope.analysis.threads import threads
from gilscope.tables.rows import NO_SITE
from gilscope.tables.spans import group_sums
from gilscope.units import duration, percent, printable

# Shares are of the observed wall time of the trace unless another whole is named.
WORTH_SAYING = 0.01
"""Minimum share of the trace a finding must cost; below it no program gets noticeably faster."""
HIGH, MEDIUM = 0.25, 0.05
"""Minimum shares of the trace lost for these severities. If all waits stay below medium: `not_the_gil`."""
WANTS_GIL = 0.8
"""Minimum share of its life that a CPU-bound thread runs or waits; the rest is start, end and pauses."""
KEEPS_GIL = 0.5
"""Minimum mean hold of a CPU-bound thread, in switch intervals; a thread that does I/O releases sooner."""
SEEN_RUNNING = 0.02
"""Sampled edges do not show single holds; there a CPU-bound thread runs more than this share of the trace."""
BUSY = 0.85
"""Minimum share of time that a saturated GIL is held."""
MANY_HANDOFFS_PER_S = 1000
"""Minimum rate of hand-offs for ``chatty``; below it their wake-ups cost little."""
MOSTLY_FORCED = 0.5
"""Share of forced hand-offs above which the switch interval causes them, not the program."""
OFTEN_STOLEN = 0.3
"""Minimum share of steals among steals and hand-offs."""
UNFAIR = 0.9
"""Jain's index of the run times of CPU-bound threads below which they are unfair."""
SMALLER = 10
"""The advice for a convoy: a switch interval this many times smaller."""
GREAT_CHANGE = 10
"""A change of the switch interval by more than this factor is of medium severity, else low."""
COARSE = 1
"""Minimum hand-offs per tick at which the sampler misses holds."""
_ROWS = 10  # of evidence


@dataclass(frozen=True)
class Finding:
    """One row of `findings`."""

    kind: str
    severity: str
    lost_ns: int
    what: str
    advice: str
    evidence: list[dict[str, Any]]


@dataclass(frozen=True)
class _Facts:
    """What the rules read."""

    trace: ObservedTrace
    gil: pd.Series[Any]
    threads: pd.DataFrame

    @property
    def wall(self) -> int:
        return max(self.trace.wall, 1)

    @property
    def interval(self) -> int:
        """The switch interval in force at the end, in nanoseconds."""
        return int(self.trace.interval_at(np.array([self.trace.duration]))[0])

    @property
    def located(self) -> bool:
        return len(self.trace.table("sites")) > 0

    @functools.cached_property
    def places(self) -> Places:
        return places(self.trace, "line", "program")

    def where(self, threads: Any) -> str:
        """Return the line of the program at which threads held the GIL longest; empty if not known."""
        if not self.located:
            return ""
        held = np.zeros(len(self.places), np.int64)
        for gil in self.trace.gils:
            mine = np.isin(gil.runs.thread, np.asarray(threads))
            at = self.places.of(gil.runs.sites[mine])
            held += group_sums(at, gil.runs.duration[mine], len(held))
        longest = int(held.argmax())
        known = held[longest] > 0 and longest != len(held) - 1
        return f"mostly in {printable(labelled(self.places, [longest], brief=True)[0])}" if known else ""

    def place(self, site: int) -> str:
        """Return the place where a hold ended, and its caller in the program; empty if not known."""
        if not self.located or site == NO_SITE:
            return ""
        inner = places(self.trace, "line", "innermost")
        at = labelled(inner, [inner.of_site[site]], brief=True)[0]
        own = labelled(self.places, [self.places.of_site[site]], brief=True)[0]
        return f"in {printable(at)}" + (f", called from {printable(own)}" if own != at else "")

    def worth(self, lost: float) -> bool:
        return lost >= WORTH_SAYING * self.wall

    def cpu_bound(self) -> pd.DataFrame:
        """Return threads that run or wait nearly all their life, and release late."""
        t = self.threads
        wanted = (t.run_ns + t.wait_ns) >= WANTS_GIL * t.life_ns
        if self.trace.exact:
            kept = t.run_ns >= KEEPS_GIL * self.interval * t.acquires.astype(float)
            return t[wanted & kept & (t.run_ns > 0)]
        return t[wanted & (t.run_ns > SEEN_RUNNING * self.wall)]

    def rivals(self) -> Iterator[tuple[pd.DataFrame, float]]:
        """Yield the CPU-bound threads of each GIL that has at least two, and the share of time it is held.

        A thread may enter several interpreters; it counts for the GIL that it held longest.
        """
        busy = self.cpu_bound()
        home, most = np.zeros((2, len(self.trace.names)), np.int64)
        for i, gil in enumerate(self.trace.gils):
            ran = group_sums(gil.runs.thread, gil.runs.duration, len(home))
            home, most = np.where(ran > most, i, home), np.maximum(ran, most)
        for i, gil in enumerate(self.trace.gils):
            mine = busy[home[busy.thread.to_numpy(np.int64)] == i]
            if len(mine) > 1:
                yield mine, gil.runs.total / self.wall


def findings(t: AnyTrace) -> pd.DataFrame:
    """Return the problems that the trace shows, the costliest first.

    Kinds: ``not_the_gil`` (threads hardly wait for the GIL), ``saturated`` (CPU-bound threads want more than
    one GIL can give), ``convoy`` (see `convoys`), ``long_hold`` (holds that do not respond to drop requests),
    ``chatty`` (many hand-offs, with a cost), ``steals``, ``unfair`` (CPU-bound threads get unequal shares),
    ``interval_changed`` (the program changed the switch interval), ``too_coarse`` (more hand-offs than
    sampling can see). All but the first and the last two cost at least 1 % of the trace. A program with one
    thread has no findings.

    Args:
        t: a trace, its path, or its tables.

    Returns:
        Columns ``kind``, ``severity`` (high: 25 % of the trace or more lost; medium: 5 %; low; info),
        ``lost_ns`` (int64; time lost, summed over threads), ``what`` (a sentence with its
        numbers), ``advice`` and ``evidence`` (a list of rows, as dictionaries).

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> len(gilscope.analysis.findings(t))
        0
    """
    t = as_tables(t)
    trace, rows = observe(t), threads(t)
    active = rows[(rows.run_ns + rows.wait_ns) > 0]
    columns = list(Finding.__dataclass_fields__)
    if len(active) <= 1:
        return pd.DataFrame(columns=columns)
    facts = _Facts(trace, overhead(t).iloc[0], active)
    found = [finding for rule in _RULES for finding in rule(facts, t)]
    if not any(f.severity in ("medium", "high") for f in found):
        found += _not_the_gil(facts)
    found.sort(key=lambda f: -f.lost_ns)
    return pd.DataFrame([asdict(f) for f in found], columns=columns)


def _severity(facts: _Facts, lost: float) -> str:
    share = lost / facts.wall
    return "high" if share >= HIGH else "medium" if share >= MEDIUM else "low"


def _also(where: str) -> str:
    return f" ({where})" if where else ""


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    shown = frame[:_ROWS]
    rows: list[dict[str, Any]] = shown.astype(object).where(shown.notna(), None).to_dict("records")
    return rows


def _not_the_gil(facts: _Facts) -> Iterator[Finding]:
    waited = float(facts.threads.wait_ns.sum())
    wanted = waited + float(facts.threads.run_ns.sum())
    if wanted == 0 or waited >= MEDIUM * facts.wall:
        return
    yield Finding(
        "not_the_gil",
        "info",
        int(waited),
        f"The GIL is not the problem: {len(facts.threads)} threads waited {duration(waited)} for it in all, "
        f"{percent(waited / wanted)} of the time they wanted it, and it was held "
        f"{percent(facts.gil.held_share)} of the time.",
        "Look for time spent outside the GIL: in input and output, in native code, in other locks.",
        _rows(facts.threads[["thread", "thread_name", "run_ns", "wait_ns"]]),
    )


def _saturated(facts: _Facts, _t: AnyTrace) -> Iterator[Finding]:
    for busy, held_share in facts.rivals():
        lost = float(busy.wait_ns.sum())
        if held_share < BUSY or not facts.worth(lost):
            continue
        want = float((busy.run_ns + busy.wait_ns).sum()) / facts.wall
        where = _also(facts.where(busy.thread))
        yield Finding(
            "saturated",
            _severity(facts, lost),
            int(lost),
            f"{len(busy)} CPU-bound threads want {100 * want:.0f} % of one GIL and wait {duration(lost)} for "
            f"one another; it is held {percent(held_share)} of the time{where}.",
            "Threads cannot make this faster: use processes, interpreters with a GIL of their own (3.14), "
            "a free-threaded build, or native code that releases the GIL.",
            _rows(busy[["thread", "thread_name", "run_ns", "wait_ns", "slowdown"]]),
        )


def _convoy(facts: _Facts, t: AnyTrace) -> Iterator[Finding]:
    episodes = convoys(t)
    for (_, waiter, other, holder), group in episodes.groupby(
        ["thread", "thread_name", "holder", "holder_name"], sort=False
    ):
        lost, rounds = float(group.lost_ns.sum()), int(group.rounds.sum())
        if not facts.worth(lost):
            continue
        smaller, where = facts.interval / SMALLER, _also(facts.where([other]))
        yield Finding(
            "convoy",
            _severity(facts, lost),
            int(lost),
            f"{printable(waiter)} comes back from {duration(group.idle_ns.sum() / rounds)} of its own work "
            f"and waits {duration(lost / rounds)} for {printable(holder)}{where}, {rounds} times: "
            f"{duration(lost)} lost.",
            f"Each round trip costs one switch interval; {duration(smaller)} would save up to "
            f"{duration(lost * (1 - smaller / facts.interval))} (measure it with gilscope sweep SCRIPT). "
            f"Better, move {printable(holder)} to a process.",
            _rows(group),
        )


def _long_hold(facts: _Facts, t: AnyTrace) -> Iterator[Finding]:
    h = unresponsive(t, facts.interval)
    for thread, group in h.groupby("thread", sort=False):
        lost = float(group.inflicted_ns.sum())
        if not facts.worth(lost):
            continue
        name = printable(facts.trace.names[int(str(thread))])
        times = "once" if len(group) == 1 else f"{len(group)} times"
        where = _also(facts.place(int(group["site"].fillna(NO_SITE).iloc[0])))
        yield Finding(
            "long_hold",
            _severity(facts, lost),
            int(lost),
            f"{name} kept the GIL for up to {duration(group.duration_ns.max())} in one piece{where}, "
            f"{times}, "
            f"first at {group.start_ns.min() / 1e9:.3f} s; up to {group.waiters.max()} threads "
            f"waited, {duration(lost)} in all.",
            "Such a hold is one call into native code that does not release the GIL: pass it less work per "
            "call, use a library that releases (ctypes.CDLL, not PyDLL), or call it in a process.",
            _rows(group.drop(columns=["interpreter"])),
        )


def _chatty(facts: _Facts, _t: AnyTrace) -> Iterator[Finding]:
    g = facts.gil
    if (
        not facts.trace.exact
        or g.handoffs_per_s < MANY_HANDOFFS_PER_S
        or g.forced > MOSTLY_FORCED * g.handoffs
    ):
        return
    lost = float(g.overhead_ns) - _stolen(facts.trace)
    if not facts.worth(lost):
        return
    yield Finding(
        "chatty",
        _severity(facts, lost),
        int(lost),
        f"The GIL changes hands {g.handoffs_per_s:.0f} times a second, mostly by voluntary "
        f"release, and was free for {duration(lost)} while threads waited "
        f"({percent(lost / facts.wall)} of the trace).",
        "Each hand-off costs a wake-up of another thread: make fewer and larger calls that release the "
        "GIL, or use fewer threads.",
        _rows(pd.DataFrame([g])),
    )


def _stolen(trace: ObservedTrace) -> float:
    return float(sum(gil.gaps.lost[gil.gaps.steal].sum() for gil in trace.gils))


def _steals(facts: _Facts, t: AnyTrace) -> Iterator[Finding]:
    g, lost = facts.gil, _stolen(facts.trace)
    if not facts.trace.exact or not facts.worth(lost) or g.steals < OFTEN_STOLEN * (g.steals + g.handoffs):
        return
    by = overhead(t, by="thread").sort_values("steals", ascending=False)
    yield Finding(
        "steals",
        _severity(facts, lost),
        int(lost),
        f"{int(g.steals)} times a thread released the GIL and took it back before the thread that it had "
        f"woken was ready; the GIL was free for {duration(lost)} of that time.",
        "A series of short calls that release the GIL wakes other threads in vain: combine them into larger "
        "calls.",
        _rows(by[["thread", "thread_name", "steals", "overhead_ns"]]),
    )


def _unfair(facts: _Facts, _t: AnyTrace) -> Iterator[Finding]:
    for busy, _held_share in facts.rivals():
        run = busy.run_ns.to_numpy(np.float64)
        index = float(jains_index(run))
        lost = float(run.mean() - run.min())
        if index >= UNFAIR or not facts.worth(lost):
            continue
        most, least = busy.loc[busy.run_ns.idxmax()], busy.loc[busy.run_ns.idxmin()]
        yield Finding(
            "unfair",
            _severity(facts, lost),
            int(lost),
            f"{printable(most.thread_name)} ran {duration(most.run_ns)} and {printable(least.thread_name)} "
            f"{duration(least.run_ns)}, though both wanted the GIL all the time (Jain's index {index:.2f}).",
            "Threads with long holds, or that request the GIL again at once, are favoured: shorten the "
            f"holds of {printable(most.thread_name)}.",
            _rows(busy[["thread", "thread_name", "run_ns", "wait_ns", "longest_ns"]]),
        )


def _interval_changed(facts: _Facts, _t: AnyTrace) -> Iterator[Finding]:
    rows = facts.trace.table("switch_intervals").to_pandas()
    changed = rows[rows.source.isin(["call", "observed"])]
    if not len(changed):
        return
    first = changed.iloc[0]
    before = int(facts.trace.interval_at(np.array([first.time_ns - 1]))[0])
    yield Finding(
        "interval_changed",
        "medium" if not 1 / GREAT_CHANGE <= first.interval_ns / before <= GREAT_CHANGE else "low",
        0,
        f"The program, or a library it uses, changed the switch interval {len(changed)} times, first from "
        f"{duration(before)} to {duration(first.interval_ns)} at {first.time_ns / 1e9:.3f} s.",
        "Find the calls of sys.setswitchinterval, and check whether their value suits the whole program.",
        _rows(rows),
    )


def _too_coarse(facts: _Facts, _t: AnyTrace) -> Iterator[Finding]:
    per_tick = float(facts.gil.handoffs) / facts.trace.ticks
    if facts.trace.exact or per_tick < COARSE:
        return
    yield Finding(
        "too_coarse",
        "medium",
        0,
        f"The GIL changed hands {per_tick:.1f} times between two ticks of the sampler: most single holds "
        "and waits are missing from the trace.",
        'Use edges="exact"; if that is not available, trust only shares of time.',
        _rows(pd.DataFrame([facts.gil[["handoffs", "handoffs_per_s"]]])),
    )


_RULES: tuple[Callable[[_Facts, AnyTrace], Iterator[Finding]], ...] = (
    _saturated,
    _convoy,
    _long_hold,
    _chatty,
    _steals,
    _unfair,
    _interval_changed,
    _too_coarse,
)
