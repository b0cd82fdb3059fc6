"""Handmade traces and the text reports expected of them: ``tests/data/report-NAME.txt``.

``python -m tests.support.golden_reports`` writes those files anew. Read the difference before it is
committed: each line of it is a change that users see.
"""

from collections.abc import Callable
from pathlib import Path, PurePath

import pandas as pd
import pyarrow as pa

from gilscope.report import comparison, sweep, text
from gilscope.tables import schema
from gilscope.tables.stored import Tables
from tests.support.drawn.rows import Interval, Sample, Site, SwitchInterval, Thread, Trace
from tests.support.drawn.traces import MS, history, of_gils, round_robin, sampled
from tests.support.oracles import transitions as oracle

DATA = Path(__file__).parents[1] / "data"

VERSIONS = {"gilscope_version": "1.2.3", "python_version": "3.14.0", "not_measured": []}
WIDE = "決済処理ワーカースレッド第一号機東日本データセンター"
LONG = "a_script_whose_name_is_as_long_as_names_of_scripts_get.py"


def named(trace: Trace, *names: str) -> Trace:
    """Return a trace whose threads have these names."""
    return trace.but(threads=[t._replace(name=names[t.thread]) for t in trace.threads])


def convoy(cpu: str = "cpu", io: str = "io", file: str = "/app/convoy.py", function: str = "crunch") -> Trace:
    """Return a thread that computes, and one that comes back 20 times and waits 5 ms for it."""
    steps, time = [("acquire", 0, 0)], 0
    for _ in range(20):
        asked, let_go = time + MS, time + 6 * MS + 10_000
        steps += [("request", 1, asked), ("drop", 1, asked + 5 * MS), ("release", 0, let_go)]
        steps += [("acquire", 1, let_go + 2_000), ("request", 0, let_go + 5_000)]
        time = let_go + MS // 2
        steps += [("release", 1, time), ("acquire", 0, time + 3_000)]
        time += 3_000
    trace = of_gils([oracle.fold(history(*steps), time + MS)], time + MS)
    sites = [Site(0, None, function, file, 30, 28), Site(1, None, "fetch", file, 41, 40)]
    located = [i._replace(site=i.thread if i.state == "run" else 1 - i.thread) for i in trace.intervals]
    return named(trace.but(intervals=located, sites=sites), cpu, io)


def several_gils() -> Trace:
    """Return a crowd with the main GIL, and eight interpreters with a thread and a GIL each."""
    crowd = round_robin(2, 10, hold=5 * MS)
    alone = [Interval(10 + i, i, "run", 0, (100 - 10 * i) * MS, "voluntary") for i in range(1, 9)]
    threads = [Thread(10 + i, f"worker {i}", 0, (100 - 10 * i) * MS, None, i) for i in range(1, 9)]
    return crowd.but(threads=[*crowd.threads, *threads], intervals=[*crowd.intervals, *alone])


def lost() -> Trace:
    """Return a trace in which the transitions of 10 ms were lost."""
    samples = [Sample(n * 10 * MS, dropped=int(n == 5)) for n in range(1, 11)]
    return round_robin(2, 9, hold=5 * MS).but(samples=samples, duration=100 * MS)


def changing_interval() -> Trace:
    """Return a trace in which the program sets the switch interval five times."""
    changes = [SwitchInterval(n * 10 * MS, n * MS, 0, "call") for n in range(1, 6)]
    return round_robin(2, 10, hold=5 * MS).but(switch_intervals=[SwitchInterval(0, 5 * MS), *changes])


def child(pid: int, argv: list[str], begins_ms: int, held_ms: int) -> Tables:
    """Return the trace of a child process that lasts 100 ms."""
    threads = pa.Table.from_pylist([{"thread": 0, "run_ns": held_ms * MS}], schema=schema.TABLES["threads"])
    metadata = {"pid": pid, "ppid": 10, "argv": argv, "start_monotonic_ns": begins_ms * MS, "complete": True}
    home = PurePath("run.gilscope", "children", str(pid))
    return Tables(
        None, {**metadata, "edges": "exact", "duration_ns": 100 * MS}, {"threads": threads}, home=home
    )


