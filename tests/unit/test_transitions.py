"""Folding transitions into intervals and hand-offs agrees with the slow twin, however it is chunked."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gilscope.convert import transitions as tr
from gilscope.convert.sites import LastReleases
from gilscope.convert.spool import ACQUIRE, DROP_REQUEST, FORCED, RELEASE, REQUEST
from gilscope.tables.rows import NO_SITE, NO_TIME, Handoffs, Intervals
from tests.support.drawn import transitions as legal
from tests.support.oracles import transitions as oracle

STATES = ("run", "wait")
RELEASES = ("forced", "voluntary", "open", None)


def arrays(events: list[oracle.Event], first: int = 0) -> tr.Transitions:
    """Return transitions whose releases have their own positions as sites, counted from ``first``.

    Those at every fourth position have none.
    """
    kinds, threads, times = zip(*events, strict=True) if events else ((), (), ())
    located = [kind == RELEASE and (first + i) % 4 for i, kind in enumerate(kinds)]
    sites = [first + i if known else NO_SITE for i, known in enumerate(located)]
    return tr.Transitions(
        np.array(kinds, np.uint8),
        np.array(threads, np.int32),
        np.array(times, np.int64),
        np.array(sites, np.int32),
    )


def interval_rows(rows: Intervals) -> list[tuple]:
    return [
        (thread, STATES[state], start, duration, RELEASES[release])
        for thread, state, start, duration, release in zip(
            rows.thread.tolist(),
            rows.state.tolist(),
            rows.start.tolist(),
            rows.duration.tolist(),
            rows.release.tolist(),
            strict=True,
        )
    ]


def handoff_rows(rows: Handoffs) -> list[tuple]:
    def null(times):
        return [None if t == NO_TIME else t for t in times.tolist()]

    columns = (
        rows.from_thread.tolist(),
        rows.to_thread.tolist(),
        null(rows.request),
        null(rows.drop_request),
        rows.release.tolist(),
        rows.acquire.tolist(),
        rows.forced.astype(bool).tolist(),
        rows.waiters.tolist(),
    )
    return list(zip(*columns, strict=True))


def fold_in_chunks(events: list[oracle.Event], cuts: list[int], end: int) -> oracle.Folded:
    folded, carry = oracle.Folded(), tr.Transitions.none()
    edges = [0, *sorted(c % (len(events) + 1) for c in cuts), len(events)]
    folds, last_releases = [], LastReleases()
    for a, b in pairwise(edges):
        chunk = arrays(events[a:b], a)
        last_releases.fill(chunk)
        folds.append(tr.fold(carry.then(chunk)))
        carry = folds[-1].carry
    folds.append(tr.finish(carry, end))
    for f in folds:
        assert f.illegal == 0
        folded.intervals += interval_rows(f.intervals)
        folded.sites += [None if site == NO_SITE else site for site in f.intervals.site.tolist()]
        folded.handoffs += handoff_rows(f.handoffs)
    return folded


@given(legal.events(), st.lists(st.integers(0, 1000), max_size=5), st.integers(0, 1000))
def test_any_legal_history_in_any_chunks_gives_what_the_slow_twin_tells(events, cuts, after):
    end = events[-1][2] + after

    expected, found = oracle.fold(events, end), fold_in_chunks(events, cuts, end)

    def key(row):
        return tuple(map(str, row))

    def with_sites(folded):
        return [(*row, site) for row, site in zip(folded.intervals, folded.sites, strict=True)]

    assert sorted(with_sites(found), key=key) == sorted(with_sites(expected), key=key)
    assert found.handoffs == expected.handoffs


def test_a_forced_release_is_known_by_the_request_even_when_the_releaser_did_not_wait():
    events = [(ACQUIRE, 0, 0), (REQUEST, 1, 1), (DROP_REQUEST, 1, 6), (RELEASE, 0, 7), (ACQUIRE, 1, 9)]

    folded = fold_in_chunks(events, [], 20)

    assert (0, "run", 0, 7, "forced") in folded.intervals
    assert folded.handoffs == [(0, 1, 1, 6, 7, 9, True, 1)]


def test_a_release_of_which_the_request_was_not_seen_is_forced_when_the_releaser_waits():
    events = [(ACQUIRE, 0, 0), (RELEASE, 0, 7), (FORCED, 0, 8), (ACQUIRE, 1, 9)]

    assert (0, "run", 0, 7, "forced") in fold_in_chunks(events, [], 20).intervals


def test_a_releaser_that_comes_back_first_makes_no_handoff():
    events = [(ACQUIRE, 0, 0), (REQUEST, 1, 1), (RELEASE, 0, 7), (ACQUIRE, 0, 8), (RELEASE, 0, 9)]

    folded = fold_in_chunks(events, [3], 20)

    assert folded.handoffs == []
    assert (1, "wait", 1, 19, None) in folded.intervals


def test_two_acquires_in_a_row_are_counted_and_make_no_interval():
    folded = tr.fold(arrays([(ACQUIRE, 0, 0), (ACQUIRE, 1, 5), (RELEASE, 1, 6), (ACQUIRE, 0, 9)]))

    assert folded.illegal == 1
    assert interval_rows(folded.intervals) == [(1, "run", 5, 1, "voluntary")]


def test_nothing_gives_nothing():
    for folded in (tr.fold(tr.Transitions.none()), tr.finish(tr.Transitions.none(), 5)):
        assert (len(folded.intervals.thread), len(folded.handoffs.to_thread), folded.illegal) == (0, 0, 0)
