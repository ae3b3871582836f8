"""A source's time column as instants in UTC, by the format that the contract declares."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import polars as pl

from telemetry.schema import TIME
from telemetry.sections import COUNTED, Time

EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
"""Telemetry from before this is taken for a wrong unit of the epoch."""
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The bound where no `now` is told."""
CLOCK_SKEW: Final = timedelta(days=1)
"""How far ahead of now a source's clock may be."""

_ZONED: Final = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_GO: Final = r"^(\S+) ([+-]\d{2}:?\d{2})( [A-Z][A-Za-z0-9+-]*)?( m=[+-][\d.]+)?$"
"""How Go prints a time: the offset stands apart, then the zone's name and a monotonic clock."""
_NAIVE: Final = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_FARTHEST_US: Final = 10**17  # the year 5138: beyond any plausible time, and no overflow on the way there
_NEVER: Final = pl.lit(value=False)
_US_PER_UNIT: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_TOLD: Final = {
    "iso": "an ISO 8601 time such as 2026-01-31T23:59:00Z",
    "epoch_s": "seconds since 1970",
    "epoch_ms": "milliseconds since 1970",
    "epoch_us": "microseconds since 1970",
    "epoch_ns": "nanoseconds since 1970",
    "second_index": "a number of seconds",
    "minute_index": "a whole number of minutes",
    "step_index": "a whole number of steps",
    "row": "a row number",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """How to read a time column.

    Attributes:
        at: the instant, microseconds UTC; null where it cannot be read.
        usual: the same for most texts and in less time; null where `at` must be asked.
        naive: true where the time carries no zone and none is declared.
        expected: what a message says a time should have been.
    """

    at: pl.Expr
    naive: pl.Expr
    expected: str
    usual: pl.Expr | None = None


def instants(column: str, *, dtype: pl.DataType, time: Time) -> Instants:
    """How to read the time column of a frame in which it has `dtype`.

    Times without a zone are in the contract's zone; what those mean that occur twice when clocks go back, and those that are skipped
    when they go forward, is declared by `time.fold` and `time.gap`.
    """
    source = pl.col(column)
    zone = f" that exists in {time.zone}" if time.zone and time.format in ("iso", "pattern") else ""
    expected = (f"a time like '{time.pattern}'" if time.pattern else _TOLD[time.format]) + zone
    if isinstance(dtype, pl.Datetime | pl.Date) and time.format not in COUNTED:
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
            return Instants(at=source.dt.convert_time_zone("UTC").dt.cast_time_unit("us"), naive=_NEVER, expected=expected)
        local = source.cast(pl.Datetime("us"))
        return Instants(at=_localised(local, time=time), naive=_refused(local, zone=time.zone), expected=expected)
    if time.format in ("iso", "pattern") and dtype == pl.String:
        return _of_text(source, time=time, expected=expected)
    if time.format not in ("iso", "pattern") and (dtype.is_numeric() or dtype == pl.String):
        return Instants(at=_counted(source, dtype=dtype, time=time), naive=_NEVER, expected=expected)
    return Instants(at=pl.lit(None, dtype=TIME), naive=_NEVER, expected=expected)


def _of_text(source: pl.Expr, *, time: Time, expected: str) -> Instants:
    """The instants that texts tell; the usual ones have seconds, and an offset where no zone is declared."""
    text = source.str.strip_chars()
    if time.pattern is not None and re.search("%(#|:)?z", time.pattern):
        at = text.str.to_datetime(time.pattern, time_unit="us", time_zone="UTC", strict=False)
        return Instants(at=at, naive=_NEVER, expected=expected)
    if time.pattern is not None:
        local = text.str.to_datetime(time.pattern, time_unit="us", strict=False)
        return Instants(at=_localised(local, time=time), naive=_refused(local, zone=time.zone), expected=expected)
    joined = text.str.replace(" ", "T", literal=True)
    plain = joined.str.replace(_GO, "$1$2")
    zoned = pl.coalesce(plain.str.to_datetime(shape, time_unit="us", time_zone="UTC", strict=False) for shape in _ZONED)
    local = pl.coalesce(plain.str.to_datetime(shape, time_unit="us", strict=False) for shape in _NAIVE)
    at = pl.coalesce(zoned, _localised(local, time=time))
    usual = joined.str.to_datetime(_ZONED[0], time_unit="us", time_zone="UTC", strict=False)
    return Instants(at=at, naive=_refused(local, zone=time.zone), expected=expected, usual=usual)


def implausible(at: pl.Expr, *, now: datetime | None) -> pl.Expr:
    """True where an instant is before 1990 or more than a day after `now`."""
    latest = LATEST if now is None else now + CLOCK_SKEW
    return ~at.is_between(EARLIEST, latest)


def _localised(local: pl.Expr, *, time: Time) -> pl.Expr:
    if time.zone is None:
        return pl.lit(None, dtype=TIME)
    fold: Literal["earliest", "latest", "null"] = "null" if time.fold == "quarantine" else time.fold
    told = local.dt.replace_time_zone(time.zone, ambiguous=fold, non_existent="null")
    if time.gap == "forward":  # the same instant as by a clock that was not put forward
        moved = (local + timedelta(hours=1)).dt.replace_time_zone(time.zone, ambiguous="null", non_existent="null")
        before = (local - timedelta(hours=1)).dt.replace_time_zone(time.zone, ambiguous="null", non_existent="null")
        told = pl.when(told.is_null() & before.is_not_null()).then(moved).otherwise(told)
    return told.dt.convert_time_zone("UTC")


def _refused(local: pl.Expr, *, zone: str | None) -> pl.Expr:
    return local.is_not_null() if zone is None else pl.lit(value=False)


def _counted(source: pl.Expr, *, dtype: pl.DataType, time: Time) -> pl.Expr:
    """Whole numbers exactly, fractions of an epoch's unit to the nearest microsecond."""
    number = source.str.strip_chars() if dtype == pl.String else source
    whole = number.cast(pl.Int64, strict=False)
    real = number.cast(pl.Float64, strict=False)
    exact = whole.is_not_null() & (whole.cast(pl.Float64) == real)
    if time.origin is not None:
        return (_from_origin(whole=whole, real=real, exact=exact, time=time) + _microseconds(time.origin)).cast(TIME)
    if time.format == "epoch_ns":
        exactly, nearly = whole // 1_000, real / 1_000
    else:
        exactly, nearly = whole * _US_PER_UNIT[time.format], real * _US_PER_UNIT[time.format]
    bounded = nearly.clip(-_FARTHEST_US, _FARTHEST_US).round().cast(pl.Int64, strict=False)
    told = pl.when(exact & (nearly.abs() < _FARTHEST_US)).then(exactly).otherwise(bounded)
    return told.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _from_origin(*, whole: pl.Expr, real: pl.Expr, exact: pl.Expr, time: Time) -> pl.Expr:
    """Microseconds since the origin; only seconds may have fractions."""
    steps = {"second_index": 1, "minute_index": 60}.get(time.format, time.cadence_seconds)
    near = real.abs() < _FARTHEST_US // (steps * 1_000_000)
    if time.format == "second_index":
        return pl.when(near).then((real * 1_000_000).round()).cast(pl.Int64, strict=False)
    since = whole - 1 if time.format == "row" else whole
    return pl.when(exact & near).then(since) * (steps * 1_000_000)


def _microseconds(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
