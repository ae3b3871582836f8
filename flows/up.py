"""Up: a Prefect server with every deployment of `infra/prefect.yaml` and its schedule, a worker, and the runs' pages, until Ctrl-C.

Each part is a process of its own (`flows.children`); this one starts them in order, follows them and ends them in the reverse order.
"""

import errno
import fcntl
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Final

from rich.console import Console

from flows.children import Children, Stop, StopRequested, wait_until
from flows.runtime import prepare
from flows.serve_pages import listen, serving
from flows.settings import Settings
from telemetry.errors import TidewatchError

POOL: Final = "tidewatch"
GRACE_SECONDS: Final = 30.0
"""What the worker and the server have, each, to end by themselves before they are killed."""
RUNS_GRACE_SECONDS: Final = 15.0
"""What the runs at work have to write their last page and tell the server."""

_out = Console(highlight=False, soft_wrap=True)


class PortTakenError(TidewatchError):
    """A port that is to be listened on cannot be had."""

    def __init__(self, *, port: int, purpose: str, option: str, cause: OSError) -> None:
        self.port, self.purpose, self.option = port, purpose, option
        why = "is taken by another program" if cause.errno == errno.EADDRINUSE else f"cannot be used ({cause.strerror})"
        super().__init__(
            f"Port {port}, for {purpose}, {why}. Nothing was started.",
            hint=f"name a free one (tidewatch up {option} {port + 100}), or end what listens there.",
        )


class AlreadyUpError(TidewatchError):
    """Another `tidewatch up` runs in the same home."""


def run(*, port: int, pages_port: int) -> None:
    """Start everything, say where it is, and follow it until Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        PortTakenError: a port is not free; nothing was started.
        AlreadyUpError: another one runs in this home; nothing was started.
        ChildEndedError: a part failed or ended unasked; the others were ended.
    """
    settings = Settings()
    stop = Stop()
    with stop.on_signals(), _alone(settings.home), _pages(settings.runs_folder, port=pages_port) as pages:
        _refuse_taken(port)
        prepare(settings, console_logs=True)
        os.environ.update(environment(settings, port=port, pages_port=pages_port))
        children = Children(logs=settings.home / "logs", stop=stop)
        with stop.on_signals(), serving(pages):
            try:
                _start(children, settings=settings, port=port)
                _tell(settings, port=port, pages_port=pages_port)
                children.wait()
            except StopRequested:
                _out.print("Ending: the worker and its runs first, then the server ...")
            finally:
                _end(children, stop=stop)
    _out.print("Ended.")


def environment(settings: Settings, *, port: int, pages_port: int) -> dict[str, str]:
    """What the children must have in their environment, whatever the user's own says."""
    prefect = settings.home / "prefect"
    return {
        "TIDEWATCH_HOME": str(settings.home),
        "TIDEWATCH_PAGES_URL": f"http://127.0.0.1:{pages_port}",
        "PREFECT_HOME": str(prefect),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",  # a run that does not reach this server is to fail, not to start its own
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(prefect / "ui"),  # by default inside of site-packages
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # the front page of the interface that links in logs lead to
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # two runs a minute are a million a year
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(14 * 86_400),
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_SCHEDULED_TIME": "PT5M",  # by default an hour of runs ahead, all of them late after a pause
        "PREFECT_WORKER_QUERY_SECONDS": "2",  # how long a run that was asked for waits for the worker's next look
        "PREFECT_WORKER_PREFETCH_SECONDS": "2",  # a run taken early would hold the deployment's only place against the one before it
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",  # `python` of the deployments' command
        "PWD": str(Path.cwd()),
    }


def _start(children: Children, *, settings: Settings, port: int) -> None:
    database = settings.home / "prefect" / "prefect.db"
    first = "" if database.exists() else " The first start takes half a minute."
    with _waiting(f"Starting the Prefect server (SQLite, {database}).{first}"):
        children.start("server", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        children.wait(until=lambda: _healthy(port))
    with _waiting("Registering the deployments of infra/prefect.yaml."):
        from flows import tidy  # Prefect takes a second to import, and reads the environment then

        tidy.make_pool(POOL)
        tidy.close_left_open(POOL)
        tidy.leave_one_waiting(POOL)
        children.run("deploy", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(settings.infra / "prefect.yaml"))
    with _waiting("Starting the worker."):
        since = datetime.now(UTC)
        children.start("worker", "prefect", "worker", "start", "--pool", POOL, "--name", POOL, "--install-policy", "never")
        children.wait(until=lambda: tidy.has_worker(POOL, since=since))


def _end(children: Children, *, stop: Stop) -> None:
    """The runs, the worker, then the server, whichever of them are there, and whatever fails on the way."""
    try:
        _end_worker(children, stop=stop)
    finally:
        children.end("server", grace_seconds=GRACE_SECONDS)


def _end_worker(children: Children, *, stop: Stop) -> None:
    worker, server = children.running("worker"), children.running("server")
    if worker is None or server is None:
        children.end("worker", grace_seconds=GRACE_SECONDS)
        return
    from flows import tidy

    try:
        with worker.ending_offspring():
            wait_until(lambda: not tidy.any_running(POOL), seconds=RUNS_GRACE_SECONDS, stop=stop)
    finally:
        children.end("worker", grace_seconds=GRACE_SECONDS)
    tidy.close_left_open(POOL)
    tidy.leave_one_waiting(POOL)


def _tell(settings: Settings, *, port: int, pages_port: int) -> None:
    address = f"http://127.0.0.1:{port}"
    prefect, here = Path(sys.executable).parent / "prefect", Path.cwd()
    shown = prefect.relative_to(here) if prefect.is_relative_to(here) else prefect
    _out.print(
        f"""
Tidewatch is up. Everything it keeps is in {settings.home}

  Prefect UI    {address}
  Deployments   {address}/deployments
  Run pages     http://127.0.0.1:{pages_port}
  Logs          {settings.home / "logs"}

Next: open Deployments, choose retrain, Run, Custom run, and give a source (a folder, file or glob of readings),
or from another terminal: PREFECT_API_URL={address}/api {shown} deployment run retrain/retrain -p source=<folder> --watch
Ctrl-C ends it cleanly; the schedules go on at the next start.
"""
    )


@contextmanager
def _waiting(what: str) -> Iterator[None]:
    """A spinner at a terminal, a plain line elsewhere."""
    if not _out.is_terminal:
        _out.print(what)
    with _out.status(what):
        yield


@contextmanager
def _pages(folder: Path, *, port: int) -> Iterator[ThreadingHTTPServer]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        server = listen(folder, port=port)
    except OSError as error:
        raise PortTakenError(port=port, purpose="the runs' pages", option="--pages-port", cause=error) from error
    with server:
        yield server


def _refuse_taken(port: int) -> None:
    """Bind the way the server will, and let go."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(port=port, purpose="the Prefect server", option="--port", cause=error) from error


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home's lock; the kernel gives it back with the process, however that ends."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyUpError(
                f"Tidewatch is up already in {home} (process {lock.read().strip() or 'unknown'}). Nothing was started.",
                hint="end that one with Ctrl-C, or give this one a home of its own: TIDEWATCH_HOME=<folder> tidewatch up --port <free>.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
