"""Recording child processes changes nothing that the program can see."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gilscope
from tests.support.processes.families import program, traced
from tests.support.processes.programs import python


@pytest.mark.parametrize("path", [None, "", "/somewhere:/else", os.fsdecode(b"/\xff")])
def test_the_environment_is_put_back(monkeypatch, path):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    before = dict(os.environb)
    for _ in range(2):
        with gilscope.trace(None, children=True) as t:
            assert before.items() <= {**os.environb, b"PYTHONPATH": before.get(b"PYTHONPATH")}.items()
            first, *rest = os.environ["PYTHONPATH"].split(os.pathsep)
            assert (Path(first) / "sitecustomize.py").exists()
            assert rest == (path.split(os.pathsep) if path else [])
        assert dict(os.environb) == before
        assert t.children == []


def test_what_the_program_sets_meanwhile_stays(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/before")
    with gilscope.trace(None, children=True):
        os.environ["PYTHONPATH"] = "/mine" + os.pathsep + os.environ["PYTHONPATH"]
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["/mine", "/before"])
    with gilscope.trace(None, children=True):
        del os.environ["PYTHONPATH"], os.environ["GILSCOPE_CHILDREN"]
    assert "PYTHONPATH" not in os.environ
    assert "GILSCOPE_CHILDREN" not in os.environ


def test_a_trace_without_children_leaves_their_environment_alone(tmp_path):
    before = dict(os.environ)
    with gilscope.trace(tmp_path / "run.gilscope") as t:
        assert dict(os.environ) == before
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert t.children == []
    assert not (tmp_path / "run.gilscope" / "children").exists()


@pytest.mark.parametrize("own", [True, False], ids=["with a sitecustomize of its own", "without"])
def test_a_child_starts_as_it_would_without_us(tmp_path, own):
    (tmp_path / "site").mkdir()
    if own:
        (tmp_path / "site" / "sitecustomize.py").write_text("import sys; sys.mine = __file__; print('site')")
    look = (
        "import sys; s = sys.modules.get('sitecustomize'); "
        "print(sys.path, sys.argv, getattr(sys, 'mine', None), s and s.__file__, sys.flags)"
    )
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    bare = python("-c", look, "word", cwd=tmp_path, env=environment)
    _, said = traced(
        tmp_path,
        f"""
        done = subprocess.run([sys.executable, "-c", {look!r}, "word"], capture_output=True, text=True)
        said = [done.stdout, done.stderr, done.returncode]
        """,
        env=environment,
    )
    assert said == [bare.stdout, bare.stderr, bare.returncode]
    assert ("site\n" in bare.stdout) == own


def test_an_error_in_a_sitecustomize_is_reported_as_before(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("1 / 0")
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    bare = python("-c", "print(1)", cwd=tmp_path, env=environment)
    script = program(
        tmp_path,
        """
        with gilscope.trace("run.gilscope", children=True) as t:
            done = subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True)
        print(json.dumps([done.stdout, done.stderr, done.returncode]))
        """,
    )
    said = python(str(script), cwd=tmp_path, env=environment).stdout
    assert "ZeroDivisionError" in bare.stderr
    assert json.loads(said) == [bare.stdout, bare.stderr, bare.returncode]
