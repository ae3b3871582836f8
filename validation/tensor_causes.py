"""Why scaled values are not what they should be: whose mean and deviation they were made with, or what else was done to them.

Every suspect is tried: it is applied to the grid, and is the culprit where the panel's values come out. So a cause is named by what it
makes, to the digits of a 32-bit float, and never by a guess; where nothing comes out, none is named. No scaling code is used.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from telemetry.panel import Panel, Part
from telemetry.scaling import FLOOR_OF_COHORT

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Numbers = NDArray[Any]  # Any: 32-bit or 64-bit floats

UNSCALED: Final = "unscaled"
TWICE: Final = "twice"
MEAN_ONLY: Final = "mean only"
DEVIATION_ONLY: Final = "deviation only"
VARIANCE: Final = "variance"
OTHER: Final = "other entity"
POOLED: Final = "pooled"
PER_STEP: Final = "per step"
LEAK: Final = "leak"
STALE: Final = "stale"
MOVED: Final = "moved"
ROUNDED: Final = "rounded"
COLUMN: Final = "other parameter"
MASK: Final = "mask"

ROUND_TRIP: Final = 1e-6
"""32-bit floats keep some 7 digits."""
MOST: Final = 0.99
"""Of the values that a suspect must explain; a few may be wrong for a reason of their own."""
FITTED_ROWS: Final = 2000
SAME: Final = 1e-6
"""How near, in deviations, constants must be to be the same."""
NEAR: Final = 1e-5
"""The same for constants that were read off 32-bit values."""
LEAST_HISTORY: Final = 10
PROBES: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What was done, and with what: another's name, a date, a number of steps. Empty where it is not known."""

    kind: str = ""
    of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constants:
    """f64[entity, parameter] each; NaN where there is none."""

    mean: Floats
    sd: Floats
    count: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What a panel could have been made with.

    Attributes:
        panel: of which all this is.
        scales: with which it should have been made.
        trained: of the grid's values in each entity's training part.
        expected: the scales that follow from these.
        whole: of all the grid's values.
        stale: of an earlier release, if there is one.
    """

    panel: Panel
    scales: Constants
    trained: Constants
    expected: Constants
    whole: Constants
    stale: Constants | None

    def at(self, step: int) -> str:
        """The instant of a step."""
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.panel.start_us + step * self.panel.cadence_seconds * 1_000_000)
        return f"{at:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspect:
    cause: Cause
    mean: float
    sd: float


def of_scale(known: Known, *, index: int, parameter: int, raw: Floats) -> Cause:
    """Whose constants the entity's scale itself holds, where values and scale agree; raw: f64[T], the entity's grid.

    Nothing is named where the scale is what it should be. What was borrowed for want of training may be another's, or that of all.
    """
    mean, sd = float(known.scales.mean[index, parameter]), float(known.scales.sd[index, parameter])
    if _same(float(known.expected.mean[index, parameter]), float(known.expected.sd[index, parameter]), mean=mean, sd=sd):
        return Cause()
    trained = int(known.trained.count[index, parameter])
    if trained and not known.scales.count[index, parameter]:
        return Cause()
    may_be = (UNSCALED, LEAK, STALE, MEAN_ONLY, DEVIATION_ONLY, VARIANCE) if not trained else ()
    for suspect in _suspects(known, index=index, parameter=parameter, raw=raw, sources=(known.expected,)):
        if _same(suspect.mean, suspect.sd, mean=mean, sd=sd) and (trained or suspect.cause.kind in may_be):
            return suspect.cause
    return _of_history(known, index=index, parameter=parameter, raw=raw, mean=mean, sd=sd, near=SAME)


def expected(trained: Constants, *, cohorts: tuple[str, ...], full_weight: int, floor: Floats) -> Constants:
    """The scales that follow from training: of an entity with less than `full_weight` values mixed with its cohort's, never below a floor.

    Args:
        trained: of the training values.
        cohorts: of the entities.
        full_weight: from so many values on, a scale is the entity's own alone.
        floor: f64[entity, parameter], the deviation where the whole cohort is constant.
    """
    weight = np.clip(trained.count / full_weight, 0.0, 1.0)
    own, usual = np.stack([trained.mean, trained.sd]), np.zeros((2, *trained.mean.shape))
    heard = np.broadcast_to(trained.count > 0, own.shape)
    for cohort in set(cohorts):
        members = np.array([each == cohort for each in cohorts])
        among = np.where(heard[:, members].any(axis=1, keepdims=True), heard & members[None, :, None], heard)
        masked = np.ma.masked_array(own, mask=~among)
        usual[:, members] = np.ma.median(masked, axis=1, keepdims=True).filled(0.0)  # type: ignore[no-untyped-call]  # by NumPy's stubs
    mean, sd = weight * own + (1 - weight) * usual
    sd = np.maximum(sd, FLOOR_OF_COHORT * usual[1])
    return Constants(mean=mean, sd=np.where(sd > 1e-9 * np.abs(mean), sd, floor), count=trained.count)


def of_values(  # the one place at which all suspects meet
    known: Known, *, index: int, parameter: int, raw: Floats, unlike: Flags, moments: Callable[[int], tuple[Floats, Floats]]
) -> Cause:
    """Why values are unlike the grid's, taken with their scale.

    Args:
        known: what they could have been made with.
        index: of the entity.
        parameter: of the parameter.
        raw: f64[T, P], the entity's grid, NaN where nothing was observed.
        unlike: bool[T], the values that are unlike.
        moments: mean and deviation over all entities of a parameter, f64[T] each.
    """
    values, own = known.panel.values[index, :, parameter], raw[:, parameter]
    both = np.flatnonzero(unlike & np.isfinite(own) & np.isfinite(values) & known.panel.observed[index, :, parameter])
    if len(both) < 2:
        return Cause(kind=MASK) if (np.isfinite(own) != known.panel.observed[index, :, parameter]).any() else Cause()
    some = both[:: max(1, len(both) // FITTED_ROWS)]
    z, x = values[some].astype(np.float64), own[some]
    mean, sd = float(known.scales.mean[index, parameter]), float(known.scales.sd[index, parameter])
    if rounded := _rounding(values[some], expected=((x - mean) / sd).astype(np.float32)):
        return Cause(kind=ROUNDED, of=rounded)
    both_sources = (known.scales, known.trained)
    suspects = [each for each in _suspects(known, index=index, parameter=parameter, raw=own, sources=both_sources) if each.sd > 0]
    best = _culprit(suspects, z=z, x=x)
    if best.kind:
        return best
    return _further(known, index=index, parameter=parameter, raw=raw, some=some, both=both, moments=moments)


def _further(
    known: Known,
    *,
    index: int,
    parameter: int,
    raw: Floats,
    some: NDArray[np.int64],
    both: NDArray[np.int64],
    moments: Callable[[int], tuple[Floats, Floats]],
) -> Cause:
    """What is no suspect's mean and deviation: those of some time, values of another place or another time."""
    values = known.panel.values[index, :, parameter]
    z, x = values[some].astype(np.float64), raw[some, parameter]
    scale = known.scales.mean[index], known.scales.sd[index]
    if np.ptp(z) > 0:
        sd, mean = _line(z, x=x)
        if sd > 0 and _explained(z, x=x, mean=mean, sd=sd):
            return _of_history(known, index=index, parameter=parameter, raw=raw[:, parameter], mean=mean, sd=sd, near=NEAR)
    mean_then, sd_then = (moment[some] for moment in moments(parameter))
    apart = sd_then > 0  # where all entities say the same, there is no deviation to divide by
    if apart.mean() >= 0.3 and _explained(z[apart], x=x[apart], mean=mean_then[apart], sd=sd_then[apart], within=1e-5):
        return Cause(kind=PER_STEP)
    undone = values.astype(np.float64) * scale[1][parameter] + scale[0][parameter]
    tolerance = lost_digits(raw[:, parameter], mean=scale[0][parameter], sd=scale[1][parameter])
    if lag := _lag(undone, raw=raw[:, parameter], both=both, tolerance=tolerance):
        return Cause(kind=MOVED, of=str(lag))
    for other, name in enumerate(known.panel.parameters):
        if other != parameter and _explained(z, x=raw[some, other], mean=scale[0][other], sd=scale[1][other]):
            return Cause(kind=COLUMN, of=name)
    return Cause()


