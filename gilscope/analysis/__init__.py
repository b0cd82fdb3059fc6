"""Pure functions from a trace to a DataFrame: which threads ran and waited, and what the GIL cost them.

Each takes a trace, the path of one, or its tables (Arrow or pandas; several in a mapping by name). Columns
are the words of the README with a unit: ``_ns`` nanoseconds, ``_share`` a fraction of one. Thread columns
hold the thread's number, and ``..._name`` beside them its name.

Every helper leaves out the time in which transitions were lost; ``lost_ns`` of `overhead` is its length.

The figures of a trace with sampled edges are estimates: columns that end in ``_low`` and ``_high`` hold their
95 % interval. Its half-width is the sampling error by batch means over 20 windows of equal length (Student's
t), at least 3/n for n ticks (the bound for what n ticks never saw, Hanley and Lippman-Hand 1983), plus the
share of time in which the sampler itself was on a processor: it cannot see what it disturbs. Figures that
sampling cannot measure are null.
"""

from gilscope.analysis.comparison import compare
from gilscope.analysis.convoys import convoys
from gilscope.analysis.findings import findings
from gilscope.analysis.handoffs import handoffs
from gilscope.analysis.holds import blame, holds
from gilscope.analysis.overhead import overhead
from gilscope.analysis.sites import keeps_gil, sites
from gilscope.analysis.switchinterval import switch_interval
from gilscope.analysis.threads import threads
from gilscope.analysis.windows import fairness, timeline

__all__ = [
    "blame",
    "compare",
    "convoys",
    "fairness",
    "findings",
    "handoffs",
    "holds",
    "keeps_gil",
    "overhead",
    "sites",
    "switch_interval",
    "threads",
    "timeline",
]
