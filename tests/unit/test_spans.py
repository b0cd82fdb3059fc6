"""Arithmetic on spans of time agrees with counting nanosecond by nanosecond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope.tables import spans
from tests.support.drawn.traces import calm

END = 40
instants = st.lists(st.integers(-2, END + 2), max_size=8).map(lambda times: np.array(times, np.int64))


def spans_up_to(end: int):
    pair = st.tuples(st.integers(0, end), st.integers(0, end)).map(sorted)
    return st.lists(pair, max_size=12)


@st.composite
def disjoint(draw):
    """Draw spans in order that do not overlap, some of them empty, some side by side."""
    edges = sorted(draw(st.lists(st.integers(0, END), max_size=14)))
    return list(zip(edges[::2], edges[1::2], strict=False))


def arrays(pairs) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(pairs, np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def cover(pairs, at: int) -> int:
    return sum(max(min(at, end) - min(at, start), 0) for start, end in pairs)


@calm
@given(spans_up_to(END), instants)
def test_coverage_until_an_instant_is_what_counting_gives(pairs, at):
    coverage = spans.Coverage(*arrays(pairs))

    assert coverage.until(at).tolist() == [cover(pairs, t) for t in at.tolist()]


@calm
@given(spans_up_to(END), spans_up_to(END))
def test_coverage_within_others_is_the_sum_of_their_overlaps(pairs, others):
    start, end = arrays(others)

    found = spans.Coverage(*arrays(pairs)).within(start, end).tolist()

    expected = [
        sum(max(min(end, stop) - max(start, begin), 0) for start, end in pairs) for begin, stop in others
    ]
    assert found == expected


@calm
@given(spans_up_to(END), instants)
def test_a_span_is_on_from_its_start_until_just_before_its_end(pairs, at):
    coverage = spans.Coverage(*arrays(pairs))

    assert coverage.on(at).tolist() == [sum(s <= t < e for s, e in pairs) for t in at.tolist()]


@calm
@given(spans_up_to(END), spans_up_to(END))
def test_spans_touch_another_when_they_share_time(pairs, others):
    lasting = [(s, e) for s, e in pairs if e > s]
    others = [(s, e) for s, e in others if e > s]

    found = spans.Coverage(*arrays(lasting)).touched(*arrays(others)).tolist()

    assert found == [sum(s < stop and e > begin for s, e in lasting) for begin, stop in others]


def test_sums_that_wrap_around_64_bits_still_give_right_differences():
    base, n = 1 << 61, 64
    coverage = spans.Coverage(np.full(n, base), np.full(n, base + 10))

    assert coverage.within(np.array([base - 5]), np.array([base + 3])).tolist() == [3 * n]


@calm
@given(spans_up_to(END))
def test_the_union_holds_each_covered_nanosecond_once(pairs):
    start, end = spans.union(*arrays(pairs))

    covered = [t for s, e in zip(start.tolist(), end.tolist(), strict=True) for t in range(s, e)]
    assert covered == sorted({t for s, e in pairs for t in range(s, e)})
    assert (end > start).all()


@pytest.mark.parametrize("at_once", [1, 3, 1 << 21])
@calm
@given(pairs=spans_up_to(END), others=disjoint())
def test_overlaps_come_out_the_same_however_many_at_a_time(at_once, pairs, others):
    before, spans._PAIRS_AT_ONCE = spans._PAIRS_AT_ONCE, at_once
    try:
        parts = list(spans.overlaps(*arrays(pairs), *arrays(others)))
    finally:
        spans._PAIRS_AT_ONCE = before

    found = {}
    for which, other, ns in parts:
        for i, j, n in zip(which.tolist(), other.tolist(), ns.tolist(), strict=True):
            assert (i, j) not in found
            assert n >= 0
            found[i, j] = n
    expected = {
        (i, j): min(e, stop) - max(s, begin)
        for i, (s, e) in enumerate(pairs)
        for j, (begin, stop) in enumerate(others)
        if min(e, stop) > max(s, begin)
    }
    assert {pair: n for pair, n in found.items() if n} == expected


@calm
@given(st.lists(st.integers(0, 5) | st.sampled_from([65_535, 65_536, 1 << 30]), max_size=20))
def test_sorting_by_thread_keeps_the_order_within_a_thread(threads):
    order = spans.by_thread(np.array(threads, np.int32))

    assert order.tolist() == sorted(range(len(threads)), key=lambda i: threads[i])


def rows_up_to(most: int):
    return st.lists(st.tuples(st.integers(0, 3), st.integers(0, most)), max_size=40)


@calm
@given(
    rows_up_to(9) | rows_up_to(10**12) | rows_up_to((1 << 62) - 1),
    st.lists(st.floats(0, 1), max_size=4),
)
def test_quantiles_of_groups_are_those_of_numpy(rows, q):
    group = np.array([g for g, _ in rows], np.int32)
    value = np.array([v for _, v in rows], np.int64)

    found = spans.group_quantiles(group, value, 5, q)

    assert found.shape == (5, len(q))
    for g in range(5):
        mine = value[group == g].astype(np.float64)
        if len(mine):
            np.testing.assert_allclose(found[g], np.quantile(mine, q), rtol=1e-9)
        else:
            assert np.isnan(found[g]).all()


def test_in_order_sorts_only_what_is_not_sorted():
    sorted_already = np.array([1, 1, 2])

    assert spans.in_order(sorted_already) is sorted_already
    assert spans.in_order(np.array([2, 1])).tolist() == [1, 2]
    assert spans.is_sorted(np.array([], np.int64))
