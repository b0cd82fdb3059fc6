"""Who gets the GIL next is as fair with the hooks as without: turns are counted, not time."""

import sys
from contextlib import nullcontext

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.programs import take_turns

pytestmark = pytest.mark.clock

NAMES, TURNS = tuple("abcd"), 600


@pytest.mark.parametrize("traced", [False, True], ids=["bare", "traced"])
def test_four_busy_threads_each_get_their_turns(traced):
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        with gilscope.trace(None, quiet=True) if traced else nullcontext() as t:
            turns = take_turns(NAMES, TURNS)
    finally:
        sys.setswitchinterval(interval)

    # A thread that is forced out waits for another. Were that one drawn by lot, a thread would have 150 of
    # 600 turns, give or take sqrt(600 * 1/4 * 3/4) = 11, and half of them less than once in 10^9 runs.
    assert min(turns) > TURNS / len(NAMES) / 2, turns
    if traced:
        invariants.check(t)
        runs = t.intervals.to_pandas().query("state == 'run'").groupby("thread").size()
        names = t.threads.to_pandas().set_index("name")["thread"]
        # The trace saw each turn, and those that ended before the thread came to look.
        assert all(runs[names[name]] >= mine for name, mine in zip(NAMES, turns, strict=True))
        # Most were asked for: it is force that takes the GIL from a thread that computes.
        assert t.handoffs.to_pandas()["forced"].sum() > TURNS / 2
