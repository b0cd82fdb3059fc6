"""Flame graphs (SVG) and collapsed stacks (text, as Brendan Gregg's tools read them)."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from gilscope.stacks import WEIGHTS
from gilscope.stacks.stacks import Frame, Stacks, stacks_of
from gilscope.tables.files import write_text
from gilscope.tables.stored import Tables
from gilscope.units import duration, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.stacks import Weight

_WIDTH, _ROW, _FONT, _MARGIN = 1200, 17, 11, 10
_MIN_WIDTH = 0.3  # pixels; narrower boxes are not drawn
_CHARACTER = 0.62  # width of a character in a monospace font, as a part of the font's height


def write_collapsed(tables: Tables, path: str | os.PathLike[str], weight: Weight = "held") -> None:
    """Write one line per stack; see `gilscope.Trace.to_flamegraph`.

    Raises:
        OptionError: if the weight is unknown, or the trace has no sites.
        TraceWriteError: if the file cannot be written.
    """
    write_text(Path(path), _collapsed(stacks_of(tables, weight)))


def write_svg(tables: Tables, path: str | os.PathLike[str], weight: Weight = "held") -> None:
    """Write a flame graph; see `gilscope.Trace.to_flamegraph`.

    Raises:
        OptionError: if the weight is unknown, or the trace has no sites.
        TraceWriteError: if the file cannot be written.
    """
    write_text(Path(path), _svg(_tree(stacks_of(tables, weight), f"all: {WEIGHTS[weight]}")))


def _collapsed(s: Stacks) -> str:
    """Return a line per stack: the thread and its frames, outermost first, then nanoseconds."""
    lines = []
    for name, row in zip(s.threads, s.weights, strict=True):
        for i in np.flatnonzero(row).tolist():
            frames = [name, *map(_label, s.frames_of(i))]
            lines.append(";".join(printable(f).replace(";", ",") for f in frames) + f" {row[i]}\n")
    return "".join(sorted(lines))


def _label(frame: Frame) -> str:
    function, file, line = frame
    if not file:
        return function
    return f"{function} ({os.path.basename(file)}{f':{line}' if line else ''})"


def _title(frame: Frame) -> str:
    function, file, line = frame
    return function if file is None else f"{function} ({file}:{line})"


# ---- the picture ----


@dataclass
class _Node:
    """A frame of the picture: the weight of it and of all that it called."""

    label: str
    title: str
    ns: int = 0
    called: dict[Frame, _Node] = field(default_factory=dict)

    def depth(self) -> int:
        deepest, level = 0, [self]
        while level:
            deepest += 1
            level = [node for caller in level for node in caller.called.values()]
        return deepest


def _tree(s: Stacks, root_label: str) -> _Node:
    root = _Node(root_label, "all threads")
    for i, ns in enumerate(s.weights.sum(axis=0).tolist()):
        node = root
        node.ns += ns
        for frame in s.frames_of(i):
            if frame not in node.called:
                node.called[frame] = _Node(_label(frame), _title(frame))
            node = node.called[frame]
            node.ns += ns
    return root


def _svg(root: _Node) -> str:
    depth = root.depth()
    height = depth * _ROW + 2 * _MARGIN
    scale = (_WIDTH - 2 * _MARGIN) / max(root.ns, 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="monospace" font-size="{_FONT}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
    ]
    level = [(root, float(_MARGIN))]
    for row in range(depth):
        y = height - _MARGIN - (row + 1) * _ROW
        parts += [_box(node, root.ns, x, y, node.ns * scale) for node, x in level]
        level = [box for node, x in level for box in _above(node, x, scale)]
    return "".join([*parts, "</svg>\n"])


def _above(node: _Node, x: float, scale: float) -> list[tuple[_Node, float]]:
    """Return what a frame called, and the left edge of each; what is too narrow to see is left out."""
    found = []
    for called in sorted(node.called.values(), key=lambda n: n.label):
        if called.ns * scale >= _MIN_WIDTH:
            found.append((called, x))
        x += called.ns * scale
    return found


def _box(node: _Node, whole: int, x: float, y: int, width: float) -> str:
    title = f"{printable(node.title)}: {duration(node.ns)}, {100 * node.ns / max(whole, 1):.1f} %"
    room = int((width - 4) / (_CHARACTER * _FONT))
    label = printable(node.label)
    shown = label if len(label) <= room else f"{label[: room - 1]}…" if room > 3 else ""
    text = f'<text x="{x + 2:.1f}" y="{y + _ROW - 5}">{escape(shown)}</text>' if shown else ""
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.2):.1f}" height="{_ROW - 1}" rx="1" '
        f"fill={quoteattr(_color(node.label))}/>{text}</g>\n"
    )


def _color(label: str) -> str:
    """Return a warm color, always the same one for a label."""
    seed = zlib.crc32(label.encode("utf-8", "replace"))
    return f"hsl({18 + seed % 36} {70 + (seed >> 8) % 20}% {66 + (seed >> 16) % 12}%)"
