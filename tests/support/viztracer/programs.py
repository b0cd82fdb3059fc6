"""Programs that VizTracer and gilscope trace together, and their reports."""

import os
import subprocess
import sys
from pathlib import Path

WAYS = ("viztracer outside", "command outside", "saved twice", "plugin inside", "merged afterwards")

_MERGING = """
import sys, threading, time
import gilscope
from viztracer import VizTracer

def leaf(n):
    return sum(range(n))

def release():
    time.sleep(0.001)

def work():
    end = time.perf_counter() + 0.1
    while time.perf_counter() < end:
        for _ in range(50):
            leaf(200)
        release()

def program():
    threads = [threading.Thread(target=work, name=f"worker-{i}") for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

def viztracer(**options):
    return VizTracer(output_file="report.json", verbose=0, tracer_entries=300_000, **options)

program()  # imports and compiles all it needs, so that the test does not see it
how = sys.argv[1]
if how == "command outside":
    with gilscope.trace("run.gilscope") as t:
        program()
elif how == "viztracer outside":
    with viztracer():
        with gilscope.trace("run.gilscope") as t:
            program()
elif how == "saved twice":
    tracer = viztracer()
    with gilscope.trace("run.gilscope") as t, tracer:
        pass
    tracer.start()
    with gilscope.trace("run.gilscope", overwrite=True) as t:
        program()
    tracer.stop()
    tracer.save()
    tracer.save()
elif how == "plugin inside":
    with gilscope.trace("run.gilscope") as t:
        with viztracer(plugins=[t.viz_plugin()]):
            program()
elif how == "merged afterwards":
    with gilscope.trace("run.gilscope") as t:
        with viztracer():
            program()
    t.merge_into("report.json")
    t.merge_into("report.json")
"""

_CHILDREN = """
import multiprocessing, subprocess, sys, threading

def count():
    return sum(range(100_000))

def work():
    thread = threading.Thread(target=count, name="counter")
    thread.start()
    thread.join()

if __name__ == "__main__":
    work()
    for method in ("fork", "spawn", "forkserver"):
        process = multiprocessing.get_context(method).Process(target=work)
        process.start()
        process.join()
        assert process.exitcode == 0
    code = "import threading; t = threading.Thread(target=print); t.start(); t.join()"
    subprocess.run([sys.executable, "-c", code])
"""


def run(folder: Path, way: str) -> Path:
    """Run a program in a folder, where it writes ``report.json``, and its trace to ``run.gilscope``.

    Args:
        folder: an empty folder.
        way: one of `WAYS`, or ``children``: the plugin of VizTracer's command, and no trace.
    """
    command = ["-m", "viztracer", "--quiet", "--tracer_entries", "300000", "-o", "report.json"]
    if way == "children":
        (folder / "script.py").write_text(_CHILDREN)
        arguments = [*command, "--plugins", "gilscope.vizplugin --period 0.001", "--", "script.py"]
    elif way == "command outside":
        # VizTracer saves when the interpreter exits, when pandas can no longer be imported.
        (folder / "script.py").write_text(_MERGING)
        arguments = [*command, "--", "script.py", way]
    else:
        arguments = ["-c", _MERGING, way]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=folder, env=env
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder / "report.json"
