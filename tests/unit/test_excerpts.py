"""Excerpts show the lines of a file, and read nothing but Python source of limited size."""

import linecache
import os
import platform
import socket

import pytest

from gilscope.report import excerpts
from gilscope.report.excerpts import AROUND, MOST_BYTES, MOST_LETTERS, excerpt

LATER = {"start_unix_ns": 1 << 62}
"""Metadata of a trace that began after all files here were written."""


def test_the_lines_around_those_asked_for_and_no_others(tmp_path):
    file = tmp_path / "p.py"
    file.write_text("".join(f"line{n}\n" for n in range(1, 101)))

    found = excerpt(str(file), [3, 50, 52], LATER)

    numbers = [*range(1, 3 + AROUND + 1), *range(50 - AROUND, 52 + AROUND + 1)]
    assert found.lines == {n: f"line{n}" for n in numbers}
    assert list(found.lines) == numbers
    assert found.doubt == ""


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"a\r\nb\rc\nd", ["a", "b", "c", "d"]),
        (b"a\x0cb\nc\x0bd\x1ce\n", ["a\x0cb", "c\x0bd\x1ce"]),
        ("a\u2028b\x85c\nd\n".encode(), ["a\u2028b\x85c", "d"]),
        (b"\xef\xbb\xbfa = 1\nb = 2\n", ["a = 1", "b = 2"]),
        ("# coding: latin-1\nä = 1\n".encode("latin-1"), ["# coding: latin-1", "ä = 1"]),
        (
            "#\n# coding: shift_jis\nこ = 'ソ'\n".encode("shift_jis"),
            ["#", "# coding: shift_jis", "こ = 'ソ'"],
        ),
        (b"a\n\nb = '\xff'\n", ["a", "", "b = '\ufffd'"]),
        (b"\ta\tb\n", ["        a       b"]),
        (b"", []),
    ],
    ids=["ends", "no ends", "no ends either", "mark", "latin-1", "shift_jis", "not UTF-8", "tabs", "empty"],
)
def test_text_is_read_as_python_reads_it(tmp_path, raw, lines):
    file = tmp_path / "p.py"
    file.write_bytes(raw)
    found = excerpt(str(file), range(1, len(lines) + 1), LATER)
    assert list(found.lines.values()) == lines


def test_bytes_that_are_not_text_are_not_shown(tmp_path):
    file = tmp_path / "p.py"
    for raw in (b"\xff\n", b"# coding: none-such\n", b"# coding: rot13\nn\n", b"# coding: undefined\n\n"):
        file.write_bytes(raw)
        found = excerpt(str(file), [1], LATER)
        assert found.lines == {}
        assert "encoding" in found.doubt or "cannot be read as" in found.doubt


def test_a_long_line_is_cut(tmp_path):
    file = tmp_path / "p.py"
    file.write_text("x" * 1_000_000 + "\ny\n")
    assert excerpt(str(file), [1], LATER).lines == {1: "x" * MOST_LETTERS + " ...", 2: "y"}


def test_a_long_first_line_hides_no_encoding_and_breaks_none(tmp_path):
    file = tmp_path / "p.py"
    for words in (b"#" * 799 + "ä".encode() * 10, b"\xef\xbb\xbf#" + b" " * 5000):
        file.write_bytes(words + b"\nb\n")
        assert excerpt(str(file), [2], LATER).lines[2] == "b"
    file.write_bytes(b"#" * 5000 + b"\n# coding: latin-1\n\xe4\n")
    assert excerpt(str(file), [3], LATER).lines[3] == "ä"


def listening(path):
    with socket.socket(socket.AF_UNIX) as s:
        here = os.open(path.parent, os.O_RDONLY)  # a path for a socket has to be short
        s.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "not a regular file"),
        (os.mkdir, "not a regular file"),
        (listening, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
        (lambda path: path.symlink_to(path.name), "Too many levels"),
    ],
    ids=["fifo", "folder", "socket", "device", "nowhere", "loop"],
)
def test_anything_but_a_regular_file_is_never_opened(tmp_path, monkeypatch, make, why):
    monkeypatch.setattr(excerpts, "open_regular", lambda path: pytest.fail(f"opened {path}"))
    make(tmp_path / "p.py")

    found = excerpt(str(tmp_path / "p.py"), [1], LATER)

    assert found.lines == {}
    assert why in found.doubt


