"""Traces made on purpose to do harm, each with every checksum right."""

import io
import json
import os
import socket
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import gilscope
import gilscope.cli
import gilscope.tables
from gilscope import report, schema, spool
from gilscope.analysis.windows import timeline
from gilscope.arrowfile import open_batches
from gilscope.errors import TraceFormatError
from gilscope.spans import Coverage
from tests.fuzz import files as f
from tests.fuzz import victim
from tests.fuzz.mutations import NASTY_VALUES, arrow, join, split
from tests.fuzz.seeds import seeds, unfinished
from tests.support.spools import START_NS, Spool, appears, says

RECORDED = 4
"""The seed that is a trace with tables, recorded with exact edges."""


@pytest.fixture
def load(tmp_path):
    """Return what loads files as a trace."""

    def run(files: f.Files) -> gilscope.Trace:
        return gilscope.load(f.write(files, tmp_path / "t.gilscope"))

    return run


def table_of(files: f.Files, name: str) -> pa.Table:
    return pa.ipc.open_file(pa.py_buffer(files[f"{name}.arrow"])).read_all()


def with_file(name: str, data: bytes) -> f.Files:
    return f.mend({**seeds()[RECORDED], f"{name}.arrow": data})


def with_column(name: str, column: str, values: list[object]) -> f.Files:
    table = table_of(seeds()[RECORDED], name)
    values = (values * table.num_rows)[: table.num_rows]
    at = table.column_names.index(column)
    return with_file(
        name, arrow(table.set_column(at, column, pa.array(values, schema.TABLES[name].field(column).type)))
    )


# ---- things that are no files ----


