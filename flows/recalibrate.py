"""Recalibrate: thresholds anew on the latest telemetry, with the champion's weights and scales, through the same gate."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from prefect import flow, task

from flows.check import check_stage, quality_facts
from flows.judge import judge_stage, leave_bars
from flows.lakes import lake_of
from flows.parallel_test import candidate_of, training_of, try_out
from flows.prepare import prepare_stage, work
from flows.publish import publish_stage
from flows.reporting import closing
from flows.retries import ONCE
from flows.runs import Run, begin
from flows.settings import Settings
from serving import ledger
from serving.release import load, save_weights
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from telemetry.panel import Panel, Part
from telemetry.schema import END
from validation import verdict
from validation.findings import DataCheckFailed

LATEST: Final = timedelta(days=28)
"""Days that show every hour of the week four times; what is older tells less of how the telemetry is now."""


@task(name="take champion", **ONCE)
def take_champion(*, contract: str, folder: str) -> str:
    """Lay the champion's weights and scales out as if this run had trained them; its id."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    standing = ledger.champion(lake_of(declared, settings=settings))
    if standing is None:
        raise ReleaseError("No release is in force that could be recalibrated.", hint="train one first: tidewatch retrain.")
    release = load(standing.release, folder=settings.releases_folder)
    learned = contracts.parse(release.contract, path=f"of release {release.id}")
    if _inputs(learned) != _inputs(declared):
        raise ReleaseError(
            f"The contract {declared.name} has other parameters, targets or leads, or other attributes or holidays, than those that "
            f"{release.id} learned.",
            hint="learn them first: tidewatch retrain.",
        )
    place = work(folder)
    place.mkdir(parents=True, exist_ok=True)
    save_weights(release.weights, path=place / "weights.safetensors")
    release.scales.write_parquet(place / "champion_scales.parquet")
    facts = release.manifest
    record = {name: facts[name] for name in ("training", "entities", "learned_until")} | {"network": release.network}
    record["chosen_until"] = facts.get("chosen_until", facts["calibrated_until"])
    (place / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return release.id


def _inputs(contract: Contract) -> tuple[Any, ...]:  # Any: sections and names, only compared
    """What weights cannot do without. Zones, and facts of further customers, may be declared since."""
    told = contract.attributes
    return contract.names, contract.targets, contract.leads, contract.calendar.has_holidays, told.one_hot, tuple(told.facts)


@task(name="calibrate on latest days", **ONCE)
def calibrate_on_latest(*, contract: str, folder: str) -> datetime:
    """Set the thresholds once more, now on the latest days that the weights have not learned from; until when these are.

    The parallel test judges thresholds of the days before it, of which they know nothing. What goes in force is made in the same way, of
    those days and of the test's: the newest tell best how the telemetry is now.
    """
    declared = contracts.load(Settings().contract_path(contract))
    gap, cadence = declared.windows.time_steps, declared.time.cadence
    panel = panels.load(work(folder) / "panel")
    parts = pl.read_parquet(work(folder) / "parts.parquet")
    since = None
    if declared.split.by == "time":
        learned = datetime.fromisoformat(training_of(folder)["learned_until"])
        since = max(learned + gap * cadence, parts.select(pl.col(END).max() - LATEST).item())
    seen = try_out(candidate_of(folder), panel=latest(panel, gap=gap, since=since), contract=declared, into=work(folder) / "latest")
    until = pl.col(END) - gap * cadence
    parts.with_columns(until.alias("calibrate_end"), until.alias("test_start")).write_parquet(work(folder) / "parts.parquet")
    leave_bars(seen, folder=folder)
    return datetime.fromisoformat(str(parts.select(until.max()).item()))


def latest(panel: Panel, *, gap: int, since: datetime | None = None) -> Panel:
    """A panel whose calibrate part goes on to the last step but `gap` of each entity's test part; nothing is left to test on.

    Args:
        panel: with its parts.
        gap: steps.
        since: the first instant of the calibrate part; where it began, by default.
    """
    calibrates, tests = panel.part == Part.CALIBRATE, panel.part == Part.TEST
    steps = np.arange(panel.steps)
    begun = np.maximum.accumulate(calibrates, axis=1)
    if since is not None:
        begun = np.broadcast_to(panel.start_us + steps * panel.cadence_seconds * 1_000_000 >= since.timestamp() * 1e6, calibrates.shape)
    end = panel.steps - np.argmax(tests[:, ::-1], axis=1)
    judged = tests.any(axis=1)[:, None]
    learns = begun & (steps < (end - gap)[:, None]) & (panel.part != Part.ABSENT) & judged
    before = np.where(tests | (calibrates & begun), Part.GAP, np.where(calibrates, Part.TRAIN, panel.part))
    part = np.where(learns, Part.CALIBRATE, np.where(judged, before, panel.part))
    return replace(panel, part=part.astype(panel.part.dtype))


def champion_stage(run: Run, *, contract: str) -> str:
    """Take the weights and scales of the release in force."""
    with run.stage("champion") as stage:
        release = take_champion(contract=contract, folder=str(run.folder))
        stage.note = f"weights and scales of {release}"
    return release


@flow(name="recalibrate", log_prints=True)
def recalibrate(contract: str = "fleet") -> dict[str, Any]:  # Any: plain JSON
    """Set the thresholds anew on the latest telemetry; weights and scales stay the champion's.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
    """
    settings = Settings()
    run = begin("recalibrate", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        release = champion_stage(run, contract=contract)
        try:
            report = check_stage(run, contract=contract, release=release)
        except DataCheckFailed as failed:
            summary.update(quality_facts(failed.report), gate="stop", release=None)
            raise
        summary.update(quality_facts(report))
        prepared = prepare_stage(run, contract=contract, scales=str(work(run.folder) / "champion_scales.parquet"))
        judged = judge_stage(run, contract=contract)
        with run.stage("calibrate") as stage:
            until = calibrate_on_latest(contract=contract, folder=str(run.folder))
            stage.note = f"thresholds of the latest days, until {until:%Y-%m-%d %H:%M} UTC"
        published = publish_stage(run, contract=contract, judged=judged, checks_passed=prepared.checks_passed, reason="recalibrate")
        summary.update(prepared.facts() | judged.facts() | published.facts())
        summary["sentence"] = f"{published.sentence} {verdict.left_out(report.findings)}".strip()
    return summary
