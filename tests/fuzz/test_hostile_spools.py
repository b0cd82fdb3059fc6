"""Traces made on purpose to do harm by their spools, with every checksum right."""

import os

import numpy as np
import pytest

import gilscope
import gilscope.convert.conversion
from gilscope.analysis.windows import timeline
from gilscope.convert import spool
from gilscope.errors import TraceFormatError
from gilscope.tables.spans import Coverage
from tests.fuzz import files as f
from tests.fuzz import victim
from tests.fuzz.mutations import join, split
from tests.fuzz.seeds import unfinished
from tests.support.drawn.spools import START_NS, Spool, appears

pytestmark = pytest.mark.once

BEGUN = [(spool.BEGIN, 0, 0, 1), *appears(0, 7, 1)]


def made(s: Spool, **facts: object) -> f.Files:
    return unfinished(bytes(s.data), **facts)


def test_a_thread_whose_first_record_was_lost_is_not_taken_for_another(load):
    s = (
        Spool()
        .batch(0)
        .batch(10, [*BEGUN, (spool.LOST, 0, 1, 2), (spool.RELEASE, 2, 0, 5), (spool.ACQUIRE, 2, 0, 6)])
    )
    s.batch(
        20, [(spool.RELEASE, 2, 0, 14), *appears(1, 9, 15), (spool.ACQUIRE, 1, 0, 16), (spool.END, 0, 0, 18)]
    )

    t = load(made(s.last(21)))

    assert [(r["native_id"], r["run_ns"]) for r in t.threads.to_pylist()] == [(7, 0), (9, 2), (0, 8)]
    assert t.threads["name"][2].as_py() == "unknown thread"
    assert t.metadata["dropped"] == 1


@pytest.mark.parametrize("stamp", [0, 1, START_NS - 5, 2**62, 2**63 - 1])
@pytest.mark.parametrize("clock", [0, 1])
@pytest.mark.parametrize("kind", [spool.BEGIN, spool.RELEASE, spool.END])
def test_a_stamp_may_lie_anywhere_and_times_stay_in_the_trace(load, stamp, clock, kind):
    records = [*BEGUN, (spool.RELEASE, 0, 0, 5), (spool.ACQUIRE, 0, 0, 12), (spool.END, 0, 0, 18)]
    header, parts = split(bytes(Spool(clock=clock).batch(0).batch(10).batch(20, records).last(21).data))
    words = parts[2][1]["word"] & np.uint64(31)
    parts[2][1]["stamp"][words == kind] = stamp

    t = load(unfinished(join(header, parts)))

    assert 0 <= t.metadata["duration_ns"] <= 20 + START_NS
    ends = np.add(t.intervals["start_ns"].to_numpy(), t.intervals["duration_ns"].to_numpy())
    assert (ends <= t.metadata["duration_ns"]).all()
    assert (t.intervals["start_ns"].to_numpy() >= 0).all()


@pytest.mark.parametrize("name", ["monotonic_ns", "late_ns", "switches"])
def test_a_batch_with_absurd_figures_is_refused(load, name):
    header, parts = split(bytes(Spool().batch(0).batch(10, BEGUN).last(21).data))
    parts[-1][0][name] = 2**64 - 1

    with pytest.raises(TraceFormatError, match="no recorder writes"):
        load(unfinished(join(header, parts)))


def test_a_name_without_end_is_cut(load):
    s = Spool().batch(0).batch(10, BEGUN)
    for i in range(40):
        text = [(spool.TEXT, 0, 0x41414141, 11)] * 60_000
        s.batch(20 + i, [(spool.NAME, 0, 7, 11), *text] if i == 0 else text)

    with_name = load(made(s.last(99)))

    assert with_name.threads["name"].to_pylist() == ["A" * 4096]


