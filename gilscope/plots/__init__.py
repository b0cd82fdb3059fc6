"""Pictures of a trace, drawn with matplotlib (``pip install 'gilscope[plot]'``).

Each function takes what the helpers of `gilscope.analysis` take and returns a matplotlib ``Axes``. Without
``ax`` it makes a new figure without pyplot and its backend: ``ax.figure.savefig("picture.png")`` writes it.
Pass ``ax=pyplot.gca()`` to see it in a window or notebook.

Colours are those of Okabe and Ito, which colour-blind people can distinguish; run, wait, off and overhead
have the same colour in every picture.
"""

from gilscope.plots.canvas import (
    COLORS,
    INTERVAL_COLOR,
    MOST_LANES,
    OFF_COLOR,
    OVERHEAD_COLOR,
    RUN_COLOR,
    WAIT_COLOR,
    available,
)
from gilscope.plots.lanes import MOST_BARS, MOST_LINES, timeline
from gilscope.plots.latency import handoff_latency
from gilscope.plots.shares import MOST_WINDOWS, threads, usage
from gilscope.plots.sweeps import sweep

__all__ = [
    "COLORS",
    "INTERVAL_COLOR",
    "MOST_BARS",
    "MOST_LANES",
    "MOST_LINES",
    "MOST_WINDOWS",
    "OFF_COLOR",
    "OVERHEAD_COLOR",
    "RUN_COLOR",
    "WAIT_COLOR",
    "available",
    "handoff_latency",
    "sweep",
    "threads",
    "timeline",
    "usage",
]
