"""Which threads waited, given only their number: exact where there is no doubt, else right on average."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope.convert.spool import STATE_READY, STATE_RUN, STATE_WAIT
from gilscope.convert.waiters import WaiterChoice


def waits(choice, ticks):
    """Return for each tick the set of threads that waited; a tick is (waiters, {thread: state})."""
    rows = [(i, thread, what) for i, (_, states) in enumerate(ticks) for thread, what in states.items()]
    tick, thread, state = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    counts = np.array([n for n, _ in ticks], np.int64)
    chosen = choice.waits(tick, thread.astype(np.int32), state, counts)
    return [set(thread[chosen & (tick == i)].tolist()) for i in range(len(ticks))]


@pytest.mark.parametrize(
    ("waiters", "states", "expected"),
    [
        (0, {0: STATE_RUN, 1: STATE_READY}, set()),
        (1, {0: STATE_RUN, 1: STATE_READY}, {1}),
        (1, {0: STATE_RUN, 1: STATE_READY, 2: STATE_WAIT}, {2}),
        (2, {0: STATE_RUN, 1: STATE_READY, 2: STATE_WAIT}, {1, 2}),
        (3, {0: STATE_RUN, 1: STATE_READY, 2: STATE_WAIT}, {1, 2}),
        # It fell asleep after the count: no thread waited then.
        (0, {0: STATE_RUN, 1: STATE_WAIT}, set()),
    ],
)
def test_no_doubt(waiters, states, expected):
    assert waits(WaiterChoice(), [(waiters, states)]) == [expected]


tick = st.tuples(
    st.integers(0, 6),
    st.dictionaries(st.integers(0, 9), st.sampled_from([STATE_RUN, STATE_WAIT, STATE_READY]), min_size=1),
)


@given(st.lists(tick, min_size=1, max_size=30))
def test_as_many_as_were_counted_and_the_sleeping_first(ticks):
    for (counted, states), found in zip(ticks, waits(WaiterChoice(), ticks), strict=True):
        asleep = {thread for thread, state in states.items() if state == STATE_WAIT}
        ready = {thread for thread, state in states.items() if state == STATE_READY}
        assert found <= asleep | ready
        assert len(found) == min(counted, len(asleep | ready))


def test_doubt_is_settled_by_what_each_thread_showed_elsewhere():
    sure = [(1, {1: STATE_READY})] * 900 + [(0, {1: STATE_READY})] * 100  # nine to one
    sure += [(1, {2: STATE_READY})] * 500 + [(0, {2: STATE_READY})] * 500  # one to one
    doubtful = [(1, {1: STATE_READY, 2: STATE_READY})] * 4000
    found = waits(WaiterChoice(), sure + doubtful)[len(sure) :]
    share = sum(1 in thread for thread in found) / len(found)
    # Of two that wait with odds 9 and 1, and of which exactly one does, it is the first in 9 of 10
    # cases; five standard deviations of 4,000 draws.
    assert share == pytest.approx(0.9, abs=5 * (0.09 / 4000) ** 0.5)


def test_the_same_spool_gives_the_same_tables():
    ticks = [(1, {1: STATE_READY, 2: STATE_READY})] * 50
    assert waits(WaiterChoice(), ticks) == waits(WaiterChoice(), ticks)
