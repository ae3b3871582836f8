"""What a panel holds, in numbers: a row per entity and parameter, per calendar feature, and per entity's newcomer flag. Nothing is judged.

Scaled values are undone with the scales that were fitted and held against the grid they came from; nothing of the scaling code is used.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import AT, COUNT, ENTITY, FIRST_SEEN, KIND, MEAN, PARAMETER, SD, TIME, Schema

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Row = dict[str, Any]  # Any: a row of TENSORS

SCALED: Final = "scaled"
CALENDAR_KIND: Final = "calendar"
NEWCOMER_KIND: Final = "newcomer"
TENSORS: Final[Schema] = {
    KIND: pl.String,
    ENTITY: pl.String,
    PARAMETER: pl.String,
    "start": TIME,
    "end": TIME,
    "scale_mean": pl.Float64,
    "scale_sd": pl.Float64,
    "scale_count": pl.Int64,
    "steps": pl.Int64,
    MEAN: pl.Float64,
    SD: pl.Float64,
    "not_finite": pl.Int64,
    "stray": pl.Int64,
    "unlike_grid": pl.Int64,
    "applied": pl.String,
    "lowest": pl.Float64,
    "highest": pl.Float64,
}
"""`steps, mean, sd`: of the scaled values observed in training. `not_finite`: values that are no number. `stray`: values other than 0 where
nothing was observed. `unlike_grid`: values that differ from what they are made of. `applied`: whose scale they seem to be made with.
`start, end`: the whole time line, or what differs."""

ROUND_TRIP: Final = 1e-6
"""Of value, mean and deviation together: 32-bit floats keep some 7 digits."""
FITTED_ROWS: Final = 2000
ALIKE: Final = 1e-3
"""How near, in deviations, fitted constants must be to known ones to be taken for them."""
TWICE: Final = "itself, twice"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scales:
    """f64[entity, parameter] each; NaN where there is no scale."""

    mean: Floats
    sd: Floats
    count: NDArray[np.int64]


def measure(
    panel: Panel, *, scales: pl.DataFrame, grid: pl.LazyFrame, contract: Contract, entities: pl.DataFrame | None = None
) -> pl.DataFrame:
    """TENSORS.

    Args:
        panel: to look at.
        scales: SCALES, with which it should have been made.
        grid: rows of `grid_schema`, from which it should have been made.
        contract: how long an entity is a newcomer.
        entities: ENTITIES; without them the newcomer flag is not looked at.
    """
    constants = _constants(scales, panel=panel)
    told = _scaled(panel, scales=constants, grid=grid) + _calendar(panel)
    if entities is not None:
        told += _newcomer(panel, entities=entities, contract=contract)
    return pl.DataFrame(told, schema=TENSORS)


def _constants(scales: pl.DataFrame, *, panel: Panel) -> _Scales:
    shape = (len(panel.entities), len(panel.parameters))
    order = pl.DataFrame({ENTITY: panel.entities}).join(pl.DataFrame({PARAMETER: panel.parameters}), how="cross")
    rows = order.join(scales, on=[ENTITY, PARAMETER], how="left", maintain_order="left")
    return _Scales(
        mean=rows.get_column(MEAN).fill_null(np.nan).to_numpy().reshape(shape),
        sd=rows.get_column(SD).fill_null(np.nan).to_numpy().reshape(shape),
        count=rows.get_column(COUNT).fill_null(0).to_numpy().reshape(shape),
    )


def _scaled(panel: Panel, *, scales: _Scales, grid: pl.LazyFrame) -> list[Row]:
    rows = grid.select(ENTITY, AT, *panel.parameters).filter(pl.col(ENTITY).is_in(panel.entities)).collect(engine="in-memory")
    by_entity = {str(key[0]): part for key, part in rows.partition_by(ENTITY, as_dict=True).items()}
    none = rows.clear()
    return [
        row
        for index, entity in enumerate(panel.entities)
        for row in _of_entity(panel, index=index, scales=scales, raw=_dense(by_entity.get(entity, none), panel=panel))
    ]


def _dense(rows: pl.DataFrame, *, panel: Panel) -> Floats:
    """The grid's values as f64[T, P]; NaN where nothing was observed."""
    raw = np.full((panel.steps, len(panel.parameters)), np.nan)
    step = (rows.get_column(AT).dt.epoch("us").to_numpy() - panel.start_us) // (panel.cadence_seconds * 1_000_000)
    within = (step >= 0) & (step < panel.steps)
    raw[step[within]] = rows.select(pl.col(panel.parameters).cast(pl.Float64).fill_null(np.nan)).to_numpy()[within]
    return raw


def _of_entity(panel: Panel, *, index: int, scales: _Scales, raw: Floats) -> list[Row]:
    """The rows of one entity, over all its parameters at once."""
    values, observed = panel.values[index], panel.observed[index]
    finite = np.isfinite(values)
    trained = (panel.part[index] == Part.TRAIN)[:, None] & observed & finite
    steps = trained.sum(axis=0)
    mean = np.where(trained, values, 0).sum(axis=0, dtype=np.float64) / np.maximum(steps, 1)
    squares = np.where(trained, values - mean.astype(np.float32), 0) ** 2
    sd = np.sqrt(squares.sum(axis=0, dtype=np.float64) / np.maximum(steps, 1))
    unlike = _unlike_grid(values, observed=observed, raw=raw, mean=scales.mean[index], sd=scales.sd[index])
    stray = (~observed & (values != 0)).sum(axis=0)
    return [
        {
            KIND: SCALED,
            ENTITY: panel.entities[index],
            PARAMETER: parameter,
            **_period(unlike[:, p] if unlike[:, p].any() else ~unlike[:, p], panel=panel),
            "scale_mean": float(scales.mean[index, p]),
            "scale_sd": float(scales.sd[index, p]),
            "scale_count": int(scales.count[index, p]),
            "steps": int(steps[p]),
            MEAN: float(mean[p]),
            SD: float(sd[p]),
            "not_finite": int((~finite[:, p]).sum()),
            "stray": int(stray[p]),
            "unlike_grid": int(unlike[:, p].sum()),
            "applied": _applied(values[:, p], raw=raw[:, p], parameter=p, index=index, scales=scales, panel=panel)
            if unlike[:, p].any()
            else panel.entities[index],
        }
        for p, parameter in enumerate(panel.parameters)
    ]