def _suspects(known: Known, *, index: int, parameter: int, raw: Floats, sources: tuple[Constants, ...]) -> Iterator[_Suspect]:
    """Everyone's constants, the likeliest first.

    Where the scales are suspected themselves, they are no source: several of them may share one fault.
    """
    yield _Suspect(cause=Cause(kind=UNSCALED), mean=0.0, sd=1.0)
    for constants in sources:
        mean, sd = float(constants.mean[index, parameter]), float(constants.sd[index, parameter])
        yield _Suspect(cause=Cause(kind=TWICE), mean=mean + mean * sd, sd=sd * sd)
        yield _Suspect(cause=Cause(kind=MEAN_ONLY), mean=mean, sd=1.0)
        yield _Suspect(cause=Cause(kind=DEVIATION_ONLY), mean=0.0, sd=sd)
        yield _Suspect(cause=Cause(kind=VARIANCE), mean=mean, sd=sd * sd)
    if known.stale is not None:
        of = "the earlier release"
        yield _Suspect(cause=Cause(kind=STALE, of=of), mean=known.stale.mean[index, parameter], sd=known.stale.sd[index, parameter])
    yield from _other_parts(known, index=index, raw=raw)
    for constants in reversed(sources):  # whose own they are comes before who borrowed them
        for other, name in enumerate(known.panel.entities):
            if other != index:
                yield _Suspect(cause=Cause(kind=OTHER, of=name), mean=constants.mean[other, parameter], sd=constants.sd[other, parameter])
    yield from _pooled(known, index=index, parameter=parameter, sources=sources)


