"""A table's time column -> the SQL that asks for spans of it, its bounds always parameters: `$1`, `$2`.

A bucket is an hour as text, `2026-01-31T23`, its first ten characters a day: in UTC, in the contract's zone where times carry none,
or as it is written where times are text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from telemetry.errors import NaiveTimeError, SourceError
from telemetry.postgres import Bound
from telemetry.sections import Time
from telemetry.times import EARLIEST

WHOLE: Final = frozenset({"int2", "int4", "int8"})
_REAL: Final = frozenset({"float4", "float8"})
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  (in the column's own frame)
_DATE: Final = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_FARTHEST_OFFSET: Final = timedelta(hours=14)
_HOUR: Final = """to_char(timestamp 'epoch' + {hours} * interval '1 hour', 'YYYY-MM-DD"T"HH24')"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition in SQL.

    Attributes:
        sql: with `$1`, `$2` where its bounds stand.
        bounds: their values.
    """

    sql: str
    bounds: tuple[Bound, ...] = ()


class Axis(Protocol):
    """A time column, as it is asked for."""

    @property
    def bucket(self) -> str:
        """SQL of the bucket that a row belongs to."""
        ...

    @property
    def timeless(self) -> Condition:
        """Rows in no bucket: without a time, or with one from before 1990."""
        ...

    def within(self, *, since: datetime | None, until: datetime) -> Condition:
        """Rows of a span; at least those."""
        ...

    def of(self, bucket: str, *, day: bool, since: datetime | None, until: datetime) -> Condition:
        """Those of them in a bucket, or in a whole day of them."""
        ...


def axis(column: str, *, kind: str, time: Time, source: str) -> Axis:
    """How spans of a time column are asked for.

    Args:
        column: its name, quoted.
        kind: PostgreSQL's name of its type.
        time: how it is to be read.
        source: for messages.

    Raises:
        NaiveTimeError: times without a zone, and none declared.
        SourceError: no span of such times can be asked for.
    """
    counted = time.format not in ("iso", "pattern")
    if kind == "timestamptz" and not time.origin:
        return _Ordered(
            key=column, hours=_of_epoch(column), earliest=EARLIEST, value=lambda local: local.replace(tzinfo=UTC), since=_utc, until=_utc
        )
    if kind in ("timestamp", "date") and not time.origin:
        if time.zone is None:
            message = f"{source}: the times of {column} carry no zone, and the contract declares none."
            raise NaiveTimeError(message, hint="set time.zone in the contract, or let sql.query give a timestamptz.")
        key = f"{column}::timestamp" if kind == "date" else column
        zone = ZoneInfo(time.zone)
        hour = timedelta(hours=1)
        return _Ordered(
            key=key,
            hours=_of_epoch(key),
            earliest=EARLIEST,
            since=lambda at: _wall(at, zone=zone, slack=-hour),
            until=lambda at: _wall(at, zone=zone, slack=hour),
            value=lambda local: local,
        )
    if counted and kind in WHOLE | _REAL | {"numeric"}:
        return _numbers(column, kind=kind, time=time)
    if time.format == "iso" and kind in ("text", "varchar", "bpchar"):
        return _Written(column=column)
    message = f"{source}: {column} is {kind}, and no span of it can be asked for with time.format '{time.format}'."
    raise SourceError(message, hint="let sql.query give the time as timestamptz, and set time.format to 'iso'.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ordered:
    """Times whose order is the order of the column's values.

    Attributes:
        key: SQL of what the bounds are compared with.
        hours: SQL of the hours since 1970, in the column's own frame.
        earliest: the first plausible time.
        value: a time of that frame in the column's own type.
        since: an instant in that frame, or a time before it.
        until: an instant in that frame, or a time after it.
    """

    key: str
    hours: str
    earliest: datetime
    value: Callable[[datetime], Bound]
    since: Callable[[datetime], datetime]
    until: Callable[[datetime], datetime]
    cast: str = ""
    no_number: bool = False

    @property
    def bucket(self) -> str:
        return _HOUR.format(hours=self.hours)

    @property
    def timeless(self) -> Condition:
        nan = f" OR {self.key} = 'NaN'" if self.no_number else ""
        return Condition(sql=f"{self.key} IS NULL OR {self.key} < $1{self.cast}{nan}", bounds=(self.value(self.since(self.earliest)),))

    def within(self, *, since: datetime | None, until: datetime) -> Condition:
        return self._between(self.since(since or self.earliest), self.until(until))

    def of(self, bucket: str, *, day: bool, since: datetime | None, until: datetime) -> Condition:
        start = datetime.fromisoformat(bucket)
        end = start + (timedelta(days=1) if day else timedelta(hours=1))
        return self._between(max(start, self.since(since or self.earliest)), min(end, self.until(until)))

    def _between(self, start: datetime, end: datetime) -> Condition:
        sql = f"{self.key} >= $1{self.cast} AND {self.key} < $2{self.cast}"
        return Condition(sql=sql, bounds=(self.value(start), self.value(end)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """ISO texts, by the day and hour that stand there: their offsets may differ, so a span is asked for by whole days that hold it."""

    column: str

    @property
    def bucket(self) -> str:
        return f"replace(left(btrim({self.column}), 13), ' ', 'T')"

    @property
    def timeless(self) -> Condition:
        return Condition(sql=f"({self._dated}) IS NOT TRUE OR {self._day} < $1", bounds=(EARLIEST.date().isoformat(),))

    def within(self, *, since: datetime | None, until: datetime) -> Condition:
        first = _written(since - _FARTHEST_OFFSET) if since else EARLIEST.date()
        bounds = (first.isoformat(), _written(until + _FARTHEST_OFFSET).isoformat())
        return Condition(sql=f"{self._dated} AND {self._day} >= $1 AND {self._day} <= $2", bounds=bounds)

    def of(self, bucket: str, *, day: bool, since: datetime | None, until: datetime) -> Condition:  # noqa: ARG002  (days are asked for whole)
        return Condition(sql=f"{self._day if day else self.bucket} = $1", bounds=(bucket,))

    @property
    def _day(self) -> str:
        return f"""(left(btrim({self.column}), 10) COLLATE "C")"""

    @property
    def _dated(self) -> str:
        return f"btrim({self.column}) ~ '{_DATE}'"


def _numbers(column: str, *, kind: str, time: Time) -> _Ordered:
    """Numbers that count from 1970 or from an origin."""
    per = _microseconds_per_unit(time)
    origin = 0 if time.origin is None else (_utc(time.origin) - _EPOCH) // timedelta(microseconds=1)

    def value(local: datetime) -> Bound:
        exact = Fraction((local - _EPOCH) // timedelta(microseconds=1) - origin) / per
        if kind in WHOLE:
            return ceil(exact)
        return float(exact) if kind in _REAL else f"{ceil(exact * 10**9)}e-9"

    hour = 3_600_000_000 * per.denominator
    hours = f"floor(({column}::numeric * {per.numerator} + {origin * per.denominator}) / {hour})::int8"
    cast = {"numeric": "::numeric", "float4": "::float8", "float8": "::float8"}.get(kind, "::int8")
    earliest = EARLIEST if time.origin is None else min(EARLIEST, time.origin)
    return _Ordered(key=column, hours=hours, earliest=earliest, value=value, since=_utc, until=_utc, cast=cast, no_number=kind not in WHOLE)


def _microseconds_per_unit(time: Time) -> Fraction:
    seconds = {"epoch_ns": Fraction(1, 10**9), "epoch_us": Fraction(1, 10**6), "epoch_ms": Fraction(1, 1000), "minute_index": Fraction(60)}
    steps = {"step_index": Fraction(time.cadence_seconds)}
    return 10**6 * (seconds | steps).get(time.format, Fraction(1))


def _of_epoch(key: str) -> str:
    return f"floor(extract(epoch FROM {key}) / 3600)::int8"


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(tzinfo=None)


def _wall(instant: datetime, *, zone: ZoneInfo, slack: timedelta) -> datetime:
    """What the clock says; with some slack near the hours that clocks skip or repeat, for what those mean is up to the contract."""
    there, near = instant.astimezone(zone), {(instant + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in (-2, 2)}
    return there.replace(tzinfo=None) + (slack if len(near) > 1 else timedelta())


def _written(instant: datetime) -> date:
    return instant.astimezone(UTC).date()
