"""The errors and warnings of gilscope: one base class, one child for each thing a user can act on.

A message states what happened, what was expected and what to do next.
"""

from __future__ import annotations

import os
import sys
import warnings

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from types import FrameType

__all__ = [
    "EdgesUnavailableError",
    "GilscopeError",
    "OptionError",
    "SweepError",
    "TraceActiveError",
    "TraceExistsError",
    "TraceFormatError",
    "TraceStateError",
    "TraceWriteError",
    "UnsupportedInterpreterError",
    "UnsupportedPlatformError",
]


class GilscopeError(Exception):
    """Base class of every error that gilscope raises on purpose.

    Example:
        >>> import gilscope
        >>> try:
        ...     gilscope.load("no-such.gilscope")
        ... except gilscope.GilscopeError as error:
        ...     print(type(error).__name__)
        TraceFormatError
    """


class OptionError(GilscopeError, ValueError):
    """An argument has a value that gilscope cannot use (a period of zero, unknown edges)."""


class TraceActiveError(GilscopeError, RuntimeError):
    """A second trace or watch was started while one is active in this process."""


class TraceStateError(GilscopeError, RuntimeError):
    """A trace was read that is not finished, or never was recorded."""


class TraceExistsError(GilscopeError, FileExistsError):
    """The path given for a trace exists, and ``overwrite=True`` was not given."""


class TraceWriteError(GilscopeError, OSError):
    """A trace or another file cannot be written to its path."""


class TraceFormatError(GilscopeError, ValueError):
    """A path holds no trace, or a damaged one."""


class EdgesUnavailableError(GilscopeError, RuntimeError):
    """``edges="exact"``, sampled edges, or a watch is not available in this process."""


class UnsupportedInterpreterError(GilscopeError, RuntimeError):
    """The interpreter has an unknown layout or no GIL to trace, or gilscope's core is not built for it."""


class SweepError(GilscopeError, RuntimeError):
    """A run of a sweep failed, or a sweep has too few runs for a result.

    Args:
        message: which run, and why.
        sweep: the `gilscope.sweeping.sweeps.Sweep` with the runs that were done.
    """

    def __init__(self, message: str, sweep: object = None) -> None:
        super().__init__(message)
        self.sweep = sweep


class UnsupportedPlatformError(GilscopeError, RuntimeError):
    """A trace was begun on an operating system other than Linux."""


def warn_user(message: str) -> None:
    """Emit a RuntimeWarning that names the line of the user's program which called gilscope.

    That is the innermost frame outside of gilscope and of VizTracer, which calls its plugins.
    """
    ours = _package_folders()
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(ours):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, RuntimeWarning, stacklevel=level)


def _package_folders() -> tuple[str, ...]:
    files = [__file__, getattr(sys.modules.get("viztracer"), "__file__", None)]
    return tuple(os.path.dirname(file) + os.sep for file in files if file)
