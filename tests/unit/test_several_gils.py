"""GILs of several interpreters in one spool: rows of each apart, as the slow twin tells them."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gilscope.convert import conversion as tables
from gilscope.convert import spool
from gilscope.convert.conversion import Conversion
from gilscope.convert.spool import (
    ACQUIRE,
    BEGIN,
    DROP_REQUEST,
    END,
    GIL,
    GIL_END,
    GIL_HELD,
    LOST,
    RELEASE,
    REQUEST,
    SpoolReader,
)
from gilscope.tables.stored import Tables
from tests.support import invariants
from tests.support.drawn import transitions as legal
from tests.support.drawn.spools import Spool, appears
from tests.support.drawn.traces import MS, calm, moved
from tests.support.oracles import transitions as oracle

pytestmark = pytest.mark.extremes


def convert(made: Spool, chunk: int = 1 << 19) -> tuple[Tables, tables.Totals]:
    before, tables.CHUNK_RECORDS = tables.CHUNK_RECORDS, chunk
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = made.write(Path(folder) / "spool.bin")
            with SpoolReader(path) as reader:
                totals = Conversion(reader, Path(folder), interval_argument=False).run()
            metadata = {"duration_ns": totals.duration_ns, "edges": "exact", "dropped": totals.dropped}
            recording = Tables(Path(folder), metadata)
            invariants.check(recording)
            return recording, totals
    finally:
        tables.CHUNK_RECORDS = before


def rows(recording: Tables, name: str, *columns: str) -> list[tuple]:
    return list(zip(*(recording.table(name)[c].to_pylist() for c in columns), strict=True))


def intervals(recording: Tables) -> list[tuple]:
    columns = ("interpreter", "thread", "state", "start_ns", "duration_ns", "release")
    return rows(recording, "intervals", *columns)


# ---- drawn streams ----


@dataclass
class Life:
    """One GIL: its number, its interpreter, its events, and when its end was recorded (None: never)."""

    number: int
    interpreter: int
    events: list[oracle.Event]
    end: int | None = None


chunks = st.sampled_from([1, 20, 1000])
HEADS = (spool.THREAD, spool.IDENT_LOW, spool.IDENT_HIGH)
BEGUN_BY = 4
"""Records of the thread that begins the trace, and the beginning."""


@st.composite
def lives(draw) -> list[Life]:
    """Draw GILs with threads of their own; one after the other may have the same number."""
    main = Life(0, 0, draw(legal.events(20)))
    out, n_threads, next_id = [main], 6, 1
    for number in range(1, 1 + draw(st.integers(0, 3))):
        time = draw(st.integers(0, 10 * MS))
        for left in reversed(range(draw(st.integers(1, 3)))):
            events = moved(draw(legal.events(15)), n_threads, time)
            if left:
                wind_up(events)
            n_threads += 6
            time = events[-1][2] + draw(st.integers(0, MS))
            out.append(Life(number, next_id, events, time if left else None))
            next_id += 1
    return out


def wind_up(events: list[oracle.Event]) -> None:
    """Let each waiting thread acquire it and the last one release it, as before an interpreter's end."""
    time, holder, waiting = events[-1][2], None, {}
    for kind, thread, _ in events:
        if kind == REQUEST:
            waiting[thread] = True
        elif kind == ACQUIRE:
            waiting.pop(thread, None)
        if kind in (ACQUIRE, RELEASE):
            holder = thread if kind == ACQUIRE else None
    if holder is not None:
        events.append((RELEASE, holder, time))
    for thread in waiting:
        events += [(ACQUIRE, thread, time), (RELEASE, thread, time + 1)]
        time += 1


def records_of(life: Life) -> list[tuple[int, ...]]:
    begin = life.events[0][2]
    out: list[tuple[int, ...]] = []
    if life.number:
        out.append((GIL, 0, life.interpreter, begin, life.number))
    for kind, thread, time in life.events:
        arg = 5000 if kind == REQUEST else life.interpreter
        is_begin = not life.number and kind == ACQUIRE and time == 0 and not out
        out.append((BEGIN if is_begin else kind, thread, arg, time, life.number))
    if life.end is not None:
        out.append((GIL_END, 0, life.interpreter, life.end, life.number))
    return out


