"""Traces changed at random: only a `GilscopeError`, a valid prefix, or a result."""

import time
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gilscope
from gilscope.convert.spool import SpoolReader
from gilscope.errors import TraceFormatError
from gilscope.tables import schema
from tests.fuzz import engine, mutations, victim
from tests.fuzz import files as f
from tests.fuzz.seeds import RECORDED, seeds
from tests.support.drawn.traces import calm

pytestmark = pytest.mark.once

SEEDS = st.integers(0, len(seeds()) - 1)
CHANCE = st.integers(0, 2**32).map(Random)


@calm
@given(SEEDS, CHANCE)
def test_whatever_is_in_a_trace_only_our_own_errors_come_out(tmp_path_factory, seed, chance):
    files = mutations.mutate(seeds()[seed], chance, seeds())

    with engine.limited(engine.SLOW_S):
        victim.use(f.write(files, tmp_path_factory.mktemp("fuzz") / "t"), commands=chance.random() < 0.1)


@calm
@given(st.integers(RECORDED, len(seeds()) - 1), st.sampled_from(mutations.BYTES), CHANCE)
def test_damage_to_tables_is_found_or_changes_nothing(tmp_path_factory, seed, mutation, chance):
    whole = seeds()[seed]
    damaged = mutation(whole, chance, seeds())
    path = f.write(damaged, tmp_path_factory.mktemp("fuzz") / "t")

    try:
        t = gilscope.load(path)
        found = {name: t.table(name).to_pylist() for name in schema.TABLES}
    except TraceFormatError as error:
        assert str(path) in str(error)
        return
    # Another trace's metadata lists other checksums; white space of the metadata says nothing.
    sound = gilscope.load(f.write(whole, path.with_name("whole")))
    assert found == {name: sound.table(name).to_pylist() for name in schema.TABLES}


@calm
@given(st.integers(0, RECORDED - 1), st.sampled_from(mutations.BYTES), CHANCE)
def test_damage_to_a_spool_is_found_or_costs_the_tail(tmp_path_factory, seed, mutation, chance):
    only = {f.SPOOL: seeds()[seed][f.SPOOL]}
    damaged = mutation(only, chance, [only]).get(f.SPOOL, b"")
    path = tmp_path_factory.mktemp("fuzz") / "s"
    path.write_bytes(only[f.SPOOL])
    with SpoolReader(path) as reader:
        whole = [(b.records.tobytes(), b.states.tobytes()) for b in reader.batches()]
    path.write_bytes(damaged)

    try:
        with SpoolReader(path) as reader:
            found = [(b.records.tobytes(), b.states.tobytes()) for b in reader.batches()]
    except TraceFormatError as error:
        assert str(path) in str(error)
    else:
        assert found == whole[: len(found)]


def test_a_search_of_fixed_length_finds_nothing():
    found = engine.search(seeds(), seed=24, count=100)

    assert not found.findings, next(iter(found.findings.values())).trace
    assert len(found.lines) > 1000
    assert found.used > 40


def test_a_search_says_what_it_found(monkeypatch):
    def use(folder, **_options):
        if gilscope.load(folder).metadata["edges"] == "sampled":
            raise ZeroDivisionError("planted")
        return 1

    monkeypatch.setattr(victim, "use", use)
    search = engine.Search(list(seeds()), Random(1))
    search.begin()

    assert list(search.findings) == ["ZeroDivisionError at outside"]
    assert "planted" in search.findings["ZeroDivisionError at outside"].trace


def test_what_takes_too_long_is_ended():
    with pytest.raises(engine.TooSlowError), engine.limited(1):
        while True:
            time.monotonic()
