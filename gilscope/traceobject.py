"""`Trace`: what `gilscope.trace` and `gilscope.load` return."""

from __future__ import annotations

import errno
import os
import sys
import warnings
import weakref
from pathlib import Path

from gilscope.children import folders
from gilscope.errors import OptionError, TraceFormatError, TraceStateError
from gilscope.exports import Exporting
from gilscope.folder import Destination, open_folder, write_error
from gilscope.recording import CHILDREN_FOLDER, SPOOL_FILE
from gilscope.regions import Marker, Region, encoded
from gilscope.session import Session, active

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any, Literal

    import pyarrow as pa

    from gilscope.recording import Recording
    from gilscope.vizlanes import GilLanes


def _remove_folder(path: Path, pid: int) -> None:
    import shutil

    if os.getpid() == pid:  # a forked child exits too, and the folder is its parent's
        shutil.rmtree(path, ignore_errors=True)


def _copy(folder: Path, target: Path, home: Path | None) -> None:
    """Copy the tables of a trace, and its children as they are: some may have no more than a spool yet."""
    import shutil

    inside = shutil.ignore_patterns(SPOOL_FILE, CHILDREN_FOLDER)
    shutil.copytree(folder, target, dirs_exist_ok=True, ignore=inside)
    if home is not None and (home / CHILDREN_FOLDER).is_dir():
        shutil.copytree(home / CHILDREN_FOLDER, target / CHILDREN_FOLDER)


class Trace(Exporting):
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

    def __init__(self, folder: Path | None = None, metadata: dict[str, Any] | None = None) -> None:
        super().__init__(folder, metadata or {})
        self._ready = folder is not None
        self._home = folder  # where its children are: the tables may lie in a temporary folder
        self._children: list[Trace] | None = None
        self._marker = Marker()
        self._session: Session | None = None
        self._in_reports = False  # of VizTracer, which may be saved when the folder is gone

    def _record(self, session: Session) -> None:
        """A recording has begun: from now on there is something to mark."""
        self._session, self._marker = session, Marker(session.recording)
        if "viztracer" in sys.modules:
            self._join_viztracer()

    @classmethod
    def _load(cls, path: Path) -> Trace:
        """Read a trace from disk; what is raised is that of `gilscope.load`."""
        trace = cls()
        folder, metadata, temporary = open_folder(path)
        trace._settle(folder, metadata, temporary=temporary, home=path)
        return trace

    def _settle(
        self, folder: Path, metadata: dict[str, Any], *, temporary: bool, home: Path | None = None
    ) -> None:
        """The recording is over: from now on there is something to read."""
        self._folder, self._metadata, self._ready = folder, metadata, True
        self._home = home or folder
        if self._in_reports:
            self.keep()
        if temporary:
            weakref.finalize(self, _remove_folder, folder, os.getpid())

    def _require_ready(self) -> None:
        if not self._ready:
            raise TraceStateError(
                "the trace is still being recorded, or never was: read it after the block of gilscope.trace()"
            )

    @property
    def path(self) -> Path | None:
        """The folder on disk, or None while the trace is being recorded."""
        return self._folder

    @property
    def metadata(self) -> dict[str, Any]:
        """What was recorded, where, how, and what could not be measured.

        Raises:
            TraceStateError: the trace is still being recorded.
        """
        self._require_ready()
        return super().metadata

    @property
    def home(self) -> Path | None:
        """The folder that was recorded to, with those of child processes in it."""
        return self._home

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
        self._require_ready()
        if self._children is None:
            self._children = self._open_children()
        return self._children

    def _open_children(self) -> list[Trace]:
        assert self._home is not None
        found = []
        for folder in folders(self._home / CHILDREN_FOLDER):
            try:
                found.append(Trace._load(folder))
            except TraceFormatError as error:
                warnings.warn(f"left out: {error}", RuntimeWarning, stacklevel=4)
        return sorted(found, key=lambda t: (t.metadata.get("start_monotonic_ns", 0), str(t._home)))

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
        from gilscope.together import joined

        return joined(name, [self, *self.children])

    def table(self, name: str) -> pa.Table:
        """Return a whole table by its name (`threads`, `intervals`, ...).

        Raises:
            TraceStateError: the trace is still being recorded.
            TraceFormatError: its file is missing, damaged, or has other columns.
        """
        self._require_ready()
        return super().table(name)

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
        text, marker = encoded(name), self._marker
        if marker.recording:
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
        return Region(self._marker, name)

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
            from gilscope import html

            return html.page(self, source=source)
        if source:
            raise OptionError(f"source=True needs format='html', the page that shows it; got {format!r}")
        from gilscope import report

        return report.text(self) if format == "text" else report.as_json(self)

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

        self._require_ready()
        assert self._folder is not None
        destination = Destination(Path(path), overwrite=overwrite)
        try:
            _copy(self._folder, destination.path, self._home)
        except (OSError, shutil.Error) as error:
            destination.undo()
            cause = error if not isinstance(error, shutil.Error) else OSError(errno.EIO, str(error))
            raise write_error(destination.path, cause) from error
        destination.commit()
        return destination.path

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
        from gilscope.vizlanes import GilLanes

        self._in_reports = True
        return GilLanes(lambda: [self._so_far()])

    def _join_viztracer(self) -> None:
        """Add a plugin to the VizTracer that is tracing, if one is."""
        from gilscope import vizlanes

        try:
            vizlanes.attach(self.viz_plugin)
        except Exception as error:
            vizlanes.warn(error)

    def _so_far(self) -> Recording:
        """Return what has been recorded: the whole trace, or while it is on, what there is of it."""
        session = self._session
        if self._ready or session is None or active() is not session:
            self._require_ready()
            return self
        return session.so_far()
