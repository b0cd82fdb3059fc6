"""The CPythons of this machine, and environments on them."""

from __future__ import annotations

import os
import subprocess
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from results import FailedError, Report

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv" / "bin" / "python"  # of the README's environment
BROUGHT = Path.home() / ".cache" / "cpythons"
_DESCRIBE = """
import os, sys, sysconfig
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print("%d.%d" % sys.version_info[:2], sys.version.split()[0], free_threaded, os.path.realpath(sys.executable))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython: minor and full version, whether it is a free-threaded build, and its executable."""

    minor: str
    version: str
    free_threaded: bool
    path: Path

    def __str__(self) -> str:
        kind = " free-threaded" if self.free_threaded else ""
        return f"{self.version}{kind}{' shared' if self.path.name.endswith('-shared') else ''}"


def project() -> dict[str, list[str]]:
    """Return the ``project`` table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def supported() -> list[str]:
    """Return the minor versions that pyproject.toml's classifiers name, oldest first."""
    last = [classifier.rpartition(" :: ")[2] for classifier in project()["classifiers"]]
    return sorted((v for v in last if v.startswith("3.")), key=order)


def order(minor: str) -> int:
    """Return what sorts "3.9" before "3.10"."""
    return int(minor.partition(".")[2])


def describe(path: Path) -> Interpreter | None:
    """Return what an executable says it is; None if it does not run."""
    done = subprocess.run([path, "-c", _DESCRIBE], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    minor, version, free_threaded, real = done.stdout.split(maxsplit=3)
    return Interpreter(minor, version, free_threaded == "True", Path(real.strip()))


@cache
def found() -> list[Interpreter]:
    """Return every CPython of a supported version on this machine, each once."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path("/usr/bin"), Path("/usr/local/bin"), *sorted((root / "versions").glob("3.*/bin"))]
    folders += sorted(BROUGHT.glob("3.*/bin"))
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    names = [f"python{minor}{kind}" for minor in supported() for kind in ("", "-shared", "t")]
    paths = [folder / name for folder in folders for name in names if os.access(folder / name, os.X_OK)]
    # A free-threaded build has copies under two names in one folder.
    every = {(one.path.parent, str(one)): one for path in paths if (one := describe(path))}.values()
    return sorted(every, key=lambda one: (order(one.minor), one.path.name.endswith("-shared")))


def bring(stage: Report, wanted: Path, script: str, *arguments: str) -> None:
    """Install an interpreter that the machine lacks, by a script from outside the repository."""
    folder = Path(os.environ.get("GILSCOPE_PYTHONS") or ROOT.parent / "shared" / "pythons")
    what = f"{wanted.name}, by {script}"
    if wanted.exists():
        stage.check(what, 1)
    elif not (folder / script).exists():
        stage.skip(what, f"no {folder / script}; set GILSCOPE_PYTHONS to the folder that has it")
    elif stage.run("timeout", "400", "bash", folder / script, *arguments)[0]:
        stage.skip(what, f"{folder / script} failed: see the log")
    else:
        found.cache_clear()
        stage.check(what, int(wanted.exists()))


def new(stage: Report, venv: Path, python: Path, *words: str) -> Path:
    """Make an environment and return its interpreter."""
    stage.must(python, "-m", "venv", *words, venv)
    return venv / "bin" / "python"


def packages_of(python: Path) -> Path:
    """Return the folder into which an environment's packages are installed."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", code], text=True).strip())


def linked(stage: Report, venv: Path, base: Path, *install: str | Path) -> Path:
    """Make an environment with the libraries of another, and packages of its own; return its interpreter.

    Not with an editable install of the other's: what makes that importable works in its own folder only.
    """
    python = new(stage, venv, base, "--without-pip")
    (packages_of(python) / "libraries.pth").write_text(f"{packages_of(base)}\n")
    pip(stage, python, "--no-deps", "--ignore-installed", *install, base=base)
    return python


def pip(stage: Report, python: Path, *install: str | Path, base: Path | None = None) -> None:
    """Install packages into an environment, with the pip of another one if it has none."""
    stage.must(base or python, "-m", "pip", "--python", python, "install", "-qq", *install)


def floors() -> list[str]:
    """Return the lowest version of each dependency that pyproject.toml declares: ``pandas==2.2``.

    Raises:
        FailedError: if a dependency has no floor.
    """
    declared = project()["dependencies"] + project()["optional-dependencies"]["plot"]
    if bare := [name for name in declared if ">=" not in name]:
        raise FailedError(f"no lowest version is declared: {', '.join(bare)}")
    return [name.replace(">=", "==") for name in declared]
