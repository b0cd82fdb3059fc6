"""`Trace`: what `gilscope.trace` and `gilscope.load` return."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from gilscope.errors import OptionError, TraceStateError, warn_user

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

    import pyarrow as pa

    from gilscope.record.marking import Marker, Region
    from gilscope.record.session import Session
    from gilscope.tables.stored import Tables
    from gilscope.viztracer.reportlanes import GilLanes

    Flows = Literal["auto"] | bool
    Weight = Literal["held", "inflicted", "waited"]


def _copy(tables: Tables, target: Path) -> None:
    """Copy the tables of a trace, and its children as they are: some may have no more than a spool yet."""
    import shutil

    from gilscope.tables.folder import CHILDREN_FOLDER, SPOOL_FILE

    assert tables.folder is not None
    inside = shutil.ignore_patterns(SPOOL_FILE, CHILDREN_FOLDER)
    shutil.copytree(tables.folder, target, dirs_exist_ok=True, ignore=inside)
    if tables.home is not None and (tables.home / CHILDREN_FOLDER).is_dir():
        shutil.copytree(tables.home / CHILDREN_FOLDER, target / CHILDREN_FOLDER)


class Trace:
    """A trace: the tables, the metadata, and what can be made of them.

    `gilscope.trace` and `gilscope.load` return one. While the block of `gilscope.trace` runs, there is
    nothing in it yet.

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
        """A recording has begun: from now on there is something to mark."""
        from gilscope.record.marking import Marker

        self._session, self._marker = session, Marker(session.recording)
        if "viztracer" in sys.modules:
            self._join_viztracer()

    def _finish(self, tables: Tables) -> None:
        """The recording is over: from now on there is something to read."""
        if self._in_reports:
            tables.keep()
        self._finished = tables

    def _so_far(self) -> Tables:
        """Return what has been recorded: the whole trace, or while it is on, what there is of it."""
        if self._finished is None and self._session is not None and self._session.is_on():
            return self._session.so_far()
        return self._tables

    def mark(self, name: str) -> None:
        """Mark this instant with a name: a row of the table ``marks``.

        Outside of the recording (before and after the block of `gilscope.trace`, in a forked child, in a
        trace that was loaded) it does nothing: threads that work on need not know.

        Args:
            name: any string; its first 255 bytes in UTF-8 are kept.

        Raises:
            OptionError: the name is no string.

        Example:
            >>> import gilscope
            >>> with gilscope.trace(None) as t:
            ...     t.mark("half time")
            >>> t.marks["name"].to_pylist()
            ['half time']
        """
        from gilscope.record.marking import encoded

        text, marker = encoded(name), self._marker
        if marker is not None:
            marker.mark(marker.recording, text)

    def region(self, name: str) -> Region:
        """Return a context manager that names what happens inside of it: a row of the table ``marks``.

        Regions may lie inside one another, go on in other threads, and share a thread by turns, as tasks of
        `asyncio` do, each with a region of its own. The row's thread is the one that entered. Outside of the
        recording it does nothing, as `mark`.

        Args:
            name: any string; its first 255 bytes in UTF-8 are kept.

        Raises:
            OptionError: the name is no string.

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
        """The folder on disk, or None while the trace is being recorded."""
        return None if self._finished is None else self._finished.folder

    @property
    def home(self) -> Path | None:
        """The folder that was recorded to, with those of child processes in it."""
        return None if self._finished is None else self._finished.home

    @property
    def metadata(self) -> dict[str, Any]:
        """What was recorded, where, how, and what could not be measured.

        Raises:
            TraceStateError: the trace is still being recorded.
        """
        return self._tables.metadata

    @property
    def children(self) -> list[Trace]:
        """The traces of child processes, in order of their beginnings; see ``trace(children=True)``.

        Each is a trace of its own, with times since its own beginning. A child that lives on ends its
        recording up to 50 ms (or a period) after this trace; asked for before, it is what there is of it by
        then. Of one that was killed it is all but its last 50 ms. One that is damaged is left out, with a
        RuntimeWarning.

        Raises:
            TraceStateError: the trace is still being recorded.

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

    @property
    def threads(self) -> pa.Table:
        """One row per thread that took or asked for the GIL, in order of appearance."""
        return self._tables.table("threads")

    @property
    def intervals(self) -> pa.Table:
        """One row per ``run`` or ``wait`` interval of a thread."""
        return self._tables.table("intervals")

    @property
    def handoffs(self) -> pa.Table:
        """One row per change of the GIL's holder."""
        return self._tables.table("handoffs")

    @property
    def switch_intervals(self) -> pa.Table:
        """One row per value of the switch interval seen in force on the main interpreter's GIL."""
        return self._tables.table("switch_intervals")

    @property
    def samples(self) -> pa.Table:
        """One row per tick of the sampler; ``switches`` are those of the main interpreter's GIL."""
        return self._tables.table("samples")

    @property
    def sites(self) -> pa.Table:
        """One row per place in the program where the GIL was let go, with its caller; see ``intervals``."""
        return self._tables.table("sites")

    @property
    def marks(self) -> pa.Table:
        """One row per mark, and per region: what the program itself named."""
        return self._tables.table("marks")

    def table(self, name: str) -> pa.Table:
        """Return a whole table by its name (`threads`, `intervals`, ...).

        Raises:
            TraceStateError: the trace is still being recorded.
            TraceFormatError: its file is missing, damaged, or has other columns.
        """
        return self._tables.table(name)

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield a table's record batches one after the other, never holding the whole table.

        Raises:
            TraceStateError: the trace is still being recorded.
            TraceFormatError: the file is missing, damaged, or has other columns.
        """
        return self._tables.batches(name)

    def keep(self) -> None:
        """Open every table now: what is open can be read when its folder has been replaced or removed."""
        self._tables.keep()

    def all_processes(self, name: str) -> pa.Table:
        """Return a table of this process and all its children as one.

        Args:
            name: ``"intervals"``, ``"threads"``, or that of another table.

        Returns:
            Its rows, process after process, with two columns in front, int32: ``pid``, and ``process``: 0
            is this process, i is ``children[i - 1]`` (a process that replaced its program by another, with
            ``exec``, is two of one pid). Threads are numbered process by process. Instants are nanoseconds
            since the beginning of this trace, so that rows of all processes compare.

        Raises:
            TraceStateError: the trace is still being recorded.
            TraceFormatError: a file is missing, damaged, or has other columns.

        Example:
            >>> import gilscope
            >>> with gilscope.trace(None, children=True) as t:
            ...     total = sum(range(1000))
            >>> t.all_processes("intervals").column_names[:4]
            ['pid', 'process', 'thread', 'interpreter']
        """
        from gilscope.tables.processes import joined

        return joined(name, [self._tables, *self._tables.children])

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write a copy of the trace as a folder of Arrow files.

        Args:
            path: the folder to make.
            overwrite: replace a trace that is there already.

        Returns:
            The folder's absolute path.

        Raises:
            TraceExistsError: something is there.
            TraceWriteError: it cannot be written.
        """
        import shutil

        from gilscope.record.destination import Destination
        from gilscope.tables.files import write_error

        source = self._tables
        destination = Destination(Path(path), overwrite=overwrite)
        try:
            _copy(source, destination.path)
        except (OSError, shutil.Error) as error:
            destination.undo()
            cause = error if not isinstance(error, shutil.Error) else OSError(errno.EIO, str(error))
            raise write_error(destination.path, cause) from error
        destination.commit()
        return destination.path

    # ---- what it shows ----

    def report(self, format: Literal["text", "json", "html"] = "text", *, source: bool = False) -> str:
        """Say who ran, who waited, what the hand-offs cost, and what to do about it.

        Args:
            format: ``"text"`` for people, ``"json"`` for programs, ``"html"`` for one whole page, with
                plots where ``gilscope[plot]`` is installed.
            source: show on the page the lines of code that it names. They are read from the files of this
                machine that the trace says they are in, and go where the page goes: ask for it with traces
                of which you know who recorded them. Without it no such file is touched.

        Returns:
            The report; times are nanoseconds in JSON.

        Raises:
            OptionError: the format is none of those, or source is asked for in another than ``"html"``.

        Example:
            >>> import gilscope
            >>> with gilscope.trace(None) as t:
            ...     total = sum(range(1000))
            >>> print(t.report().split()[0])
            gilscope
        """
        if format not in ("text", "json", "html"):
            raise OptionError(f"format must be 'text', 'json' or 'html', not {format!r}")
        if format == "html":
            from gilscope.report.html import page

            return page.page(self._tables, source=source)
        if source:
            raise OptionError(f"source=True needs format='html', the page that shows it; got {format!r}")
        from gilscope.report import text as report

        return report.text(self._tables) if format == "text" else report.as_json(self._tables)

    def to_viztracer(
        self,
        path: str | os.PathLike[str],
        *,
        window: tuple[float, float] | None = None,
        max_slices: int | None = None,
        flows: Flows = "auto",
    ) -> Path:
        """Write the timeline as a file that ``vizviewer`` opens: one lane per thread, one per GIL's holder.

        Child processes that were recorded too are in it.

        Args:
            path: ends in ``.json`` or ``.json.gz`` (seven times smaller).
            window: first and last second to show, since the beginning of the trace; None for all of it.
            max_slices: the most intervals to show; None for two million. Of a longer trace it is the stretch
                in which threads waited longest, and a RuntimeWarning says so.
            flows: whether hand-offs are arrows; ``"auto"``: where there are at most 100,000.

        Returns:
            The path written.

        Raises:
            OptionError: another ending, or another argument cannot be used.
            TraceWriteError: it cannot be written.
        """
        said = self.write_timeline(path, window=window, max_slices=max_slices, flows=flows)
        if said is not None:
            warn_user(said)
        return Path(path)

    def to_speedscope(self, path: str | os.PathLike[str], weight: Weight = "held") -> None:
        """Write stacks with exact weights as a file for https://www.speedscope.app, which runs in a browser.

        It has a profile for all threads, and one for each. Of holds shorter than ``stacks_over`` of
        `gilscope.trace` the innermost frames are kept, below a frame ``(callers not kept)``.

        Args:
            path: where to write; one of the same name is replaced.
            weight: ``"held"``: nanoseconds for which the GIL was held; ``"inflicted"``: nanoseconds others
                waited meanwhile, added up; ``"waited"``: nanoseconds for which the thread itself waited, at
                the stack at which it had let go.

        Raises:
            OptionError: the weight is unknown, or the trace has no sites.
            TraceWriteError: the file cannot be written.

        Example:
            >>> import gilscope, tempfile, time
            >>> with gilscope.trace(None) as t:
            ...     time.sleep(0.001)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     t.to_speedscope(f"{folder}/run.speedscope.json", weight="inflicted")
        """
        from gilscope.stacks.flames import speedscope

        speedscope(self._tables, path, weight)

    def to_flamegraph(self, path: str | os.PathLike[str], weight: Weight = "held") -> None:
        """Draw stacks with exact weights: how wide a frame is says how long.

        Args:
            path: a name ending in ``.svg`` for a picture, or in ``.txt`` for collapsed stacks, one a line:
                the thread and its frames, outermost first, separated by semicolons, and nanoseconds.
            weight: see `to_speedscope`.

        Raises:
            OptionError: the path ends in something else, the weight is unknown, or the trace has no sites.
            TraceWriteError: the file cannot be written.

        Example:
            >>> import gilscope, tempfile, time
            >>> with gilscope.trace(None) as t:
            ...     time.sleep(0.001)
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     t.to_flamegraph(f"{folder}/run.svg")
        """
        from gilscope.stacks.flames import flamegraph

        flamegraph(self._tables, path, weight)

    def write_timeline(
        self, path: str | os.PathLike[str], *, merge: bool = False, **options: Any
    ) -> str | None:
        """Do as `to_viztracer` or, to ``merge``, `merge_into`; return in words what was left out."""
        from gilscope import viztracer
        from gilscope.progress import progress_bar

        write = viztracer.merge_into if merge else viztracer.export
        tables = self._tables
        rows = sum(t.intervals.num_rows for t in (tables, *tables.children))
        with progress_bar("writing the timeline", rows) as done:
            return write(tables, path, progress=done, **options)

    def merge_into(
        self,
        path: str | os.PathLike[str],
        *,
        window: tuple[float, float] | None = None,
        max_slices: int | None = None,
        flows: Flows = "auto",
    ) -> Path:
        """Add the lanes of this trace to a report that VizTracer has saved; a second time changes nothing.

        Args:
            path: the report: ends in ``.json`` or ``.json.gz``. The merged one takes its place.
            window: see `to_viztracer`.
            max_slices: see there.
            flows: see there.

        Returns:
            The path written.

        Raises:
            OptionError: another ending, or another argument cannot be used.
            TraceFormatError: there is no such report.
            TraceWriteError: it cannot be written.
        """
        said = self.write_timeline(path, merge=True, window=window, max_slices=max_slices, flows=flows)
        if said is not None:
            warn_user(said)
        return Path(path)

    def view(
        self,
        *,
        window: tuple[float, float] | None = None,
        max_slices: int | None = None,
        port: int = 0,
        open_browser: bool = True,
    ) -> None:
        """Show the timeline in VizTracer's viewer, served on this machine until Ctrl-C.

        Args:
            window: see `to_viztracer`.
            max_slices: see there; what a long trace is cut to is printed.
            port: port on 127.0.0.1; 0 picks a free one.
            open_browser: open the page; the address is printed in any case.
        """
        import tempfile

        from gilscope.viztracer import viewer

        with tempfile.TemporaryDirectory(prefix="gilscope-") as folder:
            file = Path(folder) / "timeline.json.gz"
            said = self.write_timeline(file, window=window, max_slices=max_slices)
            if said is not None:
                print(f"gilscope: {said}", flush=True)
            viewer.serve(
                file,
                port=port,
                open_browser=open_browser,
                ready=lambda url: print(f"gilscope: the timeline is at {url} (Ctrl-C ends)", flush=True),
            )

    def viz_plugin(self) -> GilLanes:
        """Return a plugin with which VizTracer adds this trace's lanes to each report it saves.

        It works in mid-trace too: the report then has what was recorded so far. A VizTracer that traces
        already when the trace begins needs no plugin.

        Example:
            >>> import gilscope
            >>> from viztracer import VizTracer
            >>> with gilscope.trace(None) as t:
            ...     tracer = VizTracer(plugins=[t.viz_plugin()], verbose=0)
        """
        from gilscope.viztracer.reportlanes import GilLanes

        self._in_reports = True
        return GilLanes(lambda: [self._so_far()])

    def _join_viztracer(self) -> None:
        """Add a plugin to the VizTracer that is tracing, if one is."""
        from gilscope.viztracer import reportlanes

        try:
            reportlanes.attach(self.viz_plugin)
        except Exception as error:
            reportlanes.warn(error)
