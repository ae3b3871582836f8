"""What a panel holds, in numbers: a row per entity and parameter, per calendar feature, and per entity's newcomer flag. Nothing is judged.

Scaled values are undone with the scales that were fitted and held against the grid they came from, and the scales against the training
values of that grid; nothing of the scaling code is used. What is not as it should be is looked into once more: `tensor_causes`.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.panel import Panel, Part
from telemetry.scaling import FULL_WEIGHT_DAYS
from telemetry.schema import AT, COHORT, COUNT, ENTITY, FIRST_SEEN, KIND, MEAN, PARAMETER, SD, TIME, Schema
from validation import tensor_causes, tensor_clock, tensor_entities
from validation.tensor_causes import ROUND_TRIP, Cause, Constants, Flags, Floats, Known

Row = dict[str, Any]  # Any: a row of TENSORS

SCALED: Final = "scaled"
NEWCOMER_KIND: Final = "newcomer"
TENSORS: Final[Schema] = {
    KIND: pl.String,
    ENTITY: pl.String,
    PARAMETER: pl.String,
    "start": TIME,
    "end": TIME,
    "scale_mean": pl.Float64,
    "scale_sd": pl.Float64,
    "scale_count": pl.Int64,
    "steps": pl.Int64,
    MEAN: pl.Float64,
    SD: pl.Float64,
    "not_finite": pl.Int64,
    "overflow": pl.Int64,
    "stray": pl.Int64,
    "unlike_grid": pl.Int64,
    "cause": pl.String,
    "of": pl.String,
    "place": pl.String,
    "lowest": pl.Float64,
    "highest": pl.Float64,
}
"""`steps, mean, sd`: of the scaled values observed in training. `not_finite`: values that are no number; `overflow`: of these, those too
large for 16 bits. `stray`: values other than 0 where nothing was observed. `unlike_grid`: values that differ from what they are made of.
`cause, of`: what was done instead of scaling, as of `tensor_causes.Cause`; with `unlike_grid` 0 the scale itself is at fault.
`place`: the zone and the country that a calendar, or an entity, should go by. `start, end`: the whole time line, or what differs."""

LARGEST_HALF: Final = 65504.0
"""The largest 16-bit float."""


def measure(
    panel: Panel,
    *,
    scales: pl.DataFrame,
    grid: pl.LazyFrame,
    contract: Contract,
    entities: pl.DataFrame | None = None,
    stale: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """TENSORS.

    Args:
        panel: to look at.
        scales: SCALES, with which it should have been made.
        grid: rows of `grid_schema`, from which it should have been made.
        contract: how long an entity is a newcomer, whose calendar it follows, and which attributes it has.
        entities: ENTITIES; without them the newcomer flag is not looked at, and no cohort is known.
        stale: SCALES of an earlier release, to tell whether these were used by mistake.
    """
    constants = _constants(scales, panel=panel)
    earlier = None if stale is None else _constants(stale, panel=panel)
    full_weight = int(FULL_WEIGHT_DAYS * 86_400 / contract.time.cadence_seconds)
    cohort = {} if entities is None else dict(entities.select(ENTITY, COHORT).iter_rows())
    cohorts = tuple(str(cohort.get(name, "")) for name in panel.entities)
    told = _scaled(panel, scales=constants, stale=earlier, grid=grid, full_weight=full_weight, cohorts=cohorts)
    told += tensor_entities.calendars(panel, contract=contract, cohorts=cohort, period=lambda which: _period(which, panel=panel))
    everywhere = _period(np.ones(panel.steps, dtype=np.bool_), panel=panel)
    told += tensor_entities.attributes(panel, contract=contract, scales=scales, cohorts=cohort, whole=everywhere)
    if entities is not None:
        told += _newcomer(panel, entities=entities, contract=contract)
    return pl.DataFrame(told, schema=TENSORS)


def _constants(scales: pl.DataFrame, *, panel: Panel) -> Constants:
    """By entity and parameter; an entity without a scale has the median of all, as it is served."""
    shape = (len(panel.entities), len(panel.parameters))
    order = pl.DataFrame({ENTITY: panel.entities}).join(pl.DataFrame({PARAMETER: panel.parameters}), how="cross")
    usual = scales.group_by(PARAMETER).agg(pl.col(MEAN).median().alias("usual_mean"), pl.col(SD).median().alias("usual_sd"))
    rows = order.join(scales, on=[ENTITY, PARAMETER], how="left", maintain_order="left")
    rows = rows.join(usual, on=PARAMETER, how="left", maintain_order="left")
    return Constants(
        mean=rows.select(pl.coalesce(MEAN, "usual_mean", 0.0)).to_series().to_numpy().reshape(shape),
        sd=rows.select(pl.coalesce(SD, "usual_sd", 1.0)).to_series().to_numpy().reshape(shape),
        count=rows.get_column(COUNT).fill_null(0).to_numpy().reshape(shape),
    )


def _scaled(
    panel: Panel, *, scales: Constants, stale: Constants | None, grid: pl.LazyFrame, full_weight: int, cohorts: tuple[str, ...]
) -> list[Row]:
    rows = grid.select(ENTITY, AT, *panel.parameters).filter(pl.col(ENTITY).is_in(panel.entities)).collect(engine="in-memory")
    by_entity = {str(key[0]): part for key, part in rows.partition_by(ENTITY, as_dict=True).items()}
    none = rows.clear()

    def raw_of(index: int) -> Floats:
        return _dense(by_entity.get(panel.entities[index], none), panel=panel)

    every = range(len(panel.entities))
    measured = [_of_entity(panel, index=index, scales=scales, raw=raw_of(index)) for index in every]
    trained = _stacked([trained for _, trained, _ in measured])
    known = Known(
        panel=panel,
        scales=scales,
        trained=trained,
        expected=tensor_causes.expected(trained, cohorts=cohorts, full_weight=full_weight, floor=scales.sd),
        whole=_stacked([whole for _, _, whole in measured]),
        stale=stale,
    )
    moments = _moments(rows, panel=panel)
    for index, (told, _, _) in enumerate(measured):
        if odd := [p for p, row in enumerate(told) if row["unlike_grid"] or _unfitting(known, index=index, parameter=p)]:
            _explain(told, known=known, index=index, odd=odd, raw=raw_of(index), moments=moments)
    return [row for told, _, _ in measured for row in told]


def _stacked(rows: list[Floats]) -> Constants:
    """From f64[3, parameter] of each entity."""
    mean, sd, count = np.stack(rows, axis=1)
    return Constants(mean=mean, sd=sd, count=count.astype(np.int64))


def _unfitting(known: Known, *, index: int, parameter: int) -> bool:
    """Whether the scale is another than follows from the training values."""
    mean, sd = (getattr(known.scales, name)[index, parameter] for name in ("mean", "sd"))
    own_mean, own_sd = (getattr(known.expected, name)[index, parameter] for name in ("mean", "sd"))
    return not (abs(own_mean - mean) <= ROUND_TRIP * sd and abs(own_sd - sd) <= ROUND_TRIP * sd)


def _explain(
    told: list[Row], *, known: Known, index: int, odd: list[int], raw: Floats, moments: Callable[[int], tuple[Floats, Floats]]
) -> None:
    """Tell the cause in those rows of an entity that are odd."""
    values, observed = known.panel.values[index], known.panel.observed[index]
    unlike = _unlike_grid(values, observed=observed, raw=raw, mean=known.scales.mean[index], sd=known.scales.sd[index])
    for p in odd:
        cause = (
            tensor_causes.of_values(known, index=index, parameter=p, raw=raw, unlike=unlike[:, p], moments=moments)
            if unlike[:, p].any()
            else tensor_causes.of_scale(known, index=index, parameter=p, raw=raw[:, p])
        )
        told[p] |= {"cause": cause.kind, "of": cause.of}


def _moments(rows: pl.DataFrame, *, panel: Panel) -> Callable[[int], tuple[Floats, Floats]]:
    """Mean and deviation over all entities at each step, f64[T] each, by the parameter's index."""

    @cache
    def of(parameter: int) -> tuple[Floats, Floats]:
        value = pl.col(panel.parameters[parameter])
        by_time = rows.group_by(AT).agg(value.mean().alias(MEAN), value.std(ddof=0).alias(SD))
        step = (by_time.get_column(AT).dt.epoch("us").to_numpy() - panel.start_us) // (panel.cadence_seconds * 1_000_000)
        within = (step >= 0) & (step < panel.steps)
        found = np.full((2, panel.steps), np.nan)
        found[:, step[within]] = by_time.select(pl.col(MEAN, SD).fill_null(np.nan)).to_numpy()[within].T
        return found[0], found[1]

    return of


