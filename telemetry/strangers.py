"""Strangers: entities that no training has seen, told in deviations of their own from their first minutes on.

What the others have in common says what to expect before there is a day to look at. `Tides` are their scaled values by hour of the week.
A stranger's mean m and deviation s then follow from its values y so far, of the last `REACH` and the minute itself, of its cohort's tide z
in the same minutes, and of the cohort's median scale M, S; k = S / M:

    sizes    parameters whose deviation grows with the mean, such as counts: what is usual of somebody of size 1 is u = 1 + k z, and
             log m = (sum u * log (sum y / sum u) + n0 log M) / (sum u + n0), s0 = k m
    levels   all others: m = (sum (y - S z) + n0' M) / (n + n0'), s0 = S
    spread   s^2 = (sum (y - m)^2 + n1 s0^2) / (sum (z^2 + r^2) + n1), r^2 being the share of the variance that no tide explains

which are posterior means under a prior that counts for so many minutes (Gelman et al., Bayesian Data Analysis, 3rd ed., sec. 3.3). Which
parameters are sizes is told by the others: those whose deviations differ less when divided by their means. As all sums end with the minute
that is scaled, nothing that comes later matters. What repeats itself teaches nothing and keeps its scale, so that it still repeats itself.

What a stranger is while the tide stands higher than it saw it stand is less sure than what it is now, as on the first Monday of who came on
a Sunday. With n, its minutes of the last `REACH` at which the tide stood about as high as it does now, or higher, w = n / (n + n2) and
q = n / min(all its minutes, n3), what its errors are told in is larger by exp(1.64 * d * (sqrt(1 - w) + sqrt(1 - q))), the upper 95 %
bounds of two lognormal beliefs: of how it differs from the others, and of a tide that it never saw. On the other hand s holds the growth of
its first days, too, which no forecast misses: it is smaller by `CALM`^(w^2), hardly so in its first days. Whose errors are larger than that
after all is believed by its own bars (`serving.lending`), which only ever take a stranger for less calm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.calendars import key_values
from telemetry.contract import Contract
from telemetry.panel import Panel, Part
from telemetry.scaling import FLOOR_OF_COHORT, matrices
from telemetry.schema import ACTUAL, AT, COUNT, ENTITY, FORECAST, JOINT, PERSISTENCE, SIGMA, TARGET

Floats = NDArray[np.float64]
HOURS: Final = 168
REACH: Final = timedelta(days=7)
"""How far back a stranger's own minutes are looked at."""
SIZE_MINUTES: Final = 0.25
"""n0: a single minute tells the size of an entity better than those of all others do."""
LEVEL_MINUTES: Final = 2.0
"""n0'."""
LEAST_SIZE: Final = 1e-4
"""As a share of the cohort's: who tells nothing but zeros is taken for as small as that."""
LEAST_USUAL: Final = 0.05
"""u is no less: in nights when the cohort rests a stranger may be awake."""
SPREAD_MINUTES: Final = 720.0
"""n1: the spread of half a day is as good as what follows from the size."""
DIFFER: Final = 0.2
"""d: standard deviation of the logarithm of how many times as large errors are at a tide that was not seen as at one that was."""
HIGH_MINUTES: Final = 1440.0
"""n2: so many minutes of a tide that is as high tell how it is then, as well as all others do."""
NEW_MINUTES: Final = 120.0
"""n3: a tide that it has seen for so long is no new one; in its first minutes every tide is the one that it came with."""
NEAR: Final = 0.25
"""In deviations of the cohort: a tide that was lower by this counts by half, by half of this wholly, by half as much again not at all."""
SURE: Final = 1.64
CALM: Final = 0.3
"""How many times as large errors would be at w = 1; after a week it is 0.4, while the tide stands at its highest 0.7."""
LENDERS: Final = 256
"""Of more entities than these the tides are not kept: medians are not told better by them."""
LEAST_RESIDUAL: Final = 0.05
LEAST_LENDERS: Final = 3
"""With fewer nobody can say whether deviations grow with means."""
_HOUR: Final = 3600
_MONDAY: Final = 72
"""Hours from the last Monday before 1970 to 1970."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tides:
    """What some entities usually are, hour by hour.

    Attributes:
        entities: N keys, all of which training has seen.
        hours: f32[N, 168, P], mean of the scaled values by hour of the week, UTC, from Monday 00:00; NaN of an hour that was not seen.
    """

    entities: tuple[str, ...]
    hours: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lent:
    """Of S entities of a panel, how what it tells becomes what they told: `value * times + beyond`, in canonical units.

    Attributes:
        entities: S keys.
        targets: K names.
        start_us: of the first step, as of the panel; so is
        cadence_seconds: of the steps.
        times: f64[S, T, K] and
        beyond: f64[S, T, K].
        unsure: f64[S, T], how many of its deviations an error is told in.
    """

    entities: tuple[str, ...]
    targets: tuple[str, ...]
    start_us: int
    cadence_seconds: int
    times: Floats
    beyond: Floats
    unsure: Floats

    def judged_by(self, thresholds: pl.DataFrame) -> "Lent":
        """The same, for THRESHOLDS: who has its own has learned how large its errors are, and is told in its deviations as they are."""
        own = set(thresholds.filter(pl.col(COUNT) > 0).get_column(ENTITY).unique().to_list())
        learned = np.array([name in own for name in self.entities])
        return replace(self, unsure=np.where(learned[:, None], 1.0, self.unsure))

    def restored(self, rows: pl.DataFrame) -> pl.DataFrame:
        """FORECASTS of a likened panel with values, forecasts and SIGMA as the entities would tell them; those of others as they are."""
        step = (pl.col(AT).dt.epoch("us") - self.start_us) // (self.cadence_seconds * 1_000_000)
        target = _index(TARGET, (*self.targets, JOINT))
        e, k, t = rows.select(_index(ENTITY, self.entities).alias("e"), target.alias("k"), step.alias("t")).to_numpy().T
        known = (e >= 0) & (k >= 0)
        if not known.any():
            return rows
        of = known & (k < len(self.targets))
        times, beyond, unsure = np.ones(len(rows)), np.zeros(len(rows)), np.ones(len(rows))
        times[of], beyond[of] = (array[e[of], t[of], k[of]] for array in (self.times, self.beyond))
        unsure[known] = self.unsure[e[known], t[known]]
        by, more, sigma = pl.Series(times), pl.Series(beyond), pl.Series(times * unsure)
        told = [(pl.col(name).cast(pl.Float64) * by + more).cast(pl.Float32).alias(name) for name in (ACTUAL, FORECAST, PERSISTENCE)]
        return rows.with_columns(*told, (pl.col(SIGMA).cast(pl.Float64) * sigma).cast(pl.Float32).alias(SIGMA))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Common:
    """What a stranger's cohort has in common: f64[P] each, but for the tide, f64[168, P], and which are sizes, bool[P]."""

    mean: Floats
    sd: Floats
    ratio: Floats
    residual: Floats
    tide: Floats
    sizes: NDArray[np.bool_]


