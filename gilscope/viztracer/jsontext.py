"""JSON text from whole columns at a time, without a loop over rows."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gilscope.tables.arrays import column, filled, numpy_of, scalar, strings

Int = npt.NDArray[np.int64]

# JSON does not allow control characters, and the viewer shows \uXXXX literally: write their pictures.
CONTROLS = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}

ROWS_PER_STEP = 1 << 17

# From here on (101 days) a double of microseconds cannot distinguish one nanosecond from the next.
_EXACT_NS = 1000 << 43


def dumps(value: Any) -> str:
    """Return a value as JSON without blanks; characters outside ASCII are not escaped."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def utf8(text: str) -> bytes:
    """Encode text that may hold the lone surrogates of an undecodable file name."""
    return text.encode("utf-8", "replace")


def quoted(names: Iterable[str]) -> list[str]:
    """Return names as JSON strings, with pictures of control characters."""
    return [utf8(dumps(name.translate(CONTROLS))).decode() for name in names]


def titles(names: Iterable[str]) -> list[str]:
    """Return names of slices as JSON strings.

    VizTracer reads a slice named ``x (file:12)`` as a function, and fails if the number is missing. A name
    that only looks like that gets a zero-width space after the colon.
    """
    return [name.replace(":", ":\u200b") if "(" in name else name for name in quoted(names)]


@functools.cache
def _fractions(after: str) -> pa.Array:
    return strings([f".{n:03d}{after}" for n in range(1000)])


def micros(ns: Int, after: str = "") -> tuple[pa.Array, pa.Array]:
    """Return microseconds as text, exact to the nanosecond: the digits before the point, and the rest.

    Args:
        ns: nanoseconds.
        after: text that follows each number.
    """
    whole, rest = np.divmod(ns, 1000)
    return column(whole).cast(pa.string()), _fractions(after).take(column(rest))


def numbers(values: npt.NDArray[Any]) -> pa.Array:
    """Return whole numbers as text."""
    return column(values).cast(pa.string())


def distinct(values: Int) -> tuple[Int, Int]:
    """Return the different numbers in order, and the position of each value among them."""
    least = int(values.min()) if len(values) else 0
    width = int(values.max(initial=least)) - least + 1
    if width > max(len(values), 1024):
        return np.unique(values, return_inverse=True)
    # Numbers in a narrow range need no sorting.
    few = np.flatnonzero(np.bincount(values - least, minlength=width))
    place = np.zeros(width, np.int64)
    place[few] = np.arange(len(few))
    return few + least, place[values - least]


def repeated(values: Int, template: str) -> pa.Array:
    """Return the template with each number in it; made for few distinct numbers."""
    few, index = distinct(values)
    texts = [template.replace("{}", str(n), 1) for n in few.tolist()]
    return strings(texts).take(column(index))


def as_shown(ns: Int) -> Int:
    """Return the nanoseconds that the viewer computes: it reads microseconds as a double, times 1000."""
    if not ns.size or ns.max() < _EXACT_NS:
        return ns
    text = pc.binary_join_element_wise(*micros(ns), scalar("")).cast(pa.float64())
    shown: Int = np.rint(numpy_of(text) * 1000).astype(np.int64)
    return shown


def step(ns: int) -> int:
    """Return the smallest difference of two times, in nanoseconds, that the viewer can show."""
    return 1 if ns < _EXACT_NS else math.ceil(1000 * math.ulp(ns / 1000) + math.ulp(float(ns)))


def joined(*columns: Any) -> pa.Array:
    """Concatenate columns of text, row by row; a plain string is repeated in each row."""
    return pc.binary_join_element_wise(*[scalar(c) if isinstance(c, str) else c for c in columns], scalar(""))


def where(condition: npt.NDArray[np.bool_], *columns: Any) -> pa.Array:
    """Return the joined columns in rows where the condition holds, and "" in others."""
    return pc.if_else(column(condition), joined(*columns), scalar(""))


def pick(texts: pa.Array, index: npt.NDArray[Any]) -> pa.Array:
    """Return the text at each index; "" for -1."""
    return filled(texts.take(column(index, null=index < 0)), "")


def content(*columns: Any) -> memoryview:
    """Return the bytes of all rows of columns joined; see `joined`."""
    texts = joined(*columns)
    # In Arrow's memory the texts already follow one another.
    _, offsets, content = texts.buffers()
    length = int(np.frombuffer(offsets, np.int32)[len(texts)])
    return memoryview(content)[:length]
