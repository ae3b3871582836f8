"""The bank of scaling bugs: each kind of error on the way from grid to panel, planted into a clean panel at a random place.

A bug is planted where it can arise: in the panel alone (the scales are right, and were not used rightly), or in the scales (what is
fitted is wrong, and the panel agrees with it). It strikes one parameter of one entity, of some, or of all, from the first step on or in
the test part alone. What was planted is told beside the panel, with the words by which a finding must name it.

What cannot be told apart is not planted. A parameter that is constant looks alike when it is moved. An entity without training borrows
its cohort's scale, which may be another entity's to the digit. An entity with less training than `FULL_WEIGHT_DAYS` has a scale mixed
with its cohort's: faults of the values, and a mean or a deviation left out of that scale, are named all the same; that it was mixed of
other constants (other kinds that end in FITTED) is not always seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.calendars import calendar
from telemetry.panel import Part
from telemetry.scaling import FULL_WEIGHT_DAYS, fit
from telemetry.schema import AT, COHORT, END, ENTITIES, ENTITY, FIRST_SEEN, LAST_SEEN, MEAN, PARAMETER, SD
from telemetry.windows import cuts
from tests.validation.grids import STEPS_A_DAY, contract, day, grid
from tests.validation.tensors import Scaled, made_of

Floats = NDArray[np.float64]
FULL_WEIGHT: Final = FULL_WEIGHT_DAYS * STEPS_A_DAY
NAMES: Final = contract().names


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A bug.

    Attributes:
        kind: as `KINDS` calls it.
        where: entity and parameter of all that it struck; None stands for a whole entity's flag, or for the calendar.
        named: what `found` or the sentence must say of each.
    """

    kind: str
    where: frozenset[tuple[str | None, str | None]]
    named: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a bug is planted.

    Attributes:
        clean: the panel.
        rng: for what else is chosen.
        entities: indices of those struck.
        parameter: index of the parameter.
        since: the first step that is struck.
    """

    clean: Scaled
    rng: np.random.Generator
    entities: list[int]
    parameter: int
    since: int

    @property
    def where(self) -> frozenset[tuple[str | None, str | None]]:
        return frozenset((self.clean.panel.entities[index], NAMES[self.parameter]) for index in self.entities)

    def raw(self, index: int, *, parameter: int | None = None) -> Floats:
        """f64[T]: the grid's values; NaN where nothing was observed."""
        made = self.clean.panel
        rows = self.clean.grid.filter(pl.col(ENTITY) == made.entities[index])
        step = (rows[AT].dt.epoch("us").to_numpy() - made.start_us) // (made.cadence_seconds * 1_000_000)
        found = np.full(made.steps, np.nan)
        found[step] = rows[NAMES[self.parameter if parameter is None else parameter]].fill_null(np.nan).to_numpy()
        return found

    def own(self, index: int) -> tuple[float, float]:
        return self.clean.constants(self.clean.panel.entities[index], NAMES[self.parameter])


Bug = Callable[[Site], tuple[Scaled, str]]


def fleet(seed: int) -> Scaled:
    """A clean panel: four to six entities over four weeks or more, one that arrives late, one with a gap, a constant and a large offset."""
    rng = np.random.default_rng([seed, 7])
    names = tuple(f"{customer}/{region}" for customer in ("acme", "bolt", "core") for region in ("eu", "us"))[: int(rng.integers(4, 7))]
    days = int(rng.integers(28, 36))
    late, gapped, constant = (str(name) for name in rng.choice(names, size=3, replace=False))
    since, gap = day(days - float(rng.uniform(5, 24))), day(float(rng.uniform(2, 9)))
    offset = float(rng.choice([0.0, 1e4, 1e6]))
    frame = grid(days=days, entities=names, seed=seed).filter((pl.col(ENTITY) != late) | (pl.col(AT) >= since))
    missing = (pl.col(ENTITY) == gapped) & pl.col(AT).is_between(gap, gap + (day(1) - day(0)))
    frame = frame.with_columns(
        pl.when(~missing).then(pl.col("latency") + offset).alias("latency"),
        pl.when(pl.col(ENTITY) == constant).then(float(rng.integers(0, 60))).otherwise("cpu").alias("cpu"),
    )
    seen = frame.group_by(ENTITY).agg(
        pl.col(ENTITY).first().str.split("/").list.last().alias(COHORT),
        pl.col(AT).min().alias(FIRST_SEEN),
        pl.col(AT).max().alias(LAST_SEEN),
    )
    return made_of(frame, entities=seen.sort(ENTITY).select(*ENTITIES))


