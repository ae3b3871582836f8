"""`tidewatch up` brings everything up, and everything down again."""

import fcntl
import json
import signal
import socket
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.flows.processes import Tidewatch, eventually, free_port, listens, tidewatch

SCHEDULED = ("ingest", "score", "quality-report", "tend", "recalibrate", "shadow", "retrain")
DEPLOYMENTS = {f"{name}/{name}" for name in (*SCHEDULED, "sweep")}


@dataclass(frozen=True, slots=True)
class Up:
    """A running `tidewatch up` with its addresses."""

    command: Tidewatch
    port: int
    pages_port: int

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """The API's answer; SQLite may be busy for a moment, which Prefect's own client waits out too."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  (our own address)
                    return json.load(answer)
            except HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(1)
        raise AssertionError(f"{path} stays busy")

    def waiting(self) -> list[str]:
        """The deployment of every run that a schedule has put ahead."""
        runs = self.ask("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "limit": 200})
        return [run["deployment_id"] for run in runs if run["auto_scheduled"]]

    @property
    def is_up(self) -> bool:
        return "Ctrl-C" in self.command.told

    @property
    def ports(self) -> list[int]:
        return [port for port in (self.port, self.pages_port) if listens(port)]


def started(home: Path) -> Iterator[Up]:
    port, pages_port = free_port(), free_port()
    with tidewatch("up", "--port", str(port), "--pages-port", str(pages_port), home=home) as command:
        yield Up(command, port, pages_port)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One that is up, for tests that only look; after them Ctrl-C ends everything and leaves the schedules waiting."""
    for up in started(tmp_path_factory.mktemp("standing")):
        up.command.wait_until(lambda up=up: up.is_up)
        yield up
        assert_ends(up, signal.SIGINT)


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[Up]:
    """One that has just begun, for tests that end it."""
    yield from started(tmp_path / "home")


@pytest.mark.service
def test_every_deployment_is_there_with_its_schedule_and_a_worker(standing: Up) -> None:
    assert standing.ask("/health") is True
    deployments = standing.ask("/deployments/filter", {})
    flows = {flow["id"]: flow["name"] for flow in standing.ask("/flows/filter", {})}
    assert {f"{flows[each['flow_id']]}/{each['name']}" for each in deployments} == DEPLOYMENTS
    assert [each["name"] for each in deployments if each["paused"] or not all(s["active"] for s in each["schedules"])] == []
    assert {each["concurrency_options"]["collision_strategy"] for each in deployments} == {"CANCEL_NEW"}
    assert [worker["status"] for worker in standing.ask("/work_pools/tidewatch/workers/filter", {})] == ["ONLINE"]


@pytest.mark.service
def test_cron_schedules_yield_scheduled_runs(standing: Up) -> None:
    """With a SQLAlchemy too new for it the scheduler of a server that looks well creates none, silently."""

    assert eventually(lambda: len(set(standing.waiting())) == len(SCHEDULED), seconds=90), standing.waiting()


