"""A watch on holds of known length and cause: C calls that keep the GIL while a thread waits for it."""

import logging
import os
import sys
import threading
import time
from pathlib import Path

import pytest

import gilscope
from gilscope import _core, errors
from tests.support import invariants
from tests.support.processes.interpreters import interpreters
from tests.support.processes.programs import HOLDING, python

pytestmark = [pytest.mark.clock, pytest.mark.per_build]

HELD_S = 0.1  # least time that a thread waits for the GIL in `Waiter.keep_waiting`


class Waiter:
    """A thread that comes back from a read when it is asked to, and then wants the GIL."""

    def __init__(self, folder) -> None:
        self._fifo = str(folder / "fifo")
        os.mkfifo(self._fifo)
        self._end = os.open(self._fifo, os.O_RDWR)
        self._back = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, name="the waiter", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while os.read(self._end, 1) == b"w":
            self._back.release()

    def keep_waiting(self, seconds: float = HELD_S) -> tuple[float, float]:
        """Keep the GIL in one C call, until the thread has waited for this long; return its begin and end.

        The call runs a shell, which reads from the kernel what the thread is doing: asleep in futex(2).
        """
        task = f"/proc/{os.getpid()}/task/{self.thread.native_id}/syscall"
        asleep = f"grep -qE '^(202|98) ' {task}"
        script = f"printf w >{self._fifo}; while ! {asleep}; do :; done; sleep {seconds}"
        begin = time.monotonic()
        assert HOLDING.system(script.encode()) == 0  # HELD HERE
        self._back.acquire()  # it has had the GIL
        return begin, time.monotonic()

    def end(self) -> None:
        os.write(self._end, b"e")
        self.thread.join()
        os.close(self._end)


SOURCE = Path(__file__).read_text(encoding="utf-8").splitlines()
HELD_LINE = next(n for n, line in enumerate(SOURCE, 1) if line.endswith("# HELD HERE"))


@pytest.fixture
def waiter(tmp_path):
    waiter = Waiter(tmp_path)
    yield waiter
    waiter.end()


class Reported:
    """A callback that can be waited for."""

    def __init__(self) -> None:
        self.holds = []
        self._more = threading.Semaphore(0)

    def __call__(self, hold) -> None:
        self.holds.append(hold)
        self._more.release()

    def next(self):
        self._more.acquire()
        return self.holds[-1]


def waits_of(waiter, t):
    """Return the intervals in which this thread waits."""
    threads, intervals = t.threads.to_pandas(), t.intervals.to_pandas()
    thread = threads.thread[threads.native_id == waiter.thread.native_id].item()
    return intervals[(intervals.state == "wait") & (intervals.thread == thread)]


def slots() -> list[int]:
    return _core.prove(exact=True)["slots"]


# ---- what is reported ----


def test_a_long_hold_is_reported_with_line_callers_waiter_and_length(waiter):
    reported = Reported()
    before = time.time()
    with gilscope.watch(callback=reported) as watch:
        begin, end = waiter.keep_waiting()
    [hold] = reported.holds
    assert HELD_S <= hold.held_s <= end - begin
    assert before <= hold.time <= time.time()
    assert (hold.thread, hold.native_id) == (threading.current_thread().name, threading.get_native_id())
    assert hold.waiters == ("the waiter",)
    assert hold.stack[0] == (f"{Waiter.__name__}.keep_waiting", __file__, HELD_LINE)
    assert hold.stack[1].function == sys._getframe().f_code.co_qualname
    assert (watch.seen, watch.suppressed, watch.dropped) == (1, 0, 0)


def test_a_hold_is_as_long_as_an_exact_trace_says(waiter):
    reported = Reported()
    with gilscope.watch(callback=reported), gilscope.trace(None, quiet=True) as t:
        waiter.keep_waiting()
    [hold] = reported.holds
    intervals, waits = t.intervals.to_pandas(), waits_of(waiter, t)
    [wait] = waits[waits.duration_ns > HELD_S * 1e9].itertuples()
    runs = intervals[(intervals.state == "run") & (intervals.start_ns <= wait.start_ns)]
    held = runs[runs.start_ns + runs.duration_ns > wait.start_ns].iloc[-1]
    # The watch looks at the clock before the trace does when the wait begins, and after it at the end.
    traced_s = (held.start_ns + held.duration_ns - wait.start_ns) / 1e9
    assert hold.held_s >= traced_s - 1e-5


def test_shorter_holds_are_not_reported(waiter):
    with gilscope.watch(3600, Reported()) as watch:
        waiter.keep_waiting()
    assert watch.seen == 0


