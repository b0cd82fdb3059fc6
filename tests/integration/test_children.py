"""Child processes: each has a trace of its own under its parent's, however it begins and ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gilscope
from gilscope import analysis, errors
from tests.support import invariants
from tests.support.processes import HOLD_NS, by_pid, holds_of, program, run, traced
from tests.support.programs import python

METHODS = ("fork", "spawn", "forkserver")


def check_all(t):
    """Assert what is true of a trace and of those of all its children."""
    invariants.check(t)
    for child in t.children:
        invariants.check(child)
        assert child.metadata["start_monotonic_ns"] >= t.metadata["start_monotonic_ns"]
        assert child.metadata["ppid"] in {t.metadata["pid"], *by_pid(t)}


# ---- ways in which a child begins ----


def test_a_fork_that_leaves_at_once_and_one_that_goes_on(tmp_path):
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
    assert len(children) == 3 if method == "forkserver" else 2  # never the resource tracker


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


def test_a_function_before_exec_is_no_process_of_its_own(tmp_path):
    t, pid = traced(
        tmp_path,
        """
        process = subprocess.Popen([sys.executable, "-c", HOLD], preexec_fn=os.setsid)
        said = [process.pid, process.wait()][0]
        """,
    )
    assert by_pid(t).keys() == {pid}


# ---- ways in which it ends ----


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
def test_one_that_dies_loses_no_more_than_its_last_moment(tmp_path, begin, end, status):
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


def test_what_came_before_exec_is_over_although_the_process_lives(tmp_path):
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


# ---- nothing of the program changes ----


@pytest.mark.parametrize("path", [None, "", "/somewhere:/else", os.fsdecode(b"/\xff")])
def test_the_environment_is_put_back(monkeypatch, path):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    before = dict(os.environb)
    for _ in range(2):
        with gilscope.trace(None, children=True) as t:
            assert before.items() <= {**os.environb, b"PYTHONPATH": before.get(b"PYTHONPATH")}.items()
            first, *rest = os.environ["PYTHONPATH"].split(os.pathsep)
            assert (Path(first) / "sitecustomize.py").exists()
            assert rest == (path.split(os.pathsep) if path else [])
        assert dict(os.environb) == before
        assert t.children == []


def test_what_the_program_sets_meanwhile_stays(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/before")
    with gilscope.trace(None, children=True):
        os.environ["PYTHONPATH"] = "/mine" + os.pathsep + os.environ["PYTHONPATH"]
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["/mine", "/before"])
    with gilscope.trace(None, children=True):
        del os.environ["PYTHONPATH"], os.environ["GILSCOPE_CHILDREN"]
    assert "PYTHONPATH" not in os.environ
    assert "GILSCOPE_CHILDREN" not in os.environ


def test_a_trace_without_children_says_nothing_to_them(tmp_path):
    before = dict(os.environ)
    with gilscope.trace(tmp_path / "run.gilscope") as t:
        assert dict(os.environ) == before
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert t.children == []
    assert not (tmp_path / "run.gilscope" / "children").exists()


@pytest.mark.parametrize("own", [True, False], ids=["with a sitecustomize of its own", "without"])
def test_a_child_starts_as_it_would_without_us(tmp_path, own):
    (tmp_path / "site").mkdir()
    if own:
        (tmp_path / "site" / "sitecustomize.py").write_text("import sys; sys.mine = __file__; print('site')")
    look = (
        "import sys; s = sys.modules.get('sitecustomize'); "
        "print(sys.path, sys.argv, getattr(sys, 'mine', None), s and s.__file__, sys.flags)"
    )
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    bare = python("-c", look, "word", cwd=tmp_path, env=environment)
    _, said = traced(
        tmp_path,
        f"""
        done = subprocess.run([sys.executable, "-c", {look!r}, "word"], capture_output=True, text=True)
        said = [done.stdout, done.stderr, done.returncode]
        """,
        env=environment,
    )
    assert said == [bare.stdout, bare.stderr, bare.returncode]
    assert ("site\n" in bare.stdout) == own


def test_what_fails_in_a_sitecustomize_is_told_as_before(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("1 / 0")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    bare = python("-c", "print(1)", cwd=tmp_path, env=environment)
    script = program(
        tmp_path,
        """
        with gilscope.trace("run.gilscope", children=True) as t:
            done = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True)
        print(json.dumps([done.stdout, done.stderr, done.returncode]))
        """,
    )
    said = python(str(script), cwd=tmp_path, env=environment).stdout
    assert "ZeroDivisionError" in bare.stderr
    assert json.loads(said) == [bare.stdout, bare.stderr, bare.returncode]


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_pythons_that_look_at_no_environment_go_untraced(tmp_path, flag):
    t, said = traced(
        tmp_path,
        f"""
        done = subprocess.run([sys.executable, {flag!r}, "-c", "print(1)"], capture_output=True, text=True)
        said = [done.stdout, done.stderr, done.returncode]
        """,
    )
    assert said == ["1\n", "", 0]
    assert t.children == []


BASE = getattr(sys, "_base_executable", sys.executable)
"""The Python behind this virtual environment, without what is installed here."""


def other_pythons():
    """Pythons that have no gilscope, or cannot have one."""
    found = [BASE] if sys.executable != BASE else []
    return found + [
        str(p) for p in Path.home().glob(".pyenv/versions/[23].*/bin/python") if "3.11" not in str(p)
    ]


@pytest.mark.parametrize("other", other_pythons() or [None])
def test_pythons_without_gilscope_go_untraced(tmp_path, other):
    if other is None:
        pytest.skip("no other Python here")
    t, said = traced(
        tmp_path,
        f"""
        done = subprocess.run([{other!r}, "-c", "print(1)"], capture_output=True, text=True)
        said = [done.stdout, done.stderr, done.returncode]
        """,
    )
    assert said == ["1\n", "", 0]
    assert t.children == []


@pytest.mark.parametrize(
    "module", ["raise RuntimeError('no')", "", "import nothing_of_this_name", "def broken(:"]
)
@pytest.mark.skipif(sys.executable == BASE, reason="not in a virtual environment")
def test_a_gilscope_of_another_kind_in_the_child_costs_its_trace_only(tmp_path, module):
    (tmp_path / "site" / "gilscope").mkdir(parents=True)
    (tmp_path / "site" / "gilscope" / "__init__.py").write_text(module)
    t, said = traced(
        tmp_path,
        f"""
        path = os.environ["PYTHONPATH"] + os.pathsep + os.path.abspath("site")
        done = subprocess.run(
            [{BASE!r}, "-c", "print(1)"],
            env={{**os.environ, "PYTHONPATH": path}},
            capture_output=True,
            text=True,
        )
        said = [done.stdout, done.stderr, done.returncode]
        """,
    )
    assert said == ["1\n", "", 0]
    assert t.children == []


FORK = "if (pid := os.fork()) == 0: os._exit(hold() != os.getpid())"
SPAWN = 'pid = subprocess.Popen([sys.executable, "-c", HOLD]{}).pid'
LIMITED = SPAWN.format(", preexec_fn=lambda: limit('FSIZE', 0)")


@pytest.mark.parametrize(
    ("hinder", "begin"),
    [
        ("limit('FSIZE', 0)", FORK),
        ("pass", LIMITED),
        ("limit('NOFILE', 3)", FORK),
        ("shutil.rmtree('run.gilscope/children')", FORK),
        ("shutil.rmtree('run.gilscope/children')", SPAWN.format("")),
        ("shutil.rmtree('run.gilscope/children'); open('run.gilscope/children', 'w').close()", FORK),
        ("os.environ['GILSCOPE_CHILDREN'] = '{'", SPAWN.format("")),
        ("os.environ['GILSCOPE_CHILDREN'] = '[]'", SPAWN.format("")),
        ("del os.environ['GILSCOPE_CHILDREN']", SPAWN.format("")),
    ],
)
def test_a_child_that_cannot_be_recorded_is_not_and_goes_on(tmp_path, hinder, begin):
    body = f"""
