"""`Trace`: what `gilscope.trace` and `gilscope.load` return."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from gilscope.errors import TraceStateError, warn_user

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

    import pyarrow as pa

    from gilscope.record.marking import Marker, Region
    from gilscope.record.session import Session
    from gilscope.stacks import Weight
    from gilscope.tables.stored import Tables
    from gilscope.viztracer.plugin import GilLanes

    StrPath = str | os.PathLike[str]
    Window = tuple[float, float] | None
    Flows = Literal["auto"] | bool


def _table(name: str, doc: str) -> property:
    return property(lambda trace: trace._tables.table(name), doc=doc)


class Trace:
    """A trace: the tables, the metadata, and what can be made of them.

    `gilscope.trace` and `gilscope.load` return one. While the block of `gilscope.trace` runs, it is empty:
    everything but `mark`, `region`, `path`, `home` and `viz_plugin` raises a TraceStateError. An
    argument that cannot be used raises an OptionError; a file of the trace that is missing, damaged, or has
    other columns a TraceFormatError; a file that cannot be written a TraceWriteError.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> t.metadata["complete"]
        True
        >>> t.threads.column_names[:4]
        ['thread', 'native_id', 'ident', 'name']
    """

    def __init__(self, tables: Tables | None = None) -> None:
        self._finished = tables
        self._children: list[Trace] | None = None
        self._session: Session | None = None
        self._marker: Marker | None = None
        self._in_reports = False  # of VizTracer, which may be saved when the folder is gone

    # ---- while it is recorded ----

    def _record(self, session: Session) -> None:
        """Accept marks, and join a VizTracer that traces, from the beginning of a recording on."""
        from gilscope.record.marking import Marker

        self._session, self._marker = session, Marker(session.recording)
        if "viztracer" in sys.modules:
            from gilscope.viztracer import plugin

            plugin.join(self.viz_plugin)

    def _finish(self, tables: Tables) -> None:
        if self._in_reports:
            tables.keep()
        self._finished = tables

    def _so_far(self) -> Tables:
        """Return what has been recorded: the whole trace or, during the recording, its part so far."""
        if self._finished is None and self._session is not None and self._session.is_on():
            return self._session.so_far()
        return self._tables

    def mark(self, name: str) -> None:
        """Mark this instant with a name: a row of the table ``marks``.

        Outside of the recording (before and after the block of `gilscope.trace`, in a forked child, in a
        trace that was loaded) it does nothing, so that threads that continue need not check.

        Args:
            name: any string; its first 255 bytes in UTF-8 are kept.

        Raises:
            OptionError: if the name is not a string.

        Example:
            >>> import gilscope
            >>> with gilscope.trace(None) as t:
            ...     t.mark("half time")
            >>> t.marks["name"].to_pylist()
            ['half time']
        """
        from gilscope.record.marking import mark

        mark(self._marker, name)

    def region(self, name: str) -> Region:
        """Return a context manager that names what happens inside it: a row of the table ``marks``.

        Regions may be nested, end in other threads, and alternate in one thread, as those of `asyncio` tasks
        do. The row's thread is the one that entered. Outside of the recording it does nothing, as `mark`.

        Args:
            name: as in `mark`.

        Example:
            >>> import gilscope
            >>> with gilscope.trace(None) as t:
            ...     with t.region("sum"):
            ...         total = sum(range(1000))
            >>> t.marks.select(["name", "complete"]).to_pylist()
            [{'name': 'sum', 'complete': True}]
        """
        from gilscope.record.marking import Region

        return Region(self._marker, name)

    # ---- what is stored ----

    @property
    def _tables(self) -> Tables:
        if self._finished is None:
            raise TraceStateError(
                "the trace is still being recorded, or never was: read it after the block of gilscope.trace()"
            )
        return self._finished

    @property
    def path(self) -> Path | None:
        """The folder of the tables on disk; None while the trace is recorded."""
        return None if self._finished is None else self._finished.folder

    @property
    def home(self) -> Path | None:
        """The folder that was recorded to, and that holds those of child processes; None as in `path`."""
        return None if self._finished is None else self._finished.home

    @property
    def metadata(self) -> dict[str, Any]:
        """What was recorded, where, how, and what could not be measured."""
        return self._tables.metadata

    @property
    def children(self) -> list[Trace]:
        """The traces of child processes, in order of their beginnings; see ``trace(children=True)``.

        Each is a trace of its own, with times since its own beginning. A child that outlives this trace ends
        its recording up to 50 ms (or a period) later; read earlier, its trace is incomplete. The trace of a
        child that was killed lacks its last 50 ms. A damaged one is left out, with a RuntimeWarning.

        Example:
            >>> import gilscope, subprocess, sys
            >>> with gilscope.trace(None, children=True) as t:
            ...     done = subprocess.run([sys.executable, "-c", "sum(range(1000))"])
            >>> [child.metadata["ppid"] == t.metadata["pid"] for child in t.children]
            [True]
        """
        if self._children is None:
            self._children = [Trace(tables) for tables in self._tables.children]
        return self._children

    threads = _table("threads", "One row per thread that took or asked for the GIL, in order of appearance.")
    intervals = _table("intervals", "One row per ``run`` or ``wait`` interval of a thread.")
    handoffs = _table("handoffs", "One row per change of the GIL's holder.")
    switch_intervals = _table(
        "switch_intervals",
        "One row per value of the switch interval seen in force on the main interpreter's GIL.",
    )
    samples = _table(
        "samples", "One row per tick of the sampler; ``switches`` are those of the main interpreter's GIL."
    )
    sites = _table(
        "sites",
        "One row per place in the program where the GIL was released, with its caller; see ``intervals``.",
    )
    marks = _table("marks", "One row per mark and per region of the program.")

    def table(self, name: str) -> pa.Table:
        """Return a whole table by its name (`threads`, `intervals`, ...)."""
        return self._tables.table(name)

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's record batches one after the other, never holding the whole table."""
        return self._tables.batches(name)

    def keep(self) -> None:
        """Open every table now: an open one can be read after its folder was replaced or removed."""
        self._tables.keep()

    def all_processes(self, name: str) -> pa.Table:
        """Return a table of this process and all its children as one.

        Args:
            name: ``"intervals"``, ``"threads"``, or that of another table.

        Returns:
            Its rows, process after process, with two columns in front, int32: ``pid``, and ``process``: 0
            is this process, i is ``children[i - 1]`` (a process that called ``exec`` is two of one pid).
            Threads are numbered per process. Instants are nanoseconds since the beginning of this trace, so
            that rows of all processes compare.

        Example:
            >>> import gilscope
            >>> with gilscope.trace(None, children=True) as t:
            ...     total = sum(range(1000))
            >>> t.all_processes("intervals").column_names[:4]
            ['pid', 'process', 'thread', 'interpreter']
        """
        from gilscope.tables.processes import joined

        return joined(name, [self._tables, *self._tables.children])

    def save(self, path: StrPath, *, overwrite: bool = False) -> Path:
        """Write a copy of the trace as a folder of Arrow files.

        Args:
            path: the folder to make.
            overwrite: replace a trace that is there already.

        Returns:
            The folder's absolute path.

        Raises:
            TraceExistsError: if something is there.
        """
        from gilscope.record.destination import save

        return save(self._tables, Path(path), overwrite=overwrite)

    # ---- what it shows ----

    def report(self, format: Literal["text", "json", "html"] = "text", *, source: bool = False) -> str:
        """Report which threads ran and waited, what the hand-offs cost, and what to do about it.

        Args:
            format: ``"text"`` for people, ``"json"`` for programs (times in ns), ``"html"`` for one
                self-contained page, with plots where ``gilscope[plot]`` is installed.
            source: show on the page the lines of code that it names. They are read from the files of this
                machine that the trace names, and are in the page wherever it goes: use it only with traces
                from people you trust. Without it no such file is opened.

        Raises:
            OptionError: if the format is unknown, or ``source`` is used with another than ``"html"``.

        Example:
            >>> import gilscope
            >>> with gilscope.trace(None) as t:
            ...     total = sum(range(1000))
            >>> print(t.report().split()[0])
            gilscope
        """
        from gilscope.report import render

        return render(self._tables, format, source=source)

    def to_viztracer(
        self, path: StrPath, *, window: Window = None, max_slices: int | None = None, flows: Flows = "auto"
    ) -> Path:
        """Write the timeline as a file that ``vizviewer`` opens, and return its path.

        It has one lane per thread and one per GIL, which shows the holder, of child processes too.

        Args:
            path: ends in ``.json`` or ``.json.gz`` (seven times smaller).
            window: first and last second to show, since the beginning of the trace; None for all of it.
            max_slices: maximum number of intervals to show; None for two million. A longer trace is cut to
                the part in which threads waited longest, and a RuntimeWarning names it.
            flows: whether hand-offs are arrows; ``"auto"``: if there are at most 100,000.

        Raises:
            OptionError: if the path ends in something else, or another argument cannot be used.
        """
        from gilscope import export

        left_out = export.write(
            self._tables, path, among=["viztracer"], window=window, max_slices=max_slices, flows=flows
        )
        if left_out is not None:
            warn_user(left_out)
        return Path(path)

    def to_speedscope(self, path: StrPath, weight: Weight = "held") -> None:
        """Write stacks with exact weights as a file for https://www.speedscope.app, which runs in a browser.

        It has a profile of all threads, and one of each. Holds shorter than ``stacks_over`` of
        `gilscope.trace` have their innermost frames only, below a frame ``(callers not kept)``.

        Args:
            path: file to write, or to replace.
            weight: ``"held"``: nanoseconds of holding the GIL; ``"inflicted"``: sum of the nanoseconds that
                other threads waited meanwhile; ``"waited"``: nanoseconds that the thread itself waited, at
                the stack of its last release.

        Raises:
            OptionError: if the weight is unknown, or the trace has no sites.

        Example:
            >>> import gilscope, tempfile, time
            >>> with gilscope.trace(None) as t:
            ...     time.sleep(0.001)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     t.to_speedscope(f"{folder}/run.speedscope.json", weight="inflicted")
        """
        from gilscope import export

        export.write(self._tables, path, format="speedscope", weight=weight)

    def to_flamegraph(self, path: StrPath, weight: Weight = "held") -> None:
        """Draw stacks with exact weights; the width of a frame is its duration.

        Args:
            path: ends in ``.svg`` for a picture, or in ``.txt`` for collapsed stacks, one per line: the
                thread and its frames, outermost first, separated by semicolons, and nanoseconds.
            weight: see `to_speedscope`.

        Example:
            >>> import gilscope, tempfile, time
            >>> with gilscope.trace(None) as t:
            ...     time.sleep(0.001)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     t.to_flamegraph(f"{folder}/run.svg")
        """
        from gilscope import export

        export.write(self._tables, path, among=["flamegraph", "collapsed"], weight=weight)

    def merge_into(
        self, path: StrPath, *, window: Window = None, max_slices: int | None = None, flows: Flows = "auto"
    ) -> Path:
        """Add the lanes of this trace to a report that VizTracer has saved, and return its path.

        Doing so again changes nothing.

        Args:
            path: the report, which is replaced by the merged one: ends in ``.json`` or ``.json.gz``.
            window: see `to_viztracer`, as for the other arguments.
            max_slices: see there.
            flows: see there.

        Raises:
            OptionError: as in `to_viztracer`.
            TraceFormatError: if there is no such report.
        """
        from gilscope import export

        options: dict[str, Any] = {"window": window, "max_slices": max_slices, "flows": flows}
        left_out = export.write(self._tables, path, format="viztracer", merge=True, **options)
        if left_out is not None:
            warn_user(left_out)
        return Path(path)

    def view(
        self,
        *,
        window: Window = None,
        max_slices: int | None = None,
        port: int = 0,
        open_browser: bool = True,
    ) -> None:
        """Show the timeline in VizTracer's viewer, served on this machine until Ctrl-C.

        Args:
            window: see `to_viztracer`.
            max_slices: see there; the part that is shown of a long trace is printed.
            port: port on 127.0.0.1; 0 picks a free one.
            open_browser: open the page; the address is printed in any case.
        """
        from gilscope import export
        from gilscope.viztracer.viewer import show

        write = partial(export.write, self._tables, window=window, max_slices=max_slices)
        show(write, port=port, open_browser=open_browser)

    def viz_plugin(self) -> GilLanes:
        """Return a plugin with which VizTracer adds this trace's lanes to each report it saves.

        A report that is saved during the trace has what was recorded so far. A VizTracer that traces when
        the trace begins needs no plugin.

        Example:
            >>> import gilscope
            >>> from viztracer import VizTracer
            >>> with gilscope.trace(None) as t:
            ...     tracer = VizTracer(plugins=[t.viz_plugin()], verbose=0)
        """
        from gilscope.viztracer.plugin import GilLanes

        self._in_reports = True
        return GilLanes(lambda: [self._so_far()])
