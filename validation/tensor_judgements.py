"""From statistics of a panel to findings: whether what goes into the network is what the scales promise.

Mean 0 and deviation 1 hold only for entities with enough training of their own: `telemetry.scaling` mixes the scale of those with less
with their cohort's, and puts a floor under the deviation of what hardly moves. Both are told apart here from a wrong scale.
"""

from typing import Any, Final

import polars as pl

from telemetry.contract import Contract
from telemetry.scaling import FLOOR_OF_COHORT, FULL_WEIGHT_DAYS
from telemetry.schema import ENTITY, KIND, MEAN, PARAMETER, SD
from validation.findings import Finding, Severity
from validation.tensor_profile import CALENDAR_KIND, NEWCOMER_KIND, SCALED, TWICE

Row = dict[str, Any]  # Any: a row of TENSORS

MEAN_TOLERANCE: Final = 0.01
SD_TOLERANCE: Final = 0.01
"""In deviations. The scales are exact over training; 32-bit floats leave some 1e-6."""
PRESENT_SHARE: Final = 0.99
"""Of the training steps that the scale was fitted on: a panel that holds fewer has no reason to have mean 0."""


def full_weight_steps(contract: Contract) -> int:
    """Training steps from which on an entity's scale is its own alone."""
    return int(FULL_WEIGHT_DAYS * 86_400 / contract.time.cadence_seconds)


def off_mean(tensors: pl.DataFrame, *, parameter: str, full_weight: int, tolerance: float, severity: Severity) -> tuple[Finding, ...]:
    """Entities whose scaled parameter has another mean than 0 over training."""
    off = _fitted(tensors, parameter=parameter, full_weight=full_weight).filter(pl.col(MEAN).abs() > tolerance)
    return tuple(
        _of_row(
            row,
            expectation="scaled mean",
            severity=severity,
            found=f"mean {row[MEAN]:.4g} over {row['steps']:,} training steps",
            expected=f"0 within {tolerance:g}",
            sentence=f"{row[PARAMETER]} of {row[ENTITY]} has the mean {row[MEAN]:.4g} after scaling instead of 0: it was not scaled "
            "with the mean of its own training.",
        )
        for row in off.iter_rows(named=True)
    )


def off_deviation(tensors: pl.DataFrame, *, parameter: str, full_weight: int, tolerance: float, severity: Severity) -> tuple[Finding, ...]:
    """Entities whose scaled parameter has another deviation than 1 over training; less is right where the scale is at its floor."""
    fitted = _fitted(tensors, parameter=parameter, full_weight=full_weight)
    widest = tensors.filter(pl.col(PARAMETER) == parameter).get_column("scale_sd").max()
    at_floor = pl.col("scale_sd") <= FLOOR_OF_COHORT * pl.lit(widest, dtype=pl.Float64)
    quiet = (pl.col(SD) <= tolerance) | ((pl.col(SD) < 1) & at_floor)
    off = fitted.filter((pl.col(SD) - 1).abs() > tolerance, ~quiet)
    return tuple(
        _of_row(
            row,
            expectation="scaled deviation",
            severity=severity,
            found=f"deviation {row[SD]:.4g} over {row['steps']:,} training steps",
            expected=f"1 within {tolerance:g}",
            sentence=f"{row[PARAMETER]} of {row[ENTITY]} has the standard deviation {row[SD]:.4g} after scaling instead of 1: it was not "
            "scaled with the deviation of its own training.",
        )
        for row in off.iter_rows(named=True)
    )


def _fitted(tensors: pl.DataFrame, *, parameter: str, full_weight: int) -> pl.DataFrame:
    own = (pl.col("scale_count") >= full_weight) & (pl.col("steps") >= PRESENT_SHARE * pl.col("scale_count")) & (pl.col("steps") > 0)
    return tensors.filter(pl.col(KIND) == SCALED, pl.col(PARAMETER) == parameter, own)


def not_finite(tensors: pl.DataFrame, *, parameter: str) -> tuple[Finding, ...]:
    """Entities with values that are no number."""
    return tuple(
        _of_row(
            row,
            expectation="finite tensor",
            found=f"{row['not_finite']:,} values that are not finite",
            expected="finite values",
            sentence=f"{row['not_finite']:,} scaled values of {row[PARAMETER]} of {row[ENTITY]} are no number; the network would "
            "learn nothing.",
        )
        for row in _bad(tensors, parameter=parameter, column="not_finite")
    )


