"""What the native core refuses: with a message, an exception of the right type, and nothing left behind."""

import sys

import pytest

from gilscope import _core

pytestmark = [pytest.mark.clock, pytest.mark.per_build]

PERIOD_NS = 10_000_000


def start(path) -> None:
    _core.start(path, exact=True, period_ns=PERIOD_NS)


@pytest.fixture
def recording(tmp_path):
    start(tmp_path / "spool")
    yield
    _core.stop()


def test_a_second_recording(recording, tmp_path):
    with pytest.raises(RuntimeError, match="a recording is active"):
        start(tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_proving_while_recording(recording):
    with pytest.raises(RuntimeError, match="a recording is active"):
        _core.prove(exact=True)


def test_measuring_while_recording(recording):
    with pytest.raises(RuntimeError, match="event_cost needs"):
        _core.event_cost(10)


def test_a_second_watch():
    number, nowhere = _core.watch_begin(10**12, 0)
    assert nowhere == ""
    with pytest.raises(RuntimeError, match="a watch is on"):
        _core.watch_begin(10**12, 0)
    _core.watch_end(number + 1)
    assert _core.watch_counts(number) == (0, 0)
    assert _core.watch_counts(number + 1) is None
    _core.watch_end(number)
    assert _core.watch_take(number, 0) == []


def test_a_spool_that_cannot_be_made(tmp_path):
    with pytest.raises(FileNotFoundError) as refused:
        start(tmp_path / "none" / "spool")
    assert refused.value.filename == str(tmp_path / "none" / "spool")

    start(tmp_path / "spool")
    assert _core.stop()["error"] == 0


def test_ending_what_has_not_begun():
    with pytest.raises(RuntimeError, match="no recording is active"):
        _core.stop()


def test_reports_without_a_recording_do_nothing():
    assert _core.name_thread(1, 2, "name") is None
    assert _core.note_interval(0.005, 0.001, "file.py", 3) is None


@pytest.mark.parametrize("n", [0, -1])
def test_a_cost_of_nothing(n):
    with pytest.raises(RuntimeError, match="event_cost needs n > 0"):
        _core.event_cost(n)


@pytest.mark.parametrize(
    "call",
    [
        _core.start,
        lambda: _core.prove(exact=True, watch=True),
        lambda: _core.name_thread("1", 2, "name"),
        lambda: _core.note_interval("slow", 0.001, "file.py", 3),
        lambda: _core.event_cost("many"),
        lambda: _core.watch_begin("soon", 0),
        lambda: _core.watch_end(None),
        lambda: _core.watch_take(1),
        lambda: _core.watch_counts("all"),
    ],
)
def test_arguments_of_another_kind(call):
    with pytest.raises(TypeError):
        call()


def test_an_interpreter_that_says_something_else_of_its_interval(monkeypatch):
    monkeypatch.setattr(sys, "getswitchinterval", lambda: 0.123)
    with pytest.raises(_core.LayoutError, match="interval"):
        _core.prove(exact=True)


def test_an_interpreter_without_an_interval(monkeypatch):
    # What looks for leftovers after each test needs it, and comes before this is undone.
    with monkeypatch.context() as without:
        without.delattr(sys, "getswitchinterval")
        with pytest.raises(_core.LayoutError, match="getswitchinterval is missing"):
            _core.prove(exact=True)
        without.setattr(sys, "getswitchinterval", lambda: "soon", raising=False)
        with pytest.raises(TypeError):
            _core.prove(exact=True)
