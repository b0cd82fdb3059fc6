"""Reports with VizTracer's functions and the GIL's lanes, read from the file and from the viewer."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from gilscope.viztracer import FIRST_TID
from tests.support.viztracer import browser

_SHOWN = """
    select pid, tid, thread.name, iif(category in ('run', 'wait'), category, slice.name), slice.ts, slice.dur
    from slice join thread_track on slice.track_id = thread_track.id
    join thread using (utid) join process using (upid)
"""

Slice = tuple[str, int, int]
"""name, start and duration in ns of CLOCK_MONOTONIC"""

_Lanes = dict[tuple[int, int], list[Slice]]


@dataclass
class Merged:
    """Slices by process and the kernel's id of the thread, in order of time."""

    names: dict[tuple[int, int], str] = field(default_factory=dict)  # of threads with functions
    gil: _Lanes = field(default_factory=lambda: defaultdict(list))
    held: dict[int, list[Slice]] = field(default_factory=lambda: defaultdict(list))
    functions: _Lanes = field(default_factory=lambda: defaultdict(list))


def _sorted(rows: Iterable[tuple[int, int, str, str, int, int]]) -> Merged:
    """Sort rows of pid, tid, the lane's title, name, start and duration by their kind."""
    found = Merged()
    for pid, tid, title, name, start, duration in sorted(rows, key=lambda row: (*row[4:], *row[:4])):
        if tid < FIRST_TID:
            found.functions[pid, tid].append((name, start, duration))
            found.names[pid, tid] = title
        elif title.endswith(" holder"):
            found.held[pid].append((name, start, duration))
        elif name in ("run", "wait") and title.startswith("GIL "):
            native = int(title.rsplit("(", 1)[1].rstrip(")"))
            found.gil[pid, native].append((name, start, duration))
    return found


def read(report: Path) -> Merged:
    """Read a report's file as the viewer does: of a lane's names, use the one with the latest time."""
    events = json.loads(report.read_bytes(), parse_float=Decimal)["traceEvents"]
    titles: dict[tuple[int, int], tuple[Decimal, int, str]] = {}
    for i, event in enumerate(events):
        if event["ph"] == "M" and event["name"] == "thread_name":
            lane, name = (
                (event["pid"], event["tid"]),
                (event.get("ts", Decimal(-1)), i, event["args"]["name"]),
            )
            titles[lane] = max(titles.get(lane, name), name)
    return _sorted(
        (e["pid"], e["tid"], titles[e["pid"], e["tid"]][2], _state_or_name(e), _ns(e["ts"]), _ns(e["dur"]))
        for e in events
        if e["ph"] == "X"
    )


def _state_or_name(event: dict[str, Any]) -> str:
    """Return the state of a run or wait, which may have the name of a function; of others, the name."""
    return str(event["cat"] if event.get("cat") in ("run", "wait") else event["name"])


def _ns(micros: Decimal) -> int:
    # VizTracer's times are doubles, printed with all their digits.
    return round(Decimal(micros) * 1000)


def shown(page: Any) -> Merged:
    """Read what the viewer has loaded; there, instants are slices, too."""
    rows = browser.query(page, _SHOWN)
    return _sorted((*row[:5], row[5]) for row in rows if row[3] not in _INSTANTS)


_INSTANTS = ("drop request", "transitions lost")


def edges_without_the_gil(
    functions: Iterable[Slice], lane: Iterable[Slice], begin: int, end: int, tolerance_ns: int = 1000
) -> list[tuple[str, int]]:
    """Return the ends of functions, between two instants, at which their thread did not hold the GIL.

    VizTracer stamps a call and a return while the thread holds the GIL. C code that runs without the GIL is
    between the two.
    """
    runs = sorted((start, start + duration) for name, start, duration in lane if name == "run")
    starts, ends = (np.array([r[i] for r in runs], np.int64) for i in (0, 1))
    wrong = []
    for name, start, duration in functions:
        for edge in (start, start + duration):
            if begin <= edge <= end:
                i = int(np.searchsorted(starts, edge + tolerance_ns, "right")) - 1
                if i < 0 or edge > ends[i] + tolerance_ns:
                    wrong.append((name, edge))
    return wrong
