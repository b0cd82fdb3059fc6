"""A plugin of VizTracer that adds lanes to each report before VizTracer saves it."""

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

    After an error the report has no such lanes, and a warning says so; the report itself is always saved.

    Args:
        traces: returns the traces to add, finished or recorded so far.
    """

    def __init__(self, traces: Callable[[], list[Tables]]) -> None:
        super().__init__()
        self._traces = traces
        self._pid = os.getpid()

    def support_version(self) -> str:
        """Return the oldest version of VizTracer that has plugins like this one."""
        return "1.0.0"

    def message(self, m_type: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer a message of VizTracer about what it is going to do."""
        try:
            if m_type == "event":
                return self.handle_event(payload.get("when"))
            if payload.get("cmd_type") == "terminate":
                self.end()
        except Exception as error:
            warn(error)
        return {"success": True}

    def handle_event(self, when: str | None) -> dict[str, Any]:
        """Handle an event: before a report is saved, ask for its data."""
        return {"action": "handle_data", "handler": self._add} if when == "pre-save" else {}

    def end(self) -> None:
        """Called when VizTracer no longer needs the plugin."""

    def _add(self, data: Any) -> None:
        if os.getpid() != self._pid:
            return  # a forked child saves a report of its own, which must not have its parent's lanes
        try:
            # Imported late: it imports pyarrow, which would slow the program down in the middle of a trace.
            from gilscope.viztracer.merge import add_lanes

            for recording in self._traces():
                left_out = add_lanes(recording, data)
                if left_out is not None:
                    warn_user(f"{left_out}; t.merge_into(report) adds more")
        except Exception as error:
            warn(error)


def warn(error: Exception) -> None:
    """Warn that a report has no lanes of gilscope."""
    warn_user(
        f"gilscope's lanes are not in VizTracer's report, which is whole without them: {error}; write them "
        "to a file of their own with t.to_viztracer(), or t.merge_into(report)"
    )


def tracing() -> Any:
    """Return the VizTracer that traces now, or None: ``get_tracer`` also returns one that has stopped."""
    module = sys.modules.get("viztracer")
    tracer = module.get_tracer() if module is not None else None
    return tracer if tracer is not None and tracer.enable else None


def unseen(call: Callable[[], None]) -> None:
    """Call a function while VizTracer is paused, as VizTracer's `ignore_function` does.

    To begin and end a trace takes some hundred thousand calls, which could push the program's own out of
    VizTracer's buffer. VizTracer must be paused and resumed in one frame, or it miscounts its stack.
    """
    try:
        tracer = tracing()
        resume = tracer.resume
        tracer.pause()
    except AttributeError:  # no VizTracer traces, or it has no such methods
        call()
        return
    try:
        call()
    finally:
        resume()


def attach(plugin: Callable[[], GilLanes]) -> None:
    """Add a plugin to the VizTracer that is tracing now, if there is one.

    VizTracer has no public way to add a plugin later; its list of plugins is the same in 0.16 to 1.1.

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
