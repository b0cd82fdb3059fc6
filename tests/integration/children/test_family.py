"""One trace of many processes: its tables, timeline and reports have all of them."""

import json

import pytest

import gilscope
from gilscope import analysis
from tests.support.processes.families import HOLD_NS, events, traced
from tests.support.processes.programs import python


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """Return a trace of a process with two children, one after the other, and their pids."""
    t, pids = traced(
        tmp_path_factory.mktemp("family"),
        """
        said = []
        for _ in range(2):
            process = subprocess.Popen([sys.executable, "-c", HOLD])
            process.wait()
            said.append(process.pid)
        hold()
        """,
    )
    return t, pids


def test_children_are_in_order_of_their_beginnings(family):
    t, pids = family
    assert [child.metadata["pid"] for child in t.children] == pids
    assert t.children is t.children
    for name in ("intervals", "threads", "handoffs", "switch_intervals", "samples", "marks"):
        assert t.all_processes(name).num_rows == sum(p.table(name).num_rows for p in (t, *t.children))


def test_tables_of_all_processes_are_on_one_clock(family):
    t, pids = family
    table = t.all_processes("intervals")
    assert table.column_names == ["pid", "process", *t.intervals.column_names]
    frame = table.to_pandas()
    holds = frame[(frame.state == "run") & (frame.duration_ns >= HOLD_NS)].sort_values("start_ns")
    assert holds.pid.tolist() == [*pids, t.metadata["pid"]]
    assert holds.process.tolist() == [1, 2, 0]
    ends = holds.start_ns + holds.duration_ns
    assert (holds.start_ns.iloc[1:].to_numpy() >= ends.iloc[:-1].to_numpy()).all()
    own = frame[frame.process == 0].drop(columns=["pid", "process"]).reset_index(drop=True)
    assert own.equals(t.intervals.to_pandas())
    shift = t.children[1].metadata["start_monotonic_ns"] - t.metadata["start_monotonic_ns"]
    first = frame[frame.process == 2].start_ns - t.children[1].intervals.to_pandas().start_ns.to_numpy()
    assert set(first) == {shift}
    assert t.all_processes("handoffs").num_rows >= t.handoffs.num_rows
    with pytest.raises(KeyError):
        t.all_processes("nothing")


def test_one_timeline_has_the_lanes_of_all(family, tmp_path):
    t, pids = family
    t.to_viztracer(tmp_path / "run.json")
    found = events(tmp_path / "run.json")
    for pid in (t.metadata["pid"], *pids):
        mine = [e for e in found if e["pid"] == pid]
        named = {e["tid"]: e["args"]["name"] for e in mine if e["name"] == "thread_name"}
        assert any("MainThread" in name for name in named.values())
        assert any("holder" in name for name in named.values())
        runs = [e for e in mine if e.get("cat") == "run" and e["dur"] >= HOLD_NS / 1000]
        assert len(runs) == 1
        assert "MainThread" in named[runs[0]["tid"]]
    starts = [e["ts"] for pid in pids for e in found if e["pid"] == pid and e.get("cat") == "run"]
    assert min(starts) >= t.metadata["start_monotonic_ns"] / 1000


def test_a_window_shows_those_that_were_on(family, tmp_path):
    t, pids = family
    begins = (t.children[1].metadata["start_monotonic_ns"] - t.metadata["start_monotonic_ns"]) / 1e9
    t.to_viztracer(tmp_path / "run.json", window=(begins, t.metadata["duration_ns"] / 1e9))
    assert {e["pid"] for e in events(tmp_path / "run.json")} == {t.metadata["pid"], pids[1]}
    with pytest.warns(RuntimeWarning, match="are more than 20"):
        t.to_viztracer(tmp_path / "cut.json", max_slices=20)
    slices = [e for e in events(tmp_path / "cut.json") if e.get("cat") in ("run", "wait")]
    assert 0 < len(slices) <= 20


def test_merging_adds_all_once(family, tmp_path):
    t, pids = family
    for content in ('{"traceEvents": [], "viztracer_metadata": {}}', '{"a": 1, "traceEvents": []}'):
        report = tmp_path / "report.json"
        report.write_text(content)
        t.merge_into(report)
        merged = report.read_bytes()
        assert {e["pid"] for e in events(report)} == {t.metadata["pid"], *pids}
        t.merge_into(report)
        assert report.read_bytes() == merged


def test_the_report_has_a_line_for_each(family):
    t, pids = family
    text = t.report()
    # Long paths are folded.
    assert f"gilscopereport{t.home}/children/" in "".join(text.split())
    lines = [line.split() for line in text.splitlines()]
    assert all(sum(words[:2] == [str(pid), "-c"] for words in lines) == 1 for pid in pids)
    rows = json.loads(t.report("json"))["children"]
    assert [row["pid"] for row in rows] == pids
    for row, child in zip(rows, t.children, strict=True):
        assert row["duration_ns"] == child.metadata["duration_ns"]
        assert row["held_share"] == pytest.approx(analysis.overhead(child).held_share.item())
        assert gilscope.load(t.home / row["path"]).metadata == child.metadata
    page = t.report("html")
    assert "Child processes (2)" in page
    assert all(f"<tr><td>{pid}</td><td>-c</td>" in page for pid in pids)
    assert "Child processes" not in t.children[0].report() + t.children[0].report("html")


def test_info_lists_them_and_export_has_them(family, tmp_path):
    t, pids = family
    info = python("-m", "gilscope", "info", str(t.home), cwd=tmp_path)
    assert [row["pid"] for row in json.loads(info.stdout)["children"]] == pids
    done = python("-m", "gilscope", "export", str(t.home), "-o", "run.json", cwd=tmp_path)
    assert done.returncode == 0
    assert {e["pid"] for e in events(tmp_path / "run.json")} == {t.metadata["pid"], *pids}


def test_a_copy_has_the_children_and_what_it_replaces_goes_with_its_own(family, tmp_path):
    t, _ = family
    for _ in range(2):
        copy = gilscope.load(t.save(tmp_path / "copy.gilscope", overwrite=True))
        assert [child.metadata for child in copy.children] == [child.metadata for child in t.children]
    with gilscope.trace(tmp_path / "copy.gilscope", overwrite=True, children=True):
        pass
    assert gilscope.load(tmp_path / "copy.gilscope").children == []


def test_a_damaged_child_is_left_out_with_a_warning(family, tmp_path):
    t, pids = family
    copy = t.save(tmp_path / "copy.gilscope")
    (copy / "children" / str(pids[0]) / "metadata.json").write_text("{")
    (copy / "children" / "1").mkdir()
    (copy / "children" / "notes.txt").write_text("mine")
    with pytest.warns(RuntimeWarning, match=f"left out: .*{pids[0]}"):
        children = gilscope.load(copy).children
    assert [child.metadata["pid"] for child in children] == pids[1:]