def test_a_call_told_without_end_holds_back_no_more_than_it_may(load):
    s = Spool().batch(0).batch(10, [*BEGUN, (spool.INTERVAL, 0, 500, 2)])
    for i in range(5):
        asks = [(spool.REQUEST, 0, 1000 + n % 2, 11) for n in range(30_000)]
        s.batch(20 + i, asks)

    rows = load(made(s.last(99))).switch_intervals.num_rows

    assert rows > 100_000


def test_a_line_beyond_all_lines(load):
    call = [(spool.INTERVAL, 0, 500, 2), (spool.INTERVAL_WAS, 0, 5000, 2), (spool.LINE, 0, 2**32 - 1, 2)]
    s = Spool().batch(0).batch(10, [*BEGUN, *call, (spool.TEXT, 0, 0, 2)]).last(20)

    assert load(made(s)).switch_intervals["line"].to_pylist() == [None, 2**31 - 1, None]


def test_processor_time_beyond_all_time(load):
    cpu = [(spool.CPU_LOW, 0, 0xFFFFFFFF, 3), (spool.CPU_HIGH, 0, 0xFFFFFFFF, 3)]
    t = load(made(Spool().batch(0).batch(10, [*BEGUN, *cpu]).last(20)))

    assert t.threads["cpu_ns"].to_pylist() == [spool.LATEST]


def test_more_threads_than_there_can_be_are_refused(load, monkeypatch):
    monkeypatch.setattr("gilscope.convert.threads.MOST_THREADS", 100)
    s = Spool().batch(0).batch(10, [(spool.THREAD, n, n, 1) for n in range(101)])

    with pytest.raises(TraceFormatError, match="more than 100 threads"):
        load(made(s))


def test_threads_told_of_that_never_appear_are_bounded(load, monkeypatch):
    monkeypatch.setattr("gilscope.convert.threads.MOST_THREADS", 100)
    s = Spool(flags=spool.SAMPLED).batch(0).batch(10, [(spool.NAME, 0, n, 1) for n in range(101)])

    with pytest.raises(TraceFormatError, match="more than 100 threads"):
        load(made(s, edges="sampled"))


def test_many_threads_that_do_nothing_cost_little(load, monkeypatch):
    """What is computed thread by thread is computed of those that ran or waited."""
    appeared = [row for n in range(1, 3001) for row in appears(n, 7 + n, 2)]
    t = load(made(Spool().batch(0).batch(10, [*BEGUN, *appeared, (spool.END, 0, 0, 8)]).last(20)))
    asked = []
    original = Coverage.until
    monkeypatch.setattr(Coverage, "until", lambda self, at: asked.append(self) or original(self, at))

    frame = timeline(t, window=1.0)

    assert len(t.threads) == 3001
    assert [c for c in frame if c.startswith("run_share")] == ["run_share_0"]
    assert len(asked) < 20


def test_zeros_without_end_are_refused(tmp_path):
    path = f.write(made(Spool().batch(0).batch(10, BEGUN)), tmp_path / "t")
    os.truncate(path / f.SPOOL, 1 << 42)

    with pytest.raises(TraceFormatError, match="no batch begins here"):
        gilscope.load(path)


def test_many_states_are_converted_a_chunk_at_a_time(load, monkeypatch):
    """Memory is bound by what is in a chunk, whatever kind of row it is."""
    monkeypatch.setattr("gilscope.convert.conversion.CHUNK_RECORDS", 100)
    chunks = []
    original = gilscope.convert.conversion.Conversion._convert

    def spy(self, chunk):
        chunks.append(sum(len(b.states) for b in chunk))
        original(self, chunk)

    monkeypatch.setattr("gilscope.convert.conversion.Conversion._convert", spy)
    s = Spool(flags=spool.SAMPLED)
    for i in range(10):
        s.batch(i + 1, states=[(n, spool.STATE_WAIT) for n in range(60)])
    load(made(s.last(20), edges="sampled"))

    assert max(chunks) <= 160


def test_everything_bears_a_trace_of_nothing(tmp_path):
    path = f.write(made(Spool()), tmp_path / "t")

    assert victim.use(path, html=True) > 20
