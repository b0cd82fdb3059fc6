"""What is written of a recording for other programs to show, and shown at once."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from gilscope.recording import Recording

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any, Literal

    Flows = Literal["auto"] | bool
    Weight = Literal["held", "inflicted", "waited"]


class Exporting(Recording):
    """A recording, with what is made of its timeline: that of its child processes is in it."""

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
            warnings.warn(said, RuntimeWarning, stacklevel=2)
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
        from gilscope.flames import speedscope

        speedscope(self, path, weight)

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
        from gilscope.flames import flamegraph

        flamegraph(self, path, weight)

    def write_timeline(
        self, path: str | os.PathLike[str], *, merge: bool = False, **options: Any
    ) -> str | None:
        """Do as `to_viztracer` or, to ``merge``, `merge_into`; return in words what was left out."""
        from gilscope import viztracer
        from gilscope.progress import progress_bar

        write = viztracer.merge_into if merge else viztracer.export
        rows = sum(t.intervals.num_rows for t in (self, *self.children))
        with progress_bar("writing the timeline", rows) as done:
            return write(self, path, progress=done, **options)

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
            warnings.warn(said, RuntimeWarning, stacklevel=2)
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

        from gilscope import viewer

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
