"""Hand-offs: the parts of the new holder's wait."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gilscope.analysis.inputs import AnyTrace
from gilscope.analysis.observed import observe
from gilscope.tables.rows import NO_TIME
from gilscope.tables.spans import Int

_TIMES = ("request_ns", "drop_request_ns", "release_ns", "acquire_ns")


def handoffs(t: AnyTrace) -> pd.DataFrame:
    """Return one row per hand-off: how long the new holder waited, and why.

    The new holder's wait is ``patience_ns`` (request to drop request), then ``response_ns`` (drop request to
    release), then ``gap_ns`` (release to acquire). A wait without a drop request of its own has only the time
    until the release, and the gap.

    Args:
        t: a trace, its path, its tables, or its table ``handoffs``.

    Returns:
        The columns of the table ``handoffs``, with ``from_thread_name`` and ``to_thread_name`` (categories)
        beside the threads, and ``patience_ns``, ``response_ns``, ``wait_ns`` (acquire - request; Int64).
        Null: ``request_ns`` and ``wait_ns`` if the new holder took a free GIL; ``drop_request_ns``,
        ``patience_ns`` and ``response_ns`` if it sent no drop request; with sampled edges all of these,
        ``gap_ns`` and ``forced``.

    Example:
        >>> import gilscope
        >>> with gilscope.trace(None) as t:
        ...     total = sum(range(1000))
        >>> len(gilscope.analysis.handoffs(t))
        0
    """
    trace = observe(t)
    time = {name: trace.numbers("handoffs", name) for name in _TIMES}
    out = {"interpreter": trace.numbers("handoffs", "interpreter")}
    for name in ("from_thread", "to_thread"):
        ids = trace.numbers("handoffs", name)
        out |= {name: ids, f"{name}_name": trace.labels(ids)}
    for name, values in time.items():
        out[name] = _nullable(values) if name in ("request_ns", "drop_request_ns") else values
    forced = trace.numbers("handoffs", "forced")
    out["gap_ns"] = _nullable(trace.numbers("handoffs", "gap_ns"))
    out["forced"] = pd.arrays.BooleanArray(forced == 1, forced == NO_TIME)
    out["waiters"] = trace.numbers("handoffs", "waiters")
    out["patience_ns"] = _between(time["request_ns"], time["drop_request_ns"])
    out["response_ns"] = _between(time["drop_request_ns"], time["release_ns"])
    out["wait_ns"] = _between(time["request_ns"], time["acquire_ns"])
    return pd.DataFrame(out, copy=False)


def _nullable(values: Int) -> pd.api.extensions.ExtensionArray:
    """Return integers, null for `NO_TIME`."""
    return pd.arrays.IntegerArray(np.ascontiguousarray(values, np.int64), values == NO_TIME)


def _between(first: Int, then: Int) -> pd.api.extensions.ExtensionArray:
    """Return the time between two instants, null if one of them is `NO_TIME`."""
    missing = first == NO_TIME
    missing |= then == NO_TIME
    # The difference is meaningless where `missing` masks it.
    return pd.arrays.IntegerArray(then - first, missing)
