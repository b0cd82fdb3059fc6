"""Places in the program: lines, functions or files, by which sites are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from gilscope.analysis.observed import ObservedTrace
from gilscope.errors import OptionError
from gilscope.tables.rows import NO_SITE
from gilscope.tables.spans import Int
from gilscope.units import short_path

By = Literal["line", "function", "file"]
Frame = Literal["innermost", "program"]

NOT_KNOWN = "(not known)"
"""Function name of the place of all holds and waits whose site is not known."""

_COLUMNS: dict[str, list[str]] = {
    "line": ["function", "file", "line"],
    "function": ["function", "file", "first_line"],
    "file": ["file"],
}


@dataclass(frozen=True)
class Places:
    """Numbered places; the last one is `NOT_KNOWN`.

    Args:
        names: columns ``function``, ``file`` and ``line``, one row per place.
        of_site: the place of each site; the last position is that of `NO_SITE`.
    """

    names: pd.DataFrame
    of_site: Int

    def __len__(self) -> int:
        return len(self.names)

    def of(self, sites: npt.NDArray[np.int32]) -> Int:
        """Return the places of sites."""
        return self.of_site[sites]


def sites_of(trace: ObservedTrace) -> pa.Table:
    """Return the table ``sites``.

    Raises:
        OptionError: if the trace has no sites.
    """
    table = trace.table("sites")
    if not len(table):
        raise OptionError(
            "this trace has no sites, the places in the program where threads released the GIL; record it "
            "with exact edges and sites=True (the default)"
        )
    return table


def places(trace: ObservedTrace, by: str, frame: str) -> Places:
    """Return the places in a trace.

    Args:
        trace: the trace.
        by: the kind of place, see `By`.
        frame: the frame of a stack that names the place: the innermost, or the innermost one of the program,
            outside the libraries.

    Raises:
        OptionError: if ``by`` or ``frame`` has another value, or the trace has no sites.
    """
    for name, value, allowed in (("by", by, get_args(By)), ("frame", frame, get_args(Frame))):
        if value not in allowed:
            raise OptionError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    sites = sites_of(trace).to_pandas()
    key = sites[_COLUMNS[by]]
    place, _ = pd.factorize(pd.MultiIndex.from_frame(key.astype(object).where(key.notna(), "")))
    _, first = np.unique(place, return_index=True)
    names = sites.iloc[first][["function", "file", "line"]].reset_index(drop=True)
    if by != "line":
        names["line"] = sites["first_line"].iloc[first].reset_index(drop=True) if by == "function" else None
    if by == "file":
        names["function"] = None
    if frame == "program":
        place = place[_of_program(trace, sites)]
    nowhere = pd.DataFrame({"function": [NOT_KNOWN], "file": [None], "line": [None]})
    names = pd.concat([names.astype(object), nowhere.astype(object)], ignore_index=True)
    names = names.astype({"line": "Int32"})
    return Places(names, np.concatenate((place.astype(np.int64), [len(names) - 1])))


def _of_program(trace: ObservedTrace, sites: pd.DataFrame) -> Int:
    """Return for each site the innermost frame outside the libraries, the site itself included."""
    libraries = tuple(f"{path}/" for path in trace.metadata.get("library_paths", ()))
    file = sites["file"].fillna("").to_numpy(object)
    own = [bool(f) and not f.startswith(("<frozen ", *libraries)) for f in file]
    parent = sites["parent"].fillna(NO_SITE).astype(np.int64).tolist()
    found = np.full(len(sites), NO_SITE, np.int64)
    for site, above in enumerate(parent):  # callers come first
        found[site] = site if own[site] else found[above] if above >= 0 else NO_SITE
    return np.where(found >= 0, found, np.arange(len(sites)))


def labelled(places: Places, which: Any, *, brief: bool = False) -> list[str]:
    """Return the text ``function (file:line)`` of each place.

    Args:
        places: the places.
        which: numbers of the places to return.
        brief: shorten paths of files, see `short_path`.
    """
    rows = places.names.iloc[which]
    files = [f if pd.isna(f) or not brief else short_path(f) for f in rows["file"]]
    return [
        function if pd.isna(file) else f"{function} ({file}{'' if pd.isna(line) else f':{line}'})"
        for function, file, line in zip(rows["function"], files, rows["line"], strict=True)
    ]
