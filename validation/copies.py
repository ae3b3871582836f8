"""Hours of a grid -> days that are told twice: as another day of the entity, or as another entity's; a copied export, or a stuck collector.

Two hours are alike where every parameter has the same median, of as many values; a day of which most hours are alike those of another, by
one and the same stretch of time, is looked at value by value. What hardly moves may be alike by chance: it is not looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.schema import AT, ENTITY, PARAMETER
from validation.findings import Finding, Severity
from validation.profile import HOUR, HOUR_US, KEYS, Profile

Integers = NDArray[np.int64]

LEAST_HOURS: Final = 12
"""Of a day that must be alike; telemetry of steps above two hours has fewer, and is not looked at."""
LEAST_DIFFERENT: Final = 24
"""Of the steps that are alike, so many must differ from each other."""
LEAST_MOVING: Final = 0.5
"""... and such a share of them."""
MOST_LOOKED_AT: Final = 20
"""Runs of days that are looked at value by value; of each the first and the last day."""
DAY_HOURS: Final = 24
_ORIGIN: Final = "origin"
_SHIFT: Final = "shift"
_DAY: Final = "day"
_ALIKE: Final = "alike"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A run of days that an entity tells value by value as another, or itself, tells others.

    Attributes:
        entity: whose days are told again.
        origin: whose they were first; of two at the same time, the first by name.
        shift: how much later they are told again.
        start: of the first day (UTC).
        end: exclusive.
    """

    entity: str
    origin: str
    shift: timedelta
    start: datetime
    end: datetime

    @property
    def days(self) -> int:
        """How many there are."""
        return (self.end - self.start) // timedelta(days=1)


def find(profile: Profile, *, grid: pl.DataFrame) -> tuple[Copy, ...]:
    """Every run of days that is told twice, sorted by entity and time; the runs beyond `MOST_LOOKED_AT` are taken from their hours alone.

    Args:
        profile: of `grid`.
        grid: looked into again where hours are alike.
    """
    days = _alike(profile)
    if days.is_empty():
        return ()
    keys = [ENTITY, _ORIGIN, _SHIFT]
    run = (pl.col(_DAY).diff().over(keys) != 1).fill_null(value=True).cum_sum().over(keys).alias("run")
    runs = (
        days.sort(*keys, _DAY)
        .with_columns(run)
        .group_by(*keys, "run", maintain_order=True)
        .agg(first=pl.col(_DAY).min(), last=pl.col(_DAY).max())
    )
    found = [
        Copy(
            entity=row[ENTITY],
            origin=row[_ORIGIN],
            shift=timedelta(hours=row[_SHIFT]),
            start=_midnight(row["first"]),
            end=_midnight(row["last"] + 1),
        )
        for row in runs.sort(pl.col("last") - pl.col("first"), descending=True).iter_rows(named=True)
    ]
    told = [copy for number, copy in enumerate(found) if number >= MOST_LOOKED_AT or _confirmed(copy, grid=grid)]
    return tuple(sorted(told, key=lambda copy: (copy.entity, copy.start, copy.origin)))


