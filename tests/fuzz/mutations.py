"""Ways to make a trace worse. Each takes files, a source of chance, and other traces to take parts of."""

import io
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from gilscope.convert import spool
from gilscope.tables import schema
from tests.fuzz import files as f
from tests.fuzz.files import Files

Mutation = Callable[[Files, Random, Sequence[Files]], Files]

NASTY_TEXTS = (
    "",
    "\0",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "]]>--><!--",
    "'\"`&lt;${7*7}{{7*7}}%s%n",
    "a\u2028b\u2029c\x85d\rE\nf",
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "\u202eevil\u200b",
    "\ud800",
    "[/bold][red]",
    r"$\frac{",
    "_hidden",
    "../../etc/passwd",
    "__import__('os').system('x')",
    "\U0001f600" * 3,
    "x" * 70_000,
)
NASTY_NUMBERS = (
    0,
    1,
    -1,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**60,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    10**400,
)
NASTY_VALUES: tuple[Any, ...] = (
    *NASTY_TEXTS,
    *NASTY_NUMBERS,
    None,
    True,
    0.5,
    -0.0,
    math.nan,
    math.inf,
    [],
    {},
    [None],
    ["x"] * 3,
    {"bytes": 1, "crc32": 1},
    {"": {"": []}},
)
_U64 = (0, 1, 2**31, 2**32 - 1, 2**53, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1)


def _one(random: Random, files: Files) -> str:
    return random.choice(sorted(files)) if files else f.METADATA


# ---- bytes of any file ----


