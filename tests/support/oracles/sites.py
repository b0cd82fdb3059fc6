"""Slow and obvious twins of the helpers for places in the program, and traces to compare them on."""

from hypothesis import strategies as st

from tests.support.drawn.rows import Site, Trace
from tests.support.oracles import analysis as slow
from tests.support.oracles.analysis import Rows
from tests.support.oracles.spans import (
    Slice,
    Span,
    gils,
    interval_at,
    names,
    quantile,
    runs_of,
    slices,
    waits_of,
)

LIBRARY = "/lib/python"
_FILES = ["/app/main.py", f"{LIBRARY}/json.py", "<frozen codecs>", "/app/other.py"]
Place = tuple[str | None, str | None, int | None]
NOT_KNOWN: Place = ("(not known)", None, None)


@st.composite
def located(draw, trace: Trace) -> Trace:
    """Draw stacks for a trace, and a site, or none, for each of its intervals."""
    sites = [Site(0, None, "(callers not kept)", None, None, None)]
    for number in range(1, draw(st.integers(1, 7)) + 1):
        function, file = draw(st.sampled_from("fg")), draw(st.sampled_from(_FILES))
        parent = draw(st.none() | st.integers(0, number - 1))
        sites.append(Site(number, parent, function, file, draw(st.none() | st.integers(1, 3)), 1))
    site = st.none() | st.integers(1, len(sites) - 1)
    intervals = [i._replace(site=draw(site)) for i in trace.intervals]
    return trace.but(sites=sites, intervals=intervals, library_paths=[LIBRARY])


def place(trace: Trace, site: int | None, by: str, frame: str) -> Place:
    """Return function, file and line by which a site is gathered."""
    if site is None:
        return NOT_KNOWN
    chosen = trace.sites[site]
    if frame == "program":
        own = [s for s in _stack(trace, site) if s.file and not s.file.startswith(("<frozen", f"{LIBRARY}/"))]
        chosen = own[0] if own else chosen
    if by == "file":
        return (None, chosen.file, None)
    return (chosen.function, chosen.file, chosen.line if by == "line" else chosen.first_line)


def _stack(trace: Trace, site: int | None) -> list[Site]:
    stack = []
    while site is not None:
        stack.append(trace.sites[site])
        site = stack[-1].parent
    return stack


def sites(trace: Trace, by: str, frame: str) -> dict[Place, dict]:
    """Return what each place cost."""
    found: dict[Place, dict] = {}
    for g in gils(trace):
        runs, parts = runs_of(trace, g), slices(trace, g)
        for i, (run, response) in enumerate(zip(runs, slow.overruns(trace, g, runs), strict=True)):
            row = found.setdefault(place(trace, run.site, by, frame), _nothing())
            free_until = runs[i + 1].start if i + 1 < len(runs) else None
            _add(row, run, parts, free_until, response)
    return {where: _finished(trace, row) for where, row in found.items()}


def _nothing() -> dict:
    sums = dict.fromkeys(
        ("held_ns", "holds", "longest_ns", "forced", "voluntary", "inflicted_ns", "overhead_ns"), 0
    )
    return sums | {"responses": [], "victims": {}}


def _add(row: dict, run: Span, parts: list[Slice], free_until: int | None, response: int | None) -> None:
    row["held_ns"] += run.duration
    row["holds"] += 1
    row["longest_ns"] = max(row["longest_ns"], run.duration)
    row["forced"] += run.release == "forced"
    row["voluntary"] += run.release == "voluntary"
    for part in parts:
        length = part.end - part.start
        if run.start <= part.start and part.end <= run.end:
            for thread in part.waiters:
                row["inflicted_ns"] += length
                row["victims"][thread] = row["victims"].get(thread, 0) + length
        after = run.end <= part.start and (free_until is None or part.end <= free_until)
        if after and part.waiters:
            row["overhead_ns"] += length
    if response is not None:
        row["responses"].append(response)


def _finished(trace: Trace, row: dict) -> dict:
    responses, victims = row.pop("responses"), row.pop("victims")
    victim = min(victims, key=lambda thread: (-victims[thread], thread), default=None)
    row["response_p50_ns"] = quantile(responses, 0.5)
    row["response_max_ns"] = quantile(responses, 1.0)
    row["victim"], row["victim_ns"] = victim, victims.get(victim)
    row["victim_name"] = None if victim is None else names(trace)[victim]
    return row


def blame(trace: Trace, by: str) -> dict[Place, dict[Place | str, int]]:
    """Return place of the waiter -> place of the holder or "free" -> nanoseconds, without zeros."""
    out: dict[Place, dict[Place | str, int]] = {}
    for g in gils(trace):
        runs, waits = runs_of(trace, g), waits_of(trace, g)
        for part in slices(trace, g):
            holder = next((r for r in runs if r.start <= part.start and part.end <= r.end), None)
            whom = "free" if part.holder is None else place(trace, holder.site, by, "innermost")
            for wait in waits:
                if wait.start <= part.start and part.end <= wait.end:
                    row = out.setdefault(place(trace, wait.site, by, "innermost"), {})
                    row[whom] = row.get(whom, 0) + part.end - part.start
    return out


def keeps_gil(trace: Trace) -> Rows:
    """Return the calls that did not let go in time, by their line and that of the program."""
    interval = interval_at(trace, trace.duration)
    found: dict[tuple[Place, Place], dict] = {}
    for row in slow.holds(trace, over=2 * interval / 1e9):
        asked = row["overrun_ns"] is not None
        if asked and row["overrun_ns"] < interval:
            continue
        if not asked and row["inflicted_ns"] <= 4 * interval * row["waiters"]:
            continue
        key = tuple(place(trace, row["site"], "line", frame) for frame in ("innermost", "program"))
        mine = found.setdefault(
            key,
            {"calls": 0, "longest_ns": 0, "held_ns": 0, "inflicted_ns": 0, "response_max_ns": None},
        )
        mine["calls"] += 1
        mine["longest_ns"] = max(mine["longest_ns"], row["duration_ns"])
        mine["held_ns"] += row["duration_ns"]
        mine["inflicted_ns"] += row["inflicted_ns"]
        if asked:
            mine["response_max_ns"] = max(mine["response_max_ns"] or 0, row["overrun_ns"])
    return [
        dict(zip(("function", "file", "line"), at, strict=True)) | row | {"called_from": text(own)}
        for (at, own), row in found.items()
    ]


def text(where: Place) -> str:
    """Return a place as one text."""
    function, file, line = where
    return str(function) if file is None else f"{function} ({file}{'' if line is None else f':{line}'})"