def _other_parts(known: Known, *, index: int, raw: Floats) -> Iterator[_Suspect]:
    """The entity's own constants over more than its training, or over another part."""
    part, seen = known.panel.part[index], np.isfinite(raw)
    learned, quiet, tested = (part == which for which in (Part.TRAIN, Part.CALIBRATE, Part.TEST))
    asked = (
        ("all its data", seen),
        ("training, calibration and test", learned | quiet | tested),
        ("training and calibration", learned | quiet),
        ("calibration", quiet),
        ("the test part", tested),
    )
    train_mean, train_sd = _moments(raw[learned & seen])
    for of, which in asked:
        values = raw[which & seen]
        if (~learned & which & seen).any():
            mean, sd = _moments(values)
            yield _Suspect(cause=Cause(kind=LEAK, of=of), mean=mean, sd=sd)
            yield _Suspect(cause=Cause(kind=LEAK, of=f"{of} (the mean alone)"), mean=mean, sd=train_sd)
            yield _Suspect(cause=Cause(kind=LEAK, of=f"{of} (the deviation alone)"), mean=train_mean, sd=sd)


def _pooled(known: Known, *, index: int, parameter: int, sources: tuple[Constants, ...]) -> Iterator[_Suspect]:
    for constants in (known.trained, known.whole):
        mean, sd = pooled(constants, parameter=parameter)
        yield _Suspect(cause=Cause(kind=POOLED, of="mean and deviation"), mean=mean, sd=sd)
        for own in sources:
            yield _Suspect(cause=Cause(kind=POOLED, of="deviation"), mean=own.mean[index, parameter], sd=sd)
            yield _Suspect(cause=Cause(kind=POOLED, of="mean"), mean=mean, sd=own.sd[index, parameter])


def pooled(constants: Constants, *, parameter: int) -> tuple[float, float]:
    """Mean and deviation of all entities' values in one heap, from those of each."""
    count = constants.count[:, parameter]
    heard = count > 0
    mean, sd, weight = constants.mean[heard, parameter], constants.sd[heard, parameter], count[heard] / max(1, count.sum())
    centre = float((weight * mean).sum())
    return centre, float(np.sqrt((weight * (sd**2 + (mean - centre) ** 2)).sum()))


def _same(mean_of: float, sd_of: float, *, mean: float, sd: float) -> bool:
    return abs(mean_of - mean) <= SAME * sd + 1e-12 * abs(mean) and abs(sd_of - sd) <= SAME * sd


def _moments(values: Floats) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (np.nan, np.nan)


def _culprit(suspects: list[_Suspect], *, z: Floats, x: Floats) -> Cause:
    """The suspect that explains the values; of several, the one that does so best, and none that the best straight line puts to shame."""
    means, sds = np.array([each.mean for each in suspects]), np.array([each.sd for each in suspects])
    error = np.abs((x[:, None] - means) / sds - z[:, None])
    tolerance = ROUND_TRIP * (np.abs(x)[:, None] + np.abs(means) + sds) / sds + ROUND_TRIP * np.abs(z)[:, None]
    guilty = (error <= tolerance).mean(axis=0) >= MOST
    if not guilty.any():
        return Cause()
    sd, mean = _line(z, x=x)
    line = float(np.median(np.abs((x - mean) / sd - z))) if sd > 0 else np.inf
    digit = 1.2e-7 * (1 + float(np.abs(z).max()))  # the last of 32 bits, which may be off alike in all of them
    misses = np.where(guilty & (np.median(error, axis=0) <= 10 * line + digit), np.median(error, axis=0), np.inf)
    if not np.isfinite(misses).any():
        return Cause()
    return suspects[int(np.flatnonzero(misses <= 2 * misses.min() + 1e-9)[0])].cause