def champion(clean: Scaled) -> Scaled:
    """The panel as an earlier release scales it: its scales are old, and rightly so."""
    site = Site(clean=clean, rng=np.random.default_rng(0), entities=[], parameter=0, since=0)
    old = _earlier(site, share=0.85)
    return replace(_rescaled(site, old), stale=old)


def plant(clean: Scaled, *, kind: str, seed: int) -> tuple[Scaled, Planted]:
    """The panel with a bug of that kind, one of `KINDS`, at a place that the seed chooses."""
    rng = np.random.default_rng([seed, sorted(KINDS).index(kind)])
    parameter = int(rng.integers(len(NAMES)))
    able = _able(clean, parameter=parameter, kind=kind)
    extent = (1, 2, len(able))[int(rng.integers(3))]
    entities = sorted(int(index) for index in rng.choice(able, size=min(extent, len(able)), replace=False))
    tested = int(np.flatnonzero((clean.panel.part == Part.TEST).any(axis=0))[0])
    since = int(rng.choice([0, tested]))
    site = Site(clean=clean, rng=rng, entities=entities, parameter=parameter, since=since)
    spoiled, named = KINDS[kind](site)
    where = site.where
    if kind in CALENDARS:
        odd = np.abs(spoiled.panel.calendar - clean.panel.calendar).max(axis=(0, 1)) > 1e-4
        where = frozenset((None, name) for name, differs in zip(_calendar_names(), odd, strict=True) if differs)
    elif kind in FOLLOWERS:
        own = made_of(clean.grid, entities=clean.entities, declared=spoiled.declared).panel.clock
        names = zip(clean.panel.entities, spoiled.panel.clock != own, strict=True)
        where = frozenset((name, None) for name, differs in names if differs)
    elif kind in FLAGS:
        struck = (spoiled.panel.newcomer != clean.panel.newcomer).any(axis=1)
        where = frozenset((name, None) for name, differs in zip(clean.panel.entities, struck, strict=True) if differs)
    return spoiled, Planted(kind=kind, where=where, named=named)


def _able(clean: Scaled, *, parameter: int, kind: str) -> list[int]:
    """Entities on which a bug of that kind can be seen: their parameter moves, with a scale of their own where that is at fault."""
    values, observed = clean.panel.values[:, :, parameter], clean.panel.observed[:, :, parameter]
    trained = (observed & (clean.panel.part == Part.TRAIN)).sum(axis=1)
    least = FULL_WEIGHT if kind.endswith(FITTED) else 20 if kind.startswith(("leak", "stale")) else 0
    moving = [e for e in range(len(values)) if np.ptp(values[e]) > 0 and trained[e] >= least]
    return [e for e in moving if clean.constants(clean.panel.entities[e], NAMES[parameter])[1] != 1.0]  # borrowed of a constant


def _calendar_names() -> tuple[str, ...]:
    from telemetry.panel import CALENDAR

    return CALENDAR


FITTED: Final = "(fitted)"
"""Ends the kinds that lie in the scales."""


def _applied(site: Site, constants: Callable[[int], tuple[Any, Any]]) -> Scaled:
    """The panel alone, scaled with other constants from `since` on."""
    values = site.clean.values()
    for index in site.entities:
        mean, sd = constants(index)
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled = (site.raw(index) - mean) / sd
        scaled = np.where(np.isfinite(scaled), scaled, 0)
        values[index, site.since :, site.parameter] = scaled[site.since :]
    return site.clean.spoiled(values=values)


def _fitted(site: Site, constants: Callable[[int], tuple[float, float]]) -> Scaled:
    """Scales and panel, which agree."""
    names = site.clean.panel.entities
    wrong = {names[index]: constants(index) for index in site.entities}
    here = pl.col(PARAMETER) == NAMES[site.parameter]
    scales = site.clean.scales
    for name, (mean, sd) in wrong.items():
        hit = here & (pl.col(ENTITY) == name)
        scales = scales.with_columns(pl.when(hit).then(mean).otherwise(MEAN).alias(MEAN), pl.when(hit).then(sd).otherwise(SD).alias(SD))
    return _rescaled(site, scales)


def _rescaled(site: Site, scales: pl.DataFrame) -> Scaled:
    """As the pipeline makes it with these scales."""
    return replace(made_of(site.clean.grid, entities=site.clean.entities, scales=scales), stale=site.clean.stale)


