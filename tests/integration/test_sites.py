"""Each hold is traced to the line at which it ended, in every kind of frame that CPython has."""

import asyncio
import ctypes
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import gilscope
from tests.support.stacks import Frame, here, stack, stacks

pytestmark = [pytest.mark.clock, pytest.mark.per_build]


def let_go() -> None:
    """Release the GIL, once."""
    time.sleep(0.001)


def callers_of_let_go(t: gilscope.Trace) -> list[Frame]:
    """Return the caller of `let_go`, each time."""
    return [s[1] for s in stacks(t) if s[0][0] == "let_go"]


def test_a_release_is_at_its_line_with_all_callers_of_a_long_hold():
    def outer():
        inner()  # OUTER

    def inner():
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        time.sleep(0.001)  # INNER

    with gilscope.trace(None) as t:
        outer()

    (found,) = [s for s in stacks(t) if s[0][0].endswith("inner")]
    assert found[0][1:] == (__file__, here(inner, "INNER"))
    assert found[1][1:] == (__file__, here(outer, "OUTER"))
    assert found[2][0] == "test_a_release_is_at_its_line_with_all_callers_of_a_long_hold"
    assert found[-1][0] in ("<module>", "_run_code", "run_module", "_run_module_as_main")


def test_of_a_short_hold_the_innermost_callers_are_kept():
    def deep(n):
        return deep(n - 1) if n else [time.sleep(0) for _ in range(50)]

    with gilscope.trace(None, stacks_over=3600) as t:
        deep(10)

    found = [s for s in stacks(t) if s[-1][0] == "(callers not kept)"]
    assert len(found) >= 50
    assert {len(s) for s in found} == {5}  # four frames, and what stands for the rest
    assert all(f[0].endswith("deep") for s in found for f in s[1:4])


def test_the_kept_stack_is_the_one_python_reports():
    seen = []

    def deep(n):
        if n:
            return deep(n - 1)
        frame, found = sys._getframe(), []
        while frame:
            found.append((frame.f_code.co_qualname, frame.f_code.co_filename, frame.f_lineno))
            frame = frame.f_back
        seen.append(found)
        return time.sleep(0.001)

    with gilscope.trace(None, stacks_over=0) as t:
        deep(30)

    (found,) = [s for s in stacks(t) if s[0][0].endswith("deep")]
    assert found[1:] == seen[0][1:]


def test_stacks_deeper_than_can_be_kept_say_so():
    def deep(n):
        return deep(n - 1) if n else time.sleep(0.001)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        with gilscope.trace(None, stacks_over=0) as t:
            deep(5_000)
    finally:
        sys.setrecursionlimit(limit)

    (found,) = [s for s in stacks(t) if s[0][0].endswith("deep")]
    assert len(found) == 257
    assert found[-1] == ("(callers not kept)", None, None)


def test_a_wait_is_where_its_thread_last_let_go():
    asked = threading.Event()

    def waiter():
        asked.set()
        for _ in range(5):
            time.sleep(0.001)  # HERE

    with gilscope.trace(None) as t:
        thread = threading.Thread(target=waiter)
        thread.start()
        asked.wait()
        while thread.is_alive():
            sum(range(1000))
        thread.join()

    lines = {s[0][2] for s in stacks(t, "wait") if s[0][0].endswith("waiter")}
    assert here(waiter) in lines


# ---- frames of all kinds ----


def generator() -> Iterator[int]:
    let_go()  # HERE
    yield 1


def from_generator() -> None:
    list(generator())


def from_comprehension() -> None:
    [let_go() for _ in range(1)]  # HERE


def from_lambda() -> None:
    f = lambda: let_go()  # noqa: E731, PLW0108  # HERE
    f()


class Made:
    """Its `__init__` runs below a frame of the interpreter's own, from 3.12 on."""

    def __init__(self) -> None:
        let_go()  # HERE

    def __del__(self) -> None:
        let_go()  # DEL

    @property
    def value(self) -> None:
        let_go()  # PROPERTY


def from_init() -> None:
    for _ in range(50):  # often enough to be specialised
        Made().value  # noqa: B018


def from_c() -> None:
    sorted([1], key=lambda _: let_go() or 0)  # HERE


async def coroutine() -> None:
    let_go()  # HERE
    await asyncio.sleep(0)


def from_asyncio() -> None:
    asyncio.run(coroutine())


def from_callback() -> None:
    comparison = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def compare(a, b):
        let_go()  # CALLBACK
        return 0

    two = (ctypes.c_int * 2)(2, 1)
    ctypes.CDLL(None).qsort(two, ctypes.c_size_t(2), ctypes.c_size_t(4), comparison(compare))


@pytest.mark.parametrize(
    ("function", "name", "where"),
    [
        (from_generator, "generator", generator),
        (from_comprehension, "<listcomp>" if sys.version_info < (3, 12) else "from_comprehension", None),
        (from_lambda, "from_lambda.<locals>.<lambda>", from_lambda),
        (from_init, "Made.__init__", Made.__init__),
        (from_init, "Made.__del__", None),
        (from_init, "Made.value", None),
        (from_c, "from_c.<locals>.<lambda>", from_c),
        (from_asyncio, "coroutine", coroutine),
        (from_callback, "from_callback.<locals>.compare", None),
    ],
)
def test_frames_of_every_kind_are_read(function, name, where):
    with gilscope.trace(None, stacks_over=0) as t:
        function()

    found = [f for f in callers_of_let_go(t) if f[0].endswith(name)]
    assert found, {f[0] for f in callers_of_let_go(t)}
    assert {f[1] for f in found} == {__file__}
    if where is not None:
        assert {f[2] for f in found} == {here(where)}
    # No frame of the interpreter's own, and each stack ends at a frame without a caller.
    assert all(f[1] is not None for s in stacks(t) for f in s)
    assert all(len(s) > 2 for s in stacks(t) if s[0][0] == "let_go")


