"""Where records were lost: in the rows of ticks between the record before the loss and the one after it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gilscope.convert import spool
from gilscope.convert.ticks import Ticks


class Written:
    """A writer that keeps what it is given."""

    def __init__(self):
        self.rows = []

    def write(self, name, /, *, time_ns, late_ns, switches, dropped):
        assert name == "samples"
        columns = (time_ns, late_ns, switches, dropped)
        self.rows += zip(*(column.tolist() for column in columns), strict=True)


def run(chunks, end):
    """Feed chunks of ticks (times) and records (time, how many were lost before it); return the rows."""
    written = Written()
    ticks = Ticks(written)
    complete = 0
    for times, records in chunks:
        kind = np.array([spool.LOST if n else spool.RELEASE for _, n in records], np.uint8)
        arg = np.array([n for _, n in records], np.uint64)
        complete = records[-1][0] if records else complete
        time = np.array([t for t, _ in records], np.int64)
        ticks.add([(t, 0, 1) for t in times], kind, arg, time, complete)
    added = ticks.close(end, 1)
    return [(time, dropped) for time, _, _, dropped in written.rows], added


def test_a_late_tick_tells_of_what_was_lost_before_it_though_the_loss_is_told_after_it():
    late = [([10, 500, 510], [(5, 0), (12, 0), (20, 0), (502, 1000), (503, 0)])]
    assert run(late, 600) == ([(10, 0), (500, 999), (510, 1)], False)


def test_the_same_when_the_rows_come_in_an_earlier_chunk():
    chunks = [([10], [(5, 0)]), ([500], [(12, 0), (20, 0)]), ([], [(502, 1000)]), ([510], [(503, 0)])]
    assert run(chunks, 600) == ([(10, 0), (500, 999), (510, 1)], False)


def test_one_that_is_lost_in_the_time_of_many_ticks_is_lost_once():
    assert run([([10, 20, 40, 50], [(5, 0), (45, 1)])], 50) == ([(10, 0), (20, 0), (40, 1), (50, 0)], False)


def test_what_is_told_after_the_last_tick_has_a_row_of_its_own():
    assert run([([10], [(12, 0), (30, 7)])], 40) == ([(10, 0), (40, 7)], True)
    assert run([([10], [(8, 0), (30, 7)])], 40) == ([(10, 1), (40, 6)], True)
    assert run([([], [(30, 7)])], 40) == ([(40, 7)], True)


def test_without_losses_nothing_is_added():
    assert run([([10, 20], [(12, 0)])], 40) == ([(10, 0), (20, 0)], False)
    assert run([], 40) == ([], False)


@st.composite
def recordings(draw):
    """Ticks and records in order of time, cut into chunks."""
    chunks, now = [], 0
    for _ in range(draw(st.integers(1, 5))):
        times, records = [], []
        for tick in draw(st.lists(st.booleans(), max_size=8)):
            now += draw(st.integers(0, 5))
            if tick:
                times.append(now)
            else:
                records.append((now, draw(st.sampled_from([0, 0, 1, 2, 50]))))
        chunks.append((times, records))
    return chunks, now + draw(st.integers(0, 5))


@given(recordings())
def test_every_loss_is_counted_once_where_it_happened(recording):
    chunks, end = recording
    rows, added = run(chunks, end)

    times = [t for times, _ in chunks for t in times]
    records = [r for _, records in chunks for r in records]
    assert [t for t, _ in rows][: len(times)] == times
    assert len(rows) == len(times) + added
    assert sum(dropped for _, dropped in rows) == sum(n for _, n in records)
    whole = [([*times], [*records])]
    assert run(whole, end) == (rows, added)  # where it is cut makes no difference

    spans = [(a, b) for (a, _), (b, _) in zip([(0, 0), *rows], rows, strict=False)]
    before = [0, *(t for t, _ in records)]
    losses = [(p, t) for p, (t, n) in zip(before, records, strict=False) if n]
    for (begin, until), (_, dropped) in zip(spans, rows, strict=True):
        touched = any(begin <= q and p <= until for p, q in losses)
        assert touched or not dropped
