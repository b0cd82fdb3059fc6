"""A trace to ask about."""

import pytest

from tests.support.drawn.rows import Sample, Thread, Trace
from tests.support.drawn.traces import (
    round_robin,
)


@pytest.fixture
def trace() -> Trace:
    made = round_robin(3, 4)
    threads = [Thread(0, "MainThread", 0, made.duration, 5), *made.threads[1:]]
    return made.but(threads=threads, samples=[Sample(made.duration)])
