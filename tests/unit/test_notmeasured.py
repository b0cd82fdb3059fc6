"""Sentences about what a trace could not measure."""

import re
from pathlib import Path

import pytest

import gilscope
from gilscope.tables import notmeasured

STOPPED = {
    "error": 0,
    "hooks_stayed": True,
    "gils_listed": True,
    "gils_missed": 0,
    "sites_missed": 0,
    "sampler_cpu_ns": 1,
    "spool_bytes": 2,
}
FACTS = {"edges": "exact", "not_measured": ["known before"]}


def test_a_recording_without_losses_adds_nothing():
    facts = notmeasured.final_facts(FACTS, STOPPED)
    assert facts == {
        "edges": "exact",
        "not_measured": ["known before"],
        "complete": True,
        "sampler_cpu_ns": 1,
        "spool_bytes": 2,
    }


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"sites_missed": 7}, "sites of 7 releases: the table of sites was full"),
        ({"hooks_stayed": False}, "in the place of a hook"),
        ({"gils_listed": False}, "list of interpreters was not as expected"),
        ({"gils_missed": 3}, "3 or more interpreters"),
        ({"error": 28}, "writing failed (No space left on device)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_loss_has_one_sentence(found, sentence):
    before, added = notmeasured.final_facts(FACTS, {**STOPPED, **found})["not_measured"]
    assert before == "known before"
    assert sentence in added


def test_the_room_for_sites_is_that_of_the_core():
    header = Path(gilscope.__file__).parent / "csrc" / "sites.h"
    if not header.exists():
        pytest.skip("no C sources beside this installation")
    logs = dict(re.findall(r"#define GS_LOG2_(\w+) (\d+)", header.read_text()))
    assert 1 << int(logs["SITES"]) == notmeasured.MOST_SITES
    assert 1 << int(logs["CODES"]) == notmeasured.MOST_FUNCTIONS
