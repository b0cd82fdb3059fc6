"""Traces with marks, regions and threads of any names, drawn by hypothesis."""

from hypothesis import strategies as st

from tests.support.drawn.rows import Mark, Trace
from tests.support.drawn.traces import traces
from tests.support.oracles.sites import located

NAMES = (
    "",
    "work",
    "größer · 線程 🧵",
    'quote " and \\ back \\" slash',
    "tab\tline\nnull\x00del\x7f",
    "wait (holder:)",
    "f (x:1)",
    "):(:12)",
    "[{'traceEvents': [1]}]",
    '"ts":"time"',
    "\u2028\ufeff\U0010ffff",
)

names = st.sampled_from(NAMES) | st.text(max_size=8)


@st.composite
def marks(draw, threads: int, end: int) -> list[Mark]:
    """Draw marks and regions of threads: nested, touching, crossing, without length, of any name."""
    times = st.sampled_from(draw(st.lists(st.integers(0, end), min_size=1, max_size=6)))
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        thread, name = draw(st.integers(0, threads)), draw(names | st.none())
        start, stop = sorted((draw(times), draw(times)))
        region = draw(st.integers(0, 3)) > 0
        rows.append(Mark(thread, name, start, stop - start if region else None, draw(st.booleans())))
    return rows


@st.composite
def marked_traces(draw) -> Trace:
    """Draw a trace as `traces` does, with marks and regions, and with threads of any names."""
    trace = draw(traces() | traces().flatmap(located))
    trace = trace.but(sites=[s._replace(function=draw(names | st.just(s.function))) for s in trace.sites])
    threads = [t._replace(name=draw(names | st.just(t.name))) for t in trace.threads]
    mine = draw(marks(len(threads), trace.duration)) if threads else []
    return trace.but(threads=threads, marks=mine)
