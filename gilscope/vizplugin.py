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
from gilscope.viztracer.reportlanes import GilLanes, warn


def get_vizplugin(text: str) -> Recorder:
    """Return the plugin; VizTracer calls this.

    Args:
        text: what the user gave behind ``--plugins``: the module's name, and options of ours.

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
        util.register_after_fork(self, Recorder._go_on_in_child)

    def _recorded(self) -> list[Tables]:
        self._saved = True
        return [trace._tables for trace in self._finished]

    def hear(self, when: str | None) -> dict[str, Any]:
        """Start, stop, and hand over with VizTracer."""
        if when == "pre-start":
            self._start()
        elif when == "post-stop":
            self._stop()
        return super().hear(when)

    def _start(self) -> None:
        if self._saved or os.getpid() != self._pid:
            # What VizTracer collects from here on goes into another report.
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

    def _go_on_in_child(self) -> None:
        """Record the child of a fork too, in which VizTracer goes on without a word to its plugins."""
        if os.getpid() == self._pid:
            return  # it has started anew, and has said so
        collecting = self._tracing is not None
        self._forget()
        if collecting:
            self._start()

    def end(self) -> None:
        """Drop what has been recorded: its folders go with it."""
        self._stop()
        self._forget()
