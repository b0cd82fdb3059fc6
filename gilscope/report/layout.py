"""Lays out text in the columns of a terminal: paragraphs, and tables that never cut a figure.

A column holds one narrow character, or half of a wide one (Chinese, Japanese, Korean, emoji).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len

WIDTH = 100
"""Columns."""
_GAP = "  "
_SHORTEST_NAME = 8  # columns; narrower names do not identify anything

Style = Literal["plain", "bold", "bold red", "yellow", "green"]
_CODES = {"plain": "", "bold": "1", "bold red": "1;31", "yellow": "33", "green": "32"}


class Column(NamedTuple):
    """A column of a table.

    Args:
        head: its heading.
        is_name: names stand at the left and are shortened to fit; figures stand at the right and stay whole.
        most: the most columns of the terminal that a name may take.
    """

    head: str
    is_name: bool = False
    most: int = WIDTH


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes.

    Example:
        >>> columns("GIL"), columns("決済")
        (3, 4)
    """
    return len(text) if text.isascii() else sum(map(cell_len, text))


def shorten(text: str, most: int) -> str:
    """Return a text that takes at most ``most`` columns; a longer one keeps both ends.

    Example:
        >>> shorten("a_long_name.py:30 work", 15)
        'a_long_…30 work'
    """
    if columns(text) <= most:
        return text
    start = text[: _fitting(text, most // 2)]
    n = _fitting(text[::-1], most - 1 - columns(start))
    end = text[len(text) - n :]
    # A combining character at its start would combine with the ellipsis.
    return f"{start}…{''.join(itertools.dropwhile(lambda c: not columns(c), end))}"


def _fitting(text: str, room: int) -> int:
    """Return how many of the first characters fit into some columns."""
    taken = itertools.accumulate(map(columns, text))
    return sum(1 for _ in itertools.takewhile(lambda n: n <= room, taken))


def wrap(text: str, width: int) -> list[str]:
    """Return the lines of a paragraph; a word that is longer than a line continues on the next.

    Args:
        text: words with spaces in between.
        width: columns, at least 2.

    Example:
        >>> wrap("the GIL was held by 決済処理", 12)
        ['the GIL was', 'held by', '決済処理']
    """
    lines = [""]
    for i, word in enumerate(text.split(" ")):
        if i and columns(lines[-1]) + 1 + columns(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines += _pieces(word, width)
    return [line for line in lines if line] or [""]


def _pieces(word: str, width: int) -> list[str]:
    out = []
    while columns(word) > width:
        n = max(_fitting(word, width), 1)
        out.append(word[:n])
        word = word[n:]
    return [*out, word]


class Sheet:
    """Collects the lines of a text that is at most `WIDTH` columns wide.

    Args:
        color: write styles as terminal codes.

    Example:
        >>> sheet = Sheet()
        >>> sheet.paragraph("The GIL was held.")
        >>> sheet.table([Column("thread", is_name=True), Column("run")], [["main", "9.0 %"]])
        >>> print(sheet.text(), end="")
        The GIL was held.
        thread    run
        main    9.0 %
    """

    def __init__(self, *, color: bool = False) -> None:
        self._color = color
        self._lines: list[str] = []

    def text(self) -> str:
        """Return the lines, each with its end."""
        return "".join(f"{line.rstrip()}\n" for line in self._lines)

    def paragraph(self, text: str, style: Style = "plain", *, label: str = "") -> None:
        """Add words, wrapped; the label stands before the first line, and the others are indented by it."""
        indent = columns(label)
        for i, line in enumerate(wrap(text, WIDTH - indent)):
            self._lines.append((" " * indent if i else label) + self._styled(line, style))

    def table(self, layout: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
        """Add a table: names become shorter until it fits, figures do not.

        Args:
            layout: the columns.
            rows: a text for each column; figures may be missing at the end.
        """
        widths = _widths(layout, rows)
        heads = [wrap(column.head, width) for column, width in zip(layout, widths, strict=True)]
        for parts in itertools.zip_longest(*heads, fillvalue=""):
            self._lines.append(self._styled(_line(layout, widths, parts), "bold"))
        self._lines += [_line(layout, widths, row) for row in rows]

    def _styled(self, text: str, style: Style) -> str:
        code = _CODES[style] if self._color else ""
        return f"\x1b[{code}m{text.rstrip()}\x1b[0m" if code else text


def _widths(layout: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how many columns of the terminal each column of a table gets: the widest shrink first."""
    cells = [[columns(row[i]) for row in rows if i < len(row)] for i in range(len(layout))]
    # Heads can be wrapped, names shortened.
    widths = [max([*of, columns(c.head)]) for c, of in zip(layout, cells, strict=True)]
    widths = [min(width, c.most) if c.is_name else width for c, width in zip(layout, widths, strict=True)]
    least = [_SHORTEST_NAME if c.is_name else max([*of, 2]) for c, of in zip(layout, cells, strict=True)]
    room = WIDTH - len(_GAP) * (len(layout) - 1)
    while sum(widths) > room:
        spare = [i for i, width in enumerate(widths) if width > least[i]]
        if not spare:
            break
        widths[max(spare, key=lambda i: widths[i])] -= 1
    return widths


def _line(layout: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    parts = []
    for column, width, cell in zip(layout, widths, cells, strict=False):
        shown = shorten(cell, width) if column.is_name else cell
        space = " " * (width - columns(shown))
        parts.append(shown + space if column.is_name else space + shown)
    return _GAP.join(parts)
