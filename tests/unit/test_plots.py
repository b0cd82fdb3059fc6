"""Pictures: what is in them, what they are labelled with, and what they refuse."""

import sys
import threading

import numpy as np
import pyarrow as pa
import pytest

import gilscope
from gilscope import plots
from gilscope.errors import GilscopeError, OptionError
from gilscope.tables import schema
from gilscope.tables.stored import Tables
from tests.support.drawn.timelines import HOSTILE_NAMES, recording, two_at_a_time

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

pytestmark = pytest.mark.extremes

ALL = [plots.timeline, plots.handoff_latency, plots.threads, plots.usage]
MS = 1_000_000


@pytest.fixture(scope="module")
def real():
    """A trace of two threads that want the GIL at the same time."""
    done = threading.Barrier(2)

    def work():
        done.wait()
        sum(range(200_000))

    with gilscope.trace(None) as t:
        workers = [threading.Thread(target=work, name=f"worker {i}") for i in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return t


def made(rows, names=("a", "b"), duration_ms=100, edges="exact", **tables):
    t = recording(rows, names, edges=edges, duration_ns=duration_ms * MS)
    more = {
        name: pa.Table.from_pylist(content, schema=schema.TABLES[name]) for name, content in tables.items()
    }
    return Tables(None, t.metadata, {"intervals": t.intervals, "threads": t.threads, **more})


def handoff(request, release, acquire, old=0, new=1):
    times = {"request_ns": request, "release_ns": release, "acquire_ns": acquire}
    gap = {"gap_ns": acquire - release, "forced": False, "waiters": 1}
    return {"interpreter": 0, "from_thread": old, "to_thread": new, **times, **gap}


def a_turn():
    """Thread 0 runs for 40 ms while thread 1 waits 30 of them; then thread 1 runs for 50."""
    rows = [
        (0, "run", 0, 40 * MS, "voluntary"),
        (1, "wait", 10 * MS, 31 * MS, None),
        (1, "run", 41 * MS, 50 * MS, "open"),
    ]
    return made(
        rows,
        handoffs=[handoff(10 * MS, 40 * MS, 41 * MS)],
        switch_intervals=[{"time_ns": 0, "interval_ns": 5 * MS, "source": "start"}],
    )


def draw(ax):
    FigureCanvasAgg(ax.figure).draw()
    return ax


def by_gid(ax, gid):
    return [c for c in ax.collections if c.get_gid() == gid]


def lanes(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def marks(ax):
    legend = ax.get_legend()
    colors = [
        to_hex(h.get_facecolor() if hasattr(h, "get_facecolor") else h.get_color())
        for h in legend.legend_handles
    ]
    return dict(zip([text.get_text() for text in legend.get_texts()], colors, strict=True))


def explanations(ax):
    return [text.get_text() for text in ax.texts]


def twin(ax):
    return next(other for other in ax.figure.axes if other is not ax)


@pytest.mark.parametrize("plot", ALL)
def test_the_axes_given_are_drawn_on_and_returned(plot, real):
    figure = Figure(layout="constrained")
    ax = figure.subplots(2)[1]

    assert plot(real, ax=ax) is ax
    draw(ax)


@pytest.mark.parametrize("plot", ALL)
def test_a_figure_of_its_own_can_be_written_and_touches_no_backend(plot, real, tmp_path):
    before = sys.modules.get("matplotlib.pyplot")
    plot(real).figure.savefig(tmp_path / "picture.png")

    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert sys.modules.get("matplotlib.pyplot") is before


@pytest.mark.parametrize("plot", ALL)
def test_every_picture_has_a_title_a_unit_and_a_legend(plot, real):
    ax = draw(plot(real))

    assert ax.get_title(loc="left")
    assert any(unit in ax.get_xlabel() for unit in ("(s)", "(%)", "(time, log scale)"))
    assert marks(ax)


@pytest.mark.parametrize("plot", ALL)
@pytest.mark.parametrize(
    "t",
    [
        Tables(None, {"edges": "exact", "duration_ns": 0}),
        made([], [], 0),
        made([], ["alone"], 0, "sampled"),
        made([], ["alone"]),
        made([(0, "run", 0, 100 * MS, "open")], ["alone"]),
        made([(0, "run", 0, 90 * MS, None), (1, "wait", 0, 90 * MS, None)], edges="sampled"),
    ],
    ids=["no tables", "empty", "empty sampled", "idle", "one thread", "sampled"],
)
def test_small_traces_draw(plot, t):
    draw(plot(t))


@pytest.mark.parametrize("plot", [plots.timeline, plots.threads])
def test_hostile_names_are_drawn_as_they_are_without_warnings(plot):
    names = [*HOSTILE_NAMES, "$x^2$", "a$b", "\\frac{$"]
    ax = draw(plot(made(two_at_a_time(100, len(names), MS), names)))

    assert {"$x^2$", "a$b", "\\frac{$", "</script><b>&amp;"} <= set(lanes(ax))
    assert r"größer · \u7dda\u7a0b \...".replace("...", "\N{HORIZONTAL ELLIPSIS}") in lanes(ax)
    assert all(name.isprintable() and len(name) <= 24 for name in lanes(ax))


def test_a_word_has_one_color_everywhere(real):
    found = [marks(plot(real)) for plot in ALL]
    words = {word.lower(): color.lower() for word, color in plots.COLORS.items()}

    assert {word: found[0][word].lower() for word in ("run", "wait", "off")}.items() <= words.items()
    assert {word: found[2][word].lower() for word in ("run", "wait", "off")}.items() <= words.items()
    assert found[1]["hand-offs"].lower() == found[3]["waiting"].lower() == words["wait"]
    assert found[3]["held (run)"].lower() == words["run"]
    assert found[3]["overhead"].lower() == words["overhead"]
    assert len(set(words.values())) == 4


def test_the_timeline_has_a_bar_for_each_run_and_wait():
    ax = draw(plots.timeline(a_turn(), width=0.1))

    assert lanes(ax) == ["a", "b"]
    bars = {gid: len(by_gid(ax, gid)[0].get_paths()) for gid in ("run 0", "wait 1", "run 1")}
    assert bars == {"run 0": 1, "wait 1": 1, "run 1": 1}
    assert by_gid(ax, "wait 0") == []
    (lines,) = by_gid(ax, "handoffs")
    np.testing.assert_allclose(lines.get_segments(), [[(0.040, 0), (0.041, 1)]])
    assert ax.get_title(loc="left") == "Timeline of the whole trace"
    assert list(marks(ax)) == ["run", "wait", "off", "hand-off"]


def test_the_timeline_shows_where_threads_wait_most_or_the_given_instant():
    assert plots.timeline(a_turn(), width=0.02).get_xlim() == pytest.approx((0.010, 0.030))
    assert plots.timeline(a_turn(), around=0.06, width=0.02).get_xlim() == pytest.approx((0.05, 0.07))
    # The stretch is moved, not cut, where the trace begins and ends.
    assert plots.timeline(a_turn(), around=0.0, width=0.02).get_xlim() == pytest.approx((0.0, 0.02))
    assert plots.timeline(a_turn(), around=0.1, width=0.02).get_xlim() == pytest.approx((0.08, 0.1))
    assert plots.timeline(a_turn(), width=50).get_xlim() == pytest.approx((0.0, 0.1))


def test_bars_end_where_the_timeline_does():
    ax = plots.timeline(a_turn(), around=0.03, width=0.02)
    (bar,) = by_gid(ax, "run 0")[0].get_paths()

    assert (bar.vertices[:, 0].min(), bar.vertices[:, 0].max()) == pytest.approx((0.02, 0.04))


def test_lives_are_drawn_in_the_color_of_off():
    t = a_turn()
    rows = [{"thread": 0, "name": "a", "first_ns": 0, "last_ns": 90 * MS}, {"thread": 1, "name": "b"}]
    tables = {
        "threads": pa.Table.from_pylist(rows, schema=schema.TABLES["threads"]),
        "intervals": t.intervals,
    }
    (life,) = by_gid(plots.timeline(Tables(None, t.metadata, tables)), "life")

    assert to_hex(life.get_colors()[0]) == plots.OFF_COLOR.lower()
    np.testing.assert_allclose(life.get_segments(), [[(0, 0), (0.09, 0)]])


@pytest.mark.parametrize("plot", [plots.timeline, plots.threads])
def test_of_many_threads_the_busiest_are_shown(plot):
    rows = [(i, "run", i * MS, (2 if i == 39 else 1) * MS // 2, "voluntary") for i in range(40)]
    ax = draw(plot(made(rows, [f"t{i}" for i in range(40)])))

    assert len(lanes(ax)) == plots.MOST_LANES
    assert lanes(ax)[-1 if plot is plots.timeline else 0] == "t39"
    assert ax.get_ylabel() == "the 30 busiest of 40 threads"


def test_a_lane_with_too_many_bars_shows_shares():
    n = plots.MOST_BARS + 2
    rows = [(0, "run", i * 10_000, 2_500, "voluntary") for i in range(n)]
    ax = draw(plots.timeline(made(rows, ["busy"], duration_ms=21)))
    (area,) = by_gid(ax, "run 0")
    (path,) = area.get_paths()

    assert len(path.vertices) < 5000
    assert np.ptp(path.vertices[:, 1]) < 0.8  # never all of a pixel
    whole = np.unique(path.vertices[:, 1])
    assert whole.min() > -0.4 and whole.max() == pytest.approx(0.4)


def test_many_handoffs_are_not_drawn_one_by_one():
    rows = [handoff(i * 1000, i * 1000 + 10, i * 1000 + 20) for i in range(plots.MOST_LINES + 1)]
    ax = plots.timeline(made([(0, "run", 0, 90 * MS, None), (1, "wait", 0, 9, None)], handoffs=rows))

    assert by_gid(ax, "handoffs") == []
    assert "hand-off" not in marks(ax)


def test_handoff_latency_counts_waits_and_marks_the_interval():
    handoffs = [handoff(i * MS, i * MS + 40_000, i * MS + 50_000) for i in range(9)]
    handoffs += [handoff(20 * MS, 24 * MS, 25 * MS), handoff(None, 30 * MS, 31 * MS)]
    intervals = [{"time_ns": 0, "interval_ns": 5 * MS, "source": "start"}]
    ax = draw(plots.handoff_latency(made([], handoffs=handoffs, switch_intervals=intervals)))

    counts = sorted(bar.get_height() for bar in ax.patches if bar.get_height())
    assert counts == [1, 9]
    assert [line.get_xdata()[0] for line in ax.lines] == [5 * MS]
    assert "switch interval 5.00 ms" in marks(ax)
    (cumulated,) = twin(ax).lines
    np.testing.assert_allclose(cumulated.get_ydata()[[0, -2, -1]], [0, 90, 100])
    assert cumulated.get_xdata()[-1] == 5 * MS
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["10 us", "100 us", "1 ms", "10 ms"]
    assert ax.get_title(loc="left") == "Waits that ended in a hand-off: 10"


def test_handoff_latency_takes_the_table_alone(real):
    ax = plots.handoff_latency(real.handoffs)
    assert len(ax.lines) == 0  # it knows of no switch interval


def test_of_many_switch_intervals_the_longest_in_force_are_marked():
    changes = [(0, 5), (10, 1), (20, 2), (25, 3), (28, 5)]
    rows = [{"time_ns": a * MS, "interval_ns": b * MS, "source": "call"} for a, b in changes]
    ax = draw(plots.handoff_latency(made([], switch_intervals=rows)))

    assert [line.get_xdata()[0] // MS for line in ax.lines] == [5, 1, 2]
    assert list(marks(ax))[-1] == "switch interval 2.00 ms (and 1 more)"


def test_without_waits_the_picture_says_so():
    assert explanations(plots.handoff_latency(made([]))) == ["no hand-off ended a wait"]
    sampled = made([], edges="sampled", handoffs=[handoff(None, 1, 2)])
    assert explanations(plots.handoff_latency(sampled)) == ["sampled edges do not show single waits"]


def test_shares_of_threads_add_up_and_the_busiest_is_on_top():
    ax = draw(plots.threads(a_turn()))

    assert lanes(ax) == ["b", "a"]
    widths = {c.get_label(): [bar.get_width() for bar in c] for c in ax.containers}
    assert list(widths) == ["run", "wait", "off"]
    np.testing.assert_allclose(np.sum(list(widths.values()), axis=0), [100, 100])
    assert widths["wait"] == pytest.approx([100 * 31 / 81, 0])
    assert [to_hex(c[0].get_facecolor()) for c in ax.containers] == [
        plots.COLORS[word].lower() for word in ("run", "wait", "off")
    ]


def test_usage_shows_shares_and_waiters():
    ax = draw(plots.usage(a_turn(), window=0.05))
    held, lost = (by_gid(ax, gid)[0].get_paths()[0].vertices for gid in ("run", "overhead"))

    assert sorted(set(np.round(held[:, 1], 6))) == [0, 82, 98]  # 41 of the last 50 ms, 49 of the first
    assert lost[:, 1].max() == pytest.approx(100)  # 1 ms of the first 50
    (waiting,) = twin(ax).lines
    np.testing.assert_allclose(waiting.get_ydata(), [31 / 50, 0, 0])
    assert ax.get_xlim() == pytest.approx((0, 0.1))
    assert twin(ax).get_ylabel() == "threads waiting (mean)"


def test_usage_takes_a_hundredth_of_the_trace():
    ax = plots.usage(made([(0, "run", 0, 77 * MS + 7, None)], duration_ms=77))
    (waiting,) = twin(ax).lines

    assert len(waiting.get_xdata()) == 101
    assert ax.get_title(loc="left") == "The GIL over time, means over 770 us"


@pytest.mark.parametrize(
    "arguments",
    [
        {"width": 0},
        {"width": -1.0},
        {"width": float("nan")},
        {"width": float("inf")},
        {"width": True},
        {"width": "1"},
        {"around": -0.1},
        {"around": 0.2},
        {"around": float("nan")},
        {"around": "0.05"},
        {"around": True},
    ],
)
def test_timeline_refuses(arguments):
    with pytest.raises(OptionError, match=r"width|around"):
        plots.timeline(a_turn(), **arguments)


@pytest.mark.parametrize("window", [0, -1, True, "thread", float("nan"), 1e-9])
def test_usage_refuses(window):
    with pytest.raises(OptionError, match="window"):
        plots.usage(a_turn(), window=window)


@pytest.mark.parametrize("plot", ALL)
def test_what_is_no_trace_and_what_are_no_axes_are_refused(plot):
    with pytest.raises(OptionError, match="expected a trace"):
        plot(3)
    with pytest.raises(OptionError, match="ax must be matplotlib axes or None, got str"):
        plot(a_turn(), ax="here")


@pytest.mark.parametrize("plot", ALL)
def test_without_matplotlib_it_says_what_to_install(plot, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    assert not plots.available()
    with pytest.raises(GilscopeError, match=r"pip install 'gilscope\[plot\]'"):
        plot(a_turn())
