"""Child processes take over the options of their trace."""

import json

import pytest

import gilscope
from tests.support.processes.families import by_pid, check_all, run

SHOW = "import sys; print(sys.getswitchinterval(), flush=True)"

BEGIN = {
    "fork": "pid = fork_and_show()",
    "fork of a fork": "pid = fork_and_show(fork_and_show)",
    "new Python": "pid = new_python(SHOW)",
    "new Python of a new Python": "pid = new_python(NEW_PYTHON)",
    "fork of a new Python": "pid = new_python(FORK)",
}

PROGRAM = """
SHOW = {show!r}
NEW_PYTHON = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {{SHOW!r}}])"
FORK = f"import os; pid = os.fork()\\nif pid == 0:\\n    {{SHOW}}\\nelse:\\n    os.waitpid(pid, 0)"

def fork_and_show(what=lambda: exec(SHOW)):
    if (pid := os.fork()) == 0:
        what()
        sys.exit()
    wait(pid)
    return pid

def new_python(code):
    # Without its warnings: since 3.12 a fork warns of other threads, such as the sampler.
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
    process.wait()
    return process.pid

if __name__ == "__main__":
    {before}
    with gilscope.trace("run.gilscope", children=True, {options}):
        {inside}
        {begin}
        print(json.dumps(sys.getswitchinterval()))
"""


def traced(folder, begin, options="", before="pass", inside="pass"):
    """Run a program with a child; return its trace, and the switch interval of child and parent in s."""
    parts = {"show": SHOW, "begin": BEGIN[begin], "options": options, "before": before, "inside": inside}
    *child, parent = run(folder, PROGRAM.format(**parts)).stdout.splitlines()
    t = gilscope.load(folder / "run.gilscope")
    check_all(t)
    return t, json.loads(child[0]), json.loads(parent)


def intervals_of(t):
    """Return the switch intervals of a trace in nanoseconds, each with its source."""
    return [(row["interval_ns"], row["source"]) for row in t.switch_intervals.to_pylist()]


@pytest.mark.parametrize("begin", BEGIN)
def test_all_options_reach_every_process(tmp_path, begin):
    t, child, parent = traced(tmp_path, begin, "edges='sampled', period=0.002, switch_interval=0.0005")
    assert (child, parent) == (0.0005, 0.0005)
    assert len(t.children) == (2 if " of " in begin else 1)
    for one in (t, *t.children):
        assert (one.metadata["edges"], one.metadata["edges_reason"]) == ("sampled", "asked for")
        assert one.metadata["period_s"] == 0.002
        assert intervals_of(one) == [(500_000, "trace argument")]
        assert one.metadata["complete"]


@pytest.mark.parametrize("begin", BEGIN)
def test_options_that_are_not_given_have_their_defaults(tmp_path, begin):
    t, child, _ = traced(tmp_path, begin)
    assert child == 0.005
    for one in (t, *t.children):
        assert (one.metadata["edges"], one.metadata["period_s"]) == ("exact", 0.01)
        assert intervals_of(one) == [(5_000_000, "start")]


@pytest.mark.parametrize(
    ("begin", "found"), [("fork", 0.002), ("fork of a fork", 0.002), ("new Python", 0.0005)]
)
def test_a_fork_has_the_interval_that_the_program_has_set(tmp_path, begin, found):
    t, child, parent = traced(
        tmp_path, begin, "switch_interval=0.0005", inside="sys.setswitchinterval(0.002)"
    )
    assert (child, parent) == (found, 0.002)
    source = "start" if found == 0.002 else "trace argument"
    assert [intervals_of(one) for one in t.children] == [[(round(found * 1e9), source)]] * len(t.children)


def test_a_fork_has_the_interval_of_the_trace_whatever_was_before(tmp_path):
    _, child, parent = traced(
        tmp_path, "fork", "switch_interval=0.0005", before="sys.setswitchinterval(0.002)"
    )
    assert (child, parent) == (0.0005, 0.0005)


def test_the_interval_is_put_back_where_the_recording_of_a_child_ends(tmp_path):
    body = """
OWN = (
    "import gilscope, sys; print(sys.getswitchinterval());"
    "t = gilscope.trace('own.gilscope'); t.__enter__();"
    "print(sys.getswitchinterval()); t.__exit__(None, None, None)"
)
if __name__ == "__main__":
    with gilscope.trace("run.gilscope", children=True, switch_interval=0.0005):
        process = subprocess.Popen([sys.executable, "-c", OWN])
        process.wait()
    print(process.pid)
"""
    *said, pid = run(tmp_path, body).stdout.split()
    assert said == ["0.0005", "0.005"]
    t = gilscope.load(tmp_path / "run.gilscope")
    assert intervals_of(by_pid(t)[int(pid)]) == [(500_000, "trace argument")]
    assert intervals_of(gilscope.load(tmp_path / "own.gilscope")) == [(5_000_000, "start")]