def _dense(rows: pl.DataFrame, *, panel: Panel) -> Floats:
    """The grid's values as f64[T, P]; NaN where nothing was observed."""
    raw = np.full((panel.steps, len(panel.parameters)), np.nan)
    step = (rows.get_column(AT).dt.epoch("us").to_numpy() - panel.start_us) // (panel.cadence_seconds * 1_000_000)
    within = (step >= 0) & (step < panel.steps)
    raw[step[within]] = rows.select(pl.col(panel.parameters).cast(pl.Float64).fill_null(np.nan)).to_numpy()[within]
    return raw


def _of_entity(panel: Panel, *, index: int, scales: Constants, raw: Floats) -> tuple[list[Row], Floats, Floats]:
    """The rows of one entity, over all its parameters at once; mean, deviation and count of its grid in training and in all, f64[3, P]."""
    values, observed = panel.values[index], panel.observed[index]
    finite = np.isfinite(values)
    trained = (panel.part[index] == Part.TRAIN)[:, None] & observed & finite
    steps = trained.sum(axis=0)
    mean = np.where(trained, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(steps, 1)
    squares = np.where(trained, values - mean.astype(np.float32), 0) ** 2
    sd = np.sqrt(squares.sum(axis=0, dtype=np.float64) / np.maximum(steps, 1))
    unlike = _unlike_grid(values, observed=observed, raw=raw, mean=scales.mean[index], sd=scales.sd[index])
    stray = (~observed & (values != 0)).sum(axis=0)
    with np.errstate(invalid="ignore"):
        overflow = (np.isinf(values) & (np.abs((raw - scales.mean[index]) / scales.sd[index]) > LARGEST_HALF)).sum(axis=0)
    rows: list[Row] = [
        {
            KIND: SCALED,
            ENTITY: panel.entities[index],
            PARAMETER: parameter,
            **_period(unlike[:, p] if unlike[:, p].any() else ~unlike[:, p], panel=panel),
            "scale_mean": float(scales.mean[index, p]),
            "scale_sd": float(scales.sd[index, p]),
            "scale_count": int(scales.count[index, p]),
            "steps": int(steps[p]),
            MEAN: float(mean[p]),
            SD: float(sd[p]),
            "not_finite": int((~finite[:, p]).sum()),
            "overflow": int(overflow[p]),
            "stray": int(stray[p]),
            "unlike_grid": int(unlike[:, p].sum()),
            "cause": "",
            "of": "",
        }
        for p, parameter in enumerate(panel.parameters)
    ]
    return rows, _of_grid(raw, where=panel.part[index] == Part.TRAIN), _of_grid(raw, where=panel.part[index] >= 0)


def _of_grid(raw: Floats, *, where: Flags) -> Floats:
    """Mean, deviation and count of each parameter's observed values: f64[3, P]; 0 where there is none."""
    seen = where[:, None] & np.isfinite(raw)
    count = seen.sum(axis=0)
    mean = np.where(seen, raw, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(seen, raw - mean, 0) ** 2
    return np.stack([mean, np.sqrt(squares.sum(axis=0) / np.maximum(count, 1)), count])


def _unlike_grid(values: NDArray[np.float32], *, observed: Flags, raw: Floats, mean: Floats, sd: Floats) -> Flags:
    """bool[T, P]: undone with the entity's own scale, the value is not the grid's, or only one of both was observed."""
    known = np.isfinite(raw)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is counted on its own
        error = np.abs(values * sd + mean - raw)
        unlike = ~(error <= tensor_causes.lost_digits(raw, mean=mean, sd=sd))
    return np.asarray((known != observed) | (known & unlike))


def _newcomer(panel: Panel, *, entities: pl.DataFrame, contract: Contract) -> list[Row]:
    """Who was there when the data began is no newcomer, unless the contract says so."""
    first_seen = {str(row[ENTITY]): row[FIRST_SEEN] for row in entities.iter_rows(named=True)}
    began = min(first_seen.values(), default=None)
    at = panel.start_us + np.arange(panel.steps) * panel.cadence_seconds * 1_000_000
    rows: list[Row] = []
    for index, entity in enumerate(panel.entities):
        seen = first_seen.get(entity)
        if seen is None:
            continue
        since, until = _us(seen), _us(seen + timedelta(days=contract.newcomer.days))
        young = (at >= since) & (at < until) & (contract.newcomer.since_start or seen != began)
        unlike = panel.newcomer[index] != young
        period = _period(unlike if unlike.any() else ~unlike, panel=panel)
        cause = tensor_clock.newcomer(panel.newcomer[index], young=young) if unlike.any() else Cause()
        rows.append({KIND: NEWCOMER_KIND, ENTITY: entity, **period, "unlike_grid": int(unlike.sum()), "cause": cause.kind, "of": cause.of})
    return rows


def _period(which: Flags, *, panel: Panel) -> Row:
    """From the first to behind the last step that is marked."""
    steps = np.flatnonzero(which)
    return {"start": _at(panel, int(steps[0])), "end": _at(panel, int(steps[-1]) + 1)}


def _at(panel: Panel, step: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=panel.start_us + step * panel.cadence_seconds * 1_000_000)


def _us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
