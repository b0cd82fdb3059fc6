"""A disk that is slow, full, or gone: the program never waits for the recorder, and losses are counted."""

import errno

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.disk import program_on_a_disk
from tests.support.processes.programs import python

pytestmark = pytest.mark.clock

SLOTS = 1 << 20
"""Of the ring: what the sampler can be behind."""

# Two transitions a turn; it reports each part of its work, and goes on when asked to.
PROGRAM = """
import gilscope, os, sys, time, warnings
null = os.open(os.devnull, os.O_WRONLY)

def work(turns):
    for _ in range(turns):
        os.write(null, b"x")

def say(*words):
    print(*words, flush=True)
    sys.stdin.readline()

with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    with gilscope.trace("run.gilscope", quiet=True) as t:
        work(1000)
        say("begun")
        stood = time.monotonic_ns()
        work({turns})
        went_on = time.monotonic_ns()
        say("worked")
        work(1000)
print(stood - t.metadata["start_monotonic_ns"], went_on - t.metadata["start_monotonic_ns"])
print(*(w.message for w in seen))
"""


def ask(program) -> str:
    return program.stdout.readline()


def go_on(program) -> None:
    program.stdin.write("\n")
    program.stdin.flush()


def test_a_disk_that_stands_still_costs_no_time_and_losses_are_located(tmp_path):
    turns = 800_000
    with program_on_a_disk(PROGRAM.replace("{turns}", str(turns)), tmp_path) as (program, disk):
        assert ask(program) == "begun\n"
        disk.hold()
        go_on(program)
        # All of the work is done while not one byte is written: nothing waits for the recorder.
        assert ask(program) == "worked\n"
        disk.let_go()
        go_on(program)
        rest, errors = program.communicate()
    assert (program.returncode, errors) == (0, "")
    times, warned = rest.splitlines()
    stood, went_on = map(int, times.split())

    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert t.metadata["complete"]
    assert warned == ""
    # What the ring could not take is counted, to the last transition.
    dropped = t.metadata["dropped"]
    assert 2 * turns - SLOTS <= dropped
    assert 2 * (turns + 2000) <= t.metadata["transitions"] + dropped <= 2 * (turns + 2000) + 100
    assert any(f"{dropped} transitions found the ring full" in said for said in t.metadata["not_measured"])
    # Where: the ticks that tell of it enclose the time of which nothing was recorded, and all of that.
    samples = t.samples.to_pandas()
    assert samples.dropped.sum() == dropped
    hole = samples.index[samples.dropped > 0]
    begin, end = samples.time_ns[hole[0] - 1], samples.time_ns[hole[-1]]
    runs = t.intervals.to_pandas().query("state == 'run'")
    known_until = (runs.start_ns + runs.duration_ns)[runs.start_ns <= went_on].max()
    assert stood < known_until < went_on
    assert begin <= known_until
    assert went_on <= end
    assert gilscope.analysis.overhead(t).lost_ns[0] >= went_on - known_until


def test_a_disk_that_is_slow_for_less_than_the_ring_loses_nothing(tmp_path):
    turns = 400_000
    with program_on_a_disk(PROGRAM.replace("{turns}", str(turns)), tmp_path) as (program, disk):
        assert ask(program) == "begun\n"
        disk.hold()
        go_on(program)
        assert ask(program) == "worked\n"
        disk.let_go()
        go_on(program)
        program.communicate()
    assert program.returncode == 0
    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert (t.metadata["complete"], t.metadata["dropped"]) == (True, 0)
    assert t.metadata["transitions"] >= 2 * (turns + 2000)


def test_a_disk_that_gets_full_ends_the_recording_and_nothing_else(tmp_path):
    with program_on_a_disk(PROGRAM.replace("{turns}", "100_000"), tmp_path) as (program, disk):
        assert ask(program) == "begun\n"
        disk.hold()
        disk.let_go(errno.ENOSPC)
        go_on(program)
        assert ask(program) == "worked\n"
        go_on(program)
        rest, errors = program.communicate()
    assert (program.returncode, errors) == (0, "")
    times, warned = rest.splitlines()
    stood, _ = map(int, times.split())

    said = "writing failed (No space left on device); what came after is not in the trace"
    assert warned.endswith(said)
    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert not t.metadata["complete"]
    assert said in t.metadata["not_measured"]
    assert t.metadata["duration_ns"] <= stood


def test_a_folder_that_is_removed_costs_the_trace_and_not_the_program(tmp_path):
    (tmp_path / "p.py").write_text("""
import os, shutil, sys
shutil.rmtree("run.gilscope")
null = os.open(os.devnull, os.O_WRONLY)
for _ in range(200_000):
    os.write(null, b"x")
print("worked")
sys.exit(3)
""")
    result = python("-m", "gilscope", "run", "-o", "run.gilscope", "p.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (3, "worked\n")
    assert "the folder was removed or replaced" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["p.py"]
