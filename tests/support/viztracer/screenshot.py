"""Writes a picture of a trace's timeline in the viewer; without arguments, the one in the README.

Usage: ``python -m tests.support.viztracer.screenshot [TRACE.gilscope OUT.png --from-ns A --to-ns B]``, with
times as the tables have them: nanoseconds since the start of the trace.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from gilscope import viztracer
from gilscope.tables.metadata import read_metadata
from gilscope.tables.stored import Tables
from tests.support.viztracer import browser

EXAMPLES = Path(__file__).parents[3] / "examples"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    reason = browser.missing()
    if reason is not None:
        print(f"screenshot: {reason}", file=sys.stderr)
        return 1
    if options.trace is None:
        write_picture_of_readme(EXAMPLES / "convoy.png")
        return 0
    recording = Tables(options.trace, read_metadata(options.trace))
    to_ns = recording.metadata["duration_ns"] if options.to_ns is None else options.to_ns
    size = options.width, options.height
    take(recording, options.picture, (options.from_ns, to_ns), size)
    return 0


def write_picture_of_readme(picture: Path) -> None:
    """Run the example of the convoy, and take the picture of 30 ms of it."""
    with tempfile.TemporaryDirectory() as folder:
        example = [sys.executable, EXAMPLES / "convoy.py"]
        subprocess.run(example, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        trace = Path(folder, "convoy.gilscope")
        recording = Tables(trace, read_metadata(trace))
        take(recording, picture, (500_000_000, 530_000_000), (1600, 560))


def take(recording: Tables, picture: Path, window: tuple[int, int], size: tuple[int, int]) -> None:
    """Write a PNG of a recording's timeline.

    Args:
        recording: the trace to show.
        picture: the file to write.
        window: first and last nanosecond shown, since the start of the trace.
        size: width and height in pixels.
    """
    zero_ns = recording.metadata["start_monotonic_ns"]
    with tempfile.TemporaryDirectory() as folder:
        timeline = Path(folder, "timeline.json.gz")
        viztracer.export(recording, timeline)
        with browser.served(timeline) as url, browser.opened(url, *size) as page:
            browser.show(page, zero_ns + window[0], zero_ns + window[1])
            page.screenshot(path=str(picture))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.support.viztracer.screenshot", description=__doc__)
    parser.add_argument("trace", type=Path, nargs="?", help="a trace folder")
    parser.add_argument("picture", type=Path, nargs="?", default="timeline.png", help="the PNG to write")
    parser.add_argument("--from-ns", type=int, default=0, help="left edge, since the start of the trace")
    parser.add_argument("--to-ns", type=int, help="right edge (default: the end of the trace)")
    parser.add_argument("--width", type=int, default=1600, help="pixels")
    parser.add_argument("--height", type=int, default=500, help="pixels")
    return parser


if __name__ == "__main__":
    sys.exit(main())
