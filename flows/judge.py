"""Judge: calibrate the thresholds, then measure over the parallel test, which nothing has seen yet: forecasts, incidents, baselines."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from prefect import task

from flows.artifacts import tell_table
from flows.blocks import percent
from flows.excerpts import excerpts
from flows.ingest import labels_of, lake_of
from flows.prepare import work
from flows.retries import ONCE
from flows.runs import Run
from flows.settings import Settings
from serving import ledger
from serving.forecasts import tell_each
from serving.incidents import FALSE, MINUTES_TO_DETECT, Matched, match, open_incidents
from serving.release import Release, load, load_weights
from serving.scorer import ENTITY_SCORES, score
from serving.thresholds import calibrate
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry import scaling
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.panel import Panel, Part
from telemetry.schema import AT, END, ENTITY, INCIDENTS, LABEL, LEAD, PARAMETER, SCORE, SD, SIGMA, START, TARGET
from validation.metrics import Measured, Metrics, measure
from validation.vus import vus_pr


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was measured over the parallel test; the frames are under `data` in the run's folder."""

    metrics: Metrics
    champion: Metrics | None
    champion_release: str | None
    finite: bool
    incidents_labelled: int
    incidents_found: int
    incidents_false: int
    minutes_to_detect: float | None
    found: frozenset[str] | None
    found_by_champion: frozenset[str] | None
    vus_pr: float | None
    vus_pr_pca: float | None

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        told = self.metrics
        return {
            "accuracy": told.accuracy,
            "accuracy_lower": told.accuracy_lower,
            "accuracy_persistence": told.accuracy_persistence,
            "accuracy_oracle": told.accuracy_oracle,
            "skill": told.skill,
            "entity_skill_share": told.entity_skill_share,
            "worst_decile_accuracy": told.worst_decile_accuracy,
            "incidents_labelled": self.incidents_labelled,
            "incidents_found": self.incidents_found,
            "false_incidents": self.incidents_false,
            "minutes_to_detect": self.minutes_to_detect,
            "vus_pr": self.vus_pr,
            "vus_pr_pca": self.vus_pr_pca,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network with its weights and scales, ready to be run over a panel."""

    network: Any  # Any: models.config.Network, imported late with JAX
    weights: dict[str, NDArray[np.float32]]
    scales: pl.DataFrame
    entities: tuple[str, ...]


@task(name="judge", **ONCE)
def judge(*, contract: str, folder: str, oracle: str | None) -> Judged:
    """Thresholds from the calibration part, figures from the test part, for the candidate of this run and for the champion."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    panel = panels.load(work(folder) / "panel")
    candidate = _candidate(folder)
    thresholds, seen, finite = _measure(candidate, panel=panel, contract=declared, into=work(folder) / "candidate")
    thresholds.write_parquet(work(folder) / "thresholds.parquet")
    measured = _over_test(work(folder) / "candidate", contract=declared, oracle=oracle)
    labels = _labels_in_test(labels_of(lake), folder=folder)
    matched = match(seen.incidents, labels=labels)
    champion = _champion(lake, panel=panel, candidate=candidate, contract=declared, labels=labels, folder=folder)
    judged = Judged(
        metrics=measured.metrics,
        champion=champion.metrics if champion else None,
        champion_release=champion.release if champion else None,
        finite=finite and all(bool(np.isfinite(weight).all()) for weight in candidate.weights.values()),
        incidents_labelled=labels.height,
        incidents_found=matched.found,
        incidents_false=matched.false,
        minutes_to_detect=matched.labels.select(pl.col(MINUTES_TO_DETECT).median()).item(),
        found=matched.found_keys if labels.height else None,
        found_by_champion=champion.found if champion and labels.height else None,
        vus_pr=_mean_vus(seen.ranks) if labels.height else None,
        vus_pr_pca=_mean_vus(_pca(panel, ranks=seen.ranks)) if labels.height else None,
    )
    _leave(measured, matched=matched, contract=declared, folder=folder)
    return judged


def _over_test(measured: Path, *, contract: Contract, oracle: str | None) -> Measured:
    known = pl.read_parquet(oracle) if oracle else None
    return measure(pl.scan_parquet(measured / "lead1" / "*.parquet"), block_minutes=contract.gate.block_minutes, oracle=known)


def _candidate(folder: str) -> Candidate:
    from models.config import Network

    record = training_of(folder)
    return Candidate(
        network=Network.from_dict(record["network"]),
        weights=load_weights(work(folder) / "weights.safetensors"),
        scales=pl.read_parquet(work(folder) / "scales.parquet"),
        entities=tuple(record["entities"]),
    )


def training_of(folder: str) -> dict[str, Any]:  # Any: plain JSON
    """What `flows.train` wrote down of this run's training: network, training, entities, learned_until."""
    told: dict[str, Any] = json.loads((work(folder) / "training.json").read_text(encoding="utf-8"))
    return told


def forecasts_of(candidate: Candidate, *, panel: Panel, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
    """f32[E, stop - start, L, K]: what the candidate expected at every step; it may know other entities than the panel has."""
    from models.predict import forecast

    place = {name: index for index, name in enumerate(candidate.entities)}
    index = np.array([place.get(name, -1) for name in panel.entities], dtype=np.int32)
    until = panel.steps if stop is None else stop
    return forecast(panel, network=candidate.network, weights=candidate.weights, start=start, stop=until, entity_index=index)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What scoring the test part gave: incidents, and one joint score a minute for ranking (entity, at, score, label)."""

    incidents: pl.DataFrame
    ranks: pl.DataFrame


def _measure(candidate: Candidate, *, panel: Panel, contract: Contract, into: Path) -> tuple[pl.DataFrame, _Seen, bool]:
    """Thresholds, what the test part gave, and whether every forecast was a number.

    One entity after the other, so that memory stays small; the rows of lead 1 and the scores are left in `into`.
    """
    scaled = forecasts_of(candidate, panel=panel)
    calibration = tell_each(panel, scaled, leads=contract.leads.steps, scales=candidate.scales, start=0, part=Part.CALIBRATE)
    thresholds = calibrate(calibration, policy=contract.thresholds, cadence_seconds=contract.time.cadence_seconds)
    for name in ("lead1", "scores"):
        (into / name).mkdir(parents=True)
    incidents, ranks = [pl.DataFrame(schema=dict(INCIDENTS))], [pl.DataFrame(schema=dict(ENTITY_SCORES))]
    until = datetime.fromtimestamp(panel.start_us / 1e6 + panel.steps * panel.cadence_seconds, tz=UTC)
    for number, rows in enumerate(tell_each(panel, scaled, leads=contract.leads.steps, scales=candidate.scales, start=0, part=Part.TEST)):
        if rows.is_empty():
            continue
        scored = score(rows, thresholds=thresholds, release="candidate")
        rows.filter(pl.col(LEAD) == 1).write_parquet(into / "lead1" / f"{number:05}.parquet")
        scored.scores.write_parquet(into / "scores" / f"{number:05}.parquet")
        end = rows.select(pl.col(AT).max() + contract.time.cadence).item() if contract.split.by == "entity" else until
        incidents.append(
            open_incidents(scored.scores, policy=contract.thresholds, cadence_seconds=contract.time.cadence_seconds, until=end)
        )
        ranks.append(scored.entities)
    return thresholds, _Seen(incidents=pl.concat(incidents), ranks=pl.concat(ranks)), bool(np.isfinite(scaled).all())


def _labels_in_test(labels: pl.DataFrame, *, folder: str) -> pl.DataFrame:
    """The labelled incidents that begin within their entity's test part."""
    parts = pl.read_parquet(work(folder) / "parts.parquet").select(ENTITY, "test_start", pl.col(END).alias("test_end"))
    within = labels.join(parts, on=ENTITY).filter(pl.col(START) >= pl.col("test_start"), pl.col(START) < pl.col("test_end"))
    return within.select(labels.columns).sort(ENTITY, START)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Champion:
    release: str
    metrics: Metrics
    found: frozenset[str]


def _champion(lake: Lake, *, panel: Panel, candidate: Candidate, contract: Contract, labels: pl.DataFrame, folder: str) -> _Champion | None:
    """The release in force over the very same rows, with its own scales and thresholds, judged by the candidate's sigma."""
    standing = ledger.champion(lake)
    if standing is None:
        return None
    release = load(standing.release, folder=Settings().releases_folder)
    if tuple(release.contract["parameters"]) != panel.parameters:
        return None
    own = champion_candidate(release)
    pair = {"entities": panel.entities, "parameters": panel.parameters}
    rescaled = panels.rescale(panel, old=scaling.matrices(candidate.scales, **pair), new=scaling.matrices(own.scales, **pair))
    into = work(folder) / "champion"
    _, seen, _ = _measure(own, panel=rescaled, contract=contract, into=into)
    sigma = candidate.scales.select(ENTITY, pl.col(PARAMETER).alias(TARGET), pl.col(SD).cast(pl.Float32).alias(SIGMA))
    rows = pl.scan_parquet(into / "lead1" / "*.parquet").drop(SIGMA).join(sigma.lazy(), on=[ENTITY, TARGET], how="left")
    metrics = measure(rows, block_minutes=contract.gate.block_minutes).metrics
    return _Champion(release=release.id, metrics=metrics, found=match(seen.incidents, labels=labels).found_keys)


def champion_candidate(release: Release) -> Candidate:
    """A release as something that can be run over a panel."""
    from models.config import Network

    return Candidate(
        network=Network.from_dict(release.network),
        weights=dict(release.weights),
        scales=release.scales,
        entities=tuple(release.manifest["entities"]),
    )


def _pca(panel: Panel, *, ranks: pl.DataFrame) -> pl.DataFrame:
    """The linear baseline's score for the same minutes: PCA fitted on the training part."""
    from models.baselines import pca_score

    scores = pca_score(panel.values, observed=panel.observed, fit=(panel.part == Part.TRAIN) & ~panel.newcomer & ~panel.incident)
    step_us = panel.cadence_seconds * 1_000_000
    frames = [
        rows.with_columns(
            pl.Series(SCORE, scores[panel.entities.index(str(name)), (rows[AT].dt.epoch("us").to_numpy() - panel.start_us) // step_us])
        )
        for (name,), rows in ranks.partition_by(ENTITY, as_dict=True).items()
    ]
    return pl.concat(frames) if frames else ranks


def _mean_vus(ranks: pl.DataFrame) -> float | None:
    """The mean VUS-PR over the entities that have a labelled minute; None if there is none."""
    labelled = ranks.filter(pl.col(LABEL).any().over(ENTITY)).sort(ENTITY, AT)
    values = [
        vus_pr(rows[SCORE].cast(pl.Float64).to_numpy(), rows[LABEL].to_numpy())
        for rows in labelled.partition_by(ENTITY, maintain_order=True)
    ]
    return float(np.mean(values)) if values else None


def _leave(measured: Measured, *, matched: Matched, contract: Contract, folder: str) -> None:
    """What the page shows, under `data`."""
    data = Path(folder) / "data"
    data.mkdir(exist_ok=True)
    for name in ("by_entity", "by_target", "by_entity_target"):
        getattr(measured, name).write_parquet(data / f"{name}.parquet")
    incidents_told(matched).write_parquet(data / "incidents.parquet")
    matched.labels.write_parquet(data / "labels.parquet")
    thresholds = pl.read_parquet(work(folder) / "thresholds.parquet")
    excerpts(work(folder) / "candidate", matched=matched, thresholds=thresholds, contract=contract).write_parquet(data / "excerpts.parquet")
    tell_table("accuracy-by-target", rows=measured.by_target.to_dicts(), description="Accuracy over the parallel test")


def incidents_told(matched: Matched) -> pl.DataFrame:
    """The incidents as the page shows them: `matched` says whether a label explains it, null where there are no labels."""
    explained = ~pl.col(FALSE) if matched.labels.height else pl.lit(None, dtype=pl.Boolean)
    return matched.incidents.with_columns(explained.alias("matched")).drop(FALSE)


def judge_stage(run: Run, *, contract: str, oracle: str | None = None) -> Judged:
    """The stage that `retrain` and `recalibrate` share."""
    with run.stage("judge") as stage:
        judged = judge(contract=contract, folder=str(run.folder), oracle=oracle)
        told = judged.metrics
        best = f", oracle {percent(told.accuracy_oracle)}" if told.accuracy_oracle is not None else ""
        stage.note = (
            f"accuracy {percent(told.accuracy)} (lower bound {percent(told.accuracy_lower)}; "
            f"last value {percent(told.accuracy_persistence)}{best}), "
            f"skill {told.skill:.3f}"
        )
        if judged.vus_pr is not None:
            stage.note += f", VUS-PR {judged.vus_pr:.3f} (PCA {judged.vus_pr_pca or 0:.3f})"
    return judged
