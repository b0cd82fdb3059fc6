"""Sentences about what a trace could not measure."""

import errno
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
    "sites_unread": 0,
    "sampler_cpu_ns": 1,
    "spool_bytes": 2,
}


def lacking(exact=True, gil_on=True, **found):
    return notmeasured.of_recording({**STOPPED, **found}, exact=exact, gil_on=gil_on)


def test_a_recording_without_losses_lacks_nothing():
    assert lacking() == lacking(exact=False) == []


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            {"sites_missed": 7},
            "sites of 7 releases: the table of sites was full (it has room for 131,072",
        ),
        ({"sites_unread": 7}, "sites of 7 releases: frames that changed while they were read"),
        ({"hooks_stayed": False}, "in the place of a hook"),
        ({"gils_listed": False, "gils_missed": 3}, "list of interpreters was not as expected"),
        ({"gils_missed": 3}, "3 or more interpreters had GILs of their own"),
        ({"gils_missed": 3, "exact": False}, "main interpreter's GIL only: 3 other interpreters"),
        ({"gil_on": False}, "the GIL was off when the trace ended"),
        ({"error": errno.ENOSPC}, "writing failed (No space left on device); what came after"),
        ({"error": errno.ESTALE}, "the program closed the recorder's file"),
    ],
)
def test_each_loss_of_a_recording_has_one_sentence(found, sentence):
    (only,) = lacking(**found)
    assert sentence in only


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({}, None),
        ({"dropped": 5}, "5 transitions found the ring full"),
        ({"illegal": 2}, "2 transitions do not fit"),
        ({"complete": False}, "the recording was cut short"),
        ({"exact": False}, "edges are sampled"),
    ],
)
def test_each_loss_of_a_conversion_has_one_sentence(found, sentence):
    whole = {"dropped": 0, "illegal": 0, "complete": True, "exact": True}
    sentences = notmeasured.of_conversion(**whole | found)
    assert len(sentences) == (sentence is not None)
    assert all(sentence in one for one in sentences)


def test_the_room_for_sites_is_that_of_the_core():
    header = Path(gilscope.__file__).parent / "csrc" / "sites.h"
    if not header.exists():
        pytest.skip("no C sources beside this installation")
    logs = dict(re.findall(r"#define GS_LOG2_(\w+) (\d+)", header.read_text()))
    assert 1 << int(logs["SITES"]) == notmeasured.MOST_SITES
    assert 1 << int(logs["CODES"]) == notmeasured.MOST_FUNCTIONS
