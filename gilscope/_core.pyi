import os
from typing import TypedDict, type_check_only

@type_check_only
class Stopped(TypedDict):
    spool_bytes: int
    sampler_cpu_ns: int
    error: int
    hooks_stayed: bool
    gils_listed: bool
    gils_missed: int
    sites_missed: int

@type_check_only
class Proof(TypedDict):
    clock: str
    slots: list[int]
    requested_flag: bool

@type_check_only
class Cost(TypedDict):
    event_ns: float
    located_ns: float
    bare_call_ns: float
    clock_read_ns: float

class LayoutError(RuntimeError): ...
class ProbeError(RuntimeError): ...
class StatesError(RuntimeError): ...

def start(
    spool: str | os.PathLike[str],
    probe: bool,
    observe: bool,
    period_ns: int,
    whole_over_ns: int | None = None,
    wanted: str | os.PathLike[str] | None = None,
) -> tuple[int, str]: ...
def stop() -> Stopped: ...
def flush() -> None: ...
def prove(probe: bool, observe: bool) -> Proof: ...
def name_thread(native_id: int, ident: int, name: str, /) -> None: ...
def note_interval(before: float, after: float, file: str, line: int, /) -> None: ...
def mark(recording: int, name: bytes, /) -> None: ...
def region_begin(recording: int, name: bytes, /) -> int: ...
def region_end(instance: int, /) -> None: ...
def active() -> bool: ...
def event_cost(n: int, /) -> Cost: ...
