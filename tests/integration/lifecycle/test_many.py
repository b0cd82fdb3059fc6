"""A short run of each part of ``python -m tests.stress.many``."""

import pytest

from tests.stress import many

pytestmark = [pytest.mark.clock, pytest.mark.per_build]


@pytest.mark.parametrize(("part", "n"), [(many.cycles, 200), (many.at_once, 1000), (many.in_sequence, 3000)])
def test_many(part, n):
    assert str(n) in part(n)
