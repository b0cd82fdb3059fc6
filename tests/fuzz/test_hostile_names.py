"""Names made on purpose to do harm, to a terminal, a page, or a reader of JSON."""

import json
from html.parser import HTMLParser

import pandas as pd
import pytest

import gilscope
import gilscope.cli
from gilscope.convert import spool
from gilscope.report import sweep as report
from tests.fuzz import files as f
from tests.fuzz.seeds import seeds, unfinished
from tests.support.drawn.spools import Spool, appears, says

pytestmark = pytest.mark.once

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


def source_files(folder):
    """Write Python files whose names and lines are made to do harm."""
    files = [folder / f"{name}.py" for name in NAMES]
    for i, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{NAMES[i]}\n" * 10)
    return [str(file) for file in files]


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    s = Spool(interval_us=5).batch(0)
    files = source_files(tmp_path_factory.mktemp("files"))
    s.describe(
        [(i, 4, NAMES[i], files[i], b"\x80\x00") for i in range(len(NAMES))],
        [(3 + i, 1, i, 0) for i in range(len(NAMES))],
    )
    records = [(spool.BEGIN, 0, 0, 1)]
    for i in range(len(NAMES)):
        records += [*appears(i, 7 + i, 1), *says(i, 7 + i, NAMES[i], 1)]
    time = 10
    for turn in range(40):
        for i in range(len(NAMES)):
            after = (i + 1) % len(NAMES)
            records += [(spool.REQUEST, after, 5, time), (spool.DROP_REQUEST, after, 0, time + 6_000)]
            records += [
                (spool.RELEASE, i, 3 + i, time + 6_100),
                (spool.ACQUIRE, after, 0, time + 6_200 + turn),
            ]
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
    return gilscope.load(f.write(unfinished(bytes(s.data), **facts), tmp_path_factory.mktemp("named") / "t"))


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


@pytest.mark.parametrize("source", [False, True])
def test_the_page_has_no_element_and_no_attribute_from_the_trace(named, source):
    page = Tags()
    text = named.report(format="html", source=source)
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
        "a",
        "pre",
        "span",
        "i",
        "h3",
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
        "href",
        "id",
    }
    assert "<script>alert(1)</script>" in "".join(page.words)
    assert ("Source text of these lines" in page.words) is source
    assert ("Not shown" in text) is False
    assert not [c for c in text if c != "\n" and not c.isprintable()]


def test_a_sweep_shows_names_as_they_are():
    columns = {"interval_ns": 5e6, "runs": 3, "metric": 1.0, "metric_low": 1.0, "metric_high": 1.0}
    summary = pd.DataFrame([{**columns, "wait_p99_ns_[/x]\x1b": 1e6}])

    assert "[/x]\\x1b p99" in report.render(summary, "wall")
