"""The page as a file."""

from __future__ import annotations

import os
from pathlib import Path

from gilscope.report.html.page import render
from gilscope.tables.files import write_text
from gilscope.tables.stored import Tables


def write(tables: Tables, path: str | os.PathLike[str], *, source: bool = False) -> None:
    """Write the report as one page; see `gilscope.report.html.page.render`.

    Raises:
        TraceWriteError: if the file cannot be written.
    """
    write_text(Path(path), render(tables, source=source))
