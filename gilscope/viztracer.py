"""The timeline: a recording written as the Chrome-trace JSON that VizTracer's viewer opens.

Every thread has one lane of slices named ``run`` and ``wait``, and marks where it set the switch interval.
Lanes are virtual threads (tids no Linux thread can have), so merging the file with a VizTracer report never
puts a GIL slice between function slices.

Times are ``CLOCK_MONOTONIC`` in microseconds, VizTracer's own time base, printed from whole nanoseconds.
"""

import gzip
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gilscope.errors import OptionError, TraceFormatError, TraceWriteError
from gilscope.recording import Recording
from gilscope.schema import RELEASES, STATES
from gilscope.units import duration

__all__ = ["FIRST_TID", "SUFFIXES", "export"]

SUFFIXES = (".json", ".json.gz")

# Linux thread ids stay below 2**22. The viewer bundled with VizTracer 1.1 sorts lanes by tid alone.
FIRST_TID = 5_000_001
_NOBODY_TID = FIRST_TID - 1  # a lane for what no thread is known to have done
_EXACT_TIME = "time"  # stands for a time with three decimals, which a float would round

_VIZTRACER_VERSION = "1.1.1"
_HEADER_KEYS = (
    "gilscope_version",
    "python_version",
    "platform",
    "edges",
    "start_unix_ns",
    "start_monotonic_ns",
    "duration_ns",
    "dropped",
    "complete",
)
_ROWS_PER_STEP = 1 << 17
# From here on (101 days) a double of microseconds is too coarse to tell one nanosecond from the next.
_EXACT_NS = 1000 << 43
_NEEDED = ("thread", "state", "start_ns", "duration_ns")

# JSON allows no bare control character, and the viewer shows \uXXXX as it stands: write their pictures.
_CONTROLS = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}

_Ints = npt.NDArray[np.int64]


def export(
    recording: Recording, path: str | os.PathLike[str], progress: Callable[[int], None] | None = None
) -> None:
    """Write the timeline of a recording as a file for ``vizviewer``.

    The file appears whole or not at all, and replaces one of the same name. Its slices are the rows of the
    ``intervals`` table. Within a lane they never overlap, not even by 1 ns: the viewer would drop one.

    Starts are exact to the nanosecond, and so are durations unless the host has been up for 101 days: the
    viewer then rounds times to 2 ns (4 ns after 208 days, and so on), and durations are rounded with them.

    Args:
        recording: a finished trace. Each thread's intervals are expected in order of time.
        path: where to write: a name ending in ``.json``, or ``.json.gz`` (about seven times smaller).
        progress: called after each step with the number of intervals written so far, which ends at
            ``recording.intervals.num_rows``.

    Raises:
        OptionError: the path ends in something else.
        TraceWriteError: the file cannot be written.
        TraceFormatError: the recording is damaged.

    Example:
        >>> import json, tempfile
        >>> from pathlib import Path
        >>> from gilscope.recording import Recording
        >>> from gilscope.viztracer import export
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "run.json")
        ...     export(Recording(None, {"pid": 4301, "start_monotonic_ns": 0}), file)
        ...     json.loads(file.read_text())["traceEvents"][0]["args"]
        {'name': 'python'}
    """
    target = Path(path)
    if not target.name.endswith(SUFFIXES):
        raise OptionError(
            f"{target}: the timeline is JSON, so its name must end in {' or '.join(SUFFIXES)} "
            f"(for instance {target.with_suffix('.json.gz').name})"
        )
    try:
        with _replacing(target) as file:
            _write(recording, file, progress)
    except OSError as error:
        raise TraceWriteError(
            f"{target}: the timeline cannot be written: {error.strerror or error}; choose a folder that "
            "exists, is writable and has room"
        ) from error


@contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file beside the target that takes the target's place when all went well, else vanishes."""
    real = Path(os.path.realpath(target))
    draft = real.with_name(f".gilscope-{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as raw:
            if target.name.endswith(".gz"):
                with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
                    yield packed
            else:
                yield raw
        draft.replace(real)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _write(
    recording: Recording, file: IO[bytes] | gzip.GzipFile, progress: Callable[[int], None] | None
) -> None:
    """Write the whole JSON text, one step of rows after the other."""
    pid = _whole(recording.metadata, "pid")
    zero_ns = _whole(recording.metadata, "start_monotonic_ns")
    file.write(b'{"traceEvents":[\n')
    file.write(_utf8(",\n".join(_names(recording, pid))))
    tails = _tails(pid)
    ends: dict[int, int] = {}
    done = 0
    for batch in recording.batches("intervals"):
        for offset in range(0, batch.num_rows, _ROWS_PER_STEP):
            rows = batch.slice(offset, _ROWS_PER_STEP)
            file.write(_slices(rows, zero_ns, tails, ends))
            done += rows.num_rows
            if progress is not None:
                progress(done)
    for event in _changes_of_interval(recording, pid, zero_ns):
        file.write(_utf8(f",\n{event}"))
    file.write(_utf8(f"\n],{_footer(recording.metadata)}}}\n"))


def _whole(metadata: dict[str, Any], key: str) -> int:
    """Return a metadata value without which no event can be written."""
    value = metadata.get(key)
    if not isinstance(value, int):
        raise TraceFormatError(
            f"metadata key {key!r}: expected a whole number, found {value!r}; the timeline cannot be placed "
            "without it, so record the trace again or restore its metadata.json"
        )
    return value


def _names(recording: Recording, pid: int) -> Iterator[str]:
    """Yield the records that name the process and, for each thread, its lane and the lane's place."""
    yield _meta("process_name", pid, pid, name=_program(recording.metadata))
    for row in recording.threads.select(["thread", "native_id", "name"]).to_pylist():
        tid = FIRST_TID + row["thread"]
        name = (row["name"] or "thread").translate(_CONTROLS)
        yield _meta("thread_name", pid, tid, name=f"{name} ({row['native_id']})")
        yield _meta("thread_sort_index", pid, tid, sort_index=row["thread"])


def _changes_of_interval(recording: Recording, pid: int, zero_ns: int) -> Iterator[str]:
    """Yield a mark for each change of the switch interval, in the lane of its thread where that is known."""
    changes = recording.switch_intervals.to_pylist()[1:]
    if any(row["thread"] is None for row in changes):
        yield _meta("thread_name", pid, _NOBODY_TID, name="switch interval")
    for row in changes:
        ns = zero_ns + row["time_ns"]
        args = {"source": row["source"], "before": duration(row["previous_ns"])}
        if row["file"] is not None:
            args["caller"] = f"{row['file'].translate(_CONTROLS)}:{row['line']}"
        mark = {
            "ph": "i",
            "s": "t",
            "name": f"switch interval {duration(row['interval_ns'])}",
            "cat": "gil",
            "ts": _EXACT_TIME,
            "pid": pid,
            "tid": _NOBODY_TID if row["thread"] is None else FIRST_TID + row["thread"],
            "args": args,
        }
        yield _dumps(mark).replace(f'"{_EXACT_TIME}"', f"{ns // 1000}.{ns % 1000:03d}")


def _meta(kind: str, pid: int, tid: int, **args: str | int) -> str:
    """Return one metadata record."""
    return _dumps({"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args})


def _program(metadata: dict[str, Any]) -> str:
    """Return what to call the process: its script, or ``python`` where there is none."""
    argv = metadata.get("argv")
    script = os.path.basename(str(argv[0])) if isinstance(argv, list) and argv else ""
    return script.translate(_CONTROLS) if script not in ("", "-c", "-m") else "python"


def _footer(metadata: dict[str, Any]) -> str:
    """Return the keys that follow the events, without the braces."""
    keys = {
        "viztracer_metadata": {"version": _VIZTRACER_VERSION, "overflow": False},
        "file_info": {"files": {}, "functions": {}},
        "gilscope": {key: metadata[key] for key in _HEADER_KEYS if isinstance(metadata.get(key), str | int)},
    }
    return _dumps(keys)[1:-1]


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _utf8(text: str) -> bytes:
    """Encode text that may hold the lone surrogates of an undecodable file name."""
    return text.encode("utf-8", "replace")


def _tails(pid: int) -> pa.Array:
    """Return the end of a slice's text for each kind that `_kinds` tells apart."""
    fixed = f'"pid":{pid},"ph":"X","cat":"gil","name":'
    args = [f',"args":{{"release":"{release}"}}' for release in RELEASES]
    return pa.array([f',{fixed}"{state}"{arg}}}' for state in STATES for arg in [*args, ""]])


def _slices(rows: pa.RecordBatch, zero_ns: int, tails: pa.Array, ends: dict[int, int]) -> memoryview:
    """Return the text of one step of slices, each led by a comma.

    Args:
        rows: a part of the intervals table.
        zero_ns: ``CLOCK_MONOTONIC`` at the start of the trace.
        tails: see `_tails`.
        ends: where each thread's last slice ended; brought up to date.
    """
    kinds = _kinds(rows)
    thread, start, stop = (rows[name].to_numpy() for name in ("thread", "start_ns", "duration_ns"))
    order = np.lexsort((start, thread))
    thread, start, stop = thread[order], start[order], (start + stop)[order]
    _clip(thread, start, stop, ends)
    start, stop = start + zero_ns, stop + zero_ns
    texts = pc.binary_join_element_wise(
        pa.scalar(',\n{"ts":'),
        *_micros(start),
        pa.scalar(',"dur":'),
        *_micros(_as_shown(stop) - _as_shown(start)),
        pa.scalar(',"tid":'),
        pa.array(thread.astype(np.int64) + FIRST_TID).cast(pa.string()),
        tails.take(pa.array(kinds[order])),
        "",
    )
    return _bytes_of(texts)


def _kinds(rows: pa.RecordBatch) -> _Ints:
    """Return for each row which tail it has: state times four, plus release (3 where there is none)."""
    if any(rows[name].null_count for name in _NEEDED):
        raise _damaged(f"missing values in one of the columns {', '.join(_NEEDED)}")
    state = pc.index_in(rows["state"].dictionary_decode(), value_set=pa.array(STATES))
    if state.null_count:
        raise _damaged(f"states other than {' and '.join(STATES)}")
    release = pc.index_in(rows["release"].dictionary_decode(), value_set=pa.array(RELEASES))
    none = len(RELEASES)
    kinds: _Ints = state.to_numpy() * (none + 1) + release.fill_null(none).to_numpy()
    return kinds


def _damaged(what: str) -> TraceFormatError:
    return TraceFormatError(
        f"table 'intervals': {what}; the trace is damaged or was made by another program, record it again"
    )


def _clip(thread: npt.NDArray[np.int32], start: _Ints, stop: _Ints, ends: dict[int, int]) -> None:
    """Move starts and stops, in place, so that each slice of a lane begins where the last one ended or later.

    Args:
        thread: the lanes, in ascending order.
        start: starts, ascending within a lane.
        stop: stops.
        ends: where each lane's last slice ended before these; brought up to date.
    """
    bounds = np.flatnonzero(np.diff(thread, prepend=-1, append=-1))
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        lane = int(thread[first])
        before = np.concatenate(([ends.get(lane, start[first])], stop[first : last - 1]))
        mine = slice(first, last)
        start[mine] = np.maximum(start[mine], np.maximum.accumulate(before))
        stop[mine] = np.maximum(start[mine], stop[mine])
        ends[lane] = int(stop[last - 1])


_FRACTIONS = pa.array([f".{n:03d}" for n in range(1000)])


def _micros(ns: _Ints) -> tuple[pa.Array, pa.Array]:
    """Return microseconds as text, exact to the nanosecond: what stands before the point, and the rest."""
    whole, rest = np.divmod(ns, 1000)
    return pa.array(whole).cast(pa.string()), _FRACTIONS.take(pa.array(rest))


def _as_shown(ns: _Ints) -> _Ints:
    """Return the nanoseconds the viewer makes of a time: a double of microseconds, times 1000."""
    if not ns.size or ns.max() < _EXACT_NS:
        return ns
    micros = pc.binary_join_element_wise(*_micros(ns), "").cast(pa.float64())
    shown: _Ints = np.rint(micros.to_numpy() * 1000).astype(np.int64)
    return shown


def _bytes_of(texts: pa.Array) -> memoryview:
    """Return all texts joined: in Arrow's memory they already stand one after the other."""
    _, offsets, content = texts.buffers()
    length = int(np.frombuffer(offsets, np.int32)[len(texts)])
    return memoryview(content)[:length]
