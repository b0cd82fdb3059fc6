"""Files for https://www.speedscope.app: weighted stacks as profiles."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from gilscope.stacks import WEIGHTS
from gilscope.stacks.stacks import Frame, Stacks, stacks_of
from gilscope.tables.files import write_text
from gilscope.tables.spans import Int
from gilscope.tables.stored import Tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gilscope.stacks import Weight

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"


def write(tables: Tables, path: str | os.PathLike[str], weight: Weight = "held") -> None:
    """Write a profile of all threads and one of each; see `gilscope.Trace.to_speedscope`.

    Raises:
        OptionError: if the weight is unknown, or the trace has no sites.
        TraceWriteError: if the file cannot be written.
    """
    s = stacks_of(tables, weight)
    meaning = WEIGHTS[weight]
    profiles = [_profile(f"all threads: {meaning}", s, s.weights.sum(axis=0))]
    profiles += [
        _profile(f"{name}: {meaning}", s, row)
        for name, row in zip(s.threads, s.weights, strict=True)
        if row.any()
    ]
    content = {
        "$schema": _SCHEMA,
        "exporter": "gilscope",
        "name": meaning,
        "activeProfileIndex": 0,
        "shared": {"frames": [_frame(frame) for frame in s.frames]},
        "profiles": profiles,
    }
    write_text(Path(path), json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def _frame(frame: Frame) -> dict[str, Any]:
    function, file, line = frame
    return {"name": function} | ({"file": file} if file else {}) | ({"line": int(line)} if line else {})


def _profile(name: str, s: Stacks, weights: Int) -> dict[str, Any]:
    present = np.flatnonzero(weights)
    return {
        "type": "sampled",
        "name": name,
        "unit": "nanoseconds",
        "startValue": 0,
        "endValue": int(weights.sum()),
        "samples": [s.stacks[i] for i in present.tolist()],
        "weights": weights[present].tolist(),
    }
