"""Child processes that are there when the trace is over."""

import json

import gilscope
from tests.support.processes import by_pid, check_all, holds_of, run


def test_one_that_outlives_the_trace_stays_a_spool_until_it_ends(tmp_path):
    body = """
if __name__ == "__main__":
    code = HOLD + "; print(1, flush=True); import sys; sys.stdin.read()"
    with gilscope.trace("run.gilscope", children=True) as t:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "1\\n"
    lives = os.path.exists(f"run.gilscope/children/{process.pid}/spool.bin")
    [child] = t.children
    begun = child.metadata["pid"] == process.pid and not child.metadata["complete"]
    saved = gilscope.load(t.save("saved.gilscope")).children[0].metadata["pid"] == process.pid
    late = subprocess.run([sys.executable, "-c", "print(1)"], stdout=subprocess.PIPE)
    process.communicate()
    print(json.dumps([lives, begun, saved, late.returncode, process.returncode]))
"""
    result = run(tmp_path, body)
    assert json.loads(result.stdout) == [True, True, True, 0, 0]
    t = gilscope.load(tmp_path / "run.gilscope")
    [child] = t.children
    assert child.metadata["complete"]
    assert holds_of(child) == 1
    assert child.home is not None
    assert (child.home / "spool.bin").exists()
    check_all(t)


def test_one_that_outlives_the_trace_starts_others_that_are_not_in_it(tmp_path):
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
