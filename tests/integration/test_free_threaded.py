"""A free-threaded Python (3.13t): without a GIL an error, with one the same trace as elsewhere."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.programs import python

pytestmark = [
    pytest.mark.clock,
    pytest.mark.basics,
    pytest.mark.skipif(
        not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has its GIL"
    ),
]

# Modules in C: one that does not declare it can do without the GIL, and one that does and runs a program as
# it is imported, when Python has turned the GIL on to be sure.
NEEDY = """
#include <Python.h>
static PyModuleDef def = {PyModuleDef_HEAD_INIT, "needy", NULL, 0, NULL};
PyMODINIT_FUNC PyInit_needy(void) { return PyModule_Create(&def); }
"""
FRUGAL = """
#include <Python.h>
static PyModuleDef def = {PyModuleDef_HEAD_INIT, "frugal", NULL, 0, NULL};
PyMODINIT_FUNC PyInit_frugal(void)
{
    PyObject *module = PyModule_Create(&def);
    PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
    PyRun_SimpleString("import begin");
    return module;
}
"""
WORK = """
import sys, threading
import gilscope

def work():
    threads = [threading.Thread(target=lambda: sum(range(500_000)), name=f"w{i}") for i in range(2)]
    [t.start() for t in threads]; [t.join() for t in threads]

def refused():
    try:
        gilscope.trace("refused.gilscope").__enter__()
    except gilscope.errors.UnsupportedInterpreterError as error:
        return str(error)
"""


def run(folder: Path, script: str, gil: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program with the GIL as it is by default, or as ``-X gil`` sets it."""
    option = [] if gil is None else ["-X", f"gil={gil}"]
    (folder / "program.py").write_text(WORK + script)
    return subprocess.run(
        [sys.executable, "-W", "ignore", *option, "program.py"],
        cwd=folder,
        env={key: value for key, value in os.environ.items() if key != "PYTHON_GIL"},
        capture_output=True,
        text=True,
        check=True,
    )


def build(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}.c").write_text(source)
    include = f"-I{sysconfig.get_path('include')}"
    command = ["cc", "-shared", "-fPIC", include, f"{name}.c", "-o", f"{name}.so"]
    subprocess.run(command, cwd=folder, check=True)


def check(folder: Path) -> gilscope.Trace:
    t = gilscope.load(folder / "run.gilscope")
    invariants.check(t)
    assert t.metadata["edges"] == "exact"
    assert t.metadata["not_measured"] == []
    assert {"w0", "w1"} <= set(t.threads["name"].to_pylist())
    return t


@pytest.mark.parametrize("gil", [None, "0"])
def test_without_a_gil_the_error_says_what_to_do(tmp_path, gil):
    said = run(tmp_path, "print(sys._is_gil_enabled(), refused())", gil).stdout
    assert said.startswith("False this free-threaded Python runs with the GIL off")
    assert "PYTHON_GIL=1" in said
    assert not (tmp_path / "refused.gilscope").exists()


def test_with_its_gil_on_it_is_traced(tmp_path):
    run(tmp_path, "with gilscope.trace('run.gilscope'): work()", gil="1")
    assert check(tmp_path).handoffs.num_rows > 0


def test_an_import_that_turns_the_gil_on_makes_it_traceable(tmp_path):
    build(tmp_path, "needy", NEEDY)
    script = """
print(sys._is_gil_enabled(), refused() is not None)
import needy
print(sys._is_gil_enabled())
with gilscope.trace("run.gilscope"):
    work()
"""
    assert run(tmp_path, script).stdout == "False True\nTrue\n"
    assert check(tmp_path).handoffs.num_rows > 0


def test_a_gil_that_goes_off_in_mid_trace_is_reported(tmp_path):
    build(tmp_path, "frugal", FRUGAL)
    (tmp_path / "begin.py").write_text(
        "import gilscope, sys\non = sys._is_gil_enabled()\n"
        "tracing = gilscope.trace('run.gilscope')\ntracing.__enter__()\n"
    )
    script = """
import frugal, begin
print(begin.on, sys._is_gil_enabled())
work()
begin.tracing.__exit__(None, None, None)
print(refused() is not None)
"""
    assert run(tmp_path, script).stdout == "True False\nTrue\n"
    t = gilscope.load(tmp_path / "run.gilscope")
    invariants.check(t)
    assert any("the GIL was off when the trace ended" in said for said in t.metadata["not_measured"])
    assert "the GIL was off" in t.report()


def test_children_with_a_gil_are_recorded_and_others_go_on(tmp_path):
    script = """
import subprocess
with gilscope.trace("run.gilscope", children=True):
    for gil in "10":
        code = "import ctypes, sys; ctypes.PyDLL(None).usleep(1000); print(sys._is_gil_enabled())"
        print(subprocess.check_output([sys.executable, "-X", f"gil={gil}", "-c", code], text=True))
"""
    assert run(tmp_path, script, gil="1").stdout.split() == ["True", "False"]
    [child] = gilscope.load(tmp_path / "run.gilscope").children
    assert child.metadata["complete"]
    assert child.threads.num_rows == 1


def test_the_commands_say_it_too(tmp_path):
    (tmp_path / "p.py").write_text("print('never')")
    result = python("-m", "gilscope", "run", "p.py", cwd=tmp_path, env={"PYTHON_GIL": "0"})
    assert (result.returncode, result.stdout) == (2, "")
    assert "GIL off" in result.stderr
    assert "Traceback" not in result.stderr
