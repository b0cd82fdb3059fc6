"""CPython's own tests under ``gilscope run``, a few of them; ``python -m tests.stress.cpython`` runs more."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import gilscope
from tests.stress import cpython

pytestmark = pytest.mark.clock


def need(name):
    if not (cpython.carried() and cpython.carried(name)):
        pytest.skip(f"this interpreter carries no {name}")


@pytest.mark.parametrize("name", ["test_thread", "test_fork1", "test_threadedtempfile"])
def test_outcomes_are_as_without_gilscope(tmp_path, name):
    need(name)
    # Beside each other: they sleep most of the time.
    with ThreadPoolExecutor() as pool:
        bare, traced = pool.map(lambda traced: cpython.run(name, tmp_path, traced=traced), (False, True))
    assert "ok" in bare.outcomes.values(), bare.log.read_text()
    assert cpython.differences(bare, traced) == [], traced.log.read_text()
    assert gilscope.load(tmp_path / f"{name}.gilscope").metadata["transitions"] > 0


def test_what_differs_is_said(tmp_path):
    log = tmp_path / "log"
    bare = cpython.Run(0, {"a": "ok", "b": "skipped", "c": "ok"}, 1.0, log)
    traced = cpython.Run(-11, {"a": "failure", "b": "skipped"}, 1.0, log)
    differ = cpython.differences(bare, traced)
    assert differ == [
        "a: ok bare, failure traced",
        "c: ok bare, missing traced",
        "exit status: 0 bare, -11 traced",
    ]
    assert "3 DIFFER" in cpython.row("test_x", bare, traced, differ)
    assert cpython.differences(bare, bare) == []
    nothing = cpython.Run(1, {}, 0.1, log)
    assert cpython.differences(nothing, nothing) == ["no test case ran"]


def test_a_report_is_read(tmp_path):
    report = tmp_path / "report.xml"
    assert cpython.outcomes(report) == {}
    report.write_text(
        "<testsuites><testsuite><testcase name='a'/><testcase name='b'><skipped>no</skipped></testcase>"
        "<testcase name='c'><failure/></testcase></testsuite></testsuites>"
    )
    assert cpython.outcomes(report) == {"a": "ok", "b": "skipped", "c": "failure"}


def test_the_command_prints_a_table_and_counts(tmp_path, capfd, monkeypatch):
    need("test_thread")
    monkeypatch.setattr(sys, "argv", ["cpython", "--folder", str(tmp_path), "test_thread"])
    assert cpython.main() == 0
    printed = capfd.readouterr().out
    assert "test_thread " in printed
    assert "test cases, 0 differences" in printed