def _unlike_grid(values: NDArray[np.float32], *, observed: Flags, raw: Floats, mean: Floats, sd: Floats) -> Flags:
    """bool[T, P]: undone with the entity's own scale, the value is not the grid's, or only one of both was observed."""
    known = np.isfinite(raw)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is counted on its own
        error = np.abs(values * sd + mean - raw)
        unlike = ~(error <= ROUND_TRIP * (np.abs(raw) + np.abs(mean) + sd))
    return np.asarray((known != observed) | (known & unlike))


def _applied(values: NDArray[np.float32], *, raw: Floats, parameter: int, index: int, scales: _Scales, panel: Panel) -> str:
    """Whose scale turns the grid's values into these, by a straight line through some of them; empty where it is nobody's."""
    known = np.flatnonzero(np.isfinite(raw) & np.isfinite(values))
    some = known[:: max(1, len(known) // FITTED_ROWS)]
    if len(some) < 2 or np.ptp(values[some]) == 0:
        return ""
    sd, mean = np.polyfit(values[some].astype(np.float64), raw[some], 1)
    own_mean, own_sd = scales.mean[index, parameter], scales.sd[index, parameter]
    known_scales = [*zip(panel.entities, scales.mean[:, parameter], scales.sd[:, parameter], strict=True)]
    for name, known_mean, known_sd in [*known_scales, (TWICE, own_mean + own_mean * own_sd, own_sd**2)]:
        if abs(sd - known_sd) <= ALIKE * known_sd and abs(mean - known_mean) <= ALIKE * known_sd:
            return name
    return ""


def _calendar(panel: Panel) -> list[Row]:
    expected = _expected_calendar(panel)
    unlike = ~(np.abs(panel.calendar - expected) <= 1e-5)
    return [
        {
            KIND: CALENDAR_KIND,
            PARAMETER: name,
            **_period(unlike[:, c] if unlike[:, c].any() else ~unlike[:, c], panel=panel),
            "not_finite": int((~np.isfinite(panel.calendar[:, c])).sum()),
            "unlike_grid": int(unlike[:, c].sum()),
            "lowest": float(np.nan_to_num(panel.calendar[:, c]).min()),
            "highest": float(np.nan_to_num(panel.calendar[:, c]).max()),
        }
        for c, name in enumerate(CALENDAR)
    ]


def _expected_calendar(panel: Panel) -> Floats:
    """f64[T, 8]: sine and cosine of the shares of hour, day, week and month that are gone, from the clock alone."""
    step = np.timedelta64(panel.cadence_seconds, "s")
    at = np.datetime64(panel.start_us, "us") + np.arange(panel.steps) * step
    day, month = at.astype("datetime64[D]"), at.astype("datetime64[M]")
    minute = (at - at.astype("datetime64[h]")) // np.timedelta64(1, "m") / 60
    of_day = (at - day) // np.timedelta64(1, "m") / 1440
    weekday = (day.astype(np.int64) + 3) % 7 / 7  # 1970-01-01 was a Thursday; the week begins on Monday
    length = (month + np.timedelta64(1, "M")).astype("datetime64[D]") - month.astype("datetime64[D]")
    turn = 2 * np.pi * np.stack([minute, of_day, weekday, (day - month.astype("datetime64[D]")) / length], axis=1)
    return np.stack([np.sin(turn), np.cos(turn)], axis=-1).reshape(panel.steps, -1)


def _newcomer(panel: Panel, *, entities: pl.DataFrame, contract: Contract) -> list[Row]:
    """Who was there when the data began is no newcomer, unless the contract says so."""
    first_seen = {str(row[ENTITY]): row[FIRST_SEEN] for row in entities.iter_rows(named=True)}
    began = min(first_seen.values(), default=None)
    at = panel.start_us + np.arange(panel.steps) * panel.cadence_seconds * 1_000_000
    rows: list[Row] = []
    for index, entity in enumerate(panel.entities):
        seen = first_seen.get(entity)
        if seen is None:
            continue
        since, until = _us(seen), _us(seen + timedelta(days=contract.newcomer.days))
        young = (at >= since) & (at < until) & (contract.newcomer.since_start or seen != began)
        unlike = panel.newcomer[index] != young
        period = _period(unlike if unlike.any() else ~unlike, panel=panel)
        rows.append({KIND: NEWCOMER_KIND, ENTITY: entity, **period, "unlike_grid": int(unlike.sum())})
    return rows


def _period(which: Flags, *, panel: Panel) -> Row:
    """From the first to behind the last step that is marked."""
    steps = np.flatnonzero(which)
    return {"start": _at(panel, int(steps[0])), "end": _at(panel, int(steps[-1]) + 1)}


def _at(panel: Panel, step: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=panel.start_us + step * panel.cadence_seconds * 1_000_000)


def _us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
