"""Forecasts as a frame: what a model said in scaled units, told in canonical units beside what came and beside the last value."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.views import Views
from telemetry.panel import Panel, Part
from telemetry.scaling import matrices
from telemetry.schema import (
    ACTUAL,
    AT,
    ENTITY,
    FORECAST,
    FORECASTS,
    JOINT,
    LABEL,
    LEAD,
    NEWCOMER,
    PERSISTENCE,
    SIGMA,
    STANDSTILL,
    TARGET,
    TIME,
    conform,
)
from telemetry.strangers import strangers_of

MICROSECONDS = 1_000_000


def tell(
    panel: Panel,
    forecasts: NDArray[np.float32],
    *,
    leads: Sequence[int],
    scales: pl.DataFrame,
    start: int,
    part: Part | None = None,
    views: Views | None = None,
    boring: NDArray[np.bool_] | None = None,
) -> pl.DataFrame:
    """FORECASTS of all entities; see `tell_each`, which needs a fraction of the memory."""
    told = list(tell_each(panel, forecasts, leads=leads, scales=scales, start=start, part=part, views=views, boring=boring))
    return pl.concat(told) if told else pl.DataFrame(schema=FORECASTS)


def tell_each(
    panel: Panel,
    forecasts: NDArray[np.float32],
    *,
    leads: Sequence[int],
    scales: pl.DataFrame,
    start: int,
    part: Part | None = None,
    views: Views | None = None,
    boring: NDArray[np.bool_] | None = None,
) -> Iterator[pl.DataFrame]:
    """FORECASTS of one entity after the other, each sorted by time, target and lead.

    A row is told where the target was observed and the forecast had a step to be made at (none for the first `lead` steps of the panel).
    A forecast that is no finite number is null: whoever judges it counts it as a miss. Whom no training has seen is told as a newcomer,
    however long it has been there: its forecasts lean, as newcomers' do.

    Args:
        panel: the scaled data, and what each step is used for.
        forecasts: f32[entity, step, lead, target], scaled, FOR the steps from `start` on, made `lead` steps before.
        leads: steps ahead, in the order of the third axis.
        scales: SCALES with which the panel was scaled; those whom training has seen have a COUNT.
        start: the panel's step that is the first of `forecasts`.
        part: only the steps of this part; all by default.
        views: what is known of the entities as wholes. With it each step has a row more, after those of its targets: of the target JOINT
            and lead 0, whose "actual" is the joint number of `serving.views`, "forecast" 0 and SIGMA 1; and, in steps in which the
            entity stands still for longer than it may (see `serving.standstill`), one of the target STANDSTILL, whose "actual" is for
            how many observations it has, "forecast" for how many it may.
        boring: bool[entity, step, target] of the panel, as of `serving.operator`: where a target may stand still. Nowhere by default.
    """
    entities, steps, _, targets = forecasts.shape
    if (entities, targets) != (len(panel.entities), len(panel.targets)) or start + steps > panel.steps:
        raise ValueError(
            f"forecasts f32{list(forecasts.shape)} from step {start} do not fit a panel of {len(panel.entities)} entities, "
            f"{panel.steps} steps and {len(panel.targets)} targets"
        )
    mean, sd = matrices(scales, entities=panel.entities, parameters=panel.target_names)
    unknown = np.isin(panel.entities, strangers_of(panel.entities, scales=scales))
    panel = replace(panel, newcomer=panel.newcomer | unknown[:, None])
    for entity in range(entities):
        told = _entity(panel, forecasts[entity], entity=entity, leads=leads, mean=mean[entity], sd=sd[entity], start=start, part=part)
        if views is None:
            yield told
        else:
            joint = _joint(panel, forecasts[entity], entity=entity, views=views, leads=leads, start=start, part=part)
            may = None if boring is None else boring[entity]
            still = _standstill(panel, entity=entity, views=views, start=start, stop=start + steps, part=part, boring=may)
            yield told.merge_sorted(joint, key=AT).merge_sorted(still, key=AT)


def _entity(
    panel: Panel,
    forecasts: NDArray[np.float32],
    *,
    entity: int,
    leads: Sequence[int],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    start: int,
    part: Part | None,
) -> pl.DataFrame:
    """FORECASTS of one entity; forecasts: f32[step, lead, target]."""
    steps = forecasts.shape[0]
    values = panel.values[entity][:, list(panel.targets)]
    observed = panel.observed[entity][:, list(panel.targets)]
    told = observed[start : start + steps].copy()
    if part is not None:
        told &= (panel.part[entity, start : start + steps] == part)[:, None]
    could_be_made = start + np.arange(steps)[:, None] >= np.asarray(leads)
    row, target, lead = np.nonzero(told[:, :, None] & could_be_made[:, None, :])
    step = start + row
    last = _last_observed(observed)[np.maximum(step - np.asarray(leads)[lead], 0), target]

    def canonical(scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):  # an overflow is infinite, and told as null below
            return (scaled * sd[target] + mean[target]).astype(np.float32)

    frame = pl.DataFrame(
        {
            AT: pl.Series(panel.start_us + step * panel.cadence_seconds * MICROSECONDS).cast(TIME),
            TARGET: pl.Series(panel.target_names, dtype=pl.String).gather(target),
            LEAD: pl.Series(leads, dtype=pl.Int32).gather(lead),
            ACTUAL: canonical(values[step, target]),
            FORECAST: canonical(forecasts[row, lead, target]),
            PERSISTENCE: canonical(values[last, target]),
            SIGMA: sd[target].astype(np.float32),
            NEWCOMER: panel.newcomer[entity, step],
            LABEL: panel.incident[entity, step],
            "known": last >= 0,
        }
    )
    return conform(
        frame.with_columns(
            pl.lit(panel.entities[entity]).alias(ENTITY),
            pl.when(pl.col(FORECAST).is_finite()).then(FORECAST).alias(FORECAST),
            pl.when("known").then(PERSISTENCE).alias(PERSISTENCE),
        ).drop("known"),
        FORECASTS,
        name="forecasts",
    )


def _joint(
    panel: Panel, forecasts: NDArray[np.float32], *, entity: int, views: Views, leads: Sequence[int], start: int, part: Part | None
) -> pl.DataFrame:
    """The rows of JOINT of one entity; forecasts: f32[step, lead, target]."""
    steps = slice(start, start + len(forecasts))
    number = views.joint(
        panel.entities[entity],
        values=panel.values[entity, steps],
        observed=panel.observed[entity, steps],
        targets=panel.targets,
        forecasts=forecasts,
    )
    told = np.isfinite(number) & (start + np.arange(len(forecasts)) >= min(leads))
    if part is not None:
        told &= panel.part[entity, steps] == part
    row = np.flatnonzero(told)
    return _of_whole(
        panel, entity=entity, step=start + row, target=JOINT, actual=number[row], forecast=np.zeros(len(row), dtype=np.float32)
    )


def _standstill(
    panel: Panel, *, entity: int, views: Views, start: int, stop: int, part: Part | None, boring: NDArray[np.bool_] | None
) -> pl.DataFrame:
    """The rows of STANDSTILL of one entity, from one step to another (exclusive), which see all steps before."""
    if views.standstill is None:
        return pl.DataFrame(schema=FORECASTS)
    row = views.row(panel.entities[entity])
    may = None if boring is None else boring[:stop]
    values, observed = panel.values[entity, :stop], panel.observed[entity, :stop]
    run, bar = views.standstill.told(row, values=values, observed=observed, targets=panel.targets, boring=may)
    told = run > bar
    told[:start] = False
    if part is not None:
        told &= panel.part[entity, :stop] == part
    step = np.flatnonzero(told)
    return _of_whole(panel, entity=entity, step=step, target=STANDSTILL, actual=run[step], forecast=bar[step])


def _of_whole(
    panel: Panel,
    *,
    entity: int,
    step: NDArray[np.int64],
    target: str,
    actual: NDArray[np.float32],
    forecast: NDArray[np.float32],
) -> pl.DataFrame:
    """FORECASTS of an entity as a whole, f32[row] each."""
    frame = pl.DataFrame(
        {
            AT: pl.Series(panel.start_us + step * panel.cadence_seconds * MICROSECONDS).cast(TIME),
            ACTUAL: actual,
            FORECAST: forecast,
            NEWCOMER: panel.newcomer[entity, step],
            LABEL: panel.incident[entity, step],
        }
    )
    return conform(
        frame.with_columns(
            pl.lit(panel.entities[entity]).alias(ENTITY),
            pl.lit(target).alias(TARGET),
            pl.lit(0, dtype=pl.Int32).alias(LEAD),
            pl.lit(None, dtype=pl.Float32).alias(PERSISTENCE),
            pl.lit(1.0, dtype=pl.Float32).alias(SIGMA),
        ),
        FORECASTS,
        name=f"{target} forecasts",
    )


def _last_observed(observed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """i64[step, target]: the last step at or before each at which the target was observed, -1 before the first.

    >>> _last_observed(np.array([[False], [True], [False], [True]])).ravel().tolist()
    [-1, 1, 1, 3]
    """
    steps = np.where(observed, np.arange(observed.shape[0])[:, None], -1)
    return np.maximum.accumulate(steps, axis=0)