def test_a_long_hold_for_which_no_thread_waits_is_not_reported():
    with gilscope.watch(0.001, Reported()) as watch:
        assert {thread.name for thread in threading.enumerate()} == {"MainThread", "gilscope.watch"}
        HOLDING.usleep(100_000)
    assert watch.seen == 0


def test_the_watch_does_not_wait_for_whom_it_watches(waiter):
    """Its thread wants the GIL as soon as there is something to report, or it begins."""
    reported = Reported()
    for _ in range(5):
        with gilscope.watch(callback=reported):
            waiter.keep_waiting()
            waiter.keep_waiting()
    assert {hold.waiters for hold in reported.holds} == {("the waiter",)}


def test_with_a_long_switch_interval_too(waiter):
    """Then no waiter's time ever runs out."""
    reported, interval = Reported(), sys.getswitchinterval()
    sys.setswitchinterval(100)
    try:
        with gilscope.watch(callback=reported):
            waiter.keep_waiting()
    finally:
        sys.setswitchinterval(interval)
    [hold] = reported.holds
    assert hold.waiters == ("the waiter",)
    # It is let go where this thread itself begins to wait for another.
    assert f"{Waiter.__name__}.keep_waiting" in [place.function for place in hold.stack[1:]]


def test_threads_that_python_does_not_know_by_name(waiter):
    reported = Reported()

    def hold_in_another_thread():
        waiter.keep_waiting()

    import _thread

    over = threading.Semaphore(0)
    with gilscope.watch(callback=reported):
        ident = _thread.start_new_thread(lambda: (hold_in_another_thread(), over.release()), ())
        over.acquire()
    [hold] = reported.holds
    assert hold.thread == f"thread {ident}"


def test_stacks_deeper_than_what_is_kept(waiter):
    reported = Reported()

    def dive(n):
        if n:
            dive(n - 1)
        else:
            waiter.keep_waiting()

    with gilscope.watch(callback=reported):
        dive(100)
    [hold] = reported.holds
    assert len(hold.stack) == 64
    assert {place.function for place in hold.stack[1:]} == {dive.__qualname__}


# ---- how it is reported ----


def test_messages_come_one_a_second_and_the_rest_at_the_end(waiter, caplog):
    written = threading.Semaphore(0)
    handler = logging.Handler()
    handler.emit = lambda record: written.release()
    log = logging.getLogger("gilscope.watch")
    log.addHandler(handler)
    try:
        begin = time.monotonic()
        with gilscope.watch() as watch:
            waiter.keep_waiting()
            written.acquire()
            waiter.keep_waiting()
            waiter.keep_waiting(2 * HELD_S)
            in_time = time.monotonic() - begin < 1
    finally:
        log.removeHandler(handler)
    assert watch.seen == 3
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(caplog.records)
    assert f"({__file__}:{HELD_LINE}) while the waiter waited" in caplog.messages[0]
    if in_time:  # else there may have been a second message before the last
        assert len(caplog.records) == 2
        assert watch.suppressed == 1
        assert caplog.messages[1].endswith("\n1 more since the last message")
        assert caplog.records[1].long_hold.held_s >= 2 * HELD_S


def test_a_callback_that_raises_is_called_again(waiter, caplog):
    reported = Reported()

    def fail(hold):
        reported(hold)
        raise ValueError("not today")

    with gilscope.watch(callback=fail):
        for _ in range(2):
            waiter.keep_waiting()
            reported.next()
    assert len(reported.holds) == 2
    assert [record.exc_info[1].args for record in caplog.records] == [("not today",)] * 2


def test_a_callback_takes_no_time_of_the_thread_that_held(waiter):
    began, go_on, reported = threading.Event(), threading.Event(), []

    def wait_until_released(hold):
        reported.append(threading.current_thread().name)
        began.set()
        go_on.wait()

    with gilscope.watch(callback=wait_until_released) as watch:
        waiter.keep_waiting()
        began.wait()
        for _ in range(3):
            waiter.keep_waiting()
        assert (len(reported), watch.seen) == (1, 4)
        go_on.set()
    assert reported == ["gilscope.watch"] * 4


def test_a_callback_may_end_the_watch(waiter):
    ended = threading.Event()
    watch = gilscope.watch(callback=lambda hold: (watch.stop(), ended.set()))
    waiter.keep_waiting()
    ended.wait()
    with gilscope.watch(callback=Reported()) as following:
        waiter.keep_waiting()
        watch.stop()
    assert (watch.seen, following.seen) == (1, 1)


