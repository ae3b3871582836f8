"""The parallel test: a release, or what wants to be one, over telemetry that it has not seen: forecasts, surprises, incidents."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows.check import believed, maintained
from flows.feeding import calm, guard_of, known_to_be_off
from flows.feeding import run as run_guarded
from flows.prepare import build, work
from flows.settings import Settings
from flows.trust import before, free_run, trusted
from serving import ledger
from serving.budget import Spent
from serving.forecasts import tell_each
from serving.incidents import match, open_incidents
from serving.maintenance import silences
from serving.operator import boring
from serving.release import Release, load, load_weights
from serving.scorer import ENTITY_SCORES, score
from serving.standstill import learn as learn_standstill
from serving.stretches import context
from serving.thresholds import calibrated
from serving.views import Views, learn
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.panel import Panel, Part
from telemetry.schema import AT, ENTITY, INCIDENTS, LEAD, PARAMETER, SD, SIGMA, TARGET
from telemetry.strangers import learn as learn_tides
from telemetry.strangers import liken
from validation.metrics import Metrics, measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A network with its weights and scales, ready to be run over a panel."""

    network: Any  # Any: models.config.Network, imported late with JAX
    weights: dict[str, NDArray[np.float32]]
    scales: pl.DataFrame
    entities: tuple[str, ...]
    views: Views | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a candidate made of the test part.

    Attributes:
        thresholds: THRESHOLDS that it was judged by.
        spent: the operator's budget of incidents as the calibrate part has it; None without one, or where thresholds were given.
        views: of the entities as wholes, learned with the thresholds; None of a release that is older than they are.
        incidents: INCIDENTS that it opened.
        ranks: ENTITY_SCORES, one joint score a minute for ranking.
        finite: whether all of its forecasts and weights are numbers.
    """

    thresholds: pl.DataFrame
    spent: Spent | None
    views: Views | None
    incidents: pl.DataFrame
    ranks: pl.DataFrame
    finite: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The release in force, over the same minutes as its challenger; `folder` is where its scores were left."""

    release: str
    metrics: Metrics
    found: frozenset[str]
    seen: Seen
    folder: Path


def candidate_of(folder: str) -> Candidate:
    """What this run trained, or took over from the champion."""
    from models.config import Network

    record = training_of(folder)
    return Candidate(
        network=Network.from_dict(record["network"]),
        weights=load_weights(work(folder) / "weights.safetensors"),
        scales=pl.read_parquet(work(folder) / "scales.parquet"),
        entities=tuple(record["entities"]),
    )


def training_of(folder: str) -> dict[str, Any]:  # Any: plain JSON
    """What `flows.train` wrote down of this run's training: network, training, entities, learned_until, chosen_until."""
    told: dict[str, Any] = json.loads((work(folder) / "training.json").read_text(encoding="utf-8"))
    return told


def released(release: Release) -> Candidate:
    """A release as something that can be run over a panel."""
    from models.config import Network

    return Candidate(
        network=Network.from_dict(release.network),
        weights=dict(release.weights),
        scales=release.scales,
        entities=tuple(release.manifest["entities"]),
        views=release.views,
    )


def forecasts_of(candidate: Candidate, *, panel: Panel, start: int = 0) -> NDArray[np.float32]:
    """f32[E, T - start, L, K]: what the candidate expected from step `start` on; it may know other entities than the panel has."""
    from models.predict import forecast

    place = {name: index for index, name in enumerate(candidate.entities)}
    index = np.array([place.get(name, -1) for name in panel.entities], dtype=np.int32)
    return forecast(panel, network=candidate.network, weights=candidate.weights, start=start, stop=panel.steps, entity_index=index)


