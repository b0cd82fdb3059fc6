"""A short run of ``python -m tests.stress.load``: memory is flat, and what is lost is counted."""

import re
import sys

import pytest

from tests.stress import load

pytestmark = [pytest.mark.clock, pytest.mark.once]


@pytest.mark.parametrize("starve", [False, True])
def test_memory_is_flat_and_all_is_written_or_counted(tmp_path, starve):
    result = load.run(tmp_path, 8, starve=starve)
    assert result.made > 0
    assert result.faults() == []
    assert len(result.memory_kb) >= 2
    # 16 bytes a record: of requests, drop requests and forced releases as well, and the headers of batches.
    assert result.spool_bytes >= 16 * result.kept
    assert result.spool_bytes <= load.room(9, load.RATE)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_it_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["load", "--minutes", "1e9", "--folder", str(tmp_path)])
    assert load.main() == 2
    assert re.search(r"GB free, 288000000\.0 GB may be needed; give a --folder", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_faults_are_found():
    good = load.Result(100, 90, 10, [9000, 9000, 12000, 9000], 1440, cut_short=False)
    assert good.faults() == []
    bad = load.Result(100, 80, 10, [9000, 9000, 9000, 19000], 1440, cut_short=True)
    assert bad.faults() == [
        "resident memory grew by 10000 kB",
        "10 transitions are neither written nor counted",
        "the recording was cut short",
    ]
