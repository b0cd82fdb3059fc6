"""The table of marks: from records in chunks of any size, some of them lost."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gilscope
from gilscope.convert import conversion as tables
from gilscope.convert import spool
from gilscope.convert.conversion import Conversion
from gilscope.convert.spool import BEGIN, END, LOST, MARK, MARK_NAME, REGION, REGION_END, SpoolReader
from gilscope.convert.texts import Texts
from gilscope.errors import TraceFormatError
from gilscope.tables import schema
from gilscope.tables.metadata import read_metadata, write_metadata
from gilscope.tables.stored import Tables
from tests.support.drawn.spools import Spool, appears

Record = tuple[int, int, int, int]

BEGUN = [*appears(0, 4242, 100), (BEGIN, 0, 0, 100), *appears(1, 9, 100)]


def named(kind: int, thread: int, arg: int, time: int, name: str) -> list[Record]:
    """Return the records with which a thread tells of a mark or a region."""
    text = name.encode() + b"\0"
    pieces = [text[i : i + 4].ljust(4, b"\0") for i in range(0, len(text), 4)]
    words = [(MARK_NAME, thread, int.from_bytes(p, "little"), time) for p in pieces]
    return [(kind, thread, arg, time), *words]


def convert(made: Spool, folder) -> Tables:
    with SpoolReader(made.write(folder / "spool.bin")) as reader:
        totals = Conversion(reader, folder, interval_argument=False).run()
    return Tables(folder, {"duration_ns": totals.duration_ns, "edges": "exact"})


def rows(recording: Tables) -> list[tuple]:
    return [tuple(row.values()) for row in recording.marks.to_pylist()]


@pytest.fixture
def marks(tmp_path):
    """Return a function that converts a made spool and tells its marks."""
    return lambda made: rows(convert(made, tmp_path))


def test_a_mark_is_an_instant_and_a_region_has_a_length(marks):
    records = named(REGION, 0, 7, 110, "request ä") + named(MARK, 0, 0, 120, "half")
    made = Spool().batch(400, [*BEGUN, *records, (REGION_END, 0, 7, 150), (END, 0, 0, 300)])

    assert marks(made.last(400)) == [(0, "request ä", 10, 40, True), (0, "half", 20, None, True)]


def test_a_region_is_of_the_thread_that_began_it(marks):
    records = [*named(REGION, 1, 7, 110, "moved"), (REGION_END, 0, 7, 150)]

    assert marks(Spool().batch(400, [*BEGUN, *records, (END, 0, 0, 300)]).last(400)) == [
        (1, "moved", 10, 40, True)
    ]


def test_regions_of_one_thread_need_not_lie_inside_one_another(marks):
    records = named(REGION, 0, 7, 110, "a") + named(REGION, 0, 8, 120, "b")
    records += [(REGION_END, 0, 7, 130), (REGION_END, 0, 8, 140)]

    assert marks(Spool().batch(400, [*BEGUN, *records, (END, 0, 0, 300)]).last(400)) == [
        (0, "a", 10, 20, True),
        (0, "b", 20, 20, True),
    ]


@pytest.mark.parametrize("chunk", [1, 1000])
def test_a_region_lasts_to_the_end_of_the_trace_at_most(marks, monkeypatch, chunk):
    monkeypatch.setattr(tables, "CHUNK_TICKS", chunk)
    records = named(REGION, 0, 7, 110, "cut")
    late = [(REGION_END, 0, 7, 310), *named(MARK, 0, 0, 320, "late")]
    made = Spool().batch(400, [*BEGUN, *records, (END, 0, 0, 300), *late]).batch(500, late)

    assert marks(made.last(600)) == [(0, "cut", 10, 190, False)]


def test_a_killed_process_leaves_its_open_regions(marks):
    made = Spool().batch(400, [*BEGUN, *named(REGION, 0, 7, 110, "cut")]).batch(900)

    assert marks(made) == [(0, "cut", 10, 790, False)]


def test_a_name_cut_off_by_a_kill_is_kept_as_far_as_it_goes(marks):
    records = named(REGION, 0, 7, 110, "abcä")  # the first four bytes end inside of a character

    assert marks(Spool().batch(400, [*BEGUN, *records[:2]])) == [(0, "abc\ufffd", 10, 300 - 10, False)]


def test_a_region_that_began_before_the_trace_is_left_out(marks):
    assert marks(Spool().batch(400, [*BEGUN, (REGION_END, 0, 7, 150), (END, 0, 0, 300)])) == []


def test_a_region_whose_end_is_lost_lasts_to_the_hole(marks):
    records = [
        *named(REGION, 0, 7, 110, "lost"),
        *named(REGION, 0, 8, 120, "found"),
        *named(MARK, 1, 0, 130, "m"),
    ]
    after = [(LOST, 0, 5, 200), *named(REGION, 0, 9, 210, "later"), (REGION_END, 0, 8, 220)]
    made = Spool().batch(140, [*BEGUN, *records]).batch(400, [*after, (END, 0, 0, 300)])

    assert marks(made.last(400)) == [
        (0, "lost", 10, 20, False),
        (0, "found", 20, 100, True),
        (1, "m", 30, None, True),
        (0, "later", 110, 90, False),
    ]


def test_a_name_is_not_taken_from_something_that_was_lost(marks):
    whole, other = named(MARK, 0, 0, 110, "a long name"), named(MARK, 0, 0, 120, "others")
    made = Spool().batch(400, [*BEGUN, *whole[:2], (LOST, 0, 3, 150), *other[1:], (END, 0, 0, 300)])

    assert marks(made.last(400)) == [(0, "a lo", 10, None, True)]


def test_a_thread_of_which_the_first_record_was_lost_has_no_marks(tmp_path):
    made = Spool(flags=spool.SAMPLED).batch(100, [(spool.THREAD, 0, 7, 100), (BEGIN, 0, 0, 100)])
    made.batch(400, [(LOST, 0, 3, 150), *named(MARK, 1, 0, 160, "whose"), *named(MARK, 0, 0, 170, "mine")])

    assert rows(convert(made, tmp_path)) == [(0, "mine", 70, None, True)]


@pytest.mark.parametrize("flags", [spool.EXACT, spool.SAMPLED])
def test_a_thread_that_only_marks_has_its_row(tmp_path, flags):
    records = [
        *appears(1, 9, 120),
        *named(MARK, 1, 0, 130, "here"),
        *named(MARK, 1, 0, 140, "and here"),
    ]
    begun = [*appears(0, 4242, 100), (BEGIN, 0, 0, 100), *named(MARK, 0, 0, 110, "first")]
    t = convert(Spool(flags=flags).batch(400, [*begun, *records, (END, 0, 0, 300)]).last(400), tmp_path)

    assert [row[:2] for row in rows(t)] == [(0, "first"), (1, "here"), (1, "and here")]
    assert t.threads["native_id"].to_pylist() == [4242, 9]
    assert t.threads["last_ns"].to_pylist()[1] == 40


# ---- against the slow and obvious ----


def obvious(records: list[Record], duration: int) -> list[tuple]:
    """Tell the rows of a stream of records, one record at a time; times are since the trace began."""
    done, going, telling, last = [], {}, {}, 0
    for kind, thread, arg, time in records:
        if kind == END:
            break
        if kind == LOST:
            telling.clear()
            for row in going.values():
                row.setdefault("known", last)
        elif kind in (MARK, REGION):
            row = telling[thread] = {"thread": thread, "name": b"", "start": time}
            if kind == REGION:
                going[arg] = row
            else:
                done.append({"row": row})
        elif kind == MARK_NAME and thread in telling:
            piece, zero, _ = arg.to_bytes(4, "little").partition(b"\0")
            telling[thread]["name"] += piece
            if zero:
                del telling[thread]
        elif kind == REGION_END and arg in going:
            row = going.pop(arg)
            done.append({"row": row, "duration": time - row["start"]})
        last = time
    done += [
        {"row": row, "duration": row.get("known", duration) - row["start"], "cut": True}
        for row in going.values()
    ]
    return [
        (
            d["row"]["thread"],
            d["row"]["name"].decode("utf-8", "replace"),
            d["row"]["start"],
            d.get("duration"),
            "cut" not in d,
        )
        for d in done
    ]


names = st.sampled_from(["", "a", "abc", "abcd", "request", "ä€😀é", "a name of more than one word"])


@st.composite
def streams(draw) -> list[Record]:
    """Draw what three threads tell by turns, with some of it lost."""
    pending: dict[int, list[Record]] = {0: [], 1: [], 2: []}
    out: list[Record] = []
    going: list[int] = []
    begun = dict.fromkeys(pending, 0)
    instance, time = 0, 0
    for _ in range(draw(st.integers(0, 60))):
        time += draw(st.integers(0, 5))
        thread = draw(st.integers(0, 2))
        if not pending[thread]:
            act = draw(st.sampled_from(["mark", "region", "end", "end", "other"]))
            if act == "mark":
                pending[thread] = named(MARK, thread, 0, 0, draw(names))
            elif act == "region":
                instance += 1
                pending[thread] = named(REGION, thread, instance, 0, draw(names))
            elif act == "end":
                number = draw(st.sampled_from([*going, 1 << 31]))
                pending[thread] = [(REGION_END, thread, number, 0)]
                if number in going:
                    going.remove(number)
            else:
                pending[thread] = [(spool.REQUEST, thread, 5000, 0)]
        kind, _, arg, _ = pending[thread].pop(0)
        out.append((kind, thread, arg, time))
        if kind == REGION:
            begun[thread] = arg
        if begun[thread] and not pending[thread]:  # only now does the program know its number
            going.append(begun[thread])
            begun[thread] = 0
    for _ in range(draw(st.integers(0, 2))):
        begin = draw(st.integers(0, len(out)))
        stop = min(begin + draw(st.integers(0, 6)), len(out))
        out[begin:stop] = [(LOST, 0, stop - begin + 1, out[stop - 1][3] if stop else 0)]
    return out


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(streams(), st.booleans(), st.integers(1, 8), st.integers(1, 20))
def test_marks_agree_with_the_slow_and_obvious(tmp_path, stream, killed, size, chunk):
    duration = (stream[-1][3] if stream else 0) + 3
    made = Spool().batch(100, [*BEGUN, *appears(2, 11, 100)])
    later = [(kind, thread, arg, 100 + time) for kind, thread, arg, time in stream]
    for i in range(0, len(later), size):
        made.batch(later[min(i + size, len(later)) - 1][3], later[i : i + size], flags=0)
    if not killed:
        made.batch(100 + duration, [(END, 0, 0, 100 + duration)])
    made.batch(100 + duration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHUNK_RECORDS", chunk)
        found = rows(convert(made, tmp_path))
    whole = rows(convert(made, tmp_path))

    expected = sorted(obvious(stream, duration), key=repr)
    assert sorted(found, key=repr) == expected
    assert sorted(whole, key=repr) == expected
    assert [row[2] for row in whole] == sorted(row[2] for row in whole)


# ---- strings ----


@given(st.lists(st.binary(max_size=12)))
def test_texts_are_what_was_told_up_to_the_first_zero(pieces):
    padded = [p.ljust(-(-len(p) // 4) * 4, b"x") for p in pieces]
    words = np.frombuffer(b"".join(padded), "<u4")

    texts, whole = Texts.of_words(words, np.array([len(p) // 4 for p in padded], np.int64))

    expected = [p.split(b"\0")[0].decode("utf-8", "replace") for p in padded]
    assert texts.column().to_pylist() == expected
    assert whole.tolist() == [b"\0" in p for p in padded]
    backwards = np.arange(len(pieces))[::-1]
    both = texts[backwards].then(texts)
    both.column().validate(full=True)
    assert both.column().to_pylist() == expected[::-1] + expected


# ---- traces from before ----


@pytest.fixture
def old(tmp_path):
    """Return a trace as it was written before there were marks."""
    with gilscope.trace(tmp_path / "old.gilscope") as t:
        t.mark("forgotten")
    metadata = read_metadata(t.path)
    del metadata["files"]["marks.arrow"]
    (t.path / "marks.arrow").unlink()
    write_metadata(t.path, metadata)
    return t.path


def test_a_trace_from_before_has_no_marks(old, tmp_path):
    t = gilscope.load(old)

    assert t.marks.equals(schema.TABLES["marks"].empty_table())
    assert list(t.batches("marks")) == []
    assert len(gilscope.analysis.threads(t)) == 1
    assert t.report()
    t.save(tmp_path / "saved.gilscope")
    assert gilscope.load(tmp_path / "saved.gilscope").marks.num_rows == 0


def test_a_trace_that_lost_its_marks_is_damaged(tmp_path):
    with gilscope.trace(tmp_path / "run.gilscope") as t:
        pass
    (t.path / "marks.arrow").unlink()

    with pytest.raises(TraceFormatError, match=r"marks\.arrow: the table 'marks' is missing"):
        gilscope.load(t.path).marks  # noqa: B018
