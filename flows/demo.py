"""The demo: a simulated fleet goes the whole way, from raw readings to a gated release and scored minutes.

62 days are simulated. The first 60 are ingested, checked, learned and judged; the last two then arrive as live telemetry and
are scored by the champion, together with the minutes of the parallel test.
"""

import shutil
import tomllib
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from prefect import flow, task

from flows import console
from flows.reporting import closing
from flows.retrain import learn
from flows.retries import ONCE
from flows.runs import Run, begin
from flows.score import score_stage
from flows.settings import Settings

HISTORY_DAYS: Final = 60
LIVE_DAYS: Final = 2
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
CRIPPLED: Final = {"epochs": 1, "learning_rate": 1e-6}
"""Hardly any training: a model that the gate must hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Where a simulated fleet lies, and what was planted into it."""

    contract: str
    history: str
    live: str
    labels: str
    oracle: str
    planted: dict[str, Any] | None  # Any: plain JSON
    rows: int | None


@task(name="simulate fleet", **ONCE)
def simulate_fleet(*, seed: int, fault: str) -> Simulated:
    """The readings of a fleet by day, and what is true of them; the same seed writes the same bytes, and only once."""
    from telemetry.faults import plant
    from telemetry.fleet import FleetConfig, simulate, write

    settings = Settings()
    name = _name(seed=seed, fault=fault)
    folder = settings.home / "raw" / name
    planted, rows = None, None
    if not (folder / "contract.toml").exists():
        partial = folder.with_name(f"{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        fleet = simulate(FleetConfig(days=HISTORY_DAYS + LIVE_DAYS, start=START, seed=seed))
        rows = fleet.readings.height
        if fault:
            readings, planted = plant(fleet.readings, fault=fault, seed=seed)
            fleet = replace(fleet, readings=readings)
        write(fleet, folder=partial)
        _split_live(partial)
        (partial / "planted.toml").write_text(_told(planted), encoding="utf-8")
        shipped = settings.contract_path("fleet").read_text(encoding="utf-8")
        (partial / "contract.toml").write_text(shipped.replace('name = "fleet"', f'name = "{name}"', 1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return Simulated(
        contract=str(folder / "contract.toml"),
        history=str(folder / "history"),
        live=str(folder / "live"),
        labels=str(folder / "truth" / "labels.parquet"),
        oracle=str(folder / "truth" / "oracle.parquet"),
        planted=tomllib.loads((folder / "planted.toml").read_text(encoding="utf-8")) or None,
        rows=rows,
    )


def _name(*, seed: int, fault: str) -> str:
    """Its contract's name, and so its lake's: what is simulated otherwise never mixes with the fleet of the plain demo.

    >>> _name(seed=0, fault=""), _name(seed=1, fault="x0.001")
    ('fleet', 'fleet_seed1_x0_001')
    """
    kept = "".join(sign if sign.isalnum() else "_" for sign in fault.lower())
    return "_".join(("fleet", *([f"seed{seed}"] if seed else []), *([kept] if kept else [])))


def _split_live(folder: Path) -> None:
    """The last days are not there yet when the history is ingested."""
    live = folder / "live"
    live.mkdir()
    readings = folder / "readings"
    for day in sorted(readings.glob("*.parquet"))[-LIVE_DAYS:]:
        day.rename(live / day.name)
    readings.rename(folder / "history")


def _told(planted: Any) -> str:  # Any: telemetry.faults.PlantedFault or None
    """The planted fault as TOML; empty for none."""
    facts = asdict(planted) if planted else {}
    return "".join(f'{name} = "{value}"\n' for name, value in facts.items() if value is not None)


@flow(name="demo", log_prints=True)
def demo(fault: str = "", crippled: bool = False, seed: int = 0) -> dict[str, Any]:  # Any: plain JSON
    """Run the whole pipeline on a simulated fleet.

    Args:
        fault: Plant a fault into the telemetry first, such as x100: the check must stop it.
        crippled: Hardly train at all: the gate must hold the model.
        seed: Of the simulation.
    """
    settings = Settings()
    run = begin("demo", settings=settings)
    with closing(run, settings=settings, contract="fleet") as summary:
        with run.stage("simulate") as stage:
            fleet = simulate_fleet(seed=seed, fault=fault)
            stage.note = f"{fleet.rows:,} readings, {HISTORY_DAYS} + {LIVE_DAYS} days" if fleet.rows else "already there"
        if fleet.planted:
            summary["planted"] = fleet.planted
            console.line(f"  planted      {fleet.planted}")
        until = START + timedelta(days=HISTORY_DAYS)
        changes: dict[str, Any] = CRIPPLED if crippled else {}  # Any: keyword arguments of learn
        learn(run, summary, contract=fleet.contract, source=fleet.history, labels=fleet.labels, oracle=fleet.oracle, until=until, **changes)
        _live(run, summary, fleet=fleet)
    return summary


def _live(run: Run, summary: dict[str, Any], *, fleet: Simulated) -> None:  # Any: plain JSON
    """The last days arrive and are scored by whatever release is in force."""
    if summary.get("champion") is None:
        summary.update(incidents_injected=0, incidents_found=0)
        console.line("  score        nothing is in force that could score")
        return
    verdict = summary["sentence"]
    scored = score_stage(run, contract=fleet.contract, source=fleet.live)
    summary.update(scored.facts())
    summary["sentence"] = f"{verdict} {scored.sentence}"
