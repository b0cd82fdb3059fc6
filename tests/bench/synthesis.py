"""Long spools for benchmarks: a real recording, repeated."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gilscope.convert import spool
from gilscope.convert.spool import BATCH, HEADER, Batch, SpoolReader
from tests.bench.common import recording, scratch
from tests.bench.workloads import run_for

_OF_TRANSITIONS = (spool.REQUEST, spool.ACQUIRE, spool.RELEASE, spool.DROP_REQUEST, spool.FORCED)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A recording taken apart, so that it can be written again and again, later each time.

    Args:
        header: the spool's header as it stands in the file.
        batches: all of them.
        span_stamp: by how much stamps go on from the first batch to the last.
        span_ns: the same in nanoseconds.
        switches: by how much the GIL's counter went on.
        transitions: how many there are.
        facts: what the recorder knew when the recording began, as in `metadata.json`.
    """

    header: bytes
    batches: list[Batch]
    span_stamp: int
    span_ns: int
    switches: int
    transitions: int
    facts: dict[str, Any]


def _kinds(records: npt.NDArray[np.void]) -> npt.NDArray[np.uint8]:
    return (records["word"] & np.uint64(31)).astype(np.uint8)


def read_pattern(path: Path, facts: dict[str, Any]) -> Pattern:
    """Read a spool to be repeated; its trace must begin and end with the same thread holding the GIL."""
    with SpoolReader(path) as reader:
        batches = list(reader.batches())
    first, last = batches[0], batches[-1]
    return Pattern(
        header=path.read_bytes()[: HEADER.itemsize],
        batches=batches,
        span_stamp=last.stamp - first.stamp,
        span_ns=last.monotonic_ns - first.monotonic_ns,
        switches=last.switches - first.switches,
        transitions=sum(int(np.isin(_kinds(b.records), _OF_TRANSITIONS).sum()) for b in batches),
        facts=facts,
    )


def _part(records: npt.NDArray[np.void], *, first: bool, last: bool) -> npt.NDArray[np.void]:
    """Return the records that belong into a copy: only the first begins, only the last ends."""
    kind = _kinds(records)
    kept = np.isin(kind, _OF_TRANSITIONS)
    if first:
        kept |= kind != spool.END
    if last:
        kept |= kind == spool.END
    return records[kept]


def _batch_bytes(
    batch: Batch, records: npt.NDArray[np.void], copy: int, pattern: Pattern, *, last: bool
) -> bytes:
    """Return a batch as it stands in a file, moved on by ``copy`` spans."""
    moved = records.copy()
    moved["stamp"] += np.uint64(copy * pattern.span_stamp)
    head = np.zeros(1, BATCH)
    values: dict[str, Any] = {
        "magic": spool.BATCH_MAGIC,
        "stamp": batch.stamp + copy * pattern.span_stamp,
        "monotonic_ns": batch.monotonic_ns + copy * pattern.span_ns,
        "late_ns": batch.late_ns,
        "switches": batch.switches + copy * pattern.switches,
        "interval_us": batch.interval_us,
        "pair_error_ns": batch.pair_error_ns,
        "records": len(moved),
        "cpus": len(batch.cpus),
        "states": len(batch.states),
        "flags": (spool.TICK if batch.tick else 0) | (spool.LAST if last else 0),
    }
    for key, value in values.items():
        head[key] = value
    payload = moved.tobytes() + batch.cpus.tobytes() + batch.states.tobytes()
    head["crc"] = zlib.crc32(payload, zlib.crc32(head.tobytes()[8:]))
    return bytes(head.tobytes() + payload)


def repeat(pattern: Pattern, path: Path, transitions: int) -> int:
    """Write a spool of at least this many transitions and return their number."""
    copies = max(-(-transitions // pattern.transitions), 1)
    parts = {
        (first, last): [_part(b.records, first=first, last=last) for b in pattern.batches]
        for first in (False, True)
        for last in (False, True)
    }
    with path.open("wb") as file:
        file.write(pattern.header)
        for copy in range(copies):
            final = copy == copies - 1
            for batch, records in zip(pattern.batches, parts[copy == 0, final], strict=True):
                ends = batch.last and final
                file.write(_batch_bytes(batch, records, copy, pattern, last=ends))
    return copies * pattern.transitions


def record_pattern(name: str, seconds: float) -> Pattern:
    """Record a workload and return it as a pattern."""
    with scratch() as folder:
        with recording(folder) as recorded:
            run_for(name, seconds)
        return read_pattern(recorded.spool, recorded.facts)
