"""The history of the switch interval: from calls, waits and ticks, in any order."""

import pytest

from gilscope.convert import conversion as tables
from gilscope.convert import spool
from gilscope.convert.conversion import Conversion
from gilscope.convert.spool import BEGIN, END, INTERVAL, INTERVAL_WAS, LINE, NAME, REQUEST, TEXT, SpoolReader
from gilscope.tables.stored import Tables
from tests.support.drawn.spools import Spool, appears

BEGUN = [(BEGIN, 0, 0, 100), *appears(0, 7, 100)]


@pytest.fixture
def history(tmp_path):
    """Return a function that converts a spool and tells its switch intervals."""

    def run(made: Spool):
        with SpoolReader(made.write(tmp_path / "spool.bin")) as reader:
            totals = Conversion(reader, tmp_path, interval_argument=False).run()
        recording = Tables(tmp_path, {"duration_ns": totals.duration_ns, "edges": "exact"})
        return [tuple(row.values()) for row in recording.switch_intervals.to_pylist()]

    return run


def called(thread, time, before, after, file="program.py", line=12):
    """Return the records of a call of `sys.setswitchinterval`."""
    text = file.encode() + b"\0"
    pieces = [text[i : i + 4].ljust(4, b"\0") for i in range(0, len(text), 4)]
    return [
        (INTERVAL, thread, after, time),
        (INTERVAL_WAS, thread, before, time),
        (LINE, thread, line, time),
        *((TEXT, thread, int.from_bytes(p, "little"), time) for p in pieces),
    ]


START = (0, 5_000_000, None, None, "start", None, None)


def test_a_call_has_its_thread_place_and_values(history):
    made = Spool().batch(150, [*BEGUN, *called(0, 200, 5000, 500)], interval_us=500)

    assert history(made.batch(400, [(END, 0, 0, 400)], interval_us=500).last(400)) == [
        START,
        (100, 500_000, 5_000_000, 0, "call", "program.py", 12),
        (300, 5_000_000, 500_000, None, "observed", None, None),  # the last batch of this spool says so
    ]


def test_a_tick_between_a_call_and_its_record_is_part_of_the_call(history):
    made = Spool().batch(150, BEGUN, interval_us=500)
    made.batch(300, called(0, 200, 5000, 500), interval_us=500)

    assert history(made.batch(400, [(END, 0, 0, 400)], interval_us=500))[:2] == [
        START,
        (100, 500_000, 5_000_000, 0, "call", "program.py", 12),
    ]


def test_a_wait_that_began_to_ask_before_the_call_is_not_taken_for_a_change(history):
    made = Spool().batch(
        300,
        [*BEGUN, *called(0, 200, 5000, 500), *appears(1, 9, 250), (REQUEST, 1, 5000, 250)],
        interval_us=500,
    )
    rows = history(made.batch(400, [(END, 0, 0, 400)], interval_us=500))

    assert [row[4] for row in rows] == ["start", "call"]


def test_a_change_without_a_call_is_observed(history):
    made = Spool().batch(150, BEGUN).batch(300, interval_us=1000)
    made.batch(350, called(0, 320, 1000, 2000), interval_us=2000)

    assert [row[1:5] for row in history(made.batch(400, [(END, 0, 0, 400)], interval_us=2000))] == [
        START[1:5],
        (1_000_000, 5_000_000, None, "observed"),
        (2_000_000, 1_000_000, 0, "call"),
    ]


def test_a_change_back_behind_a_call_is_seen(history):
    # Before the call ticks saw 5 ms and after it they do again: something changed it without the function.
    made = Spool().batch(150, [*BEGUN, *called(0, 200, 5000, 500)])
    rows = history(made.batch(300).batch(400, [(END, 0, 0, 400)]))

    assert [row[1:5] for row in rows] == [
        START[1:5],
        (500_000, 5_000_000, 0, "call"),
        (5_000_000, 500_000, None, "observed"),
    ]


@pytest.mark.parametrize("chunk", [1, 2])
def test_a_call_that_is_recorded_in_two_chunks_is_one(history, monkeypatch, chunk):
    monkeypatch.setattr(tables, "CHUNK_TICKS", chunk)
    records = called(0, 200, 5000, 500, file="a/long/path/of/a/program.py")
    made = Spool().batch(150, BEGUN).batch(250, records[:5], interval_us=500)
    made.batch(300, records[5:], interval_us=500).batch(350, interval_us=500)

    assert history(made.batch(400, [(END, 0, 0, 400)], interval_us=500))[1:] == [
        (100, 500_000, 5_000_000, 0, "call", "a/long/path/of/a/program.py", 12)
    ]


def test_names_recorded_around_a_call_stay_names(history):
    name = int.from_bytes(b"io\0\0", "little")
    records = [(NAME, 0, 7, 120), (TEXT, 0, name, 120), *called(0, 200, 5000, 500)]
    records += [(NAME, 0, 7, 300), (TEXT, 0, name, 300)]
    made = Spool().batch(350, [*BEGUN, *records], interval_us=500)

    [_, call] = history(made.batch(400, [(END, 0, 0, 400)], interval_us=500))
    assert call[5] == "program.py"


def test_a_call_cut_off_in_the_middle_is_kept(history):
    made = Spool().batch(250, [*BEGUN, *called(0, 200, 5000, 500)[:2]], interval_us=500)

    assert history(made)[1] == (100, 500_000, 5_000_000, 0, "call", "", 0)


def test_kinds_are_not_transitions():
    assert min(INTERVAL, INTERVAL_WAS, LINE) > spool.LOST
