"""The command line: what its arguments mean, and how errors reach the user."""

import argparse
import gzip
import signal
import sys

import pytest

import gilscope
from gilscope import cli, export
from gilscope.cli import doctor, info
from gilscope.errors import OptionError
from gilscope.stacks import WEIGHTS
from gilscope.units import seconds, times
from tests.support.drawn.rows import Site
from tests.support.drawn.traces import round_robin


def parsed(*arguments):
    return cli.make_parser().parse_args(arguments)


def values(*arguments):
    """Return the arguments of a command, without those that choose it."""
    return {
        name: value for name, value in vars(parsed(*arguments)).items() if name not in ("command", "execute")
    }


def refused(capsys, *arguments):
    """Return what a command prints on stderr when it ends with status 2."""
    try:
        status = cli.main(arguments)
    except SystemExit as end:  # argparse exits on its own
        status = end.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    return err


@pytest.fixture
def handmade(tmp_path, monkeypatch):
    """Let commands load a handmade trace; return the working directory they write to."""
    trace = round_robin(3, 10)
    sites = [Site(0, None, "main", "/app/main.py", 7, 1), Site(1, 0, "spin", "/app/main.py", 3, 1)]
    intervals = [interval._replace(site=1) for interval in trace.intervals]
    tables = trace.but(sites=sites, intervals=intervals).recording(pid=4301, start_monotonic_ns=0)
    t = gilscope.Trace(tables)
    monkeypatch.setattr(gilscope, "load", lambda path: t)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", ["0.005", "5ms", "5000us", "5000000ns", "0.005s", "5e-3"])
def test_seconds_reads_each_unit(text):
    assert seconds(text) == pytest.approx(0.005)


