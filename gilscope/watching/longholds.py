"""Long holds of the GIL while a thread waited, and how a `gilscope.watch` reports them."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope._core import _TakenHold

log = logging.getLogger("gilscope.watch")

MESSAGES_APART_NS = 1_000_000_000


class Place(NamedTuple):
    """A line of code that a thread was running.

    Args:
        function: its qualified name.
        file: as its code object names it.
        line: counted from 1.
    """

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} ({self.file}:{self.line})"


@dataclass(frozen=True, slots=True)
class LongHold:
    """One long hold of the GIL for which another thread waited.

    Args:
        time: when it ended, in seconds of Unix time.
        held_s: seconds from the first wait seen for it to its end. It may have begun earlier: nothing is
            measured while no thread waits.
        thread: name of the thread that held it, or ``thread`` and its ident if `threading` has no name.
        native_id: of that thread.
        waiters: names of the threads that waited, at most 32.
        stack: of that thread at the release, innermost frame first, at most 64 frames; empty if lines of code
            cannot be read here, or the thread had no Python frame.

    Example:
        >>> hold = LongHold(0.0, 0.12, "cpu", 4301, ("io",), (Place("crunch", "app.py", 12),))
        >>> print(hold)
        the GIL was held for 0.120 s by cpu in crunch (app.py:12) while io waited
    """

    time: float
    held_s: float
    thread: str
    native_id: int
    waiters: tuple[str, ...]
    stack: tuple[Place, ...]

    def __str__(self) -> str:
        where = f" in {self.stack[0]}" if self.stack else ""
        waiters = ", ".join(self.waiters)
        text = f"the GIL was held for {self.held_s:.3f} s by {self.thread}{where} while {waiters} waited"
        return "\n".join([text, *(f"  called from {place}" for place in self.stack[1:])])


# ---- what is reported of a hold ----


def names_by_ident() -> dict[int, str]:
    """Return the names of the threads that live now, by ident."""
    names = {}
    for thread in threading.enumerate():
        try:  # a subclass may have a name that raises
            if thread.ident is not None:
                names[thread.ident] = str(thread.name)
        except Exception:
            continue
    return names


def _line(code: CodeType, offset: int) -> int:
    found = code.co_firstlineno
    for begin, end, line in code.co_lines():
        found = found if line is None else line  # an instruction without a line belongs to the line before
        if begin <= offset < end:
            return found
    return code.co_firstlineno


def describe(taken: _TakenHold, names: dict[int, str]) -> LongHold:
    """Return what the core has seen of a hold, with names and lines."""
    unix_ns, held_ns, ident, native_id, waiters, stack = taken

    def name(ident: int) -> str:
        return names.get(ident, f"thread {ident}")

    return LongHold(
        time=unix_ns / 1e9,
        held_s=held_ns / 1e9,
        thread=name(ident),
        native_id=native_id,
        waiters=tuple(map(name, waiters)),
        stack=tuple(Place(code.co_qualname, code.co_filename, _line(code, offset)) for code, offset in stack),
    )


def _stacks() -> str:
    """Return the stacks of all threads but this one, as tracebacks show them."""
    names, me = names_by_ident(), threading.get_ident()
    return "\n".join(
        f"{names.get(ident, f'thread {ident}')}:\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for ident, frame in sys._current_frames().items()
        if ident != me
    )


class Messages:
    """Writes messages about long holds to the log `gilscope.watch`, at most one per second.

    Args:
        dropped: returns the number of long holds that were lost so far.
        dump: add the stacks of all threads.
        clock: as `time.monotonic_ns`.
    """

    def __init__(
        self, dropped: Callable[[], int], *, dump: bool, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._dropped, self._dump, self._clock = dropped, dump, clock
        self._dropped_before = 0
        self.suppressed = 0

    def __call__(self, holds: list[LongHold]) -> int:
        """Write about the longest of these holds and the number of others; return when to call again."""
        longest = max(holds, key=lambda hold: hold.held_s)
        dropped = self._dropped()
        more = len(holds) - 1 + dropped - self._dropped_before
        self.suppressed += len(holds) - 1
        self._dropped_before = dropped
        text = str(longest)
        if more:
            text += f"\n{more} more since the last message"
        if self._dump:
            text += f"\nAll threads, a moment later:\n{_stacks()}"
        log.warning("%s", text, extra={"long_hold": longest})
        return self._clock() + MESSAGES_APART_NS


class Calls:
    """Calls a function with each long hold, and logs what it raises."""

    suppressed = 0

    def __init__(self, callback: Callable[[LongHold], object]) -> None:
        self._callback = callback

    def __call__(self, holds: list[LongHold]) -> int:
        """Call it with each of these holds; return when to call again: at once."""
        for hold in holds:
            try:
                self._callback(hold)
            except BaseException:  # also exceptions that end a test or a thread
                log.exception("the callback of gilscope.watch() failed at this hold:\n%s", hold)
        return 0