import resource, shutil

def limit(what, soft):
    kind = getattr(resource, "RLIMIT_" + what)
    resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))

if __name__ == "__main__":
    before = resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_FSIZE)
    with gilscope.trace("run.gilscope", children=True):
        {hinder}
        {begin}
        resource.setrlimit(resource.RLIMIT_NOFILE, before[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        status = wait(pid)
    print(json.dumps([status, pid]))
"""
    status, pid = json.loads(run(tmp_path, body).stdout)
    assert status == 0
    t = gilscope.load(tmp_path / "run.gilscope")
    assert t.children == []
    assert pid not in t.threads["native_id"].to_pylist()


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


# ---- one trace of many processes ----


def events(path):
    return json.loads(path.read_text())["traceEvents"]


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Return a trace of a process with two children, one after the other, and their pids."""
    t, pids = traced(
        tmp_path_factory.mktemp("family"),
        """
        said = []
        for _ in range(2):
            process = subprocess.Popen([sys.executable, "-c", HOLD])
            process.wait()
            said.append(process.pid)
        hold()
        """,
    )
    return t, pids


def test_children_are_in_order_of_their_beginnings(family):
    t, pids = family
    assert [child.metadata["pid"] for child in t.children] == pids
    assert t.children is t.children
    for name in ("intervals", "threads", "handoffs", "switch_intervals", "samples", "marks"):
        assert t.all_processes(name).num_rows == sum(p.table(name).num_rows for p in (t, *t.children))


def test_tables_of_all_processes_are_on_one_clock(family):
    t, pids = family
    table = t.all_processes("intervals")
    assert table.column_names == ["pid", "process", *t.intervals.column_names]
    frame = table.to_pandas()
    holds = frame[(frame.state == "run") & (frame.duration_ns >= HOLD_NS)].sort_values("start_ns")
    assert holds.pid.tolist() == [*pids, t.metadata["pid"]]
    assert holds.process.tolist() == [1, 2, 0]
    ends = holds.start_ns + holds.duration_ns
    assert (holds.start_ns.iloc[1:].to_numpy() >= ends.iloc[:-1].to_numpy()).all()
    own = frame[frame.process == 0].drop(columns=["pid", "process"]).reset_index(drop=True)
    assert own.equals(t.intervals.to_pandas())
    shift = t.children[1].metadata["start_monotonic_ns"] - t.metadata["start_monotonic_ns"]
    first = frame[frame.process == 2].start_ns - t.children[1].intervals.to_pandas().start_ns.to_numpy()
    assert set(first) == {shift}
    assert t.all_processes("handoffs").num_rows >= t.handoffs.num_rows
    with pytest.raises(KeyError):
        t.all_processes("nothing")


def test_one_timeline_has_the_lanes_of_all(family, tmp_path):
    t, pids = family
    t.to_viztracer(tmp_path / "run.json")
    found = events(tmp_path / "run.json")
    for pid in (t.metadata["pid"], *pids):
        mine = [e for e in found if e["pid"] == pid]
        named = {e["tid"]: e["args"]["name"] for e in mine if e["name"] == "thread_name"}
        assert any("MainThread" in name for name in named.values())
        assert any("holder" in name for name in named.values())
        runs = [e for e in mine if e["name"] == "run" and e["dur"] >= HOLD_NS / 1000]
        assert len(runs) == 1
        assert "MainThread" in named[runs[0]["tid"]]
    starts = [e["ts"] for pid in pids for e in found if e["pid"] == pid and e["name"] == "run"]
    assert min(starts) >= t.metadata["start_monotonic_ns"] / 1000


def test_a_window_shows_those_that_were_on(family, tmp_path):
    t, pids = family
    begins = (t.children[1].metadata["start_monotonic_ns"] - t.metadata["start_monotonic_ns"]) / 1e9
    t.to_viztracer(tmp_path / "run.json", window=(begins, t.metadata["duration_ns"] / 1e9))
    assert {e["pid"] for e in events(tmp_path / "run.json")} == {t.metadata["pid"], pids[1]}
    with pytest.warns(RuntimeWarning, match="are more than 20"):
        t.to_viztracer(tmp_path / "cut.json", max_slices=20)
    slices = [e for e in events(tmp_path / "cut.json") if e.get("cat") == "gil" and e["ph"] == "X"]
    assert 0 < len([e for e in slices if e["name"] in ("run", "wait")]) <= 20


def test_merging_adds_all_once(family, tmp_path):
    t, pids = family
    for content in ('{"traceEvents": [], "viztracer_metadata": {}}', '{"a": 1, "traceEvents": []}'):
        report = tmp_path / "report.json"
        report.write_text(content)
        t.merge_into(report)
        merged = report.read_bytes()
        assert {e["pid"] for e in events(report)} == {t.metadata["pid"], *pids}
        t.merge_into(report)
        assert report.read_bytes() == merged


def test_the_report_has_a_line_for_each(family):
    t, pids = family
    text = t.report()
    # Long paths are folded.
    assert f"gilscopereport{t.home}/children/" in "".join(text.split())
    lines = [line.split() for line in text.splitlines()]
    assert all(sum(words[:2] == [str(pid), "-c"] for words in lines) == 1 for pid in pids)
    rows = json.loads(t.report("json"))["children"]
    assert [row["pid"] for row in rows] == pids
    for row, child in zip(rows, t.children, strict=True):
        assert row["duration_ns"] == child.metadata["duration_ns"]
        assert row["held_share"] == pytest.approx(analysis.overhead(child).held_share.item())
        assert gilscope.load(t.home / row["path"]).metadata == child.metadata
    page = t.report("html")
    assert "Child processes (2)" in page
    assert all(f"<tr><td>{pid}</td><td>-c</td>" in page for pid in pids)
    assert "Child processes" not in t.children[0].report() + t.children[0].report("html")


def test_info_lists_them_and_export_has_them(family, tmp_path):
    t, pids = family
    info = python("-m", "gilscope", "info", str(t.home), cwd=tmp_path)
    assert [row["pid"] for row in json.loads(info.stdout)["children"]] == pids
    done = python("-m", "gilscope", "export", str(t.home), "-o", "run.json", cwd=tmp_path)
    assert done.returncode == 0
    assert {e["pid"] for e in events(tmp_path / "run.json")} == {t.metadata["pid"], *pids}


def test_a_copy_has_the_children_and_what_it_replaces_goes_with_its_own(family, tmp_path):
    t, _ = family
    for _ in range(2):
        copy = gilscope.load(t.save(tmp_path / "copy.gilscope", overwrite=True))
        assert [child.metadata for child in copy.children] == [child.metadata for child in t.children]
    with gilscope.trace(tmp_path / "copy.gilscope", overwrite=True, children=True):
        pass
    assert gilscope.load(tmp_path / "copy.gilscope").children == []


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


def test_a_damaged_child_is_left_out_with_a_warning(family, tmp_path):
    t, pids = family
    copy = t.save(tmp_path / "copy.gilscope")
    (copy / "children" / str(pids[0]) / "metadata.json").write_text("{")
    (copy / "children" / "1").mkdir()
    (copy / "children" / "notes.txt").write_text("mine")
    with pytest.warns(RuntimeWarning, match=f"left out: .*{pids[0]}"):
        children = gilscope.load(copy).children
    assert [child.metadata["pid"] for child in children] == pids[1:]


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
