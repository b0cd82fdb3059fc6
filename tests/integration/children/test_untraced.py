"""Child processes that cannot be recorded run as if nothing were."""

import json
import sys
from pathlib import Path

import pytest

import gilscope
from tests.support.processes.families import run, traced


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_pythons_that_look_at_no_environment_go_untraced(tmp_path, flag):
    t, said = traced(
        tmp_path,
        f"""
        done = subprocess.run([sys.executable, {flag!r}, "-c", "print(1)"], capture_output=True, text=True)
        said = [done.stdout, done.stderr, done.returncode]
        """,
    )
    assert said == ["1\n", "", 0]
    assert t.children == []


BASE = getattr(sys, "_base_executable", sys.executable)
"""The Python behind this virtual environment, without what is installed here."""


def other_pythons():
    """Pythons that have no gilscope, or cannot have one."""
    found = [BASE] if sys.executable != BASE else []
    return found + [
        str(p) for p in Path.home().glob(".pyenv/versions/[23].*/bin/python") if "3.11" not in str(p)
    ]


@pytest.mark.parametrize("other", other_pythons() or [None])
def test_pythons_without_gilscope_go_untraced(tmp_path, other):
    if other is None:
        pytest.skip("no other Python here")
    t, said = traced(
        tmp_path,
        f"""
        done = subprocess.run([{other!r}, "-c", "print(1)"], capture_output=True, text=True)
        said = [done.stdout, done.stderr, done.returncode]
        """,
    )
    assert said == ["1\n", "", 0]
    assert t.children == []


@pytest.mark.parametrize(
    "module", ["raise RuntimeError('no')", "", "import nothing_of_this_name", "def broken(:"]
)
@pytest.mark.skipif(sys.executable == BASE, reason="not in a virtual environment")
def test_a_gilscope_of_another_kind_in_the_child_costs_its_trace_only(tmp_path, module):
    (tmp_path / "site" / "gilscope").mkdir(parents=True)
    (tmp_path / "site" / "gilscope" / "__init__.py").write_text(module)
    t, said = traced(
        tmp_path,
        f"""
        path = os.environ["PYTHONPATH"] + os.pathsep + os.path.abspath("site")
        done = subprocess.run(
            [{BASE!r}, "-c", "print(1)"],
            env={{**os.environ, "PYTHONPATH": path}},
            capture_output=True,
            text=True,
        )
        said = [done.stdout, done.stderr, done.returncode]
        """,
    )
    assert said == ["1\n", "", 0]
    assert t.children == []


FORK = "if (pid := os.fork()) == 0: os._exit(hold() != os.getpid())"
SPAWN = 'pid = subprocess.Popen([sys.executable, "-c", HOLD]{}).pid'
LIMITED = SPAWN.format(", preexec_fn=lambda: limit('FSIZE', 0)")


@pytest.mark.parametrize(
    ("hinder", "begin"),
    [
        ("limit('FSIZE', 0)", FORK),
        ("pass", LIMITED),
        ("limit('NOFILE', 3)", FORK),
        ("shutil.rmtree('run.gilscope/children')", FORK),
        ("shutil.rmtree('run.gilscope/children')", SPAWN.format("")),
        ("shutil.rmtree('run.gilscope/children'); open('run.gilscope/children', 'w').close()", FORK),
        ("os.environ['GILSCOPE_CHILDREN'] = '{'", SPAWN.format("")),
        ("os.environ['GILSCOPE_CHILDREN'] = '[]'", SPAWN.format("")),
        ("del os.environ['GILSCOPE_CHILDREN']", SPAWN.format("")),
    ],
)
def test_a_child_that_cannot_be_recorded_is_not_and_goes_on(tmp_path, hinder, begin):
    body = f"""
import resource, shutil

def limit(what, soft):
    kind = getattr(resource, "RLIMIT_" + what)
    resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))

if __name__ == "__main__":
    before = resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_FSIZE)
    with gilscope.trace("run.gilscope", children=True):
        {hinder}
        {begin}
        resource.setrlimit(resource.RLIMIT_NOFILE, before[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        status = wait(pid)
    print(json.dumps([status, pid]))
"""
    status, pid = json.loads(run(tmp_path, body).stdout)
    assert status == 0
    t = gilscope.load(tmp_path / "run.gilscope")
    assert t.children == []
    assert pid not in t.threads["native_id"].to_pylist()