@pytest.mark.parametrize("text", ["", "ms", "soon", "5 parsecs", "1m", "5ms,6ms"])
def test_seconds_refuses_what_is_not_a_duration(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is not a duration; use 0\.001, 1ms or 500us"):
        seconds(text)


def test_times_are_separated_by_commas():
    assert times("1ms,2ms,3") == [0.001, 0.002, 3.0]
    with pytest.raises(argparse.ArgumentTypeError, match="'' is not a duration"):
        times("1ms,")


def test_each_command_has_a_module_of_its_own_and_a_help_text(capsys):
    names = [command.NAME for command in cli.COMMANDS]
    assert names == ["run", "report", "info", "view", "export", "compare", "sweep", "doctor"]
    for command in cli.COMMANDS:
        assert command.__name__ == f"gilscope.cli.{command.NAME}"
        with pytest.raises(SystemExit) as end:
            cli.main([command.NAME, "--help"])
        assert end.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: gilscope {command.NAME} [-h]")


def test_run_takes_options_of_the_trace_before_the_program_only():
    found = values("run", "-o", "x", "--edges", "sampled", "--period", "2ms", "-q", "p.py", "-o", "--edges")
    assert (found["path"], found["edges"], found["period"], found["quiet"]) == ("x", "sampled", 0.002, True)
    assert found["script"] == ["p.py", "-o", "--edges"]
    assert values("run", "--children", "-m", "pkg", "-q")["module"] == ["pkg", "-q"]
    assert not values("run", "-m", "pkg", "-q")["quiet"]


def test_usage_texts_show_the_program_and_each_option(capsys):
    usage = " ".join(refused(capsys, "run", "--edges", "none").split())
    assert "[--switch-interval TIME]" in usage
    assert "(SCRIPT | -m MODULE) [ARG ...]" in usage
    usage = " ".join(refused(capsys, "sweep").split())
    assert "[--intervals TIMES]" in usage
    assert "SCRIPT [-- ARG ...]" in usage


@pytest.mark.parametrize("command", ["report", "info", "view", "export"])
def test_commands_read_the_default_trace_or_one_that_is_named(command):
    assert values(command)["trace"] == "trace.gilscope"
    assert values(command, "other.gilscope")["trace"] == "other.gilscope"


def test_view_and_export_take_a_window():
    for command in ("view", "export"):
        found = values(command, "--window", "1ms,2", "--max-slices", "7")
        assert (found["window"], found["max_slices"]) == ([0.001, 2.0], 7)


def test_compare_takes_repeats_of_both_programs():
    found = values("compare", "a", "b", "c", "--after", "d", "e")
    assert (found["before"], found["after"], found["more"]) == (["a", "b"], "c", ["d", "e"])


def test_sweep_leaves_to_the_script_what_follows_two_dashes(monkeypatch):
    seen = []
    monkeypatch.setattr(cli.sweep, "execute", lambda args: seen.append(args) or 0)
    assert cli.main(["sweep", "p.py", "--repeats", "3", "--", "--repeats", "9", "--", "x"]) == 0
    assert (seen[0].script, seen[0].repeats) == ("p.py", 3)
    assert seen[0].program_arguments == ["--repeats", "9", "--", "x"]


def test_errors_are_a_message_on_stderr_and_status_2(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.trace").write_text("")
    for arguments, message in (
        ((), "the following arguments are required: COMMAND"),
        (("repot",), "invalid choice: 'repot'"),
        (("run",), "gilscope: nothing to run: give a script, or -m and a module"),
        (("run", "none.py"), "gilscope: can't open file 'none.py': no such script"),
        (("run", "--period", "soon", "p.py"), "argument --period: 'soon' is not a duration"),
        (("report", "no.trace"), "no.trace: no metadata.json in it"),
        (("info", "none.gilscope"), "none.gilscope: no such trace"),
        (("compare", "a.gilscope", "b.gilscope"), "a.gilscope: no such trace"),
        (("sweep", "p.py", "--repeats", "0"), "gilscope: repeats must be"),
    ):
        assert message in refused(capsys, *arguments), arguments


@pytest.mark.usefixtures("handmade")
def test_options_that_need_a_trace_are_checked(capsys):
    assert "add --html FILE" in refused(capsys, "report", "--source")
    assert "expected two times with a comma between them, got 1" in refused(capsys, "export", "--window", "1")
    assert "the file cannot be written" in refused(capsys, "report", "--html", "no/such/folder.html")


def test_control_characters_of_a_message_are_not_sent_to_the_terminal(capsys, monkeypatch):
    def fail(_args):
        raise OptionError("a\x1b[2J\nb")

    monkeypatch.setattr(info, "execute", fail)
    assert refused(capsys, "info") == "gilscope: a\\x1b[2J\nb\n"


def test_an_interrupt_ends_with_the_status_that_shells_expect(monkeypatch):
    def interrupted(_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "execute", interrupted)
    assert cli.main(["info"]) == 128 + signal.SIGINT


def test_after_a_broken_pipe_output_goes_nowhere(monkeypatch, tmp_path):
    def broken(_args):
        raise BrokenPipeError

    monkeypatch.setattr(info, "execute", broken)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert cli.main(["info"]) == 1
        print("late", file=out, flush=True)
    assert (tmp_path / "out").read_text() == ""


def starts(path):
    """Return how a file begins."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        return file.read(200).decode()


BEGINNINGS = {
    "t.json": '{"traceEvents":[',
    "t.json.gz": '{"traceEvents":[',
    "t.speedscope.json": '{"$schema":"https://www.speedscope.app',
    "t.txt": "t",
    "t.svg": "<svg ",
    "t.html": "<!DOCTYPE html>",
}


def test_every_suffix_of_the_registry_is_tried_here():
    suffixes = {suffix for kind in export.FORMATS.values() for suffix in kind.suffixes}
    assert {name.removeprefix("t") for name in BEGINNINGS} == suffixes


@pytest.mark.parametrize("name", BEGINNINGS)
def test_export_writes_each_format_by_its_suffix(capsys, handmade, name):
    assert cli.main(["export", "-o", name]) == 0
    assert capsys.readouterr().out == f"{name}\n"
    assert starts(handmade / name).startswith(BEGINNINGS[name])
    assert [file.name for file in handmade.iterdir()] == [name]


@pytest.mark.parametrize("name", export.FORMATS)
def test_a_format_by_name_beats_the_suffix(handmade, name):
    assert cli.main(["export", "-o", "out.svg", "--format", name]) == 0
    suffix = export.FORMATS[name].suffixes[0]
    assert starts(handmade / "out.svg").startswith(BEGINNINGS[f"t{suffix}"])


def test_without_a_name_a_format_has_its_own(capsys, handmade):
    assert cli.main(["export"]) == 0
    assert cli.main(["export", "--format", "flamegraph"]) == 0
    assert capsys.readouterr().out == "timeline.json.gz\nflamegraph.svg\n"
    assert {file.name for file in handmade.iterdir()} == {"timeline.json.gz", "flamegraph.svg"}


def test_an_unknown_format_or_suffix_names_all_that_there_are(capsys, handmade):
    printed = refused(capsys, "export", "--format", "pprof")
    assert all(name in printed for name in export.FORMATS)
    printed = refused(capsys, "export", "-o", "run.pprof")
    assert "run.pprof: expected a file name that ends in .json or .json.gz (viztracer), .s" in printed
    assert all(f"({name})" in printed for name in export.FORMATS)
    assert list(handmade.iterdir()) == []
    with pytest.raises(OptionError, match=r"format must be one of 'viztracer', .*, not 'pprof'"):
        export.write(gilscope.load("t")._tables, "run.pprof", format="pprof")


def test_the_weight_chooses_what_stacks_add_up_to(handmade):
    totals = {}
    for weight in WEIGHTS:
        assert cli.main(["export", "-o", "t.txt", "--weight", weight]) == 0
        lines = (handmade / "t.txt").read_text().splitlines()
        totals[weight] = sum(int(line.rpartition(" ")[2]) for line in lines)
    rows = gilscope.load("t").intervals.to_pylist()
    for weight, state in (("held", "run"), ("waited", "wait")):
        assert totals[weight] == sum(row["duration_ns"] for row in rows if row["state"] == state)
    assert 0 < totals["inflicted"] < totals["waited"]


@pytest.mark.parametrize(
    ("name", "option", "takers"),
    [
        ("t.svg", ["--merge"], "merge is an option of viztracer; t.svg is written as flamegraph"),
        ("t.html", ["--window", "0,1ms"], "window is an option of viztracer; t.html is written as html"),
        (
            "t.json",
            ["--weight", "held"],
            "weight is an option of speedscope, collapsed, flamegraph; t.json",
        ),
        ("t.txt", ["--source"], "source is an option of html; t.txt is written as collapsed"),
    ],
)
@pytest.mark.usefixtures("handmade")
def test_options_of_another_format_are_refused(capsys, name, option, takers):
    assert takers in refused(capsys, "export", "-o", name, *option)


def test_export_reports_what_a_timeline_leaves_out(capsys, handmade):
    assert cli.main(["export", "-o", "t.json", "--max-slices", "10"]) == 0
    assert "intervals are more than 10, so the timeline shows" in capsys.readouterr().err


@pytest.mark.parametrize("version", [(3, 12), (3, 13), (3, 14), (3, 15)])
def test_doctor_names_which_gils_of_other_interpreters_a_trace_records(version):
    (note,) = doctor.notes(version)
    assert "exact edges records their GILs too" in note
    assert "sampled edges and watches see only the main interpreter's GIL" in note


def test_doctor_has_no_note_where_all_interpreters_share_one_gil():
    assert doctor.notes((3, 11)) == []
