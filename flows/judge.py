"""Judge: calibrate the thresholds, then measure over the parallel test, which nothing has seen yet: forecasts, incidents, baselines."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from prefect import task

from flows.artifacts import tell_table
from flows.beside import PCA, Rival, baselines, figures, watched
from flows.blocks import percent
from flows.check import maintained
from flows.detectors import Comparison, comparison, leave
from flows.excerpts import excerpts
from flows.injected import Trial, trial
from flows.lakes import labels_of, lake_of
from flows.parallel_test import Candidate, Champion, Seen, candidate_of, champion, end_of, try_out
from flows.prepare import work
from flows.retries import ONCE
from flows.runs import Run
from flows.settings import Settings
from serving.budget import SHIFT_HOURS, Spent
from serving.contributions import explained
from serving.incidents import FALSE, MINUTES_TO_DETECT, Matched, match
from serving.release import VIEWS_FILE
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry.contract import Contract
from telemetry.panel import Panel, Part
from telemetry.schema import END, ENTITY, START
from validation.metrics import Measured, Metrics, measure


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
    comparison: Comparison
    injected: Trial
    spent: Spent | None
    shifts: float

    @property
    def vus_pr(self) -> float | None:
        """Of the candidate, where there are labels."""
        return self.comparison.detected[0].figures.vus_pr

    @property
    def vus_pr_pca(self) -> float | None:
        """Of the linear baseline."""
        return self.comparison.vus_pr(PCA)

    @property
    def budget(self) -> dict[str, Any] | None:  # Any: plain JSON
        """The operator's budget of incidents: what is promised, what the calibrate part has of it, and what the test; None without one."""
        if self.spent is None:
            return None
        first = self.comparison.detected[0].figures
        realised = first.incidents_per_customer_week if self.spent.per == "customer_week" else first.incidents / self.shifts
        named = {"calibrated": self.spent.realised, "realised": realised, "rests_on": self.spent.rests_on}
        return {"per": self.spent.per, "promised": self.spent.promised, **named, "extrapolated": self.spent.extrapolated}

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
            "budget": self.budget,
            **self.comparison.facts(),
            **self.injected.facts(),
        }


@task(name="judge", **ONCE)
def judge(*, contract: str, folder: str, oracle: str | None) -> Judged:
    """Thresholds from the calibration part, figures from the test part, for the candidate of this run and for the champion."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    panel = panels.load(work(folder) / "panel")
    candidate = candidate_of(folder)
    seen = try_out(candidate, panel=panel, contract=declared, into=work(folder) / "candidate", worked_on=maintained(folder))
    leave_bars(seen, folder=folder)
    measured = _over_test(work(folder) / "candidate", contract=declared, oracle=oracle)
    known = labels_of(lake)
    labels = _labels_in_test(known, folder=folder)
    matched = match(seen.incidents, labels=labels)
    against = champion(lake, until=end_of(panel), sigmas=candidate.scales, contract=declared, labels=labels, folder=folder)
    injected = trial(
        replace(candidate, views=seen.views),
        panel=panel,
        thresholds=seen.thresholds,
        incidents=seen.incidents,
        contract=declared,
        lake=lake,
        labels=known,
        folder=folder,
    )
    judged = Judged(
        metrics=measured.metrics,
        champion=against.metrics if against else None,
        champion_release=against.release if against else None,
        finite=seen.finite,
        incidents_labelled=labels.height,
        incidents_found=matched.found,
        incidents_false=matched.false,
        minutes_to_detect=matched.labels.select(pl.col(MINUTES_TO_DETECT).median()).item(),
        found=matched.found_keys if labels.height else None,
        found_by_champion=against.found if against and labels.height else None,
        comparison=_compared(seen, against=against, panel=panel, candidate=candidate, contract=declared, labels=labels, folder=folder),
        injected=injected,
        spent=seen.spent,
        shifts=max(int(np.count_nonzero((panel.part == Part.TEST).any(axis=0))) * panel.cadence_seconds / (3600 * SHIFT_HOURS), 1.0),
    )
    _leave(measured, matched=matched, thresholds=seen.thresholds, contract=declared, folder=folder)
    return judged


def leave_bars(seen: Seen, *, folder: str) -> None:
    """What a release judges by, where `flows.publish` finds it."""
    seen.thresholds.write_parquet(work(folder) / "thresholds.parquet")
    if seen.views is not None:
        (work(folder) / VIEWS_FILE).write_bytes(seen.views.to_bytes())


def _over_test(measured: Path, *, contract: Contract, oracle: str | None) -> Measured:
    known = pl.read_parquet(oracle) if oracle else None
    return measure(pl.scan_parquet(measured / "lead1" / "*.parquet"), block_minutes=contract.gate.block_minutes, oracle=known)


def _labels_in_test(labels: pl.DataFrame, *, folder: str) -> pl.DataFrame:
    """The labelled incidents that begin within their entity's test part."""
    parts = pl.read_parquet(work(folder) / "parts.parquet").select(ENTITY, "test_start", pl.col(END).alias("test_end"))
    within = labels.join(parts, on=ENTITY).filter(pl.col(START) >= pl.col("test_start"), pl.col(START) < pl.col("test_end"))
    return within.select(labels.columns).sort(ENTITY, START)


