"""Sweeps over real programs, as a function and as a script."""

import json
import re
import subprocess
import sys
import threading
import time

import pytest

import gilscope

pytestmark = [pytest.mark.clock, pytest.mark.extremes]


def convoy():
    """Thirty round trips of 0.3 ms beside a thread that never releases voluntarily."""
    done = threading.Event()

    def spin():
        n = 0
        while not done.is_set():
            n += 1

    cpu = threading.Thread(target=spin, name="cpu")
    io = threading.Thread(target=lambda: [time.sleep(0.0003) for _ in range(30)], name="io")
    cpu.start()
    io.start()
    io.join()
    done.set()
    cpu.join()


def test_a_convoy_wants_a_small_interval():
    result = gilscope.sweep(convoy, [0.0002, 0.005], repeats=4, quiet=True)
    best = result.best()
    summary = result.summary().set_index("interval_ns")

    # Each of thirty round trips costs an interval, whatever else it costs on a busy machine: 4.8 ms more, but
    # for those in which the other thread was not awake.
    small, usual = (summary.loc[ns, "metric"] for ns in (200_000, 5_000_000))
    assert usual - small >= 30 * 0.0048 / 2
    assert summary.loc[5_000_000, "wait_p50_ns_io"] - summary.loc[200_000, "wait_p50_ns_io"] >= 4_800_000 / 2
    assert best.interval == 0.0002


SCRIPT = """
import sys, threading, time
done = threading.Event()
def spin():
    while not done.is_set():
        pass
cpu = threading.Thread(target=spin)
cpu.start()
begun = time.perf_counter()
for _ in range(20):
    time.sleep(0.0003)
took = time.perf_counter() - begun
done.set()
cpu.join()
print("arguments", sys.argv[1:])
print(20 / took)
"""


def sweep(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "gilscope", "sweep", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def script(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


@pytest.mark.parametrize("bare", [[], ["--no-trace"]])
def test_a_scripts_last_line_may_be_the_metric(script, bare):
    done = sweep(
        *["script.py", "--intervals", "0.2ms,5ms", "--repeats", "3", "--metric", "last-line"],
        *["--better", "higher", *bare, "--", "--some", "argument"],
        cwd=script,
    )
    assert done.returncode == 0, done.stderr
    assert "200 us" in done.stdout
    assert re.search("times better than 5.00 ms|no difference beyond noise", done.stdout)
    assert ("hand-offs/s" in done.stdout) is (bare == [])


def test_traces_of_a_script_can_be_kept(script):
    done = sweep("script.py", "--intervals", "1ms,5ms", "--repeats", "1", "--keep", "kept", "-q", cwd=script)
    assert done.returncode == 0, done.stderr
    metadata = json.loads((script / "kept" / "1.00ms-1.gilscope" / "metadata.json").read_text())
    assert metadata["complete"]


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("raise SystemExit('broken')", [], "status 1:\nbroken"),
        ("print('no number')", ["--metric", "last-line"], "the last line it printed is 'no number'"),
        ("", ["--metric", "last-line"], "the last line it printed is ''"),
        ("", ["--intervals", "5 parsecs"], "is not a duration"),
        ("", ["--intervals", "0ms"], "switch_interval must be"),
        ("", ["--repeats", "0"], "repeats must be"),
        ("", ["--plot", "picture.nonsense", "--repeats", "1", "--intervals", "1ms,5ms"], "cannot be written"),
    ],
)
def test_errors_explain_what_is_wrong(tmp_path, text, arguments, words):
    (tmp_path / "script.py").write_text(text)
    done = sweep("script.py", "--no-trace", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