def try_out(
    candidate: Candidate,
    *,
    panel: Panel,
    contract: Contract,
    into: Path,
    thresholds: pl.DataFrame | None = None,
    worked_on: pl.DataFrame | None = None,
) -> Seen:
    """The candidate over the panel's test part, one entity after the other, so that memory stays small.

    Args:
        candidate: what is tried.
        panel: scaled as the candidate was trained.
        contract: when an incident opens and closes.
        into: folder in which the rows of lead 1 and the scores are left, by entity.
        thresholds: THRESHOLDS to judge by; learned on the panel's calibrate part if there are none yet.
        worked_on: PERIODS of `telemetry.maintenance`, in which nobody's silence is an incident.
    """
    leads, policy = candidate.network.leads, contract.thresholds
    views, spent = candidate.views, None
    tides = learn_tides(panel) if thresholds is None else None if views is None else views.tides
    may = boring(panel, scales=candidate.scales, parameters=contract.parameters)
    panel, lent = liken(panel, scales=candidate.scales, tides=tides, contract=contract)
    scaled = forecasts_of(candidate, panel=panel)
    if thresholds is None:
        quiet, calmed = replace(panel, incident=panel.hidden), calm(candidate, scaled, panel=panel, contract=contract)
        views = learn(quiet, calmed)
        learns, cadence = {"leads": leads, "scales": candidate.scales, "start": 0, "part": Part.CALIBRATE}, contract.time.cadence_seconds
        found = calibrated(tell_each(quiet, calmed, **learns, views=views), policy=policy, cadence_seconds=cadence)
        views = views.tried(free_run(candidate, panel=panel, thresholds=found.thresholds, contract=contract))
        as_live = guarded(candidate, calmed, panel=panel, halves=found.halves, contract=contract, views=views)
        if as_live is not calmed:
            found = calibrated(tell_each(quiet, as_live, **learns, views=views), policy=policy, cadence_seconds=cadence)
        thresholds, spent = found.thresholds, found.spent
        still = learn_standstill(panel, context=context(contract) // contract.time.cadence)
        views = replace(views, standstill=still, tides=tides)
    scaled = fed(candidate, scaled, panel=panel, thresholds=thresholds, contract=contract, views=views)
    told = tell_each(panel, scaled, leads=leads, scales=candidate.scales, start=0, part=Part.TEST, views=views, boring=may)
    rows = told if lent is None else map(lent.judged_by(thresholds).restored, told)
    incidents, ranks = judged(rows, thresholds=thresholds, panel=panel, contract=contract, into=into)
    if worked_on is not None:
        incidents = silences(incidents, told=worked_on, policy=policy, cadence=contract.time.cadence)
    finite = bool(np.isfinite(scaled).all()) and all(bool(np.isfinite(weight).all()) for weight in candidate.weights.values())
    return Seen(thresholds=thresholds, spent=spent, views=views, incidents=incidents, ranks=ranks, finite=finite)


def judged(
    told: Iterable[pl.DataFrame], *, thresholds: pl.DataFrame, panel: Panel, contract: Contract, into: Path, release: str = "candidate"
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """INCIDENTS and ENTITY_SCORES of forecasts, by the verdicts and the incidents that live scoring would tell of them.

    Args:
        told: FORECASTS, whole entities, one after the other.
        thresholds: THRESHOLDS to judge by.
        panel: that was forecast.
        contract: when an incident opens and closes.
        into: folder in which the rows of lead 1 and the scores are left, by entity.
        release: that the scores name.
    """
    policy, cadence = contract.thresholds, contract.time.cadence
    for name in ("lead1", "scores"):
        (into / name).mkdir(parents=True)
    incidents, ranks = [pl.DataFrame(schema=dict(INCIDENTS))], [pl.DataFrame(schema=dict(ENTITY_SCORES))]
    for number, rows in enumerate(told):
        if rows.is_empty():
            continue
        scored = score(
            rows,
            thresholds=thresholds,
            release=release,
            parameters=contract.parameters,
            policy=policy,
            cadence_seconds=contract.time.cadence_seconds,
        )
        rows.filter(pl.col(LEAD) == 1).write_parquet(into / "lead1" / f"{number:05}.parquet")
        scored.scores.write_parquet(into / "scores" / f"{number:05}.parquet")
        until = rows.select(pl.col(AT).max() + cadence).item() if contract.split.by == "entity" else end_of(panel)
        days, seconds = contract.newcomer.departed_days, contract.time.cadence_seconds
        incidents.append(open_incidents(scored.scores, policy=policy, cadence_seconds=seconds, until=until, departed_days=days))
        ranks.append(scored.entities)
    return pl.concat(incidents), pl.concat(ranks)


def fed(
    candidate: Candidate,
    scaled: NDArray[np.float32],
    *,
    panel: Panel,
    thresholds: pl.DataFrame,
    contract: Contract,
    views: Views | None,
) -> NDArray[np.float32]:
    """The forecasts f32[E, T, L, K], those of the test part as they are made live: under the guard of THRESHOLDS, if there is one."""
    guard = trusted(guard_of(thresholds, panel=panel, leads=candidate.network.leads, contract=contract), views=views, panel=panel)
    test = np.flatnonzero((panel.part == Part.TEST).any(axis=0))
    if guard is None or not test.size:
        return scaled
    start = int(test[0])
    told = run_guarded(candidate, panel=panel, start=start, guard=guard, context=context(contract) // contract.time.cadence)
    return np.concatenate([scaled[:, :start], told.forecasts], axis=1)


def guarded(
    candidate: Candidate,
    calmed: NDArray[np.float32],
    *,
    panel: Panel,
    halves: tuple[pl.DataFrame, pl.DataFrame],
    contract: Contract,
    views: Views,
) -> NDArray[np.float32]:
    """The forecasts f32[E, T, L, K], those of the calibrate part as they would have been made live: under a guard.

    A false alarm has the network read its own forecasts, and is longer for it; thresholds are told of that. Each half of the part is
    guarded by what the other half alone has taught, as the days to come will be by what came before them.

    Args:
        candidate: whose forecasts they are.
        calmed: as `flows.feeding.calm` tells them; they are what is returned where nobody is fed.
        panel: that was forecast.
        halves: of `serving.thresholds.Calibrated`.
        contract: when an incident opens.
        views: which tell whose network may read its own forecasts.
    """
    steps = np.flatnonzero((panel.part == Part.CALIBRATE).any(axis=0))
    if not steps.size:
        return calmed
    first, behind = int(steps[0]), int(steps[-1]) + 1
    middle, known, told = (first + behind) // 2, known_to_be_off(panel, contract=contract), calmed
    older, newer = halves
    for thresholds, start, stop in ((newer, first, middle), (older, middle, behind)):
        guard = trusted(guard_of(thresholds, panel=panel, leads=candidate.network.leads, contract=contract), views=views, panel=panel)
        if guard is None or start == stop:
            continue
        told = calmed.copy() if told is calmed else told
        warmed = context(contract) // contract.time.cadence
        seen = before(panel, stop)
        told[:, start:stop] = run_guarded(candidate, panel=seen, start=start, guard=guard, context=warmed, known=known[:, :stop]).forecasts
    return told


def end_of(panel: Panel) -> datetime:
    """The instant after the panel's last step."""
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=panel.start_us)
    return start + panel.steps * timedelta(seconds=panel.cadence_seconds)


def champion(
    lake: Lake, *, until: datetime, sigmas: pl.DataFrame, contract: Contract, labels: pl.DataFrame, folder: str
) -> Champion | None:
    """The release in force over the same minutes, with its own contract, scales and thresholds; None if there is none.

    Args:
        lake: its telemetry and its ledger.
        until: end of what is looked at.
        sigmas: the challenger's SCALES: both are held to the same tolerance.
        contract: when an incident opens and closes, and how long a block is.
        labels: LABELS within the test part.
        folder: the run's.
    """
    standing = ledger.champion(lake)
    if standing is None:
        return None
    release = load(standing.release, folder=Settings().releases_folder)
    learned = contracts.parse(release.contract, path=f"of release {release.id}")
    parts = pl.read_parquet(work(folder) / "parts.parquet")
    grid = believed(lake.grid(contract=learned, until=until), folder=folder)
    panel = build(grid, lake=lake, contract=learned, scales=release.scales, parts=parts)
    into = work(folder) / "champion"
    worked_on = maintained(folder)
    seen = try_out(released(release), panel=panel, contract=contract, into=into, thresholds=release.thresholds, worked_on=worked_on)
    sigma = sigmas.select(ENTITY, pl.col(PARAMETER).alias(TARGET), pl.col(SD).cast(pl.Float32).alias(SIGMA))
    rows = pl.scan_parquet(into / "lead1" / "*.parquet").drop(SIGMA).join(sigma.lazy(), on=[ENTITY, TARGET])
    metrics = measure(rows, block_minutes=contract.gate.block_minutes).metrics
    found = match(seen.incidents, labels=labels).found_keys
    return Champion(release=release.id, metrics=metrics, found=found, seen=seen, folder=into)
