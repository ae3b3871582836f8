"""How accurate the best possible forecast of a simulated fleet is, and how accurate repeating the last value is.

A prediction is accurate where it is within one deviation of what came; the deviation is that of the training span, per entity and target.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.fleet import TARGETS, Fleet
from telemetry.rhythms import MINUTES_OF_DAY
from telemetry.schema import ENTITY, TARGET


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What can be reached on a fleet, over observed minutes of mature entities outside incidents.

    Attributes:
        oracle: share of values within one deviation of their conditional mean.
        persistence: the same of repeating the last observed value.
        skill: 1 - MAE(oracle) / MAE(persistence), in deviations.
        rows: values judged.
        by_entity_target: `entity, target, oracle, persistence, skill, rows`.
    """

    oracle: float
    persistence: float
    skill: float
    rows: int
    by_entity_target: pl.DataFrame

    @property
    def worst(self) -> float:
        """The oracle's accuracy on the entity and target where it is least."""
        return float(self.by_entity_target.select(pl.col("oracle").min()).item())


def measure(fleet: Fleet, *, days: int | None = None, train_share: float = 0.7, test_share: float = 0.2) -> Reach:
    """What can be reached on `fleet`.

    Args:
        fleet: as simulated.
        days: the first so many are looked at (default: all); later ones are left for live scoring.
        train_share: of those days, the first part, in which the deviations are taken.
        test_share: of those days, the last part, which is judged.
    """
    minutes = (days or fleet.config.days) * MINUTES_OF_DAY
    cell = _cells(fleet)
    judged = _judged(fleet)[:minutes]
    judged[: int((1.0 - test_share) * minutes)] = False
    frames = [
        _reach(
            _dense(fleet, target=target, cell=cell)[:minutes],
            expected=fleet.conditional[:minutes, :, k],
            judged=judged,
            train=int(train_share * minutes),
        ).with_columns(pl.Series(ENTITY, fleet.config.entities), pl.lit(target).alias(TARGET))
        for k, target in enumerate(TARGETS)
    ]
    sums = pl.concat(frames).filter(pl.col("rows") > 0)
    total = _shares(sums.select(pl.col("within", "repeated", "error", "repeated_error", "rows").sum())).row(0, named=True)
    columns = (ENTITY, TARGET, "oracle", "persistence", "skill", "rows")
    return Reach(
        oracle=total["oracle"],
        persistence=total["persistence"],
        skill=total["skill"],
        rows=total["rows"],
        by_entity_target=_shares(sums).select(columns).sort(ENTITY, TARGET),
    )


def _shares(sums: pl.DataFrame) -> pl.DataFrame:
    return sums.with_columns(
        oracle=pl.col("within") / pl.col("rows"),
        persistence=pl.col("repeated") / pl.col("rows"),
        skill=1.0 - pl.col("error") / pl.col("repeated_error"),
    )


def _reach(values: NDArray[np.float64], *, expected: NDArray[np.float32], judged: NDArray[np.bool_], train: int) -> pl.DataFrame:
    """Sums over time per entity; `values` f64[minute, entity] is NaN where not observed."""
    deviation = np.nanstd(values[:train], axis=0)
    observed = ~np.isnan(values)
    row = np.where(observed, np.arange(len(values))[:, None], 0)
    last = np.take_along_axis(values, np.maximum.accumulate(row, axis=0), axis=0)[:-1]
    ask = (judged & observed)[1:] & ~np.isnan(last)
    error = np.where(ask, np.abs(values[1:] - expected[1:]) / deviation, 0.0)
    repeated = np.where(ask, np.abs(values[1:] - last) / deviation, 0.0)
    return pl.DataFrame(
        {
            "within": ((error <= 1.0) & ask).sum(axis=0),
            "repeated": ((repeated <= 1.0) & ask).sum(axis=0),
            "error": error.sum(axis=0),
            "repeated_error": repeated.sum(axis=0),
            "rows": ask.sum(axis=0),
        }
    )


def _cells(fleet: Fleet) -> NDArray[np.int64]:
    """Where each reading lies in the flat [minute, entity] array."""
    keys = pl.DataFrame({ENTITY: fleet.config.entities}).with_row_index("e")
    start = int(fleet.config.start.timestamp())
    rows = fleet.readings.select(
        minute=(pl.col("time").dt.epoch("s") - start) // 60, key=pl.concat_str("customer", "region", separator="/")
    ).join(keys, left_on="key", right_on=ENTITY, how="left", maintain_order="left")
    cell: NDArray[np.int64] = rows.select(pl.col("minute") * len(keys) + pl.col("e").cast(pl.Int64)).to_series().to_numpy()
    return cell


def _dense(fleet: Fleet, *, target: str, cell: NDArray[np.int64]) -> NDArray[np.float64]:
    dense = np.full(fleet.conditional.shape[:2], np.nan)
    dense.ravel()[cell] = fleet.readings.get_column(target).to_numpy()
    return dense


def _judged(fleet: Fleet) -> NDArray[np.bool_]:
    """bool[minute, entity]: mature and outside incidents."""
    config = fleet.config
    arrival = np.repeat(config.arrivals, len(config.regions))
    matured = np.where(arrival > 0, arrival + config.newcomer_days * MINUTES_OF_DAY, 0)
    judged: NDArray[np.bool_] = np.arange(config.minutes)[:, None] >= matured
    start = int(config.start.timestamp())
    labels = fleet.labels.select(
        ENTITY, first=(pl.col("start").dt.epoch("s") - start) // 60, last=(pl.col("end").dt.epoch("s") - start) // 60
    )
    for entity, first, last in labels.iter_rows():
        judged[first:last, config.entities.index(entity)] = False
    return judged