def fifo(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        # A path for a socket has to be short.
        here = os.open(path.parent, os.O_RDONLY)
        s.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


NO_FILES = {
    "folder": Path.mkdir,
    "fifo": fifo,
    "socket": listening,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "nowhere": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("name", ["metadata.json", "spool.bin", "intervals.arrow", "threads.arrow"])
@pytest.mark.parametrize("what", NO_FILES)
def test_what_is_no_file_is_refused_at_once(tmp_path, name, what):
    path = f.write(seeds()[RECORDED], tmp_path / "t")
    (path / name).unlink(missing_ok=True)
    NO_FILES[what](path / name)

    with pytest.raises(TraceFormatError, match=str(path)):
        _ = gilscope.load(path).intervals


def test_a_folder_that_is_no_folder(tmp_path):
    fifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", "loop", "x" * 300, "nul\0"):
        with pytest.raises(TraceFormatError):
            gilscope.load(tmp_path / name)


# ---- metadata ----

USED = sorted(json.loads(seeds()[RECORDED][f.METADATA]).keys() - {"crc32"})


@pytest.mark.parametrize("key", USED)
def test_a_key_of_any_kind_is_refused_or_used(tmp_path, key):
    whole = json.loads(seeds()[RECORDED][f.METADATA])
    done = 0
    for i, value in enumerate(NASTY_VALUES):
        path = f.write(f.with_metadata(seeds()[RECORDED], {**whole, key: value}), tmp_path / str(i))
        try:
            t = gilscope.load(path)
            t.report().encode()
            t.report(format="json")
        except TraceFormatError as error:
            assert str(path) in str(error)
        else:
            done += 1
    assert done < len(NASTY_VALUES)  # numbers that are none are refused in any key


@pytest.mark.parametrize(
    "key", ["duration_ns", "edges", "files", "gilscope_version", "not_measured", "python_version"]
)
def test_a_missing_key_is_named(load, key):
    content = f.metadata(seeds()[RECORDED])
    del content[key]

    with pytest.raises(TraceFormatError, match=key):
        load(f.with_metadata(seeds()[RECORDED], content))


def test_a_table_without_a_checksum_is_refused(load):
    content = f.metadata(seeds()[RECORDED])
    del content["files"]["samples.arrow"]

    with pytest.raises(TraceFormatError, match=r"samples\.arrow"):
        load(f.with_metadata(seeds()[RECORDED], content))


@pytest.mark.parametrize("depth", [33, 500, 900])
def test_deep_metadata_is_refused(load, depth):
    deep: object = 1
    for _ in range(depth):
        deep = [deep]

    with pytest.raises(TraceFormatError, match="levels"):
        load(f.with_metadata(seeds()[RECORDED], {**f.metadata(seeds()[RECORDED]), "deep": deep}))


def test_metadata_without_end_is_not_read(tmp_path):
    path = f.write(seeds()[RECORDED], tmp_path / "t")
    os.truncate(path / f.METADATA, 1 << 40)

    with pytest.raises(TraceFormatError, match="at most 16777216 bytes"):
        gilscope.load(path)


# ---- Arrow files ----


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_bomb_is_not_unpacked(load, compression):
    zeros = pa.table([pa.array(np.zeros(1 << 23, np.int64))] * 4, schema=schema.SAMPLES)
    bomb = arrow(zeros, compression)
    assert len(bomb) < zeros.nbytes / 100
    before = pa.total_allocated_bytes()

    with pytest.raises(TraceFormatError, match=r"samples.*compressed"):
        _ = load(with_file("samples", bomb)).samples
    assert pa.total_allocated_bytes() - before < len(bomb) + 4096


def test_a_compressed_dictionary_is_found(load):
    table = table_of(seeds()[RECORDED], "intervals")
    words = pa.array(["run", "wait", *["x" * 1000] * 1000])
    state = pa.chunked_array(
        [pa.DictionaryArray.from_arrays(pa.array([0] * table.num_rows, pa.int16()), words)]
    )
    padded = arrow(pa.table({"state": state}), "zstd")

    with pytest.raises(TraceFormatError, match="compressed"):
        _ = load(with_file("intervals", padded)).intervals


def test_offsets_that_point_outside_are_refused(load):
    table = table_of(seeds()[RECORDED], "threads")
    lengths = [len(name) for name in table["name"].to_pylist()]
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32).tobytes()
    data = arrow(table)
    assert data.count(offsets) == 1

    with pytest.raises(TraceFormatError, match=r"threads\.arrow"):
        _ = load(
            with_file(
                "threads", data.replace(offsets, offsets[:4] + struct.pack("<i", 1 << 30) + offsets[8:])
            )
        ).threads


def test_names_that_are_no_text_are_refused(load):
    data = arrow(table_of(seeds()[RECORDED], "threads"))
    assert b"MainThread" in data

    with pytest.raises(TraceFormatError, match=r"threads\.arrow"):
        _ = load(with_file("threads", data.replace(b"MainThread", b"\xff\xfeinThread"))).threads


def test_words_that_are_not_in_the_dictionary_are_refused(load):
    table = table_of(seeds()[RECORDED], "intervals")
    codes = np.concatenate([np.asarray(c.indices) for c in table["state"].chunks]).astype(np.int8).tobytes()
    data = arrow(table.combine_chunks())
    assert codes in data

    with pytest.raises(TraceFormatError, match=r"intervals\.arrow"):
        _ = load(with_file("intervals", data.replace(codes, b"\x7f" * len(codes)))).intervals


WRONG = [
    ("threads", "thread", [1]),
    ("threads", "thread", [None]),
    ("intervals", "thread", [2**31 - 1]),
    ("intervals", "thread", [-1]),
    ("intervals", "thread", [None]),
    ("intervals", "state", [None]),
    ("intervals", "state", ["sleep"]),
    ("intervals", "interpreter", [-1]),
    ("intervals", "start_ns", [-1]),
    ("intervals", "duration_ns", [2**60]),
    ("intervals", "duration_ns", [2**63 - 1]),
    ("handoffs", "to_thread", [9]),
    ("handoffs", "waiters", [-1]),
    ("handoffs", "acquire_ns", [2**40]),
    ("threads", "last_ns", [2**40]),
    ("switch_intervals", "interval_ns", [-5]),
    ("switch_intervals", "source", ["elsewhere"]),
    ("samples", "time_ns", [5, 4]),
    ("samples", "dropped", [-1]),
]


@pytest.mark.parametrize(("name", "column", "values"), WRONG)
def test_values_that_no_trace_has_are_refused(load, name, column, values):
    t = load(with_column(name, column, values))

    with pytest.raises(TraceFormatError, match=rf"{name}\.arrow: .*{column}"):
        t.table(name)


def test_batches_are_looked_at_like_whole_tables(load):
    t = load(with_column("intervals", "thread", [99]))

    with pytest.raises(TraceFormatError, match="'thread': expected values from 0"):
        list(t.batches("intervals"))


def test_an_index_that_repeats_a_batch_is_not_believed(load):
    """The index at the end of an Arrow file may list a batch as often as it likes; batches are read once."""
    samples = table_of(seeds()[RECORDED], "samples")
    data = arrow(samples)
    footer_size = struct.unpack("<i", data[-10:-6])[0]
    nonsense = data[: -10 - footer_size] + b"\xff" * footer_size + data[-10:]

    assert load(with_file("samples", nonsense)).samples.equals(samples)


def test_a_file_of_another_size_is_not_read(tmp_path):
    path = f.write(seeds()[RECORDED], tmp_path / "t")
    os.truncate(path / "intervals.arrow", 1 << 42)

    with pytest.raises(TraceFormatError, match=r"intervals\.arrow: damaged: .* found 4398046511104 bytes"):
        _ = gilscope.load(path).intervals


# ---- spools ----

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
    monkeypatch.setattr("gilscope.names.MOST_THREADS", 100)
    s = Spool().batch(0).batch(10, [(spool.THREAD, n, n, 1) for n in range(101)])

    with pytest.raises(TraceFormatError, match="more than 100 threads"):
        load(made(s))


def test_threads_told_of_that_never_appear_are_bounded(load, monkeypatch):
    monkeypatch.setattr("gilscope.names.MOST_THREADS", 100)
    s = Spool(flags=spool.OBSERVED).batch(0).batch(10, [(spool.NAME, 0, n, 1) for n in range(101)])

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
    monkeypatch.setattr("gilscope.tables.CHUNK_RECORDS", 100)
    chunks = []
    original = gilscope.tables.Conversion._convert

    def spy(self, chunk):
        chunks.append(sum(len(b.states) for b in chunk))
        original(self, chunk)

    monkeypatch.setattr("gilscope.tables.Conversion._convert", spy)
    s = Spool(flags=spool.OBSERVED)
    for i in range(10):
        s.batch(i + 1, states=[(n, spool.STATE_WAIT) for n in range(60)])
    load(made(s.last(20), edges="sampled"))

    assert max(chunks) <= 160


def test_everything_bears_a_trace_of_nothing(tmp_path):
    path = f.write(made(Spool()), tmp_path / "t")

    assert victim.use(path, html=True) > 20


# ---- names ----

NAMES = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "' onmouseover='x' \" onload=\"y",
    "]]>--><!--${7*7}{{7*7}}`",
    "line\u2028para\u2029next\x85",
    "\x1b[2J\x1b]0;title\x07\x9b31m\rover",
    "\u202eevil",
    "[/bold][red]",
    "$\\frac{x",
    "\\u0000 \\x1b",
]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    s = Spool(interval_us=5).batch(0)
    records = [(spool.BEGIN, 0, 0, 1)]
    for i in range(len(NAMES)):
        records += [*appears(i, 7 + i, 1), *says(i, 7 + i, NAMES[i], 1)]
    time = 10
    for turn in range(40):
        for i in range(len(NAMES)):
            after = (i + 1) % len(NAMES)
            records += [(spool.REQUEST, after, 5, time), (spool.DROP_REQUEST, after, 0, time + 6_000)]
            records += [(spool.RELEASE, i, 0, time + 6_100), (spool.ACQUIRE, after, 0, time + 6_200 + turn)]
            time += 7_000
    script = "<b>evil</b>\x1b[1m"
    call = [(spool.INTERVAL, 0, 500, time), (spool.INTERVAL_WAS, 0, 5, time), (spool.LINE, 0, 3, time)]
    text = script.encode() + b"\0" * 4
    call += [
        (spool.TEXT, 0, int.from_bytes(text[i : i + 4], "little"), time) for i in range(0, len(script) + 1, 4)
    ]
    s.batch(time + 1, [*records, *call, (spool.END, 0, 0, time + 1)]).last(time + 2)
    words = dict.fromkeys(("gilscope_version", "python_version", "platform", "host"), NAMES[5] + NAMES[0])
    facts = {**words, "argv": NAMES, "not_measured": NAMES}
    return gilscope.load(f.write(made(s, **facts), tmp_path_factory.mktemp("named") / "t"))