def _line(z: Floats, *, x: Floats) -> tuple[float, float]:
    """Deviation and mean that make `z` of `x` with the least squares; a deviation of 0 where `z` is constant."""
    if np.ptp(z) == 0:
        return 0.0, float(x[0])
    centre = float(x.mean())
    sd, mean = np.polyfit(z, x - centre, 1)
    return float(sd), float(mean) + centre


def _explained(z: Floats, *, x: Floats, mean: Floats | float, sd: Floats | float, most: float = MOST, within: float = ROUND_TRIP) -> bool:
    """Whether `(x - mean) / sd` is `z` for most values."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.abs((x - mean) / sd - z)
        return bool((error <= within * ((np.abs(x) + np.abs(mean) + np.abs(sd)) / np.abs(sd) + np.abs(z))).mean() >= most)


def _of_history(known: Known, *, index: int, parameter: int, raw: Floats, mean: float, sd: float, near: float) -> Cause:
    """Whether the constants are the entity's own as of another time than the end of its training, and of which."""
    trained = np.flatnonzero((known.panel.part[index] == Part.TRAIN) & np.isfinite(raw))
    seen = np.flatnonzero(np.isfinite(raw))
    if len(seen) <= LEAST_HISTORY or not len(trained):
        return Cause()
    count = np.arange(1, len(seen) + 1)
    centred = raw[seen] - known.trained.mean[index, parameter]
    means = np.cumsum(centred) / count
    sds = np.sqrt(np.maximum(np.cumsum(centred**2) / count - means**2, 0))
    off = (np.abs(means + known.trained.mean[index, parameter] - mean) + np.abs(sds - sd)) / sd
    last = LEAST_HISTORY + int(np.argmin(off[LEAST_HISTORY:]))
    if not off[last] <= near or seen[last] == trained[-1]:
        return Cause()
    return Cause(kind=STALE if seen[last] < trained[-1] else LEAK, of=f"up to {known.at(int(seen[last]) + 1)}")


def lost_digits(raw: Floats, *, mean: Numbers, sd: Numbers) -> Floats:
    """How far a value may be off when it was scaled in 64 bits, kept in 32 and taken back; in its own unit."""
    return np.asarray(ROUND_TRIP * (np.abs(raw - mean) + sd) + 1e-9 * (np.abs(raw) + np.abs(mean)))


def _rounding(values: NDArray[np.float32], *, expected: NDArray[np.float32]) -> str:
    """To which kind of number the values were rounded; empty if to none."""
    bits = expected.view(np.uint32)
    with np.errstate(over="ignore"):
        rounded: dict[str, Numbers] = {
            "float16": expected.astype(np.float16).astype(np.float32),
            "bfloat16": ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32),
            "whole numbers": np.rint(expected),
            "whole numbers, cut": np.trunc(expected),
        }
    return next((name for name, told in rounded.items() if (np.abs(told - values) <= 1e-6 * np.abs(values)).mean() >= MOST), "")


def _lag(undone: Floats, *, raw: Floats, both: NDArray[np.int64], tolerance: Floats) -> int:
    """By how many steps the values are of a later time (below 0: of an earlier one); 0 where no such number is found.

    A few of the most telling values are looked for in all the grid; where most of them are found at one distance, all are held against it.
    """
    heard = raw[np.isfinite(raw)]
    telling = both[np.argsort(-np.abs(undone[both] - np.median(heard)), kind="stable")]
    probes = telling[np.linspace(0, max(0, len(telling) // 4 - 1), min(PROBES, len(telling))).astype(int)]
    steps = len(raw)
    lags = np.arange(1 - steps, steps)
    votes = np.zeros(len(lags), dtype=np.int64)
    for probe in probes:
        hits = np.flatnonzero(np.abs(raw - undone[probe]) <= tolerance)
        votes[hits - probe + steps - 1] += 1
    votes[steps - 1] = 0
    for lag in lags[np.lexsort((np.abs(lags), -votes))[:8]]:
        there = both[(both + lag >= 0) & (both + lag < steps)]
        found = raw[there + lag]
        told = np.isfinite(found)
        right = np.abs(found[told] - undone[there[told]]) <= tolerance[there + lag][told]
        if lag and told.sum() >= max(2, 0.5 * len(both)) and right.mean() >= MOST:
            return int(lag)
    return 0