def stray(tensors: pl.DataFrame, *, parameter: str) -> tuple[Finding, ...]:
    """Entities with values other than 0 where nothing was observed."""
    return tuple(
        _of_row(
            row,
            expectation="zero where unobserved",
            found=f"{row['stray']:,} values other than 0 where nothing was observed",
            expected="0 where nothing was observed",
            sentence=f"{row[PARAMETER]} of {row[ENTITY]} has {row['stray']:,} values at steps at which nothing was observed.",
        )
        for row in _bad(tensors, parameter=parameter, column="stray")
    )


def unlike_grid(tensors: pl.DataFrame, *, parameter: str) -> tuple[Finding, ...]:
    """Entities whose values, undone, are not what came in, and it is not another's scale (that is `wrong_scale`)."""
    rows = [row for row in _bad(tensors, parameter=parameter, column="unlike_grid") if row["applied"] in ("", row[ENTITY])]
    return tuple(
        _of_row(
            row,
            expectation="round trip",
            found=f"{row['unlike_grid']:,} values that do not come back",
            expected="value x deviation + mean is what came in",
            sentence=f"{row['unlike_grid']:,} values of {row[PARAMETER]} of {row[ENTITY]}, taken back with its scale, are not what the "
            "grid says: the scaling has an error in its arithmetic, or rows were moved.",
        )
        for row in rows
    )


def wrong_scale(tensors: pl.DataFrame, *, parameter: str) -> tuple[Finding, ...]:
    """Entities that were scaled with another's scale, or twice."""
    rows = [row for row in _bad(tensors, parameter=parameter, column="unlike_grid") if row["applied"] not in ("", row[ENTITY])]
    return tuple(
        _of_row(
            row,
            expectation="own scale",
            found="scaled twice" if row["applied"] == TWICE else f"the scale of {row['applied']}",
            expected=f"mean {row['scale_mean']:.6g} and deviation {row['scale_sd']:.6g}, once",
            sentence=f"{row[PARAMETER]} of {row[ENTITY]} was scaled twice."
            if row["applied"] == TWICE
            else f"{row[PARAMETER]} of {row[ENTITY]} was scaled with the mean and deviation of {row['applied']}.",
        )
        for row in rows
    )


def _bad(tensors: pl.DataFrame, *, parameter: str, column: str) -> list[Row]:
    return list(tensors.filter(pl.col(KIND) == SCALED, pl.col(PARAMETER) == parameter, pl.col(column) > 0).iter_rows(named=True))


def odd_calendar(tensors: pl.DataFrame) -> tuple[Finding, ...]:
    """Calendar features that the clock contradicts."""
    odd = tensors.filter(pl.col(KIND) == CALENDAR_KIND, (pl.col("unlike_grid") > 0) | (pl.col("not_finite") > 0))
    return tuple(
        _of_row(
            row,
            expectation="calendar",
            found=f"{row['unlike_grid']:,} steps off, {row['lowest']:.3g} to {row['highest']:.3g}",
            expected="what the clock says, -1 to 1",
            sentence=f"{row[PARAMETER]} is not what the clock says at {row['unlike_grid']:,} steps: the network would learn the wrong "
            "hours.",
        )
        for row in odd.iter_rows(named=True)
    )


def odd_newcomers(tensors: pl.DataFrame, *, days: int) -> tuple[Finding, ...]:
    """Entities that are flagged as newcomers when they are none, or are newcomers and not flagged."""
    odd = tensors.filter(pl.col(KIND) == NEWCOMER_KIND, pl.col("unlike_grid") > 0)
    return tuple(
        _of_row(
            row,
            expectation="newcomer flag",
            found=f"{row['unlike_grid']:,} steps with the wrong flag",
            expected=f"flagged for {days} days from the first row on",
            sentence=f"The newcomer flag of {row[ENTITY]} is wrong at {row['unlike_grid']:,} steps: it would be learned from too early, or "
            "never.",
        )
        for row in odd.iter_rows(named=True)
    )


def _of_row(row: Row, *, expectation: str, found: str, expected: str, sentence: str, severity: Severity = "stop") -> Finding:
    return Finding(
        expectation=expectation,
        severity=severity,
        entity=row[ENTITY],
        parameter=row[PARAMETER],
        period_start=row["start"],
        period_end=row["end"],
        found=found,
        expected=expected,
        sentence=sentence,
    )
