"""Tables from spools made by hand: names, holes, bounds, clocks, sampled edges."""

import numpy as np
import pytest

from gilscope.convert import conversion as tables
from gilscope.convert import spool
from gilscope.convert.conversion import Conversion
from gilscope.convert.spool import ACQUIRE, BEGIN, DROP_REQUEST, END, LOST, RELEASE, REQUEST, SpoolReader
from gilscope.tables.stored import Tables
from tests.support import invariants
from tests.support.drawn.spools import START_NS, Spool, appears, says


@pytest.fixture
def convert(tmp_path):
    """Return a function that turns a made spool into a recording and the totals."""

    def run(made: Spool):
        path = made.write(tmp_path / "spool.bin")
        with SpoolReader(path) as reader:
            totals = Conversion(reader, tmp_path, interval_argument=False).run()
            edges = "exact" if reader.header.exact else "sampled"
        metadata = {"duration_ns": totals.duration_ns, "edges": edges, "dropped": totals.dropped}
        recording = Tables(tmp_path, metadata)
        invariants.check(recording)
        return recording, totals

    return run


def rows(recording, name, *columns):
    return list(zip(*(recording.table(name)[c].to_pylist() for c in columns), strict=True))


def intervals(recording):
    return rows(recording, "intervals", "thread", "state", "start_ns", "duration_ns", "release")


BEGUN = [*appears(0, 4242, 100), (BEGIN, 0, 0, 100)]


def test_time_zero_is_where_the_trace_began_not_where_the_spool_did(convert):
    recording, totals = convert(
        Spool().batch(50).batch(400, [*BEGUN, (RELEASE, 0, 0, 150), (END, 0, 0, 300)]).last(500)
    )

    assert intervals(recording) == [(0, "run", 0, 50, "voluntary")]
    assert (totals.duration_ns, totals.start_monotonic_ns) == (200, START_NS + 100)
    assert totals.complete


def test_what_comes_after_the_end_is_left_out(convert):
    late = [(REQUEST, 1, 5000, 301), (RELEASE, 0, 0, 302), (ACQUIRE, 1, 0, 303)]
    recording, totals = convert(
        Spool().batch(400, [*BEGUN, *appears(1, 9, 120), (END, 0, 0, 300), *late]).batch(500, late).last(500)
    )

    assert intervals(recording) == [(0, "run", 0, 200, "open")]
    assert totals.transitions == 0


