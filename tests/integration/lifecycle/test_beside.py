"""Other tools that look at the same process at the same time: each does its work, and so does gilscope."""

import json
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import gilscope
from tests.support import invariants
from tests.support.processes.programs import python

pytestmark = pytest.mark.clock

WORK = """
import os, sys, threading, time

def work(rounds=20_000):
    null = os.open(os.devnull, os.O_WRONLY)
    for i in range(rounds):
        os.write(null, b"x")
        bytes(10_000)
    os.close(null)

def threads():
    all = [threading.Thread(target=work, name=f"w{i}") for i in range(2)]
    [t.start() for t in all]
    [t.join() for t in all]
"""


def check(folder: Path) -> gilscope.Trace:
    """Check that the trace is whole, of hooks that stayed, and has both threads in it."""
    t = gilscope.load(folder / "run.gilscope")
    invariants.check(t)
    assert t.metadata["complete"]
    assert t.metadata["edges"] == "exact"
    assert t.metadata["not_measured"] == []
    assert {"w0", "w1"} <= set(t.threads["name"].to_pylist())
    assert t.metadata["transitions"] >= 80_000
    return t


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Not its repeated dumps: they read frames of running threads, and crash bare CPython 3.11 as well.
        (
            "import faulthandler; faulthandler.enable()",
            "[faulthandler.dump_traceback(sys.stdout) for _ in range(100)]",
        ),
        ("import tracemalloc; tracemalloc.start(10)", "assert tracemalloc.get_traced_memory()[1] > 0"),
        ("sys.setprofile(lambda *_: None); threading.setprofile(lambda *_: None)", "sys.setprofile(None)"),
        ("import cProfile; p = cProfile.Profile(); p.enable()", "p.disable(); assert p.getstats()"),
    ],
    ids=["faulthandler", "tracemalloc", "setprofile", "cProfile"],
)
@pytest.mark.parametrize("inside", [False, True])
def test_of_the_standard_library(tmp_path, before, after, inside):
    begin = f"{before}\n" if not inside else ""
    script = f"""{WORK}
import gilscope
{begin}
with gilscope.trace("run.gilscope", quiet=True):
    {before if inside else "pass"}
    threads()
{after}
"""
    result = python("-c", script, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    check(tmp_path)


def test_coverage(tmp_path):
    pytest.importorskip("coverage")
    (tmp_path / "p.py").write_text(f"{WORK}\nthreads()\n")
    run = ["run", "-o", "run.gilscope", "-q", "-m", "coverage", "run", "p.py"]
    assert python("-m", "gilscope", *run, cwd=tmp_path).returncode == 0
    check(tmp_path)
    python("-m", "coverage", "json", "-q", cwd=tmp_path)
    files = json.loads((tmp_path / "coverage.json").read_text())["files"]
    assert files["p.py"]["summary"]["missing_lines"] == 0


@pytest.mark.parametrize("order", ["memray outside", "memray inside", "memray begins first and ends first"])
@pytest.mark.per_build
def test_memray_which_patches_slots_of_its_own(tmp_path, order):
    pytest.importorskip("memray")
    with_blocks = {
        "memray outside": "with Tracker('m.bin'):\n    with trace():\n        threads()",
        "memray inside": "with trace():\n    with Tracker('m.bin'):\n        threads()",
        "memray begins first and ends first": (
            "m, g = Tracker('m.bin'), trace()\nm.__enter__(); g.__enter__(); threads()\n"
            "m.__exit__(None, None, None); threads(); g.__exit__(None, None, None)"
        ),
    }
    script = f"""{WORK}
import gilscope
from memray import FileReader, Tracker
trace = lambda: gilscope.trace("run.gilscope", quiet=True)
{with_blocks[order]}
print(FileReader("m.bin").metadata.total_allocations > 1000)
"""
    result = python("-c", script, cwd=tmp_path)
    # In a static interpreter memray warns of which malloc it takes, with us or without.
    said = [line for line in result.stderr.splitlines() if "Correcting symbol for" not in line]
    assert (result.returncode, result.stdout, said) == (0, "True\n", [])
    check(tmp_path)


# Reports that its threads run, and ends on request: a tool that looks from outside sees a trace that is on.
WATCHED = f"""{WORK}
import gilscope

def keep_at_work():
    sum(range(10_000))

with gilscope.trace("run.gilscope", quiet=True):
    threads()
    on = threading.Event()
    threading.Thread(target=lambda: [work(100) for _ in iter(on.is_set, True)], name="w2").start()
    # Who lets the GIL go all the time is seldom seen with it, traced or not: one that keeps it.
    threading.Thread(target=lambda: [keep_at_work() for _ in iter(on.is_set, True)], name="w3").start()
    print("begun", flush=True)
    sys.stdin.readline()
    on.set()
"""


def watched(tmp_path: Path, *command: str) -> str:
    """Run a program that traces itself, and meanwhile a command with its process id behind."""
    with subprocess.Popen(
        [sys.executable, "-c", WATCHED],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout.readline() == "begun\n"
        try:
            looked = subprocess.run(
                [*command, str(program.pid)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
        finally:
            program.communicate("\n")
    assert program.returncode == 0
    if looked.returncode and ("ermission" in looked.stderr or "not permitted" in looked.stderr):
        pytest.skip(f"not allowed here: {looked.stderr.strip().splitlines()[-1]}")
    assert looked.returncode == 0, looked.stderr
    check(tmp_path)
    return looked.stdout + looked.stderr


@pytest.mark.parametrize("gil", [[], ["--gil"]])
def test_py_spy(tmp_path, gil):
    command = shutil.which("py-spy", path=sysconfig.get_path("scripts"))
    if command is None:
        pytest.skip("py-spy is not installed")
    record = ["record", "--duration", "1", "--format", "raw", "--output", "spy.txt", *gil, "--pid"]
    watched(tmp_path, command, *record)
    assert "work" in (tmp_path / "spy.txt").read_text()


@pytest.mark.skipif(sys.version_info < (3, 15), reason="profiling.sampling comes with CPython 3.15")
def test_profiling_sampling(tmp_path):
    said = watched(tmp_path, sys.executable, "-m", "profiling.sampling", "attach", "-a", "-d", "1")
    assert "work" in said
