"""Code that leaves and comes back inside the block: generators, asyncio, greenlets, gevent."""

import asyncio
import contextlib
import gc
import time

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.programs import python, run_threads, spin

pytestmark = [pytest.mark.clock, pytest.mark.per_build]


def numbers(path):
    with gilscope.trace(path, quiet=True) as t:
        yield t
        spin(0.01)
        yield t


def test_a_generator_that_is_exhausted_closed_or_dropped(tmp_path):
    exhausted, _ = numbers(None)
    closed = numbers(None)
    t = next(closed)
    closed.close()
    for trace in (exhausted, t):
        assert trace.metadata["complete"]
        invariants.check(trace)

    dropped = numbers(tmp_path / "dropped.gilscope")
    next(dropped)
    del dropped
    gc.collect()
    assert gilscope.load(tmp_path / "dropped.gilscope").metadata["complete"]


def test_a_generator_that_each_thread_takes_one_step_further():
    steps = numbers(None)
    seen = []
    for _ in range(2):
        run_threads(lambda: seen.append(next(steps)))
    run_threads(steps.close)
    invariants.check(seen[0])
    assert seen[0].metadata["complete"]


def test_a_generator_that_is_still_open_at_exit(tmp_path):
    script = """
import gilscope
def numbers():
    with gilscope.trace("run.gilscope", quiet=True):
        yield 1
steps = numbers()
next(steps)
"""
    result = python("-c", script, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert gilscope.load(tmp_path / "run.gilscope").metadata["complete"]


def test_asyncio_with_tasks_threads_and_a_cancelled_block():
    async def main():
        with gilscope.trace(None, quiet=True) as t:
            await asyncio.gather(
                *(asyncio.sleep(0) for _ in range(100)),
                asyncio.to_thread(spin, 0.01),
                asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01),
            )

        async def never():
            with gilscope.trace(None, quiet=True) as cancelled:
                seen.append(cancelled)
                await asyncio.Event().wait()

        seen = []
        task = asyncio.create_task(never())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return t, seen[0]

    t, cancelled = asyncio.run(main())
    for trace in (t, cancelled):
        invariants.check(trace)
        assert trace.metadata["complete"]
    assert any(name.startswith("asyncio_") for name in t.threads["name"].to_pylist())


def test_greenlets_that_switch_inside_the_block_and_out_of_it():
    greenlet = pytest.importorskip("greenlet")

    def inside():
        with gilscope.trace(None, quiet=True) as t:
            main.switch(t)
            spin(0.01)
            main.switch(t)
        return t

    main = greenlet.getcurrent()
    traced = greenlet.greenlet(inside)
    t = traced.switch()
    other = greenlet.greenlet(lambda: spin(0.01))
    other.switch()
    traced.switch()
    assert traced.switch() is t
    invariants.check(t)
    assert t.metadata["complete"]
    assert t.threads.num_rows == 1  # greenlets are of one thread


def test_greenlets_that_threads_leave_behind():
    greenlet = pytest.importorskip("greenlet")

    def leave():
        # Killed when its thread has ended, by whichever thread looks next.
        greenlet.greenlet(greenlet.getcurrent().switch).switch()

    with gilscope.trace(None, quiet=True) as t:
        run_threads(*[leave] * 20)
    invariants.check(t)
    assert t.threads.num_rows == 21


def test_gevent_patched_threads_and_its_own_pool(tmp_path):
    pytest.importorskip("gevent")
    script = """
from gevent import monkey; monkey.patch_all()
import threading, time
import gevent, gilscope
with gilscope.trace("run.gilscope", quiet=True) as t:
    threads = [threading.Thread(target=time.sleep, args=(0.01,), name=f"green-{i}") for i in range(20)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    gevent.get_hub().threadpool.apply(sum, (range(1_000_000),))
print(t.metadata["complete"])
"""
    result = python("-W", "ignore", "-c", script, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "True\n"
    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert t.threads.num_rows == 2  # the one of all greenlets, and that of the pool
