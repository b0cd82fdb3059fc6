"""Programs with several processes: each child holds the GIL for a known time, and says so through a pipe."""

import json
import subprocess
import textwrap
from pathlib import Path

import gilscope
from tests.support import invariants
from tests.support.processes.programs import python

HOLD_NS = 50_000_000
METHODS = ("fork", "spawn", "forkserver")
"""In which multiprocessing begins a process."""

PRELUDE = """
import concurrent.futures, ctypes, json, multiprocessing, os, signal, subprocess, sys, threading, time
import gilscope

HOLD = "import ctypes; ctypes.PyDLL(None).usleep(50_000)"

def hold(*_):
    ctypes.PyDLL(None).usleep(50_000)
    return os.getpid()

def mark_time(write, end):
    '''Hold the GIL for 20 ms again and again, and say when each is over.'''
    for i in range(12):
        ctypes.PyDLL(None).usleep(20_000)
        os.write(write, b"%d\\n" % time.monotonic_ns())
    end()

def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
"""What `program` puts in front."""


def program(folder: Path, body: str) -> Path:
    """Write a program that says as JSON, in its last line, what the test wants to know."""
    path = folder / "program.py"
    path.write_text(PRELUDE + textwrap.dedent(body))
    return path


def run(folder: Path, body: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run a program, which must end well and print nothing to stderr."""
    result = python("-W", "ignore", *arguments, str(program(folder, body)), cwd=folder, **options)
    assert (result.returncode, result.stderr) == (0, "")
    return result


def traced(folder: Path, body: str, prelude: str = "", **options) -> tuple[gilscope.Trace, object]:
    """Run the body of a trace of children; return the trace, and what the body left in ``said``."""
    block = textwrap.indent(textwrap.dedent(body), " " * 8)
    whole = f"""
{prelude}
if __name__ == "__main__":
    with gilscope.trace("run.gilscope", children=True) as t:
{block}
    print(json.dumps(said))
"""
    result = run(folder, whole, **options)
    return gilscope.load(folder / "run.gilscope"), json.loads(result.stdout.splitlines()[-1])


def by_pid(t: gilscope.Trace) -> dict[int, gilscope.Trace]:
    """Return the children of a trace, by their pids; each has one."""
    found = {child.metadata["pid"]: child for child in t.children}
    assert len(found) == len(t.children)
    return found


def holds_of(t: gilscope.Trace, at_least_ns: int = HOLD_NS) -> int:
    """Return how many times the GIL was held for so long."""
    runs = t.intervals.to_pandas().query("state == 'run'")
    return int((runs.duration_ns >= at_least_ns).sum())


def check_all(t):
    """Assert what is true of a trace and of those of all its children."""
    invariants.check(t)
    for child in t.children:
        invariants.check(child)
        assert child.metadata["start_monotonic_ns"] >= t.metadata["start_monotonic_ns"]
        assert child.metadata["ppid"] in {t.metadata["pid"], *by_pid(t)}


def assert_all_before(t, marks: list[int], death: int):
    """Assert that all holds of 20 ms which ended 100 ms before its death are in a trace."""
    early = [mark for mark in marks if mark <= death - 100_000_000]
    assert len(early) > 3
    runs = t.intervals.to_pandas().query("state == 'run' and duration_ns >= 20_000_000")
    ends = t.metadata["start_monotonic_ns"] + runs.start_ns + runs.duration_ns
    for mark in early:
        # The holder read the clock within the moment in which it came back: no other hold fits in between.
        assert ((ends > mark - 20_000_000) & (ends < mark + 20_000_000)).any()
    assert t.metadata["start_monotonic_ns"] + t.metadata["duration_ns"] >= death - 100_000_000


def events(path):
    return json.loads(path.read_text())["traceEvents"]
