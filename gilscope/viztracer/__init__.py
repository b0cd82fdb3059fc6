"""The timeline: a recording as the Chrome-trace JSON that VizTracer's viewer opens, alone or merged.

Each thread has a lane of ``run`` and ``wait`` slices, and each GIL a lane that shows its holder. Lanes are
virtual threads, with tids that no Linux thread can have, so a merged report never has a GIL slice between
function slices.

Times are ``CLOCK_MONOTONIC`` in microseconds, as in VizTracer's reports, printed from whole nanoseconds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.viztracer.files import export
    from gilscope.viztracer.lanes import FIRST_TID
    from gilscope.viztracer.merge import merge_into
    from gilscope.viztracer.selection import MOST_SLICES

__all__ = ["FIRST_TID", "MOST_SLICES", "export", "merge_into"]

_MODULES = {
    "FIRST_TID": "lanes",
    "MOST_SLICES": "selection",
    "export": "files",
    "merge_into": "merge",
}


def __getattr__(name: str) -> object:
    # Loaded when first used: they import pyarrow, which a trace that begins beside a VizTracer must not do.
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module(f"gilscope.viztracer.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'gilscope.viztracer' has no attribute {name!r}")
