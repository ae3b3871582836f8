"""Readings that arrive, and what is known of the steps that they touch -> what changes in the grid and what is kept beside it."""

from dataclasses import dataclass
from typing import Final

import polars as pl

from telemetry.archive import STEP, canonical, counters, in_order, steps, touched_by
from telemetry.contract import Contract
from telemetry.runs import Runs
from telemetry.schema import AT, COHORT, ENTITY, LABEL, OBSERVED, REVISION
from telemetry.tables import DAY

NO_VALUES: Final = frozenset({ENTITY, COHORT, AT, OBSERVED, REVISION, DAY, LABEL})
"""Columns that are no parameter."""
NEW: Final = "new"
OTHER: Final = "other"
_OLD: Final = "__old"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """What readings change.

    Attributes:
        rows: the grid's rows to be written, without `day`, those of a day sorted by entity and time; `new` are those that it has not,
            `other` those that it tells otherwise (the rest tell the same, and are recorded otherwise).
        apart: readings to be kept beside the grid, which are not kept yet, sorted likewise.
        sealed: `entity, at, revision` of the readings that came after retention had removed those which they belong to.
    """

    rows: pl.DataFrame
    apart: pl.DataFrame
    sealed: pl.DataFrame


def change(readings: pl.DataFrame, *, known: pl.DataFrame, stored: pl.DataFrame, contract: Contract, names: tuple[str, ...]) -> Change:
    """What `canonical` readings change.

    Args:
        readings: `entity, at, <names>, revision`.
        known: the grid's rows of the steps that they touch, and of counters those before as far back as `counters` says.
        stored: the readings that are kept beside the grid, of the same steps.
        contract: its cadence and aggregations.
        names: the parameters of `readings`.
    """
    if not known.height and not stored.height:
        return _all_new(readings, contract=contract, names=names)
    if counters(contract) is None:  # a step is told from its own readings: a day of which nothing is known is all new
        days = pl.concat([known[AT].dt.date(), stored.select(_step(contract).dt.date()).to_series()]).unique()
        among = readings.select(_step(contract).dt.date().is_in(days.implode())).to_series()
        if not among.all():
            free = _all_new(readings.filter(~among), contract=contract, names=names)
            others = change(readings.filter(among), known=known, stored=stored, contract=contract, names=names)
            return Change(
                rows=pl.concat([others.rows, free.rows], how="diagonal"),
                apart=pl.concat([others.apart, free.apart], how="diagonal"),
                sealed=others.sealed,
            )
    told = tuple(dict.fromkeys((*names, *(c for c in (*known.columns, *stored.columns) if c not in NO_VALUES))))
    closed = _closed(known, stored=stored, contract=contract)
    stepped = readings.with_columns(_step(contract))
    fresh = stepped.join(closed, on=[ENTITY, STEP], how="anti")
    alone = known.filter(pl.col(REVISION).is_not_null())
    every = [rows.select(pl.exclude(OBSERVED, DAY, STEP)) for rows in (fresh, stored, alone)]
    together = canonical(pl.concat(every, how="diagonal"), names=told)
    open_ones = touched_by(readings, contract=contract).join(closed, left_on=[ENTITY, AT], right_on=[ENTITY, STEP], how="anti")
    now = steps(together, contract=contract, names=told).join(open_ones, on=[ENTITY, AT], how="semi")
    return Change(
        rows=in_order(_difference(now.filter(OBSERVED), old=known, names=told)),
        apart=in_order(_beyond(_apart(together, of=now, contract=contract), stored=stored)),
        sealed=stepped.join(closed, on=[ENTITY, STEP], how="semi").select(ENTITY, AT, REVISION),
    )


def _all_new(readings: pl.DataFrame, *, contract: Contract, names: tuple[str, ...]) -> Change:
    """What readings change of whose steps nothing is known."""
    now = steps(readings, contract=contract, names=names)
    return Change(
        rows=now.filter(OBSERVED).with_columns(pl.lit(value=True).alias(NEW), pl.lit(value=False).alias(OTHER)),
        apart=_beside(readings, of=now, contract=contract),
        sealed=readings.clear().select(ENTITY, AT, REVISION),
    )


def _step(contract: Contract) -> pl.Expr:
    return pl.col(AT).dt.truncate(contract.time.cadence).alias(STEP)


def _closed(known: pl.DataFrame, *, stored: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The steps that can no longer be told anew, because retention has removed the readings they are made of: `entity, STEP`.

    A counter's rise is told from the reading before: within its reach, a step after one of them cannot be told anew either.
    """
    made = known.filter(pl.col(REVISION).is_null()).select(ENTITY, pl.col(AT).alias(STEP))
    closed = made.join(stored.select(ENTITY, _step(contract)), on=[ENTITY, STEP], how="anti")
    reach = counters(contract)
    if reach is None or not closed.height:
        return closed
    after = [closed.with_columns(pl.col(STEP) + contract.time.cadence * n) for n in range(reach // contract.time.cadence + 1)]
    return pl.concat(after).unique()


def _apart(readings: pl.DataFrame, *, of: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Those of `canonical` readings that belong to rows of the grid which are not their own record."""
    apart = of.filter(pl.col(REVISION).is_null()).select(ENTITY, pl.col(AT).alias(STEP))
    if not apart.height:
        return readings.clear()
    return readings.with_columns(_step(contract)).join(apart, on=[ENTITY, STEP], how="semi").drop(STEP)


def _beside(readings: pl.DataFrame, *, of: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """The same where `of` is all that the readings make, a row for each run of them."""
    runs = Runs.of(readings.select(ENTITY, _step(contract)), by=(ENTITY, STEP))
    return readings.filter(runs.spread(of[REVISION].is_null()))


def _beyond(readings: pl.DataFrame, *, stored: pl.DataFrame) -> pl.DataFrame:
    """The readings that are not stored yet."""
    absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in readings.columns if name not in stored.columns]
    there = stored.with_columns(absent).select(readings.columns)
    return readings.join(there, on=readings.columns, how="anti", nulls_equal=True) if there.height else readings


def _difference(now: pl.DataFrame, *, old: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """The rows of `now` that `old` has not or records otherwise; each is `new`, or `other` where one of its values changed."""
    told = [name for name in names if name in old.columns]
    both = now.join(old.select(ENTITY, AT, OBSERVED, REVISION, *told), on=[ENTITY, AT], how="left", suffix=_OLD)
    new = pl.col(f"{OBSERVED}{_OLD}").is_null()
    others = [pl.col(name).ne_missing(pl.col(f"{name}{_OLD}")) for name in told]
    others += [pl.col(name).is_not_null() for name in names if name not in told]
    rerecorded = pl.col(REVISION).ne_missing(pl.col(f"{REVISION}{_OLD}"))
    judged = both.with_columns(new.alias(NEW), (~new & pl.any_horizontal(others)).alias(OTHER))
    return judged.filter(pl.col(NEW) | pl.col(OTHER) | rerecorded).select(*now.columns, NEW, OTHER)