def flip(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    name = _one(random, files)
    data = bytearray(files.get(name, b""))
    for _ in range(random.choice((1, 1, 2, 8))):
        if data:
            at = random.randrange(len(data))
            data[at] = random.choice((data[at] ^ 1 << random.randrange(8), 0, 255, random.randrange(256)))
    return {**files, name: bytes(data)}


def cut(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    name = _one(random, files)
    data = files.get(name, b"")
    return {**files, name: data[: random.randrange(len(data) + 1)]}


def insert(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    name = _one(random, files)
    data = files.get(name, b"")
    at = random.randrange(len(data) + 1)
    piece = random.choice(
        (bytes(random.randrange(1, 64)), random.randbytes(random.randrange(1, 64)), data[at:])
    )
    return {**files, name: data[:at] + piece + data[at:]}


def swap(files: Files, random: Random, others: Sequence[Files]) -> Files:
    """Put a file of another trace, or another file of this one, in a file's place."""
    other = random.choice([*others, files])
    return {**files, _one(random, files): other.get(_one(random, other), b"")}


def drop(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    gone = _one(random, files)
    return {name: data for name, data in files.items() if name != gone}


def word(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    """Put an extreme number over four or eight bytes, where lengths and offsets are."""
    name = _one(random, files)
    data = bytearray(files.get(name, b""))
    if len(data) > 16:
        size = random.choice((4, 8))
        at = random.randrange(0, len(data) - 8, 4)
        data[at : at + size] = (random.choice(_U64) % (1 << 8 * size)).to_bytes(size, "little")
    return {**files, name: bytes(data)}


# ---- what files mean ----


def metadata_value(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    content = f.metadata(files)
    if not content:
        return files
    key = random.choice(sorted(content))
    what = random.randrange(4)
    if what == 0:
        del content[key]
    elif what == 1 and isinstance(content[key], list):
        content[key] = [*content[key], random.choice(NASTY_VALUES)]
    elif what == 2 and isinstance(content[key], dict) and content[key]:
        content[key] = {**content[key], random.choice(sorted(content[key])): random.choice(NASTY_VALUES)}
    else:
        content[key] = random.choice(NASTY_VALUES)
    return f.with_metadata(files, content)


def metadata_depth(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    content = f.metadata(files)
    value: Any = random.choice(NASTY_VALUES)
    for _ in range(random.choice((3, 30, 300, 900))):
        value = random.choice(([value], {"k": value}))
    try:
        return f.with_metadata(files, {**content, "deep": value})
    except RecursionError:
        return {**files, f.METADATA: b"[" * 100_000}


def rows(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    """Change values of a table; the file stays a sound Arrow file."""
    name = random.choice([*schema.TABLES])
    file = f"{name}.arrow"
    try:
        table = pa.ipc.open_file(pa.py_buffer(files[file])).read_all()
        column = random.choice(table.column_names)
        columns = {c: table[c].to_pylist() for c in table.column_names}
    except (KeyError, pa.ArrowException, ValueError, OSError, MemoryError):
        return files
    change = random.choice((_shuffle, _set, _set, _set, _repeat))
    change(columns, column, random)
    try:
        changed = pa.table(columns, schema=table.schema)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return files
    return {**files, file: arrow(changed)}


def _shuffle(columns: dict[str, list[Any]], column: str, random: Random) -> None:
    random.shuffle(columns[column])


def _repeat(columns: dict[str, list[Any]], _column: str, random: Random) -> None:
    n = len(next(iter(columns.values())))
    keep = [random.randrange(n) for _ in range(random.choice((0, 1, n, 2 * n)))] if n else []
    for name, values in columns.items():
        columns[name] = [values[i] for i in keep]


def _set(columns: dict[str, list[Any]], column: str, random: Random) -> None:
    values = columns[column]
    kind = next((v for v in values if v is not None), 0)
    nasty = {str: NASTY_TEXTS, bool: (True, False)}.get(type(kind), NASTY_NUMBERS)
    value = random.choice([None, *nasty, *([random.choice(values)] if values else [])])
    for i in random.choices(range(len(values)), k=random.choice((1, 3, len(values)))) if values else ():
        values[i] = value


def arrow(table: pa.Table, compression: str | None = None) -> bytes:
    out = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(out, table.schema, options=options) as writer:
        writer.write_table(table)
    return out.getvalue()


def squeeze(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    """Write a table compressed."""
    file = f"{random.choice([*schema.TABLES])}.arrow"
    try:
        table = pa.ipc.open_file(pa.py_buffer(files[file])).read_all()
    except (KeyError, pa.ArrowException, ValueError, OSError):
        return files
    return {**files, file: arrow(table, random.choice(("lz4", "zstd")))}


# ---- spools ----

Parts = list[tuple[Any, Any, Any, Any]]
_DTYPES = (spool.RECORD, spool.CPU, spool.STATE)


def split(data: bytes) -> tuple[Any, Parts]:
    """Return the header and the batches of a spool as arrays that can be written to."""
    size = spool.HEADER.itemsize
    header = np.frombuffer(data[:size].ljust(size, b"\0"), spool.HEADER).copy()
    parts, at = [], size
    while len(data) >= at + spool.BATCH.itemsize:
        head = np.frombuffer(data, spool.BATCH, 1, at).copy()
        at += spool.BATCH.itemsize
        arrays = []
        for name, dtype in zip(("records", "cpus", "states"), _DTYPES, strict=True):
            n = min(int(head[name][0]), (len(data) - at) // dtype.itemsize)
            arrays.append(np.frombuffer(data, dtype, n, at).copy())
            at += n * dtype.itemsize
        parts.append((head, *arrays))
    return header, parts


def join(header: Any, parts: Parts) -> bytes:
    out = bytearray(header.tobytes())
    for head, *arrays in parts:
        for name, array in zip(("records", "cpus", "states"), arrays, strict=True):
            head[name] = len(array)
        out += head.tobytes() + b"".join(array.tobytes() for array in arrays)
    return f.mend_spool(bytes(out))


def spool_value(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    """Change fields of the header, of batches, or of records."""
    if f.SPOOL not in files:
        return files
    header, parts = split(files[f.SPOOL])
    arrays = [header, *(array for part in parts for array in part if len(array))]
    for _ in range(random.choice((1, 2, 10))):
        array = random.choice(arrays)
        name = random.choice(
            [n for n in array.dtype.names if n not in ("magic", "crc", "records", "cpus", "states")]
        )
        width = 8 * array.dtype[name].itemsize
        at = random.randrange(len(array))
        value = random.choice(
            (*_U64, int(array[name][at]) + random.choice((-1, 1, 2**20)), random.getrandbits(64))
        )
        array[name][at] = value % (1 << width)
        if name == "word":
            array[name][at] = record_word(random)
    return {**files, f.SPOOL: join(header, parts)}


def record_word(random: Random) -> int:
    kind = random.randrange(32)
    gil = random.choice((0, 0, 0, 1, 127))
    thread = random.choice((0, 0, 1, 2, random.randrange(8), 2**20 - 1))
    arg = random.choice((0, 1, 5000, 0x41414141, 0xFFFFFFFF, 0x80000000, random.getrandbits(32)))
    return kind | gil << 5 | thread << 12 | arg << 32


def spool_order(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    """Shuffle, repeat, or leave out batches or records."""
    if f.SPOOL not in files:
        return files
    header, parts = split(files[f.SPOOL])
    if not parts:
        return files
    i = random.randrange(len(parts))
    head, records, cpus, states = parts[i]
    what = random.randrange(6)
    if what == 0:
        random.shuffle(parts)
    elif what == 1:
        parts.insert(i, tuple(a.copy() for a in parts[i]))
    elif what == 2:
        del parts[i]
    elif what == 3 and len(records):
        parts[i] = (head, records[[random.randrange(len(records)) for _ in records]], cpus, states)
    elif what == 4:
        parts[i] = (head, records[: random.randrange(len(records) + 1)], cpus, states)
    else:
        states = np.array(
            [(random.randrange(5), random.randrange(5)) for _ in range(random.randrange(9))], spool.STATE
        )
        parts[i] = (head, records, cpus, states)
    return {**files, f.SPOOL: join(header, parts)}


def spool_flood(files: Files, random: Random, _others: Sequence[Files]) -> Files:
    """Put many records of one kind into a batch: names without end, threads without end, holes."""
    if f.SPOOL not in files:
        return files
    header, parts = split(files[f.SPOOL])
    if not parts:
        return files
    i = random.randrange(len(parts))
    head, records, cpus, states = parts[i]
    n = random.choice((10, 300, 3000))
    kind, thread = random.randrange(1, 20), random.choice((0, 1, 5))
    stamp = int(records["stamp"][-1]) if len(records) else int(head["stamp"][0])
    flood = np.zeros(n, spool.RECORD)
    flood["stamp"] = stamp
    arg = random.choice((0x41414141, 0xFFFFFFFF, 1))
    flood["word"] = kind | thread << 12 | arg << 32
    if random.randrange(2):
        flood["word"] += np.arange(n, dtype=np.uint64) << np.uint64(random.choice((12, 32)))
    parts[i] = (head, np.concatenate((records, flood)), cpus, states)
    return {**files, f.SPOOL: join(header, parts)}


BYTES: tuple[Mutation, ...] = (flip, cut, insert, swap, drop, word)
MEANING: tuple[Mutation, ...] = (
    metadata_value,
    metadata_depth,
    rows,
    rows,
    rows,
    squeeze,
    spool_value,
    spool_value,
    spool_order,
    spool_flood,
)


def mutate(files: Files, random: Random, others: Sequence[Files]) -> Files:
    """Change a trace one to four times; mostly all its checksums are right afterwards."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        files = random.choice(BYTES if random.random() < 0.3 else MEANING)(files, random, others)
    return f.mend(files) if random.random() < 0.9 else files
