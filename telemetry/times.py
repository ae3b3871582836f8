"""A source's time column as instants in UTC, by the format that the contract declares."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from telemetry.schema import TIME
from telemetry.sections import Time

EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
"""Telemetry from before this is taken for a wrong unit of the epoch."""
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The bound where no `now` is told."""
CLOCK_SKEW: Final = timedelta(days=1)
"""How far ahead of now a source's clock may be."""

_ZONED: Final = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_NAIVE: Final = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_MINUTE_US: Final = 60_000_000
_FARTHEST_US: Final = 10**17  # the year 5138: beyond any plausible time, and no overflow on the way there
_US_PER_UNIT: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
_TOLD: Final = {
    "iso": "an ISO 8601 time such as 2026-01-31T23:59:00Z",
    "epoch_s": "seconds since 1970",
    "epoch_ms": "milliseconds since 1970",
    "epoch_us": "microseconds since 1970",
    "epoch_ns": "nanoseconds since 1970",
    "minute_index": "a whole number of minutes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instants:
    """How to read a time column.

    Attributes:
        at: the instant, microseconds UTC; null where it cannot be read.
        naive: true where the time carries no zone and none is declared.
        expected: what a message says a time should have been.
    """

    at: pl.Expr
    naive: pl.Expr
    expected: str


def instants(column: str, *, dtype: pl.DataType, time: Time) -> Instants:
    """How to read the time column of a frame in which it has `dtype`.

    Times without a zone are in the contract's zone; those that occur twice when clocks go back mean the first time, those
    that are skipped when clocks go forward cannot be read.
    """
    source = pl.col(column)
    never = pl.lit(value=False)
    zone = f" that exists in {time.zone}" if time.format == "iso" and time.zone else ""
    expected = _TOLD[time.format] + zone
    if isinstance(dtype, pl.Datetime | pl.Date) and time.format != "minute_index":
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
            return Instants(at=source.dt.convert_time_zone("UTC").dt.cast_time_unit("us"), naive=never, expected=expected)
        local = source.cast(pl.Datetime("us"))
        return Instants(at=_localised(local, zone=time.zone), naive=_refused(local, zone=time.zone), expected=expected)
    if time.format == "iso" and dtype == pl.String:
        text = source.str.strip_chars().str.replace(" ", "T", literal=True)
        zoned = pl.coalesce(text.str.to_datetime(shape, time_unit="us", time_zone="UTC", strict=False) for shape in _ZONED)
        local = pl.coalesce(text.str.to_datetime(shape, time_unit="us", strict=False) for shape in _NAIVE)
        at = pl.coalesce(zoned, _localised(local, zone=time.zone))
        return Instants(at=at, naive=_refused(local, zone=time.zone), expected=expected)
    if time.format != "iso" and (dtype.is_numeric() or dtype == pl.String):
        return Instants(at=_counted(source, dtype=dtype, time=time), naive=never, expected=expected)
    return Instants(at=pl.lit(None, dtype=TIME), naive=never, expected=expected)


def implausible(at: pl.Expr, *, now: datetime | None) -> pl.Expr:
    """True where an instant is before 1990 or more than a day after `now`."""
    latest = LATEST if now is None else now + CLOCK_SKEW
    return ~at.is_between(EARLIEST, latest)


def _localised(local: pl.Expr, *, zone: str | None) -> pl.Expr:
    if zone is None:
        return pl.lit(None, dtype=TIME)
    return local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")


def _refused(local: pl.Expr, *, zone: str | None) -> pl.Expr:
    return local.is_not_null() if zone is None else pl.lit(value=False)


def _counted(source: pl.Expr, *, dtype: pl.DataType, time: Time) -> pl.Expr:
    """Whole numbers exactly, fractions of an epoch's unit to the nearest microsecond."""
    number = source.str.strip_chars() if dtype == pl.String else source
    whole = number.cast(pl.Int64, strict=False)
    real = number.cast(pl.Float64, strict=False)
    exact = whole.is_not_null() & (whole.cast(pl.Float64) == real)
    if time.origin is not None:
        minutes = pl.when(exact & (real.abs() < _FARTHEST_US // _MINUTE_US)).then(whole)
        return (minutes * _MINUTE_US + _microseconds(time.origin)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if time.format == "epoch_ns":
        exactly, nearly = whole // 1_000, real / 1_000
    else:
        exactly, nearly = whole * _US_PER_UNIT[time.format], real * _US_PER_UNIT[time.format]
    bounded = nearly.clip(-_FARTHEST_US, _FARTHEST_US).round().cast(pl.Int64, strict=False)
    told = pl.when(exact & (nearly.abs() < _FARTHEST_US)).then(exactly).otherwise(bounded)
    return told.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _microseconds(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
