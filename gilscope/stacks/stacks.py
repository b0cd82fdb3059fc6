"""The stacks of a trace, and what each weighs for each thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gilscope.analysis.gils import Gil
from gilscope.analysis.observed import observe
from gilscope.analysis.places import sites_of
from gilscope.errors import OptionError
from gilscope.stacks import WEIGHTS
from gilscope.tables.rows import NO_SITE
from gilscope.tables.spans import Int
from gilscope.tables.stored import Tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.stacks import Weight

Frame = tuple[str, str | None, int | None]
"""Function, file and line."""

_NO_FRAME: Frame = ("(no Python frame)", None, None)


@dataclass(frozen=True)
class Stacks:
    """Frames, and for each thread the weight of each stack.

    Args:
        frames: the frame of each site, by its row; the last one stands for stacks without a frame.
        stacks: rows of sites, outermost first, of each stack that occurs.
        weights: nanoseconds, a row per thread, a column per stack.
        threads: their names.
    """

    frames: list[Frame]
    stacks: list[list[int]]
    weights: Int
    threads: list[str]

    def frames_of(self, stack: int) -> list[Frame]:
        """Return the frames of a stack, given its column, outermost first."""
        return [self.frames[site] for site in self.stacks[stack]]


def stacks_of(tables: Tables, weight: Weight) -> Stacks:
    """Return the stacks of a trace and what they weigh.

    Args:
        tables: a finished trace.
        weight: a key of `gilscope.stacks.WEIGHTS`.

    Raises:
        OptionError: if the weight is unknown, or the trace has no sites.
    """
    if weight not in WEIGHTS:
        raise OptionError(f"weight must be one of {', '.join(map(repr, WEIGHTS))}, not {weight!r}")
    trace = observe(tables)
    sites = sites_of(trace)
    parts = [_weighted(gil, weight) for gil in trace.gils]
    thread, site, ns = (np.concatenate(column) for column in zip(*parts, strict=True))
    used, column = np.unique(site[ns > 0], return_inverse=True)
    weights = np.zeros((len(trace.names), len(used)), np.int64)
    np.add.at(weights, (thread[ns > 0], column), ns[ns > 0])
    parents = [NO_SITE if p is None else p for p in sites["parent"].to_pylist()]
    columns = (sites[name].to_pylist() for name in ("function", "file", "line"))
    frames = [*zip(*columns, strict=True), _NO_FRAME]
    return Stacks(frames, [_stack(parents, s) for s in used.tolist()], weights, trace.names)


def _weighted(gil: Gil, weight: Weight) -> tuple[Int, Int, Int]:
    """Return thread, site and nanoseconds of each span that the weight counts."""
    spans = gil.waits if weight == "waited" else gil.runs
    ns = gil.waiting.within(spans.start, spans.end) if weight == "inflicted" else spans.duration
    return spans.thread.astype(np.int64), spans.sites.astype(np.int64), ns


def _stack(parents: list[int], site: int) -> list[int]:
    if site == NO_SITE:
        return [len(parents)]
    found = []
    while site != NO_SITE:
        found.append(site)
        site = parents[site]
    return found[::-1]
