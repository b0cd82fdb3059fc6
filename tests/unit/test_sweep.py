"""A sweep's order, words and errors, with made-up runs where time does not matter."""

import math
import random
import sys

import numpy as np
import pytest

import gilscope
from gilscope import errors
from gilscope.sweeping import sweeps as sweeping
from gilscope.sweeping.sweeps import Sweep, run_all

pytestmark = pytest.mark.extremes

INTERVALS = (0.0005, 0.005, 0.02)


def made_up(values, *, repeats=7, noise=0.02, better="lower", intervals=INTERVALS):
    """Return the sweep of a program that takes about this long under each interval."""
    chance = random.Random(4)

    def runner(interval, repeat):
        return {"wall_ns": 1, "metric": values[interval] * math.exp(chance.gauss(0, noise))}

    return run_all(Sweep([], intervals, better), runner, repeats=repeats, warmup=1, quiet=True)


def test_every_repeat_has_each_interval_once_in_an_order_of_its_own():
    runs = made_up(dict.fromkeys(INTERVALS, 1.0), repeats=20).to_pandas()

    orders = [tuple(group["interval_ns"]) for _, group in runs.groupby("repeat")]
    assert [sorted(order) for order in orders] == [[500_000, 5_000_000, 20_000_000]] * 20
    assert len(set(orders)) > 3
    assert runs["repeat"].is_monotonic_increasing


def test_warm_ups_do_not_count():
    seen = []

    def runner(interval, repeat):
        seen.append(repeat)
        return {"wall_ns": 1, "metric": 1.0}

    result = run_all(Sweep([], INTERVALS), runner, repeats=1, warmup=2, quiet=True)
    assert seen == [-1, -1, 0, 0, 0]
    assert len(result.rows) == 3


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_real_gain_is_found_with_an_interval_that_holds_it(better):
    values = (
        {0.0005: 2.0, 0.005: 1.0, 0.02: 1.1} if better == "higher" else {0.0005: 0.5, 0.005: 1.0, 0.02: 1.1}
    )
    best = made_up(values, better=better).best()

    assert best.interval == 0.0005
    assert best.low <= 2.0 <= best.high
    assert best.words.startswith(f"500 us: {best.gain:.2f} times better than 5.00 ms")


def test_no_gain_is_reported_as_no_difference():
    best = made_up(dict.fromkeys(INTERVALS, 1.0)).best()

    assert best.interval == 0.005
    assert "no difference beyond noise" in str(best)


def test_noise_alone_is_seldom_taken_for_a_gain():
    chance = np.random.default_rng(1)
    found = 0
    for _ in range(200):
        rows = [
            {"interval_ns": i, "repeat": r, "metric": math.exp(chance.normal(0, 0.05))}
            for r in range(7)
            for i in (50_000, 500_000, 1_000_000, 5_000_000, 20_000_000)
        ]
        found += Sweep(rows).best().words.startswith("no difference") is False
    # At most 2.5 % by design (the level is that of both sides); five standard deviations of 200 draws.
    assert found <= 200 * 0.025 + 5 * math.sqrt(200 * 0.025)


def test_without_5_ms_the_first_interval_is_what_others_are_compared_with():
    values = {0.0001: 1.0, 0.0002: 0.25}
    best = made_up(values, intervals=(0.0001, 0.0002)).best()
    assert best.interval == 0.0002
    assert best.gain == pytest.approx(4.0, rel=0.1)


def test_too_little_says_so():
    with pytest.raises(errors.SweepError, match="at least two intervals"):
        Sweep([{"interval_ns": 5_000_000, "repeat": 0, "metric": 1.0}]).best()
    with pytest.raises(errors.SweepError, match="one complete repeat"):
        Sweep().best()


def test_the_summary_has_medians_and_their_intervals():
    summary = made_up({0.0005: 2.0, 0.005: 1.0, 0.02: 3.0}).summary()

    assert summary["interval_ns"].tolist() == [500_000, 5_000_000, 20_000_000]
    assert (summary["metric_low"] <= summary["metric"]).all()
    assert (summary["metric"] <= summary["metric_high"]).all()
    assert summary["runs"].tolist() == [7, 7, 7]


