"""A program that dies in mid-trace: its trace loads, and at most 100 ms before the death are missing."""

import signal

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.programs import python

pytestmark = pytest.mark.clock

LOST_NS = 100_000_000
"""README's promise: batches are written every 50 ms, of what ticks collect every 10 ms."""

# Transitions up to the last instant, of which it tells on its standard output.
PROGRAM = """
import ctypes, os, signal, sys, threading, time
import gilscope

def last_words():
    os.write(1, str(time.monotonic_ns()).encode())

null = os.open(os.devnull, os.O_WRONLY)
release = threading.Event()
with gilscope.trace("run.gilscope", quiet=True):
    threading.Thread(target=release.wait, name="bystander", daemon=True).start()
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        os.write(null, b"x")
        sum(range(200))  # or there are too many: to look at them takes a second
    {death}
"""

DEATHS = {
    "SIGKILL": ("last_words(); os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    "SIGTERM without a handler": ("last_words(); os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "os._exit": ("last_words(); os._exit(7)", 7),
    "segmentation fault": ("last_words(); ctypes.string_at(0)", -signal.SIGSEGV),
    "abort": ("last_words(); os.abort()", -signal.SIGABRT),
    "exec": ("last_words(); os.execv('/bin/sh', ['sh', '-c', 'exit 9'])", 9),
    "killed from a thread": (
        "die = lambda: (last_words(), os.kill(os.getpid(), signal.SIGKILL))\n"
        "    threading.Thread(target=die).start(); release.wait()",
        -signal.SIGKILL,
    ),
    "killed while a C call holds the GIL": (
        "signal.setitimer(signal.ITIMER_REAL, 0.1); last_words(); ctypes.PyDLL(None).pause()",
        -signal.SIGALRM,
    ),
}


@pytest.mark.parametrize("death", DEATHS)
def test_all_but_the_last_100_ms_is_there(tmp_path, death):
    body, status = DEATHS[death]
    result = python("-c", PROGRAM.replace("{death}", body), cwd=tmp_path)
    assert (result.returncode, result.stderr) == (status, "")

    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert not t.metadata["complete"]
    assert any("cut short" in said for said in t.metadata["not_measured"])
    died = int(result.stdout) - t.metadata["start_monotonic_ns"]
    # A sampler that the machine itself keeps waiting cannot be in time; how late it came stands in the trace.
    allowed = LOST_NS + max(t.samples["late_ns"].to_pylist())
    assert died - t.metadata["duration_ns"] <= allowed
    runs = t.intervals.to_pandas().query("state == 'run'")
    assert died - (runs.start_ns + runs.duration_ns).max() <= allowed


# Ends at which Python gets a word in: nothing at all is missing.
ENDS = {
    "sys.exit": ("last_words(); sys.exit(3)", 3),
    "sys.exit in a thread": ("threading.Thread(target=sys.exit, args=(3,)).start(); last_words()", 0),
    "SIGTERM with a handler": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); last_words(); "
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
        4,
    ),
    "SIGINT": ("last_words(); signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
    "an error": ("last_words(); raise ValueError", 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_end_with_words_loses_nothing(tmp_path, end):
    body, status = ENDS[end]
    result = python("-c", PROGRAM.replace("{death}", body), cwd=tmp_path)
    assert result.returncode == status

    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert t.metadata["complete"]
    assert int(result.stdout) - t.metadata["start_monotonic_ns"] <= t.metadata["duration_ns"]


def test_a_death_between_start_and_the_first_tick_loads_or_says_why(tmp_path):
    script = """
import gilscope, os, signal
gilscope.trace("run.gilscope").__enter__()
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python("-c", script, cwd=tmp_path).returncode == -signal.SIGKILL
    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert not t.metadata["complete"]


def test_what_died_can_be_recorded_again(tmp_path):
    script = "import gilscope, os; gilscope.trace(overwrite=True).__enter__(); os._exit(0)"
    for _ in range(2):
        assert python("-c", script, cwd=tmp_path).returncode == 0
    with gilscope.trace(tmp_path / "trace.gilscope", overwrite=True) as t:
        pass
    assert t.metadata["complete"]
    assert [path.name for path in tmp_path.iterdir()] == ["trace.gilscope"]
