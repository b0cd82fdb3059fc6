"""Weighted stacks in files add up to what the tables have."""

import json
import xml.etree.ElementTree as ElementTree
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gilscope
from gilscope.errors import OptionError, TraceWriteError
from gilscope.stacks import flamegraph, speedscope
from tests.support.drawn.rows import Site
from tests.support.drawn.traces import calm, round_robin, traces
from tests.support.oracles.sites import located
from tests.support.oracles.spans import names, spans

a_weight = st.sampled_from(["held", "inflicted", "waited"])
CUT = Site(0, None, "(callers not kept)", None, None, None)


def expected(trace, weight):
    """Return thread and stack -> nanoseconds, from the definition."""
    found = defaultdict(int)
    rows = spans(trace)
    for span in rows:
        if span.state != ("wait" if weight == "waited" else "run"):
            continue
        others = [s for s in rows if s.state == "wait" and s.interpreter == span.interpreter]
        ns = span.duration
        if weight == "inflicted":
            ns = sum(max(0, min(span.end, s.end) - max(span.start, s.start)) for s in others)
        stack, site = [], span.site
        while site is not None:
            stack.insert(0, trace.sites[site][2:5])
            site = trace.sites[site].parent
        found[names(trace)[span.thread], tuple(stack) or (("(no Python frame)", None, None),)] += ns
    return {key: ns for key, ns in found.items() if ns}


@calm
@given(traces(lossy=False).flatmap(located), a_weight)
def test_speedscope_weighs_what_the_tables_say(tmp_path_factory, trace, weight):
    file = tmp_path_factory.mktemp("flames") / "run.speedscope.json"
    speedscope.write(trace.recording(), file, weight)

    content = json.loads(file.read_text())
    frames = [(f["name"], f.get("file"), f.get("line")) for f in content["shared"]["frames"]]
    found = defaultdict(int)
    for profile in content["profiles"][1:]:
        thread = profile["name"].split(": ")[0]
        assert profile["endValue"] == sum(profile["weights"])
        for sample, ns in zip(profile["samples"], profile["weights"], strict=True):
            found[thread, tuple(frames[i] for i in sample)] += ns
    wanted = defaultdict(int)
    for (thread, stack), ns in expected(trace, weight).items():
        wanted[thread, stack] += ns
    assert found == wanted
    assert content["profiles"][0]["endValue"] == sum(wanted.values())


@calm
@given(traces(lossy=False).flatmap(located), a_weight)
def test_collapsed_stacks_add_up(tmp_path_factory, trace, weight):
    file = tmp_path_factory.mktemp("flames") / "run.txt"
    flamegraph.write_collapsed(trace.recording(), file, weight)

    lines = file.read_text().splitlines()
    assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == sum(expected(trace, weight).values())
    assert len({line.rsplit(" ", 1)[0] for line in lines}) <= len(lines)


def with_stacks(*stack, function="spin", file="/app/main.py"):
    trace = round_robin(2, 10)
    rows = [CUT, *(Site(i + 1, i or None, *frame, 1) for i, frame in enumerate(stack))]
    rows = rows if stack else [CUT, Site(1, None, function, file, 3, 1)]
    return trace.but(sites=rows, intervals=[i._replace(site=len(rows) - 1) for i in trace.intervals])


def boxes(file):
    """Return title -> x, width and y of each frame of a picture."""
    space = "{http://www.w3.org/2000/svg}"
    found = {}
    for group in ElementTree.parse(file).getroot().iter(f"{space}g"):
        box = group.find(f"{space}rect").attrib
        found[group.find(f"{space}title").text] = tuple(float(box[k]) for k in ("x", "width", "y"))
    return found


def test_each_frame_stands_on_its_caller(tmp_path):
    trace = with_stacks(("main", "/app/main.py", 7), ("spin", "/app/main.py", 3))
    flamegraph.write_svg(trace.recording(), tmp_path / "run.svg", "held")

    found = boxes(tmp_path / "run.svg")

    words = ("all threads", "main (/app/main.py:7)", "spin (/app/main.py:3)")
    whole, outer, inner = (next(found[title] for title in found if title.startswith(w)) for w in words)
    assert whole[2] > outer[2] > inner[2]
    assert whole[:2] == pytest.approx(outer[:2])
    assert outer[:2] == pytest.approx(inner[:2])
    assert sum("100.0 %" in title for title in found) == 3


def test_names_cannot_inject_into_a_picture_or_its_stacks(tmp_path):
    evil = "</title><script>alert(1)</script>\n;\x00\x1b[31m"
    trace = with_stacks(function=evil, file=evil)
    flamegraph.write_svg(trace.recording(), tmp_path / "run.svg", "held")
    flamegraph.write_collapsed(trace.recording(), tmp_path / "run.txt", "held")
    speedscope.write(trace.recording(), tmp_path / "run.json", "held")

    assert "<script" not in (tmp_path / "run.svg").read_text()
    ElementTree.parse(tmp_path / "run.svg")
    assert all(line.count(";") == 1 for line in (tmp_path / "run.txt").read_text().splitlines())
    assert json.loads((tmp_path / "run.json").read_text())["profiles"]


def test_errors_explain_what_cannot_be_written(tmp_path):
    t = with_stacks().recording()
    with pytest.raises(OptionError, match=r"run\.png: expected .* in \.svg \(flamegraph\), \.txt \(coll"):
        gilscope.Trace(t).to_flamegraph(tmp_path / "run.png")
    with pytest.raises(OptionError, match="weight must be one of 'held', 'inflicted', 'waited', not 'spent'"):
        flamegraph.write_svg(t, tmp_path / "run.svg", "spent")
    with pytest.raises(TraceWriteError, match="the file cannot be written"):
        speedscope.write(t, tmp_path / "nowhere" / "run.json", "held")
    with pytest.raises(OptionError, match="record it with exact edges and sites=True"):
        speedscope.write(round_robin(2, 2).recording(), tmp_path / "run.json", "held")
    assert list(tmp_path.iterdir()) == []


def test_ten_thousand_stacks_are_drawn_in_a_picture_of_bounded_size(tmp_path):
    trace = round_robin(2, 500)
    sites = [CUT, *(Site(i, (i - 1) // 2 or None, f"f{i}", "/app/main.py", i, 1) for i in range(1, 5000))]
    intervals = [i._replace(site=n % 4999 + 1) for n, i in enumerate(trace.intervals)]
    recording = trace.but(sites=sites, intervals=intervals).recording()
    flamegraph.write_svg(recording, tmp_path / "run.svg", "held")

    assert (tmp_path / "run.svg").stat().st_size < 4_000_000
