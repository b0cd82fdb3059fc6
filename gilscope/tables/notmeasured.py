"""What a recording says of itself when it has ended: how it went, and what could not be measured."""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Any

    from gilscope._core import Stopped

MOST_SITES = 1 << 17
MOST_FUNCTIONS = 1 << 15
"""As ``gilscope/csrc/sites.h`` declares them."""

_HOOK_LOST = (
    "another tool, or the dynamic linker, put its own function in the place of a hook while the trace "
    "was on: transitions may be missing"
)
_GIL_OFF = (
    "the GIL was off when the trace ended: it had been on for an import only, and what ran without it is not "
    "in the trace"
)


def gil_is_on() -> bool:
    """Tell whether this Python has a GIL just now; a free-threaded one can turn it on, and off again."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def final_facts(facts: dict[str, Any], stopped: Stopped) -> dict[str, Any]:
    """Add to what was known when a recording began what the core says at its end.

    Args:
        facts: keys of ``metadata.json``.
        stopped: what the core returned.
    """
    not_measured = list(facts["not_measured"])
    if stopped["error"]:
        not_measured.append(cut_short(stopped["error"]))
    if not stopped["hooks_stayed"]:
        not_measured.append(_HOOK_LOST)
    if stopped["sites_missed"]:
        not_measured.append(
            f"the sites of {stopped['sites_missed']} releases: the table of sites was full (it has room for "
            f"{MOST_SITES:,} places in {MOST_FUNCTIONS:,} functions); places first seen later have no site"
        )
    if not gil_is_on():
        not_measured.append(_GIL_OFF)
    if sentence := _gils_not_measured(stopped, exact=facts["edges"] == "exact"):
        not_measured.append(sentence)
    return {
        **facts,
        "complete": stopped["error"] == 0,
        "sampler_cpu_ns": stopped["sampler_cpu_ns"],
        "spool_bytes": stopped["spool_bytes"],
        "not_measured": not_measured,
    }


def cut_short(error: int) -> str:
    """Say why the end of a recording is not in it."""
    if error == errno.ESTALE:
        return "the program closed the recorder's file; what came after is not in the trace"
    return f"writing failed ({os.strerror(error)}); what came after is not in the trace"


def _gils_not_measured(stopped: Stopped, *, exact: bool) -> str | None:
    """Say what is missing of the GILs of other interpreters."""
    missed = stopped["gils_missed"]
    if not stopped["gils_listed"]:
        return (
            "this Python's list of interpreters was not as expected: GILs of other interpreters, if there "
            "were any, are not in the trace"
        )
    if missed and exact:
        return (
            f"{missed} or more interpreters had GILs of their own that are not in the trace (at most 127 at "
            "a time can be)"
        )
    if missed:
        return (
            f"sampled edges look at the main interpreter's GIL only: {missed} other interpreters lived or "
            "began meanwhile, and what their threads did under GILs of their own is not in the trace"
        )
    return None
