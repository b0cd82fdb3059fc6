"""The plugin answers VizTracer's messages, and a VizTracer that changed costs the lanes only."""

import os
import sys
from typing import Any

import pytest
import viztracer

import gilscope
from gilscope import vizplugin
from gilscope.viztracer import FIRST_TID
from gilscope.viztracer.plugin import GilLanes


def hand_over(plugin: GilLanes, data: Any) -> None:
    """Call the plugin as VizTracer does before it saves a report."""
    answer = plugin.message("event", {"when": "pre-save"})
    assert answer["action"] == "handle_data"
    answer["handler"](data)


def lanes(data: dict[str, Any]) -> list[str]:
    """Return the titles of our lanes."""
    named = (e for e in data["traceEvents"] if e["name"] == "thread_name" and e["tid"] >= FIRST_TID)
    return [e["args"]["name"] for e in named]


@pytest.fixture
def trace() -> gilscope.Trace:
    with gilscope.trace(None) as t:
        sum(range(1000))
    return t


def test_a_finished_trace_is_added_once(trace):
    plugin, data = trace.viz_plugin(), {"traceEvents": []}
    hand_over(plugin, data)
    assert lanes(data) == ["GIL holder", f"GIL MainThread ({os.getpid()})"]
    before = len(data["traceEvents"])
    hand_over(plugin, data)
    assert len(data["traceEvents"]) == before


def test_a_trace_in_progress_is_added_with_the_events_so_far():
    data: dict[str, Any] = {"traceEvents": []}
    with gilscope.trace(None) as t:
        t.mark("before")
        hand_over(t.viz_plugin(), data)
        t.mark("after")
    marks = [e["name"] for e in data["traceEvents"] if e["ph"] == "i" and e["args"].get("mark")]
    assert marks == ["before"]
    assert t.marks["name"].to_pylist() == ["before", "after"]
    assert t.metadata["complete"]


@pytest.mark.parametrize("data", [None, [], {}, {"traceEvents": None}, {"traceEvents": {}}])
def test_an_unknown_report_does_not_change(trace, data):
    before = repr(data)
    with pytest.warns(RuntimeWarning, match="not in VizTracer's report, which is whole without them"):
        hand_over(trace.viz_plugin(), data)
    assert repr(data) == before


def test_unknown_messages_are_ignored(trace):
    plugin = trace.viz_plugin()
    assert plugin.message("event", {"when": "something new"}) == {}
    assert plugin.message("something new", {}) == {"success": True}
    assert plugin.message("command", {"cmd_type": "terminate"}) == {"success": True}


class Changed:
    """A VizTracer that keeps its plugins elsewhere."""

    enable = True

    def pause(self) -> None:
        pass

    resume = pause


@pytest.mark.parametrize("plugins", [None, ()])
def test_a_viztracer_that_changed_inside_costs_the_lanes_only(monkeypatch, plugins):
    tracer = Changed()
    if plugins is not None:
        tracer._plugin_manager = Changed()
        tracer._plugin_manager._plugins = plugins
    monkeypatch.setattr(viztracer, "get_tracer", lambda: tracer)
    with pytest.warns(RuntimeWarning, match="lanes are not in VizTracer's report"), gilscope.trace(None) as t:
        sum(range(1000))
    assert t.metadata["complete"]


@pytest.mark.parametrize("missing", ["get_tracer", "enable", "pause"])
def test_a_viztracer_without_what_the_plugin_needs_costs_the_lanes_only(monkeypatch, missing):
    tracer = Changed()
    monkeypatch.setattr(viztracer, "get_tracer", lambda: tracer)
    if missing == "get_tracer":
        monkeypatch.delattr(viztracer, "get_tracer")
    else:
        monkeypatch.delattr(Changed, missing)
    with pytest.warns(RuntimeWarning, match="lanes are not in VizTracer's report"), gilscope.trace(None) as t:
        sum(range(1000))
    assert t.metadata["complete"]


def test_a_viztracer_that_has_stopped_is_left_alone(monkeypatch):
    stopped = Changed()
    stopped.enable = False
    monkeypatch.setattr(viztracer, "get_tracer", lambda: stopped)
    with gilscope.trace(None) as t:
        pass
    assert t.metadata["complete"]


# The sampler is a thread, and Python counts it.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_forked_childs_report_does_not_get_its_parents_lanes():
    data: dict[str, Any] = {"traceEvents": []}
    with gilscope.trace(None) as t:
        plugin = t.viz_plugin()
        child = os.fork()
        if not child:
            try:
                hand_over(plugin, data)
                os._exit(len(data["traceEvents"]))
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_trace_that_is_replaced_on_disk_is_still_in_the_report(tmp_path):
    plugins = []
    for _ in range(2):
        with gilscope.trace(tmp_path / "run.gilscope", overwrite=True) as t:
            t.mark("here")
            plugins.append(t.viz_plugin())
    data: dict[str, Any] = {"traceEvents": []}
    for plugin in plugins:
        hand_over(plugin, data)
    assert [e["name"] for e in data["traceEvents"] if e["ph"] == "i"] == ["here", "here"]
    tids = [e["tid"] for e in data["traceEvents"] if e["ph"] == "M" and e["name"] == "thread_sort_index"]
    assert len(set(tids)) == len(tids) == 4


# ---- the plugin of VizTracer's command ----


def test_each_start_and_stop_is_a_trace_of_its_own():
    plugin = vizplugin.get_vizplugin("gilscope.vizplugin --edges sampled --period 0.002")
    data: dict[str, Any] = {"traceEvents": []}
    for _ in range(2):
        plugin.message("event", {"when": "pre-start"})
        plugin.message("event", {"when": "post-stop"})
    hand_over(plugin, data)
    assert lanes(data).count("GIL holder") == 2
    later: dict[str, Any] = {"traceEvents": []}
    plugin.message("event", {"when": "pre-start"})
    plugin.message("event", {"when": "post-stop"})
    hand_over(plugin, later)
    assert lanes(later).count("GIL holder") == 1
    assert plugin.message("command", {"cmd_type": "terminate"}) == {"success": True}


def test_a_trace_of_the_programs_own_costs_the_plugin_its_lanes():
    plugin = vizplugin.get_vizplugin("gilscope.vizplugin")
    with gilscope.trace(None):
        with pytest.warns(RuntimeWarning, match="a trace is active in this process already"):
            plugin.message("event", {"when": "pre-start"})
        plugin.message("event", {"when": "post-stop"})
    data: dict[str, Any] = {"traceEvents": []}
    hand_over(plugin, data)
    assert data == {"traceEvents": []}


def test_an_option_that_does_not_exist_says_which_there_are(capsys):
    with pytest.raises(SystemExit):
        vizplugin.get_vizplugin("gilscope.vizplugin --perriod 3")
    assert "unrecognized arguments: --perriod 3" in capsys.readouterr().err
