"""Weighted stacks, written as flame graphs, collapsed stacks and files for speedscope."""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes as long to import as all of gilscope
if TYPE_CHECKING:
    from typing import Literal

    Weight = Literal["held", "inflicted", "waited"]

WEIGHTS: dict[Weight, str] = {
    "held": "time the GIL was held",
    "inflicted": "time other threads waited meanwhile",
    "waited": "time waited for the GIL",
}
"""What a stack can weigh, and the phrase that files show for it."""