def test_a_function_that_raises_keeps_what_was_done():
    calls = []

    def func():
        calls.append(sys.getswitchinterval())
        if len(calls) == 4:
            raise ZeroDivisionError("no more")

    before = sys.getswitchinterval()
    with pytest.raises(errors.SweepError, match=r"repeat 1 .*20\.0 ms|repeat 1 .*failed") as caught:
        gilscope.sweep(func, INTERVALS, repeats=2, trace=False, warmup=1, quiet=True)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert len(caught.value.sweep.rows) == 2
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize("trace", [True, False])
def test_ctrl_c_keeps_what_was_done(trace):
    calls = []

    def func():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    result = gilscope.sweep(func, INTERVALS, repeats=2, trace=trace, warmup=0, quiet=True)
    assert not result.complete
    assert len(result.rows) == 2
    assert "Interrupted: 2 runs" in result.report()


def test_each_run_has_its_interval_and_it_is_put_back():
    seen = []
    before = sys.getswitchinterval()
    gilscope.sweep(lambda: seen.append(sys.getswitchinterval()), INTERVALS, repeats=1, warmup=0, quiet=True)

    assert sorted(seen) == pytest.approx(sorted(INTERVALS))
    assert sys.getswitchinterval() == before


def test_a_value_set_inside_does_not_stay():
    before = sys.getswitchinterval()
    gilscope.sweep(lambda: sys.setswitchinterval(0.3), INTERVALS, repeats=1, quiet=True)
    assert sys.getswitchinterval() == before


def test_a_metric_is_made_of_what_the_function_returns(tmp_path):
    result = gilscope.sweep(
        lambda: {"rate": 1 / sys.getswitchinterval()},
        INTERVALS,
        repeats=2,
        metric=lambda value: value["rate"],
        better="higher",
        keep=tmp_path / "kept",
        quiet=True,
    )
    assert result.best().interval == 0.0005
    runs = result.to_pandas()
    assert {"handoffs_per_s", "overhead_share", "fairness", "wait_p99_ns_MainThread"} <= set(runs.columns)
    assert sorted(p.name for p in (tmp_path / "kept").iterdir())[:2] == [
        "20.0ms-1.gilscope",
        "20.0ms-2.gilscope",
    ]
    assert gilscope.load(runs["trace"].iloc[0]).metadata["complete"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"intervals": []}, "intervals is empty"),
        ({"intervals": [0]}, "switch_interval must be"),
        ({"intervals": [-1.0]}, "switch_interval must be"),
        ({"intervals": [math.nan]}, "switch_interval must be"),
        ({"intervals": [1e9]}, "switch_interval must be"),
        ({"intervals": ["1ms"]}, "switch_interval must be"),
        ({"repeats": 0}, "repeats must be"),
        ({"repeats": 1.5}, "repeats must be"),
        ({"warmup": -1}, "warmup must be"),
        ({"better": "faster"}, "better must be"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, words):
    with pytest.raises(errors.OptionError, match=words):
        gilscope.sweep(lambda: None, **{"intervals": INTERVALS, **arguments}, quiet=True)


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.OptionError, match="cannot be created as a folder"):
        gilscope.sweep(lambda: None, INTERVALS, keep=tmp_path / "file", quiet=True)


def test_a_trace_that_is_on_is_in_the_way():
    with gilscope.trace(None), pytest.raises(errors.TraceActiveError):
        gilscope.sweep(lambda: None, INTERVALS, quiet=True)


def test_a_picture_has_the_metric_and_the_waits():
    pytest.importorskip("matplotlib")
    result = made_up({0.0005: 2.0, 0.005: 1.0, 0.02: 3.0})
    for row in result.rows:
        row["wait_p99_ns_io"] = float(row["interval_ns"])
    ax = result.plot()

    assert ax.get_xscale() == "log"
    assert ax.lines[0].get_ydata().tolist() == result.summary()["metric"].tolist()
    assert {text.get_text() for text in ax.get_legend().get_texts()} >= {"wall time (s)", "io waits, 99 %"}


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    chance = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        low, high = sweeping._mean_interval(chance.normal(1.0, 0.1, 7), 0.95)
        covered += low <= 1.0 <= high
    assert covered >= 300 * 0.9
