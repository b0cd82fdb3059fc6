"""Traces of programs with several interpreters: each GIL has its own rows."""

import mmap
import sys
import threading

import pandas as pd
import pytest

import gilscope
from gilscope import analysis, errors
from tests.support import invariants
from tests.support.processes.interpreters import Interpreter, interpreters, needs_own_gil, needs_pool
from tests.support.processes.programs import run_threads, spin

pytestmark = [pytest.mark.clock, pytest.mark.per_build, needs_own_gil]

COUNT = "total = sum(range(200_000))"

MEET = """
import mmap
with open({path!r}, "r+b") as file:
    flags = mmap.mmap(file.fileno(), 0)
flags[{mine}] = 1
while not flags[{other}]:
    pass
"""
"""Keeps its GIL until the other one has been here: no call in the loop lets it go."""


@pytest.fixture
def flags(tmp_path):
    """Return bytes that all interpreters see, and the code that waits in one for those of another."""
    path = tmp_path / "flags"
    path.write_bytes(bytes(mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        yield shared, lambda mine, other: MEET.format(path=str(path), mine=mine, other=other)


def of_gil(t, interpreter: int) -> pd.DataFrame:
    frame = t.intervals.to_pandas()
    return frame[frame.interpreter == interpreter]


def runs_of(t, interpreter: int) -> list[tuple[int, int]]:
    runs = of_gil(t, interpreter).query("state == 'run'")
    return list(zip(runs.start_ns, runs.start_ns + runs.duration_ns, strict=True))


def both_run(t, a: int, b: int) -> bool:
    """Tell whether there is an instant at which two GILs are held."""
    return any(max(s, p) < min(e, q) for s, e in runs_of(t, a) for p, q in runs_of(t, b))


def names_of(t, interpreter: int) -> set[str]:
    threads = t.threads.to_pandas().set_index("thread").name
    return set(threads[of_gil(t, interpreter).thread])


@pytest.mark.parametrize("before", [True, False], ids=["made before the trace", "made in it"])
def test_two_interpreters_run_at_the_same_time(flags, before):
    _, meet = flags

    def run(a, b):
        run_threads(lambda: a.run(meet(0, 1)), lambda: b.run(meet(1, 0)), names=("one", "two"))
        return a.id, b.id

    if before:
        with interpreters(2) as pair, gilscope.trace(None, edges="exact") as t:
            a, b = run(*pair)
    else:
        with gilscope.trace(None, edges="exact") as t, interpreters(2) as pair:
            a, b = run(*pair)

    invariants.check(t)
    assert both_run(t, a, b)
    assert "one" in names_of(t, a)
    assert "two" in names_of(t, b)
    assert {"MainThread", "one", "two"} <= names_of(t, 0)
    of_thread = t.threads.to_pandas().set_index("name").interpreter
    assert of_thread[["MainThread", "one", "two"]].tolist() == [0, 0, 0]
    assert t.metadata["not_measured"] == []
    rows = analysis.overhead(t, by="interpreter")
    assert rows.interpreter.tolist() == [0, a, b]
    assert (rows.held_ns <= t.metadata["duration_ns"]).all()
    assert f"interpreter {a}: held" in t.report()
    assert f"<td>{a}</td>" in t.report("html")


def test_threads_begun_in_another_interpreter_wait_for_its_gil():
    code = """
import threading
done = []
def keep():
    while not done:
        pass
threads = [threading.Thread(target=keep), threading.Thread(target=done.append, args=(1,))]
[t.start() for t in threads]
[t.join() for t in threads]
"""
    with interpreters(1) as [one], gilscope.trace(None, edges="exact") as t:
        one.run(code)

    invariants.check(t)
    mine = t.threads.to_pandas().query(f"interpreter == {one.id}")
    assert len(mine) == 2
    assert mine.name.str.startswith(f"interpreter {one.id}, native ").all()
    assert (of_gil(t, one.id).state == "wait").any()  # of the thread that starts the second one, at least
    handoffs = t.handoffs.to_pandas().query(f"interpreter == {one.id}")
    assert handoffs.forced.any()
    assert handoffs.drop_request_ns.notna().any()
    # The main GIL's own count is of thread states, of which a thread may use several.
    assert t.metadata["switches"] >= (t.handoffs.to_pandas().interpreter == 0).sum()


def test_two_hundred_interpreters_come_and_go():
    ids = []
    with gilscope.trace(None, edges="exact") as t:
        for _ in range(200):
            one = Interpreter()
            one.run("x = 1")
            one.end()
            ids.append(one.id)

    invariants.check(t)
    frame = t.intervals.to_pandas()
    assert sorted(set(frame.interpreter)) == [0, *ids]
    assert (frame[frame.interpreter > 0].release != "open").all()  # each was let go before its end
    spans = frame.assign(end=frame.start_ns + frame.duration_ns).groupby("interpreter")
    begins, ends = spans.start_ns.min()[ids], spans.end.max()[ids]
    assert (begins.to_numpy()[1:] >= ends.to_numpy()[:-1]).all()  # one after the other
    assert t.metadata["not_measured"] == []


def test_one_that_computes_all_along_has_one_run_also_in_the_next_trace(flags):
    shared, meet = flags
    with interpreters(1) as [one]:
        busy = threading.Thread(target=one.run, args=(meet(0, 1),), name="busy")
        busy.start()
        while not shared[0]:
            pass
        traces = []
        for _ in range(3):  # its threads run on when a trace ends
            with gilscope.trace(None, edges="exact") as t:
                spin(0.01)
            traces.append(t)
        with gilscope.trace(None, edges="exact") as last:
            shared[1] = 1
            busy.join()

    for t in traces:
        invariants.check(t)
        [run] = of_gil(t, one.id).itertuples()
        assert (run.state, run.release) == ("run", "open")
        assert run.start_ns + run.duration_ns == t.metadata["duration_ns"]
        assert run.duration_ns >= 10_000_000
        thread = t.threads.to_pandas().iloc[run.thread]
        if sys.version_info >= (3, 13):
            assert (thread["name"], thread.native_id) == ("busy", busy.native_id)
        else:  # a thread uses the state of the one that made the interpreter
            assert thread["name"] == f"interpreter {one.id}, unknown thread"
        assert thread.interpreter == one.id
    invariants.check(last)
    first = of_gil(last, one.id).iloc[0]
    assert first.release == "voluntary"
    assert first.start_ns < traces[0].metadata["duration_ns"]


def test_ends_while_threads_of_other_interpreters_run_on(flags):
    shared, meet = flags
    loop = "import time" + meet(0, 1).replace("    pass", "    flags[2] = 1; time.sleep(0)")
    with interpreters(1) as [one]:
        busy = threading.Thread(target=one.run, args=(loop,), name="busy")
        busy.start()
        while not shared[0]:
            pass
        traces = []
        for _ in range(20):
            with gilscope.trace(None, edges="exact", period=0.001) as t:
                for _ in range(3):
                    shared[2] = 0
                    while not shared[2]:
                        pass
            traces.append(t)
        shared[1] = 1
        busy.join()

    for t in traces:
        invariants.check(t)
        assert len(of_gil(t, one.id)) > 1
        assert "busy" in names_of(t, one.id)


def test_one_that_shares_the_main_gil_is_on_it():
    with (
        interpreters(1, own_gil=False) as [shares],
        interpreters(1) as [owns],
        gilscope.trace(None, edges="exact") as t,
    ):
        run_threads(lambda: shares.run(COUNT), lambda: owns.run(COUNT), names=("shares", "owns"))

    invariants.check(t)
    assert set(t.intervals["interpreter"].to_pylist()) == {0, owns.id}
    assert "shares" in names_of(t, 0)
    assert "owns" in names_of(t, owns.id)


@needs_pool
def test_a_pool_of_interpreters():
    from concurrent.futures import InterpreterPoolExecutor

    with gilscope.trace(None, edges="exact") as t, InterpreterPoolExecutor(2) as pool:
        assert list(pool.map(sum, [range(300_000)] * 8)) == [sum(range(300_000))] * 8

    invariants.check(t)
    gils = sorted(set(t.intervals["interpreter"].to_pylist()) - {0})
    assert len(gils) in (1, 2)  # a worker that is fast enough does it alone
    assert all(name.startswith("InterpreterPoolExecutor-") for i in gils for name in names_of(t, i))


def test_what_finds_no_number_is_said():
    made = []
    with gilscope.trace(None, edges="exact") as t:
        for _ in range(129):
            made.append(Interpreter())
    for one in made:
        one.end()

    invariants.check(t)
    assert len(set(t.intervals["interpreter"].to_pylist())) == 128
    [sentence] = t.metadata["not_measured"]
    assert sentence.startswith("2 or more interpreters had GILs of their own that are not in the trace")


def test_sampled_edges_say_that_they_see_the_main_gil_only():
    with interpreters(1) as [one], gilscope.trace(None, edges="sampled") as t:
        Interpreter().end()
        one.run(COUNT)
    with gilscope.trace(None, edges="sampled") as alone:
        spin(0.005)

    assert set(t.intervals["interpreter"].to_pylist()) <= {0}
    assert any("2 other interpreters lived or began meanwhile" in s for s in t.metadata["not_measured"])
    assert not any("other interpreters" in s for s in alone.metadata["not_measured"])


TRACE = """
import gilscope
try:
    gilscope.trace(None).__enter__()
except gilscope.errors.UnsupportedInterpreterError as error:
    assert "in the main interpreter, and this is another one" in str(error), error
else:
    raise AssertionError("it began")
"""


@pytest.mark.parametrize("own_gil", [True, False])
def test_another_interpreter_cannot_begin_a_trace_and_disturbs_none(own_gil):
    with interpreters(1, own_gil=own_gil) as [one]:
        one.run(TRACE)
        with gilscope.trace(None) as t:
            one.run(TRACE)
            with pytest.raises(errors.TraceActiveError):
                gilscope.trace(None).__enter__()
        with gilscope.trace(None) as after:
            spin(0.001)
    invariants.check(t)
    assert after.metadata["complete"]
