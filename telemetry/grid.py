"""The grid as it is stored: readings become its rows, and its rows are read as one row a step.

It is a Delta table by day; `revision` marks the rows that are the record of their only reading. How readings become rows, whatever their
order, is told in `telemetry.archive`.
"""

import logging
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final

import polars as pl
from deltalake import DeltaTable

from telemetry.archive import STEP, canonical, counters, in_order, touched_by
from telemetry.changes import NEW, NO_VALUES, OTHER, change
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError
from telemetry.resample import complete, fill, lookback
from telemetry.schema import AT, COHORT, ENTITY, LABEL, OBSERVED, REVISION, TIME, Schema, conform, grid_schema
from telemetry.tables import DAY, ROWS, Tables

GRID: Final = "grid"
READINGS: Final = "readings"
"""Readings that the grid's rows cannot give back: below the cadence, beside a step's beginning, or of a counter."""
PORTION_ROWS: Final = 4_000_000
"""Days that hold more rows of the grid are not merged into at once: a day that changes is held in memory."""
_NOTHING: Final = timedelta(0)
_KNOWN: Final[Schema] = {ENTITY: pl.String, AT: TIME, OBSERVED: pl.Boolean, REVISION: pl.Int64}
_STORED: Final[Schema] = {ENTITY: pl.String, AT: TIME, REVISION: pl.Int64}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did to the grid.

    Attributes:
        rows_new: steps that were not there.
        rows_changed: steps that are told otherwise now.
        sealed: `entity, at, revision` of readings that came too late: retention has removed those which they belong to.
    """

    rows_new: int
    rows_changed: int
    sealed: pl.DataFrame = field(compare=False)


@dataclass(frozen=True, slots=True)
class Grid(Tables):
    """The tables `grid` and `readings`: what was measured."""

    def merge_readings(self, readings: pl.DataFrame, *, contract: Contract) -> Merged:
        """Bring readings into the grid, by the law of `telemetry.archive`: the same set of readings makes the same grid.

        Those that the grid's rows cannot give back are appended to the table `readings` first, then the grid is changed in one commit: a
        kill in between costs a second merge, never a reading. Merging the same again writes nothing.

        Args:
            readings: `entity, at, revision` and parameters as Float64; columns that the contract does not declare are averaged and kept.
            contract: its cadence and aggregations.

        Raises:
            SchemaError: a column is missing or of another type.
            CommitFailedError: other writers came first, time after time.
        """
        names = tuple(name for name in readings.columns if name not in NO_VALUES)
        schema: Schema = {ENTITY: pl.String, AT: TIME, **dict.fromkeys((*contract.names, *names), pl.Float64), REVISION: pl.Int64}
        frame = conform(readings.select(pl.exclude(COHORT, LABEL)), schema, name=READINGS)
        told = canonical(frame.with_columns(_one_zero(name) for name in names), names=names)
        if not told.height:
            return Merged(rows_new=0, rows_changed=0, sealed=told.select(ENTITY, AT, REVISION))
        every = [self._merged(portion, contract=contract, names=names) for portion in self._portions(told)]
        merged = Merged(
            rows_new=sum(each.rows_new for each in every),
            rows_changed=sum(each.rows_changed for each in every),
            sealed=pl.concat(each.sealed for each in every),
        )
        logger.info("merged into %s: %d new steps, %d changed", self.uri(GRID), merged.rows_new, merged.rows_changed)
        return merged

    def grid(
        self,
        *,
        contract: Contract,
        since: datetime | None = None,
        until: datetime | None = None,
        entities: tuple[str, ...] | None = None,
        version: int | None = None,
    ) -> pl.LazyFrame:
        """The grid of the span, sorted, complete between each entity's first and last step in it, missing values by the contract.

        Args:
            contract: its parameters; one that was never ingested is all null.
            since: first instant.
            until: end, exclusive.
            entities: those only.
            version: the table as it was then, for a run that must be repeatable.

        Raises:
            EmptySourceError: nothing was ingested yet.
        """
        table = self.open(GRID, version=version)
        if table is None:
            raise EmptySourceError(f"The lake {self.root} holds no grid.", hint="ingest a source first: tidewatch ingest.")
        frame = self.scan(table)
        stored = frame.collect_schema().names()
        if since is not None:
            first = since.astimezone(UTC) - lookback(contract)
            frame = frame.filter(pl.col(DAY) >= first.date(), pl.col(AT) >= first)
        if until is not None:
            frame = frame.filter(pl.col(DAY) <= until.astimezone(UTC).date(), pl.col(AT) < until)
        if entities is not None:
            frame = frame.filter(pl.col(ENTITY).is_in(entities))
        absent = [pl.lit(None, dtype=pl.Float64).alias(name) for name in contract.names if name not in stored]
        frame = frame.with_columns(absent).select(list(grid_schema(contract.names)))
        frame = fill(complete(frame, cadence=contract.time.cadence), contract=contract)
        return frame if since is None else frame.filter(pl.col(AT) >= since)

    def days(self) -> pl.DataFrame:
        """The days (UTC) of which the grid has a row, by entity: `entity, day`, sorted."""
        table = self.open(GRID)
        if table is None:
            return pl.DataFrame(schema={ENTITY: pl.String, DAY: pl.Date})
        return self.scan(table).select(ENTITY, DAY).unique().sort(ENTITY, DAY).collect()

    def rewrite(self, table: str, *, days: list[date]) -> None:
        """Write the rows of some days of `grid` or `readings` into as few files as they need, in order; what they tell stays the same.

        Readings that count for nothing any more are left out.
        """

        def attempt(opened: DeltaTable | None) -> None:
            if opened is None or not days:
                return
            rows = self.scan(opened).filter(pl.col(DAY).is_in(days)).collect()
            names = tuple(name for name in rows.columns if name not in NO_VALUES)
            told = canonical(rows, names=names) if table == READINGS else in_order(rows)
            self.put(table, told, opened=opened, partition=DAY, days=sorted(days))

        self.commit(table, attempt)

    def _portions(self, readings: pl.DataFrame) -> list[pl.DataFrame]:
        """The readings by days of which the grid holds no more rows than fit into memory; mostly one portion."""
        table = self.open(GRID)
        if table is None:
            return [readings]
        held = self.files(table).group_by(DAY).agg(pl.col(ROWS).sum())
        days = readings.select(pl.col(AT).dt.date().alias(DAY)).unique().join(held, on=DAY, how="left").sort(DAY)
        portions = days.with_columns(pl.col(ROWS).fill_null(0).cum_sum() // PORTION_ROWS).partition_by(ROWS, maintain_order=True)
        if len(portions) == 1:
            return [readings]
        day = pl.col(AT).dt.date()
        return [readings.filter(day.is_between(portion[DAY].min(), portion[DAY].max())) for portion in portions]

    def _merged(self, readings: pl.DataFrame, *, contract: Contract, names: tuple[str, ...]) -> Merged:
        return self.commit(GRID, lambda table: self._merge(table, readings, contract=contract, names=names))

    def _merge(self, table: DeltaTable | None, readings: pl.DataFrame, *, contract: Contract, names: tuple[str, ...]) -> Merged:
        """One attempt to merge: what is known of the touched steps, what they are now, and the difference as one commit."""
        touched = touched_by(readings, contract=contract)
        known = self._known(table, touched, reach=counters(contract))
        stored = (
            self._stored(touched, contract=contract) if known.height or counters(contract) is not None else pl.DataFrame(schema=_STORED)
        )
        found = change(readings, known=known, stored=stored, contract=contract, names=names)
        if found.apart.height:
            kept = found.apart.with_columns(pl.col(AT).dt.truncate(contract.time.cadence).dt.date().alias(DAY))
            self.commit(READINGS, lambda opened: self.put(READINGS, kept, opened=opened, partition=DAY))
        new, other = int(found.rows[NEW].sum()), int(found.rows[OTHER].sum())
        if found.rows.height:
            rows = found.rows.drop(NEW, OTHER).with_columns(pl.col(AT).dt.date().alias(DAY))
            self._put(table, rows, only_new=new == rows.height)
        return Merged(rows_new=new, rows_changed=other, sealed=found.sealed)

    def _known(self, table: DeltaTable | None, touched: pl.DataFrame, *, reach: timedelta | None) -> pl.DataFrame:
        """The grid's rows of the touched steps, as they are stored; with a reach, all of their entities in it."""
        if table is None:
            return pl.DataFrame(schema=_KNOWN)
        near = _near(self.scan(table), touched, reach=reach)
        return near.join(touched.lazy(), on=[ENTITY, AT] if reach is None else ENTITY, how="semi").collect()

    def _stored(self, touched: pl.DataFrame, *, contract: Contract) -> pl.DataFrame:
        """The readings that are kept of the touched steps, and of counters those before."""
        table, reach = self.open(READINGS), counters(contract)
        if table is None:
            return pl.DataFrame(schema=_STORED)
        step = pl.col(AT).dt.truncate(contract.time.cadence).alias(STEP)
        near = _near(self.scan(table), touched, reach=reach, cadence=contract.time.cadence).with_columns(step)
        steps, keys = touched.lazy().rename({AT: STEP}), [ENTITY, STEP] if reach is None else [ENTITY]
        return near.join(steps, on=keys, how="semi").drop(STEP, DAY).collect()

    def _put(self, table: DeltaTable | None, rows: pl.DataFrame, *, only_new: bool) -> None:
        """Bring rows into the grid: add them, or replace the days in which a known one changes."""
        if table is None or only_new:
            self.put(GRID, rows, opened=table, partition=DAY)
            return
        days = rows[DAY].unique().to_list()
        others = self.scan(table).filter(pl.col(DAY).is_in(days)).join(rows.lazy(), on=[ENTITY, AT], how="anti").collect()
        whole = pl.concat([rows, others], how="diagonal")
        self.put(GRID, in_order(whole), opened=table, partition=DAY, days=sorted(days))


def _one_zero(name: str) -> pl.Expr:
    """Without NaN, and without the negative zero that is equal to zero in other bits; Polars leaves out an addition of zero."""
    return pl.when(pl.col(name) == 0).then(0.0).otherwise(pl.col(name).fill_nan(None)).alias(name)


def _near(
    rows: pl.LazyFrame, touched: pl.DataFrame, *, reach: timedelta | None, cadence: timedelta = timedelta(microseconds=1)
) -> pl.LazyFrame:
    """Those of the days, the times and the entities that are touched: what files and their row groups can be passed over by."""
    back = reach or _NOTHING
    days = touched.select(pl.concat([pl.col(AT), pl.col(AT) - back]).dt.date().unique().alias(DAY))[DAY].to_list()
    bounds = touched.select(
        first=pl.col(AT).min() - back, last=pl.col(AT).max() + cadence, least=pl.col(ENTITY).min(), greatest=pl.col(ENTITY).max()
    ).row(0, named=True)
    within = pl.col(AT).is_between(bounds["first"], bounds["last"], closed="left")
    return rows.filter(pl.col(DAY).is_in(days), within, pl.col(ENTITY).is_between(pl.lit(bounds["least"]), pl.lit(bounds["greatest"])))
