"""The slow and obvious twin of `gilscope.convert.transitions`: one event at a time, plain lists and dicts."""

from dataclasses import dataclass, field

from gilscope.convert.spool import ACQUIRE, DROP_REQUEST, FORCED, RELEASE, REQUEST

Event = tuple[int, int, int]
"""Kind, thread, time in nanoseconds."""


@dataclass
class Folded:
    """What a sequence of events means; rows are plain tuples."""

    intervals: list[tuple] = field(default_factory=list)  # thread, state, start, duration, release
    sites: list[int | None] = field(default_factory=list)  # of each: position of the release it is named by
    handoffs: list[tuple] = field(default_factory=list)
    # from, to, request, drop_request, release, acquire, forced, waiters


def fold(events: list[Event], end: int) -> Folded:
    """Walk through legal events of one GIL and say what happened, up to ``end``."""
    folded = Folded()
    asked: dict[int, int] = {}
    holder, held_since = None, 0
    last: dict | None = None  # the last hold that ended
    drops: list[tuple[int, int]] = []  # of the hold that is on, or ended last: thread, time
    left: dict[int, int] = {}  # where each thread last released
    asked_at: dict[int, int | None] = {}  # where it had last released when it asked
    for position, (kind, thread, time) in enumerate(events):
        if kind == REQUEST:
            asked[thread] = time
            asked_at[thread] = left.get(thread)
        elif kind == DROP_REQUEST:
            drops.append((thread, time))
        elif kind == FORCED:
            last["forced"] = True
        elif kind == RELEASE:
            if position % 4:  # each fourth position is outside all frames
                left[thread] = position
            last = {
                "site": left.get(thread),
                "thread": thread,
                "start": held_since,
                "time": time,
                "forced": bool(drops),
                "waiters": len(asked),
            }
            holder = None
        elif kind == ACQUIRE:
            request = asked.pop(thread, None)
            if request is not None:
                folded.intervals.append((thread, "wait", request, time - request, None))
                folded.sites.append(asked_at[thread])
            if last is not None:
                close(folded, last)
                if last["thread"] != thread:
                    first = next((t for asking, t in drops if asking == thread), None)
                    folded.handoffs.append(
                        (
                            last["thread"],
                            thread,
                            request,
                            first,
                            last["time"],
                            time,
                            last["forced"],
                            last["waiters"],
                        )
                    )
            holder, held_since, last, drops = thread, time, None, []
    if last is not None:
        close(folded, last)
    if holder is not None:
        folded.intervals.append((holder, "run", held_since, end - held_since, "open"))
        folded.sites.append(left.get(holder))
    for thread, request in asked.items():
        folded.intervals.append((thread, "wait", request, end - request, None))
        folded.sites.append(asked_at[thread])
    return folded


def close(folded: Folded, hold: dict) -> None:
    """Write the row of a hold that ended."""
    kind = "forced" if hold["forced"] else "voluntary"
    folded.intervals.append((hold["thread"], "run", hold["start"], hold["time"] - hold["start"], kind))
    folded.sites.append(hold["site"])
