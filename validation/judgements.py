"""From statistics of a grid to findings: what is wrong, where, since when, and what was expected. Polars only, a few hundred rows."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from telemetry.schema import ENTITY, PARAMETER, Schema
from validation.findings import Finding, Severity
from validation.forms import ALL_ZERO, LOGARITHM, SIGN, SWAPPED
from validation.profile import Profile
from validation.shifts import conversion
from validation.triage import Diagnosis, alike, explained

LEAST_ENTITIES = 5
"""Others to compare with, before an entity is held against them."""
OTHERS_SPREADS = 6.0
"""How many (robust) deviations of the others' levels an entity must be away from them, besides by the factor."""

REASONS = {
    ALL_ZERO: "it tells nothing but zero, which it hardly ever did: a division of whole numbers lost it, or nothing is measured any more",
    LOGARITHM: "that looks like its logarithm instead of itself",
    SIGN: "it has changed its sign",
}

Row = dict[str, Any]  # Any: a Polars row


def columns(found: dict[str, str], *, expected: dict[str, str], severity: Severity) -> tuple[Finding, ...]:
    """Columns of a grid that are missing, unknown or of another type; names and types as text."""
    parts = (
        ("missing", [name for name in expected if name not in found]),
        ("unknown", [name for name in found if name not in expected]),
        ("of another type", [f"{n} ({found[n]}, not {t})" for n, t in expected.items() if n in found and found[n] != t]),
    )
    told = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
    if not told:
        return ()
    sentence = f"The grid has not the columns that the contract declares ({told}); nothing else could be checked."
    expected_text = f"{len(expected)} columns as declared"
    return (_finding("columns", severity=severity, found=told, expected=expected_text, sentence=sentence),)


def as_text(schema: Schema) -> dict[str, str]:
    """A schema with its types as text, as suites and pages tell it."""
    return {name: str(kind) for name, kind in pl.Schema(schema).items()}


def rows(found: int, *, severity: Severity) -> tuple[Finding, ...]:
    """A grid without a row."""
    if found > 0:
        return ()
    sentence = "The grid holds no row at all: nothing was ingested, or the period asked for is empty."
    return (_finding("rows", severity=severity, found="no row", expected="at least one row", sentence=sentence),)


def repeated(profile: Profile, *, severity: Severity) -> tuple[Finding, ...]:
    """Entities with several rows for one time."""
    return tuple(
        _finding(
            "one row a step",
            severity=severity,
            entity=row[ENTITY],
            period=(row["first_repeated"], row["last"] + profile.cadence),
            found=f"{row['repeated']:,} rows too many",
            expected="one row per entity and time",
            sentence=f"{row[ENTITY]} has {row['repeated']:,} rows whose time another row of it has too, the first at "
            f"{_time(row['first_repeated'])}: the same minutes were counted twice.",
        )
        for row in profile.entities.filter(pl.col("repeated") > 0).iter_rows(named=True)
    )


def backward(profile: Profile, *, severity: Severity) -> tuple[Finding, ...]:
    """Entities whose rows are not in the order of time."""
    return tuple(
        _finding(
            "time goes forward",
            severity=severity,
            entity=row[ENTITY],
            period=(row["first_backward"], row["last"] + profile.cadence),
            found=f"{row['backward']:,} steps back in time",
            expected="rows in the order of time",
            sentence=f"The rows of {row[ENTITY]} go back in time {row['backward']:,} times, first to {_time(row['first_backward'])}.",
        )
        for row in profile.entities.filter(pl.col("backward") > 0).iter_rows(named=True)
    )


def missing(profile: Profile, *, parameter: str, at_most: float, severity: Severity) -> tuple[Finding, ...]:
    """Entities that lack the parameter in too large a share of their steps.

    It only warns where the whole entity was silent for that long: then it is no fault of the parameter.
    """
    cells = profile.cells.filter(pl.col(PARAMETER) == parameter, pl.col("missing") > at_most * pl.col("rows"))
    spans = cells.join(profile.entities.select(ENTITY, "first", "last"), on=ENTITY).sort(ENTITY)
    return tuple(_missing(row, cadence=profile.cadence, at_most=at_most, severity=severity) for row in spans.iter_rows(named=True))