def stream(drawn: list[Life], end: int) -> list[tuple[int, ...]]:
    """Put the records of all GILs in order of time, each thread's first one before it."""
    told_of: list[tuple[int, ...]] = []
    known = set()
    for record in sorted((r for life in drawn for r in records_of(life)), key=lambda r: r[3]):
        if record[1] not in known:
            known.add(record[1])
            gil = record[4] if record[0] < GIL else 0
            told_of += [(*r, gil) for r in appears(record[1], 100 + record[1], record[3])]
        told_of.append(record)
    return [*told_of, (END, 0, 0, end)]


def spooled(records: list[tuple[int, ...]], size: int) -> Spool:
    begun = 1 + next((i for i, r in enumerate(records) if r[0] == BEGIN), 0)
    made = Spool().batch(records[0][3], records[:begun])
    for i in range(begun, len(records), size):
        part = records[i : i + size]
        made.batch(part[-1][3], part)
    return made.last(records[-1][3])


def expected_rows(found: oracle.Folded, life: Life) -> tuple[list[tuple], list[tuple]]:
    return (
        [(life.interpreter, *row) for row in found.intervals],
        [(life.interpreter, *row) for row in found.handoffs],
    )


def in_some_order(found: list[tuple]) -> list[tuple]:
    return sorted(found, key=lambda row: tuple(map(str, row)))


def by_number(recording: Tables) -> dict[int, int]:
    """Return the number each drawn thread has in the tables, by its native id."""
    return {native - 100: n for n, native in rows(recording, "threads", "thread", "native_id")}


def renumbered(found: list[tuple], columns: tuple[int, ...], numbers: dict[int, int]) -> list[tuple]:
    return [tuple(numbers[v] if i in columns else v for i, v in enumerate(row)) for row in found]


HANDOFF = (
    "interpreter",
    "from_thread",
    "to_thread",
    "request_ns",
    "drop_request_ns",
    "release_ns",
    "acquire_ns",
    "forced",
    "waiters",
)


@calm
@given(lives(), st.integers(0, MS), chunks, st.integers(3, 40))
def test_every_gil_has_the_rows_that_the_slow_twin_tells_of_it(drawn, after, chunk, size):
    end = max(max(life.events[-1][2], life.end or 0) for life in drawn) + after

    recording, totals = convert(spooled(stream(drawn, end), size), chunk)

    numbers = by_number(recording)
    expected = [expected_rows(oracle.fold(life.events, last_of(life, end)), life) for life in drawn]
    assert in_some_order(intervals(recording)) == in_some_order(
        renumbered([row for part, _ in expected for row in part], (1,), numbers)
    )
    assert in_some_order(rows(recording, "handoffs", *HANDOFF)) == in_some_order(
        renumbered([row for _, part in expected for row in part], (1, 2), numbers)
    )
    assert totals.illegal == 0
    of_thread = dict(rows(recording, "threads", "thread", "interpreter"))
    for life in drawn:
        for _, thread, _ in life.events:
            assert of_thread[numbers[thread]] == life.interpreter


def last_of(life: Life, end: int) -> int:
    """Return when a GIL's open holds and waits end: nobody knows when an interpreter went."""
    return end if life.end is None else life.events[-1][2]


