"""Legal sequences of GIL events, drawn by hypothesis: what CPython's take_gil and drop_gil can do."""

from hypothesis import strategies as st

from gilscope.convert.spool import ACQUIRE, DROP_REQUEST, FORCED, RELEASE, REQUEST
from tests.support.oracles.transitions import Event


@st.composite
def events(draw, most: int = 60) -> list[Event]:
    """Draw events of up to six threads; thread 0 holds the GIL from time 0."""
    n_threads = draw(st.integers(1, 6))
    out: list[Event] = [(ACQUIRE, 0, 0)]
    time, holder, waiting = 0, 0, set()
    dropped_by: set[int] = set()
    switching: int | None = None  # a releaser that may still say that its release was forced
    for _ in range(draw(st.integers(0, most))):
        time += draw(st.integers(0, 3) | st.integers(0, 10_000_000))
        off = [t for t in range(n_threads) if t != holder and t not in waiting]
        choices = []
        if off and holder is not None:
            choices.append("request")
        if holder is not None:
            choices.append("release")
            if waiting:
                choices.append("drop")
        else:
            choices.append("acquire")
            if switching is not None and dropped_by:
                choices.append("forced")
        act = draw(st.sampled_from(choices))
        if act == "request":
            thread = draw(st.sampled_from(off))
            waiting.add(thread)
            out.append((REQUEST, thread, time))
        elif act == "drop":
            thread = draw(st.sampled_from(sorted(waiting)))
            dropped_by.add(thread)
            out.append((DROP_REQUEST, thread, time))
        elif act == "release":
            out.append((RELEASE, holder, time))
            holder, switching = None, holder
        elif act == "forced":
            out.append((FORCED, switching, time))
            switching = None
        else:
            holder = draw(st.sampled_from(range(n_threads)))
            waiting.discard(holder)
            dropped_by.clear()
            out.append((ACQUIRE, holder, time))
    return out
