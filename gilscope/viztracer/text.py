"""JSON text made of whole columns at a time: no loop over rows."""

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

# JSON allows no bare control character, and the viewer shows \uXXXX as it stands: write their pictures.
CONTROLS = {code: 0x2400 + code for code in range(32)} | {127: 0x2421}

ROWS_PER_STEP = 1 << 17

# From here on (101 days) a double of microseconds is too coarse to tell one nanosecond from the next.
_EXACT_NS = 1000 << 43


def dumps(value: Any) -> str:
    """Return a value as JSON without blanks; characters that are not ASCII stand as they are."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def utf8(text: str) -> bytes:
    """Encode text that may hold the lone surrogates of an undecodable file name."""
    return text.encode("utf-8", "replace")


def quoted(names: Iterable[str]) -> list[str]:
    """Return names as JSON strings, control characters as their pictures."""
    return [utf8(dumps(name.translate(CONTROLS))).decode() for name in names]


def titles(names: Iterable[str]) -> list[str]:
    """Return names of slices as JSON strings.

    VizTracer takes a slice named ``x (file:12)`` for a function, and fails where the number is missing. What
    only looks like that gets a blank of no width behind the colon.
    """
    return [name.replace(":", ":\u200b") if "(" in name else name for name in quoted(names)]


@functools.cache
def _fractions(after: str) -> pa.Array:
    return strings([f".{n:03d}{after}" for n in range(1000)])


def micros(ns: Int, after: str = "") -> tuple[pa.Array, pa.Array]:
    """Return microseconds as text, exact to the nanosecond: what stands before the point, and the rest.

    Args:
        ns: nanoseconds.
        after: what follows each.
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
    # Numbers that lie close together need not be sorted.
    few = np.flatnonzero(np.bincount(values - least, minlength=width))
    place = np.zeros(width, np.int64)
    place[few] = np.arange(len(few))
    return few + least, place[values - least]


def repeated(values: Int, template: str) -> pa.Array:
    """Return a text with each number in it, for numbers of which there are few different ones."""
    few, index = distinct(values)
    texts = [template.replace("{}", str(n), 1) for n in few.tolist()]
    return strings(texts).take(column(index))


def as_shown(ns: Int) -> Int:
    """Return the nanoseconds the viewer makes of a time: a double of microseconds, times 1000."""
    if not ns.size or ns.max() < _EXACT_NS:
        return ns
    text = pc.binary_join_element_wise(*micros(ns), scalar("")).cast(pa.float64())
    shown: Int = np.rint(numpy_of(text) * 1000).astype(np.int64)
    return shown


def step(ns: int) -> int:
    """Return by how many nanoseconds two times must differ to differ in the viewer."""
    return 1 if ns < _EXACT_NS else math.ceil(1000 * math.ulp(ns / 1000) + math.ulp(float(ns)))


def joined(*columns: Any) -> pa.Array:
    """Return the columns' texts behind one another, row by row; plain strings repeat in each row."""
    return pc.binary_join_element_wise(*[scalar(c) if isinstance(c, str) else c for c in columns], scalar(""))


def where(condition: npt.NDArray[np.bool_], *columns: Any) -> pa.Array:
    """Return the columns joined where the condition holds, and nothing elsewhere."""
    return pc.if_else(column(condition), joined(*columns), scalar(""))


def pick(texts: pa.Array, index: npt.NDArray[Any]) -> pa.Array:
    """Return the text that each index says; nothing for -1."""
    return filled(texts.take(column(index, null=index < 0)), "")


def content(*columns: Any) -> memoryview:
    """Return the bytes of all rows of columns joined; see `joined`."""
    texts = joined(*columns)
    # In Arrow's memory they already stand one after the other.
    _, offsets, content = texts.buffers()
    length = int(np.frombuffer(offsets, np.int32)[len(texts)])
    return memoryview(content)[:length]
