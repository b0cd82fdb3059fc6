"""The arithmetic behind the benchmarks' figures."""

from __future__ import annotations

import math
import random
import statistics
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest

from gilscope.convert import spool
from tests.bench import accuracy, machine, offenders, program, referee, rivals, sampled
from tests.bench.__main__ import NAMES
from tests.bench.common import Bound, Figure, SkippedError, fresh, median_interval, quantile, shuffled
from tests.bench.workloads import FREE, WORKLOADS, run_fixed, run_for


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_quantile_is_numpys(n: int, share: float) -> None:
    values = [random.Random(n).random() for _ in range(n)]
    assert quantile(values, share) == pytest.approx(np.quantile(values, share))


def test_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_median_interval_of_ten_values_leaves_out_one_on_each_side() -> None:
    # P(fewer than 2 of 10 below the median) = 11/1024 = 1.1 % < 2.5 % < 5.5 % = P(fewer than 3)
    assert median_interval(range(10)) == (1, 8)


def test_median_interval_covers_the_true_median_as_often_as_it_says() -> None:
    chance = random.Random(7)
    draws = ([chance.expovariate(1.0) for _ in range(25)] for _ in range(2000))
    covered = sum(low <= math.log(2) <= high for low, high in map(median_interval, draws))
    assert covered >= 0.95 * 2000 - 3 * math.sqrt(2000 * 0.95 * 0.05)


def test_median_interval_of_few_values_is_their_range() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)


def test_a_bound_is_kept_missed_or_absent() -> None:
    most, least = Bound(1.0, "definition"), Bound(1.0, "definition", least=True)
    assert Figure("x", 1.0, bound=most).kept is True
    assert Figure("x", 1.1, bound=most).kept is False
    assert Figure("x", 1.1, bound=least).kept is True
    assert Figure("x", 0.9, bound=least).kept is False
    assert Figure("x", 1.1).kept is None
    assert Figure("x", None, bound=most).kept is None


def test_order_depends_on_the_seed_alone() -> None:
    names = ("a", "b", "c")
    assert shuffled(names, 3) == shuffled(names, 3)
    assert {tuple(shuffled(names, seed)) for seed in range(100)} == {
        (a, b, c) for a in names for b in names for c in names if len({a, b, c}) == 3
    }


def test_ratio_compares_two_with_two() -> None:
    group = {"bare": [{"wall": 1.0}, {"wall": 3.0}], "traced": [{"wall": 2.5}, {"wall": 2.5}]}
    assert program.ratios([group], "wall", "traced") == [1.25]


def test_a_steady_drift_does_not_change_the_ratio() -> None:
    for seed in range(20):
        group: dict[str, list[dict[str, float]]] = {way: [] for way in program.WAYS}
        for i, way in enumerate(program.there_and_back(Random(seed))):
            group[way].append({"wall": 1.0 + 0.1 * i})
        for way in ("watched", "traced", "located"):
            assert program.ratios([group], "wall", way) == [pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([(100, 200)], (0.0, 0.0)),
        ([(0, 90), (110, 230), (230, 400)], (10.0, 30.0)),
        ([(200, 300)], (math.inf, math.inf)),
        ([], (math.inf, math.inf)),
    ],
)
def test_known_interval_is_compared_with_the_one_that_fits_best(
    found: list[tuple[int, int]], expected: tuple[float, float]
) -> None:
    assert accuracy.edge_errors_ns((100, 200), found) == expected


def test_error_is_the_worst_of_start_end_and_length() -> None:
    assert accuracy.error_ns(-10.0, 5.0) == 15.0
    assert accuracy.error_ns(10.0, 20.0) == 20.0
    assert accuracy.error_ns(math.inf, math.inf) == math.inf


def test_tolerance_is_one_percent_but_at_least_200_us() -> None:
    assert accuracy.tolerance_ns(1_000_000) == 200_000
    assert accuracy.tolerance_ns(100_000_000) == 1_000_000


def test_referee_pairs_thread_by_thread() -> None:
    ours = [(1, "acquire", 10), (2, "acquire", 11), (1, "release", 20)]
    theirs = [(2, "acquire", 10), (1, "acquire", 12), (1, "release", 19)]
    found = referee.compare(ours, theirs)
    assert (found.threads, found.unequal, found.events) == (2, 0, 3)
    assert sorted(found.differences) == [(1, 10, 12), (1, 20, 19), (2, 11, 10)]


