"""The part of a trace that is shown: of all small enough, the one in which threads waited longest."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gilscope.errors import OptionError
from gilscope.tables.stored import Tables
from gilscope.viztracer import export
from gilscope.viztracer.selection import Part, choose
from tests.support.drawn import timelines
from tests.support.drawn.timelines import PID, ZERO_NS, Row
from tests.support.drawn.traces import MS, calm, round_robin, traces

pytestmark = pytest.mark.extremes

SENTENCE = re.compile(
    r"^([\d,]+) intervals are more than ([\d,]+), so the timeline shows (\S+) s to (\S+) s \("
)


def inside(rows: list[Row], start: int, end: int) -> list[Row]:
    """Return the rows that overlap a stretch; rows of length zero may be at its edges."""
    return [
        row
        for row in rows
        if (row[2] < end and row[2] + row[3] > start) or (row[3] == 0 and start <= row[2] <= end)
    ]


def waited(rows: list[Row], start: int, end: int) -> int:
    waits = [row for row in rows if row[1] == "wait"]
    return sum(max(min(row[2] + row[3], end) - max(row[2], start), 0) for row in waits)


def most_waited(rows: list[Row], part: Part, most: int) -> int | None:
    """Try every stretch and return the longest wait of those that are small enough."""
    times = range(part.start_ns, part.end_ns + 1)
    fitting = [waited(rows, a, b) for a in times for b in times if b > a and len(inside(rows, a, b)) <= most]
    return max(fitting, default=None)


rows_of_threads = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["run", "wait"]),
        st.integers(0, 12),
        st.integers(0, 5) | st.just(0),
        st.none(),
    ),
    max_size=12,
)


@calm
@given(rows_of_threads, st.integers(1, 12), st.none() | st.tuples(st.integers(0, 9), st.integers(1, 9)))
@example([(n, "wait", 5, 0, None) for n in range(4)], 2, None)
@example([(n, "wait", 0, 0, None) for n in range(4)], 2, None)
@example([(0, "run", 0, 9, None), (1, "wait", 0, 9, None)], 1, None)
def test_no_stretch_of_as_few_intervals_waits_longer(rows, most, window):
    recording = timelines.recording(rows, batch=5)
    end = max((row[2] + row[3] for row in rows), default=0)
    part = Part(0, end)
    if window is not None and window[0] < min(window[0] + window[1], end):
        part = Part(window[0], min(window[0] + window[1], end))
        window = (part.start_ns / 1e9, part.end_ns / 1e9)
    else:
        window = None
    best = most_waited(rows, part, most)
    if len(inside(rows, part.start_ns, part.end_ns)) <= most:
        assert choose(recording, window, most) == part
    elif best is None:
        with pytest.raises(OptionError, match="max_slices must be at least"):
            choose(recording, window, most)
    else:
        found = choose(recording, window, most)
        assert part.start_ns <= found.start_ns < found.end_ns <= part.end_ns
        assert len(inside(rows, found.start_ns, found.end_ns)) <= most
        assert waited(rows, found.start_ns, found.end_ns) == best


@calm
@given(rows_of_threads, st.integers(1, 12))
def test_the_minimum_in_the_error_is_enough_and_one_less_is_not(rows, most):
    recording = timelines.recording(rows)
    try:
        choose(recording, None, most)
    except OptionError as error:
        least = int(re.search(r"at least (\d+), not", str(error))[1])
        assert least > most
        choose(recording, None, least)
        if least > 1:
            with pytest.raises(OptionError):
                choose(recording, None, least - 1)


@calm
@given(traces(), st.integers(1, 30))
def test_the_sentence_and_the_file_agree_on_the_part(tmp_path_factory, trace, most):
    recording = trace.recording(pid=PID, start_monotonic_ns=ZERO_NS)
    folder = tmp_path_factory.mktemp("part")
    try:
        left_out = export(recording, folder / "part.json", max_slices=most)
    except OptionError:
        return
    text = (folder / "part.json").read_bytes()
    slices = [e for e in timelines.whole_events(text) if e["name"] in ("run", "wait") and e["ph"] == "X"]
    if left_out is None:
        assert len(slices) == len(trace.intervals)
        return
    total, limit, *times = SENTENCE.match(left_out).groups()
    start, end = (round(float(t) * 1e9) for t in times)
    assert (int(total.replace(",", "")), int(limit)) == (len(trace.intervals), most)
    assert len(slices) <= most
    assert all(start <= e["ts"] - ZERO_NS and e["ts"] + e["dur"] - ZERO_NS <= end for e in slices)
    window = tuple(map(float, times))
    assert export(recording, folder / "window.json", window=window, max_slices=most) is None
    again = timelines.whole_events((folder / "window.json").read_bytes())
    assert timelines.in_order(again) == timelines.in_order(timelines.whole_events(text))


def test_the_sentence_counts_the_intervals_of_the_window():
    recording = round_robin(2, 10).recording()
    total = recording.intervals.num_rows
    left_out = choose(recording, (0, 5.5e-3), 4).left_out
    assert int(SENTENCE.match(left_out)[1]) < total


def test_a_burst_is_found_however_short():
    rows: list[Row] = [(0, "run", 0, 10**12, "open")]
    rows += [(1 + n % 8, "wait", 5 * 10**11 + 10 * n, 60, None) for n in range(10_000)]
    recording = timelines.recording(rows, duration_ns=10**12)
    found = choose(recording, None, 1000)
    assert len(inside(rows, found.start_ns, found.end_ns)) <= 1000
    assert waited(rows, found.start_ns, found.end_ns) >= 990 * 60


def test_all_at_one_instant():
    rows: list[Row] = [(0, "wait", 7, 0, None)] * 100_000
    assert choose(timelines.recording(rows, duration_ns=20), None, 10).left_out is not None
    at_the_only_instant = [(0, "wait", 0, 0, None)] * 100_000
    with pytest.raises(OptionError, match="at least 100,000, not 10"):
        choose(timelines.recording(at_the_only_instant), None, 10)


def test_an_empty_trace_has_one_part():
    assert choose(timelines.recording([]), None, 1) == Part(0, 0)
    assert choose(timelines.recording([], duration_ns=5 * MS), None, 1) == Part(0, 5 * MS)


@pytest.mark.parametrize("most", [0, -1, 1.5, "9", True, float("nan"), [], 10**6 + 0.0])
def test_invalid_numbers_are_refused(most):
    with pytest.raises(OptionError, match="max_slices must be a whole number, at least 1"):
        choose(timelines.recording([]), None, most)


@pytest.mark.parametrize(
    "window",
    [
        (0, 0),
        (0.002, 0.001),
        (-0.001, 0.001),
        (0.003, 0.004),
        (0.004, 0.005),
        (float("nan"), 0.001),
        (0, float("nan")),
        (0, float("inf")),
        (0, 1e-10),
        (10**400, 10**401),
        (0,),
        (0, 1, 2),
        (),
        "ab",
        ("0", "1"),
        (0, None),
        (0, 1j),
        5,
    ],
)
def test_invalid_windows_are_refused(tmp_path, window):
    recording = timelines.recording([(0, "run", 0, 3 * MS, "open")])
    with pytest.raises(OptionError, match=r"window must be two times.*inside the trace \(0 to 0.003\), not"):
        export(recording, tmp_path / "run.json", window=window)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("window", "part"),
    [
        ((0, 0.003), Part(0, 3 * MS)),
        ([0.001, 9], Part(MS, 3 * MS)),
        ((0.0000000012, 0.002), Part(1, 2 * MS)),
        ((0.002999999, 0.003), Part(3 * MS - 1, 3 * MS)),
    ],
)
def test_windows_are_cut_at_the_end_of_the_trace(window, part):
    recording: Tables = timelines.recording([(0, "run", 0, 3 * MS, "open")])
    assert choose(recording, window, None) == part


@settings(calm, max_examples=25)
@given(st.data())
def test_in_long_traces_no_stretch_of_98_percent_as_many_waits_longer(data):
    seed = data.draw(st.randoms(use_true_random=False))
    unit = data.draw(st.sampled_from([1, 1000, MS, 10**9]))
    rows: list[Row] = []
    for thread in range(data.draw(st.integers(1, 5))):
        time = seed.randrange(100 * unit)
        for _ in range(data.draw(st.integers(0, 60))):
            length = 1 + (seed.randrange(unit) if seed.random() < 0.9 else seed.randrange(100 * unit))
            rows.append((thread, seed.choice(["run", "wait"]), time, length, None))
            time += length + (seed.randrange(100 * unit) if seed.random() < 0.05 else 0)
    most = data.draw(st.sampled_from([8, 60, 120, 200]))
    found = choose(timelines.recording(rows), None, most)
    if len(rows) <= most:
        assert found.left_out is None
        return
    assert len(inside(rows, found.start_ns, found.end_ns)) <= most
    fewer = most * 98 // 100
    waits = waited(rows, found.start_ns, found.end_ns)
    assert all(waited(rows, *stretch) <= waits for stretch in longest_stretches(rows, fewer))


def longest_stretches(rows: list[Row], most: int) -> list[tuple[int, int]]:
    """Return the longest stretches with at most ``most`` intervals; no row has length zero."""
    begins = sorted(row[2] for row in rows)
    end = max(row[2] + row[3] for row in rows)
    out = []
    for first in sorted({0, *(row[2] + row[3] for row in rows)}):
        over = sum(row[2] + row[3] <= first for row in rows)
        last = begins[over + most] if over + most < len(begins) else end
        if last > first:
            out.append((first, last))
    return out