def test_a_file_that_becomes_a_fifo_is_no_trap(tmp_path, monkeypatch):
    """Between the look at it and its opening it may be replaced."""
    file = tmp_path / "p.py"
    file.write_text("a\n")
    really = excerpts.open_regular

    def replaced(path):
        path.unlink()
        os.mkfifo(path)
        return really(path)

    monkeypatch.setattr(excerpts, "open_regular", replaced)
    assert excerpt(str(file), [1], LATER).doubt == "it is not a regular file"


@pytest.mark.parametrize("name", ["p.py", "without.py/end.py"])
def test_a_huge_file_is_not_read(tmp_path, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    os.truncate(file, 1 << 40)
    assert excerpt(str(file), [1], LATER).doubt == f"it is larger than {MOST_BYTES:,} bytes"


def test_the_largest_file_is_read(tmp_path):
    file = tmp_path / "p.py"
    file.write_bytes(b"a\n" * (MOST_BYTES // 2))
    assert excerpt(str(file), [MOST_BYTES // 2], LATER).lines[MOST_BYTES // 2] == "a"
    with file.open("ab") as more:
        more.write(b"\n")
    assert excerpt(str(file), [1], LATER).lines == {}


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("<string>", "not a file"),
        ("<stdin>", "not a file"),
        ("<frozen importlib._bootstrap>", "part of the interpreter"),
        ("", "relative"),
        ("p.py", "relative"),
        ("../p.py", "relative"),
        ("/nul\0.py", "not valid for a file"),
        ("/\udc80\ud800.py", "not valid for a file"),
        ("/none/such.py", "No such file"),
        ("/" + "x" * 5000 + ".py", "File name too long"),
    ],
)
def test_names_that_lead_nowhere_are_explained(tmp_path, monkeypatch, file, why):
    (tmp_path / "p.py").write_text("a\n")
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    found = excerpt(file, [1], LATER)
    assert found.lines == {}
    assert why in found.doubt


def test_secrets_that_a_trace_names_are_not_shown(tmp_path):
    secret = tmp_path / "id_ed25519"
    secret.write_text("secret\n")
    (tmp_path / "p.py").symlink_to(secret)
    (tmp_path / "script").write_text("#! /usr/bin/env python3\nimport sys\n")
    (tmp_path / "shell").write_text("#!/bin/sh\n# python\nsecret\n")

    for name in ("id_ed25519", "p.py", "shell"):
        assert excerpt(str(tmp_path / name), [1], LATER).lines == {}, name
    assert excerpt(str(tmp_path / "script"), [2], LATER).lines[2] == "import sys"


def test_a_changed_file_is_shown_with_a_note(tmp_path):
    file = tmp_path / "p.py"
    file.write_text("a\nb\n")
    changed = file.stat().st_mtime_ns

    assert "changed after the trace began" in excerpt(str(file), [1], {"start_unix_ns": changed - 1}).doubt
    assert excerpt(str(file), [1], {"start_unix_ns": changed}).doubt == ""
    assert excerpt(str(file), [1], {}).doubt == ""
    beyond = excerpt(str(file), [1, 2000], LATER)
    assert beyond.lines == {1: "a", 2: "b"}
    assert beyond.doubt == "it has 2 lines now, but line 2,000 ran: it has changed"


@pytest.mark.parametrize("file", ["<cell 1>", "/tmp/ipykernel_1/2.py"])
def test_cells_of_this_process_are_found(monkeypatch, file):
    text = "first\nä = sum(range(9))\n"
    monkeypatch.setitem(linecache.cache, file, (len(text), None, text.splitlines(True), file))
    here = {"pid": os.getpid(), "host": platform.node()}

    assert excerpt(file, [2], here).lines == {1: "first", 2: "ä = sum(range(9))"}
    assert excerpt(file, [2], {**here, "pid": os.getpid() + 1}).lines == {}
    assert excerpt(file, [2], {**here, "host": "elsewhere"}).lines == {}
    assert excerpt(file, [2], {}).lines == {}


def test_files_are_read_from_disk_even_if_linecache_has_them(tmp_path):
    file = tmp_path / "p.py"
    file.write_text("before\n")
    assert linecache.getline(str(file), 1) == "before\n"
    file.write_text("after\n")
    assert excerpt(str(file), [1], {"pid": os.getpid(), "host": platform.node()}).lines == {1: "after"}
