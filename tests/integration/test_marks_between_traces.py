"""A mark is in the trace that it was made for, at whatever step another thread ends that one."""

import sys

import numpy as np
import pytest

import gilscope
from gilscope import _core
from gilscope.convert.spool import MARK, REGION, SpoolReader


def mark(t):
    t.mark("mine")


def region(t):
    with t.region("mine"):
        pass


class Switch:
    """At one step of gilscope's own, in what runs next, a trace ends and another begins.

    Each instruction and each call is a step. Another thread could do that there: while a trace or profile
    function handles a step, the GIL may change hands.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.first, self.second = gilscope.trace(None), gilscope.trace(None)

    def step(self, frame, event, arg):
        if not frame.f_globals["__name__"].startswith("gilscope"):
            return self.step
        frame.f_trace_opcodes = True
        self.steps += 1
        if self.steps == self.at:
            self.first.__exit__(None, None, None)
            self.after = self.second.__enter__()
        return self.step

    def run(self, act):
        """Return the marks of both traces; None when there was no such step."""
        self.before = self.first.__enter__()
        tracing, profiling = sys.gettrace(), sys.getprofile()
        sys.settrace(self.step)
        sys.setprofile(self.step)
        try:
            act(self.before)
        finally:
            sys.settrace(tracing)
            sys.setprofile(profiling)
            switched = self.steps >= self.at
            (self.second if switched else self.first).__exit__(None, None, None)
        if not switched:
            return None
        return [[row["name"] for row in t.marks.to_pylist()] for t in (self.before, self.after)]


@pytest.mark.parametrize("act", [mark, region])
def test_it_is_there_or_nowhere(act):
    found = []
    while (marks := Switch(len(found) + 1).run(act)) is not None:
        found.append(marks)
    assert len(found) > 5
    assert [after for _, after in found] == [[]] * len(found)
    first, last = found[0][0], found[-1][0]
    assert (first, last) == ([], ["mine"])


def test_the_core_knows_one_recording_from_another(tmp_path):
    numbers = []
    for name in "ab":
        numbers.append(_core.start(tmp_path / name, exact=True, period_ns=10_000_000)["recording"])
        try:
            for number in (0, *numbers, numbers[-1] + 1, numbers[-1] + (1 << 32)):
                _core.mark(number, f"mark {number} ".encode())
                assert (_core.region_begin(number, b"") > 0) == (number == numbers[-1])
        finally:
            _core.stop()
    assert len(set(numbers)) == 2
    for name in "ab":
        with SpoolReader(tmp_path / name) as reader:
            records = np.concatenate([batch.records for batch in reader.batches()])
        kinds = (records["word"] & 31).tolist()
        assert (kinds.count(MARK), kinds.count(REGION)) == (1, 1)
    for number in (0, *numbers):
        assert _core.mark(number, b"x") is None
        assert _core.region_begin(number, b"x") == 0