@pytest.mark.service
def test_a_triggered_run_runs_and_its_page_is_served(standing: Up) -> None:
    deployment = standing.ask("/deployments/name/quality-report/quality-report")
    run = standing.ask(f"/deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})

    def state() -> dict[str, Any]:
        answer: dict[str, Any] = standing.ask(f"/flow_runs/{run['id']}")["state"]
        return answer

    assert eventually(lambda: state()["type"] not in ("SCHEDULED", "PENDING"), seconds=120), state()
    assert eventually(lambda: state()["type"] in ("COMPLETED", "FAILED", "CRASHED"), seconds=120), state()
    assert state()["type"] == "FAILED"  # an empty lake: refused, with a sentence
    assert "lake" in state()["message"]
    with urllib.request.urlopen(f"http://127.0.0.1:{standing.pages_port}/", timeout=10) as answer:
        assert 'href="/quality-report/' in answer.read().decode()


def assert_ends(up: Up, number: signal.Signals) -> None:
    """A signal ends everything, well, and leaves the schedules waiting."""
    up.command.wait_until(lambda: up.is_up and len(up.waiting()) > len(SCHEDULED))
    assert len(up.command.look()) >= 2
    assert up.command.end(number) == 0, up.command.told
    assert (up.command.left(), up.ports) == ([], [])
    assert up.command.told.endswith("Ended.\n")
    with closing(sqlite3.connect(up.command.home / "prefect" / "prefect.db")) as database:
        (waiting,) = database.execute("SELECT COUNT(DISTINCT deployment_id) FROM flow_run WHERE state_type = 'SCHEDULED'").fetchone()
    assert waiting == len(SCHEDULED)  # more than one of each where the scheduler looked once more before it ended


@pytest.mark.service
def test_ctrl_c_while_it_starts_ends_everything(starting: Up) -> None:
    starting.command.wait_until(lambda: starting.command.child("server", "start") is not None)
    assert starting.command.end(signal.SIGINT) == 0, starting.command.told
    assert (starting.command.left(), starting.ports) == ([], [])


@pytest.mark.service
def test_a_part_that_ends_unasked_is_told_and_ends_the_rest(starting: Up) -> None:
    told, log = "Worker 'tidewatch' started!", starting.command.home / "logs" / "worker.log"
    starting.command.wait_until(lambda: starting.is_up and told in log.read_text(encoding="utf-8"))  # it is known before it says so
    worker = starting.command.child("worker", "start")
    assert worker is not None
    worker.kill()
    assert starting.command.process.wait(timeout=60) == 2
    assert "The worker was killed by SIGKILL. Its last lines:" in starting.command.told
    assert told in starting.command.told
    assert (starting.command.left(), starting.ports) == ([], [])


@pytest.mark.service
def test_what_was_killed_takes_its_children_along_starts_again_with_no_run_left_open_and_ends_on_sigterm(
    starting: Up, tmp_path: Path
) -> None:
    """A run that says Running for ever would hold its deployment's only place."""
    starting.command.wait_until(lambda: starting.is_up)
    deployment = starting.ask("/deployments/name/retrain/retrain")
    run = starting.ask(f"/deployments/{deployment['id']}/create_flow_run", {"state": {"type": "PENDING"}})
    starting.ask(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "RUNNING"}, "force": True})
    starting.command.end(signal.SIGKILL)
    assert eventually(lambda: not starting.command.left(), seconds=40), starting.command.left()
    for again in started(tmp_path / "home"):
        again.command.wait_until(lambda again=again: again.is_up)
        state = again.ask(f"/flow_runs/{run['id']}")["state"]
        assert (state["type"], state["message"]) == ("CRASHED", "Tidewatch ended while this run was at work.")
        assert_ends(again, signal.SIGTERM)


@pytest.mark.parametrize(("option", "purpose"), [("--port", "the Prefect server"), ("--pages-port", "the runs' pages")])
def test_a_taken_port_is_refused_by_name_before_anything_starts(option: str, purpose: str, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = {"--port": free_port(), "--pages-port": free_port()} | {option: taken}
        arguments = ["up", *(str(word) for pair in ports.items() for word in pair)]
        result = CliRunner().invoke(app, arguments, env={"TIDEWATCH_HOME": str(tmp_path)})
    assert result.exit_code == 2
    assert f"Port {taken}, for {purpose}, is taken by another program. Nothing was started." in result.stderr
    assert f"Hint: name a free one (tidewatch up {option} {taken + 100})" in result.stderr
    assert not (tmp_path / "prefect").exists()


def test_a_second_one_in_the_same_home_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "up.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = CliRunner().invoke(app, ["up", "--port", str(free_port())], env={"TIDEWATCH_HOME": str(tmp_path)})
    assert result.exit_code == 2
    assert f"Tidewatch is up already in {tmp_path} (process 4711). Nothing was started." in result.stderr
