"""Marks and regions of real programs: each `with` is one row, whatever thread or task it goes on in."""

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import gilscope
from gilscope import _core, errors
from tests.support import invariants
from tests.support.processes.programs import RELEASING, python, run_threads, spin

pytestmark = [pytest.mark.clock, pytest.mark.per_build]


def rows(t: gilscope.Trace) -> list[tuple]:
    """Return thread's name, name, start and duration of each row; all are complete."""
    invariants.check(t)
    names = t.threads["name"].to_pylist()
    assert all(t.marks["complete"].to_pylist())
    return [
        (names[row["thread"]], row["name"], row["start_ns"], row["duration_ns"])
        for row in t.marks.to_pylist()
    ]


def in_order(*events: str):
    """Return a function that waits until it is an event's turn."""
    turn, order = threading.Condition(), list(events)

    @contextlib.contextmanager
    def happens(event: str):
        with turn:
            assert turn.wait_for(lambda: order[0] == event, 60), event
            yield
            del order[0]
            turn.notify_all()

    return happens


@pytest.mark.parametrize("edges", ["exact", "sampled"])
def test_marks_and_regions_of_several_threads(edges):
    def work() -> None:
        with t.region("outer"):
            t.mark("inside")
            with t.region("inner"):
                RELEASING.usleep(2000)

    with gilscope.trace(None, edges=edges) as t:
        t.mark("begin")
        run_threads(work, work, names=("a", "b"))
        t.mark("end")

    found = rows(t)
    assert [row[:2] for row in (found[0], found[-1])] == [("MainThread", "begin"), ("MainThread", "end")]
    for thread in ("a", "b"):
        outer, inside, inner = [row for row in found if row[0] == thread]
        assert (outer[1], inside[1], inner[1]) == ("outer", "inside", "inner")
        assert outer[2] <= inside[2] <= inner[2]
        assert 2_000_000 <= inner[3] <= outer[3]
        assert inner[2] + inner[3] <= outer[2] + outer[3]
        assert inside[3] is None


def test_times_are_those_of_the_program():
    import time

    stamps = []
    with gilscope.trace(None) as t:
        for i in range(100):
            before = time.monotonic_ns()
            t.mark(str(i))
            stamps.append((before, time.monotonic_ns()))

    start = t.metadata["start_monotonic_ns"]
    assert t.marks["name"].to_pylist() == [str(i) for i in range(100)]
    for (before, after), at in zip(stamps, t.marks["start_ns"].to_pylist(), strict=True):
        assert before - 1000 <= start + at <= after + 1000


def overlapping(found: list[tuple]) -> bool:
    """Tell whether of two rows the one that begins first ends first."""
    (_, _, a, a_ns), (_, _, b, b_ns) = found
    return a < b < a + a_ns < b + b_ns


def test_tasks_that_share_a_thread_by_turns():
    async def request(before: asyncio.Event, inside: asyncio.Event, until: asyncio.Event) -> None:
        await before.wait()
        with t.region("request"):
            inside.set()
            await until.wait()

    async def both() -> None:
        now, first, second, done = (asyncio.Event() for _ in range(4))
        now.set()

        async def end_first() -> None:
            await second.wait()
            done.set()

        b = asyncio.create_task(request(first, second, later := asyncio.Event()))
        await asyncio.gather(request(now, first, done), end_first())
        later.set()
        await b

    with gilscope.trace(None) as t:
        asyncio.run(both())

    found = rows(t)
    assert [row[:2] for row in found] == [("MainThread", "request")] * 2
    assert overlapping(found)


def test_a_generator_may_be_moved_to_another_thread():
    def steps():
        with t.region("moved"):
            yield

    with gilscope.trace(None) as t:
        first, second = steps(), steps()
        next(first)
        next(second)
        run_threads(lambda: list(first), names=("other",))
        list(second)

    found = rows(t)
    assert [row[:2] for row in found] == [("MainThread", "moved")] * 2
    assert overlapping(found)


def test_a_region_nested_in_itself_ends_inside_out():
    def work(depth: int) -> None:
        with region:
            if depth:
                work(depth - 1)

    with gilscope.trace(None) as t:
        region = t.region("r")
        work(2)
        with region, region, region:
            pass

    found = rows(t)
    assert len(found) == 6
    for outer, inner in ((0, 1), (1, 2), (3, 4), (4, 5)):
        assert found[outer][2] <= found[inner][2]
        assert found[inner][2] + found[inner][3] <= found[outer][2] + found[outer][3]


def test_a_region_on_an_exit_stack():
    with gilscope.trace(None) as t:
        region = t.region("r")
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(region)
            stack.enter_context(t.region("other"))

    assert sorted(row[1] for row in rows(t)) == ["other", "r", "r", "r"]


def test_what_a_region_raises_goes_on():
    with gilscope.trace(None) as t:
        with pytest.raises(ValueError, match="mine"), t.region("r"):
            raise ValueError("mine")
        t.mark("after")

    assert [row[1] for row in rows(t)] == ["r", "after"]


HOSTILE = {
    "": "",
    "\"quotes\" and 'others' \\": "\"quotes\" and 'others' \\",
    "line\nand line\r\n\t": "line\nand line\r\n\t",
    "zero\0inside\0": "zero inside ",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "😀 emoji": "😀 emoji",
    "x" * 10_000: "x" * 255,
    "😀" * 10_000: "😀" * 63,
    "half \ud83d surrogate": "half \\ud83d surrogate",
}


