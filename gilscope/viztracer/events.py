"""Events beside the slices: counters, arrows from release to acquire, and instants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from gilscope.tables.arrays import column, filled, numpy_of, strings
from gilscope.tables.rows import NO_TIME, RUN, WAIT, Handoffs, Int, Intervals
from gilscope.tables.spans import Coverage
from gilscope.tables.stored import Tables
from gilscope.units import duration
from gilscope.viztracer import jsontext
from gilscope.viztracer.handoffs import Ends
from gilscope.viztracer.lanes import Lanes
from gilscope.viztracer.regions import Marks
from gilscope.viztracer.selection import Part

_MOST_POINTS = 200_000
_PID_SHIFT, _TRACE_SHIFT = 40, 28
_SHARES = 1000
_SHORTEST_SHARE_NS = 100_000
_EXACT_TIME = "time"  # placeholder for a time with three decimals, which a float would round


def waiters(pid: int, zero_ns: int, rows: Intervals, lanes: Lanes) -> Iterator[memoryview]:
    """Yield the text of counters of the threads that wait for each GIL.

    If the number changes more often than the viewer can draw, each point is the maximum of a short stretch.
    """
    for gil in lanes.gils:
        waits = rows[(rows.state == WAIT) & (rows.interpreter == gil)]
        time = np.concatenate((waits.start, waits.end))
        step = np.repeat(np.array([1, -1], np.int64), len(waits))
        order = np.lexsort((-step, time))
        time, count = time[order], np.cumsum(step[order])
        last_of_instant = np.flatnonzero(np.diff(time, append=-1) != 0)
        time, count = time[last_of_instant], count[last_of_instant]
        if len(time) > _MOST_POINTS:
            # Keep the last point: the viewer extends it to the end of the trace.
            last = len(time) - 1
            first = np.append(np.arange(0, last, -(-last // _MOST_POINTS)), last)
            time, count = time[first], np.maximum.reduceat(count, first)
        yield from _counters(
            pid, zero_ns, _counter_name(gil, lanes), "waiters", time, jsontext.numbers(count)
        )


def held_share(pid: int, zero_ns: int, rows: Intervals, lanes: Lanes, part: Part) -> Iterator[memoryview]:
    """Yield the text of counters of the percentage of each short stretch for which each GIL was held."""
    length = part.end_ns - part.start_ns
    stretches = max(min(_SHARES, length // _SHORTEST_SHARE_NS), 1)
    edges = np.linspace(part.start_ns, part.end_ns, stretches + 1).round().astype(np.int64)
    for gil in lanes.gils:
        runs = rows[(rows.state == RUN) & (rows.interpreter == gil)]
        held = np.diff(Coverage(runs.start, runs.end).until(edges))
        percent = np.round(100 * held / np.maximum(np.diff(edges), 1)).astype(np.int64)
        name = _counter_name(gil, lanes)
        yield from _counters(pid, zero_ns, name, "held %", edges[:-1], jsontext.numbers(percent))


def _counter_name(gil: int, lanes: Lanes) -> str:
    return f"GIL {gil}" if len(lanes.gils) > 1 else "GIL"


def _counters(
    pid: int, zero_ns: int, name: str, key: str, time: Int, value: pa.Array
) -> Iterator[memoryview]:
    for offset in range(0, len(time), jsontext.ROWS_PER_STEP):
        step = slice(offset, offset + jsontext.ROWS_PER_STEP)
        yield jsontext.content(
            ',\n{"ts":',
            *jsontext.micros(time[step] + zero_ns),
            f',"pid":{pid},"tid":{pid},"ph":"C","name":"{name}","args":{{"{key}":',
            value[step],
            "}}",
        )


def arrows(
    pid: int, zero_ns: int, rows: Intervals, ends: Ends, handoffs: Handoffs, lanes: Lanes
) -> Iterator[memoryview]:
    """Yield the text of arrows from the end of a run to the beginning of the next thread's run.

    The viewer attaches an arrow to the slices that contain its ends, so it begins and ends inside them.
    """
    runs = np.flatnonzero((rows.state == RUN) & (rows.end > rows.start))
    run_of = [np.full(len(handoffs) + 1, -1, np.int64) for _ in range(2)]
    for of, at in zip(run_of, (ends.released, ends.acquired), strict=True):
        of[at[runs]] = runs  # position -1, the last, takes runs without a hand-off
    number = np.flatnonzero((run_of[0][:-1] >= 0) & (run_of[1][:-1] >= 0))
    # Ids differ from those of other traces and processes; the viewer reads at most 63 bits.
    first_id = pid << _PID_SHIFT | lanes.trace << _TRACE_SHIFT
    left, got = (rows[of[number]] for of in run_of)
    step_ns = jsontext.step(zero_ns + int(left.end.max(initial=0)))
    leave = np.maximum(left.end - step_ns, left.start)
    arrive = np.maximum(np.minimum(got.start + step_ns, got.end - step_ns), got.start)
    for kind, side, time in (('"ph":"s"', left, leave), ('"ph":"f","bp":"e"', got, arrive)):
        tail = f',"tid":{{}},"pid":{pid},{kind},"cat":"gil","name":"hand-off","id":'
        lane = jsontext.repeated(lanes.of(side.interpreter, side.thread), tail)
        for offset in range(0, len(number), jsontext.ROWS_PER_STEP):
            step = slice(offset, offset + jsontext.ROWS_PER_STEP)
            yield jsontext.content(
                ',\n{"ts":',
                *jsontext.micros(time[step] + zero_ns),
                lane[step],
                jsontext.numbers(first_id + number[step]),
                "}",
            )


def drop_requests(
    pid: int, zero_ns: int, handoffs: Handoffs, lanes: Lanes, part: Part
) -> Iterator[memoryview]:
    """Yield the text of drop requests, as instants on the lanes of the threads that waited."""
    asked = np.flatnonzero(handoffs.drop_request != NO_TIME)
    asked = asked[handoffs.drop_request[asked] >= part.start_ns]
    tid = lanes.of(handoffs.interpreter[asked], handoffs.to_thread[asked])
    time, holder = handoffs.drop_request[asked], lanes.quoted_labels(handoffs.from_thread[asked])
    yield from _instants(pid, zero_ns, tid, time, '"drop request"', ('"asks":', holder))


def marks(pid: int, zero_ns: int, rows: Marks, lanes: Lanes) -> Iterator[memoryview]:
    """Yield the text of the program's marks, on the lanes of their threads."""
    if len(rows):
        name = strings(jsontext.quoted(rows.names)).take(column(rows.name))
        yield from _instants(pid, zero_ns, lanes.homes(rows.thread), rows.start, name, ('"mark":true',))