@pytest.mark.parametrize(
    "theirs",
    [
        [(1, "acquire", 10)],
        [(1, "release", 10), (1, "acquire", 20)],
        [(1, "acquire", 10), (1, "release", 20), (2, "acquire", 30)],
    ],
    ids=["one missing", "other order", "another thread"],
)
def test_referee_sees_what_differs(theirs: list[tuple[int, str, int]]) -> None:
    assert referee.compare([(1, "acquire", 10), (1, "release", 20)], theirs).unequal == 1


def test_referee_leaves_out_pairs_with_a_disturbance_between() -> None:
    pairs = [(1, 10, 20), (1, 40, 30), (2, 10, 20)]
    assert referee.undisturbed(pairs, [(1, 35), (2, 25), (3, 15)]) == [(1, 10, 20), (2, 10, 20)]


def test_perf_script_is_read() -> None:
    text = (
        "  4711  1022.000000007: gilscope_bench_9:returned__return: \n"
        "  4711 11022.123456789: sched:sched_switch: \n"
        "a line of something else\n"
    )
    assert referee.parse(text) == {
        "returned": [(4711, 1022_000_000_007)],
        "sched_switch": [(4711, 11022_123_456_789)],
    }


def test_points_and_cover() -> None:
    assert sampled.points_off(0.5, (0.52, 0.51, 0.53)) == (pytest.approx(2.0), False)
    assert sampled.points_off(0.5, (0.49, 0.45, 0.53)) == (pytest.approx(1.0), True)


def test_what_py_spy_writes_is_read() -> None:
    text = (
        "<module> (tests/bench/offenders.py:123);main (offenders.py:113);dumps (json/__init__.py:231) 4\n"
        "Thread.run (/lib/a folder/threading.py:982);main.<locals>.victim (offenders.py:99) 10\n"
        " 8\n"
    )
    assert list(rivals.spy_stacks(text)) == [
        ((("offenders.py", 123), ("offenders.py", 113), ("__init__.py", 231)), 4),
        ((("threading.py", 982), ("offenders.py", 99)), 10),
        ((), 8),
    ]


def test_what_profiling_sampling_writes_is_read() -> None:
    text = (
        "tid:5908;<frozen runpy>:_run_code:87;offenders.py:main.<locals>.victim:99 1365\n"
        "tid:5909;/lib/json/encoder.py:JSONEncoder.encode:202;<GC> 7\n"
    )
    assert list(rivals.sampling_stacks(text)) == [
        ((("<frozen runpy>", 87), ("offenders.py", 99)), 1365),
        ((("encoder.py", 202),), 7),
    ]
    said = "Captured 7,299 samples in 7.30 seconds\nSample rate: 1000.00 samples/sec\n"
    assert rivals.sampling_period_ns(said) == pytest.approx(7.3e9 / 7299)
    with pytest.raises(SkippedError, match="how many samples"):
        rivals.sampling_period_ns("Error rate: 3.69\n")


def test_a_sample_is_of_the_offender_whose_line_is_in_it() -> None:
    lines = {name: line for line, name in offenders.by_line().items()}
    assert lines.keys() == offenders.OFFENDERS.keys()
    (match, dumps, *_), here = lines.values(), "offenders.py"
    stacks = [
        (((here, 1), (here, match), ("__init__.py", 166)), 5),
        (((here, match),), 2),
        (((here, dumps), ("encoder.py", match)), 3),
        ((("elsewhere.py", match),), 7),
        ((), 9),
    ]
    first, second, *_ = lines
    assert rivals.charged(iter(stacks)) == {first: 7, second: 3}


def test_each_sample_stands_for_a_period() -> None:
    (first, line), (second, _), *_ = ((name, line) for line, name in offenders.by_line().items())
    stacks = [((("offenders.py", line),), 7), ((("elsewhere.py", 1),), 2)]
    said = rivals._estimated(rivals.Said({}, 1), iter(stacks), 1e7)
    assert (said.columns["held"][first], said.columns["held"][second]) == (7e7, 0)
    assert said.note == "7 samples, 100 a second"
    with pytest.raises(SkippedError, match="saw none"):
        rivals._estimated(rivals.Said({}, 1), iter(stacks[1:]), 1e7)


