"""Real servers on free loopback ports, there for some tests and gone after them: PostgreSQL and Prometheus, as Debian packages them."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx

HOST = "127.0.0.1"
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A running PostgreSQL.

    Attributes:
        port: on the loopback interface, its only one.
        user: a superuser; others are made by the tests.
        password: of that user.
        log: what the server wrote, every statement with its bound values among it.
        pid: its process.
    """

    pid: int
    port: int
    user: str
    password: str
    log: Path

    def url(self, *, user: str | None = None, password: str | None = None, database: str = "postgres") -> str:
        """The URL of a database, with credentials."""
        secret = quote(password or self.password, safe="")
        return f"postgresql://{user or self.user}:{secret}@{HOST}:{self.port}/{database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running Prometheus server.

    Attributes:
        url: its address.
        pid: its process.
    """

    pid: int
    url: str


@contextmanager
def postgres(*, password: str) -> Iterator[Postgres]:
    """A new PostgreSQL that logs every statement."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert programs, "PostgreSQL is not installed. Hint: apt-get install postgresql"
    with _folder("postgres") as folder:
        secret = folder / "password"
        secret.write_text(password)
        if os.geteuid() == 0:  # initdb refuses to run as root
            for path in (folder, secret):
                shutil.chown(path, "postgres", "postgres")
        made = ("--username=keeper", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        run = _as_postgres()
        subprocess.run([*run, str(programs[-1]), *made, f"{folder / 'data'}"], check=True, capture_output=True, cwd=folder)
        port = _free_port()
        settings = {
            "listen_addresses": HOST,
            "unix_socket_directories": "",
            "log_statement": "all",
            "log_min_error_statement": "panic",
            "timezone": "Asia/Tokyo",  # a session that forgets to ask for UTC shows
            "fsync": "off",
            "shared_buffers": "32MB",
            "autovacuum": "off",
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        command = [*run, str(programs[-1].with_name("postgres")), "-D", str(folder / "data"), "-p", str(port), *options]
        with _running(command, log=folder / "log", stop=signal.SIGINT, ready=lambda: _takes_queries(programs[-1].parent, port=port)) as pid:
            yield Postgres(pid=pid, port=port, user="keeper", password=password, log=folder / "log")


@contextmanager
def prometheus(*, openmetrics: str) -> Iterator[Prometheus]:
    """A Prometheus server that holds the samples of an OpenMetrics text, and scrapes nothing."""
    for program in ("prometheus", "promtool"):
        assert shutil.which(program), f"{program} is not installed. Hint: apt-get install prometheus"
    with _folder("prometheus") as folder:
        (folder / "samples").write_text(openmetrics)
        (folder / "prometheus.yml").write_text("global: {}\n")
        backfill = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "samples", "tsdb"]
        subprocess.run(backfill, check=True, capture_output=True, cwd=folder)
        port = _free_port()
        url = f"http://{HOST}:{port}"
        options = ("--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--storage.tsdb.retention.time=100y")
        command = ["setpriv", "--pdeathsig", "TERM", "prometheus", *options, f"--web.listen-address={HOST}:{port}"]
        with _running(command, log=folder / "log", stop=signal.SIGTERM, ready=lambda: _answers(f"{url}/-/ready")) as pid:
            yield Prometheus(pid=pid, url=url)


@contextmanager
def _running(command: list[str], *, log: Path, stop: signal.Signals, ready: Callable[[], bool]) -> Iterator[int]:
    with log.open("wb") as written:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=written, cwd=log.parent)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not ready():
            assert process.poll() is None, f"{command} ended:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"{command} is not ready after {_PATIENCE_S} s:\n{log.read_text()}"
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(stop)
        try:
            process.wait(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _folder(server: str) -> Iterator[Path]:
    """A folder that any user may enter, which the folders of tests are not."""
    folder = Path(tempfile.mkdtemp(prefix=f"tidewatch-{server}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _as_postgres() -> list[str]:
    """How its programs are called: never as root, and never to outlive the tests."""
    bound = ["setpriv", "--pdeathsig", "INT"]
    return [*bound, "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else bound


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
    return port


def _takes_queries(programs: Path, *, port: int) -> bool:
    return subprocess.run([programs / "pg_isready", "-q", "-h", HOST, "-p", str(port)], check=False).returncode == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
