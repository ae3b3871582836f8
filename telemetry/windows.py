"""From the grid to the panel: the cut of time into train | gap | calibrate | gap | test, and the dense arrays of a network."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry import calendars
from telemetry.attributes import attribute
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError, SourceError
from telemetry.panel import Panel, Part
from telemetry.presence import newcomers
from telemetry.scaling import matrices
from telemetry.schema import AT, END, ENTITY, START

LEAST_STEPS: Final = 4
"""Each part must hold this many windows, or nothing could be learned or judged."""


def cuts(grid: pl.LazyFrame, *, contract: Contract) -> pl.DataFrame:
    """Where each entity's parts begin and end.

    Returns:
        One row per entity: `entity, start, train_end, calibrate_start, calibrate_end, test_start, end` (ends exclusive, UTC).
        Between two parts lies a gap of one window, so that no window reaches from one into the next.

    Raises:
        EmptySourceError: the grid has no row.
        SourceError: the span is too short for the contract's windows.
    """
    cadence = contract.time.cadence
    spans = grid.group_by(ENTITY).agg(pl.col(AT).min().alias(START), (pl.col(AT).max() + cadence).alias(END)).sort(ENTITY).collect()
    if spans.is_empty():
        raise EmptySourceError("The grid holds no row to learn from.", hint="ingest a source first: tidewatch ingest --source <folder>.")
    own = contract.split.by == "entity"
    first, last = (pl.col(START), pl.col(END)) if own else (pl.col(START).min(), pl.col(END).max())
    length = (last - first).dt.total_microseconds() // int(cadence.total_seconds() * 1e6)
    told = spans.with_columns(first.alias("from"), length.alias("length"))
    _long_enough(told, contract=contract)
    gap = contract.windows.time_steps * cadence
    return (
        told.with_columns(_at(1 - contract.split.test_share, cadence=cadence).alias("test_start"))
        .with_columns((pl.col("test_start") - gap).alias("calibrate_end"))
        .with_columns((pl.col("calibrate_end") - _length(contract.split.calibrate_share, cadence=cadence)).alias("calibrate_start"))
        .with_columns((pl.col("calibrate_start") - gap).alias("train_end"))
        .select(ENTITY, START, "train_end", "calibrate_start", "calibrate_end", "test_start", END)
    )


def _length(share: float, *, cadence: timedelta) -> pl.Expr:
    steps = (pl.col("length") * share).floor().cast(pl.Int64)
    return pl.duration(microseconds=steps * int(cadence.total_seconds() * 1e6))


def _at(share: float, *, cadence: timedelta) -> pl.Expr:
    return pl.col("from") + _length(share, cadence=cadence)


def _long_enough(told: pl.DataFrame, *, contract: Contract) -> None:
    split, steps = contract.split, contract.windows.time_steps
    least = min(split.test_share, split.calibrate_share, 1 - split.test_share - split.calibrate_share)
    needed = int(LEAST_STEPS * steps / least)
    shortest = told.sort("length").row(0, named=True)
    if shortest["length"] < needed:
        raise SourceError(
            f"{shortest[ENTITY]} spans {shortest['length']} steps, from {shortest['from']:%Y-%m-%d %H:%M}; windows of {steps} steps "
            f"with a smallest part of {least:.0%} need at least {needed}.",
            hint="ingest a longer span, or declare shorter windows or larger shares in the contract.",
        )


def panel(
    grid: pl.LazyFrame,
    *,
    contract: Contract,
    scales: pl.DataFrame,
    entities: pl.DataFrame,
    labels: pl.DataFrame,
    parts: pl.DataFrame | None,
    data_start: datetime | None = None,
    unconfirmed: pl.DataFrame | None = None,
) -> Panel:
    """The dense, scaled arrays of everything in `grid`.

    Args:
        grid: rows of `grid_schema`.
        contract: parameters, targets, cadence, newcomer days, calendar and attributes.
        scales: SCALES; an entity without one gets the median of all. Those with a count are the entities that training has seen.
        entities: ENTITIES, whose `first_seen` says who is a newcomer when.
        labels: LABELS; the minutes within are marked as incidents.
        parts: from `cuts`; None marks every step TEST, and whom the contract's calendar forgets is not logged.
        unconfirmed: `entity, start, end`, what a release told as an incident and nobody else: see `Panel.unconfirmed`.
        data_start: when the data began; who was there then is no newcomer unless the contract says so (default: the least first_seen).

    Raises:
        EmptySourceError: the grid has no row.
    """
    rows = grid.sort(ENTITY, AT).collect()
    if rows.is_empty():
        raise EmptySourceError("There is no grid row in the period asked for.", hint="see what was ingested: tidewatch report.")
    names = tuple(rows.get_column(ENTITY).unique(maintain_order=True).to_list())
    axis = _Axis(rows, cadence=contract.time.cadence)
    entity = rows.select(pl.col(ENTITY).rle_id()).to_series().to_numpy()
    values, observed = _scaled(rows, entity=entity, axis=axis, names=names, contract=contract, scales=scales)
    newcomer = axis.mark(newcomers(entities, contract=contract, data_start=data_start), names=names)
    present = np.zeros(values.shape[:2], dtype=np.bool_)
    present[entity, axis.step] = True
    cohorts = calendars.cohorts_of(entities)
    followed = calendars.follow(names, contract=contract, cohorts=cohorts)
    if parts is not None:
        calendars.tell(followed, contract=contract)
    attributed = attribute(names, contract=contract, scales=scales, cohorts=cohorts)
    span = {"start_us": axis.start_us, "steps": axis.steps, "cadence_seconds": contract.time.cadence_seconds}
    return Panel(
        entities=names,
        parameters=contract.names,
        targets=tuple(contract.names.index(target) for target in contract.targets),
        start_us=axis.start_us,
        cadence_seconds=contract.time.cadence_seconds,
        values=values,
        observed=observed,
        calendar=calendars.calendars(followed, **span, holidays=contract.calendar.has_holidays),
        newcomer=newcomer,
        part=_parts(axis, names=names, parts=parts, present=present),
        incident=axis.mark(labels, names=names),
        unconfirmed=np.zeros((0, 0), dtype=np.bool_) if unconfirmed is None else axis.mark(unconfirmed, names=names),
        clock=followed.clock,
        static=attributed.values,
        attributes=attributed.names,
    )


class _Axis:
    """The common time line: step t is at `start_us + t * step_us`."""

    def __init__(self, rows: pl.DataFrame, *, cadence: timedelta) -> None:
        at = rows.get_column(AT).dt.epoch("us").to_numpy()
        self.step_us = int(cadence.total_seconds() * 1_000_000)
        self.start_us = int(at.min())
        self.step: NDArray[np.int64] = (at - self.start_us) // self.step_us
        self.steps = int(self.step.max()) + 1

    def index(self, times: pl.Series) -> NDArray[np.int64]:
        """The first step at or after each time, clipped to the axis."""
        ahead = times.dt.epoch("us").to_numpy() - self.start_us
        index: NDArray[np.int64] = np.clip(-(-ahead // self.step_us), 0, self.steps)
        return index

    def mark(self, periods: pl.DataFrame, *, names: tuple[str, ...]) -> NDArray[np.bool_]:
        """bool[E, T], true within the periods (entity, start, end)."""
        known = periods.join(pl.DataFrame({ENTITY: names}).with_row_index("e"), on=ENTITY)
        edges = np.zeros((len(names), self.steps + 1), dtype=np.int32)
        np.add.at(edges, (known["e"].to_numpy(), self.index(known[START])), 1)
        np.add.at(edges, (known["e"].to_numpy(), self.index(known[END])), -1)
        return np.cumsum(edges, axis=1)[:, :-1] > 0


def _scaled(
    rows: pl.DataFrame, *, entity: NDArray[np.uint32], axis: _Axis, names: tuple[str, ...], contract: Contract, scales: pl.DataFrame
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    mean, sd = matrices(scales, entities=names, parameters=contract.names)
    shape = (len(names), axis.steps, len(contract.names))
    values, observed = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
    for p, name in enumerate(contract.names):
        column = rows.get_column(name)
        known = column.is_not_null().to_numpy()
        scaled = (column.fill_null(0.0).to_numpy() - mean[entity, p]) / sd[entity, p]
        values[entity, axis.step, p] = np.where(known, scaled, 0.0)
        observed[entity, axis.step, p] = known
    return values, observed


def _parts(axis: _Axis, *, names: tuple[str, ...], parts: pl.DataFrame | None, present: NDArray[np.bool_]) -> NDArray[np.uint8]:
    part = np.where(present, Part.GAP, Part.ABSENT).astype(np.uint8)
    if parts is None:
        part[present] = Part.TEST
        return part
    bounds = ((Part.TRAIN, START, "train_end"), (Part.CALIBRATE, "calibrate_start", "calibrate_end"), (Part.TEST, "test_start", END))
    for which, start, end in bounds:
        within = axis.mark(parts.select(ENTITY, pl.col(start).alias(START), pl.col(end).alias(END)), names=names)
        part[within & present] = which
    return part
