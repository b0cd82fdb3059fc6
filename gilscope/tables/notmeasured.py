"""The sentences of ``not_measured``: what a trace lacks, and why."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from gilscope._core import Stopped

MOST_SITES = 1 << 17
MOST_FUNCTIONS = 1 << 15
"""As ``gilscope/csrc/sites.h`` declares them."""

INTERVAL_LEFT = "the program set a switch interval of its own inside the block; it was left in place"
_HOOK_LOST = (
    "another tool, or the dynamic linker, put its own function in the place of a hook while the trace "
    "was on: transitions may be missing"
)
_GIL_OFF = (
    "the GIL was off when the trace ended: it had been on for an import only, and what ran without it is not "
    "in the trace"
)
_CUT_SHORT = "the recording was cut short: what came after its end here is not in it"
_SAMPLED = (
    "edges are sampled: intervals shorter than the period may be missing, and gaps, requests and "
    "kinds of release are not seen"
)
_INTERPRETERS_UNKNOWN = (
    "this Python's list of interpreters was not as expected: GILs of other interpreters, if there "
    "were any, are not in the trace"
)


def without_sites(reason: str) -> str:
    """State that no site can be recorded here."""
    return f"where in the program the GIL was let go: {reason}"


def cut_short(error: int) -> str:
    """State why the end of a recording is missing.

    Args:
        error: an `errno`, not 0.
    """
    if error == errno.ESTALE:
        return "the program closed the recorder's file; what came after is not in the trace"
    return f"writing failed ({os.strerror(error)}); what came after is not in the trace"


def of_recording(stopped: Stopped, *, exact: bool, gil_on: bool) -> list[str]:
    """Return what a recording lacks.

    Args:
        stopped: what the core returned at its end.
        exact: whether edges are exact.
        gil_on: whether this Python had a GIL at the end.
    """
    found = []
    if stopped["error"]:
        found.append(cut_short(stopped["error"]))
    if not stopped["hooks_stayed"]:
        found.append(_HOOK_LOST)
    if stopped["sites_missed"]:
        found.append(
            f"the sites of {stopped['sites_missed']} releases: the table of sites was full (it has room for "
            f"{MOST_SITES:,} places in {MOST_FUNCTIONS:,} functions); places first seen later have no site"
        )
    if stopped["sites_unread"]:
        found.append(
            f"the sites of {stopped['sites_unread']} releases: frames that changed while they were read"
        )
    if not gil_on:
        found.append(_GIL_OFF)
    if not stopped["gils_listed"]:
        found.append(_INTERPRETERS_UNKNOWN)
    elif stopped["gils_missed"]:
        found.append(_gils_missed(stopped["gils_missed"], exact=exact))
    return found


def _gils_missed(missed: int, *, exact: bool) -> str:
    if exact:
        return (
            f"{missed} or more interpreters had GILs of their own that are not in the trace (at most 127 at "
            "a time can be)"
        )
    return (
        f"sampled edges look at the main interpreter's GIL only: {missed} other interpreters lived or "
        "began meanwhile, and what their threads did under GILs of their own is not in the trace"
    )


def of_conversion(*, dropped: int, illegal: int, complete: bool, exact: bool) -> list[str]:
    """Return what the tables of a trace lack.

    Args:
        dropped: transitions that were dropped.
        illegal: transitions that contradict earlier ones.
        complete: whether the spool has an end.
        exact: whether edges are exact.
    """
    found = []
    if dropped:
        found.append(
            f"{dropped} transitions found the ring full and were dropped; intervals are cut there, "
            "and shares near these instants are too low (table samples, column dropped, says when)"
        )
    if illegal:
        found.append(f"{illegal} transitions do not fit the ones before them; intervals are cut there")
    if not complete:
        found.append(_CUT_SHORT)
    if not exact:
        found.append(_SAMPLED)
    return found
