"""Calls to `sys.setswitchinterval` while they are recorded."""

import sys

import pytest

from gilscope.record.intervalcalls import IntervalCalls


@pytest.fixture
def recorded():
    return []


@pytest.fixture
def calls(recorded):
    before, original = sys.getswitchinterval(), sys.setswitchinterval
    calls = IntervalCalls(lambda *row: recorded.append(row))
    calls.install()
    yield calls
    calls.remove()
    sys.setswitchinterval = original
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("calls")
def test_a_call_is_recorded_with_its_line(recorded):
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.25)
    line = sys._getframe().f_lineno - 1
    assert recorded == [(before, 0.25, __file__, line)]
    assert sys.getswitchinterval() == 0.25


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize("bad", ["5 ms", -1.0])
def test_a_call_that_fails_raises_as_before_and_is_not_recorded(recorded, bad):
    with pytest.raises((TypeError, ValueError)):
        sys.setswitchinterval(bad)
    assert recorded == []


@pytest.mark.usefixtures("calls")
def test_a_file_name_that_is_not_utf8_is_escaped(recorded):
    exec(compile("import sys; sys.setswitchinterval(0.25)", "half \ud800.py", "exec"))
    assert recorded[0][2:] == ("half \\ud800.py", 1)


def test_it_looks_like_the_original(calls):
    wrapper = sys.setswitchinterval
    calls.remove()
    assert wrapper is not sys.setswitchinterval
    assert (wrapper.__doc__, wrapper.__name__) == (sys.setswitchinterval.__doc__, "setswitchinterval")
    assert wrapper.__module__ == "sys"


def test_a_replacement_of_another_tool_stays_and_still_works(calls, recorded):
    ours = sys.setswitchinterval

    def theirs(interval):
        ours(interval)

    sys.setswitchinterval = theirs
    calls.remove()
    assert sys.setswitchinterval is theirs
    theirs(0.25)
    assert (sys.getswitchinterval(), recorded) == (0.25, [])
