"""Child processes that outlive the trace."""

import inspect
import json

import pytest

import gilscope
from tests.support.processes.closing import closing
from tests.support.processes.families import by_pid, check_all, holds_of, program, run
from tests.support.processes.programs import python

pytestmark = pytest.mark.clock

BEGIN = {
    "fork": """
        if (pid := os.fork()) == 0:
            os.close(go)
            live(wait_for, say)
            sys.exit()
""",
    "new Python": """
        code = f"import sys; sys.path.insert(0, {os.getcwd()!r}); import program; "
        code += f"program.live({wait_for}, {say})"
        pid = subprocess.Popen([sys.executable, "-c", code], pass_fds=[wait_for, say]).pid
""",
}
BEFORE = """
import select

def live(wait_for, say):
    for word in (b"1", b"2"):
        hold()
        os.write(say, word)
        os.read(wait_for, 1)

if __name__ == "__main__":
    wait_for, go = os.pipe()
    heard, say = os.pipe()
    with gilscope.trace("run.gilscope", children=True, edges=sys.argv[1]) as t:
"""
AFTER = """
        assert os.read(heard, 1) == b"1"
        folder = f"run.gilscope/children/{pid}"
        gilscope.load(folder).save("meanwhile.gilscope")
        wait_until_closed = closing(folder + "/spool.bin")
    pids = [child.metadata["pid"] for child in t.children]
    wait_until_closed()
    over, size = time.monotonic_ns(), os.stat(folder + "/spool.bin").st_size
    t.save("saved.gilscope")
    os.write(go, b"1")
    assert os.read(heard, 1) == b"2"
    late = subprocess.run([sys.executable, "-c", "print(1)"], stdout=subprocess.PIPE).returncode
    os.write(go, b"2")
    status = wait(pid)
    grown = os.stat(folder + "/spool.bin").st_size - size
    print(json.dumps([pid, pids, over, grown, late, status]))
"""


@pytest.mark.parametrize("edges", ["exact", "sampled"])
@pytest.mark.parametrize("begin", BEGIN)
def test_a_child_that_outlives_the_trace_is_recorded_until_its_end(tmp_path, begin, edges):
    body = inspect.getsource(closing) + BEFORE + BEGIN[begin] + AFTER
    script = program(tmp_path, body)
    done = python("-W", "ignore", str(script), edges, cwd=tmp_path)
    assert (done.stderr, done.returncode) == ("", 0)
    pid, pids, over, grown, late, status = json.loads(done.stdout)
    assert pids == [pid]
    assert (grown, late, status) == (0, 0, 0)
    t = gilscope.load(tmp_path / "run.gilscope")
    check_all(t)
    [child] = t.children
    assert (child.metadata["pid"], child.metadata["complete"]) == (pid, True)
    (begin_ns, end_ns), (child_begin_ns, child_end_ns) = times(t), times(child)
    assert begin_ns < child_begin_ns
    assert end_ns <= child_end_ns <= over
    # What others saw of it: while it was recorded, and while it went on without.
    meanwhile = gilscope.load(tmp_path / "meanwhile.gilscope")
    check_all(meanwhile)
    assert not meanwhile.metadata["complete"]
    assert meanwhile.metadata["duration_ns"] < child.metadata["duration_ns"]
    [saved] = gilscope.load(tmp_path / "saved.gilscope").children
    assert saved.metadata["complete"]
    assert times(saved) == times(child)
    if edges == "exact":  # how long a hold was that ticks saw is an estimate
        assert holds_of(saved) == holds_of(child) == 1


def times(t):
    """Return when a trace began and ended, on the clock of all processes."""
    begin = t.metadata["start_monotonic_ns"]
    return begin, begin + t.metadata["duration_ns"]


def test_children_of_one_that_outlives_the_trace_are_not_in_it(tmp_path):
    body = """
if __name__ == "__main__":
    code = "import sys, subprocess; print(1, flush=True); sys.stdin.read(); " \\
        "sys.exit(subprocess.call([sys.executable, '-c', '']))"
    with gilscope.trace("run.gilscope", children=True):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
    process.communicate()
    print(json.dumps([process.pid, process.returncode]))
"""
    pid, status = json.loads(run(tmp_path, body).stdout)
    assert status == 0
    assert by_pid(gilscope.load(tmp_path / "run.gilscope")).keys() == {pid}


def test_the_next_trace_of_one_path_is_not_joined_by_processes_of_the_last(tmp_path):
    body = """
if __name__ == "__main__":
    code = "import sys, subprocess; print(1, flush=True); sys.stdin.read(); " \\
        "subprocess.run([sys.executable, '-c', ''])"
    with gilscope.trace(children=True):
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
    with gilscope.trace(children=True) as t:
        out, error = process.communicate()
    print(json.dumps([process.returncode, out, len(t.children)]))
"""
    assert json.loads(run(tmp_path, body).stdout) == [0, "", 0]
