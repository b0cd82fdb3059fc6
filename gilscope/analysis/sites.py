"""Which lines of code held the GIL, and which threads waited for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gilscope.analysis.gils import Gil
from gilscope.analysis.holds import overruns, unresponsive
from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import ObservedTrace, observe
from gilscope.analysis.places import By, Frame, labelled, places
from gilscope.tables.rows import FORCED, NO_SITE, NO_TIME, VOLUNTARY
from gilscope.tables.spans import Int, Mask, group_quantiles, group_sums, overlaps

_SUMS = ("held_ns", "holds", "longest_ns", "forced", "voluntary", "inflicted_ns", "overhead_ns")


def sites(t: AnyTrace, by: By = "line", frame: Frame = "innermost") -> pd.DataFrame:
    """Return the cost of each line of code that released the GIL, the costliest for other threads first.

    A hold belongs to the line at which it ended, with everything that ran before in the same hold. A hold
    that went on for more than 0.1 ms after a drop request belongs to the line at which the drop request
    arrived: CPython checks at calls and loops only, so the thread was inside one operator or C function,
    which belongs to the line that called it. A hold that ends with its thread or the trace belongs to the
    line where it began. Rows add up to the trace: their ``held_ns`` to the time the GIL was held,
    ``inflicted_ns`` to the time threads waited while it was held, ``overhead_ns`` to the hand-off overhead
    after the first hold.

    Args:
        t: a trace, its path, or its tables.
        by: ``"line"``, ``"function"`` or ``"file"``.
        frame: ``"innermost"`` takes the line that released, wherever it is; ``"program"`` the innermost line
            outside the standard library and installed packages, if the recorded callers have one.

    Returns:
        Columns ``function``, ``file``, ``line`` (Int32; the function's first one by function), ``held_ns``,
        ``holds``, ``longest_ns``, ``forced``, ``voluntary`` (releases), ``inflicted_ns`` (time threads waited
        during these holds, summed over threads), ``overhead_ns`` (time the GIL was free afterwards while at
        least one thread waited; all int64), ``response_p50_ns`` and ``response_max_ns`` (from a drop request
        to the forced release; float64, null if there was none), ``victim`` (the thread that waited longest
        during them; Int32) and ``victim_name``, ``victim_ns`` (Int64; null if no thread waited).
        A row with the function ``(not known)`` holds the rest: threads that have not released in a Python
        frame yet, and interpreters with a GIL of their own.

    Raises:
        OptionError: if an argument has another value, or the trace has no sites (sampled edges or
            ``sites=False``).

    Example:
        >>> import gilscope, time
        >>> with gilscope.trace(None) as t:
        ...     time.sleep(0.001)
        >>> list(gilscope.analysis.sites(t).columns[:4])
        ['function', 'file', 'line', 'held_ns']
    """
    trace = observe(t)
    where = places(trace, by, frame)
    sums = {name: np.zeros(len(where), np.int64) for name in _SUMS}
    victims = np.zeros((len(where), len(trace.names)), np.int64)
    response = []
    for gil in trace.gils:
        place = where.of(gil.runs.sites)
        _add(sums, gil, place)
        _add_victims(victims, gil, place)
        overrun = overruns(trace, gil)
        asked = overrun != NO_TIME
        response.append(np.stack((place[asked], overrun[asked])))
    found = where.names.assign(**sums)
    found = found.assign(**_responses(np.concatenate(response, axis=1), len(where)))
    found = found.assign(**_worst(trace, victims))
    found = found[found["holds"] > 0]
    return found.sort_values(["inflicted_ns", "held_ns"], ascending=False, kind="stable", ignore_index=True)


def _counted(place: Int, n: int, which: Mask | None = None) -> Int:
    return np.bincount(place if which is None else place[which], minlength=n)


def _add(sums: dict[str, Int], gil: Gil, place: Int) -> None:
    n, runs = len(sums["holds"]), gil.runs
    sums["held_ns"] += group_sums(place, runs.duration, n)
    sums["holds"] += _counted(place, n)
    np.maximum.at(sums["longest_ns"], place, runs.duration)
    sums["forced"] += _counted(place, n, runs.release == FORCED)
    sums["voluntary"] += _counted(place, n, runs.release == VOLUNTARY)
    sums["inflicted_ns"] += group_sums(place, gil.waiting.within(runs.start, runs.end), n)
    sums["overhead_ns"] += group_sums(place, gil.gaps.lost[1:], n)  # the first gap is before all holds


def _add_victims(victims: Int, gil: Gil, place: Int) -> None:
    waits, runs, n = gil.waits, gil.runs, victims.shape[1]
    for which, other, ns in overlaps(waits.start, waits.end, runs.start, runs.end):
        cell = place[other] * n + waits.thread[which]
        cells, inverse = np.unique(cell, return_inverse=True)
        np.add.at(victims.reshape(-1), cells, group_sums(inverse, ns, len(cells)))


def _responses(response: Int, n: int) -> dict[str, Any]:
    quantiles = group_quantiles(response[0], response[1], n, [0.5, 1.0])
    return {"response_p50_ns": quantiles[:, 0], "response_max_ns": quantiles[:, 1]}


def _worst(trace: ObservedTrace, victims: Int) -> dict[str, Any]:
    thread = victims.argmax(axis=1) if victims.shape[1] else np.zeros(len(victims), np.int64)
    ns = victims[np.arange(len(victims)), thread] if victims.shape[1] else thread
    thread = np.where(ns > 0, thread, -1)
    return {
        "victim": pd.arrays.IntegerArray(thread.astype(np.int32), thread < 0),
        "victim_name": trace.labels(thread),
        "victim_ns": pd.arrays.IntegerArray(ns, thread < 0),
    }


def keeps_gil(t: AnyTrace) -> pd.DataFrame:
    """Return the lines whose holds went on for a switch interval or more after a drop request.

    Only holds of more than two switch intervals count. CPython's interpreter releases within microseconds of
    a drop request; a longer response is one call into native code that should release the GIL. A hold whose
    drop request is not known, because another thread took over, counts if its waiters waited for more than
    four switch intervals on average.

    Args:
        t: a trace, its path, or its tables.

    Returns:
        Columns ``function``, ``file``, ``line`` (of the line that called), ``calls`` (number of such
        holds), ``longest_ns``, ``held_ns``, ``inflicted_ns`` (of those holds; int64),
        ``response_max_ns`` (float64) and ``called_from`` (the innermost line of the
        program itself; a text), the costliest first.

    Raises:
        OptionError: if the trace has no sites (sampled edges, ``sites=False``).

    Example:
        >>> import gilscope, time
        >>> with gilscope.trace(None) as t:
        ...     time.sleep(0.001)
        >>> len(gilscope.analysis.keeps_gil(t))
        0
    """
    trace = observe(t)
    interval = int(trace.interval_at(np.array([trace.duration]))[0])
    called, program = places(trace, "line", "innermost"), places(trace, "line", "program")
    h = unresponsive(t, interval)
    site = h["site"].fillna(NO_SITE).to_numpy(np.int32)
    by = {"place": called.of(site), "from": program.of(site)}
    rows = h.assign(**by).groupby(["place", "from"], sort=False)
    found = rows.agg(
        calls=("duration_ns", "size"),
        longest_ns=("duration_ns", "max"),
        held_ns=("duration_ns", "sum"),
        inflicted_ns=("inflicted_ns", "sum"),
        response_max_ns=("overrun_ns", "max"),
    ).reset_index()
    names = called.names.iloc[found["place"]].reset_index(drop=True)
    found = pd.concat([names, found.drop(columns=["place", "from"])], axis=1).assign(
        response_max_ns=found["response_max_ns"].astype("Float64"),
        called_from=labelled(program, found["from"]),
    )
    return found.sort_values("inflicted_ns", ascending=False, kind="stable", ignore_index=True)
