"""Telemetry for the benchmarks of the learner, from readings to forecasts, by the pipeline's own functions and without its orchestration.

readings -> lake (ingest) -> checked (raw suite, quarantine) -> prepared (cut of time, scales, panel on disk) -> learned -> forecasts
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from flows.parallel_test import Candidate, forecasts_of
from flows.train import network_of
from flows.train import training_of as how_trained
from models import train as trainer
from models.config import Training
from models.train import Epoch, Trained
from serving.forecasts import tell
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry import scaling, windows
from telemetry.contract import Contract
from telemetry.files import FileSource
from telemetry.fleet import Fleet, FleetConfig, simulate, write
from telemetry.ingestion import ingest
from telemetry.lake import Lake
from telemetry.masks import masked
from telemetry.panel import Panel, Part
from telemetry.schema import AT, ENTITIES, ENTITY, FIRST_SEEN, LABELS, LAST_SEEN, LEAD
from validation import verdict
from validation.checks import check_raw, check_tensor
from validation.findings import CheckReport

ROOT: Final = Path(__file__).resolve().parents[3]
CONTRACTS: Final = ROOT / "infra" / "contracts"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Telemetry:
    """What a lake holds.

    Attributes:
        contract: by which it was ingested.
        grid: rows of `grid_schema`, sorted by entity and time.
        entities: ENTITIES.
        labels: LABELS.
        oracle: ORACLES of the simulator; None of real telemetry.
    """

    contract: Contract
    grid: pl.DataFrame
    entities: pl.DataFrame
    labels: pl.DataFrame
    oracle: pl.DataFrame | None = None

    def until(self, instant: datetime) -> "Telemetry":
        """What was there before an instant."""
        seen = self.entities.filter(pl.col(FIRST_SEEN) < instant)
        last = pl.min_horizontal(LAST_SEEN, pl.lit(instant).cast(seen.schema[LAST_SEEN]))
        return replace(self, grid=self.grid.filter(pl.col(AT) < instant), entities=seen.with_columns(last.alias(LAST_SEEN)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What is learned from: the parts of the time line, SCALES, and the panel, which is mapped from disk."""

    parts: pl.DataFrame
    scales: pl.DataFrame
    panel: Panel


def of_fleet(config: FleetConfig, *, folder: Path) -> Telemetry:
    """A simulated fleet, ingested as the demo does it."""
    return of_simulated(simulate(config), folder=folder)


def of_simulated(made: Fleet, *, folder: Path) -> Telemetry:
    """The same of a fleet that was simulated before."""
    write(made, folder=folder / "raw")
    contract = contracts.load(CONTRACTS / "fleet.toml")
    return of_source(folder / "raw" / "readings", contract=contract, folder=folder, labels=made.labels, oracle=made.oracle)


def of_source(
    source: Path, *, contract: Contract, folder: Path, labels: pl.DataFrame | None = None, oracle: pl.DataFrame | None = None
) -> Telemetry:
    """What is read of a source."""
    lake = Lake(str(folder / "lake"))
    ingest(FileSource(str(source), contract=contract), contract=contract, lake=lake)
    if labels is not None:
        lake.merge_labels(labels)
    return Telemetry(
        contract=contract,
        grid=lake.grid(contract=contract).collect(),
        entities=lake.read("entities", schema=ENTITIES).collect(),
        labels=lake.read("labels", schema=LABELS).collect(),
        oracle=oracle,
    )


def checked(telemetry: Telemetry, *, folder: Path) -> tuple[Telemetry, CheckReport]:
    """The raw suite's word, and the telemetry without what it quarantines."""
    lazy = telemetry.grid.lazy()
    report = check_raw(lazy, contract=telemetry.contract, folder=folder, name="raw grid")
    spans = verdict.spans(report.findings, grid=lazy, contract=telemetry.contract)
    return replace(telemetry, grid=masked(lazy, spans=spans).collect()), report


def prepared(telemetry: Telemetry, *, folder: Path, scales: pl.DataFrame | None = None, parts: pl.DataFrame | None = None) -> Prepared:
    """Cut, scaled (by its own training part unless scales are given), made into a panel, written to `folder` and mapped from there."""
    grid, contract = telemetry.grid.lazy(), telemetry.contract
    cut = windows.cuts(grid, contract=contract) if parts is None else parts
    told = scaling.fit(grid, contract=contract, entities=telemetry.entities, cuts=cut) if scales is None else scales
    panel = windows.panel(grid, contract=contract, scales=told, entities=telemetry.entities, labels=telemetry.labels, parts=cut)
    panels.save(panel, folder=folder)
    return Prepared(parts=cut, scales=told, panel=panels.load(folder))


def tensors(made: Prepared, telemetry: Telemetry, *, folder: Path) -> CheckReport:
    """What the suite over the tensors says."""
    return check_tensor(
        made.panel,
        scales=made.scales,
        grid=telemetry.grid.lazy(),
        contract=telemetry.contract,
        folder=folder,
        entities=telemetry.entities,
    )


def training_of(contract: Contract, **changes: Any) -> Training:  # Any: fields of Training
    """How the contract has it trained, with changes; None changes nothing."""
    told: Training = how_trained(contract)
    return replace(told, **{name: value for name, value in changes.items() if value is not None})


def learned(
    panel: Panel, *, contract: Contract, scales: pl.DataFrame, training: Training, on_epoch: Callable[[Epoch], None] | None = None
) -> tuple[Candidate, Trained]:
    """The contract's network, fitted to a panel."""
    network = network_of(panel, contract=contract)
    trained = trainer.fit(panel, network=network, training=training, on_epoch=on_epoch)
    return Candidate(network=network, weights=trained.weights, scales=scales, entities=panel.entities), trained


def forecasts(candidate: Candidate, *, panel: Panel, part: Part | None = Part.TEST) -> pl.DataFrame:
    """FORECASTS of lead 1 for a part of the panel, the network's state carried from the panel's first step on."""
    told = tell(panel, forecasts_of(candidate, panel=panel), leads=candidate.network.leads, scales=candidate.scales, start=0, part=part)
    return told.filter(pl.col(LEAD) == 1)


def within(oracle: pl.DataFrame | None, rows: pl.DataFrame) -> pl.DataFrame | None:
    """The oracle over the period of the rows alone."""
    if oracle is None:
        return None
    first, last = rows.select(first=pl.col(AT).min(), last=pl.col(AT).max()).row(0)
    return oracle.filter(pl.col(AT).is_between(first, last), pl.col(ENTITY).is_in(rows[ENTITY].unique().implode()))
