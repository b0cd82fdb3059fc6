"""``gilscope run`` runs a program as ``python`` would; the other commands read its trace."""

import gzip
import json
import os
import signal
import subprocess
import sys
import urllib.request

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.programs import python

PROGRAM = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

def work():
    return sum(range(50_000))

pool = ThreadPoolExecutor(2, thread_name_prefix="pool")
folder = sys.argv[0].rpartition("/")[0]
print(sys.argv[1:], __name__, sys.path[0] == folder, list(pool.map(len, ["a", "bc"])))

def late():
    time.sleep(0.05)
    print("thread", work() > 0, __name__)

threading.Thread(target=late, name="late").start()
atexit.register(print, "at exit")
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_argv_main_path_pools_late_threads_and_atexit_are_as_under_python(tmp_path, script):
    bare = python(str(script), "a", "-o", "b", cwd=tmp_path)
    traced = python("-m", "gilscope", "run", "-o", "out.gilscope", str(script), "a", "-o", "b", cwd=tmp_path)

    assert (traced.stdout, traced.stderr, traced.returncode) == (bare.stdout, bare.stderr, bare.returncode)
    assert "['a', '-o', 'b'] __main__ True [1, 2]" in traced.stdout
    t = gilscope.load(tmp_path / "out.gilscope")
    invariants.check(t)
    assert {"MainThread", "late", "pool_0"} <= set(t.threads["name"].to_pylist())
    assert t.metadata["argv"] == [str(script), "a", "-o", "b"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('words')", 1),
        ("raise ValueError('mine')", 1),
        ("def f():\n    raise KeyError(1)\nf()", 1),
        ("this is no python", 1),
        ("import os; os._exit(5)", 5),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("import signal; signal.raise_signal(signal.SIGINT)", -signal.SIGINT),
    ],
)
def test_ends_are_as_under_python(tmp_path, body, status):
    (tmp_path / "p.py").write_text(body)
    bare = python("p.py", cwd=tmp_path)
    traced = python("-m", "gilscope", "run", "p.py", cwd=tmp_path)

    assert bare.returncode == status
    assert (traced.returncode, traced.stdout, traced.stderr) == (status, bare.stdout, bare.stderr)
    t = gilscope.load(tmp_path / "trace.gilscope")
    assert t.metadata["complete"] == (status not in (5, -signal.SIGTERM))


def test_a_module_is_run_with_m(tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__main__.py").write_text("import sys; print(sys.argv[1:], __name__, __package__)")
    bare = python("-m", "pkg", "-q", "x", cwd=tmp_path)
    traced = python("-m", "gilscope", "run", "-m", "pkg", "-q", "x", cwd=tmp_path)

    assert (traced.stdout, traced.stderr) == (bare.stdout, bare.stderr)
    assert traced.stdout == "['-q', 'x'] __main__ pkg\n"


def test_errors_of_gilscope_are_one_line_and_status_2(tmp_path):
    (tmp_path / "p.py").write_text("print('ran')")
    for arguments, message in (
        (("run", "none.py"), "no such script"),
        (("run",), "nothing to run"),
        (("run", "--period", "0", "p.py"), "period must be"),
        (("run", "--period", "soon", "p.py"), "is not a duration"),
        (("report",), "no such trace"),
        (("report", "p.py"), "this is no trace"),
        (("export", "-o", "x.txt"), "no such trace"),
    ):
        result = python("-m", "gilscope", *arguments, cwd=tmp_path)
        assert (result.returncode, "ran" in result.stdout) == (2, False), arguments
        assert message in result.stderr
        assert "Traceback" not in result.stderr


def test_report_info_and_export_read_the_default_trace(tmp_path, script):
    python("-m", "gilscope", "run", "--switch-interval", "1ms", str(script), cwd=tmp_path)
    report = python("-m", "gilscope", "report", cwd=tmp_path)
    figures = json.loads(python("-m", "gilscope", "report", "--json", cwd=tmp_path).stdout)
    info = json.loads(python("-m", "gilscope", "info", cwd=tmp_path).stdout)
    export = python("-m", "gilscope", "export", "-o", "t.json", cwd=tmp_path)

    assert "switch interval 1.00 ms" in report.stdout
    assert max(map(len, report.stdout.splitlines())) <= 100
    assert {r["thread_name"] for r in figures["threads"]} >= {"MainThread", "late"}
    assert info["rows"]["threads"] == len(figures["threads"])
    assert export.stdout == "t.json\n"
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


def test_the_installed_command_is_the_same(tmp_path):
    command = os.path.join(os.path.dirname(sys.executable), "gilscope")
    version = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"gilscope {gilscope.__version__}\n"


def test_a_reader_that_stops_early_is_not_an_error(tmp_path, script):
    python("-m", "gilscope", "run", str(script), cwd=tmp_path)
    shell = subprocess.run(
        f"'{sys.executable}' -m gilscope report --json | head -c 1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (shell.stdout, shell.stderr) == ("{", "")


def test_doctor_proves_this_interpreter(tmp_path):
    result = python("-m", "gilscope", "doctor", cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("ok   ") == 5
    assert "exact edges: layout proven" in result.stdout
    # Since 3.12 there can be other GILs than the main interpreter's.
    assert ("records their GILs too" in result.stdout) == (sys.version_info >= (3, 12))


def test_view_serves_the_timeline_until_interrupted(tmp_path, script):
    python("-m", "gilscope", "run", str(script), cwd=tmp_path)
    command = [sys.executable, "-m", "gilscope", "view", "--server-only", "--max-slices", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            printed, url = server.stdout.readline(), server.stdout.readline().split()[5]
            with urllib.request.urlopen(url + "localtrace", timeout=60) as answer:
                events = json.loads(gzip.decompress(answer.read()))["traceEvents"]
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert "intervals are more than 2, so the timeline shows" in printed
    assert "thread_name" in {event["name"] for event in events}
    assert "run" in {event.get("cat") for event in events}


def test_export_writes_a_window_or_explains_what_is_wrong_with_it(tmp_path, script):
    python("-m", "gilscope", "run", str(script), cwd=tmp_path)
    export = ("-m", "gilscope", "export", "-o", "out.json")
    written = python(*export, "--window", "0,1ms", cwd=tmp_path)
    assert (written.returncode, written.stdout, written.stderr) == (0, "out.json\n", "")
    before = (tmp_path / "out.json").read_bytes()
    merged = python(*export, "--merge", cwd=tmp_path)
    assert (merged.returncode, (tmp_path / "out.json").read_bytes()) == (0, before)
    for window, words in (("1", "expected two times with a comma"), ("2,1", "window must be two times")):
        refused = python(*export, "--window", window, cwd=tmp_path)
        assert refused.returncode == 2
        assert words in refused.stderr
