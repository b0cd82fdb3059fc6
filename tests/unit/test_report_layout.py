"""Text in columns of a terminal: wide characters count twice, names become shorter, figures stay whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilscope.report.layout import WIDTH, Column, Sheet, columns, shorten, wrap

WIDE = "決済処理ワーカースレッド第一号機"
NAMES = st.text(st.sampled_from("abc 決済🧵e\u0301."), max_size=60)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 0), ("abc", 3), ("決済", 4), ("🧵", 2), ("e\u0301", 1), ("größer · …", 10)],
)
def test_columns_of_a_terminal(text, expected):
    assert columns(text) == expected


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("short", 5, "short"),
        ("abcdefghij", 5, "ab…ij"),
        ("abcdefghij", 6, "abc…ij"),
        (WIDE, 12, "決済処…号機"),  # 3 + 2 wide characters and the dots: a fourth would not fit
        (WIDE, 11, "決済…一号機"),
        ("abcde\u0301fg", 5, "ab…fg"),
        ("abcdee\u0301", 3, "a…e\u0301"),
    ],
)
def test_a_name_that_is_shortened_keeps_both_ends(text, most, expected):
    assert shorten(text, most) == expected


@given(NAMES, st.integers(2, 40))
def test_a_shortened_name_fits(text, most):
    assert columns(shorten(text, most)) <= most


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("", 5, [""]),
        ("a bc def", 4, ["a bc", "def"]),
        ("a bc def", 100, ["a bc def"]),
        ("決済 処理 a", 9, ["決済 処理", "a"]),
        ("決済処理 a", 5, ["決済", "処理", "a"]),
        ("abcdefg h", 3, ["abc", "def", "g h"]),
        ("a  b", 9, ["a  b"]),
    ],
)
def test_words_are_wrapped_by_the_columns_they_take(text, width, expected):
    assert wrap(text, width) == expected


@given(NAMES, st.integers(2, 40))
def test_wrapping_loses_no_letter(text, width):
    lines = wrap(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(columns(line) <= width for line in lines)


def table(layout, rows):
    sheet = Sheet()
    sheet.table(layout, rows)
    return sheet.text().splitlines()


def test_names_shrink_and_figures_do_not():
    head, row = table(
        [Column("line", is_name=True), Column("held"), Column("mostly on", is_name=True)],
        [["a" * 90 + ".py:30 work", "2.02 s", WIDE * 4]],
    )

    assert head.split() == ["line", "held", "mostly", "on"]
    assert columns(row) == WIDTH
    name, figure, other = row.split("  ")
    assert figure == "2.02 s"
    assert name.startswith("aaa")
    assert name.endswith(".py:30 work")
    assert other.startswith("決済")
    assert other.endswith("号機")


def test_columns_stand_below_one_another_whatever_is_in_them():
    lines = table([Column("thread", is_name=True), Column("run")], [["決済", "1 %"], ["abc", "10 %"]])
    assert lines == ["thread   run", "決済     1 %", "abc     10 %"]


def test_a_long_head_is_wrapped_and_figures_may_be_missing():
    lines = table([Column("metric " * 12), *[Column("n" * 10)] * 5], [["1.5"] + ["2"] * 5, ["3"]])
    assert len(lines) == 5
    assert {columns(line) <= WIDTH for line in lines} == {True}
    assert lines[3].split() == ["1.5", *"22222"]
    assert lines[4].split() == ["3"]


def test_the_label_of_a_paragraph_indents_the_lines_below():
    sheet = Sheet()
    sheet.paragraph("word " * 30 + "end", label="決済: ")
    first, second = sheet.text().splitlines()

    assert first.startswith("決済: word word")
    assert second.startswith(" " * 6 + "word")
    assert columns(first) <= WIDTH


@pytest.mark.parametrize(
    ("color", "expected"),
    [(False, " 1 word\nname\nx\n"), (True, " 1 \x1b[1;31mword\x1b[0m\n\x1b[1mname\x1b[0m\nx\n")],
)
def test_colours_are_put_around_words_where_they_are_wanted(color, expected):
    sheet = Sheet(color=color)
    sheet.paragraph("word", "bold red", label=" 1 ")
    sheet.table([Column("name", is_name=True)], [["x"]])
    assert sheet.text() == expected
