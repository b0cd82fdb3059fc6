"""Lanes in VizTracer's own reports: what it calls before it saves one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from viztracer.vizplugin import VizPluginBase

from gilscope.errors import warn_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.tables.stored import Tables


class GilLanes(VizPluginBase):  # type: ignore[misc]  # VizTracer comes without types
    """A plugin of VizTracer that adds the lanes of traces to each report it saves.

    Whatever goes wrong costs the lanes, with a warning, and never the report.

    Args:
        traces: returns the traces to add, each finished or as far as it has come.
    """

    def __init__(self, traces: Callable[[], list[Tables]]) -> None:
        super().__init__()
        self._traces = traces
        self._pid = os.getpid()

    def support_version(self) -> str:
        """Return the VizTracer from which on its plugins are as we know them."""
        return "1.0.0"

    def message(self, m_type: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer VizTracer, which tells what it is about to do."""
        try:
            if m_type == "event":
                return self.hear(payload.get("when"))
            if payload.get("cmd_type") == "terminate":
                self.end()
        except Exception as error:
            warn(error)
        return {"success": True}

    def hear(self, when: str | None) -> dict[str, Any]:
        """Take in an event; before a report is saved, ask for its data."""
        return {"action": "handle_data", "handler": self._add} if when == "pre-save" else {}

    def end(self) -> None:
        """VizTracer is done with the plugin."""

    def _add(self, data: Any) -> None:
        if os.getpid() != self._pid:
            return  # a forked child saves a report of its own, in which its parent's lanes have no place
        try:
            # Only now: importing pyarrow in the middle of a trace would stand in the way of the program.
            from gilscope.viztracer.merge import add_lanes

            for recording in self._traces():
                said = add_lanes(recording, data)
                if said is not None:
                    warn_user(f"{said}; t.merge_into(report) adds more")
        except Exception as error:
            warn(error)


def warn(error: Exception) -> None:
    """Say that a report has no lanes of ours."""
    warn_user(
        f"gilscope's lanes are not in VizTracer's report, which is whole without them: {error}; write them "
        "to a file of their own with t.to_viztracer(), or t.merge_into(report)"
    )


def tracing() -> Any:
    """Return the VizTracer that traces now, or None; the last one made stays known when it has stopped."""
    module = sys.modules.get("viztracer")
    tracer = module.get_tracer() if module is not None else None
    return tracer if tracer is not None and tracer.enable else None


def unseen(call: Callable[[], None]) -> None:
    """Call a function of ours that VizTracer's report is not to show, as VizTracer's `ignore_function` does.

    Beginning and ending a trace are some hundred thousand calls, enough to push the program's own out of
    VizTracer's buffer. VizTracer must be paused and resumed in one frame, or it loses count of its stack.
    """
    try:
        tracer = tracing()
        resume = tracer.resume
        tracer.pause()
    except AttributeError:  # none is tracing, or none that we know
        call()
        return
    try:
        call()
    finally:
        resume()


def attach(plugin: Callable[[], GilLanes]) -> None:
    """Give a plugin to the VizTracer that is tracing now, if there is one.

    VizTracer has no public way to add a plugin to one that has been made; the list is the same in 0.16 to
    1.1.

    Args:
        plugin: makes the plugin.
    """
    tracer = tracing()
    if tracer is None:
        return
    plugins = tracer._plugin_manager._plugins
    if not isinstance(plugins, list):
        raise TypeError(f"expected VizTracer to have a list of plugins, found {type(plugins).__name__}")
    plugins.append(plugin())


def join(plugin: Callable[[], GilLanes]) -> None:
    """Attach a plugin to the VizTracer that is tracing, if there is one; warn if that fails.

    Args:
        plugin: makes the plugin.
    """
    try:
        attach(plugin)
    except Exception as error:
        warn(error)
