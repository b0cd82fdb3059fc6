"""Stages that test the C core: its own tests and the extension, under sanitizers; its coverage."""

from __future__ import annotations

import re
from pathlib import Path

import interpreters
from interpreters import PYTHON, ROOT
from results import QUIET, Report, built, first_number


def calm() -> list[str]:
    """Return what a sanitized program runs under.

    ThreadSanitizer of GCC 12 cannot place its memory where addresses are more random than this.
    """
    bits = Path("/proc/sys/vm/mmap_rnd_bits")
    return ["setarch", "--addr-no-randomize"] if bits.exists() and int(bits.read_text()) > 28 else []


def c_tests(stage: Report, sanitizer: str) -> None:
    """Run the C tests under a sanitizer."""
    command = [*calm(), PYTHON, "-m", "pytest", *QUIET, "tests/native"]
    stage.pytest(f"C tests, -fsanitize={sanitizer}", command, ROOT, {"GILSCOPE_SANITIZE": sanitizer})


def address(stage: Report) -> None:
    """Look for leaks, overflows and undefined behaviour."""
    reports = stage.work / "reports-address"
    env = {
        # All memory of Python's from malloc, which AddressSanitizer watches.
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": f"detect_leaks=1 log_path={reports}",
        "UBSAN_OPTIONS": f"log_path={reports}",
    }
    python = instrumented(stage, "address", "address,undefined", "__asan_")
    stress(stage, "address", python, env | preloaded(stage, "libasan.so"))
    # Leaks are looked for above: numpy has some of its own.
    env["ASAN_OPTIONS"] = f"detect_leaks=0 log_path={reports}"
    life_cycles(stage, "address", python, env | preloaded(stage, "libasan.so"))


def thread(stage: Report) -> None:
    """Look for races."""
    options = f"suppressions={ROOT}/tests/native/tsan.supp exitcode=66 die_after_fork=0"
    env = {"TSAN_OPTIONS": f"{options} log_path={stage.work}/reports-thread"} | preloaded(stage, "libtsan.so")
    python = instrumented(stage, "thread", "thread", "__tsan_")
    stress(stage, "thread", python, env)
    life_cycles(stage, "thread", python, env)


def instrumented(stage: Report, kind: str, sanitizer: str, mark: str) -> Path:
    """Build the extension with a sanitizer, into an environment whose interpreter is returned."""
    settings = [f"cmake.define.GILSCOPE_SANITIZE={sanitizer}", f"build-dir={stage.work}/build-{kind}"]
    how = [word for setting in settings for word in ("-C", setting)]
    sdist = built(stage, "*.tar.gz")
    python = interpreters.linked(stage, stage.work / f"venv-{kind}", PYTHON, *how, sdist)
    [core] = interpreters.packages_of(python).glob("gilscope/_core*.so")
    symbols = stage.must("nm", "--dynamic", core)
    stage.check(f"{kind}: the extension is instrumented", symbols.count(mark))
    return python


def preloaded(stage: Report, library: str) -> dict[str, str]:
    """Return the variable that loads a sanitizer's library before an interpreter that lacks it."""
    return {"LD_PRELOAD": stage.must("cc", f"-print-file-name={library}").strip()}


def stress(stage: Report, kind: str, python: Path, env: dict[str, str]) -> None:
    """Begin and end traces 200 times."""
    command = [*calm(), python, ROOT / "tests" / "native" / "stress.py", kind, "200"]
    status, output = stage.run(*command, cwd=stage.work / "suite", env=env)
    stage.check(f"{kind}: traces come and go", first_number("traces", output), status)


def life_cycles(stage: Report, kind: str, python: Path, env: dict[str, str]) -> None:
    """Run whole life cycles of traces, and print what the sanitizer found meanwhile."""
    # A sanitizer cannot follow a forked child's threads.
    tests = ("tests/integration/test_lifecycle.py", "-k", "not forked")
    command = [*calm(), python, "-m", "pytest", *QUIET, *tests]
    stage.pytest(f"{kind}: life cycles", command, stage.work / "suite", env)
    # The sampler's thread has no standard error, and not every test looks at the status of what it starts.
    for report in sorted(stage.work.glob(f"reports-{kind}.*")):
        stage.log += report.read_text().splitlines()
        stage.fail(f"{kind}: report", f"{report.name}: see the log")


def c_coverage(stage: Report) -> None:
    """Print how much of the C core its tests reach, with some that trace: all of them take ten minutes."""
    tracing = (f"tests/integration/test_{name}.py" for name in ("lifecycle", "watch", "interpreters"))
    command = [PYTHON, "-m", "tests.native.coverage", stage.work / "c-coverage", *tracing]
    status, output = stage.run(*command, cwd=ROOT)
    files = re.findall(r"^(?:\S+\.[ch]|all) +\d.*%$", output, re.MULTILINE)
    stage.log += files
    stage.check("C coverage", len(files), status)
    if files:
        lines, branches = re.findall(r"[\d.]+ %", files[-1])
        stage.add("C coverage", 0, 0, 0, f"{lines} of lines, {branches} of branches")
