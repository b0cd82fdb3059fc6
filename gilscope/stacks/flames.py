"""Stacks with weights, for tools that draw them: speedscope's files, collapsed stacks, and a flame graph."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from gilscope.analysis.gils import NO_SITE, Gil
from gilscope.analysis.places import sites_of
from gilscope.analysis.source import of
from gilscope.errors import OptionError
from gilscope.tables.files import replacing, write_errors
from gilscope.tables.spans import Int
from gilscope.tables.stored import Tables
from gilscope.units import duration, printable

Weight = Literal["held", "inflicted", "waited"]

_MEANING = {
    "held": "time the GIL was held",
    "inflicted": "time others waited meanwhile",
    "waited": "time waited for the GIL",
}
_NOWHERE = "(no Python frame)"
_WIDTH, _ROW, _FONT, _MARGIN = 1200, 17, 11, 10
_LEAST_WIDTH = 0.3  # pixels
_CHARACTER = 0.62  # of a character, in heights of a font with characters of one width


@dataclass(frozen=True)
class Stacks:
    """Frames, and for each thread how much weighs at which stack.

    Args:
        frames: function, file and line of each site, by its row.
        stacks: rows of sites, outermost first, of each stack that occurs.
        weights: nanoseconds, a row a thread, a column a stack.
        threads: names.
    """

    frames: list[tuple[str, str | None, int | None]]
    stacks: list[list[int]]
    weights: Int
    threads: list[str]


def stacks(recording: Tables, weight: str) -> Stacks:
    """Return the stacks of a trace and what they weigh.

    Raises:
        OptionError: the weight is unknown, or the trace has no sites.
    """
    if weight not in get_args(Weight):
        raise OptionError(f"weight must be one of {', '.join(map(repr, get_args(Weight)))}, not {weight!r}")
    source = of(recording)
    table = sites_of(source)
    parts = [_weighed(gil, weight) for gil in source.gils]
    thread, site, ns = (np.concatenate(column) for column in zip(*parts, strict=True))
    used, column = np.unique(site[ns > 0], return_inverse=True)
    weights = np.zeros((len(source.names), len(used)), np.int64)
    np.add.at(weights, (thread[ns > 0], column), ns[ns > 0])
    parents = [NO_SITE if p is None else p for p in table["parent"].to_pylist()]
    names = (table[name].to_pylist() for name in ("function", "file", "line"))
    frames = [*zip(*names, strict=True), (_NOWHERE, None, None)]
    return Stacks(frames, [_stack(parents, s) for s in used.tolist()], weights, source.names)


def _weighed(gil: Gil, weight: str) -> tuple[Int, Int, Int]:
    spans = gil.waits if weight == "waited" else gil.runs
    ns = gil.waiting.within(spans.start, spans.end) if weight == "inflicted" else spans.duration
    return spans.thread.astype(np.int64), spans.sites.astype(np.int64), ns


def _stack(parents: list[int], site: int) -> list[int]:
    if site == NO_SITE:
        return [-1]
    found = []
    while site != NO_SITE:
        found.append(site)
        site = parents[site]
    return found[::-1]


def speedscope(recording: Tables, path: str | os.PathLike[str], weight: str) -> None:
    """Write a file for https://www.speedscope.app; see `gilscope.Trace.to_speedscope`."""
    s = stacks(recording, weight)
    frames = [
        {"name": function} | ({"file": file} if file else {}) | ({"line": int(line)} if line else {})
        for function, file, line in s.frames
    ]
    profiles = [_profile(f"all threads: {_MEANING[weight]}", s, s.weights.sum(axis=0))]
    profiles += [
        _profile(f"{name}: {_MEANING[weight]}", s, row)
        for name, row in zip(s.threads, s.weights, strict=True)
        if row.any()
    ]
    content = {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": "gilscope",
        "name": _MEANING[weight],
        "activeProfileIndex": 0,
        "shared": {"frames": frames},
        "profiles": profiles,
    }
    _write(path, json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def _profile(name: str, s: Stacks, weights: Int) -> dict[str, Any]:
    weighs = np.flatnonzero(weights)
    last = len(s.frames) - 1
    return {
        "type": "sampled",
        "name": name,
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": int(weights.sum()),
        "samples": [[site % (last + 1) for site in s.stacks[i]] for i in weighs.tolist()],
        "weights": weights[weighs].tolist(),
    }


def flamegraph(recording: Tables, path: str | os.PathLike[str], weight: str) -> None:
    """Write a flame graph or collapsed stacks; see `gilscope.Trace.to_flamegraph`."""
    suffix = os.path.splitext(os.fspath(path))[1]
    if suffix not in (".svg", ".txt"):
        raise OptionError(
            f"{os.fspath(path)!r}: expected a name ending in .svg (a picture) or .txt (collapsed stacks)"
        )
    s = stacks(recording, weight)
    text = _svg(s, weight) if suffix == ".svg" else _collapsed(s)
    _write(path, text)


def _write(path: str | os.PathLike[str], text: str) -> None:
    target = Path(path)
    with write_errors(target, "file"), replacing(target) as file:
        file.write(text.encode("utf-8", "replace"))


def _collapsed(s: Stacks) -> str:
    """Return a line a stack: the thread and its frames, outermost first, then nanoseconds."""
    lines = []
    for name, row in zip(s.threads, s.weights, strict=True):
        for i in np.flatnonzero(row).tolist():
            frames = [name, *(_label(s.frames[site]) for site in s.stacks[i])]
            lines.append(";".join(printable(f).replace(";", ",") for f in frames) + f" {row[i]}\n")
    return "".join(sorted(lines))


def _label(frame: tuple[str, str | None, int | None]) -> str:
    function, file, line = frame
    if not file:
        return function
    return f"{function} ({os.path.basename(file)}{f':{line}' if line else ''})"


# ---- the picture ----


@dataclass
class _Node:
    """A frame of the picture: what weighs at it and below."""

    label: str
    title: str
    ns: int = 0
    below: dict[tuple[str, str | None, int | None], _Node] = field(default_factory=dict)

    def depth(self) -> int:
        deepest, level = 0, [self]
        while level:
            deepest += 1
            level = [node for parent in level for node in parent.below.values()]
        return deepest


def _tree(s: Stacks, weight: str) -> _Node:
    root = _Node(f"all: {_MEANING[weight]}", "all threads")
    for stack, ns in zip(s.stacks, s.weights.sum(axis=0).tolist(), strict=True):
        node = root
        node.ns += ns
        for site in stack:
            frame = s.frames[site]
            if frame not in node.below:
                title = frame[0] if frame[1] is None else f"{frame[0]} ({frame[1]}:{frame[2]})"
                node.below[frame] = _Node(_label(frame), title)
            node = node.below[frame]
            node.ns += ns
    return root


def _svg(s: Stacks, weight: str) -> str:
    root = _tree(s, weight)
    height = root.depth() * _ROW + 2 * _MARGIN
    scale = (_WIDTH - 2 * _MARGIN) / max(root.ns, 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="monospace" font-size="{_FONT}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n'
    ]
    level = [(root, float(_MARGIN))]
    for depth in range(root.depth()):
        y = height - _MARGIN - (depth + 1) * _ROW
        after = []
        for node, x in level:
            parts.append(_box(node, root.ns, x, y, node.ns * scale))
            begin = x
            for inner in sorted(node.below.values(), key=lambda n: n.label):
                if inner.ns * scale >= _LEAST_WIDTH:
                    after.append((inner, begin))
                begin += inner.ns * scale
        level = after
    return "".join([*parts, "</svg>\n"])


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
    """Return a warm color that a label always has."""
    seed = zlib.crc32(label.encode("utf-8", "replace"))
    return f"hsl({18 + seed % 36} {70 + (seed >> 8) % 20}% {66 + (seed >> 16) % 12}%)"
