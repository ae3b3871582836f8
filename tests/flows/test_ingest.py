"""An ingestion as a run of Prefect: its summary and its page, and that no secret of a source is kept anywhere."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.ingest import ingest
from tests.flows.lakes import Edge, make_edge, minute

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.usefixtures("api")]
SECRET = "hush-hush-77"  # noqa: S105


@pytest.fixture
def edge(tmp_path: Path, home: Path) -> Edge:
    made = make_edge(tmp_path / "edge")
    made.write("a.csv", minute(0), minute(1), minute(1), minute(2, queries="many"))
    return made


class Refuses(BaseHTTPRequestHandler):
    """A server that says back what it was asked, and refuses."""

    def do_GET(self) -> None:
        """Refuse."""
        body = f"nobody called {self.headers.get('Authorization')} may ask {self.path}".encode()
        self.send_response(401)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Refuse."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that refuses; what the command line puts into the environment is taken out again."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", SECRET)
    for name in ("SOURCE_CREDENTIALS", "SOURCE_QUERY"):
        monkeypatch.setenv(name, "")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_run_accounts_for_every_row_and_shows_it(edge: Edge) -> None:
    done = ingest(contract=edge.contract, source=str(edge.source))
    assert done["verdict"] == "ingested"
    assert (done["rows_in"], done["rows_accepted"], done["rows_quarantined"], done["rows_repeated"]) == (4, 2, 1, 1)
    assert (done["feed"], done["newest"], done["entities"]) == (str(edge.source), "2024-01-01T00:01:00Z", 1)
    html = Path(done["page"]).read_text(encoding="utf-8")
    assert "4 rows read from" in html
    assert "1 in quarantine, 1 new in this run" in html
    again = ingest(contract=edge.contract, source=str(edge.source))
    assert (again["files_known"], again["rows_in"], again["rows_new"]) == (1, 0, 0)
    assert "1 in quarantine, 0 new in this run" in Path(again["page"]).read_text(encoding="utf-8")


def test_what_is_new_is_read_where_a_file_is_rotten(edge: Edge) -> None:
    (edge.source / "b.csv").write_text("time,customer\n1,2\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["ingest", "--contract", edge.contract, "--source", str(edge.source), "--json"])
    assert result.exit_code == 0, result.stderr
    done = json.loads(result.stdout.splitlines()[-1])
    assert (done["files"], done["files_failed"], done["rows_new"]) == (2, 1, 2)


def test_a_source_that_is_a_url_is_not_looked_for_on_the_disk(edge: Edge) -> None:
    result = CliRunner().invoke(app, ["ingest", "--contract", edge.contract, "--source", (edge.source / "a.csv").as_uri()])
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("url", ["http://ann:{secret}@127.0.0.1:{port}", "postgresql://ann:{secret}@127.0.0.1:1/fleet?password={secret}"])
@pytest.mark.parametrize("command", ["ingest", "check", "retrain"])
def test_no_secret_of_a_source_is_kept_or_told(edge: Edge, home: Path, refusing: int, url: str, command: str) -> None:
    """Not in Prefect's database, nor in a page, a table, a log or a message; the run fails and says why."""
    told = edge.contract
    Path(told).write_text(Path(told).read_text(encoding="utf-8") + '[sql]\ntable = "minutes"\n', encoding="utf-8")
    result = CliRunner().invoke(app, [command, "--contract", told, "--source", url.format(secret=SECRET, port=refusing), "--json"])
    assert result.exit_code == 2, result.stderr
    assert "Hint:" in result.stderr
    assert SECRET not in result.stdout + result.stderr
    kept = [path for folder in (home, Path(os.environ["PREFECT_HOME"])) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "summary.json" for path in kept)
    assert [str(path) for path in kept if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in kept_by_prefect()


def kept_by_prefect() -> str:
    """Everything that Prefect's API tells of runs: their parameters, states, logs and artifacts."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        told = [
            client._client.post(f"/{what}/filter", json={"limit": 200}).text for what in ("flow_runs", "task_runs", "logs", "artifacts")
        ]
    return "".join(told)
