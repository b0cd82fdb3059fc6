"""Uses an installed gilscope: ``python -I smoke.py whole``, or ``bare`` where no dependency is installed."""

import ctypes
import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from pathlib import Path

import gilscope

DEPENDENCIES = ("numpy", "pandas", "pyarrow", "rich", "viztracer")
PROGRAM = "import threading\nt = threading.Thread(target=lambda: sum(range(10**6)))\nt.start()\nt.join()\n"


def check(what: str, true: object) -> None:
    """End with a message unless something is true."""
    if not true:
        sys.exit(f"does not work: {what}")
    print(f"works: {what}")


def work() -> None:
    """Let a thread wait while a C call holds the GIL for 0.2 s."""
    stop = threading.Event()

    def turns() -> None:
        while not stop.is_set():
            time.sleep(0)

    thread = threading.Thread(target=turns, name="waiting")
    thread.start()
    time.sleep(0.05)
    ctypes.PyDLL(None).usleep(200_000)
    stop.set()
    thread.join()


def installed(*names: str) -> list[str]:
    """Return which packages can be imported."""
    return [name for name in names if importlib.util.find_spec(name)]


def bare() -> int:
    """Watch, with nothing but gilscope installed."""
    check("nothing else is installed", not installed(*DEPENDENCIES))
    holds: list[object] = []
    with gilscope.watch(hold=0.05, callback=holds.append) as watch:
        work()
    check("a watch sees a long hold", watch.seen >= 1)
    check("its callback is called", len(holds) >= 1)
    return 3


def whole() -> int:
    """Trace, load, report and run, as the README shows."""
    check("every dependency is installed", installed(*DEPENDENCIES) == list(DEPENDENCIES))
    folder = Path(tempfile.mkdtemp(dir="."))
    with gilscope.trace(folder / "one.gilscope", quiet=True):
        work()
    trace = gilscope.load(folder / "one.gilscope")
    check("a trace holds the thread that waited", "waiting" in trace.threads["name"].to_pylist())
    check("it holds intervals", trace.intervals.num_rows > 0)
    check("its report names the thread", "waiting" in trace.report())
    (folder / "program.py").write_text(PROGRAM)
    command = Path(sysconfig.get_path("scripts")) / "gilscope"
    subprocess.run([command, "run", "-o", "two.gilscope", "program.py"], cwd=folder, check=True)
    check("`gilscope run` writes a trace", gilscope.load(folder / "two.gilscope").metadata["complete"])
    report = subprocess.run([command, "report", "two.gilscope"], cwd=folder, check=True, capture_output=True)
    check("`gilscope report` prints", b"thread" in report.stdout.lower())
    return 6


if __name__ == "__main__":
    count = {"bare": bare, "whole": whole}[sys.argv[1]]()
    print(f"{count} things work")
