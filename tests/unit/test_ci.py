"""What `.ci/run` chooses and counts: no test is left out silently, and a run that checks nothing fails."""

import importlib
import itertools
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
MARKERS = [line.partition(":")[0] for line in OPTIONS["markers"]]
COMBINATIONS = [
    frozenset(some) for n in range(len(MARKERS) + 1) for some in itertools.combinations(MARKERS, n)
]


@pytest.fixture
def ci(monkeypatch):
    """Return what imports a module of `.ci`."""
    monkeypatch.syspath_prepend(ROOT / ".ci")
    return importlib.import_module


@pytest.fixture
def runner(ci):
    """Return `.ci/run` as a module."""
    loader = SourceFileLoader("ci_run", str(ROOT / ".ci" / "run"))
    module = module_from_spec(spec_from_loader("ci_run", loader))
    loader.exec_module(module)
    return module


def selected(expression: str, markers: frozenset[str]) -> bool:
    """Tell whether ``pytest -m`` selects a test that has these markers."""
    return eval(expression, {}, {marker: marker in markers for marker in MARKERS})


@pytest.mark.parametrize("markers", COMBINATIONS, ids=lambda markers: "+".join(sorted(markers)) or "none")
def test_each_test_runs_once_on_every_minor_version_that_it_belongs_to(ci, markers):
    wheels = ci("wheels")
    for newest in (False, True):
        parts = [wheels.beside_others(newest=newest), wheels.with_the_machine(newest=newest)]
        runs = sum(selected(part, markers) for part in parts)
        left_out = "once" in markers or ("extremes" in markers and not newest)
        assert runs == (0 if left_out else 1)


def test_the_readmes_command_runs_every_test(ci):
    parts = [
        stage.run.keywords["markers"] for stage in ci("stages").stages() if stage.name in ("tests", "clock")
    ]
    assert all(sum(selected(part, markers) for part in parts) == 1 for markers in COMBINATIONS)


def test_every_test_file_is_where_pytest_looks():
    ignored = {".venv", "build", "dist"}
    files = [file.relative_to(ROOT) for file in ROOT.rglob("test_*.py")]
    files = [file for file in files if not ignored.intersection(file.parts)]
    assert files
    assert [file for file in files if file.parts[0] not in OPTIONS["testpaths"]] == []


def test_what_the_wheels_do_not_run_is_the_same_everywhere():
    # `stages.copy_suite` leaves tests/native out.
    for file in (ROOT / "tests" / "native").glob("test_*.py"):
        assert "pytestmark = pytest.mark.once\n" in file.read_text()


@pytest.mark.parametrize(
    ("program", "counts"),
    [
        ("def test_one(): pass\ndef test_two(): assert False", (1, 1, 0)),
        ("import pytest\n@pytest.mark.skip\ndef test_one(): pass", (0, 1, 1)),
        ("", (0, 1, 0)),
        ("import os\ndef test_one(): os._exit(0)", (0, 1, 0)),
        ("def test_one(): pass", (1, 0, 0)),
    ],
    ids=["a failure", "only skipped", "no test", "broken off", "passed"],
)
def test_a_stage_counts_what_pytest_reports_and_fails_without_a_test(ci, tmp_path, program, counts):
    (tmp_path / "test_it.py").write_text(program)
    report = ci("results").Report("stage", tmp_path)
    report.pytest("tests", [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], tmp_path)
    [line] = report.lines
    assert (line.passed, line.failed, line.skipped) == counts


def test_a_check_of_nothing_fails(ci, tmp_path):
    report = ci("results").Report("stage", tmp_path)
    report.check("nothing", 0)
    report.check("a failure", 3, 1)
    report.check("three", 3)
    assert [line.failed for line in report.lines] == [1, 1, 0]


def test_stages_that_need_the_machine_run_last_and_alone(runner, tmp_path):
    running, most, order = set(), [], []

    def stage(name, **how):
        def run(report):
            running.add(name)
            most.append(frozenset(running))
            order.append(name)
            running.remove(name)

        return runner.Stage(name, run, **how)

    def refuse(report):
        raise runner.FailedError("no such thing")

    every = [
        stage("clock", needs=("late",), alone=True),
        stage("late", needs=("early",)),
        stage("early"),
        runner.Stage("broken", refuse),
        stage("never", needs=("broken",)),
    ]
    reports = runner.run(every, tmp_path)
    assert order == ["early", "late", "clock"]
    assert frozenset({"clock"}) in most
    assert [report.name for report in reports] == [stage.name for stage in every]
    assert [str(line).split()[0] for report in reports for line in report.lines] == ["FAILED", "FAILED"]
    assert "it needs broken" in reports[4].lines[0].note
    assert runner.summary(reports) == 1


def test_a_run_that_checks_nothing_fails(runner, tmp_path, capsys):
    assert runner.summary([runner.Report("empty", tmp_path)]) == 1
    assert capsys.readouterr().out.endswith("0 passed, 1 failed, 0 skipped\n")


def test_stages_are_chosen_with_what_they_need(runner):
    names = [stage.name for stage in runner.chosen(["smoke"])]
    assert names == ["packages", "wheel", "smoke"]
    assert len(runner.chosen([])) > 20
    with pytest.raises(SystemExit, match="no stage named smok; there are packages, "):
        runner.chosen(["smok"])