def _alike(profile: Profile) -> pl.DataFrame:
    """`entity, origin, shift` (hours), `day` (since 1970) of which at least `LEAST_HOURS` are alike those that many hours before."""
    none = pl.DataFrame(schema={ENTITY: pl.String, _ORIGIN: pl.String, _SHIFT: pl.Int64, _DAY: pl.Int64})
    suspects = _suspects(profile)
    if len(suspects) < LEAST_HOURS:
        return none
    said = pl.struct(PARAMETER, "level", "told", "zero", "negative").hash()
    hours = suspects.group_by(ENTITY, HOUR).agg(said.bitwise_xor().alias("said"), pl.len().alias("parameters"))
    twice = hours.filter(pl.struct("said", "parameters").is_duplicated())
    if len(twice) < LEAST_HOURS:
        return none
    ordered = twice.sort("said", "parameters", HOUR, ENTITY)
    again = (pl.col("said") == pl.col("said").shift()) & (pl.col("parameters") == pl.col("parameters").shift())
    pairs = ordered.with_columns(
        pl.when(again).then(pl.col(ENTITY).shift()).alias(_ORIGIN),
        (pl.col(HOUR) - pl.col(HOUR).shift()).alias(_SHIFT),
        (pl.col(HOUR) // DAY_HOURS).alias(_DAY),
    ).filter(pl.col(_ORIGIN).is_not_null())
    by_day = pairs.group_by(ENTITY, _ORIGIN, _SHIFT, _DAY).agg(pl.col("said").n_unique().alias(_ALIKE))
    return by_day.filter(pl.col(_ALIKE) >= LEAST_HOURS).select(none.columns)


def _suspects(profile: Profile) -> pl.DataFrame:
    """What the hours tell of which every parameter has a median that another suspect has as well.

    A parameter with digits enough leaves hardly any, so that the others have little to sort.
    """
    every = profile.entities.select(ENTITY, first=pl.col("first").dt.epoch("us") // HOUR_US, last=pl.col("last").dt.epoch("us") // HOUR_US)
    names, start = every.get_column(ENTITY), every.get_column("first").to_numpy()
    room = every.get_column("last").to_numpy() - start + 1
    offset = np.cumsum(room) - room - start
    place = {name: index for index, name in enumerate(names)}
    alone = np.zeros(int(room.sum()), dtype=np.bool_)
    rows: list[tuple[Integers, Integers]] = []
    lengths = profile.hours.get_column(PARAMETER).rle().struct.field("len").to_list()
    for begin, length in zip(accumulate(lengths, initial=0), lengths, strict=False):
        block = profile.hours.slice(begin, length)
        runs = block.get_column(ENTITY).rle().struct
        entity = np.repeat([place[name] for name in runs.field("value")], runs.field("len").to_numpy())
        moving = (block.get_column("told") > 0).to_numpy()
        index = (offset[entity] + block.get_column(HOUR).to_numpy())[moving]
        rows.append((begin + np.flatnonzero(moving), index))
        left = ~alone[index]
        levels = block.get_column("level").filter(pl.Series(moving)).filter(pl.Series(left))
        alone[index[left][~levels.is_duplicated().to_numpy()]] = True
    return profile.hours[np.concatenate([row[~alone[index]] for row, index in rows])] if rows else profile.hours.clear()


def _confirmed(copy: Copy, *, grid: pl.DataFrame) -> bool:
    """Whether the values of its first and of its last day are those of the origin, in most steps and all of them moving."""
    day = timedelta(days=1)
    return all(_same_day(copy, start=start, grid=grid) for start in dict.fromkeys((copy.start, copy.end - day)))


def _same_day(copy: Copy, *, start: datetime, grid: pl.DataFrame) -> bool:
    names = [name for name in grid.columns if name not in KEYS]
    later = _rows(grid, entity=copy.entity, start=start).select(AT, *names)
    earlier = _rows(grid, entity=copy.origin, start=start - copy.shift)
    moved = earlier.select((pl.col(AT) + copy.shift).alias(AT), *(pl.col(name).alias(f"{name} before") for name in names))
    same = later.join(moved, on=AT).filter(pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name} before")) for name in names))
    told = same.filter(~pl.all_horizontal(pl.col(names).is_null())).select(names)
    different = told.n_unique() if len(told) else 0
    most = len(told) >= LEAST_HOURS / DAY_HOURS * len(later)
    return most and different >= max(min(LEAST_DIFFERENT, len(told)), LEAST_MOVING * len(told))


def _rows(grid: pl.DataFrame, *, entity: str, start: datetime) -> pl.DataFrame:
    return grid.filter(pl.col(ENTITY) == entity, pl.col(AT).is_between(start, start + timedelta(days=1), closed="left"))


def _midnight(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)


def copied(copies: Sequence[Copy], *, severity: Severity, parameters: Sequence[str]) -> tuple[Finding, ...]:
    """A finding for every run of days that is told twice.

    Args:
        copies: as of `find`.
        severity: of the findings.
        parameters: all of which are told twice.
    """
    return tuple(
        Finding(
            expectation="copied day",
            severity=severity,
            entity=copy.entity,
            parameter=parameters[0] if severity == "quarantine" else None,
            beside=tuple(parameters[1:]) if severity == "quarantine" else (),
            period_start=copy.start,
            period_end=copy.end,
            found=f"{copy.days:,} {'day' if copy.days == 1 else 'days'} told again, value by value: {_of(copy)}",
            expected="no day that is another's copy",
            sentence=f"{copy.entity} tells {_when(copy)} value by value what {_of(copy)} told: an export was copied, or something on "
            "the way repeats what it knew.",
        )
        for copy in copies
    )


def _when(copy: Copy) -> str:
    return f"on {copy.start:%Y-%m-%d}" if copy.days == 1 else f"from {copy.start:%Y-%m-%d} on, {copy.days:,} days,"


def _of(copy: Copy) -> str:
    who = "itself" if copy.origin == copy.entity else copy.origin
    if not copy.shift:
        return f"{who} at the same time"
    hours = copy.shift / timedelta(hours=1)
    before = f"{hours / DAY_HOURS:,.0f} days" if hours % DAY_HOURS == 0 else f"{hours:,.0f} hours"
    return f"{who} {before.removesuffix('s') if before in ('1 days', '1 hours') else before} before"