def learn(panel: Panel) -> Tides:
    """The tides of a panel's entities: of their steps in the train and calibrate parts, but for what is hidden and newcomers' days."""
    shows = ((panel.part == Part.TRAIN) | (panel.part == Part.CALIBRATE)) & ~panel.hidden & ~panel.newcomer
    known = np.flatnonzero((shows & (panel.part == Part.TRAIN)).any(axis=1))
    known = known[:: max(1, -(-len(known) // LENDERS))]
    hour = _hours(panel)
    begins = np.flatnonzero(np.diff(hour, prepend=hour[:1] - 1))
    hours = np.full((len(known), HOURS, len(panel.parameters)), np.nan, dtype=np.float32)
    for row, entity in enumerate(known):
        seen = panel.observed[entity] & shows[entity][:, None]
        sums, counts = np.zeros((2, HOURS, len(panel.parameters)))
        for told, what in ((sums, np.where(seen, panel.values[entity], 0)), (counts, seen)):
            np.add.at(told, hour[begins] % HOURS, np.add.reduceat(what, begins, axis=0, dtype=np.float64))
        np.divide(sums, counts, out=hours[row], where=counts > 0, casting="same_kind")
    return Tides(entities=tuple(panel.entities[entity] for entity in known), hours=hours)


def strangers_of(entities: Sequence[str], *, scales: pl.DataFrame) -> list[str]:
    """Those of some entities that no training has seen, in their order."""
    known = set(scales.filter(pl.col(COUNT) > 0).get_column(ENTITY).unique().to_list())
    return [entity for entity in entities if entity not in known]


def liken(
    panel: Panel, *, scales: pl.DataFrame, tides: Tides | None, contract: Contract, past: pl.DataFrame | None = None
) -> tuple[Panel, Lent | None]:
    """The panel with its strangers in deviations of their own, and how to tell what they told; as it is where there is no stranger.

    Args:
        panel: scaled.
        scales: SCALES with which it was; whom they have with a COUNT is no stranger.
        tides: of the others; None, as of a release that is older than they are, leaves everybody as scaled.
        contract: whose cohort makes entities alike, as far as it is one of their keys.
        past: rows of `grid_schema` of strangers from before the panel's first step; none by default.
    """
    strangers = strangers_of(panel.entities, scales=scales) if tides is not None and tides.entities else []
    if tides is None or not strangers:
        return panel, None
    order = tuple(name for name in tides.entities if name not in strangers)
    tides = replace(tides, entities=order, hours=tides.hours[[tides.entities.index(name) for name in order]])
    mean, sd = matrices(scales, entities=panel.entities, parameters=panel.parameters)
    cohorts = _cohorts((*panel.entities, *order), contract=contract)
    values, targets = np.array(panel.values), list(panel.targets)
    shape = (len(strangers), panel.steps, len(targets))
    times, beyond, unsure = np.ones(shape), np.zeros(shape), np.ones(shape[:2])
    common = {
        cohort: _common(scales, tides=tides, cohorts=cohorts, cohort=cohort, names=panel.parameters) for cohort in set(cohorts.values())
    }
    seconds = panel.start_us // 1_000_000 + np.arange(panel.steps) * panel.cadence_seconds
    for row, name in enumerate(strangers):
        e = panel.entities.index(name)
        told = np.where(panel.observed[e], panel.values[e] * sd[e] + mean[e], np.nan)
        at, before = _past(past, entity=name, names=panel.parameters)
        every, instants = np.concatenate([before, told]), np.concatenate([at, seconds])
        m, s = (array[len(at) :] for array in _followed(every, seconds=instants, common=common[cohorts[name]]))
        seen, tide = np.isfinite(every).any(axis=1), common[cohorts[name]].tide.mean(axis=1)
        unsure[row] = _unsure(seen * (panel.cadence_seconds / 60), seconds=instants, tide=tide)[len(at) :]
        values[e] = np.where(panel.observed[e], (told - m) / s, 0)
        times[row] = (s / sd[e])[:, targets]
        beyond[row] = (m - mean[e] * s / sd[e])[:, targets]
    lent = Lent(
        entities=tuple(strangers), targets=panel.target_names, start_us=panel.start_us, cadence_seconds=panel.cadence_seconds,
        times=times, beyond=beyond, unsure=unsure,
    )  # fmt: skip
    return replace(panel, values=values), lent


def _followed(values: Floats, *, seconds: NDArray[np.int64], common: _Common) -> tuple[Floats, Floats]:
    """Mean and deviation f64[T, P] of every step, told of it and of those before; values: f64[T, P], NaN where not observed."""
    seen = np.isfinite(values) & _anew(values)
    tide = _at(common.tide, seconds=seconds)

    def so_far(what: Floats) -> Floats:
        return _so_far(np.where(seen, what, 0.0), seconds=seconds)

    value = np.where(seen, values, 0.0)
    count, total, usual = so_far(np.ones_like(value)), so_far(value), so_far(np.maximum(1 + common.ratio * tide, LEAST_USUAL))
    floor = np.where(common.sizes, LEAST_SIZE * common.mean, 1.0)
    own = np.log(np.maximum(total / np.maximum(usual, LEAST_USUAL), floor))
    prior = np.log(np.where(common.sizes, common.mean, 1.0))
    of_size = np.exp((usual * own + SIZE_MINUTES * prior) / (usual + SIZE_MINUTES))
    of_level = (total - common.sd * so_far(tide) + LEVEL_MINUTES * common.mean) / (count + LEVEL_MINUTES)
    mean = np.where(common.sizes, of_size, of_level)
    expected = np.where(common.sizes, common.ratio * mean, common.sd)
    spread = np.maximum(so_far(value**2) - 2 * mean * total + count * mean**2, 0.0)
    sd = np.sqrt((spread + SPREAD_MINUTES * expected**2) / (so_far(tide**2 + common.residual) + SPREAD_MINUTES))
    sd = np.maximum(sd, FLOOR_OF_COHORT * expected)
    kept = np.maximum.accumulate(np.where(seen, np.arange(len(values))[:, None], 0), axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    return np.take_along_axis(mean, kept, axis=0), np.take_along_axis(sd, kept, axis=0)


def _unsure(minutes: Floats, *, seconds: NDArray[np.int64], tide: Floats) -> Floats:
    """f64[T]: how many deviations an error is told in.

    Args:
        minutes: f64[T], what each step tells; 0 of one that was not observed.
        seconds: i64[T], when.
        tide: f64[168], how high it stands by hour of the week.
    """
    hour = seconds // _HOUR + _MONDAY
    place = hour - hour[0]
    of_week = (hour[0] + np.arange(place[-1] + 1)) % HOURS
    told = np.zeros((len(of_week) + 1, HOURS))
    told[np.arange(len(of_week)) + 1, of_week] = np.bincount(place, weights=minutes)
    until = np.cumsum(told, axis=0)  # before each hour
    before = until[:-1] - until[np.maximum(np.arange(len(of_week)) + 1 - HOURS, 0)]  # REACH in hours, this one among them
    as_high = np.clip(1.5 + (tide - tide[:, None]) / NEAR, 0, 1)  # [now, then]
    this_hour = np.cumsum(minutes) - until.sum(axis=1)[place]
    high = (before * as_high[of_week]).sum(axis=1)[place] + this_hour
    every = before.sum(axis=1)[place] + this_hour
    believed = high / (high + HIGH_MINUTES)
    known = np.clip(high / np.clip(every, 1, NEW_MINUTES), 0, 1)
    return np.asarray(np.exp(SURE * DIFFER * (np.sqrt(1 - believed) + np.sqrt(1 - known))) * CALM**believed**2)


def _so_far(what: NDArray[Any], *, seconds: NDArray[np.int64]) -> Floats:  # Any: numbers or flags
    """f64[T, P]: sums over the REACH that ends with each step."""
    start = np.searchsorted(seconds, seconds - int(REACH.total_seconds()), side="right")
    total = np.cumsum(what, axis=0, dtype=np.float64)
    return np.asarray(total - np.where(start[:, None] > 0, total[np.maximum(start - 1, 0)], 0.0))


def _anew(values: Floats) -> NDArray[np.bool_]:
    """bool[T, P]: whether a value is another one than the last that was observed.

    >>> _anew(np.array([[5.0, 5.0, np.nan, 5.0, 6.0]]).T).ravel().tolist()
    [True, False, False, False, True]
    """
    seen = np.isfinite(values)
    steps = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(seen, steps, -1), axis=0)
    before = np.vstack([np.full((1, values.shape[1]), -1), last[:-1]])
    return np.asarray(seen & ((before < 0) | (values != np.take_along_axis(values, np.maximum(before, 0), axis=0))))


def _common(scales: pl.DataFrame, *, tides: Tides, cohorts: dict[str, str | None], cohort: str | None, names: tuple[str, ...]) -> _Common:
    """Medians over the cohort's entities, over all where it has none."""
    mean, sd = matrices(scales, entities=tides.entities, parameters=names)
    alike = np.array([cohorts[name] == cohort for name in tides.entities])
    alike = alike if alike.any() else np.ones_like(alike)
    positive = (mean > 0).all(axis=0) & (sd > 0).all(axis=0) & (len(mean) >= LEAST_LENDERS)
    logs = np.log(np.where(positive, mean, 1.0)), np.log(np.where(positive, sd, 1.0))
    sizes = positive & ((logs[1] - logs[0]).var(axis=0) < logs[1].var(axis=0))
    filled = np.nan_to_num(tides.hours[alike].astype(np.float64))  # an hour that nobody has seen: as any other
    residual = np.clip(1.0 - (filled**2).mean(axis=1), LEAST_RESIDUAL, 1.0)
    ratio = np.median(np.where(sizes, sd / np.where(sizes, mean, 1.0), 0.0)[alike], axis=0)
    usual = np.median(mean[alike], axis=0)
    return _Common(
        mean=usual,
        sd=np.where(sizes, ratio * usual, np.median(sd[alike], axis=0)),
        ratio=ratio,
        residual=np.median(residual, axis=0),
        tide=np.median(filled, axis=0),
        sizes=sizes,
    )


def _cohorts(names: tuple[str, ...], *, contract: Contract) -> dict[str, str | None]:
    key = contract.entity.cohort
    if key is None or key not in contract.entity.keys or len(contract.entity.keys) == 1:
        return dict.fromkeys(names)
    return dict(zip(names, key_values(names, key=key, contract=contract, cohorts={}), strict=True))


def _at(tide: Floats, *, seconds: NDArray[np.int64]) -> Floats:
    """f64[T, P]: the tide at every instant, on straight lines between the middles of hours."""
    place = seconds / _HOUR - 0.5 + _MONDAY
    before = np.floor(place)
    share = (place - before)[:, None]
    hour = before.astype(np.int64) % HOURS
    return np.asarray(tide[hour] * (1 - share) + tide[(hour + 1) % HOURS] * share)


def _hours(panel: Panel) -> NDArray[np.int64]:
    """i64[T]: the hour of every step, counted from a Monday."""
    return (panel.start_us // 1_000_000 + np.arange(panel.steps) * panel.cadence_seconds) // _HOUR + _MONDAY


def _past(past: pl.DataFrame | None, *, entity: str, names: tuple[str, ...]) -> tuple[NDArray[np.int64], Floats]:
    """Instants in seconds i64[B], and values f64[B, P] with NaN where not observed."""
    if past is None:
        return np.zeros(0, dtype=np.int64), np.zeros((0, len(names)))
    rows = past.filter(pl.col(ENTITY) == entity).sort(AT)
    values = rows.select(pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in names).to_numpy()
    return rows.get_column(AT).dt.epoch("s").to_numpy().astype(np.int64), values


def _index(column: str, names: tuple[str, ...]) -> pl.Expr:
    return pl.col(column).replace_strict(list(names), range(len(names)), default=-1, return_dtype=pl.Int64)
