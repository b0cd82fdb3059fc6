"""Programs with several processes: each child holds the GIL for a known time, and says so through a pipe."""

import json
import subprocess
import textwrap
from pathlib import Path

import gilscope
from tests.support.programs import python

HOLD_NS = 50_000_000

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
