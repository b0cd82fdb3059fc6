"""Stages that test the one wheel, on every CPython of the machine.

Markers choose which tests run where (pyproject.toml says what each means):

===============================  ==========================================================================
README's test command            every test
each other minor version         all but ``once``, and ``extremes`` on the newest only
each other build of a version    ``per_build``
the wheel on README's Python,    ``basics``
free-threaded builds
===============================  ==========================================================================

A test without a marker, or with one that nobody thought of here, so runs on each minor version.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import interpreters
from interpreters import PYTHON, ROOT, Interpreter
from results import QUIET, Report, built, first_number

# Tools beside which gilscope is tested.
TOOLS = ("coverage", "memray", "py-spy", "greenlet", "gevent")
# coverage loads modules of its own, and cannot name files that are not UTF-8.
UNMEASURED = ("tests/unit/record/test_intervalcalls.py", "tests/unit/test_structure.py")
_BRIEF = (*QUIET, "--hypothesis-profile=brief")


def beside_others(*, newest: bool) -> str:
    """Select, for the first build of a minor version, what may run beside other work."""
    return f"not clock and not per_build and not once{'' if newest else ' and not extremes'}"


def with_the_machine(*, newest: bool) -> str:
    """Select, for the first build of a minor version, what needs the machine for itself."""
    return f"(clock or per_build) and not once{'' if newest else ' and not extremes'}"


def smoke(stage: Report) -> None:
    """Use the wheel in an environment with its dependencies, and in one without any."""
    for name, install in {"with its dependencies": (), "without any dependency": ("--no-deps",)}.items():
        python = interpreters.new(stage, stage.work / f"venv-smoke{len(install)}", Path("python3"))
        interpreters.pip(stage, python, *install, built(stage))
        kind = "bare" if install else "whole"
        status, output = stage.run(python, "-I", ROOT / ".ci" / "smoke.py", kind, cwd=stage.work)
        stage.check(f"the wheel {name}", first_number("things work", output), status)


def lowest(stage: Report) -> None:
    """Run the unit tests with the lowest version of each dependency, on the lowest Python."""
    minor = interpreters.supported()[0]
    pythons = [one for one in interpreters.found() if one.minor == minor and not one.free_threaded]
    if not pythons:
        stage.skip("lowest versions", f"no CPython {minor} on this machine")
        return
    python = interpreters.new(stage, stage.work / "venv-lowest", pythons[0].path)
    interpreters.pip(stage, python, built(stage), *interpreters.floors(), "pytest", "hypothesis")
    # Old libraries use what newer ones beside them have deprecated.
    how = ["-W", "default::DeprecationWarning", "-m", beside_others(newest=True)]
    command = [python, "-m", "pytest", *_BRIEF, *how, "tests/unit"]
    stage.pytest(f"lowest versions, CPython {minor}", command, stage.work / "suite")


def benchmarks(stage: Report) -> None:
    """Run every benchmark at its smallest size, beside the rivals: figures are rough, but none may crash."""
    python = stage.work / f"venv-{own().minor}" / "bin" / "python"
    status, output = stage.run(
        python, "-m", "tests.bench", "--quick", "--pairs", "2", cwd=stage.work / "suite"
    )
    stage.log += output.splitlines()
    stage.check("benchmarks, smallest size", first_number("figures", output), status)


def builds(minor: str) -> list[Interpreter]:
    """Return the builds of a minor version that have a GIL."""
    return [one for one in interpreters.found() if one.minor == minor and not one.free_threaded]


def newest() -> str:
    """Return the newest minor version on this machine."""
    return max((one.minor for one in interpreters.found() if not one.free_threaded), key=interpreters.order)


def covering() -> str:
    """Return the minor version on which coverage is measured: it has no wheels for the newest yet."""
    minors = {one.minor for one in interpreters.found() if not one.free_threaded} - {newest(), own().minor}
    return max(minors, key=interpreters.order, default="")


def own() -> Interpreter:
    """Return the interpreter of the README's environment."""
    interpreter = interpreters.describe(PYTHON.resolve())
    assert interpreter, f"{PYTHON} does not run"
    return interpreter


