"""The timelines of a process and its children for one stretch of time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gilscope.tables.processes import begins_ns, joined
from gilscope.tables.stored import Tables
from gilscope.viztracer.selection import Part, choose
from gilscope.viztracer.timeline import MOST_ARROWS, Flows, Timeline


def timelines(
    recording: Tables,
    window: tuple[float, float] | None,
    max_slices: int | None,
    flows: Flows = "auto",
    progress: Callable[[int], None] | None = None,
) -> list[Timeline]:
    """Return the timelines of a recording and of its children that were recorded in the part to show.

    Args:
        recording: a finished trace.
        window: first and last second to show, since the beginning of the trace; None for all of it.
        max_slices: the most intervals to show of all processes together; None for two million.
        flows: whether hand-offs are arrows; ``"auto"``: if there are at most 100,000 in all.
        progress: called after each step with the number of intervals read so far.

    Returns:
        The recording's own timeline first; its part describes what was left out of all.

    Raises:
        OptionError: if an argument cannot be used.
        TraceFormatError: if a recording is damaged.
    """
    recordings = [recording, *recording.children]
    part = choose(_as_one(recordings), window, max_slices)
    found, done = [], 0
    for one in recordings:
        inside = _part_of(one, begins_ns(recording, one), part)
        if inside is not None:
            found.append(Timeline(one, inside, flows, _after(done, progress)))
        done += one.intervals.num_rows
    if flows == "auto" and sum(timeline.handoffs for timeline in found) > MOST_ARROWS:
        for timeline in found:
            timeline.arrows = False
    return found


def _as_one(recordings: Sequence[Tables]) -> Tables:
    """Return tables with the intervals of all recordings, in the time of the first."""
    first, *children = recordings
    if not children:
        return first
    ends = [begins_ns(first, one) + int(one.metadata["duration_ns"]) for one in recordings]
    return Tables(None, {"duration_ns": max(ends)}, {"intervals": joined("intervals", recordings)})


def _part_of(one: Tables, begins: int, part: Part) -> Part | None:
    """Convert a part to the time of another recording; None if that one did not last into the part."""
    if not begins:
        return part
    duration = int(one.metadata["duration_ns"])
    start, end = max(part.start_ns - begins, 0), min(part.end_ns - begins, duration)
    return Part(start, end) if start <= end else None


def _after(done: int, progress: Callable[[int], None] | None) -> Callable[[int], None] | None:
    return None if progress is None else lambda rows: progress(done + rows)
