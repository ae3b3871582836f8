"""The runs' pages over HTTP, for links from the Prefect UI: files below one folder, to this machine only, read and nothing else."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

LISTED_RUNS: Final = 200


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    """Answer requests in the background until the block ends."""
    thread = threading.Thread(target=server.serve_forever, daemon=True, name="pages")
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def listen(folder: Path, *, port: int) -> ThreadingHTTPServer:
    """A server of the files below `folder` on 127.0.0.1, holding its port, not answering yet."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Pages, directory=str(folder.resolve())))


class _Pages(SimpleHTTPRequestHandler):
    """Files below its directory. A folder without `index.html` answers with the runs below it, the newest first."""

    server_version = "tidewatch"
    sys_version = ""

    def send_head(self) -> Any:  # Any: as in the standard library
        asked = Path(self.translate_path(self.path))
        root = Path(self.directory)
        if not asked.resolve().is_relative_to(root):  # a link that leads out
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> Any:  # Any: as in the standard library
        import io

        folder, root = Path(path).resolve(), Path(self.directory)
        if root not in (folder, folder.parent):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        content = index(folder, root=root).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return io.BytesIO(content)

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the standard library's name; Any: as there)
        """Say nothing: the terminal belongs to `up`."""


def index(folder: Path, *, root: Path) -> str:
    """The page that lists the runs below `folder`: the root of all runs, or one flow's."""
    runs = sorted(folder.glob("*/summary.json" if folder != root else "*/*/summary.json"), key=lambda path: path.parent.name, reverse=True)
    rows = "\n".join(_row(path, root=root) for path in runs[:LISTED_RUNS])
    title = "Runs" if folder == root else f"Runs of {escape(folder.name)}"
    table = (
        f"<table>\n<tr><th>Started (UTC)</th><th>Flow</th><th>Verdict</th><th></th></tr>\n{rows}\n</table>"
        if rows
        else "<p>No run has ended yet.</p>"
    )
    return f"{_HEAD}<title>{title} - Tidewatch</title>\n<h1>{title}</h1>\n{table}\n"


def _row(path: Path, *, root: Path) -> str:
    summary = json.loads(path.read_text(encoding="utf-8"))
    flow, run = path.parent.relative_to(root).parts
    started = str(summary.get("started_at", run))[:19].replace("T", " ")
    cells = (
        f'<a href="/{quote(flow)}/{quote(run)}/">{escape(started)}</a>',
        *(escape(str(summary.get(key, ""))) for key in ("flow", "verdict", "sentence")),
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1c2733; background: #fff }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #dde3ea }
td:first-child { white-space: nowrap } a { color: #0b63b3 }
</style>
"""