def minor_version(stage: Report, minor: str) -> None:
    """Make the environment of a minor version, and run what looks at no clock in it."""
    pythons, venv = builds(minor), stage.work / f"venv-{minor}"
    if not pythons:
        return  # `wheel_on` names it
    if minor == own().minor:
        python = interpreters.linked(stage, venv, PYTHON, built(stage))
    else:
        python = interpreters.new(stage, venv, pythons[0].path)
        status, output = stage.run(python, "-m", "pip", "install", "-qq", f"{built(stage)}[test]")
        if status:
            stage.log.append(output)
            stage.skip(f"CPython {minor}", "what the tests need cannot be installed there")
            return
    install_tools(stage, python, minor)
    (venv / "ready").touch()
    if minor == own().minor:  # the README's test command runs these
        if not covering():
            stage.skip("Python coverage", "no CPython here but README's and the newest")
        return
    if minor == covering():
        covered(stage, f"CPython {minor}, beside other work", python)
    else:
        command = [python, "-m", "pytest", *_BRIEF, "-m", beside_others(newest=minor == newest())]
        stage.pytest(f"CPython {minor}, beside other work", command, stage.work / "suite")


def install_tools(stage: Report, python: Path, minor: str) -> None:
    """Install the tools that gilscope is tested beside, and name those that have no wheel."""
    install = [PYTHON, "-m", "pip", "--python", python, "install", "-qq", "--only-binary", ":all:"]
    if stage.run(*install, *TOOLS)[0] == 0:
        return
    for tool in TOOLS:
        if stage.run(*install, tool)[0]:
            stage.skip(f"{tool} on CPython {minor}", "it has no wheel there")


def covered(stage: Report, what: str, python: Path) -> None:
    """Run what looks at no clock, and print how much of the Python code it reaches, in subprocesses too."""
    suite = stage.work / "suite-coverage"
    shutil.copytree(stage.work / "suite", suite)
    run, pytest = [python, "-m", "coverage"], ["-m", "pytest", *_BRIEF, "-m", beside_others(newest=False)]
    left_out = [f"--ignore={file}" for file in UNMEASURED]
    stage.pytest(what, [*run, "run", *pytest, *left_out], suite)
    stage.pytest(f"{what}, not measured", [python, *pytest, *UNMEASURED], stage.work / "suite")
    stage.run(*run, "combine", "-q", cwd=suite)
    status, output = stage.run(*run, "report", cwd=suite)
    total = re.search(r"^TOTAL.* (\S+%)$", output, re.MULTILINE)
    stage.log += output.splitlines()
    stage.check("Python coverage", len(output.splitlines()), status)
    stage.add("Python coverage", 0, 0, 0, f"{total[1] if total else 'unknown'}, without what looks at clocks")


def wheel_on(stage: Report, minor: str) -> None:
    """Run what needs the machine for itself on every build of a minor version."""
    venv, first = stage.work / f"venv-{minor}", minor != own().minor
    if not builds(minor):
        stage.skip(f"CPython {minor}", "not on this machine")
    for one in builds(minor) if (venv / "ready").exists() else []:
        # Builds of one minor version have their libraries in common.
        for link in (venv / "bin").glob("python*"):
            link.unlink()
        python = interpreters.new(stage, venv, one.path, "--without-pip")
        if one.path == own().path:
            markers = "basics"
        else:
            markers = with_the_machine(newest=minor == newest()) if first else "per_build"
            first = False
        stage.pytest(f"CPython {one}", [python, "-m", "pytest", *_BRIEF, "-m", markers], stage.work / "suite")


def free_threaded(stage: Report) -> None:
    """Build the package on free-threaded Pythons, which have no stable ABI, and trace with the GIL on."""
    pythons = [one for one in interpreters.found() if one.free_threaded]
    if not pythons:
        stage.skip("CPython 3.13t", "not on this machine")
    for one in pythons:
        python = interpreters.new(stage, stage.work / f"venv-{one.minor}t", one.path)
        # The last libraries that have wheels for such a build.
        interpreters.pip(stage, python, "--prefer-binary", built(stage, "*.tar.gz"), "pytest", "hypothesis")
        stress = [python, "-W", "ignore", ROOT / "tests" / "native" / "stress.py", "none", "100"]
        status, output = stage.run(*stress, cwd=stage.work, env={"PYTHON_GIL": "1"})
        stage.check(f"CPython {one} with its GIL on", first_number("traces", output), status)
        command = [python, "-m", "pytest", *_BRIEF, "-m", "basics", "tests/integration"]
        stage.pytest(f"CPython {one}", command, stage.work / "suite", {"PYTHON_GIL": "1"})