def _compared(
    seen: Seen,
    *,
    against: Champion | None,
    panel: Panel,
    candidate: Candidate,
    contract: Contract,
    labels: pl.DataFrame,
    folder: str,
) -> Comparison:
    """The candidate beside the champion and the baselines, all by the same figures over the test part."""
    rivals = [Rival(name="candidate", incidents=seen.incidents, ranks=seen.ranks, scores=work(folder) / "candidate" / "scores")]
    if against is not None:
        name = f"champion {against.release}"
        rivals.append(Rival(name=name, incidents=against.seen.incidents, ranks=against.seen.ranks, scores=against.folder / "scores"))
    into = work(folder) / "beside"
    rivals += baselines(panel, scales=candidate.scales, contract=contract, into=into, worked_on=maintained(folder))
    told = [rival.told(labels) for rival in rivals]
    found = comparison(told, detected=figures(told, watched=watched(panel), contract=contract))
    leave(found, folder=Path(folder))
    return found


def _leave(measured: Measured, *, matched: Matched, thresholds: pl.DataFrame, contract: Contract, folder: str) -> None:
    """What the page shows, under `data`."""
    data = Path(folder) / "data"
    data.mkdir(exist_ok=True)
    for name in ("by_entity", "by_target", "by_entity_target"):
        getattr(measured, name).write_parquet(data / f"{name}.parquet")
    scores = pl.scan_parquet(work(folder) / "candidate" / "scores" / "*.parquet")
    incidents_told(matched, scores=scores).write_parquet(data / "incidents.parquet")
    matched.labels.write_parquet(data / "labels.parquet")
    excerpts(work(folder) / "candidate", matched=matched, thresholds=thresholds, contract=contract).write_parquet(data / "excerpts.parquet")
    tell_table("accuracy-by-target", rows=measured.by_target.to_dicts(), description="Accuracy over the parallel test")


def incidents_told(matched: Matched, *, scores: pl.LazyFrame) -> pl.DataFrame:
    """The incidents as the page shows them, each with the targets that had part in it.

    `matched` says whether a label explains it, null where there are no labels.
    """
    labelled = ~pl.col(FALSE) if matched.labels.height else pl.lit(None, dtype=pl.Boolean)
    return explained(matched.incidents, scores=scores).with_columns(labelled.alias("matched")).drop(FALSE)


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
        if judged.budget is not None:
            told_of = judged.budget
            stage.note += f", incidents a {told_of['per'].replace('_', ' ')} {told_of['realised']:.2f} (budget {told_of['promised']:g})"
        stage.note += f", injected faults found {judged.injected.sentence}"
    return judged