def _missing(row: Row, *, cadence: timedelta, at_most: float, severity: Severity) -> Finding:
    share, alone = row["missing"] / row["rows"], row["missing_while_observed"] / row["rows"]
    silent = alone <= at_most * (1 - share + alone)
    why = "the entity was silent then" if silent else f"in {alone:.0%} of them its other parameters did arrive"
    return _finding(
        "not missing",
        severity="warn" if silent else severity,
        entity=row[ENTITY],
        parameter=row[PARAMETER],
        period=(row["first"], row["last"] + cadence),
        found=f"{share:.1%} missing",
        expected=f"at most {at_most:.1%} missing",
        sentence=f"{row[ENTITY]} did not tell {row[PARAMETER]} in {share:.1%} of its {row['rows']:,} steps; {why}.",
    )


def implausible(
    outside: pl.DataFrame, *, profile: Profile, parameter: str, bounds: str, at_most: float, severity: Severity
) -> tuple[Finding, ...]:
    """Entities with too large a share of values outside the plausible range. `outside` is `profile.outside`."""
    told = pl.col("rows") - pl.col("missing")
    shares = outside.join(profile.cells.filter(pl.col(PARAMETER) == parameter), on=ENTITY, suffix="_of_all")
    worse = shares.with_columns((pl.col("outside") / told).alias("share")).filter(pl.col("share") > at_most).sort(ENTITY)
    return tuple(
        _finding(
            "plausible range",
            severity=severity,
            entity=row[ENTITY],
            parameter=parameter,
            period=(row["first"], row["last"] + profile.cadence),
            found=f"{row['outside']:,} values outside, {_span(row)}",
            expected=bounds if at_most == 0 else f"{bounds} in all but {at_most:.1%} of the values",
            sentence=f"{row[ENTITY]} told {row['outside']:,} values of {parameter} ({row['share']:.2%} of all) that cannot be: "
            f"{_span(row)}, where {bounds} is plausible; the first at {_time(row['first'])}.",
        )
        for row in worse.iter_rows(named=True)
    )


def bounds(minimum: float | None, maximum: float | None, *, unit: str) -> str:
    """A range in words.

    >>> bounds(0, 100, unit="percent"), bounds(None, 0, unit="dBm")
    ('0 to 100 percent', 'at most 0 dBm')
    """
    if minimum is None:
        return f"at most {_number(maximum)} {unit}"
    return f"at least {_number(minimum)} {unit}" if maximum is None else f"{_number(minimum)} to {_number(maximum)} {unit}"


def infinite(which: pl.DataFrame, *, profile: Profile, parameter: str, severity: Severity) -> tuple[Finding, ...]:
    """Entities with an infinite value. `which` is `profile.infinite`."""
    return tuple(
        _finding(
            "finite",
            severity=severity,
            entity=row[ENTITY],
            parameter=parameter,
            period=(row["first"], row["last"] + profile.cadence),
            found=f"{row['outside']:,} infinite values",
            expected="finite values",
            sentence=f"{row[ENTITY]} told {row['outside']:,} infinite values of {parameter}, the first at {_time(row['first'])}: "
            "something was divided by zero on the way.",
        )
        for row in which.iter_rows(named=True)
    )


def miscalculated(
    diagnoses: Sequence[Diagnosis], *, profile: Profile, parameter: str, factor: float, keys: Sequence[str], severity: Severity
) -> tuple[Finding, ...]:
    """The parameter's errors of arithmetic, and what they were.

    It only warns of a level that has changed by a factor of no meaning, and where many parameters of an entity moved alike: that is life.
    """
    of_parameter = [told for told in diagnoses if told.parameter == parameter]
    entities = profile.entities.get_column(ENTITY).to_list()
    return tuple(
        _finding(
            "same unit",
            severity=severity if told.known and not told.together else "warn",
            entity=told.entity,
            parameter=parameter,
            period=(told.start, told.end),
            found=_found(told),
            expected=f"less than x{factor:g} away from its own past, and no error of arithmetic",
            sentence=_told_of(told, struck=alike(told, of_parameter), entities=entities, keys=keys),
            cause=told.cause if told.known else "",
        )
        for told in of_parameter
    )


