"""gilscope: which threads hold the GIL, which wait for it, and what each hand-off costs."""

from __future__ import annotations

from gilscope.errors import (
    EdgesUnavailableError,
    GilscopeError,
    OptionError,
    SweepError,
    TraceActiveError,
    TraceExistsError,
    TraceFormatError,
    TraceStateError,
    TraceWriteError,
    UnsupportedInterpreterError,
    UnsupportedPlatformError,
)
from gilscope.tracer import load, trace
from gilscope.traces import Trace

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any

    from gilscope import analysis, plots
    from gilscope.sweeping import sweep
    from gilscope.watching import watch

    __version__: str

__all__ = [
    "EdgesUnavailableError",
    "GilscopeError",
    "OptionError",
    "SweepError",
    "Trace",
    "TraceActiveError",
    "TraceExistsError",
    "TraceFormatError",
    "TraceStateError",
    "TraceWriteError",
    "UnsupportedInterpreterError",
    "UnsupportedPlatformError",
    "__version__",
    "analysis",
    "load",
    "plots",
    "sweep",
    "trace",
    "watch",
]


def __getattr__(name: str) -> Any:
    # Loaded when first used: they need pandas, or time to import.
    if name in ("analysis", "plots"):
        import importlib

        return importlib.import_module(f"gilscope.{name}")
    if name == "sweep":
        from gilscope.sweeping import sweep

        return sweep
    if name == "watch":
        from gilscope.watching import watch

        return watch
    if name == "__version__":
        from gilscope.tables.metadata import gilscope_version

        return gilscope_version()
    raise AttributeError(f"module 'gilscope' has no attribute {name!r}")
