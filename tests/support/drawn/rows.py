"""A trace in memory as tests make them: its tables as lists of tuples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa

from gilscope.tables import schema
from gilscope.tables.stored import Tables


class Thread(NamedTuple):
    thread: int
    name: str | None
    first_ns: int | None
    last_ns: int | None
    cpu_ns: int | None = None
    interpreter: int | None = None
    native_id: int | None = None


class Interval(NamedTuple):
    thread: int
    interpreter: int
    state: str
    start_ns: int
    duration_ns: int
    release: str | None
    site: int | None = None


class Handoff(NamedTuple):
    interpreter: int
    from_thread: int
    to_thread: int
    request_ns: int | None
    drop_request_ns: int | None
    release_ns: int
    acquire_ns: int
    gap_ns: int | None
    forced: bool | None
    waiters: int


class SwitchInterval(NamedTuple):
    time_ns: int
    interval_ns: int
    thread: int | None = None
    source: str = "start"


class Sample(NamedTuple):
    time_ns: int
    late_ns: int = 0
    switches: int = 0
    dropped: int = 0


class Mark(NamedTuple):
    thread: int
    name: str
    start_ns: int
    duration_ns: int | None = None
    complete: bool = True


class Site(NamedTuple):
    site: int
    parent: int | None
    function: str
    file: str | None
    line: int | None
    first_line: int | None


@dataclass
class Trace:
    """A trace in memory: its tables as lists of tuples, and what its metadata says."""

    duration: int
    threads: list[Thread] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    handoffs: list[Handoff] = field(default_factory=list)
    switch_intervals: list[SwitchInterval] = field(default_factory=lambda: [SwitchInterval(0, 5_000_000)])
    samples: list[Sample] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    edges: str = "exact"
    sites: list[Site] = field(default_factory=list)
    library_paths: list[str] = field(default_factory=list)
    ticks: int = 0
    switches: int = 0
    sampler_cpu_ns: int | None = 0

    def but(self, **changes) -> Trace:
        """Return this trace with something else in it."""
        return replace(self, **changes)

    def tables(self) -> dict[str, pa.Table]:
        """Return the tables as Arrow has them."""
        return {
            name: pa.Table.from_pylist([row._asdict() for row in getattr(self, name)], schema=columns)
            for name, columns in schema.TABLES.items()
        }

    def recording(self, **more) -> Tables:
        """Return what gilscope would have recorded; more is added to its metadata."""
        metadata = {
            "edges": self.edges,
            "duration_ns": self.duration,
            "ticks": self.ticks,
            "switches": self.switches,
            "library_paths": self.library_paths,
        }
        if self.sampler_cpu_ns is not None:
            metadata["sampler_cpu_ns"] = self.sampler_cpu_ns
        return Tables(None, metadata | more, self.tables())
