"""Recordings made by hand for the timeline's tests."""

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from gilscope.tables import schema
from gilscope.tables.stored import Tables
from gilscope.viztracer import FIRST_TID, export

PID = 4301
ZERO_NS = 86_400_000_000_123

Row = tuple[int, str, int, int, str | None]
"""thread, state, start_ns, duration_ns, release"""

HOSTILE_NAMES = (
    "MainThread",
    'quote " and \\ back \\" slash',
    "größer · 線程 🧵",
    "tab\tline\nbell\x07null\x00del\x7f",
    "wait (holder:)",
    "run (x:1)",
    "</script><b>&amp;",
    "",
    "a" * 300,
)

ROWS: list[Row] = [
    (0, "run", 0, 1_000_000_007, "forced"),
    (1, "wait", 5, 1_000_000_102, None),
    (0, "wait", 1_000_000_007, 400, None),
    (1, "run", 1_000_000_107, 300, "voluntary"),
    (0, "run", 1_000_000_407, 1, "open"),
    (1, "run", 1_000_000_407, 0, "voluntary"),
]


def recording(
    rows: Iterable[Row],
    names: Sequence[str | None] = ("MainThread",),
    batch: int | None = None,
    **metadata: Any,
) -> Tables:
    """Build a recording of these intervals and threads.

    Args:
        rows: the intervals.
        names: one per thread; the native ids count up from the pid.
        batch: rows in each record batch (all in one when None).
        metadata: added to the metadata.
    """
    columns = list(zip(*rows, strict=True)) or [()] * 5
    thread, state, start, duration, release = columns
    content = [thread, [0] * len(thread), state, start, duration, release, [None] * len(thread)]
    fields = zip(content, schema.TABLES["intervals"].types, strict=True)
    table = pa.table([pa.array(values, kind) for values, kind in fields], schema=schema.TABLES["intervals"])
    if batch is not None:
        table = pa.Table.from_batches(table.to_batches(max_chunksize=batch), schema.TABLES["intervals"])
    head = {"pid": PID, "start_monotonic_ns": ZERO_NS, "argv": ["prog.py"], **metadata}
    return Tables(None, head, {"intervals": table, "threads": threads(names)})


def threads(names: Sequence[str | None]) -> pa.Table:
    """Build a threads table with these names."""
    rows = [{"thread": i, "native_id": PID + i, "name": name} for i, name in enumerate(names)]
    return pa.Table.from_pylist(rows, schema=schema.TABLES["threads"])


def written(recording: Tables, target: Path, **how: Any) -> bytes:
    """Write a timeline, the only file in its folder, and read it back."""
    export(recording, target, **how)
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    return target.read_bytes()


def events(text: str | bytes) -> list[dict[str, Any]]:
    """Read a timeline's events, with their times as exact as they are written."""
    content = json.loads(text, parse_float=Decimal)
    return list(content["traceEvents"])


def slices(text: str | bytes) -> list[Row]:
    """Read a timeline of one GIL back into rows, with starts counted from the start of the trace."""
    return [
        (
            event["args"]["thread"],
            event["cat"],
            ns(event["ts"]) - ZERO_NS,
            ns(event["dur"]),
            event["args"].get("release"),
        )
        for event in events(text)
        if event["ph"] == "X" and event["tid"] > FIRST_TID and event["cat"] in ("run", "wait")
    ]


def held(text: str | bytes) -> list[tuple[str, int, int]]:
    """Return the slices of the holder's lane: name, start, duration."""
    return [
        (event["name"], ns(event["ts"]) - ZERO_NS, ns(event["dur"]))
        for event in events(text)
        if event["ph"] == "X" and event["tid"] == FIRST_TID
    ]


def totals(rows: Iterable[Row]) -> dict[tuple[int, str], tuple[int, int]]:
    """Sum up rows: (thread, state) to count and nanoseconds."""
    sums: dict[tuple[int, str], tuple[int, int]] = {}
    for thread, state, _start, duration, _release in rows:
        count, ns = sums.get((thread, state), (0, 0))
        sums[thread, state] = (count + 1, ns + duration)
    return sums


def two_at_a_time(count: int, lanes: int, step_ns: int = 5_000_001) -> list[Row]:
    """Return ``count`` turns of a GIL that goes round: each thread waits for one turn, then runs for one."""
    rows: list[Row] = []
    for turn in range(count):
        thread, release = turn % lanes, ("forced", "voluntary")[turn % 2]
        rows.append((thread, "wait", turn * step_ns, step_ns, None))
        rows.append((thread, "run", (turn + 1) * step_ns, step_ns, release))
    return rows


def ns(micros: Decimal) -> int:
    """Return microseconds as whole nanoseconds."""
    exact = Decimal(micros) * 1000
    assert exact == int(exact), f"{micros} us is not a whole number of nanoseconds"
    return int(exact)


def arrow(pid: int, tids: Sequence[int], times: Sequence[int]) -> dict[str, Any]:
    """Return an arrow as one event: the tids and times of its tail and its head."""
    return {"ph": "arrow", "pid": pid, "tid": tuple(tids), "ts": tuple(times), "name": "hand-off"}


def whole_events(text: str | bytes) -> list[dict[str, Any]]:
    """Read a timeline's events with times in nanoseconds, arrows as one, without the names of lanes."""
    out = []
    ends: dict[int, dict[str, dict[str, Any]]] = {}
    for event in events(text):
        times = {key: ns(event[key]) for key in ("ts", "dur") if key in event}
        if event["ph"] in "sf":
            side = ends.setdefault(event["id"], {})
            assert event["ph"] not in side, f"id {event['id']} belongs to two arrows"
            side[event["ph"]] = event | times
        elif event["ph"] != "M":
            out.append(event | times)
    for side in ends.values():
        tail, head = side["s"], side["f"]
        assert (head["bp"], tail["pid"], tail["name"]) == ("e", head["pid"], head["name"])
        out.append(arrow(tail["pid"], [tail["tid"], head["tid"]], [tail["ts"], head["ts"]]))
    return out


def lane_names(text: str | bytes) -> dict[int, str]:
    """Return the names of a timeline's lanes by their tids."""
    return {e["tid"]: e["args"]["name"] for e in events(text) if e["name"] == "thread_name"}


def in_order(found: Iterable[dict[str, Any]]) -> list[str]:
    """Return events as text in an order of their own, so that two lists of them can be compared."""
    return sorted(json.dumps(event, sort_keys=True, ensure_ascii=False) for event in found)
