"""Threads that are still there when the interpreter exits; since CPython 3.14 they hang instead of ending."""

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.programs import python

pytestmark = [pytest.mark.clock, pytest.mark.per_build]

# Each daemon says that it runs, then goes on for ever in its own way.
DAEMONS = """
import ctypes, os, queue, sys, threading, time

# Short turns: otherwise the main thread waits seconds for its own, whenever it imports or converts something.
sys.setswitchinterval(2e-4)
null = os.open(os.devnull, os.O_WRONLY)

def spin():
    while True:
        sum(range(100))

def write():
    while True:
        os.write(null, b"x")

def sleep():
    while True:
        time.sleep(0.0001)

def block():
    queue.SimpleQueue().get()

def keep_the_gil():
    while True:
        ctypes.PyDLL(None).usleep(1000)

def begin_threads():
    while True:
        try:
            threading.Thread(target=int, daemon=True).start()
        except RuntimeError:  # 3.12 on: can't create new thread at interpreter shutdown
            pass

def daemon(work):
    begun = threading.Event()
    threading.Thread(target=lambda: (begun.set(), work()), name=work.__name__, daemon=True).start()
    begun.wait()
"""
WORKS = ("spin", "write", "sleep", "block", "keep_the_gil")
BEGIN = "".join(f"daemon({work})\n" for work in WORKS)


def check(tmp_path, traced) -> None:
    assert (traced.returncode, traced.stdout, traced.stderr) == (0, "bye\n", "")
    t = gilscope.load(tmp_path / "trace.gilscope")
    invariants.check(t)
    assert t.metadata["complete"]
    assert set(WORKS) <= set(t.threads["name"].to_pylist())


def test_daemons_under_gilscope_run(tmp_path):
    (tmp_path / "p.py").write_text(f"{DAEMONS}{BEGIN}print('bye')\n")
    check(tmp_path, python("-m", "gilscope", "run", "p.py", cwd=tmp_path))


@pytest.mark.parametrize("ended", ["block", "at exit"])
def test_daemons_that_outlive_the_trace(tmp_path, ended):
    enter = "with gilscope.trace():" if ended == "block" else "gilscope.trace().__enter__()\nif True:"
    begin = "".join(f"    {line}\n" for line in BEGIN.splitlines())
    script = f"import gilscope\n{DAEMONS}{enter}\n{begin}print('bye')\n"
    check(tmp_path, python("-c", script, cwd=tmp_path))


def test_daemons_that_begin_threads_to_the_end(tmp_path):
    script = f"{DAEMONS}daemon(begin_threads)\nprint('bye')\n"
    (tmp_path / "p.py").write_text(script)
    bare = python("p.py", cwd=tmp_path)
    traced = python("-m", "gilscope", "run", "p.py", cwd=tmp_path)
    assert (traced.returncode, traced.stdout) == (bare.returncode, bare.stdout) == (0, "bye\n")
    assert gilscope.load(tmp_path / "trace.gilscope").metadata["complete"]


def test_a_trace_that_a_daemon_began_is_finished_at_exit(tmp_path):
    script = f"""{DAEMONS}
import gilscope
begun = threading.Event()
def trace():
    with gilscope.trace():
        begun.set()
        spin()
threading.Thread(target=trace, name="spin", daemon=True).start()
begun.wait()
print("bye")
"""
    result = python("-c", script, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "bye\n", "")
    t = gilscope.load(tmp_path / "trace.gilscope")
    invariants.check(t)
    assert t.metadata["complete"]
