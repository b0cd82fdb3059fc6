"""The commands that read traces: report as text, JSON and a page, and compare."""

import json

import pytest

import gilscope
from tests.support.processes.programs import python, run_threads, spin


@pytest.fixture
def traces(tmp_path):
    for name in ("a", "b", "c"):
        with gilscope.trace(tmp_path / f"{name}.gilscope"):
            run_threads(lambda: spin(0.02), lambda: spin(0.02), names=("one", "two"))
    return tmp_path


def command(folder, *arguments):
    return python("-m", "gilscope", *arguments, cwd=folder)


def test_report_as_text_and_json(traces):
    done = command(traces, "report", "a.gilscope")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("gilscope ")
    figures = json.loads(command(traces, "report", "--json", "a.gilscope").stdout)
    assert {row["thread_name"] for row in figures["threads"]} >= {"one", "two"}


def test_report_as_a_page(traces):
    done = command(traces, "report", "--html", "out.html", "a.gilscope")
    assert (done.returncode, done.stdout) == (0, "out.html\n"), done.stderr
    page = (traces / "out.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "one" in page

    done = command(traces, "report", "--html", "no/such/folder.html", "a.gilscope")
    assert done.returncode == 2
    assert "folder.html" in done.stderr
    assert "Traceback" not in done.stderr


def test_compare_prints_a_table(traces):
    done = command(traces, "compare", "a.gilscope", "b.gilscope")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = done.stdout.splitlines()
    assert head.split() == ["figure", "thread", "before", "after", "difference", "ratio"]
    assert any(row.startswith("wall ") for row in rows)

    done = command(traces, "compare", "a.gilscope", "b.gilscope", "c.gilscope", "--after", "a.gilscope")
    assert "95 %" in done.stdout.splitlines()[0]


def test_a_missing_trace_is_named(traces):
    done = command(traces, "compare", "a.gilscope", "nowhere.gilscope")
    assert done.returncode == 2
    assert "nowhere.gilscope: no such trace" in done.stderr
