"""Records every call to `sys.setswitchinterval` during a trace."""

from __future__ import annotations

import sys
from collections.abc import Callable

RecordCall = Callable[[float, float, str, int], None]


class IntervalCalls:
    """Replaces `sys.setswitchinterval` by a function that also records the caller.

    Calls through a reference that was taken earlier are not recorded; the next tick sees their effect.

    Args:
        record: called with the interval before and after in seconds, and the caller's file and line.
    """

    def __init__(self, record: RecordCall) -> None:
        self._record = record
        self._original = sys.setswitchinterval

        def setswitchinterval(interval: float, /) -> None:
            before = sys.getswitchinterval()
            self._original(interval)
            caller = sys._getframe(1)
            self._record(before, sys.getswitchinterval(), *_place(caller.f_code.co_filename, caller.f_lineno))

        setswitchinterval.__doc__ = self._original.__doc__
        setswitchinterval.__module__ = "sys"
        self._wrapper = setswitchinterval

    def install(self) -> None:
        """Record calls from now on."""
        sys.setswitchinterval = self._wrapper

    def remove(self) -> None:
        """Record no more calls. If another tool has replaced the function since, its replacement stays."""
        if sys.setswitchinterval is self._wrapper:
            sys.setswitchinterval = self._original
        self._record = _ignore


def _place(file: str, line: int | None) -> tuple[str, int]:
    return file.encode("utf-8", "backslashreplace").decode(), line or 0


def _ignore(_before: float, _after: float, _file: str, _line: int) -> None:
    """Replaces the recorder's function after the trace, for wrappers that other tools still call."""