@calm
@given(lives(), chunks, st.data())
def test_nothing_is_made_up_of_any_gil_where_records_were_lost(drawn, chunk, data):
    end = max(max(life.events[-1][2], life.end or 0) for life in drawn)
    all_records = stream(drawn, end)
    assume(len(all_records) > BEGUN_BY + 1)
    first = data.draw(st.integers(BEGUN_BY, len(all_records) - 2))
    last = data.draw(st.integers(first, len(all_records) - 2))
    stop = all_records[last][3]
    # That threads lose their first records is another folded.
    heads = [(*r[:3], stop, *r[4:]) for r in all_records[first:last] if r[0] in HEADS]
    kept = [*all_records[:first], (LOST, 0, last - first + 1, stop), *heads, *all_records[last:]]

    recording, totals = convert(spooled(kept, 7), chunk)

    transitions = [r for r in all_records[:first] if r[0] < LOST or r[0] in (BEGIN, GIL, GIL_END)]
    known_until = transitions[-1][3] if transitions else 0
    folded = oracle.Folded()
    seen = {id(r) for r in all_records[:first]}, {id(r) for r in all_records[last:]}
    numbers = by_number(recording)
    for life in drawn:
        for part_is, part_end in zip(seen, (known_until, last_of(life, end)), strict=True):
            part = [
                (ACQUIRE if r[0] == BEGIN else r[0], r[1], r[3])
                for r in all_records
                if id(r) in part_is and (r[0] < LOST or r[0] == BEGIN) and belongs(r, life)
            ]
            if not part:
                continue
            after = part_is is seen[1]
            if life.end is not None and (after or ended(life, all_records[:first])):
                part_end = part[-1][2]  # noqa: PLW2901
            if after and life.number and all(kind == REQUEST for kind, *_ in part):
                continue  # whose GIL it is that they wait for was not recorded again
            if after:
                at = next((i for i, e in enumerate(part) if e[0] == ACQUIRE), len(part))
                part = [e for i, e in enumerate(part) if i >= at or e[0] == REQUEST]
            found = oracle.fold(part, part_end)
            folded.intervals += [(life.interpreter, *row) for row in found.intervals]
    expected = renumbered(folded.intervals, (1,), numbers)
    assert in_some_order(intervals(recording)) == in_some_order(expected)
    assert totals.dropped == last - first + 1


def belongs(record: tuple[int, ...], life: Life) -> bool:
    """Tell whether a record is of this GIL; each has threads of its own."""
    return record[1] in {thread for _, thread, _ in life.events}


def ended(life: Life, records: list[tuple[int, ...]]) -> bool:
    return any(r[0] == GIL_END and r[2] == life.interpreter for r in records)


# ---- made by hand ----

BEGUN = [*appears(0, 4242, 100), (BEGIN, 0, 0, 100)]


def test_a_gil_held_when_the_trace_began_has_been_held_since():
    records = [
        *BEGUN,
        (GIL, 0, 7, 101, 1),
        (GIL_HELD, 0, 55, 103, 1),
        *((*r, 1) for r in appears(1, 66, 110)),
        (REQUEST, 1, 5000, 110, 1),
        (DROP_REQUEST, 1, 7, 120, 1),
        *((*r, 1) for r in appears(2, 55, 130)),
        (RELEASE, 2, 7, 130, 1),
        (ACQUIRE, 1, 7, 134, 1),
        (END, 0, 0, 200),
    ]
    for chunk in (1, 3, 100):
        recording, totals = convert(spooled(records, 1), chunk)

        assert sorted(intervals(recording), key=lambda row: row[3]) == [
            (0, 0, "run", 0, 100, "open"),
            (7, 2, "run", 3, 27, "forced"),
            (7, 1, "wait", 10, 24, None),
            (7, 1, "run", 34, 66, "open"),
        ]
        assert rows(recording, "handoffs", "interpreter", "from_thread", "to_thread", "waiters") == [
            (7, 2, 1, 1)
        ]
        assert rows(recording, "threads", "name", "interpreter") == [
            ("native 4242", 0),
            ("interpreter 7, native 66", 7),
            ("interpreter 7, native 55", 7),
        ]
        assert totals.illegal == 0


