"""The text report, compared whole with what is expected of handmade traces, and the keys of the JSON report.

After an intended change of the report run ``python -m tests.support.golden_reports`` and read the difference.
"""

import json
import re

import pytest

from gilscope.report import json as json_report
from gilscope.report import text
from gilscope.report.facts import facts_of
from gilscope.report.layout import WIDTH, columns
from tests.support import golden_reports
from tests.support.drawn.traces import MS, round_robin, sampled


@pytest.mark.parametrize("name", golden_reports.REPORTS)
def test_the_report_is_what_is_expected(name):
    expected = golden_reports.file(name).read_text(encoding="utf-8")
    assert golden_reports.REPORTS[name]() == expected
    assert max(map(columns, expected.splitlines())) <= WIDTH


def test_every_expected_report_belongs_to_a_trace():
    files = {file.name for file in golden_reports.DATA.glob("report-*.txt")}
    assert files == {golden_reports.file(name).name for name in golden_reports.REPORTS}


def test_colours_add_nothing_but_codes():
    t = golden_reports.convoy().recording(**golden_reports.VERSIONS)
    colored = text.render(t, color=True)

    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == text.render(t)
    assert "\x1b[1;31mio comes back from" in colored  # the sentence, and not its number
    assert "\x1b[1mthread " in colored


@pytest.mark.parametrize(
    "trace", [golden_reports.convoy(), sampled(round_robin(2, 5)), golden_reports.lost()]
)
def test_the_keys_of_json_are_those_documented(trace):
    documented = set(re.findall(r"``(\w+)``", json_report.render.__doc__.partition("Args:")[0]))
    assert set(json.loads(json_report.render(trace.recording()))) == documented


def test_tables_without_metadata_have_a_report():
    t = round_robin(2, 10, hold=5 * MS).recording()
    assert text.render(t.intervals).startswith("105 ms · exact edges · 2 threads\n")


def test_threads_that_are_not_shown_are_added_up():
    facts = facts_of(round_robin(4, 10).recording())
    threads = facts.threads.set_index("thread")

    rest = facts.other_threads(3)
    [last] = set(threads.index) - set(facts.busiest.thread[:3])
    assert rest["n"] == 1
    assert rest["run_share"] == pytest.approx(threads.run_share[last])
    assert rest["acquires"] == threads.acquires[last]
    assert facts.other_threads(0)["acquires"] == threads.acquires.sum()
    assert facts.other_threads(4) is None


@pytest.mark.parametrize("most", [1, 2, 5])
def test_blame_of_few_threads_adds_up_the_others(most):
    facts = facts_of(round_robin(5, 10).recording())
    blame = facts.blame(most)

    assert blame.waiters[most:] == ([f"{5 - most} others"] if most < 5 else [])
    assert blame.holders[most:] == ([f"{5 - most} others", "free"] if most < 5 else ["free"])
    assert sum(map(sum, blame.waited)) == facts.threads.wait_ns.sum()
    assert blame.hottest == facts.blame_matrix.to_numpy().max()