def test_hostile_names(tmp_path):
    with gilscope.trace(tmp_path / "run.gilscope") as t:
        for name in HOSTILE:
            t.mark(name)
            with t.region(name):
                pass

    assert [row[1] for row in rows(t)] == [kept for kept in HOSTILE.values() for _ in range(2)]
    loaded = gilscope.load(tmp_path / "run.gilscope").marks
    loaded.validate(full=True)
    assert loaded.equals(t.marks)


@pytest.mark.parametrize("name", [None, 7, b"bytes", ["list"]], ids=repr)
def test_what_is_no_name_is_refused_wherever_it_is_said(name):
    with gilscope.trace(None) as t:
        for refuse in (t.mark, t.region):
            with pytest.raises(errors.OptionError, match="expected a string"):
                refuse(name)
    for refuse in (t.mark, t.region):
        with pytest.raises(errors.OptionError, match="expected a string"):
            refuse(name)
    assert t.marks.num_rows == 0


@pytest.mark.parametrize("tell", [_core.mark, _core.region_begin])
def test_the_core_takes_a_number_and_bytes_only(tell):
    for bad in ("text", None, 3):
        with pytest.raises(TypeError):
            tell(1, bad)
    for bad in ("1", None, b"1"):
        with pytest.raises(TypeError):
            tell(bad, b"x")
    for bad in ((), (1,), (1, b"x", b"x")):
        with pytest.raises(TypeError):
            tell(*bad)
    for bad in (-1, 1 << 80):
        with pytest.raises(OverflowError):
            tell(bad, b"x")


def test_the_core_ends_regions_by_numbers_only():
    with pytest.raises(TypeError):
        _core.region_end("1")
    for bad in (-1, 1 << 80):
        with pytest.raises(OverflowError):
            _core.region_end(bad)
    _core.region_end(5)


def test_outside_of_its_recording_a_trace_marks_nothing(tmp_path):
    with gilscope.trace(tmp_path / "first.gilscope") as first:
        cut = first.region("cut")
        cut.__enter__()

    def everything(t: gilscope.Trace) -> None:
        t.mark("no")
        with t.region("no"):
            pass

    everything(first)
    loaded = gilscope.load(tmp_path / "first.gilscope")
    everything(loaded)
    with gilscope.trace(None) as second:
        everything(first)
        everything(loaded)
        cut.__exit__(None, None, None)
        second.mark("yes")
        entered = second.region("left later")
        entered.__enter__()
        late = first.region("no")
        late.__enter__()
    entered.__exit__(None, None, None)
    late.__exit__(None, None, None)

    [row] = first.marks.to_pylist()
    assert (row["name"], row["complete"]) == ("cut", False)
    assert row["start_ns"] + row["duration_ns"] == first.metadata["duration_ns"]
    assert [(r["name"], r["complete"]) for r in second.marks.to_pylist()] == [
        ("yes", True),
        ("left later", False),
    ]


def test_threads_work_on_when_the_trace_is_over():
    stop, running = threading.Event(), threading.Event()

    def work() -> None:
        while not stop.is_set():
            with t.region("work"):
                t.mark("still there")
            running.set()

    with gilscope.trace(None) as t, ThreadPoolExecutor(2) as pool:
        others = [threading.Thread(target=work) for _ in range(2)]
        for other in others:
            other.start()
        assert running.wait(60)
        pool.submit(spin, 0.01).result()
    running.clear()
    assert running.wait(60)
    stop.set()
    for other in others:
        other.join()

    invariants.check(t)
    cut = [row for row in t.marks.to_pylist() if not row["complete"]]
    assert len(cut) <= 2
    assert {row["name"] for row in cut} <= {"work"}


def test_a_forked_child_marks_nothing(tmp_path):
    script = """
import gilscope, os, sys
with gilscope.trace("run.gilscope", quiet=True) as t:
    with t.region("around"):
        pid = os.fork()
        if pid == 0:
            t.mark("child")
            with t.region("child"):
                pass
            with gilscope.trace(None) as own:
                t.mark("child of the parent's trace")
                with t.region("child of the parent's trace"):
                    own.mark("own")
            os._exit(0 if own.marks["name"].to_pylist() == ["own"] else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(status, t.marks.select(["name", "complete"]).to_pylist())
"""
    result = python("-W", "ignore", "-c", script, cwd=tmp_path)

    assert (result.stdout, result.stderr) == ("0 [{'name': 'around', 'complete': True}]\n", "")


def test_a_killed_process_leaves_its_marks(tmp_path):
    script = """
import gilscope, os, signal, time
with gilscope.trace("run.gilscope", period=0.001) as t:
    t.mark("alive")
    with t.region("cut"):
        before = os.path.getsize("run.gilscope/spool.bin")
        while os.path.getsize("run.gilscope/spool.bin") < before + 1000:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python("-c", script, cwd=tmp_path).returncode == -9
    t = gilscope.load(tmp_path / "run.gilscope")

    alive, cut = t.marks.to_pylist()
    assert (alive["name"], alive["complete"]) == ("alive", True)
    assert (cut["name"], cut["complete"]) == ("cut", False)
    assert cut["start_ns"] + cut["duration_ns"] == t.metadata["duration_ns"]
