"""The stages of `.ci/run`: what each checks, what it needs, and whether it needs the machine for itself."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import interpreters
import native
import wheels
from interpreters import PYTHON, ROOT
from results import FailedError, Report, built, first_number

IN_THE_SDIST = {"gilscope", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "PKG-INFO"}
_PACKAGES = {"cc": "build-essential", "make": "build-essential", "chromium": "chromium", "perf": "linux-perf"}
_README_COMMAND = re.compile(r"^\$ (python3 .*) && (.*-m pytest)$", re.MULTILINE)
_LATE_S = 720
BEGUN = time.monotonic()


@dataclass(frozen=True)
class Stage:
    """One stage: its name on the command line, what it does, and when it can run."""

    name: str
    run: Callable[[Report], None]
    needs: tuple[str, ...] = ()
    alone: bool = False


# ---- preparation ----


def packages(stage: Report) -> None:
    """Install what the tests need from Debian, where that is possible."""
    missing = sorted({package for tool, package in _PACKAGES.items() if not shutil.which(tool)})
    if missing and os.geteuid():
        stage.skip("packages", f"only root can install {' '.join(missing)}")
    elif missing:
        stage.must("apt-get", "update", "-qq")
        stage.must("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def readme_command() -> tuple[str, str]:
    """Return the README's test command in two parts: one makes the environment, one runs the tests.

    Raises:
        FailedError: if the README has no such command.
    """
    if not (found := _README_COMMAND.search((ROOT / "README.md").read_text())):
        raise FailedError("README.md has no test command")
    return found[1], found[2]


def environment(stage: Report) -> None:
    """Make the README's environment."""
    stage.must("bash", "-c", readme_command()[0], cwd=ROOT)


def wheel(stage: Report) -> None:
    """Build the sdist, check what it holds, and build the wheel from it."""
    python = interpreters.new(stage, stage.work / "venv-build", Path("python3"))
    interpreters.pip(stage, python, "build")
    # Without further words it builds the wheel from the sdist, not from the checkout.
    stage.must(python, "-m", "build", "--outdir", stage.work / "dist", ROOT)
    [sdist] = (stage.work / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [Path(*Path(name).parts[1:]) for name in archive.getnames()]
    stray = sorted({name.parts[0] for name in names if name.parts} - IN_THE_SDIST)
    stage.log.append(f"{sdist.name} holds {len(names)} files; not expected: {stray or 'nothing'}")
    stage.check("the sdist holds what a build needs", len(names), len(stray))
    copy_suite(stage.work / "suite")


def copy_suite(suite: Path) -> None:
    """Make a folder like the checkout, without the package: the tests import what is installed."""
    shutil.copytree(ROOT / "tests", suite / "tests", ignore=shutil.ignore_patterns("native"))
    shutil.copytree(ROOT / "examples", suite / "examples")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, suite)


def binary_pythons(stage: Report) -> None:
    """Bring the newest versions, from Debian's packages."""
    interpreters.bring(stage, interpreters.BROUGHT / "3.15" / "bin" / "python3.15", "from-debs.sh")


def free_threaded_python(stage: Report) -> None:
    """Build a free-threaded Python: last, since it keeps all processors busy for minutes."""
    python = interpreters.BROUGHT / "3.13t" / "bin" / "python3.13t"
    if not python.exists() and stage.begun - BEGUN > _LATE_S:
        stage.skip(python.name, f"not built: {_LATE_S} s are over, and all has to be done in half an hour")
    else:
        interpreters.bring(stage, python, "from-source.sh", "3.13", "t")


# ---- the checkout ----


def readme_tests(stage: Report, markers: str) -> None:
    """Run the README's test command on a part of the tests."""
    command = f"{readme_command()[1]} -m '{markers}' \"$@\""
    stage.pytest(f"README's test command, {markers}", ["bash", "-c", command, "bash"], ROOT)


def lint(stage: Report) -> None:
    """Check style, types, and the stub of the C extension."""
    tools = [tool for tool in interpreters.project()["optional-dependencies"]["dev"] if "==" in tool]
    python = interpreters.linked(stage, stage.work / "venv-lint", PYTHON, built(stage))
    interpreters.pip(stage, python, *tools, base=PYTHON)
    tracked = stage.must("git", "ls-files", cwd=ROOT).split()
    sources = [file for file in tracked if file.endswith((".c", ".h"))]
    scripts = sum(file.endswith(".py") for file in tracked)
    ruff = python.parent / "ruff"
    stage.check("ruff check", scripts, stage.run(ruff, "check", "--quiet", ".", cwd=ROOT)[0])
    stage.check("ruff format", scripts, stage.run(ruff, "format", "--check", "--quiet", ".", cwd=ROOT)[0])
    formatting = stage.run(python.parent / "clang-format", "--dry-run", "-Werror", *sources, cwd=ROOT)
    stage.check("clang-format", len(sources), formatting[0])
    status, output = stage.run(python, "-m", "mypy", "--strict", cwd=ROOT)
    stage.check("mypy --strict", first_number("source file", output), status)
    # Away from the checkout, whose folder has no compiled extension.
    status, output = stage.run(python, "-m", "mypy.stubtest", "gilscope._core", cwd=stage.work)
    stage.check("stubtest", first_number("module", output), status)


# ---- all of them ----


def stages() -> list[Stage]:
    """Return every stage, in the order in which they begin where nothing else decides."""
    minors = interpreters.supported()
    own = f"{sys.version_info.major}.{sys.version_info.minor}"  # python3 makes the README's environment
    return [
        Stage("packages", packages),
        Stage("pythons", binary_pythons, ("packages",)),
        Stage("environment", environment, ("packages",)),
        Stage("wheel", wheel, ("packages",)),
        Stage("tests", partial(readme_tests, markers="not clock"), ("environment",)),
        *(
            Stage(f"tests-{v}", partial(wheels.minor_version, minor=v), ("pythons", "environment", "wheel"))
            for v in reversed(minors)
        ),
        Stage("lowest", wheels.lowest, ("wheel",)),
        Stage("c-address", partial(native.c_tests, sanitizer="address,undefined"), ("environment",)),
        Stage("c-thread", partial(native.c_tests, sanitizer="thread"), ("environment",)),
        Stage("c-coverage", native.c_coverage, ("environment",)),
        Stage("address", native.address, ("environment", "wheel")),
        Stage("thread", native.thread, ("environment", "wheel")),
        Stage("lint", lint, ("environment", "wheel")),
        Stage("smoke", wheels.smoke, ("wheel",)),
        Stage("benchmarks", wheels.benchmarks, (f"tests-{own}",)),
        Stage("python-3.13t", free_threaded_python, ("packages", "pythons")),
        Stage("clock", partial(readme_tests, markers="clock"), ("environment",), alone=True),
        *(
            Stage(f"clock-{v}", partial(wheels.wheel_on, minor=v), (f"tests-{v}",), alone=True)
            for v in minors
        ),
        Stage("free-threaded", wheels.free_threaded, ("wheel", "python-3.13t"), alone=True),
    ]
