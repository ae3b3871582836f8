"""From statistics of a panel to findings: whether what goes into the network is what the scales promise.

Mean 0 and deviation 1 hold only for entities with enough training of their own: `telemetry.scaling` mixes the scale of those with less
with their cohort's, and puts a floor under the deviation of what hardly moves. Both are told apart here from a wrong scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from telemetry.contract import Contract
from telemetry.scaling import FLOOR_OF_COHORT, FULL_WEIGHT_DAYS
from telemetry.schema import ENTITY, KIND, MEAN, PARAMETER, SD
from validation import tensor_causes as causes
from validation.findings import Finding, Severity
from validation.tensor_entities import ATTRIBUTES_KIND, CALENDAR_KIND, FOLLOWER_KIND
from validation.tensor_profile import NEWCOMER_KIND, SCALED

Row = dict[str, Any]  # Any: a row of TENSORS

MEAN_TOLERANCE: Final = 0.01
SD_TOLERANCE: Final = 0.01
"""In deviations. The scales are exact over training; 32-bit floats leave some 1e-6."""
PRESENT_SHARE: Final = 0.99
"""Of the training steps that the scale was fitted on: a panel that holds fewer has no reason to have mean 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A cause in words: what was found, and what was done to `{what}`, a parameter of an entity; `{of}` is what the cause names."""

    found: str
    sentence: str


SCALES_OF_OTHERS: Final[Mapping[str, _Said]] = {
    causes.UNSCALED: _Said(found="not scaled at all", sentence="{what} was never scaled: the values are the grid's own."),
    causes.TWICE: _Said(found="scaled twice", sentence="{what} was scaled twice: what was scaled already went through scaling once more."),
    causes.OTHER: _Said(found="the scale of {of}", sentence="{what} was scaled with the mean and deviation of {of}."),
    causes.POOLED: _Said(
        found="the {of} of all entities together",
        sentence="{what} was scaled with the {of} of all entities together instead of its own: it was taken over the wrong axis.",
    ),
    causes.PER_STEP: _Said(
        found="mean and deviation of each step over all entities",
        sentence="{what} was scaled with the mean and deviation over all entities at each step: they were taken over the wrong axis, "
        "and what is common to all entities, as the rhythm of the day, is lost.",
    ),
    causes.LEAK: _Said(
        found="mean and deviation of {of}",
        sentence="{what} was scaled with the mean and deviation of {of} instead of training alone: the network would know of what it is "
        "tested on, and its accuracy would look better than it is.",
    ),
    causes.STALE: _Said(
        found="old scales, {of}",
        sentence="{what} was scaled with an old mean and deviation, {of}, and not with those of this training.",
    ),
}
"""What has the wrong mean or deviation, told as `own scale`."""
ARITHMETIC: Final[Mapping[str, _Said]] = {
    causes.MEAN_ONLY: _Said(
        found="the mean taken off, not divided by the deviation",
        sentence="Of {what} the mean was taken off, but nothing was divided by the deviation.",
    ),
    causes.DEVIATION_ONLY: _Said(
        found="divided by the deviation, the mean left in", sentence="{what} was divided by its deviation, but its mean was not taken off."
    ),
    causes.VARIANCE: _Said(
        found="divided by the variance",
        sentence="{what} was divided by its variance, the square of its deviation, instead of its deviation.",
    ),
    causes.MOVED: _Said(found="values moved by {of}", sentence="The values of {what} stand at the wrong time: each is that of {of}."),
    causes.ROUNDED: _Said(
        found="rounded to {of}", sentence="{what} was scaled rightly and then rounded to {of}: digits are lost that 32-bit floats keep."
    ),
    causes.COLUMN: _Said(found="values of {of}", sentence="Under {what} stand the values of {of}: columns were swapped."),
    causes.MASK: _Said(
        found="",
        sentence="The mask of {what} is wrong: steps that were measured are marked as not observed, or the other way round.",
    ),
}
"""What went wrong otherwise, told as `round trip`."""


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
            sentence=f"{row[PARAMETER]} of {row[ENTITY]} has the mean {row[MEAN]:.4g} after scaling instead of 0: "
            f"{_why(row, otherwise='it was not scaled with the mean of its own training')}.",
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
            sentence=f"{row[PARAMETER]} of {row[ENTITY]} has the standard deviation {row[SD]:.4g} after scaling instead of 1: "
            f"{_why(row, otherwise='it was not scaled with the deviation of its own training')}.",
        )
        for row in off.iter_rows(named=True)
    )


def _fitted(tensors: pl.DataFrame, *, parameter: str, full_weight: int) -> pl.DataFrame:
    own = (pl.col("scale_count") >= full_weight) & (pl.col("steps") >= PRESENT_SHARE * pl.col("scale_count")) & (pl.col("steps") > 0)
    return tensors.filter(pl.col(KIND) == SCALED, pl.col(PARAMETER) == parameter, own)


def _why(row: Row, *, otherwise: str) -> str:
    said = _said(row)
    return f"{otherwise} ({said.found})" if said and said.found else otherwise


def _said(row: Row) -> _Said | None:
    """The cause that the row names, with its names filled in."""
    said = {**SCALES_OF_OTHERS, **ARITHMETIC}.get(row.get("cause") or "")
    if said is None:
        return None
    of = row["of"] or ""
    found = of
    if row["cause"] == causes.MOVED:
        steps, later = abs(int(of)), int(of) > 0
        found = f"{steps:,} {'step' if steps == 1 else 'steps'}"
        of = f"{found} {'later: the network would see the future' if later else 'earlier'}"
        found += ", from later to earlier" if later else ", from earlier to later"
    return _Said(found=said.found.format(of=found), sentence=said.sentence.format(of=of, what=f"{row[PARAMETER]} of {row[ENTITY]}"))


def not_finite(tensors: pl.DataFrame, *, parameter: str) -> tuple[Finding, ...]:
    """Entities with values that are no number."""
    return tuple(
        _of_row(
            row,
            expectation="finite tensor",
            found=f"{row['not_finite']:,} values that are not finite" + (", too large for 16-bit floats" if row["overflow"] else ""),
            expected="finite values",
            sentence=f"{row['not_finite']:,} scaled values of {row[PARAMETER]} of {row[ENTITY]} are no number; the network would "
            "learn nothing." + (f" {row['overflow']:,} of them are too large for 16-bit floats." if row["overflow"] else ""),
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
    """Entities whose values, undone, are not what came in, and it is not another scale (that is `wrong_scale`)."""
    rows = [row for row in _bad(tensors, parameter=parameter, column="unlike_grid") if row["cause"] not in SCALES_OF_OTHERS]
    return tuple(
        _of_row(
            row,
            expectation="round trip",
            found=f"{row['unlike_grid']:,} values that do not come back"
            + (f": {said.found}" if (said := _said(row)) and said.found else ""),
            expected="value x deviation + mean is what came in",
            sentence=f"{row['unlike_grid']:,} values of {row[PARAMETER]} of {row[ENTITY]}, taken back with its scale, are not what the "
            "grid says: the scaling has an error in its arithmetic, or rows were moved."
            if not said
            else f"{said.sentence} {row['unlike_grid']:,} values are not what the grid says.",
        )
        for row in rows
    )


def wrong_scale(tensors: pl.DataFrame, *, parameter: str, unfitting: Severity = "stop") -> tuple[Finding, ...]:
    """Entities that were scaled with another mean or deviation than those of their training, and with whose.

    Args:
        tensors: TENSORS.
        parameter: of it.
        unfitting: what a scale does that is itself at fault while the values agree with it. Where that is a warning, the scales are an
            earlier release's, and being old is no fault of theirs.
    """
    of_parameter = tensors.filter(pl.col(KIND) == SCALED, pl.col(PARAMETER) == parameter)
    rows = [row for row in of_parameter.iter_rows(named=True) if row["cause"] in SCALES_OF_OTHERS and row["unlike_grid"]]
    scales = [
        row
        for row in of_parameter.iter_rows(named=True)
        if row["cause"] and not row["unlike_grid"] and not (unfitting == "warn" and row["cause"] == causes.STALE)
    ]
    asked = [*((row, _said(row), "stop") for row in rows), *((row, _said(row), unfitting) for row in scales)]
    return tuple(_of_wrong_scale(row, said=said, severity=severity) for row, said, severity in asked if said)


def _of_wrong_scale(row: Row, *, said: _Said, severity: Severity) -> Finding:
    at_fault = " The scales themselves are at fault: the values agree with them." if not row["unlike_grid"] else ""
    expected = "those of its own training" if at_fault else f"mean {row['scale_mean']:.6g} and deviation {row['scale_sd']:.6g}, once"
    return _of_row(row, expectation="own scale", severity=severity, found=said.found, expected=expected, sentence=said.sentence + at_fault)


def _bad(tensors: pl.DataFrame, *, parameter: str, column: str) -> list[Row]:
    return list(tensors.filter(pl.col(KIND) == SCALED, pl.col(PARAMETER) == parameter, pl.col(column) > 0).iter_rows(named=True))


def odd_calendar(tensors: pl.DataFrame) -> tuple[Finding, ...]:
    """Calendar features that the clock contradicts, and entities that follow the calendar of another place than theirs."""
    odd = tensors.filter(pl.col(KIND) == CALENDAR_KIND, (pl.col("unlike_grid") > 0) | (pl.col("not_finite") > 0))
    of_others = tensors.filter(pl.col(KIND) == FOLLOWER_KIND, pl.col("unlike_grid") > 0)
    return tuple(_of_column(row) for row in odd.iter_rows(named=True)) + tuple(
        _of_row(
            row,
            expectation="calendar",
            found=f"the calendar of {row['of']}, {row['unlike_grid']:,} steps off",
            expected=f"the calendar of {row['place']}",
            sentence=f"{row[ENTITY]} follows the calendar of {row['of']} instead of that of {row['place']}, and differs from it at "
            f"{row['unlike_grid']:,} steps: the network would learn the wrong hours.",
        )
        for row in of_others.iter_rows(named=True)
    )


def _of_column(row: Row) -> Finding:
    """Of a calendar's feature."""
    whose = "" if row["place"] == "UTC" else f" in {row['place']}"
    mistaken = "local time was taken for UTC" if not whose else f"that is not the time{whose}"
    return _of_row(
        row,
        expectation="calendar",
        found=f"{row['unlike_grid']:,} steps off, {row['lowest']:.3g} to {row['highest']:.3g}" + _clock(row, ", a clock at UTC {of}"),
        expected="what the clock says, -1 to 1" if not whose else f"what the clock says{whose}, -1 to 1",
        sentence=f"{row[PARAMETER]} is not what the clock says{whose} at {row['unlike_grid']:,} steps: the network would learn the wrong "
        "hours." + _clock(row, f" It was made with a clock that is at UTC {{of}}: {mistaken}."),
    )


def _clock(row: Row, said: str) -> str:
    return said.format(of=row["of"]) if row["of"] else ""


def odd_attributes(tensors: pl.DataFrame) -> tuple[Finding, ...]:
    """Entities whose attributes are not what the contract tells of them."""
    odd = tensors.filter(pl.col(KIND) == ATTRIBUTES_KIND, pl.col("unlike_grid") > 0)
    return tuple(
        _of_row(
            row,
            expectation="attributes",
            found=f"{row['unlike_grid']:,} wrong: {row['of']}",
            expected="what the contract tells of this entity's keys",
            sentence=f"{row[ENTITY]} has attributes that the contract does not tell of it: {row['of']}. The network would take it for "
            "another kind of entity.",
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
            found=f"{row['unlike_grid']:,} steps with the wrong flag: {_flag(row)}",
            expected=f"flagged for {days} days from the first row on",
            sentence=f"The newcomer flag of {row[ENTITY]} is wrong at {row['unlike_grid']:,} steps ({_flag(row)}): it would be learned "
            "from too early, or never.",
        )
        for row in odd.iter_rows(named=True)
    )


def _flag(row: Row) -> str:
    return f"{row['cause']}, {int(row['of']):,} steps in all" if row["of"] else str(row["cause"])


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
