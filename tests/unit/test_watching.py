"""How a watch reports long holds, and which arguments it refuses; the holds are made by hand."""

import logging
import math
import threading

import pytest

import gilscope
from gilscope import errors
from gilscope.record import session
from gilscope.watching import longholds
from gilscope.watching.longholds import MESSAGES_APART_NS, Calls, LongHold, Messages, Place

APP = Place("Shop.crunch", "/srv/app.py", 12)
MAIN = Place("main", "/srv/app.py", 90)


def hold(held_s=0.12, **changes) -> LongHold:
    known = {
        "time": 1.0,
        "held_s": held_s,
        "thread": "cpu",
        "native_id": 7,
        "waiters": ("io",),
        "stack": (APP, MAIN),
    }
    return LongHold(**known | changes)


# ---- refusals ----


@pytest.mark.parametrize("seconds", [0, -1, 0.0009, math.nan, math.inf, "50ms", None, True, 1e9])
def test_holds_that_are_refused(seconds):
    with pytest.raises(errors.OptionError, match=r"hold must be a number of seconds from 0\.001 to 3600"):
        gilscope.watch(seconds)


@pytest.mark.parametrize("callback", ["", "print", 5, ["log"], True])
def test_callbacks_that_are_refused(callback):
    with pytest.raises(errors.OptionError, match="callback must be 'log', 'dump', a function or None, not "):
        gilscope.watch(callback=callback)


def test_elsewhere_than_on_linux(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(errors.UnsupportedPlatformError, match="darwin"):
        gilscope.watch()


def test_without_a_gil(monkeypatch):
    monkeypatch.setattr(session, "gil_is_on", lambda: False)
    with pytest.raises(errors.UnsupportedInterpreterError, match="GIL off"):
        gilscope.watch()


# ---- text ----


def test_a_hold_as_text():
    assert str(hold(waiters=("io", "thread 99"))) == (
        "the GIL was held for 0.120 s by cpu in Shop.crunch (/srv/app.py:12) while io, thread 99 waited\n"
        "  called from main (/srv/app.py:90)"
    )
    assert str(hold(stack=())) == "the GIL was held for 0.120 s by cpu while io waited"


def test_lines_and_names_of_what_the_core_has_seen():
    def here():
        begun.set()
        return begun

    begun, code = threading.Event(), here.__code__
    begin, _, line = next(known for known in code.co_lines() if known[2] == code.co_firstlineno + 2)
    stack = [(code, begin), (code, -2), (code, 10_000)]
    found = longholds.describe((2_500_000_000, 60_000_000, 5, 77, [6, 7], stack), {5: "cpu", 6: "io"})
    assert (found.time, found.held_s, found.thread, found.native_id) == (2.5, 0.06, "cpu", 77)
    assert found.waiters == ("io", "thread 7")
    assert [place.line for place in found.stack] == [line, code.co_firstlineno, code.co_firstlineno]
    assert {(place.function, place.file) for place in found.stack} == {(code.co_qualname, __file__)}


def test_a_name_that_raises_costs_that_name_only():
    class Nameless(threading.Thread):
        @property
        def name(self):
            raise RuntimeError("no name")

        @name.setter
        def name(self, value):
            pass

    begun, go = threading.Event(), threading.Event()
    thread = Nameless(target=lambda: (begun.set(), go.wait()))
    thread.start()
    try:
        begun.wait()
        names = longholds.names_by_ident()
        assert thread.ident not in names
        assert names[threading.get_ident()] == threading.current_thread().name
    finally:
        go.set()
        thread.join()


# ---- messages ----


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.INFO, "gilscope.watch")
    return caplog


def test_the_longest_is_reported_and_the_others_are_counted(messages):
    dropped, now = [0], [5_000]
    write = Messages(lambda: dropped[0], dump=False, clock=lambda: now[0])

    assert write([hold(0.06)]) == 5_000 + MESSAGES_APART_NS
    assert write.suppressed == 0

    dropped[0], now[0] = 4, 9_000
    assert write([hold(0.06), hold(0.09), hold(0.07)]) == 9_000 + MESSAGES_APART_NS
    assert write.suppressed == 2

    write([hold(0.08)])  # what was dropped has been reported
    assert [record.long_hold.held_s for record in messages.records] == [0.06, 0.09, 0.08]
    assert [record.levelname for record in messages.records] == ["WARNING"] * 3
    first, second, third = messages.messages
    assert first == str(hold(0.06))
    assert second == f"{hold(0.09)}\n6 more since the last message"
    assert third == str(hold(0.08))


def test_a_percent_sign_is_no_format(messages):
    Messages(lambda: 0, dump=False)([hold(thread="100 %s")])
    assert "by 100 %s in" in messages.messages[0]


def test_a_dump_shows_all_threads_but_the_one_that_writes(messages):
    begun, go = threading.Event(), threading.Event()

    def stand_here():
        begun.set()
        go.wait()

    thread = threading.Thread(target=stand_here, name="standing")
    thread.start()
    try:
        begun.wait()
        writer = threading.Thread(target=Messages(lambda: 0, dump=True), args=([hold()],), name="writer")
        writer.start()
        writer.join()
    finally:
        go.set()
        thread.join()
    [text] = messages.messages
    found, _, stacks = text.partition("\nAll threads, a moment later:\n")
    assert found == str(hold())
    assert "standing:\n  File " in stacks
    assert "in stand_here" in stacks
    assert f"{threading.current_thread().name}:\n" in stacks
    assert "writer:\n" not in stacks


# ---- callbacks ----


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_a_callback_raises_is_logged_and_the_next_hold_is_reported(messages, kind):
    seen = []

    def fail(one):
        seen.append(one.held_s)
        raise kind("not today")

    assert Calls(fail)([hold(0.06), hold(0.07)]) == 0
    assert seen == [0.06, 0.07]
    assert [record.exc_info[0] for record in messages.records] == [kind, kind]
    assert "the callback of gilscope.watch() failed at this hold:\nthe GIL was held" in messages.messages[0]
