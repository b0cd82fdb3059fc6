"""Ways in which a child process begins: each is recorded."""

import pytest

from tests.support import invariants
from tests.support.processes.families import (
    METHODS,
    assert_all_before,
    by_pid,
    check_all,
    events,
    holds_of,
    traced,
)

pytestmark = [pytest.mark.clock, pytest.mark.per_build]


def test_a_fork_that_exits_at_once_and_one_that_continues(tmp_path):
    t, said = traced(
        tmp_path,
        """
        read, write = os.pipe()
        if (quick := os.fork()) == 0:
            os._exit(3)
        if (slow := os.fork()) == 0:
            hold()
            sys.exit(4)
        said = [quick, wait(quick), slow, wait(slow)]
        """,
    )
    quick, status, slow, other = said
    assert (status, other) == (3, 4)
    check_all(t)
    assert by_pid(t).keys() == {quick, slow}
    assert holds_of(by_pid(t)[slow]) == 1
    assert by_pid(t)[slow].metadata["complete"]
    assert not by_pid(t)[quick].metadata["complete"]
    assert t.metadata["complete"]


@pytest.mark.parametrize("method", METHODS)
def test_multiprocessing(tmp_path, method):
    t, pids = traced(
        tmp_path,
        f"""
        context = multiprocessing.get_context({method!r})
        processes = [context.Process(target=hold) for _ in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        said = [process.pid for process in processes]
        """,
    )
    check_all(t)
    children = by_pid(t)
    assert [holds_of(children[pid]) for pid in pids] == [1, 1]
    assert all(children[pid].metadata["complete"] for pid in pids)
    assert len(children) == (3 if method == "forkserver" else 2)  # never the resource tracker


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_of_processes(tmp_path, method):
    t, pids = traced(
        tmp_path,
        f"""
        context = multiprocessing.get_context({method!r})
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            said = list(pool.map(hold, range(4)))
        """,
    )
    check_all(t)
    assert sum(holds_of(by_pid(t)[pid]) for pid in set(pids)) == 4
    assert all(by_pid(t)[pid].metadata["complete"] for pid in set(pids))


@pytest.mark.parametrize("how", ["-c", "-m", "script"])
def test_a_python_by_subprocess(tmp_path, how):
    (tmp_path / "holding.py").write_text("import ctypes; ctypes.PyDLL(None).usleep(50_000)")
    command = {"-c": '"-c", HOLD, "word"', "-m": '"-m", "holding"', "script": '"holding.py", "word"'}[how]
    t, pid = traced(
        tmp_path,
        f"""
        process = subprocess.Popen([sys.executable, "-X", "utf8", {command}])
        process.wait()
        said = process.pid
        """,
    )
    check_all(t)
    child = by_pid(t)[pid]
    assert holds_of(child) == 1
    assert child.metadata["complete"]
    first = {"-c": "-c", "-m": str(tmp_path / "holding.py"), "script": "holding.py"}[how]
    assert child.metadata["argv"] == [first, "word"][: len(child.metadata["argv"])]


def test_a_grandchild_is_a_child_of_the_same_trace(tmp_path):
    t, pid = traced(
        tmp_path,
        """
        code = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
        process = subprocess.Popen([sys.executable, "-c", code, HOLD])
        said = [process.pid, process.wait()][0]
        """,
    )
    check_all(t)
    child, grandchild = t.children
    assert child.metadata["pid"] == pid == grandchild.metadata["ppid"]
    assert (holds_of(child), holds_of(grandchild)) == (0, 1)
    assert t.metadata["start_monotonic_ns"] < child.metadata["start_monotonic_ns"]


def test_exec_is_a_second_recording_of_one_process(tmp_path):
    t, said = traced(
        tmp_path,
        """
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            mark_time(write, lambda: os.execv(sys.executable, [sys.executable, "-c", HOLD]))
        os.close(write)
        marks = [int(line) for line in open(read)]
        said = [pid, marks, wait(pid)]
        """,
    )
    pid, marks, status = said
    assert status == 0
    assert [child.metadata["pid"] for child in t.children] == [pid, pid]
    before, after = t.children
    assert not before.metadata["complete"]
    assert_all_before(before, marks, marks[-1])
    assert (holds_of(after), after.metadata["complete"]) == (1, True)
    assert not list(tmp_path.glob("run.gilscope/children/*/spool.bin"))
    invariants.check(before)
    # Their lanes differ, and their rows.
    assert set(t.all_processes("threads")["process"].to_pylist()) == {0, 1, 2}
    t.to_viztracer(tmp_path / "run.json")
    lanes = [e for e in events(tmp_path / "run.json") if e["name"] == "thread_name" and e["pid"] == pid]
    assert len({lane["tid"] for lane in lanes}) == len(lanes) == 4


def test_a_function_before_exec_is_not_a_process_of_its_own(tmp_path):
    t, pid = traced(
        tmp_path,
        """
        process = subprocess.Popen([sys.executable, "-c", HOLD], preexec_fn=os.setsid)
        said = [process.pid, process.wait()][0]
        """,
    )
    assert by_pid(t).keys() == {pid}
