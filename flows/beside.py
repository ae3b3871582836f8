"""Beside a release: the baselines over the same steps, and the figures of all who are compared by one function.

Each has thresholds by the same rule from the same calibrate part, and is judged by the same verdicts and the same M of N steps.

What a baseline expects of a step is told as forecasts of lead 1, so that everything behind is the code that judges a release:

    last value      the last value that was observed
    seasonal naive  the same minute a week before, else a day before
    robust z        "actual" is the distance from the usual of the hour in robust deviations, "forecast" 0
    PCA             one target, `pca`: "actual" is the root of the squared distance from the components, "forecast" 0
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows.parallel_test import judged
from serving.forecasts import tell_each
from serving.incidents import TOLERANCE_MINUTES, match
from serving.maintenance import silences
from serving.thresholds import calibrate, promised_rate
from telemetry.contract import Contract
from telemetry.panel import Panel, Part
from telemetry.schema import AT, COUNT, ENTITY, MEAN, OPENED, PARAMETER, SCALES, SD, TIME
from validation.detection import Detected, Told, detect

LAST_VALUE, SEASONAL, ROBUST, PCA = "last value", "seasonal naive", "robust z", "PCA"
PROMISING: Final = ("conformal", "tail")
"""Methods by which thresholds promise a rate."""
MICROSECONDS: Final = 1_000_000
_PCA_TARGET: Final = "pca"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expected:
    """What a baseline says: the panel as it sees it, its forecasts f32[E, T, 1, K] of it, and the scales that the panel is told in."""

    name: str
    panel: Panel
    forecasts: Floats
    scales: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rival:
    """What a detector made of the steps that are judged: its incidents, its scores by step, where its verdicts lie (None: it has none)."""

    name: str
    incidents: pl.DataFrame
    ranks: pl.DataFrame | None
    scores: Path | None

    def told(self, labels: pl.DataFrame) -> Told:
        """Beside LABELS."""
        matched = match(self.incidents, labels=labels)
        scores = None if self.scores is None or not any(self.scores.glob("*.parquet")) else pl.scan_parquet(self.scores / "*.parquet")
        return Told(name=self.name, incidents=matched.incidents, labels=matched.labels, scores=scores, ranks=self.ranks)


def baselines(panel: Panel, *, scales: pl.DataFrame, contract: Contract, into: Path, worked_on: pl.DataFrame | None = None) -> list[Rival]:
    """Every baseline over the panel's test part, fitted on its train part and calibrated on its calibrate part.

    Args:
        panel: scaled by `scales`.
        scales: SCALES.
        contract: how thresholds are set, and when an incident opens and closes.
        into: folder in which they leave their scores, by their names.
        worked_on: PERIODS of `telemetry.maintenance`, in which nobody's silence is an incident.
    """
    every = expectations(panel, scales=scales)
    return [_judged(each, contract=contract, into=into / each.name, worked_on=worked_on) for each in every]


def _judged(expected: Expected, *, contract: Contract, into: Path, worked_on: pl.DataFrame | None) -> Rival:
    def rows(panel: Panel, part: Part) -> Iterator[pl.DataFrame]:
        return tell_each(panel, expected.forecasts, leads=(1,), scales=expected.scales, start=0, part=part)

    panel, policy = expected.panel, contract.thresholds
    calm = replace(panel, incident=panel.hidden)
    thresholds = calibrate(rows(calm, Part.CALIBRATE), policy=policy, cadence_seconds=contract.time.cadence_seconds)
    incidents, ranks = judged(
        rows(panel, Part.TEST), thresholds=thresholds, panel=panel, contract=contract, into=into, release=expected.name
    )
    if worked_on is not None:
        incidents = silences(incidents, told=worked_on, policy=policy, cadence=contract.time.cadence)
    return Rival(name=expected.name, incidents=incidents, ranks=ranks, scores=into / "scores")


def expectations(panel: Panel, *, scales: pl.DataFrame) -> Iterator[Expected]:
    """What each baseline expects, one after the other; nothing of it knows of a later step or of anything but the train part."""
    from models.baselines import pca_score, persistence, robust_z, seasonal_naive

    fit = (panel.part == Part.TRAIN) & ~panel.newcomer & ~panel.hidden
    targets = list(panel.targets)
    values, observed = panel.values[..., targets], panel.observed[..., targets]
    alone = replace(panel, parameters=panel.target_names, targets=tuple(range(len(targets))), values=values, observed=observed)
    last = persistence(values, observed=observed, lead=1)
    yield Expected(name=LAST_VALUE, panel=alone, forecasts=last[:, :, None], scales=scales)
    season = seasonal_naive(values, observed=observed, cadence_seconds=panel.cadence_seconds)
    yield Expected(name=SEASONAL, panel=alone, forecasts=season[:, :, None], scales=scales)
    z = robust_z(values, observed=observed, fit=fit, start_seconds=panel.start_us // MICROSECONDS, cadence_seconds=panel.cadence_seconds)
    unit = _unit_scales(panel.entities, parameters=panel.target_names)
    yield Expected(name=ROBUST, panel=replace(alone, values=z), forecasts=np.zeros_like(z)[:, :, None], scales=unit)
    distance = np.sqrt(pca_score(panel.values, observed=panel.observed, fit=fit))[..., None]
    seen = np.asarray(panel.observed.any(axis=-1))[..., None]
    one = replace(panel, parameters=(_PCA_TARGET,), targets=(0,), values=distance, observed=seen)
    unit = _unit_scales(panel.entities, parameters=(_PCA_TARGET,))
    yield Expected(name=PCA, panel=one, forecasts=np.zeros_like(distance)[:, :, None], scales=unit)


def _unit_scales(entities: Sequence[str], *, parameters: Sequence[str]) -> pl.DataFrame:
    """SCALES that change nothing."""
    every = pl.DataFrame({ENTITY: list(entities)}, schema={ENTITY: pl.String}).join(
        pl.DataFrame({PARAMETER: list(parameters)}), how="cross"
    )
    return every.with_columns(pl.lit(0.0).alias(MEAN), pl.lit(1.0).alias(SD), pl.lit(1, dtype=pl.Int64).alias(COUNT)).select(list(SCALES))


def watched(panel: Panel) -> pl.LazyFrame:
    """`entity, at` of the panel's test part."""
    entity, step = np.nonzero(panel.part == Part.TEST)
    at = pl.Series(AT, panel.start_us + step * panel.cadence_seconds * MICROSECONDS).cast(TIME)
    return pl.LazyFrame({ENTITY: pl.Series(panel.entities, dtype=pl.String).gather(entity), AT: at})


def promised(contract: Contract) -> float | None:
    """Share of a target's normal steps that may be anomalous, as the thresholds promise it.

    None where they promise nothing, and where the operator's budget of incidents has moved them.
    """
    policy = contract.thresholds
    if policy.method not in PROMISING or policy.budget is not None:
        return None
    return promised_rate(policy, cadence_seconds=contract.time.cadence_seconds)


def figures(told: Sequence[Told], *, watched: pl.LazyFrame, contract: Contract) -> list[Detected]:
    """The figures of everybody who is compared."""
    return [
        detect(
            each,
            watched=watched,
            promised=promised(contract),
            cadence_seconds=contract.time.cadence_seconds,
            tolerance_minutes=TOLERANCE_MINUTES,
        )
        for each in told
    ]


def within(incidents: pl.DataFrame, *, since: datetime, until: datetime) -> pl.DataFrame:
    """INCIDENTS that were opened in a period: by a step of it."""
    return incidents.filter(pl.col(OPENED) > pl.lit(since).cast(TIME), pl.col(OPENED) <= pl.lit(until).cast(TIME))