def test_a_tick_after_the_end_is_of_the_end_also_where_the_end_is_read_later(convert, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_TICKS", 1)
    after = [(END, 0, 0, 300), (ACQUIRE, 0, 0, 450)]
    recording, totals = convert(
        Spool().batch(400, [*BEGUN, (RELEASE, 0, 0, 150)]).batch(500, after).last(500)
    )

    assert totals.duration_ns == 200
    assert rows(recording, "samples", "time_ns") == [(200,), (200,)]


def test_open_holds_and_waits_end_with_the_trace(convert):
    recording, _ = convert(
        Spool().batch(400, [*BEGUN, *appears(1, 9, 120), (REQUEST, 1, 5000, 120), (END, 0, 0, 300)]).last(500)
    )

    assert intervals(recording) == [(0, "run", 0, 200, "open"), (1, "wait", 20, 180, None)]


def test_a_killed_process_leaves_a_trace_that_ends_with_its_last_batch(convert):
    recording, totals = convert(
        Spool().batch(400, [*BEGUN, *appears(1, 9, 120), (REQUEST, 1, 5000, 120)]).batch(900)
    )

    assert not totals.complete
    assert totals.duration_ns == 800
    assert intervals(recording) == [(0, "run", 0, 800, "open"), (1, "wait", 20, 780, None)]


def test_nothing_is_made_up_where_records_were_lost(convert):
    before = [*BEGUN, *appears(1, 9, 120), (REQUEST, 1, 5000, 120), (DROP_REQUEST, 1, 0, 130)]
    after = [(LOST, 0, 17, 500), (RELEASE, 1, 0, 510), (ACQUIRE, 0, 0, 520), (END, 0, 0, 600)]
    recording, totals = convert(Spool().batch(140, before).batch(700, after).last(700))

    assert intervals(recording) == [
        (0, "run", 0, 30, "open"),
        (1, "wait", 20, 10, None),
        (0, "run", 420, 80, "open"),
    ]
    assert totals.dropped == 17
    assert totals.illegal == 0
    # They were lost between the record before and the one that tells of it: mostly after the first tick.
    assert recording.samples["dropped"].to_pylist() == [1, 16]
    # Who held the GIL at 510 is known, since when is not; that it changed hands then is.
    assert rows(recording, "handoffs", "from_thread", "to_thread") == []


def test_names_outlive_their_threads_and_the_last_one_counts(convert):
    records = [
        *BEGUN,
        *says(0, 4242, "MainThread", 101),
        *appears(1, 9, 120),
        *says(1, 9, "early", 121),
        *says(1, 9, "a later name, with ü", 122),
        *appears(2, 11, 130),
        (END, 0, 0, 300),
    ]
    recording, _ = convert(Spool().batch(400, records).last(500))

    assert rows(recording, "threads", "native_id", "name", "is_main") == [
        (4242, "MainThread", True),
        (9, "a later name, with ü", False),
        (11, "native 11", False),
    ]


def test_a_native_id_used_again_keeps_each_thread_its_own_name(convert):
    records = [
        *BEGUN,
        *appears(1, 9, 120),
        *says(1, 9, "first", 121),
        *appears(2, 9, 130),
        *says(2, 9, "second", 131),
        (END, 0, 0, 300),
    ]
    recording, _ = convert(Spool().batch(400, records).last(500))

    assert recording.threads["name"].to_pylist() == ["native 4242", "first", "second"]


def test_a_name_told_before_the_thread_appears_is_kept_for_it(convert):
    records = [*BEGUN, *says(0, 9, "later", 110), *appears(1, 9, 120), (END, 0, 0, 300)]
    recording, _ = convert(Spool().batch(400, records).last(500))

    assert recording.threads["name"].to_pylist() == ["native 4242", "later"]


def test_cpu_time_is_counted_from_the_start_of_the_trace(convert):
    own = [(spool.CPU_LOW, 1, 70, 250), (spool.CPU_HIGH, 1, 0, 250)]
    recording, _ = convert(
        Spool()
        .batch(90, cpus=[(4242, 1000)])
        .batch(200, [*BEGUN, *appears(1, 9, 120)], cpus=[(4242, 1400), (9, 30)])
        .batch(400, [*says(1, 9, "own", 250), *own, *appears(2, 11, 260), (END, 0, 0, 300)])
        .last(500)
    )

    assert recording.threads["cpu_ns"].to_pylist() == [400, 70, None]


def test_switch_intervals_seen_by_waits_and_by_ticks_make_one_story(convert):
    records = [
        *BEGUN,
        *appears(1, 9, 120),
        (REQUEST, 1, 5000, 120),
        (RELEASE, 0, 0, 125),
        (ACQUIRE, 1, 0, 130),
        (REQUEST, 0, 500, 200),
        (END, 1, 0, 600),
    ]
    made = Spool().batch(90).batch(150, records[:-2]).batch(180, interval_us=500)
    recording, _ = convert(made.batch(700, records[-2:], interval_us=500).last(700))

    assert rows(recording, "switch_intervals", "time_ns", "interval_ns", "thread", "source") == [
        (0, 5_000_000, None, "start"),
        (80, 500_000, None, "observed"),
        (500, 5_000_000, None, "observed"),  # the last batch of this spool says so
    ]


def test_ticks_become_samples_and_other_batches_do_not(convert):
    made = Spool().batch(90, switches=10).batch(200, BEGUN, switches=12, late_ns=3)
    made.batch(250, flags=0, switches=13)
    recording, totals = convert(
        made.batch(400, [(END, 0, 0, 390)], switches=15, late_ns=20_000_000).last(500)
    )

    assert rows(recording, "samples", "time_ns", "late_ns", "switches", "dropped") == [
        (0, 0, 0, 0),
        (100, 3, 2, 0),
        (290, 20_000_000, 3, 0),
    ]
    assert (totals.ticks, totals.late_ticks) == (3, 1)


def test_stamps_that_go_back_a_little_are_put_in_order(convert):
    records = [*BEGUN, (RELEASE, 0, 0, 150), (ACQUIRE, 0, 0, 147), (END, 0, 0, 300)]
    recording, _ = convert(Spool().batch(400, records).last(500))

    assert intervals(recording) == [(0, "run", 0, 50, "voluntary"), (0, "run", 50, 150, "open")]


@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_the_size_of_chunks_does_not_matter(convert, monkeypatch, chunk):
    monkeypatch.setattr(tables, "CHUNK_RECORDS", chunk)
    rng = np.random.default_rng(7)
    made, time, holder = Spool().batch(90).batch(100, [*BEGUN, *appears(1, 9, 100)]), 100, 0
    for _ in range(40):
        records = []
        for _ in range(int(rng.integers(1, 4))):
            time += int(rng.integers(1, 50))
            records += [(REQUEST, 1 - holder, 5000, time), (RELEASE, holder, 0, time + 5)]
            holder = 1 - holder
            records.append((ACQUIRE, holder, 0, time + 7))
            time += 7
        made.batch(time, records)
    recording, _ = convert(made.batch(time + 9, [(END, holder, 0, time + 5)]).last(time + 9))

    handoffs = recording.handoffs.to_pandas()
    assert set(handoffs.gap_ns) == {2}
    assert set(handoffs.waiters) == {1}
    assert len(handoffs) == recording.intervals.to_pandas().query("state == 'wait'").shape[0]


def test_an_empty_spool_gives_empty_tables(convert):
    recording, totals = convert(Spool())

    assert recording.intervals.num_rows == 0
    assert not totals.complete


RUN, WAIT = spool.STATE_RUN, spool.STATE_WAIT


def sampled() -> Spool:
    """Ticks at 100, 200, ... after a beginning at 100."""
    begin = [(spool.THREAD, 0, 7, 100), (BEGIN, 0, 0, 100)]
    return Spool(flags=spool.SAMPLED).batch(100, begin, states=[(7, RUN)])


def test_a_tick_stands_for_half_the_time_to_its_neighbours(convert):
    made = sampled()
    made.batch(200, states=[(7, RUN), (8, WAIT)])
    made.batch(300, states=[(8, RUN), (7, WAIT)], switches=1)
    made.batch(400, [(END, 0, 1, 400)], states=[(8, RUN)], switches=1)
    recording, totals = convert(made.last(400))

    assert intervals(recording) == [
        (0, "run", 0, 150, None),
        (1, "wait", 50, 100, None),
        (0, "wait", 150, 100, None),
        (1, "run", 150, 150, None),
    ]
    assert rows(recording, "handoffs", "from_thread", "to_thread", "release_ns", "gap_ns", "waiters") == [
        (0, 1, 150, None, 1)
    ]
    assert totals.switches == 1
    assert totals.duration_ns == 300


def test_a_holder_that_let_go_between_two_ticks_has_two_runs(convert):
    made = sampled().batch(200, states=[(7, RUN)], switches=2)
    recording, _ = convert(made.batch(300, [(END, 0, 0, 300)], states=[(7, RUN)], switches=2).last(300))

    assert intervals(recording) == [(0, "run", 0, 50, None), (0, "run", 50, 150, None)]


def test_a_waiter_that_was_woken_is_found_by_the_count(convert):
    ready = spool.STATE_READY
    begin = [(spool.THREAD, 0, 7, 100), (BEGIN, 0, 0, 100)]
    made = Spool(flags=spool.SAMPLED | spool.COUNTED).batch(100, begin, states=[(7, RUN)])
    made.batch(200, states=[(7, RUN), (8, ready)], waiters=1)
    made.batch(300, states=[(7, RUN), (8, ready)], waiters=0)
    made.batch(400, [(END, 0, 0, 400)], states=[(7, RUN), (8, WAIT)], waiters=1)
    recording, _ = convert(made.last(400))

    assert sorted(intervals(recording)) == [
        (0, "run", 0, 300, None),
        (1, "wait", 50, 100, None),
        (1, "wait", 250, 50, None),
    ]


def test_sampled_threads_have_their_names(convert):
    made = sampled().batch(200, says(0, 8, "worker", 150), states=[(8, RUN)])
    recording, _ = convert(made.batch(300, [(END, 0, 0, 300)]).last(300))

    assert rows(recording, "threads", "native_id", "name") == [(7, "native 7"), (8, "worker")]


@pytest.mark.parametrize("chunk", [2, 3, 5])
def test_sampled_chunks_lose_no_time(convert, monkeypatch, chunk):
    monkeypatch.setattr(tables, "CHUNK_TICKS", chunk)
    made = sampled()
    for i in range(2, 20):
        made.batch(100 * i, states=[(7 + i // 5 % 2, RUN)], switches=i // 5)
    recording, totals = convert(made.batch(2000, [(END, 0, 0, 2000)]).last(2000))

    assert sum(recording.threads["run_ns"].to_pylist()) == 1850  # the last tick saw nobody
    assert recording.intervals.num_rows == 4
    assert recording.handoffs.num_rows == 3
    assert totals.ticks == 20


@pytest.mark.parametrize("clock", spool.CLOCKS)
def test_records_keep_their_times_when_the_sampler_was_late_and_drained_in_many_batches(
    convert, monkeypatch, clock
):
    turns = [
        (kind, 0, 0, 200 + 10 * i + after) for i in range(30) for kind, after in ((RELEASE, 0), (ACQUIRE, 4))
    ]
    late = Spool(clock=spool.CLOCKS.index(clock)).batch(140, BEGUN)
    late.batch(5000, turns[:20], late_ns=4860).batch(5001, turns[20:40], flags=0).batch(
        5002, turns[40:], flags=0
    )
    late.batch(5100, [(END, 0, 0, 5050)]).last(5100)

    whole = rows(convert(late)[0], "intervals", "start_ns", "duration_ns")
    monkeypatch.setattr(tables, "CHUNK_RECORDS", 20)

    assert rows(convert(late)[0], "intervals", "start_ns", "duration_ns") == whole
    assert whole[1:-1] == [(104 + 10 * i, 6) for i in range(29)]
