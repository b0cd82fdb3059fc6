"""Several traces: in a child, one after the other, of a parent that was killed, by the command."""

import json
import os
import signal

import pytest

import gilscope
from gilscope import errors
from tests.support.processes.families import check_all, holds_of, program, run, traced
from tests.support.processes.programs import python

pytestmark = pytest.mark.clock


def test_a_child_that_begins_a_trace_of_its_own_may(tmp_path):
    t, said = traced(
        tmp_path,
        """
        code = (
            "import gilscope, os, json, subprocess, sys; " + HOLD + "\\n"
            "with gilscope.trace('own.gilscope', children=True) as t:\\n"
            "    subprocess.run([sys.executable, '-c', '']); " + HOLD + "\\n"
            "print(len(t.children), t.metadata['complete'])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        said = [done.stdout, done.stderr, done.returncode]
        """,
    )
    assert said == ["1 True\n", "", 0]
    assert [(holds_of(child), child.metadata["complete"]) for child in t.children] == [(1, True)]
    check_all(gilscope.load(tmp_path / "own.gilscope"))


def test_without_children_a_second_trace_is_still_refused():
    with gilscope.trace(None, children=True):
        with pytest.raises(errors.TraceActiveError):
            gilscope.trace(None, children=True).__enter__()
        assert "GILSCOPE_CHILDREN" in os.environ


def test_without_a_path_nothing_stays(tmp_path):
    body = """
if __name__ == "__main__":
    with gilscope.trace(None, children=True) as t:
        subprocess.run([sys.executable, "-c", HOLD])
    [child] = t.children
    print(json.dumps([child.metadata["complete"], str(t.home)]))
"""
    complete, home = json.loads(run(tmp_path, body).stdout)
    assert complete
    assert not os.path.exists(home)


def test_two_traces_one_after_the_other_have_each_their_own(tmp_path):
    body = """
if __name__ == "__main__":
    said = []
    for name in "ab":
        with gilscope.trace(name, children=True, edges="exact" if name == "a" else "sampled"):
            process = subprocess.Popen([sys.executable, "-c", HOLD])
            process.wait()
        said.append(process.pid)
        subprocess.run([sys.executable, "-c", HOLD])
    print(json.dumps(said))
"""
    pids = json.loads(run(tmp_path, body).stdout)
    for name, edges, pid in zip("ab", ("exact", "sampled"), pids, strict=True):
        [child] = gilscope.load(tmp_path / name).children
        assert (child.metadata["pid"], child.metadata["edges"]) == (pid, edges)


def test_what_a_killed_parent_left_loads_with_its_children(tmp_path):
    body = """
if __name__ == "__main__":
    with gilscope.trace("run.gilscope", children=True):
        print(subprocess.run([sys.executable, "-c", HOLD]).returncode, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = python(str(program(tmp_path, body)), cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("0\n", -signal.SIGKILL)
    t = gilscope.load(tmp_path / "run.gilscope")
    assert [holds_of(child) for child in t.children] == [1]
    copy = gilscope.load(t.save(tmp_path / "copy.gilscope"))
    assert [holds_of(child) for child in copy.children] == [1]


@pytest.mark.parametrize("how", ["script", "-m"])
def test_the_command_follows_children(tmp_path, how):
    body = """
def tick(writer):
    while True:
        hold()
        writer.send(1)

if __name__ == "__main__":
    subprocess.run([sys.executable, "-c", HOLD])
    context = multiprocessing.get_context("fork")  # a server of forks would outlive the trace
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        list(pool.map(hold, range(1)))
    reader, writer = context.Pipe(duplex=False)
    context.Process(target=tick, args=(writer,), daemon=True).start()
    print([reader.recv() for _ in range(6)])
"""
    script = str(program(tmp_path, body)) if how == "script" else "program"
    program(tmp_path, body)
    command = [script] if how == "script" else ["-m", "program"]
    done = python("-W", "ignore", "-m", "gilscope", "run", "--children", *command, cwd=tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 1, 1, 1, 1, 1]\n", "", 0)
    t = gilscope.load(tmp_path / "trace.gilscope")
    check_all(t)
    # The process that was terminated at exit may have lost its last 100 ms.
    assert sum(holds_of(child) for child in t.children) >= 1 + 1 + 3
    assert not list(tmp_path.glob("trace.gilscope/children/*/spool.bin"))
