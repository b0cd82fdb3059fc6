"""Arrow arrays made of numpy's and of strings, and numpy's made of Arrow's.

`pyarrow.array`, `pyarrow.scalar` and `to_numpy` would import pandas, which takes as long as a short trace and
fails where the interpreter has begun to exit (it imports `concurrent.futures.thread`, which registers a last
call).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def column(
    values: npt.NDArray[Any], kind: pa.DataType | None = None, null: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """Return an Arrow array of numbers or booleans.

    Args:
        values: the numbers or booleans.
        kind: the array's type; the one of the values when left out.
        null: where the array is null.
    """
    if kind is None:
        kind = pa.from_numpy_dtype(values.dtype)
    if pa.types.is_boolean(kind):
        data = np.packbits(values, bitorder="little")
    else:
        # Arrow's names of integers and of double are numpy's. pyarrow 24's `to_pandas_dtype` imports pandas.
        data = np.ascontiguousarray(values, np.dtype(str(kind)))
    if null is None or not null.any():
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])
    valid = np.packbits(~null, bitorder="little")
    return pa.Array.from_buffers(
        kind, len(values), [pa.py_buffer(valid), pa.py_buffer(data)], int(np.count_nonzero(null))
    )


def strings(values: Sequence[str], null: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Return an Arrow array of strings, null where ``null`` is true."""
    encoded = [v.encode("utf-8", "backslashreplace") for v in values]
    offsets = np.concatenate(([0], np.cumsum([len(e) for e in encoded]))).astype(np.int32)
    valid = None if null is None else pa.py_buffer(np.packbits(~null, bitorder="little"))
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)), valid
    )


def coded(codes: npt.NDArray[np.int8], words: tuple[str, ...]) -> pa.DictionaryArray:
    """Return a dictionary array; negative codes are null."""
    return pa.DictionaryArray.from_arrays(column(codes, pa.int8(), codes < 0), strings(words))


def in_one(values: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    # Of no chunks `combine_chunks` makes an array by `pyarrow.array`.
    return values.combine_chunks() if values.num_chunks else pa.nulls(0, values.type)


def numpy_of(values: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return the numbers or booleans of an Arrow array without nulls, in its own memory where that can be."""
    if isinstance(values, pa.ChunkedArray):
        values = in_one(values)
    if pa.types.is_boolean(values.type):
        return np.from_dlpack(values.cast(pa.uint8())).astype(np.bool_)
    return np.from_dlpack(values)


def scalar(value: str | int, kind: pa.DataType | None = None) -> pa.Scalar:
    """Return a value as an Arrow scalar."""
    return strings([value])[0] if isinstance(value, str) else column(np.array([value]), kind)[0]


def filled(values: Any, value: str | int) -> Any:
    """Return an Arrow array or column whose nulls have become a value of its type."""
    return values.fill_null(scalar(value, values.type))
