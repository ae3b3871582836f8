"""The runs' pages: what lies below their folder and nothing else, read and nothing else."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from flows.serve_pages import index, listen, serving


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs beside a secret."""
    tmp_path = tmp_path_factory.mktemp("pages")
    (tmp_path / "secret.txt").write_text("secret")
    for flow, started in (("ingest", "20260101-000000-aaaaaa"), ("retrain", "20260102-000000-bbbbbb")):
        folder = tmp_path / "runs" / flow / started
        (folder / "data_docs").mkdir(parents=True)
        (folder / "index.html").write_text(f"<p>page of {flow}")
        summary = {"flow": flow, "verdict": "done", "sentence": "1 < 2 & done", "started_at": "2026-01-02T00:00:00.123+00:00"}
        (folder / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "runs" / "way-out").symlink_to(tmp_path / "secret.txt")
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def port(runs: Path) -> Iterator[int]:
    server = listen(runs, port=0)
    with serving(server):
        yield server.server_address[1]


def ask(port: int, path: str, *, method: str = "GET") -> tuple[int, str]:
    """Status and text; the path goes out as it is."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_run_page_is_served(port: int) -> None:
    assert ask(port, "/ingest/20260101-000000-aaaaaa/index.html") == (200, "<p>page of ingest")
    assert ask(port, "/ingest/20260101-000000-aaaaaa/") == (200, "<p>page of ingest")


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/ingest/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//../secret.txt", "/way-out", "/nothing"],
)
def test_nothing_outside_is_served(port: int, path: str) -> None:
    status, text = ask(port, path)
    assert status == 404
    assert "<h1>Error response</h1>" in text
    assert ask(port, path, method="HEAD")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_written(port: int, method: str) -> None:
    assert ask(port, "/ingest/20260101-000000-aaaaaa/index.html", method=method)[0] == 501


def test_the_index_lists_the_newest_first_and_escapes_what_it_tells(port: int) -> None:
    status, text = ask(port, "/")
    assert status == 200
    assert text.index("/retrain/20260102-000000-bbbbbb/") < text.index("/ingest/20260101-000000-aaaaaa/")
    assert "1 &lt; 2 &amp; done" in text
    assert "2026-01-02 00:00:00" in text


def test_a_flow_has_an_index_of_its_own(port: int) -> None:
    status, text = ask(port, "/ingest/")
    assert status == 200
    assert "Runs of ingest" in text
    assert "retrain" not in text


def test_a_folder_deeper_down_is_not_listed(port: int) -> None:
    assert ask(port, "/ingest/20260101-000000-aaaaaa/data_docs/")[0] == 404


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    assert "No run has ended yet." in index(tmp_path, root=tmp_path)
