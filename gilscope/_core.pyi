import os
from types import CodeType
from typing import TypeAlias, TypedDict, type_check_only

@type_check_only
class Started(TypedDict):
    recording: int
    clock: str
    no_sites: str

@type_check_only
class Stopped(TypedDict):
    spool_bytes: int
    sampler_cpu_ns: int
    error: int
    hooks_stayed: bool
    gils_listed: bool
    gils_missed: int
    sites_missed: int
    sites_unread: int

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

# Unix time of its end and length in ns, ident and native id of its thread, idents of the threads that waited,
# and the stack, innermost first: code objects and offsets of instructions.
_TakenHold: TypeAlias = tuple[int, int, int, int, list[int], list[tuple[CodeType, int]]]

class LayoutError(RuntimeError): ...
class HooksError(RuntimeError): ...
class StatesError(RuntimeError): ...

def start(
    spool: str | os.PathLike[str],
    exact: bool,
    period_ns: int,
    whole_over_ns: int | None = None,
    wanted: str | os.PathLike[str] | None = None,
    states: bool = False,
) -> Started: ...
def stop() -> Stopped: ...
def flush() -> None: ...
def prove(exact: bool) -> Proof: ...
def name_thread(native_id: int, ident: int, name: str, /) -> None: ...
def note_interval(before: float, after: float, file: str, line: int, /) -> None: ...
def mark(recording: int, name: bytes, /) -> None: ...
def region_begin(recording: int, name: bytes, /) -> int: ...
def region_end(instance: int, /) -> None: ...
def active() -> bool: ...
def watch_begin(over_ns: int, watcher: int, /) -> tuple[int, str]: ...
def watch_end(number: int, /) -> None: ...
def watch_take(number: int, not_before_ns: int, /) -> list[_TakenHold]: ...
def watch_counts(number: int, /) -> tuple[int, int] | None: ...
def event_cost(n: int, /) -> Cost: ...