def test_a_gil_held_all_along_by_one_thread_has_one_row():
    records = [*BEGUN, (GIL, 0, 7, 101, 1), (GIL_HELD, 0, 55, 103, 1), *appears(1, 9, 120), (END, 0, 0, 200)]
    recording, totals = convert(spooled(records, 2))

    assert intervals(recording) == [(0, 0, "run", 0, 100, "open"), (7, 2, "run", 3, 97, "open")]
    assert rows(recording, "threads", "native_id", "interpreter", "run_ns", "last_ns") == [
        (4242, 0, 100, 100),
        (9, 0, 0, 20),
        (55, 7, 97, 100),
    ]
    assert totals.transitions == 0


@pytest.mark.parametrize("holder", [0, 4242])
def test_a_holder_that_cannot_have_been_it_is_nobody_known(holder):
    records = [*BEGUN, (GIL, 0, 7, 101, 1), (GIL_HELD, 0, holder, 103, 1), (END, 0, 0, 200)]
    recording, _ = convert(spooled(records, 2))

    assert intervals(recording) == [(0, 0, "run", 0, 100, "open"), (7, 1, "run", 3, 97, "open")]
    assert recording.threads["name"].to_pylist() == ["native 4242", "interpreter 7, unknown thread"]


def test_a_holder_seen_in_the_middle_of_taking_it_holds_it_from_its_acquire():
    records = [*BEGUN, (GIL, 0, 7, 101, 1), (GIL_HELD, 0, 55, 103, 1), *appears(1, 55, 105)]
    recording, totals = convert(spooled([*records, (ACQUIRE, 1, 7, 105, 1), (END, 0, 0, 200)], 2))

    assert intervals(recording) == [(0, 0, "run", 0, 100, "open"), (7, 1, "run", 5, 95, "open")]
    assert totals.illegal == 0


def test_who_held_a_gil_is_not_known_when_records_were_lost_before_it_spoke():
    records = [*BEGUN, (GIL, 0, 7, 101, 1), (GIL_HELD, 0, 55, 103, 1), (LOST, 0, 3, 110)]
    records += [*appears(1, 55, 120), (RELEASE, 1, 7, 120, 1), (ACQUIRE, 1, 7, 130, 1), (END, 0, 0, 200)]
    recording, _ = convert(spooled(records, 2))

    assert intervals(recording) == [(0, 0, "run", 0, 3, "open"), (7, 1, "run", 30, 70, "open")]


def test_threads_that_enter_in_another_order_than_the_core_numbered_them_keep_their_records():
    records = [*BEGUN, (GIL, 0, 7, 101, 1), *((*r, 1) for r in appears(2, 9, 110))]
    records += [(ACQUIRE, 2, 7, 110, 1), *appears(1, 8, 111), (REQUEST, 1, 5000, 111)]
    records += [(RELEASE, 0, 0, 120), (ACQUIRE, 1, 0, 121), (END, 1, 0, 200)]
    for size in (1, 4, 100):
        recording, _ = convert(spooled(records, size), size)

        assert rows(recording, "threads", "native_id", "interpreter", "run_ns") == [
            (4242, 0, 20),
            (9, 7, 90),
            (8, 0, 79),
        ]


def test_a_thread_of_which_the_first_record_was_lost_is_one_nobody_knows():
    records = [*BEGUN, (LOST, 0, 3, 110), (RELEASE, 0, 0, 120), (ACQUIRE, 1, 0, 130), *appears(2, 9, 140)]
    records += [(REQUEST, 2, 5000, 140), (END, 1, 0, 200)]
    recording, _ = convert(spooled(records, 100))

    assert rows(recording, "threads", "native_id", "name", "run_ns", "wait_ns") == [
        (4242, "native 4242", 0, 0),
        (9, "native 9", 0, 60),
        (0, "unknown thread", 70, 0),
    ]


def test_switch_intervals_are_those_of_the_main_gil():
    records = [*BEGUN, (GIL, 0, 7, 101, 1), *((*r, 1) for r in appears(1, 9, 110))]
    records += [(REQUEST, 1, 300, 110, 1), (ACQUIRE, 1, 7, 120, 1), (END, 0, 0, 200)]
    recording, _ = convert(spooled(records, 100))

    assert recording.switch_intervals["interval_ns"].to_pylist() == [5_000_000]
