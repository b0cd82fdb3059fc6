"""Tells the recorder of every call to `sys.setswitchinterval` while a trace is on."""

from __future__ import annotations

import sys
from collections.abc import Callable

Tell = Callable[[float, float, str, int], None]


class SwitchWatch:
    """Stands in for `sys.setswitchinterval` and tells who calls it.

    A reference to the function that was taken before goes past it; the change is then seen at the next tick.

    Args:
        tell: called with the interval before and after in seconds, and the caller's file and line.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._original = sys.setswitchinterval

        def setswitchinterval(interval: float, /) -> None:
            before = sys.getswitchinterval()
            self._original(interval)
            caller = sys._getframe(1)
            self._tell(before, sys.getswitchinterval(), *_place(caller.f_code.co_filename, caller.f_lineno))

        setswitchinterval.__doc__ = self._original.__doc__
        setswitchinterval.__module__ = "sys"
        self._wrapper = setswitchinterval

    def install(self) -> None:
        """Listen to calls."""
        sys.setswitchinterval = self._wrapper

    def remove(self) -> None:
        """Stop listening; where someone else has replaced the function since, theirs stays."""
        if sys.setswitchinterval is self._wrapper:
            sys.setswitchinterval = self._original
        self._tell = _to_nobody


def _place(file: str, line: int | None) -> tuple[str, int]:
    return file.encode("utf-8", "backslashreplace").decode(), line or 0


def _to_nobody(_before: float, _after: float, _file: str, _line: int) -> None:
    """Stand in for the recorder once the trace is over."""
