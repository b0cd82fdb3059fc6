"""``gilscope doctor``: proves on this interpreter what a trace relies on, and measures what it costs."""

from __future__ import annotations

import argparse
import sys
import threading

from gilscope.errors import GilscopeError

NAME = "doctor"
HELP = "prove that tracing works on this interpreter, and measure what it costs"

_EVENTS = 2_000_000


def _check_interpreter() -> str:
    return f"{sys.implementation.name} {sys.version.split()[0]} on {sys.platform}"


def _check_exact() -> str:
    from gilscope.record.core import core

    proof = core.prove(exact=True)
    return f"exact edges: layout proven, {len(proof['slots'])} slots can be hooked, clock {proof['clock']}"


def _check_sampled() -> str:
    from gilscope.record.core import core

    proof = core.prove(exact=False)
    how = "the interpreter's own flag" if proof["requested_flag"] else "what blocked threads sleep on"
    return f"sampled edges: layout proven, waiting threads are recognised by {how}"


def _check_cost() -> str:
    from gilscope.record.core import core

    cost = core.event_cost(_EVENTS)
    return (
        f"cost of a transition: {cost['event_ns']:.1f} ns in a loop "
        f"(one clock read, the floor: {cost['clock_read_ns']:.1f} ns)"
    )


def _check_trace() -> str:
    import gilscope

    def take_turns() -> None:
        for _ in range(200_000):
            pass

    with gilscope.trace(None, period=0.001) as t:
        threads = [threading.Thread(target=take_turns) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    late = sorted(t.samples["late_ns"].to_pylist())
    m = t.metadata
    share = m["sampler_cpu_ns"] / max(m["duration_ns"], 1)
    return (
        f"a trace of {m['duration_ns'] / 1e6:.1f} ms: {t.intervals.num_rows} intervals, "
        f"{m['dropped']} dropped, tick lateness p50 {late[len(late) // 2] / 1e3:.0f} us, "
        f"max {late[-1] / 1e3:.0f} us, sampler {100 * share:.1f} % of a core at 1 ms"
    )


_CHECKS = (_check_interpreter, _check_exact, _check_sampled, _check_cost, _check_trace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no arguments."""
    parser.epilog = "The exit status is 1 if a check failed."


def execute(_args: argparse.Namespace) -> int:
    """Run every check and print what it found.

    Returns:
        The exit status: 0 if traces with exact edges work, 1 if only sampled ones or none do.
    """
    from gilscope.record.session import refuse_where_impossible

    status = 0
    try:
        refuse_where_impossible()
    except GilscopeError as error:
        print(f"no   {error}")
        return 1
    for check in _CHECKS:
        try:
            print(f"ok   {check()}", flush=True)
        except Exception as error:  # the result of the next check is still worth knowing
            status = 1
            print(f"no   {check.__name__.removeprefix('_check_')}: {error}", flush=True)
    for note in notes(sys.version_info[:2]):
        print(f"note {note}")
    return status


def notes(version: tuple[int, int]) -> list[str]:
    """Return the limits of tracing on a version of Python that no check above can show.

    Args:
        version: major and minor release.

    Example:
        >>> notes((3, 11))
        []
    """
    if version < (3, 12):  # PEP 684 gave interpreters a GIL of their own
        return []
    return [
        "interpreters with a GIL of their own (3.12+): a trace with exact edges records their GILs too, "
        "at most 127 at a time; sampled edges and watches see only the main interpreter's GIL"
    ]
