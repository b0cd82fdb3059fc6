"""The report of a trace: facts once, laid out as text, JSON or HTML."""

from __future__ import annotations

from gilscope.errors import OptionError

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from gilscope.tables.stored import Tables


def render(tables: Tables, format: str, *, source: bool) -> str:
    """Return the report of a trace; see `gilscope.Trace.report`."""
    if format not in ("text", "json", "html"):
        raise OptionError(f"format must be 'text', 'json' or 'html', not {format!r}")
    if format == "html":
        from gilscope.report.html import page

        return page.render(tables, source=source)
    if source:
        raise OptionError(f"source=True needs format='html', the page that shows it; got {format!r}")
    from gilscope.report import json, text

    return text.render(tables) if format == "text" else json.render(tables)