def _of(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    return float(known.mean()), float(known.std())


def _trained(site: Site, index: int) -> Floats:
    raw = site.raw(index)
    return np.asarray(raw[site.clean.panel.part[index] == Part.TRAIN])


def _pool(site: Site) -> tuple[float, float]:
    return _of(np.concatenate([_trained(site, index) for index in range(len(site.clean.panel.entities))]))


def _stranger(site: Site) -> int:
    """Another whose constants differ by more than what 32 bits lose."""
    others = [index for index in range(len(site.clean.panel.entities)) if index not in site.entities or len(site.entities) > 1]
    return int(site.rng.choice([index for index in others if len(_trained(site, index)) >= FULL_WEIGHT] or others))


def _another(make: Callable[[Site, Callable[[int], tuple[float, float]]], Scaled]) -> Bug:
    def bug(site: Site) -> tuple[Scaled, str]:
        other = _stranger(site)
        site.entities[:] = [index for index in site.entities if site.own(index) != site.own(other)]  # who borrowed its scale is left out
        return make(site, lambda _: site.own(other)), f"the scale of {site.clean.panel.entities[other]}"

    return bug


def _earlier(site: Site, *, share: float) -> pl.DataFrame:
    """Scales as they were fitted when the data was shorter."""
    grid_now = site.clean.grid
    first, last = grid_now.select(first=pl.col(AT).min(), last=pl.col(AT).max()).row(0)
    then = grid_now.filter(pl.col(AT) < first + (last - first) * share)
    return fit(then.lazy(), contract=contract(), entities=site.clean.entities, cuts=cuts(then.lazy(), contract=contract()))


def _stale(site: Site, *, scales: bool) -> tuple[Scaled, str]:
    old = _earlier(site, share=float(site.rng.uniform(0.75, 0.95)))
    of = {row[ENTITY]: (row[MEAN], row[SD]) for row in old.filter(pl.col(PARAMETER) == NAMES[site.parameter]).iter_rows(named=True)}
    make = _fitted if scales else _applied
    spoiled = make(site, lambda index: of[site.clean.panel.entities[index]])
    return replace(spoiled, stale=old), "old scales, the earlier release"


def _of_period(site: Site, *, until: float) -> Callable[[int], tuple[float, float]]:
    """The entity's own constants over its first values, as a share of its training."""

    def constants(index: int) -> tuple[float, float]:
        raw, part = site.raw(index), site.clean.panel.part[index]
        start, end = np.flatnonzero(np.isfinite(raw))[0], np.flatnonzero(part == Part.TRAIN)
        length = (end[-1] + 1 - start) if len(end) else len(raw) - start
        return _of(raw[start : start + max(20, int(length * until))])

    return constants


def _leak(site: Site, *, scales: bool) -> tuple[Scaled, str]:
    """Everything that is there, as a fit without a cut does."""
    make = _fitted if scales else _applied
    return make(site, lambda index: _of(site.raw(index))), "mean and deviation of all its data"


def _leak_everywhere(site: Site) -> tuple[Scaled, str]:
    """As the pipeline makes it when training is told to end with the data: counts and all."""
    clean = site.clean
    late = cuts(clean.grid.lazy(), contract=contract()).with_columns(pl.col(END).alias("train_end"))
    scales = fit(clean.grid.lazy(), contract=contract(), entities=clean.entities, cuts=late)
    chosen = [clean.panel.entities[index] for index in site.entities]
    hit = pl.col(ENTITY).is_in(chosen) & (pl.col(PARAMETER) == NAMES[site.parameter])
    kept = clean.scales.filter(~hit)
    return _rescaled(site, pl.concat([kept, scales.filter(hit)]).sort(ENTITY, PARAMETER)), "mean and deviation of all its data"


def _of_test(site: Site) -> tuple[Scaled, str]:
    """The test part scaled by itself."""
    tested = site.clean.panel.part == Part.TEST
    here = replace(site, since=int(np.flatnonzero(tested.any(axis=0))[0]))
    return _applied(here, lambda index: _of(site.raw(index)[tested[index]])), "mean and deviation of the test part"


def _per_step(site: Site) -> tuple[Scaled, str]:
    every = np.stack([site.raw(index) for index in range(len(site.clean.panel.entities))])
    count = np.maximum(np.isfinite(every).sum(axis=0), 1)
    mean = np.nansum(every, axis=0) / count
    sd = np.sqrt(np.nansum((every - mean) ** 2, axis=0) / count)
    return _applied(site, lambda _: (mean, sd)), "of each step over all entities"


def _pooled_deviation(site: Site) -> tuple[Scaled, str]:
    return _applied(site, lambda index: (site.own(index)[0], _pool(site)[1])), "the deviation of all entities together"


def _twice(site: Site) -> tuple[Scaled, str]:
    def constants(index: int) -> tuple[float, float]:
        mean, sd = site.own(index)
        return mean + mean * sd, sd * sd

    return _applied(site, constants), "scaled twice"


def _moved(site: Site, *, by: int) -> tuple[Scaled, str]:
    """Each value that of `by` steps later."""
    values, observed = site.clean.values(), site.clean.panel.observed.copy()
    steps = values.shape[1] - abs(by)
    for index in site.entities:
        for array in (values, observed):
            column = array[index, site.since :, site.parameter]
            moved = np.zeros_like(column)
            kept = min(steps, len(column) - abs(by))
            if by > 0:
                moved[:kept] = column[by:]
            else:
                moved[-by:] = column[:kept]
            array[index, site.since :, site.parameter] = moved
    return site.clean.spoiled(values=values, observed=observed), f"moved by {abs(by):,} step"


def _later(site: Site) -> tuple[Scaled, str]:
    return _moved(site, by=int(site.rng.choice([1, 2, 6, 36, 144])))


def _before(site: Site) -> tuple[Scaled, str]:
    return _moved(site, by=-int(site.rng.choice([1, 2, 6, 36, 144])))


def _damaged(site: Site, damage: Callable[[NDArray[np.float32]], NDArray[np.float32]], *, named: str) -> tuple[Scaled, str]:
    values = site.clean.values()
    for index in site.entities:
        values[index, :, site.parameter] = damage(values[index, :, site.parameter])
    return site.clean.spoiled(values=values), named


def _one(value: float) -> Bug:
    def bug(site: Site) -> tuple[Scaled, str]:
        values = site.clean.values()
        for index in site.entities:
            seen = np.flatnonzero(site.clean.panel.observed[index, :, site.parameter])
            values[index, site.rng.choice(seen, size=3, replace=False), site.parameter] = value
        return site.clean.spoiled(values=values), "3 values that are not finite"

    return bug


def _half(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def _brain(values: NDArray[np.float32]) -> NDArray[np.float32]:
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def _overflow(site: Site) -> tuple[Scaled, str]:
    """A few values far beyond all training, in the grid too, through 16 bits."""
    clean, names = site.clean, site.clean.panel.entities
    frame = clean.grid
    name = NAMES[site.parameter]
    for index in site.entities:
        mean, sd = site.own(index)
        last = frame.filter((pl.col(ENTITY) == names[index]) & pl.col(name).is_not_null())[AT].sort()[-3:].to_list()
        hit = (pl.col(ENTITY) == names[index]) & pl.col(AT).is_in(last)
        frame = frame.with_columns(pl.when(hit).then(mean + 1e5 * sd).otherwise(name).alias(name))
    burst = made_of(frame, entities=clean.entities)
    return _damaged(replace(site, clean=burst), _half, named="too large for 16-bit floats")


def _swapped_columns(site: Site) -> tuple[Scaled, str]:
    other = (site.parameter + 1) % 2  # queries and failures move everywhere
    values = site.clean.values()
    for index in site.entities:
        values[index, :, site.parameter] = site.clean.panel.values[index, :, other]
        values[index, ~site.clean.panel.observed[index, :, site.parameter], site.parameter] = 0
    return site.clean.spoiled(values=values), f"values of {NAMES[other]}"


def _zone(site: Site) -> tuple[Scaled, str]:
    made = site.clean.panel
    hours = float(site.rng.choice([-8, -5, -1, 1, 2, 5.5, 9]))
    shifted = calendar(start_us=made.start_us + int(hours * 3_600_000_000), steps=made.steps, cadence_seconds=made.cadence_seconds)
    return site.clean.spoiled(calendar=shifted), f"a clock at UTC {hours:+g} h"


def _summer_time(site: Site) -> tuple[Scaled, str]:
    """Central European time: an hour ahead of UTC, two from the last Sunday of March on (the 29th in 2026)."""
    made = site.clean.panel
    winter, summer = (
        calendar(start_us=made.start_us + hours * 3_600_000_000, steps=made.steps, cadence_seconds=made.cadence_seconds) for hours in (1, 2)
    )
    turn = 27 * STEPS_A_DAY + STEPS_A_DAY // 24
    return site.clean.spoiled(calendar=np.concatenate([winter[:turn], summer[turn:]])), "+1 h or +2 h by summer time"


def _another_zone(site: Site) -> tuple[Scaled, str]:
    """Each customer has a zone of its own; one entity follows another customer's."""
    zones = {"acme": "Europe/Berlin", "bolt": "America/New_York", "core": "Asia/Kolkata"}
    declared = contract(calendar={"by": "customer", "zones": zones, "country": "DE", "countries": {"bolt": "US"}})
    local = made_of(site.clean.grid, entities=site.clean.entities, declared=declared)
    clock = local.panel.clock.copy()
    index = int(site.rng.integers(len(clock)))
    other = int(site.rng.choice([place for place in range(len(local.panel.calendar)) if place != clock[index]]))
    whose = local.panel.entities[int(np.flatnonzero(clock == other)[0])].split("/", maxsplit=1)[0]
    clock[index] = other
    return local.spoiled(clock=clock), f"follows the calendar of {zones[whose]}"


def _newcomer(site: Site) -> tuple[Scaled, str]:
    flags = site.clean.panel.newcomer.copy()
    index = int(site.rng.integers(len(flags)))
    if flags[index].any():
        named, flags[index] = (("never flagged", False), ("always flagged", True))[int(site.rng.integers(2))]
    else:
        start = int(site.rng.integers(flags.shape[1] // 2))
        flags[index, start : start + 2 * STEPS_A_DAY] = True
        named = "flagged though none"
    return site.clean.spoiled(newcomer=flags), named


CALENDARS: Final = frozenset({"calendar, hours off", "calendar, summer time"})
FOLLOWERS: Final = frozenset({"calendar, another entity's zone"})
FLAGS: Final = frozenset({"newcomer flag"})
KINDS: Final[dict[str, Bug]] = {
    "missing scaling": lambda site: (_applied(site, lambda _: (0.0, 1.0)), "not scaled at all"),
    "missing scaling (fitted)": lambda site: (_fitted(site, lambda _: (0.0, 1.0)), "not scaled at all"),
    "double scaling": _twice,
    "another entity's": _another(_applied),
    "another entity's (fitted)": _another(_fitted),
    "pooled": lambda site: (_applied(site, lambda _: _pool(site)), "the mean and deviation of all entities together"),
    "pooled (fitted)": lambda site: (_fitted(site, lambda _: _pool(site)), "the mean and deviation of all entities together"),
    "pooled deviation": _pooled_deviation,
    "per step over entities": _per_step,
    "leak: all data": lambda site: _leak(site, scales=False),
    "leak: all data (fitted)": _leak_everywhere,
    "leak: some later data (fitted)": lambda site: (_fitted(site, _of_period(site, until=1.1)), "mean and deviation of up to "),
    "leak: the test part": _of_test,
    "stale: earlier release": lambda site: _stale(site, scales=False),
    "stale: earlier release (fitted)": lambda site: _stale(site, scales=True),
    "stale: earlier period": lambda site: (_applied(site, _of_period(site, until=0.6)), "old scales, up to "),
    "stale: earlier period (fitted)": lambda site: (_fitted(site, _of_period(site, until=0.6)), "old scales, up to "),
    "mean only": lambda site: (_applied(site, lambda index: (site.own(index)[0], 1.0)), "not divided by the deviation"),
    "mean only (fitted)": lambda site: (_fitted(site, lambda index: (site.own(index)[0], 1.0)), "not divided by the deviation"),
    "deviation only": lambda site: (_applied(site, lambda index: (0.0, site.own(index)[1])), "the mean left in"),
    "deviation only (fitted)": lambda site: (_fitted(site, lambda index: (0.0, site.own(index)[1])), "the mean left in"),
    "variance for deviation": lambda site: (_applied(site, lambda index: (site.own(index)[0], site.own(index)[1] ** 2)), "by the variance"),
    "moved, from later": _later,
    "moved, from earlier": _before,
    "swapped columns": _swapped_columns,
    "not a number": _one(np.nan),
    "infinite": _one(np.inf),
    "float16 overflow": _overflow,
    "float16 rounding": lambda site: _damaged(site, _half, named="rounded to float16"),
    "bfloat16 rounding": lambda site: _damaged(site, _brain, named="rounded to bfloat16"),
    "whole numbers": lambda site: _damaged(site, np.rint, named="rounded to whole numbers"),
    "calendar, hours off": _zone,
    "calendar, summer time": _summer_time,
    "calendar, another entity's zone": _another_zone,
    "newcomer flag": _newcomer,
}