def _instants(
    pid: int, zero_ns: int, tid: Int, time: Int, name: pa.Array | str, args: tuple[Any, ...]
) -> Iterator[memoryview]:
    lane = jsontext.repeated(tid, f',"tid":{{}},"pid":{pid},"ph":"i","s":"t","cat":"gil","name":')
    for offset in range(0, len(time), jsontext.ROWS_PER_STEP):
        step = slice(offset, offset + jsontext.ROWS_PER_STEP)
        yield jsontext.content(
            ',\n{"ts":',
            *jsontext.micros(time[step] + zero_ns),
            lane[step],
            name if isinstance(name, str) else name[step],
            ',"args":{',
            *(a if isinstance(a, str) else a[step] for a in args),
            "}}",
        )


def switch_intervals(pid: int, zero_ns: int, recording: Tables, lanes: Lanes, part: Part) -> Iterator[bytes]:
    """Yield an instant for each change of the switch interval, on the lane of the thread if it is known."""
    for row in recording.switch_intervals.to_pylist()[1:]:
        if not part.start_ns <= row["time_ns"] <= part.end_ns:
            continue
        args = {"source": row["source"], "before": duration(row["previous_ns"])}
        if row["file"] is not None:
            args["caller"] = f"{row['file'].translate(jsontext.CONTROLS)}:{row['line']}"
        name = f"switch interval {duration(row['interval_ns'])}"
        yield _instant(pid, zero_ns + row["time_ns"], lanes.home(row["thread"]), name, args)


def lost(pid: int, zero_ns: int, recording: Tables, lanes: Lanes, part: Part) -> Iterator[bytes]:
    """Yield an instant at the beginning of each span in which transitions were lost, on the holder's lane."""
    samples = recording.samples
    dropped = numpy_of(filled(samples["dropped"], 0))
    time = numpy_of(samples["time_ns"])
    for i in np.flatnonzero(dropped > 0).tolist():
        begin, end = int(time[i - 1]) if i else 0, int(time[i])
        if begin <= part.end_ns and end >= part.start_ns:
            args = {"transitions": int(dropped[i]), "for": duration(end - begin)}
            at = zero_ns + max(begin, part.start_ns)
            yield _instant(pid, at, lanes.home(None), "transitions lost", args)


def _instant(pid: int, ns: int, tid: int, name: str, args: dict[str, Any]) -> bytes:
    mark = {
        "ts": _EXACT_TIME,
        "tid": tid,
        "pid": pid,
        "ph": "i",
        "s": "t",
        "cat": "gil",
        "name": name,
        "args": args,
    }
    exact = jsontext.dumps(mark).replace(f'"{_EXACT_TIME}"', f"{ns // 1000}.{ns % 1000:03d}", 1)
    return jsontext.utf8(f",\n{exact}")