def test_the_hold_with_which_a_thread_ends_belongs_to_where_it_began():
    """When a thread has run all its code, no Python frame is left to show where it releases."""

    def work():
        time.sleep(0.001)
        sum(range(100_000))

    with gilscope.trace(None, stacks_over=0) as t:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    rows = [r for r in t.intervals.to_pylist() if r["thread"] == 1 and r["state"] == "run"]
    assert stack(t, rows[-1]["site"])[0][0].endswith("work")


# ---- code ----


def test_code_made_at_run_time_is_named_and_kept_until_the_trace_ends():
    made = []

    def run(number):
        space: dict[str, Any] = {"let_go": let_go}
        exec(compile(f"def made_{number}():\n\n    let_go()\n", f"<cell {number}>", "exec"), space)
        function = space.pop(f"made_{number}")
        made.append(weakref.ref(function.__code__))
        function()

    with gilscope.trace(None, stacks_over=0) as t:
        for number in range(20):
            run(number)
        gc.collect()
        alive = sum(code() is not None for code in made)
    gc.collect()

    assert alive == 20
    assert [code() for code in made] == [None] * 20, "code outlives the trace"
    assert callers_of_let_go(t) == [(f"made_{n}", f"<cell {n}>", 3) for n in range(20)]


def test_code_that_is_freed_while_a_trace_is_on_is_not_taken_for_another():
    """Without a reference the next code object would often stand where the one before stood."""
    names = []
    with gilscope.trace(None, stacks_over=0) as t:
        for number in range(300):
            space: dict[str, Any] = {"let_go": lambda: time.sleep(0)}
            exec(f"def made_{number}(): let_go()", space)
            space[f"made_{number}"]()
            names.append(f"made_{number}")
            del space
            gc.collect(0)

    assert [s[1][0] for s in stacks(t) if s[0][0].endswith("<lambda>")] == names


def test_references_of_code_are_as_before_when_the_trace_has_ended():
    code = let_go.__code__
    before = sys.getrefcount(code)
    for _ in range(3):
        with gilscope.trace(None, stacks_over=0):
            let_go()
            let_go()
    assert sys.getrefcount(code) == before


def test_names_and_files_of_any_alphabet_are_read():
    space: dict[str, Any] = {"time": time}
    source = "class Größe:\n  def λ(self):\n    def 漢字(): time.sleep(0.001)\n    漢字()\nGröße().λ()"
    with gilscope.trace(None, stacks_over=0) as t:
        exec(compile(source, "/tmp/🐍/é.py", "exec"), space)

    (found,) = [s for s in stacks(t) if "漢字" in s[0][0]]
    assert found[:3] == [
        ("Größe.λ.<locals>.漢字", "/tmp/🐍/é.py", 3),
        ("Größe.λ", "/tmp/🐍/é.py", 4),
        ("<module>", "/tmp/🐍/é.py", 5),
    ]


def test_a_hundred_thousand_code_objects_do_no_harm():
    """There is room for 32,768: what comes later has no site, and the trace says so."""
    code = compile("f = lambda: write(null, b'x')", "f", "exec")
    lambda_code = next(c for c in code.co_consts if hasattr(c, "co_code"))
    function = type(let_go)
    with open(os.devnull, "wb", 0) as null, gilscope.trace(None) as t:
        names = {"write": os.write, "null": null.fileno()}
        for number in range(100_000):
            function(lambda_code.replace(co_firstlineno=number + 1), names)()
        let_go()

    runs = t.intervals.to_pandas().query("state == 'run'")
    assert 30_000 < runs["site"].nunique() <= 32_768
    assert any("sites of" in sentence for sentence in t.metadata["not_measured"])
    assert len(runs) > 100_000


# ---- how it is asked for, and what it survives ----


def test_without_sites_none_are_recorded():
    with gilscope.trace(None, sites=False) as t:
        let_go()
    assert t.sites.num_rows == 0
    assert t.intervals["site"].null_count == t.intervals.num_rows


def test_sampled_edges_have_no_sites():
    with gilscope.trace(None, edges="sampled") as t:
        let_go()
    assert t.sites.num_rows == 0


def test_a_killed_process_leaves_its_sites(tmp_path):
    code = """
import os, signal, sys, time
import gilscope
def victim():
    end = time.perf_counter() + 0.3
    while time.perf_counter() < end:
        time.sleep(0.001)
with gilscope.trace("run.gilscope"):
    victim()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == -9

    found = stacks(gilscope.load(tmp_path / "run.gilscope"))
    assert sum(s[0] == ("victim", "<string>", 7) for s in found) > 50


# The sampler is a thread, and Python counts it.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_healthy_and_can_trace():
    with gilscope.trace(None, stacks_over=0):
        let_go()
        child = os.fork()
        if not child:
            try:
                with gilscope.trace(None, stacks_over=0) as t:
                    let_go()
                os._exit(0 if any(s[0][0] == "let_go" for s in stacks(t)) else 1)
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def traced() -> None:
    let_go()  # HERE


def test_a_trace_function_hides_no_line():
    seen = []
    with gilscope.trace(None, stacks_over=0) as t:
        sys.settrace(lambda frame, event, arg: seen.append(event))
        try:
            traced()
        finally:
            sys.settrace(None)
    assert seen
    assert any(s[0][:2] == ("let_go", __file__) and s[1][2] == here(traced) for s in stacks(t))