def family() -> Tables:
    """Return the trace of a process with 18 children."""
    processes = [child(100 + n, [f"/app/{'worker' * n}.py"], 5 * n, n) for n in range(17)]
    processes.append(child(200, ["-m", "http.server", "8000"], 50, 99))
    parent = one_thread().recording(**VERSIONS)
    tables = {name: parent.table(name) for name in schema.TABLES}
    home = PurePath("run.gilscope")
    return Tables(None, parent.metadata, tables, home=home, children=lambda: processes)


def one_thread() -> Trace:
    """Return a thread that lets the GIL go once."""
    holds = [Interval(0, 0, "run", 0, 60 * MS, "voluntary"), Interval(0, 0, "run", 90 * MS, 10 * MS, "open")]
    return Trace(100 * MS, [Thread(0, "MainThread", 0, 100 * MS)], holds)


def doubtful() -> Tables:
    """Return a trace with notes, one of which has a control character in it."""
    notes = [
        "the last 50 ms before a kill are missing",
        "the thread \x1b[2J had no name, and " + "so on " * 20,
    ]
    return one_thread().recording(**{**VERSIONS, "not_measured": notes})


def compared() -> str:
    """Return the comparison of a trace with one of a shorter switch interval, and of repeats of both."""
    before, after = convoy(), round_robin(2, 10)
    one, other = (trace.recording(**VERSIONS) for trace in (before, named(after, WIDE, "io")))
    return comparison.render(one, other) + "\n" + comparison.render([one, one], [other, other])


def swept() -> str:
    """Return a sweep over two intervals in which a thread with a wide name waits."""
    columns = ("interval_ns", "runs", "metric", "metric_low", "metric_high", "handoffs_per_s")
    names = (*columns, "overhead_share", "wait_p99_ns_io", f"wait_p99_ns_{WIDE}", "wait_p99_ns_quick")
    runs = [
        (0.5e6, 7, 0.1234, 0.1201, 0.1267, 1234.5, 0.012, 6e5, 7e6, 0),
        (5e6, 7, 1, 0.9, 1.1, 98.7, 0.0012),
    ]
    padded = [(*run, *[None] * (len(names) - len(run))) for run in runs]
    return sweep.render(pd.DataFrame(padded, columns=names), "requests answered in a second (1/s)")


def report(trace: Trace | Tables) -> str:
    """Return the report of a trace."""
    return text.render(trace if isinstance(trace, Tables) else trace.recording(**VERSIONS))


REPORTS: dict[str, Callable[[], str]] = {
    "empty": lambda: report(Trace(0, switch_intervals=[])),
    "empty-sampled": lambda: report(Trace(0, edges="sampled")),
    "one-thread": lambda: report(one_thread()),
    "two-busy-threads": lambda: report(named(round_robin(2, 10, hold=5 * MS), "MainThread", "worker")),
    "convoy": lambda: report(convoy()),
    "forty-threads": lambda: report(round_robin(40, 2)),
    "several-gils": lambda: report(several_gils()),
    "children": lambda: report(family()),
    "sampled": lambda: report(sampled(round_robin(3, 20, hold=5 * MS))),
    "lost-transitions": lambda: report(lost()),
    "changing-interval": lambda: report(changing_interval()),
    "notes": lambda: report(doubtful()),
    "long-names": lambda: report(convoy("a" * 60, "b" * 60, f"/app/{LONG}", "a_function_of_some_length" * 2)),
    "wide-names": lambda: report(
        convoy(WIDE, "通知配信", "/app/画像変換バックグラウンド処理.py", "計算する")
    ),
    "comparison": compared,
    "sweep": swept,
}
"""What is expected, by the name of its file."""


def file(name: str) -> Path:
    """Return the file that keeps an expected report."""
    return DATA / f"report-{name}.txt"


if __name__ == "__main__":
    for name, make in REPORTS.items():
        file(name).write_text(make(), encoding="utf-8")
