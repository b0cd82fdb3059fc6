"""Ways in which a child process ends: at most its last moment is lost."""

import json
import signal

import pytest

import gilscope
from tests.support.processes.families import METHODS, assert_all_before, by_pid, check_all, run, traced

pytestmark = pytest.mark.clock


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("ctypes.string_at(0)", -signal.SIGSEGV),
        ("os._exit(5)", 5),
    ],
)
@pytest.mark.parametrize("begin", ["fork", "spawn"])
def test_a_child_that_dies_loses_at_most_its_last_moment(tmp_path, begin, end, status):
    start = {
        "fork": "if (pid := os.fork()) == 0: mark_time(write, die)",
        "spawn": """
        code = f"import sys; sys.path.insert(0, {os.getcwd()!r}); import program; "
        code += f"program.mark_time({write}, program.die)"
        pid = subprocess.Popen([sys.executable, "-c", code], pass_fds=[write]).pid""",
    }[begin]
    body = f"""
def die():
    {end}

if __name__ == "__main__":
    with gilscope.trace("run.gilscope", children=True):
        read, write = os.pipe()
        {start}
        os.close(write)
        marks = [int(line) for line in open(read)]
        print(json.dumps([pid, marks, wait(pid)]))
    os._exit(0)
"""
    pid, marks, found = json.loads(run(tmp_path, body).stdout)
    t = gilscope.load(tmp_path / "run.gilscope")
    assert found == status
    child = by_pid(t)[pid]
    assert not child.metadata["complete"]
    assert len(marks) == 12
    assert_all_before(child, marks, marks[-1])
    check_all(t)
    assert not (child.home / "spool.bin").exists()
    assert "cut short" in child.report()


@pytest.mark.parametrize("method", METHODS)
def test_a_daemonic_process_that_is_terminated(tmp_path, method):
    t, said = traced(
        tmp_path,
        f"""
        context = multiprocessing.get_context({method!r})
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=tick, args=(writer,), daemon=True)
        process.start()
        marks = [reader.recv() for _ in range(12)]
        process.terminate()
        process.join()
        said = [process.pid, marks, process.exitcode]
        """,
        prelude="""
def tick(writer):
    while True:
        ctypes.PyDLL(None).usleep(20_000)
        writer.send(time.monotonic_ns())
""",
    )
    pid, marks, status = said
    assert status == -signal.SIGTERM
    check_all(t)
    assert_all_before(by_pid(t)[pid], marks, marks[-1])


def test_a_recording_ends_at_exec_although_the_process_lives(tmp_path):
    body = """
if __name__ == "__main__":
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    again = f"import os, sys; {HOLD}; os.execv(sys.executable, [sys.executable, '-c', {code!r}])"
    with gilscope.trace("run.gilscope", children=True):
        process = subprocess.Popen(
            [sys.executable, "-c", again], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()
    spools = [os.path.exists(f"run.gilscope/children/{process.pid}{n}/spool.bin") for n in ("", "-1")]
    process.communicate()
    print(json.dumps(spools))
"""
    assert json.loads(run(tmp_path, body).stdout) == [False, True]
