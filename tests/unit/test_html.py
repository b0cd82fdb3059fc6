"""The HTML page loads nothing, is well formed, and names of threads cannot break out of it."""

import base64
import ctypes
import re
import sys
import threading
from html.parser import HTMLParser
from pathlib import PurePath

import pyarrow as pa
import pytest

import gilscope
from gilscope import cli, plots
from gilscope.errors import OptionError
from gilscope.report.html import lines as htmllines
from gilscope.report.html import page as html
from gilscope.tables import schema
from gilscope.tables.stored import Tables
from tests.support.drawn.rows import Interval, Site, Thread, Trace
from tests.support.drawn.timelines import HOSTILE_NAMES, recording, two_at_a_time

pytestmark = pytest.mark.extremes

MS = 1_000_000
VOID = {"meta", "img", "br"}
NASTY = [*HOSTILE_NAMES, '"><img src=x onerror=alert(1)>', "<script>alert(1)</script>", "it's & \u202e $x$"]


class Page(HTMLParser):
    """Reads the tags, the text and the tables of a page, and checks that its tags are balanced."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.text = [], [], []
        self.tables: list[list[list[str]]] = []
        self.listings: list[list] = []  # name of a file, and its lines
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "h3":
            self.listings.append(["", []])
        elif tag == "span":
            self.listings[-1][1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if "h3" in self.open:
            self.listings[-1][0] += data
        elif "span" in self.open:
            self.listings[-1][1][-1] += data

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    def table(self, first, second=None):
        """Return the table whose head begins with these words."""
        return next(t for t in self.tables if t[0][0] == first and second in (None, t[0][1]))


@pytest.fixture
def pictures():
    """Draw the pictures of the page: most of the time that a page takes."""


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Leave the pictures out where a test does not ask for them."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(plots, "available", lambda: False)


@pytest.fixture(scope="module")
def real():
    """A trace of two threads that want the GIL at the same time."""
    begin = threading.Barrier(2)

    def work():
        begin.wait()
        sum(range(200_000))

    with gilscope.trace(None) as t:
        workers = [threading.Thread(target=work, name=f"<b>{i}") for i in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return t


def made(rows, names=("a", "b"), duration_ms=100, edges="exact", **metadata):
    return recording(rows, names, edges=edges, duration_ns=duration_ms * MS, **metadata)


def hostile():
    notes = ["<i>a note & more"]
    return made(two_at_a_time(80, len(NASTY), MS), NASTY, not_measured=notes, argv=["<p>.py", "\udc80"])


TRACES = {
    "no tables": Tables(None, {"edges": "exact", "duration_ns": 0}),
    "empty": made([], [], 0),
    "idle": made([], ["alone"]),
    "one thread": made([(0, "run", 0, 100 * MS, "open")], ["alone"]),
    "sampled": made([(0, "run", 0, 90 * MS, None), (1, "wait", 0, 90 * MS, None)], edges="sampled"),
    "empty sampled": made([], ["alone"], 0, "sampled"),
    "hostile": hostile(),
}


def links(page):
    """Return where links lead to; all do on the page, and to one place."""
    anchors = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(set(anchors)) == len(anchors)
    found = [attrs["href"] for _, attrs in page.tags if "href" in attrs]
    assert {link.removeprefix("#") for link in found} <= set(anchors)
    return found


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("name", TRACES)
def test_every_trace_makes_a_page_that_needs_nothing_from_elsewhere(name):
    text = html.render(TRACES[name])
    page = Page(text)

    assert "http://" not in text
    assert "https://" not in text
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "@import" not in text
    assert "url(" not in text
    assert all(attrs["src"].startswith("data:image/png;base64,") for _, attrs in page.tags if "src" in attrs)
    assert links(page) == []
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    text.encode("utf-8")


@pytest.mark.usefixtures("pictures")
def test_a_real_trace_has_every_section(real):
    page = Page(html.render(real))
    words = " ".join(page.text)

    for title in (
        "Findings",
        "How the GIL spent its time",
        "Pictures",
        "Threads",
        "Lines that held the GIL",
        "Which threads made others wait",
        "Longest holds",
        "Convoys",
        "Notes",
    ):
        assert title in words
    for fact in (real.metadata["python_version"], real.metadata["platform"], "exact", " UTC"):
        assert fact in words
    assert {row[0] for row in page.table("thread", "run")[1:]} >= {"MainThread", "<b>0", "<b>1"}
    assert len(page.table("thread", "at")) <= html.MOST_HOLDS + 1


@pytest.mark.usefixtures("pictures")
def test_the_pictures_are_in_the_page(real):
    pytest.importorskip("matplotlib")
    images = Page(html.render(real)).named("img")

    assert len(images) == 4
    for image in images:
        assert image["alt"]
        assert base64.b64decode(image["src"].split(",")[1], validate=True).startswith(b"\x89PNG")


def test_without_matplotlib_everything_else_is_there(real, monkeypatch):
    monkeypatch.setattr(plots, "available", lambda: False)
    page = Page(html.render(real))

    assert page.named("img") == []
    assert "pip install 'gilscope[plot]'" in " ".join(page.text)
    assert page.table("thread", "run")


@pytest.mark.usefixtures("pictures")
def test_without_matplotlib_nothing_of_it_is_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "gilscope[plot]" in html.render(TRACES["one thread"])


@pytest.mark.usefixtures("pictures")
def test_hostile_names_are_text_and_nothing_else():
    text = html.render(TRACES["hostile"])
    page = Page(text)
    names = {row[0] for row in page.table("thread", "run")[1:]}

    assert {"</script><b>&amp;", '"><img src=x onerror=alert(1)>', "<script>alert(1)</script>"} <= names
    assert {"größer · 線程 🧵", r"it's & \u202e $x$", r"tab\tline\nbell\x07null\x00del\x7f"} <= names
    assert "<script" not in text
    assert "<b>&" not in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert "<i>a note & more" in page.text
    assert r"gilscope: <p>.py \udc80" in page.text


def test_the_matrix_is_hot_where_threads_waited():
    rows = [
        (0, "run", 0, 50 * MS, "voluntary"),
        (1, "wait", 10 * MS, 41 * MS, None),
        (1, "run", 51 * MS, 9 * MS, "voluntary"),
        (0, "wait", 58 * MS, 2 * MS, None),
        (0, "run", 60 * MS, 30 * MS, "open"),
    ]
    text = html.render(made(rows))
    table = Page(text).table("waited")

    assert table == [
        ["waited", "a", "b", "free", "in all"],
        ["a", "0", "2.00 ms", "0", "2.00 ms"],
        ["b", "40.0 ms", "0", "1.00 ms", "41.0 ms"],
    ]
    assert 'rgba(230,159,0,0.550)">40.0 ms' in text
    assert 'rgba(230,159,0,0.000)">0' in text


def test_a_large_matrix_adds_up_the_others():
    names = [f"t{i}" for i in range(30)]
    table = Page(html.render(made(two_at_a_time(60, 30, MS), names))).table("waited")

    assert len(table) == html.MOST_BLAMED + 2
    assert table[0][-3:] == ["10 others", "free", "in all"]
    assert table[-1][0] == "10 others"
    assert table[-1][-1] == "20.0 ms"


def test_many_threads_are_cut_with_a_note():
    n = html.MOST_THREADS + 5
    rows = [(i, "run", i * 10_000, 5_000, "voluntary") for i in range(n)]
    text = html.render(made(rows, [f"t{i}" for i in range(n)]))

    assert len(Page(text).table("thread", "run")) == html.MOST_THREADS + 1
    assert "and 5 more" in text


def test_findings_show_their_severity():
    # Two threads that want the GIL all the time and get half of it each.
    rows = [(i % 2, "run", i * 5 * MS, 5 * MS, "forced") for i in range(20)]
    rows += [(i % 2, "wait", (i - 1) * 5 * MS, 5 * MS, None) for i in range(1, 20)]
    t = made(rows)
    page = Page(html.render(t))
    found = gilscope.analysis.findings(t).iloc[0]

    assert found.kind == "saturated"
    assert found.what in page.text and found.advice in page.text and "high" in page.text
    assert {"class": "finding high"} in page.named("div")


def test_convoys_are_listed():
    rows = []
    for i in range(8):
        begin = i * 6 * MS
        rows += [
            (0, "run", begin, 500_000, "voluntary"),
            (1, "run", begin + 500_000, 5_500_000, "forced"),
            (0, "wait", begin + MS, 5 * MS, None),
        ]
    table = Page(html.render(made(rows, ["io", "cpu"], duration_ms=60))).table("thread", "behind")

    assert table[1][:2] == ["io", "cpu"]


def test_sampled_shares_come_with_their_interval():
    page = Page(html.render(TRACES["sampled"]))

    assert re.search(r"90\.0 % \(\d+\.\d to \d+\.\d\)", " ".join(page.text))
    assert "holds" not in page.table("thread", "run")[0]  # not counted
    assert "Sampled edges do not show convoys." in page.text


def test_the_page_shows_how_much_was_lost():
    samples = [
        {"time_ns": i * 10 * MS, "late_ns": 0, "switches": 0, "dropped": int(i == 5)} for i in range(1, 11)
    ]
    t = made([(0, "run", 0, 30 * MS, "voluntary")], ["a"])
    tables = {
        "threads": t.threads,
        "intervals": t.intervals,
        "samples": pa.Table.from_pylist(samples, schema=schema.TABLES["samples"]),
    }
    page = Page(html.render(Tables(None, t.metadata, tables)))

    assert "left out (lost transitions)" in page.text
    assert page.text[page.text.index("left out (lost transitions)") + 1] == "10.0 ms"


def test_the_page_takes_a_path_and_refuses_other_values(tmp_path):
    with gilscope.trace(tmp_path / "t.gilscope"):
        sum(range(1000))

    assert "MainThread" in html.render(tmp_path / "t.gilscope")
    with pytest.raises(OptionError, match="expected a trace"):
        html.render(3)


def test_each_of_several_gils_has_a_line():
    rows = [(0, "run", 0, 60 * MS, "open"), (1, "run", 0, 25 * MS, "voluntary")]
    t = made([*rows, (0, "wait", 90 * MS, 10 * MS, None)])
    gils = pa.array([0, 3, 0], pa.int32())
    intervals = t.intervals.set_column(1, schema.TABLES["intervals"].field("interpreter"), gils)
    page = Page(html.render(Tables(None, t.metadata, {"threads": t.threads, "intervals": intervals})))

    head, *lines = page.table("interpreter", "held")
    assert head == [
        "interpreter",
        "held",
        "free",
        "overhead",
        "hand-offs",
        "forced",
        "steals",
        "threads waiting",
    ]
    assert [line[:4] for line in lines] == [
        ["main", "60.0 %", "40.0 %", "10.0 %"],
        ["3", "25.0 %", "75.0 %", "0.0 %"],
    ]
    assert [line[-1] for line in lines] == ["0.10", "0.00"]
    assert "The figures above add up 2 GILs; each of them:" in page.text


def test_a_single_gil_has_no_table(real):
    assert not [table for table in Page(html.render(real)).tables if table[0][0] == "interpreter"]


class Parent(Tables):
    """A recording made by hand, with recordings of children."""

    def __init__(self, children, **metadata):
        super().__init__(None, made([], [], **metadata).metadata)
        self.list = children

    @property
    def children(self):
        return self.list


class Child(Tables):
    def __init__(self, pid, argv, begins_ms=0, held_ms=0, lasts_ms=100, complete=True):
        t = made([(0, "run", 0, held_ms * MS, "open")], duration_ms=lasts_ms, pid=pid, argv=argv)
        begins = {"start_monotonic_ns": t.metadata["start_monotonic_ns"] + begins_ms * MS}
        threads = pa.Table.from_pylist(
            [{"thread": 0, "run_ns": held_ms * MS}], schema=schema.TABLES["threads"]
        )
        home = PurePath("run.gilscope", "children", str(pid))
        super().__init__(None, t.metadata | begins | {"complete": complete}, {"threads": threads}, home=home)


def test_children_are_listed_by_how_long_they_held():
    children = [
        Child(11, ["/there/work.py", "word"], begins_ms=20, held_ms=5),
        Child(12, ["-m", "http.server"], begins_ms=30, held_ms=20, lasts_ms=40, complete=False),
        Child(13, NASTY[-3:], held_ms=1),
    ]
    text = html.render(Parent(children))
    page = Page(text)

    assert page.table("process") == [
        ["process", "script", "begins", "lasts", "held", "threads", "recording"],
        ["12", "-m http.server", "0.030 s", "40.0 ms", "50.0 %", "1", "cut short"],
        ["11", "work.py", "0.020 s", "100 ms", "5.0 %", "1", "whole"],
        ["13", '"><img src=x onerror=alert(1)>', "0.000 s", "100 ms", "1.0 %", "1", "whole"],
    ]
    assert "Child processes (3)" in page.text
    assert "gilscope report TRACE/children/12" in page.text
    assert "<img src=x" not in text


def test_many_children_are_cut_with_a_note():
    n = html.MOST_CHILDREN + 5
    page = Page(html.render(Parent([Child(1000 + i, ["a.py"], held_ms=i % 50) for i in range(n)])))

    assert len(page.table("process")) == html.MOST_CHILDREN + 1
    assert "and 5 more, which held the GIL for less time" in page.text


def test_a_trace_without_children_has_no_section_for_them(real):
    assert "Child processes" not in html.render(real)


# ---- lines of code ----


def located(file="/app/main.py", function="work", library="/lib/re.py"):
    """A call in a library holds the GIL for 60 ms, and another line of the program for 20 ms."""
    return Trace(
        100 * MS,
        [Thread(0, "a", 0, 100 * MS), Thread(1, "b", 0, 100 * MS)],
        [
            Interval(0, 0, "run", 0, 60 * MS, "forced", 2),
            Interval(1, 0, "wait", 5 * MS, 56 * MS, None, 3),
            Interval(1, 0, "run", 61 * MS, MS, "voluntary", 3),
            Interval(0, 0, "run", 62 * MS, 20 * MS, "voluntary", 4),
            Interval(1, 0, "run", 90 * MS, 10_000, "voluntary", 5),
        ],
        sites=[
            Site(0, None, "(callers not kept)", None, None, None),
            Site(1, None, function, file, 7, 1),
            Site(2, 1, "match", library, 166, 160),
            Site(3, None, "other", file, 20, 18),
            Site(4, None, function, file, 8, 1),
            Site(5, None, "seldom", file, 30, 30),
        ],
        library_paths=["/lib"],
    )


def test_lines_are_listed_with_what_they_cost():
    page = Page(html.render(located().recording()))

    assert page.table("function", "line") == [
        ["function", "line", "held", "holds", "longest", "inflicted", "mostly on", "overhead"],
        ["work", "app/main.py:7", "60.0 ms", "1", "60.0 ms", "55.0 ms", "b", "1.00 ms"],
        ["work", "app/main.py:8", "20.0 ms", "1", "20.0 ms", "0 ns", "-", "0 ns"],
        ["other", "app/main.py:20", "1.00 ms", "1", "1.00 ms", "0 ns", "-", "0 ns"],
    ]
    assert "and 1 more, less costly" in page.text
    keeps = next(t for t in page.tables if "called from" in t[0])
    assert keeps[1][:3] == ["match", "lib/re.py:166", "1"]
    assert keeps[1][-1] == "work (/app/main.py:7)"


def test_without_being_asked_no_file_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("gilscope.report.html.lines.excerpt", lambda *_: pytest.fail("a file was looked at"))
    file = tmp_path / "main.py"
    file.write_text("secret\n" * 40)
    text = html.render(located(str(file)).recording())

    assert "secret" not in text
    assert links(Page(text)) == []
    assert "--source" in text


def test_lines_lead_to_their_source_text(tmp_path):
    file = tmp_path / "main.py"
    file.write_text("".join(f"\tline{n} < {n}\n" for n in range(1, 41)))
    page = Page(html.render(located(str(file)).recording(), source=True))

    assert links(page) == ["#line-1-7", "#line-1-8", "#line-1-20"]
    assert [name for name, _ in page.listings] == [str(file), "/lib/re.py"]
    shown = page.listings[0][1]
    numbers = [*range(3, 13), None, *range(16, 25)]
    assert [int(s.split()[0]) if s.split()[0] != "..." else None for s in shown] == numbers
    assert shown[4] == "".join((" 7  ", "55.0 ms", "  ", " " * 8, "line7 < 7"))
    assert shown[5] == "".join((" 8  ", " " * 7, "  ", " " * 8, "line8 < 8"))
    anchors = {attrs["id"]: attrs["class"] for attrs in page.named("span") if "id" in attrs}
    assert anchors == dict.fromkeys(("line-1-7", "line-1-8", "line-1-20"), "hot")
    assert "Not shown: it cannot be read here: No such file or directory." in page.text


def test_source_that_changed_is_reported_and_a_missing_one_has_no_link(tmp_path):
    file = tmp_path / "main.py"
    file.write_text("one\n" * 7)
    page = Page(html.render(located(str(file)).recording(start_unix_ns=1), source=True))

    assert links(page) == ["#line-1-7"]
    assert "Note: it has 7 lines now, but line 20 ran: it has changed." in page.text


@pytest.mark.parametrize("evil", NASTY[-3:])
def test_hostile_source_is_words_and_nothing_else(tmp_path, evil):
    file = tmp_path / f"{evil.replace('/', '|')}.py"
    file.write_text(f"{evil}\n" * 40)
    text = html.render(located(str(file), function=evil, library=f"/lib/{evil}").recording(), source=True)
    page = Page(text)

    assert len(links(page)) == 3
    assert not {"script", "img"} & {tag for tag, attrs in page.tags if "alt" not in attrs}
    assert not [key for _, attrs in page.tags for key in attrs if key.startswith("on")]
    said = evil.replace("\u202e", r"\u202e")
    assert page.listings[0][1][0].endswith(said)
    assert page.table("function", "line")[1][0] == said
    assert "\u202e" not in text


def test_many_lines_are_cut_with_a_note():
    n = 30
    sites = [Site(i, None, f"f{i}", "/app/main.py", i + 1, 1) for i in range(n)]
    rows = [Interval(0, 0, "run", i * MS, MS // 2, "voluntary", i) for i in range(n)]
    t = Trace(n * MS, [Thread(0, "a", 0, n * MS)], rows, sites=sites).recording()

    page = Page(html.render(t))
    assert len(page.table("function", "line")) == htmllines.MOST_LINES + 1
    assert "and 10 more, less costly" in page.text


def test_source_of_a_trace_that_was_just_recorded():
    def work():
        ctypes.CDLL(None).usleep(sum(range(200_000)) % 7)  # in the trace, and on the page

    with gilscope.trace(None) as t:
        work()

    page = Page(t.report(format="html", source=True))
    [lines] = [lines for name, lines in page.listings if name == __file__]
    assert any("# in the trace, and on the page" in line for line in lines)
    assert links(page)
    with pytest.raises(OptionError, match="format='html'"):
        t.report(source=True)


def test_the_command_shows_source_where_it_is_asked_for(tmp_path, capsys):
    with gilscope.trace(tmp_path / "t.gilscope"):
        ctypes.CDLL(None).usleep(sum(range(200_000)) % 7)
    trace, out = str(tmp_path / "t.gilscope"), tmp_path / "out.html"

    for more, there in (([], False), (["--source"], True)):
        assert cli.main(["report", trace, "--html", str(out), *more]) == 0
        assert ("ctypes.CDLL(None).usleep(sum(" in out.read_text()) is there
    capsys.readouterr()
    assert cli.main(["report", trace, "--source"]) == 2
    assert "--html FILE" in capsys.readouterr().err
