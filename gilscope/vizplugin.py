"""A plugin of VizTracer that records the GIL while VizTracer traces: no change to the program is needed.

``viztracer --plugins "gilscope.vizplugin --period 1ms" -- script.py`` adds the GIL's lanes to the report,
and for children of the program too, each with lanes of its own.
"""

from __future__ import annotations

import argparse
import os
import shlex
from multiprocessing import util
from typing import Any

from gilscope.errors import GilscopeError
from gilscope.record.options import add_arguments, values_of
from gilscope.tables.stored import Tables
from gilscope.tracer import trace
from gilscope.traces import Trace
from gilscope.viztracer.plugin import GilLanes, warn


def get_vizplugin(text: str) -> Recorder:
    """Return the plugin; VizTracer calls this.

    Args:
        text: the argument of ``--plugins``: the name of this module, and options.

    Example:
        >>> get_vizplugin("gilscope.vizplugin --period 1ms").support_version()
        '1.0.0'
    """
    parser = argparse.ArgumentParser(prog="gilscope.vizplugin", description=__doc__)
    add_arguments(parser, "plugin")
    return Recorder(**values_of(parser.parse_args(shlex.split(text)[1:]), "plugin"))


class Recorder(GilLanes):
    """Records from where VizTracer starts to where it stops, and adds the lanes when it saves.

    Args:
        **options: of `gilscope.trace`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(self._recorded)
        self._options = options
        self._tracing: Any = None
        self._trace: Trace | None = None
        self._finished: list[Trace] = []
        self._saved = False
        util.register_after_fork(self, Recorder._continue_in_child)

    def _recorded(self) -> list[Tables]:
        self._saved = True
        return [trace._tables for trace in self._finished]

    def handle_event(self, when: str | None) -> dict[str, Any]:
        """Start and stop with VizTracer, and add the lanes before it saves."""
        if when == "pre-start":
            self._start()
        elif when == "post-stop":
            self._stop()
        return super().handle_event(when)

    def _start(self) -> None:
        if self._saved or os.getpid() != self._pid:
            # VizTracer collects from here on for another report.
            self._forget()
        try:
            self._tracing = trace(None, quiet=True, **self._options)
            self._trace = self._tracing.__enter__()
        except GilscopeError as error:
            self._tracing = None
            warn(error)

    def _stop(self) -> None:
        tracing, self._tracing = self._tracing, None
        if tracing is not None and self._trace is not None:
            tracing.__exit__(None, None, None)
            self._finished.append(self._trace)

    def _forget(self) -> None:
        self._tracing = self._trace = None
        self._finished, self._saved, self._pid = [], False, os.getpid()

    def _continue_in_child(self) -> None:
        """Record a forked child too: VizTracer continues there without a message to its plugins."""
        if os.getpid() == self._pid:
            return  # VizTracer has started again there, with a message
        collecting = self._tracing is not None
        self._forget()
        if collecting:
            self._start()

    def end(self) -> None:
        """Delete what has been recorded, with its folders."""
        self._stop()
        self._forget()
