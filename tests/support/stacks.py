"""Stacks of a trace, and lines of the tests' own functions."""

import linecache
from collections.abc import Callable
from typing import Any

import gilscope

Frame = tuple[str, str | None, int | None]


def stack(t: gilscope.Trace, site: int | None) -> list[Frame]:
    """Return function, file and line of a site and its callers, the innermost first."""
    rows = t.sites.to_pylist()
    found = []
    while site is not None:
        row = rows[site]
        found.append((row["function"], row["file"], row["line"]))
        site = row["parent"]
    return found


def stacks(t: gilscope.Trace, state: str = "run") -> list[list[Frame]]:
    """Return the stack of each interval that is over and whose site is known, in order."""
    rows = [r for r in t.intervals.to_pylist() if r["state"] == state and r["release"] != "open"]
    return [stack(t, row["site"]) for row in rows if row["site"] is not None]


def here(function: Callable[..., Any], sign: str = "HERE") -> int:
    """Return the line of a function that has a sign in a comment."""
    code = function.__code__
    for line in range(code.co_firstlineno, code.co_firstlineno + 60):
        if f"# {sign}" in linecache.getline(code.co_filename, line):
            return line
    raise AssertionError(sign)
