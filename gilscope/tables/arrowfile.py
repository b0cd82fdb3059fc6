"""Reading Arrow IPC files without trust.

A checksum detects damage, not malice: the maker of a file also makes its checksum. Arrow promises to read any
file without harm, but what it has read has to be validated before it is used: offsets and indices that point
outside their buffers would crash the process.
"""

import mmap
import struct
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa

MAGIC = b"ARROW1\0\0"

# Fields of the flatbuffers tables in Arrow's format/Message.fbs, by position.
_MESSAGE_HEADER, _DICTIONARY_DATA, _BATCH_COMPRESSION = 2, 1, 3


def open_batches(file: BinaryIO) -> pa.RecordBatchReader:
    """Return a reader of the record batches of an Arrow IPC file, which maps the file into memory.

    The batches are read from front to back, not by the index at the end: an index can point to the same batch
    any number of times.

    Args:
        file: an open file; it may be closed as soon as this returns.

    Raises:
        ValueError: it is no Arrow IPC file, or a compressed one: a few bytes of those can stand for any
            number.
        pyarrow.ArrowException: its structure is damaged.
    """
    content = pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    if content[: len(MAGIC)].to_pybytes() != MAGIC:
        raise ValueError(f"it does not begin with {MAGIC!r}")
    stream = content.slice(len(MAGIC))
    if any(map(_is_compressed, _messages(stream))):
        raise ValueError(
            "its columns are compressed, which gilscope never writes; write it again without compression"
        )
    return pa.ipc.open_stream(stream)


def _messages(stream: pa.Buffer) -> Iterator[pa.ipc.Message]:
    reader = pa.ipc.MessageReader.open_stream(stream)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _is_compressed(message: pa.ipc.Message) -> bool:
    """Tell whether a message's body is compressed; pyarrow has no word for it before it is unpacked."""
    if message.type not in ("record batch", "dictionary"):
        return False
    data = message.metadata.to_pybytes()
    try:
        batch = _follow(data, _follow(data, 0), _MESSAGE_HEADER)
        if message.type == "dictionary":
            batch = _follow(data, batch, _DICTIONARY_DATA)
        return _field(data, batch, _BATCH_COMPRESSION) != 0
    except struct.error as error:
        raise ValueError(f"the head of a record batch is damaged: {error}") from error


def _field(data: bytes, table: int, number: int) -> int:
    """Return where a field of a flatbuffers table is, 0 where the table has not got it."""
    [back] = struct.unpack_from("<i", data, table)
    vtable, at = table - back, 4 + 2 * number
    [size] = struct.unpack_from("<H", data, vtable)
    if at >= size:
        return 0
    [offset] = struct.unpack_from("<H", data, vtable + at)
    return table + offset if offset else 0


def _follow(data: bytes, table: int, number: int | None = None) -> int:
    """Return where what an offset points to begins: the offset at a position, or in a table's field."""
    at = table if number is None else _field(data, table, number)
    [offset] = struct.unpack_from("<I", data, at)
    return at + int(offset)