def test_each_offender_has_lines_of_its_own() -> None:
    text = Path(offenders.__file__).read_text().splitlines()
    found = offenders.by_line()
    assert [text[line - 1].strip() for line, name in found.items() if name == "a loop in Python"] == [
        "for _ in range(20_000_000):",
        "pass",
    ]
    assert len(found) == len(offenders.OFFENDERS) + 1


def test_what_the_victim_waits_is_what_lies_in_the_window() -> None:
    gaps = [(0, 10), (20, 30), (35, 50), (60, 70)]
    assert offenders.within(gaps, (5, 40)) == 5 + 10 + 5
    assert offenders.within(gaps, (51, 59)) == 0
    assert offenders.within([], (0, 1)) == 0


def test_what_each_tool_says_stands_beside_the_clock() -> None:
    name = "list.sort, a million"
    said = {
        "one": rivals.Said({name: 2_000_000_000}, 1, {"held": {name: 1.5e9}, "inflicted": {name: 2.1e9}}),
        "two": rivals.Said({name: 0}, 1, {"held": {name: 5e8}}),
    }
    held, inflicted, two = rivals.beside(name, said)
    assert (held.value, inflicted.value, two.value) == (pytest.approx(-25), pytest.approx(5), None)
    assert held.note == "1.50 s; by the program's own clock 2.00 s"
    assert "list.sort, a million (offenders.py:" in held.what


def test_what_keeps_a_tool_from_looking_is_reported(tmp_path: Path) -> None:
    missing = "import sys; sys.exit('first\\nlast word')"
    with pytest.raises(SkippedError, match=r"^last word$"):
        rivals._run(tmp_path, 1, [sys.executable, "-c", missing])
    with pytest.raises(SkippedError, match="status 3"):
        rivals._run(tmp_path, 1, [sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="profiling.sampling is there")
def test_profiling_sampling_is_named_where_it_is_absent(tmp_path: Path) -> None:
    with pytest.raises(SkippedError, match=r"CPython 3\.15"):
        rivals.sampling(tmp_path, 1)


def test_fixed_work_is_done_whole() -> None:
    workload = WORKLOADS["one thread writing"]
    assert run_fixed("one thread writing", 0.01).rounds == [workload.rounds[0] // 100]


def test_free_threads_stop_with_the_others() -> None:
    assert WORKLOADS["convoy"].rounds[0] == FREE
    done = run_fixed("convoy", 0.02)
    assert done.rounds[0] >= 1
    assert done.rounds[1] == 2
    assert all(rounds > 0 for rounds in run_for("two threads writing", 0.05).rounds)


def test_fresh_process_answers_and_its_failure_is_reported() -> None:
    assert fresh(statistics_of, [1, 2, 9]) == 2
    with pytest.raises(RuntimeError, match="no median for empty data"):
        fresh(statistics_of, [])


def statistics_of(values: list[float]) -> float:
    return statistics.median(values)


def test_machine_facts_are_whole() -> None:
    facts = machine.facts()
    assert facts.keys() >= {"processor", "cores", "kernel", "clocksource", "python", "load"}
    assert all(facts.values())
    assert "others used" in machine.Others().text()


def test_every_benchmark_is_there() -> None:
    folder = Path(machine.__file__).parent
    assert all((folder / f"{'importing' if name == 'import' else name}.py").exists() for name in NAMES)


def test_repeated_spool_holds_what_it_says(tmp_path: Path) -> None:
    from tests.bench.synthesis import record_pattern, repeat

    pattern = record_pattern("mixed", 0.05)
    written = repeat(pattern, tmp_path / "spool.bin", 3 * pattern.transitions - 1)
    assert written == 3 * pattern.transitions
    with spool.SpoolReader(tmp_path / "spool.bin") as reader:
        batches = list(reader.batches())
    kinds = np.concatenate([b.records["word"] & np.uint64(31) for b in batches])
    assert batches[-1].last
    assert np.count_nonzero(kinds == spool.BEGIN) == np.count_nonzero(kinds == spool.END) == 1
    assert np.count_nonzero(kinds == spool.ACQUIRE) == np.count_nonzero(kinds == spool.RELEASE)