def _found(told: Diagnosis) -> str:
    if told.factor is None:
        return told.cause if not told.cause.startswith("x") else f"{told.cause} of its own past"
    looks_like = f", looks like {told.cause}" if told.known else ""
    return f"x {_number(told.factor)} of its own past{looks_like}"


def _told_of(told: Diagnosis, *, struck: frozenset[str], entities: list[str], keys: Sequence[str]) -> str:
    who = explained(struck, everyone=entities, keys=keys)
    others = f" The same happened in {', '.join(sorted(struck))}{f': everywhere at {who}' if who not in struck else ''}."
    where = others if len(struck) > 1 else ""
    size = f"x{_number(told.factor)} of its own past" if told.factor is not None else "not what its past lets expect"
    return f"{told.parameter} of {told.entity} is {size} from {_time(told.start)} to {_time(told.end)}; {_reason(told)}.{where}"


def _reason(told: Diagnosis) -> str:
    if told.together:
        return f"{', '.join(told.together)} moved with it, so it is rather the customer's business than a unit"
    if not told.known:
        return "no rhythm of it explains that, and no error of arithmetic: its level has truly changed, or nobody knows this one"
    if told.cause.startswith("x"):
        return f"that looks like a unit changed by {told.cause}"
    if told.cause.startswith(SWAPPED):
        return f"it tells what {told.cause.removeprefix(SWAPPED).strip()} should tell, and the other way round: two columns were swapped"
    return REASONS.get(told.cause, f"that looks like {told.cause}")


def unlike_others(profile: Profile, *, parameter: str, factor: float) -> tuple[Finding, ...]:
    """Entities whose whole history of an intensity lies a factor away from all others'. A warning: customers may differ."""
    levels = profile.hours.filter(pl.col(PARAMETER) == parameter).group_by(ENTITY).agg(pl.col("level").median().log()).sort(ENTITY)
    if len(levels) <= LEAST_ENTITIES:
        return ()
    level = levels.get_column("level").to_numpy()
    away = level - np.median(level)
    spread = 1.4826 * float(np.median(np.abs(away)))
    odd = np.abs(away) >= max(np.log(factor), OTHERS_SPREADS * spread)
    spans = levels.with_columns(pl.Series("away", away)).filter(pl.Series(odd)).join(profile.entities, on=ENTITY).sort(ENTITY)
    return tuple(
        _finding(
            "unit of the others",
            severity="warn",
            entity=row[ENTITY],
            parameter=parameter,
            period=(row["first"], row["last"] + profile.cadence),
            found=_factor(float(np.exp(row["away"])), of="what the others tell"),
            expected=f"less than x{factor:g} away from the others",
            sentence=f"All of {row[ENTITY]}'s history of {parameter} is x{_number(np.exp(row['away']))} of what the other "
            f"{len(levels) - 1} entities tell: it may have come in another unit from its first day.",
        )
        for row in spans.iter_rows(named=True)
    )


def _finding(
    expectation: str,
    *,
    severity: Severity,
    found: str,
    expected: str,
    sentence: str,
    entity: str | None = None,
    parameter: str | None = None,
    period: tuple[datetime | None, datetime | None] = (None, None),
    cause: str = "",
) -> Finding:
    return Finding(
        cause=cause,
        expectation=expectation,
        severity=severity,
        entity=entity,
        parameter=parameter,
        period_start=period[0],
        period_end=period[1],
        found=found,
        expected=expected,
        sentence=sentence,
    )


def _factor(factor: float, *, of: str) -> str:
    looks_like = conversion(factor)
    return f"x {_number(factor)} of {of}" + (f", looks like {looks_like}" if looks_like else "")


def _number(value: float | None) -> str:
    """Three digits, and all of them of what is larger.

    >>> _number(0.00102), _number(99.71), _number(12345678.9)
    ('0.00102', '99.7', '12,345,679')
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _span(row: Row) -> str:
    lowest, highest = _number(row["lowest"]), _number(row["highest"])
    return lowest if lowest == highest else f"{lowest} to {highest}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
