"""Columns are declared once: checks, inputs and the versions of a table follow from the declaration."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from gilscope import analysis
from gilscope.errors import OptionError
from gilscope.tables import checks, schema
from gilscope.tables.schema import DECLARED, TABLES, Kind
from tests.support.analysed import rows as values_of
from tests.support.drawn.traces import round_robin

COLUMNS = [(name, column) for name, table in DECLARED.items() for column in table.columns]
LENGTH = 10
N_ROWS = {"threads": 1, "sites": 1}

BOUNDED = [
    (name, column)
    for name, column in COLUMNS
    if DECLARED[name].columns[column].kind not in (Kind.TEXT, Kind.FLAG)
    and not pa.types.is_unsigned_integer(TABLES[name].field(column).type)
]

each_column = pytest.mark.parametrize(("name", "column"), COLUMNS)


def one_row(name: str) -> pa.Table:
    """Return a table of one row in which each column has the smallest value it may have."""
    smallest = {Kind.TEXT: "", Kind.FLAG: False}
    values = {
        c: column.words[0] if column.words else smallest.get(column.kind, 0)
        for c, column in DECLARED[name].columns.items()
    }
    return pa.Table.from_pylist([values], TABLES[name])


def with_value(name: str, column: str, value: object) -> pa.Table:
    table = one_row(name)
    at = table.column_names.index(column)
    return table.set_column(at, table.field(at), pa.array([value], table.field(at).type))


def check(name: str, table: pa.Table) -> None:
    checks.check_rows(name, table, N_ROWS, LENGTH)


@each_column
def test_the_end_of_a_name_tells_its_unit(name, column):
    declared = DECLARED[name].columns[column]

    assert column.endswith("_ns") == (declared.kind.unit == "ns")
    assert bool(declared.words) == (declared.kind is Kind.WORD)
    assert declared.of is None or declared.kind is Kind.ID


@each_column
def test_null_is_refused_where_the_declaration_has_none(name, column):
    table = with_value(name, column, None)
    if DECLARED[name].columns[column].null:
        check(name, table)
    else:
        with pytest.raises(ValueError, match=f"{column}.*found nulls"):
            check(name, table)


@pytest.mark.parametrize(("name", "column"), BOUNDED)
def test_numbers_and_words_are_checked_against_the_declaration(name, column):
    declared = DECLARED[name].columns[column]
    wrong: object = -1
    if declared.words:
        wrong = "something else"
    elif declared.of:
        wrong = N_ROWS[declared.of]
    elif declared.kind is Kind.INSTANT:
        wrong = LENGTH + 1
    with pytest.raises(ValueError, match=column):
        check(name, with_value(name, column, wrong))


@each_column
def test_a_table_of_a_user_may_lack_what_has_a_default_or_may_be_null(name, column):
    trace = round_robin(3, 4)
    tables = {n: t.to_pandas() for n, t in trace.tables().items()}
    tables[name] = tables[name].drop(columns=column)

    if DECLARED[name].columns[column].needed:
        with pytest.raises(OptionError, match=column):
            analysis.blame(tables)
    else:
        assert len(analysis.blame(tables)) == 3


def test_a_default_stands_for_a_column_that_is_not_there():
    trace = round_robin(3, 4)
    tables = {n: t.to_pandas() for n, t in trace.tables().items()}
    tables["intervals"] = tables["intervals"].drop(columns="interpreter")

    assert values_of(analysis.overhead(tables)) == values_of(analysis.overhead(trace.recording()))


@pytest.mark.parametrize("name", DECLARED)
def test_later_versions_add_columns_at_the_end(name):
    newest, *older = schema.versions(name)

    assert newest == TABLES[name]
    for version in older:
        assert list(version) == list(newest)[: len(version)]
        table = schema.completed(name, version.empty_table())
        assert table.schema == newest
    empty = one_row(name).select(older[-1].names) if older else one_row(name)
    added = schema.completed(name, empty).to_pandas()[newest.names[len(empty.schema) :]]
    assert bool(pd.isna(added).to_numpy(np.bool_).all())
