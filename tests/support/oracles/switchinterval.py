"""The slow and obvious twin of `gilscope.analysis.switch_interval`."""

from __future__ import annotations

from tests.support.drawn.rows import Handoff, Trace
from tests.support.oracles.analysis import Rows
from tests.support.oracles.spans import (
    gils,
    in_hole,
    interval_at,
    observed,
    quantile,
    runs_of,
    slices,
    waits_of,
)


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
