"""A Prefect API for the whole session, and a fleet small enough to go the whole way in seconds."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.settings import CHECKOUT

BESIDE_ANSWERING = (
    "CANCELLATION_CLEANUP", "CLEANUP_RECONCILER", "EVENT_PERSISTER", "FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "REPOSSESSOR",
    "SCHEDULER", "TASK_RUN_RECORDER", "TRIGGERS",
)  # fmt: skip
"""Services of a Prefect server that no flow asks anything of."""
DAYS = 12
LIVE_DAYS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallFleet:
    """Where a small fleet lies; `history` and `live` are sources."""

    contract: str
    history: str
    live: str
    labels: str
    oracle: str


@pytest.fixture(scope="session")
def api() -> Iterator[None]:
    """A real Prefect API, started once, without what it does beside answering: `tidewatch up` is tested with all of it."""
    from prefect.testing.utilities import prefect_test_harness

    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name in BESIDE_ANSWERING:
            patch.setenv(f"PREFECT_SERVER_SERVICES_{name}_ENABLED", "false")
        stack.enter_context(prefect_test_harness(server_startup_timeout=120))
        patch.undo()
        yield


@pytest.fixture
def told_to(api: None) -> dict[str, str]:
    """The environment of a process that finds a Prefect API standing, as on a server, and needs not start its own."""
    from prefect.settings import PREFECT_API_URL

    return {"PREFECT_API_URL": str(PREFECT_API_URL.value())}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own."""
    monkeypatch.setenv("TIDEWATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def small_contract(**changes: str) -> str:
    """The fleet's contract with what a small fleet needs; `changes` replace lines such as accuracy='accuracy = 0.9'."""
    told = (CHECKOUT / "infra" / "contracts" / "fleet.toml").read_text(encoding="utf-8")
    head, _, training = told.partition("[training]")
    lines = {
        "days": "days = 2",
        "accuracy": "accuracy = 0.95",
        "test_share": "test_share = 0.25",
        "calibrate_share": "calibrate_share = 0.15",
    } | changes
    kept = [lines.get(line.split("=")[0].strip(), line) for line in (head + training.partition("\n\n")[2]).splitlines()]
    windows = "" if "[windows]" in told else "[windows]\ntime_steps = 64\nwarmup_steps = 16\n"
    training = "[training]\nhidden = [16, 16]\nepochs = 3\nlearning_rate = 0.01\nschedule = 'cosine'\n"
    return "\n".join([*kept, "", windows, training])


@pytest.fixture(scope="session")
def small_fleet(tmp_path_factory: pytest.TempPathFactory) -> SmallFleet:
    """Three customers in two regions over twelve days, and one more day that arrives later."""
    return make_fleet(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="session")
def faulty_fleet(tmp_path_factory: pytest.TempPathFactory) -> SmallFleet:
    """The same with one volume of one customer told a hundredfold from some day on."""
    return make_fleet(tmp_path_factory.mktemp("faulty"), fault="x100")


def make_fleet(folder: Path, *, fault: str = "") -> SmallFleet:
    """Simulate and write one."""
    from telemetry.faults import plant
    from telemetry.fleet import FleetConfig, simulate, write

    start = datetime(2026, 1, 1, tzinfo=UTC)
    config = FleetConfig(
        customers=3, arriving=0, days=DAYS + LIVE_DAYS, start=start, seed=3, incidents=3, incident_days=(10, DAYS), early_incidents=0
    )
    fleet = simulate(config)
    if fault:
        readings, _ = plant(fleet.readings, fault=fault, seed=1)
        fleet = replace(fleet, readings=readings)
    write(fleet, folder=folder)
    (folder / "live").mkdir()
    for day in sorted((folder / "readings").glob("*.parquet"))[-LIVE_DAYS:]:
        day.rename(folder / "live" / day.name)
    contract = folder / "small.toml"
    contract.write_text(small_contract(), encoding="utf-8")
    truth = folder / "truth"
    return SmallFleet(
        contract=str(contract),
        history=str(folder / "readings"),
        live=str(folder / "live"),
        labels=str(truth / "labels.parquet"),
        oracle=str(truth / "oracle.parquet"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """An installation in which a small fleet was learned, and what that run said."""

    home: Path
    summary: dict[str, Any]  # Any: plain JSON
    fleet: SmallFleet


@pytest.fixture(scope="session")
def learned(api: None, small_fleet: SmallFleet, tmp_path_factory: pytest.TempPathFactory) -> Released:
    """Learned once a session; tests take `released`, a copy of it."""
    from flows.retrain import retrain

    home = tmp_path_factory.mktemp("learned") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIDEWATCH_HOME", str(home))
        summary = retrain(contract=small_fleet.contract, source=small_fleet.history, labels=small_fleet.labels)
    return Released(home=home, summary=summary, fleet=small_fleet)


@pytest.fixture
def released(learned: Released, home: Path) -> Released:
    """An installation of its own with a release in force."""
    shutil.copytree(learned.home, home)
    return replace(learned, home=home)
