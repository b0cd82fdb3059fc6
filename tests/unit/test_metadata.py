"""The keys of ``metadata.json``: declared once, checked by their declared types, passed on when unknown."""

import pytest

from gilscope.errors import TraceFormatError
from gilscope.tables import schema
from gilscope.tables.checks import check_metadata
from gilscope.tables.metadata import Metadata, is_required, keys

BEGUN = {"gilscope_version": "1", "python_version": "3.14.0", "edges": "exact", "not_measured": []}
FILES = {f"{name}.arrow": {"bytes": 1, "crc32": 2} for name in schema.TABLES}
WHOLE = {**BEGUN, "duration_ns": 5, "files": FILES}
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


def test_absent_keys_are_not_written():
    assert Metadata(**BEGUN).as_json() == BEGUN


@pytest.mark.parametrize("extra", [{}, {"transitions": None}, {"of the future": [1], "others": "too"}])
def test_json_is_taken_over_as_it_is(extra):
    assert Metadata.from_json(WHOLE | extra).as_json() == WHOLE | extra


@pytest.mark.parametrize("key", BEGUN)
def test_a_recording_that_lacks_a_key_is_refused(key):
    content = {k: v for k, v in BEGUN.items() if k != key}
    with pytest.raises(TraceFormatError, match=key):
        Metadata.from_json(content)
    with pytest.raises(ValueError, match=f"{key}.*found nothing"):
        check_metadata(content, whole=False)


def test_what_a_trace_with_tables_has_beside():
    check_metadata(BEGUN, whole=False)
    check_metadata(WHOLE, whole=True)
    required = {key.name for key in keys() if is_required(key, whole=True)}
    assert required == WHOLE.keys()
    for key in ("duration_ns", "files"):
        with pytest.raises(ValueError, match=f"{key}.*found nothing"):
            check_metadata({k: v for k, v in WHOLE.items() if k != key}, whole=True)


@pytest.mark.parametrize("key", [key.name for key in keys()])
def test_every_key_has_values_that_do_not_fit(key):
    with pytest.raises(ValueError, match=f"key {key!r}: expected .*, found {{1.5}}"):
        check_metadata(WHOLE | {key: {1.5}}, whole=True)


def test_sentences_are_added_and_the_end_completes_the_metadata():
    begun = Metadata(**BEGUN).lacking("known before")
    ended = begun.ended({**STOPPED, "error": 28}, gil_on=True)
    assert ended.not_measured[0] == "known before"
    assert ended.not_measured[1].startswith("writing failed")
    assert (ended.complete, ended.sampler_cpu_ns, ended.spool_bytes) == (False, 1, 2)
    assert begun.not_measured == ["known before"]
    assert begun.ended(STOPPED, gil_on=True).complete
