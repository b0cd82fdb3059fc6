"""The command line: what its arguments mean, and how its errors reach the user."""

import pytest

from gilscope.cli import doctor


@pytest.mark.parametrize("version", [(3, 12), (3, 13), (3, 14), (3, 15)])
def test_doctor_names_which_gils_of_other_interpreters_a_trace_records(version):
    (note,) = doctor.notes(version)
    assert "exact edges records their GILs too" in note
    assert "sampled edges and watches see only the main interpreter's GIL" in note


def test_doctor_has_no_note_where_all_interpreters_share_one_gil():
    assert doctor.notes((3, 11)) == []