# ---- beside a trace ----


@pytest.mark.parametrize("order", ["WTtw", "WTwt", "TWwt", "TWtw", "WwTt", "TtWw"])
def test_a_watch_and_a_trace_begin_and_end_in_any_order(waiter, order):
    before = slots()
    tracing, expected, on = gilscope.trace(None, quiet=True), 0, False
    traced = 0
    for step in order:
        if step == "W":
            watch, on = gilscope.watch(callback=Reported()), True
        elif step == "w":
            watch.stop()
            on = False
        elif step == "T":
            t, traced = tracing.__enter__(), 0
        else:
            tracing.__exit__(None, None, None)
            assert (waits_of(waiter, t).duration_ns > HELD_S * 1e9).sum() == traced
            invariants.check(t)
        waiter.keep_waiting()
        expected += on
        traced += 1
        if "W" in order[: order.index(step) + 1]:
            assert watch.seen == expected
    assert slots() == before


def test_a_second_watch_is_refused(waiter):
    with gilscope.watch(callback=Reported()) as watch:
        with pytest.raises(errors.TraceActiveError, match="a watch is on in this process already"):
            gilscope.watch()
        waiter.keep_waiting()
    assert watch.seen == 1
    watch.stop()


def test_proving_beside_a_watch():
    with gilscope.watch():
        assert _core.prove(exact=True)["slots"]
        assert _core.event_cost(1000)["event_ns"] > 0


# ---- ends ----


def test_a_thousand_watches_leave_the_slots_as_they_were():
    before = slots()
    count = threading.active_count()
    for _ in range(1000):
        gilscope.watch().stop()
    assert slots() == before
    assert threading.active_count() == count


def test_a_watch_whose_thread_cannot_start_is_none(monkeypatch):
    before = slots()

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            gilscope.watch()
    assert slots() == before


FORK = """
import os, sys, threading
import gilscope
from gilscope import _core
from tests.integration.test_watch import Reported, Waiter
from pathlib import Path

def slots():
    return _core.prove(exact=True)["slots"]

before = slots()
reported = Reported()
watch = gilscope.watch(callback=reported)
child = os.fork()
if child == 0:
    assert slots() == before
    watch.stop()
    os.mkdir("child")
    waiter = Waiter(Path("child"))
    waiter.keep_waiting()
    assert (watch.seen, reported.holds) == (0, [])
    with gilscope.watch(callback=reported):
        waiter.keep_waiting()
    waiter.end()
    assert [hold.waiters for hold in reported.holds] == [("the waiter",)]
    assert slots() == before
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
waiter = Waiter(Path("."))
waiter.keep_waiting()
watch.stop()
waiter.end()
assert len(reported.holds) == 1
assert slots() == before
print("both")
"""
CHECKOUT = str(Path(__file__).parents[2])


def run(tmp_path, script):
    return python("-W", "ignore", "-c", script, cwd=tmp_path, env={"PYTHONPATH": CHECKOUT})


def test_a_forked_child_is_not_watched_and_may_watch_itself(tmp_path):
    result = run(tmp_path, FORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, "both\n", "")


EXIT = """
import sys, threading
import gilscope
from tests.integration.test_watch import Waiter
from pathlib import Path
waiter = Waiter(Path("."))
watch = gilscope.watch(callback=CALLBACK)
waiter.keep_waiting()
waiter.keep_waiting()  # too soon for a message of its own
"""


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "threading.Thread(target=sum, args=([],)).start()"])
def test_a_watch_that_is_on_at_exit_reports_all_first(tmp_path, end):
    result = run(tmp_path, EXIT.replace("CALLBACK", '"log"') + end)
    assert (result.returncode, result.stdout) == (0, "")
    assert f"({__file__}:{HELD_LINE}) while the waiter waited" in result.stderr
    messages = result.stderr.count("while the waiter waited")
    assert messages + ("1 more since the last message" in result.stderr) == 2, result.stderr


def test_an_exit_does_not_wait_for_ever_for_a_callback(tmp_path):
    result = run(tmp_path, EXIT.replace("CALLBACK", "lambda hold: threading.Event().wait()"))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_watch_is_begun_in_the_main_interpreter():
    code = """
try:
    import gilscope
    gilscope.watch()
except gilscope.UnsupportedInterpreterError as error:
    assert "watches are begun in the main interpreter" in str(error), error
else:
    raise AssertionError("not refused")
"""
    with interpreters(1, own_gil=False) as [other]:
        other.run(code)
