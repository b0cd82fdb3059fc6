"""Without the compiled core: an error that explains why and what to do, and traces that still load."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gilscope
from gilscope import _core
from gilscope.errors import UnsupportedInterpreterError

PACKAGE = Path(gilscope.__file__).parent
TRACE = "import gilscope\nwith gilscope.trace(None):\n    pass"
COMMANDS = {
    "run": ["-m", "gilscope", "run", "-q", "script.py"],
    "doctor": ["-m", "gilscope", "doctor"],
    "trace": ["-c", TRACE],
    "watch": ["-c", "import gilscope; gilscope.watch()"],
}


def sources(folder: Path) -> Path:
    """Copy the package without its core."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "csrc")
    shutil.copytree(PACKAGE, folder / "gilscope", ignore=ignored)
    return folder


@pytest.fixture
def checkout(tmp_path):
    folder = sources(tmp_path / "checkout")
    (folder / "pyproject.toml").touch()
    (folder / "script.py").touch()
    return folder


@pytest.fixture
def installed(tmp_path):
    folder = sources(tmp_path / "installed")
    shutil.copy(_core.__file__, folder / "gilscope")
    return folder


def python(arguments, *, cwd, path=()):
    """Run Python with nothing but these folders and the standard library on its path."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_sources_that_hide_an_installed_package(checkout, installed, command):
    done = python(command, cwd=checkout, path=[installed])
    said = done.stdout + done.stderr
    assert done.returncode > 0
    assert f"the sources in {checkout} have no compiled core, and they hide" in said
    assert f"installed in {installed}: run Python in another folder" in said
    assert command[0] == "-c" or "Traceback" not in said


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_sources_that_were_never_built(checkout, command):
    done = python(command, cwd=checkout)
    assert done.returncode > 0
    assert (
        f"have no compiled core for this Python: run 'python -m pip install -e .' in {checkout}"
        in done.stdout + done.stderr
    )


def test_an_installation_without_a_core(tmp_path):
    done = python(["-c", TRACE], cwd=sources(tmp_path / "broken"))
    assert "pip install --force-reinstall gilscope" in done.stderr


def test_traces_load_without_a_core(checkout, tmp_path):
    with gilscope.trace(tmp_path / "run.gilscope"):
        pass
    libraries = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    command = ["-m", "gilscope", "report", str(tmp_path / "run.gilscope")]
    done = python(command, cwd=checkout, path=libraries)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gilscope")


def test_a_core_that_fails_to_load_keeps_its_error(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "gilscope._core":
                raise ImportError("undefined symbol: PyGIL")

    for name in ("gilscope._core", "gilscope.record.core"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ImportError, match="undefined symbol") as caught:
        gilscope.trace(None).__enter__()
    assert not isinstance(caught.value, UnsupportedInterpreterError)
