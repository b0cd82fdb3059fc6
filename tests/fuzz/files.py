"""Traces as files in memory, put right again after something in them was changed.

A trace folder is a mapping of file names to bytes. `mend` computes every checksum anew, so that what was
changed is not found by its checksum but reaches the code behind.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gilscope.convert import spool

Files = dict[str, bytes]

METADATA, SPOOL = "metadata.json", "spool.bin"


def read(folder: Path) -> Files:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def write(files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def metadata(files: Files) -> dict[str, Any]:
    """Return what the metadata says; nothing where it is damaged."""
    try:
        content = json.loads(files[METADATA])
    except (KeyError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def with_metadata(files: Files, content: dict[str, Any]) -> Files:
    rest = {key: value for key, value in content.items() if key != "crc32"}
    crc = zlib.crc32(json.dumps(rest, sort_keys=True).encode())
    return {**files, METADATA: json.dumps({**rest, "crc32": crc}).encode()}


def mend(files: Files) -> Files:
    """Make every checksum fit again."""
    if SPOOL in files:
        files = {**files, SPOOL: mend_spool(files[SPOOL])}
    content = metadata(files)
    listed = content.get("files")
    if isinstance(listed, dict):
        content["files"] = {
            **listed,
            **{
                name: {"bytes": len(data), "crc32": zlib.crc32(data)}
                for name, data in files.items()
                if name in listed
            },
        }
    try:
        return with_metadata(files, content) if content else files
    except (ValueError, RecursionError):
        return files


def mend_spool(data: bytes) -> bytes:
    """Make the checksums of a spool fit again, as far as batches can be recognised."""
    out = bytearray(data)
    header = np.frombuffer(
        out[: spool.HEADER.itemsize].ljust(spool.HEADER.itemsize, b"\0"), spool.HEADER
    ).copy()
    header["magic"], header["version"] = spool.MAGIC, spool.VERSION
    header["crc"] = zlib.crc32(header.tobytes()[:-4])
    out[: spool.HEADER.itemsize] = header.tobytes()
    at = spool.HEADER.itemsize
    while len(out) >= at + spool.BATCH.itemsize:
        head = np.frombuffer(bytes(out[at : at + spool.BATCH.itemsize]), spool.BATCH).copy()
        size = sum(
            int(head[name][0]) * dtype.itemsize
            for name, dtype in (("records", spool.RECORD), ("cpus", spool.CPU), ("states", spool.STATE))
        )
        body = bytes(out[at + spool.BATCH.itemsize : at + spool.BATCH.itemsize + size])
        head["magic"] = spool.BATCH_MAGIC
        head["crc"] = zlib.crc32(body, zlib.crc32(head.tobytes()[8:]))
        out[at : at + spool.BATCH.itemsize] = head.tobytes()
        at += spool.BATCH.itemsize + size
    return bytes(out)