def test_names_come_through_whole(named):
    assert named.threads["name"].to_pylist() == NAMES


def test_a_terminal_gets_no_control_characters(named):
    text = named.report()

    assert "\\x1b[2J" in text
    assert not [c for c in text if c != "\n" and not c.isprintable()]


def test_an_error_that_quotes_a_trace_sends_no_control_characters(tmp_path, capsys):
    files = f.with_metadata(seeds()[0], {**f.metadata(seeds()[0]), "edges": "\x1b[2J\x9b"})
    path = f.write(files, tmp_path / "evil\x1b[1m")

    assert gilscope.cli.main(["report", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gilscope: ")
    assert not [c for c in said if c != "\n" and not c.isprintable()]


def test_json_gives_names_back(named):
    figures = json.loads(named.report(format="json"))

    assert [row["thread_name"] for row in figures["threads"]] == NAMES
    assert figures["metadata"]["not_measured"][: len(NAMES)] == NAMES


def test_the_timeline_is_json_with_the_names_in_it(named, tmp_path):
    events = json.loads(named.to_viztracer(tmp_path / "t.json").read_text())["traceEvents"]

    shown = [e["args"]["name"].removeprefix("GIL ") for e in events if e["name"] == "thread_name"]
    for name in NAMES:
        plain = "".join(c for c in name if c.isprintable())
        assert any(
            plain == "".join(c for c in s if c.isprintable() and not 0x2400 <= ord(c) < 0x2440)[: len(plain)]
            for s in shown
        )


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.words = set(), set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.words.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data!r}")

    unknown_decl = handle_pi = handle_comment


def test_the_page_has_no_element_and_no_attribute_from_the_trace(named):
    page = Tags()
    text = named.report(format="html")
    page.feed(text)

    assert "script" not in page.tags
    structure = {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "section",
        "div",
        "p",
        "b",
        "ul",
        "li",
        "img",
        "code",
    }
    assert page.tags <= structure | {
        "h1",
        "h2",
        "dl",
        "dt",
        "dd",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert page.attributes <= {
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "alt",
        "src",
        "style",
        "scope",
    }
    assert "<script>alert(1)</script>" in "".join(page.words)
    assert not [c for c in text if c != "\n" and not c.isprintable()]


def test_a_sweep_shows_names_as_they_are():
    columns = {"interval_ns": 5e6, "runs": 3, "metric": 1.0, "metric_low": 1.0, "metric_high": 1.0}
    summary = pd.DataFrame([{**columns, "wait_p99_ns_[/x]\x1b": 1e6}])

    assert "[/x]\\x1b p99" in report.sweep(summary, "wall")


def test_a_compressed_table_that_says_so_late_is_found(tmp_path):
    """Not the first batch but the last is compressed."""
    plain, packed = io.BytesIO(), io.BytesIO()
    table = pa.table([pa.array(range(1000), pa.int64())] * 4, schema=schema.SAMPLES)
    for out, compression in ((plain, None), (packed, "zstd")):
        with pa.ipc.new_stream(
            out, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
        ) as writer:
            writer.write_table(table)
    first = [m.serialize().to_pybytes() for m in messages(plain.getvalue())]
    late = [m.serialize().to_pybytes() for m in messages(packed.getvalue())][1:]
    data = b"ARROW1\0\0" + b"".join([*first, *late]) + b"\xff\xff\xff\xff\0\0\0\0"

    (tmp_path / "late").write_bytes(data)
    with (tmp_path / "late").open("rb") as file, pytest.raises(ValueError, match="compressed"):
        open_batches(file)


def messages(data: bytes):
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return
