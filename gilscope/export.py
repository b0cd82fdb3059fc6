"""Files of other tools: a format, given by name or by suffix, chooses the writer.

To add a format, write its writer and add it to `FORMATS`. A writer is called with the tables, the path and
options; it returns what it left out, as a sentence, or None.
"""

from __future__ import annotations

import importlib
import os

from gilscope.errors import OptionError

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from gilscope.tables.stored import Tables


class Format:
    """What a format is, and where its writer stands.

    Args:
        suffixes: of file names.
        default: the name of a file for which no other is given.
        content: what is in a file, and which program reads it.
        writer: module and function below ``gilscope``; imported when first used.
        options: which the writer takes.
    """

    __slots__ = ("content", "default", "options", "suffixes", "writer")

    def __init__(
        self,
        suffixes: tuple[str, ...],
        default: str,
        content: str,
        writer: str,
        options: tuple[str, ...],
    ) -> None:
        self.suffixes, self.default, self.content = suffixes, default, content
        self.writer, self.options = writer, options

    def load_writer(self) -> Callable[..., str | None]:
        """Import the writer."""
        module, _, function = self.writer.rpartition(".")
        writer: Callable[..., str | None] = getattr(importlib.import_module(f"gilscope.{module}"), function)
        return writer


FORMATS = {
    "viztracer": Format(
        (".json", ".json.gz"),
        "timeline.json.gz",
        "timeline for vizviewer and ui.perfetto.dev",
        "viztracer.files.write",
        ("merge", "window", "max_slices", "flows"),
    ),
    "speedscope": Format(
        (".speedscope.json",),
        "stacks.speedscope.json",
        "stacks for speedscope.app",
        "stacks.speedscope.write",
        ("weight",),
    ),
    "collapsed": Format(
        (".txt",),
        "stacks.txt",
        "collapsed stacks, one per line, for flamegraph.pl",
        "stacks.flamegraph.write_collapsed",
        ("weight",),
    ),
    "flamegraph": Format(
        (".svg",),
        "flamegraph.svg",
        "flame graph as a picture",
        "stacks.flamegraph.write_svg",
        ("weight",),
    ),
    "html": Format(
        (".html",),
        "report.html",
        "the report as one self-contained page",
        "report.html.file.write",
        ("source",),
    ),
}


def write(
    tables: Tables,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    among: Iterable[str] = FORMATS,
    **options: Any,
) -> str | None:
    """Write a trace as a file, whole or not at all.

    Args:
        tables: a finished trace.
        path: the file; one of the same name is replaced.
        format: a key of `FORMATS`; None to choose by the suffix.
        among: the formats that a suffix may choose.
        **options: of the writer; None stands for its default.

    Returns:
        What was left out, in a sentence; None if nothing was.

    Raises:
        OptionError: if no format has that name or suffix, or an option is wrong or not one of the format.
        TraceWriteError: if the file cannot be written.
        TraceFormatError: if the trace is damaged.

    Example:
        >>> import gilscope, tempfile
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(t._tables, f"{folder}/report.html")
    """
    name = format_of(path, among) if format is None else format
    if name not in FORMATS:
        raise OptionError(f"format must be one of {', '.join(map(repr, FORMATS))}, not {name!r}")
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in FORMATS[name].options:
            takers = ", ".join(n for n, f in FORMATS.items() if option in f.options) or "no format"
            raise OptionError(f"{option} is an option of {takers}; {path} is written as {name}")
    return FORMATS[name].load_writer()(tables, path, **given)


def format_of(path: str | os.PathLike[str], among: Iterable[str] = FORMATS) -> str:
    """Return the format of a file name: the one with the longest suffix that fits.

    Args:
        path: a file name.
        among: the formats to choose from.

    Raises:
        OptionError: if no suffix fits; it names all of them.

    Example:
        >>> format_of("run.json"), format_of("run.speedscope.json")
        ('viztracer', 'speedscope')
    """
    suffixes = {suffix: name for name in among for suffix in FORMATS[name].suffixes}
    fitting = [suffix for suffix in suffixes if os.fspath(path).endswith(suffix)]
    if not fitting:
        known = ", ".join(f"{' or '.join(FORMATS[name].suffixes)} ({name})" for name in among)
        raise OptionError(f"{os.fspath(path)}: expected a file name that ends in {known}")
    return suffixes[max(fitting, key=len)]
