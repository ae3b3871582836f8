"""What the operator says of a target beside the model, in its contract: direction, dead band, minimum width.

They act outside the model: forecasts, scales, thresholds and surprises stay what they are, and the verdict of what the operator excuses
is normal. A normal minute opens no incident, whatever its surprise. What is said is in force from the next scoring on; nothing is learned
anew for it.

    dead band       a value within it is excused, whatever was forecast, and may stand there for as long as it likes (see `boring`)
    minimum width   a value no further from its forecast than this is excused
    direction       with "up", a value that does not lie above its forecast is excused; with "down", one that does not lie below it

Width and direction say nothing of a value that stands still.

Of several leads, the forecast that counts is the one that was missed most, in its usual errors: it is what the surprise comes from. (The
forecast of the last minute follows a sustained shift, and the sign of its error is soon no more than noise.) Where no forecast is known,
only the dead band can excuse.

The pseudo-target `joint` is of an entity as a whole, and has neither unit nor direction. Of a step, those targets contribute to it whose
surprise is at least `CONTRIBUTES` of the greatest, and of 1: it is excused where there are such targets and all of them are. Where no
target stands out, it tells of something else (of how the targets go together, or of parameters that are none), and is not.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.panel import Panel
from telemetry.scaling import matrices
from telemetry.schema import ACTUAL, AT, ENTITY, FORECAST, JOINT, LEAD, SD, SIGMA, SURPRISE, TARGET, THRESHOLDS, conform
from telemetry.sections import OPERATORS, Parameter

NORMAL: Final = "normal"
"""The verdict on what is excused, as in `serving.scorer`, which stands above this module."""
CONTRIBUTES: Final = 0.5
"""A target with half the greatest surprise adds a quarter of what it adds to a sum of squares."""
ROUNDING: Final = 1e-6
"""A value that was scaled as float32 comes back off by less than this, as a share of how far it is from its mean. A dead band is wider by
as much, and by this share of a deviation."""
_MISSED: Final = "__missed__"
_DEVIATION: Final = "__deviation__"
_EXCUSED: Final = "__excused__"
_STEP: Final = (ENTITY, AT)


def excused(scores: pl.DataFrame, *, forecasts: pl.DataFrame, thresholds: pl.DataFrame, parameters: Mapping[str, Parameter]) -> pl.Series:
    """For every row of `scores`, whether the operator says that it cannot be an anomaly.

    Args:
        scores: SCORES, in any order, whole steps of an entity.
        forecasts: FORECASTS that they were made of, all leads.
        thresholds: THRESHOLDS they were judged by, of which the usual error of each lead is taken.
        parameters: of the contract in force.
    """
    said = {name: parameter for name, parameter in parameters.items() if _says(parameter)}
    if not said:
        return pl.repeat(value=False, n=scores.height, eager=True)
    missed = _most_missed(forecasts.filter(pl.col(TARGET).is_in(list(said))), thresholds=thresholds)
    told = scores.join(missed, on=[*_STEP, TARGET], how="left", maintain_order="left").with_columns(_excused(said).alias(_EXCUSED))
    joint = (pl.col(TARGET) == JOINT) & _all_contributing()
    return told.select(pl.col(_EXCUSED) | joint).to_series()


def boring(panel: Panel, *, scales: pl.DataFrame, parameters: Mapping[str, Parameter]) -> NDArray[np.bool_] | None:
    """bool[E, T, K]: whether a value of a target was observed within its dead band; None where no target has one.

    Args:
        panel: scaled.
        scales: SCALES with which it was.
        parameters: of the contract in force.
    """
    bands = [parameters[name].dead_band if name in parameters else None for name in panel.target_names]
    if not any(bands):
        return None
    mean, sd = matrices(scales, entities=panel.entities, parameters=panel.target_names)
    low, high = ((np.array([band[edge] if band else np.nan for band in bands]) - mean) / sd for edge in (0, 1))
    low, high = (edge[:, None] + sign * ROUNDING * np.maximum(1.0, np.abs(edge))[:, None] for edge, sign in ((low, -1), (high, 1)))
    chosen = list(panel.targets)
    values = panel.values[:, :, chosen]
    return np.asarray((values >= low) & (values <= high) & panel.observed[:, :, chosen])


def _says(parameter: Parameter) -> bool:
    """Whether the operator says anything of it."""
    return any(getattr(parameter, name) != Parameter.model_fields[name].default for name in OPERATORS)


def _most_missed(forecasts: pl.DataFrame, *, thresholds: pl.DataFrame) -> pl.DataFrame:
    """`entity, at, target`, its deviation, and the forecast that was missed most in its usual errors; of equals, that of the least lead."""
    usual = conform(thresholds, THRESHOLDS, name="thresholds").select(ENTITY, TARGET, LEAD, SD)
    actual, forecast = (pl.col(name).cast(pl.Float64) for name in (ACTUAL, FORECAST))
    by = ((actual - forecast) / (pl.col(SIGMA) * pl.col(SD))).abs().fill_nan(None)
    told = forecasts.lazy().join(usual.lazy(), on=[ENTITY, TARGET, LEAD], how="left").with_columns(by.alias(_MISSED), forecast)
    most = pl.col(FORECAST).sort_by(_MISSED, LEAD, descending=[True, False], nulls_last=True).first()
    return told.group_by(*_STEP, TARGET).agg(most.alias(_MISSED), pl.col(SIGMA).first().alias(_DEVIATION)).collect()


def _excused(said: Mapping[str, Parameter]) -> pl.Expr:
    """True where the operator excuses the value of a target."""
    return pl.any_horizontal([(pl.col(TARGET) == name) & _by(parameter) for name, parameter in said.items()]).fill_null(value=False)


def _by(parameter: Parameter) -> pl.Expr:
    off = pl.col(ACTUAL) - pl.col(_MISSED)
    excuses = [off.abs() <= parameter.minimum_width] if parameter.minimum_width else []
    if parameter.direction != "both":
        excuses.append(off <= 0 if parameter.direction == "up" else off >= 0)
    if parameter.dead_band is not None:
        low, high = parameter.dead_band
        by = ROUNDING * pl.max_horizontal(_DEVIATION, off.abs()).fill_null(0.0)
        excuses.append(pl.col(ACTUAL).is_between(low - by, high + by))
    return pl.any_horizontal([excuse.fill_null(value=False) for excuse in excuses])


def _all_contributing() -> pl.Expr:
    """True in a step whose contributing targets are all excused, and in which there is one."""
    own = pl.when(pl.col(TARGET) != JOINT).then(SURPRISE)
    contributes = own >= CONTRIBUTES * own.max().over(_STEP).clip(lower_bound=1.0)
    every = (pl.col(_EXCUSED) | ~contributes.fill_null(value=False)).all().over(_STEP)
    return every & contributes.fill_null(value=False).any().over(_STEP)
