"""The joint surprise of an entity: three views of one minute, all of its targets and parameters together, made into one number.

    errors      mean over the targets of the root mean square over the leads of error / SD
    covariance  Mahalanobis distance of the errors / SD of all leads and targets (Mahalanobis, 1936), divided by the root of their number.
                Their covariance over the calibrate part is shrunk half-way to its diagonal (Ledoit and Wolf, J. Multivar. Anal. 88, 2004,
                take the same form): it sees errors that are small each and do not belong together
    linear      root of the squared prediction error of the values of all parameters, forecasts apart: what lies outside of the principal
                components that hold 0.9 of the variance of the train and calibrate parts (Jackson and Mudholkar, Technometrics 21, 1979).
                It sees a fault that has lasted long enough to be forecast

Each is divided by its root mean square over the calibrate part, and the joint number is their geometric mean: no view has a weight or a
unit.
An entity that had too little to learn from is seen with what the others have in common.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from serving.standstill import Standstill
from serving.surprise import LEAST_SD, NORMAL_SCALE_QUANTILE, SCALE_QUANTILE
from telemetry.panel import Panel, Part
from telemetry.strangers import HOURS, Tides

Floats = NDArray[np.float32]
SHRINKAGE: Final = 0.5
SHARE: Final = 0.9
LEAST_DEVIATION: Final = 0.3
"""Floor under a parameter's deviation, in training deviations: what hardly moves tells by units, not by thousands."""
DAY_SECONDS: Final = 24 * 3600
NEGLIGIBLE: Final = 1e-3
"""A view whose root mean square is below this sees nothing: one parameter alone has no residual outside of its component."""
KEYS: Final = "entities"
ARRAYS: Final = ("sd", "precision", "center", "deviation", "components", "level", "free_run")
STANDSTILL: Final = ("standstill", "standstill_steps")
"""Arrays that older releases lack: the bars, and how many steps are looked at (gap, longest)."""
TIDES: Final = ("tides", "tides_of")
"""Arrays that older releases lack: the hours, and of which entities, counted from 0."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Views:
    """What the views know of E entities, and in row E of what they have in common.

    Attributes:
        entities: E keys.
        sd: f32[E + 1, L, K], usual size of the scaled errors.
        precision: f32[E + 1, L * K, L * K], inverse of the shrunk covariance of errors / sd.
        center: f32[E + 1, P] and
        deviation: f32[E + 1, P], of the scaled values.
        components: f32[E + 1, P, C], orthonormal columns, zeros beyond those of an entity.
        level: f32[E + 1, 3], root mean square of each view over the calibrate part, 0 for a view that sees nothing.
        free_run: f32[E + 1], the share of normal minutes that are off while the network reads its own forecasts (see `flows.trust`); 1
            where nobody has tried.
        standstill: how long they may stand still; None of a release that is older than this, which is not told of it.
        tides: what they usually are, hour by hour, for whoever comes later; None of a release that is older than this.
    """

    entities: tuple[str, ...]
    sd: Floats
    precision: Floats
    center: Floats
    deviation: Floats
    components: Floats
    level: Floats
    free_run: Floats
    standstill: Standstill | None = None
    tides: Tides | None = None

    def to_bytes(self) -> bytes:
        """As a release holds them: safetensors, the keys of the entities as UTF-8 of a JSON list."""
        keys = np.frombuffer(json.dumps(self.entities, ensure_ascii=False).encode(), dtype=np.uint8)
        arrays = {KEYS: keys, **{name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}}
        if self.standstill is not None:
            steps = np.array([self.standstill.gap, self.standstill.longest], dtype=np.int64)
            arrays |= dict(zip(STANDSTILL, (np.ascontiguousarray(self.standstill.bars), steps), strict=True))
        if self.tides is not None:
            of = np.array([self.entities.index(name) for name in self.tides.entities], dtype=np.int64)
            arrays |= dict(zip(TIDES, (np.ascontiguousarray(self.tides.hours), of), strict=True))
        return bytes(save(arrays))

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """What `to_bytes` told.

        Raises:
            ValueError: an array is missing, or they are not of so many entities.
            SafetensorError: these are no safetensors.
        """
        arrays = load(content)
        missing = [name for name in (KEYS, *ARRAYS) if name not in arrays]
        if missing:
            raise ValueError(f"no views: {', '.join(missing)} missing")
        entities = tuple(json.loads(arrays[KEYS].tobytes()))
        bars, steps = (arrays.get(name) for name in STANDSTILL)
        rows = (*ARRAYS, *(() if bars is None else STANDSTILL[:1]))
        wrong = [name for name in rows if arrays[name].dtype != np.float32 or len(arrays[name]) != len(entities) + 1]
        if wrong:
            raise ValueError(f"no views of {len(entities)} entities: {', '.join(wrong)} of another type or number")
        still = None if bars is None or steps is None else Standstill(bars=bars, gap=int(steps[0]), longest=int(steps[1]))
        hours, of = (arrays.get(name) for name in TIDES)
        if hours is not None and (of is None or hours.dtype != np.float32 or hours.shape[:2] != (len(of), HOURS)):
            raise ValueError(f"no tides of {HOURS} hours: f32{list(hours.shape)}")
        tides = None if hours is None or of is None else Tides(entities=tuple(entities[row] for row in of), hours=hours)
        told: dict[str, Any] = {name: arrays[name] for name in ARRAYS}  # Any: as the fields are
        return cls(entities=entities, standstill=still, tides=tides, **told)

    def tried(self, free_run: Floats) -> Self:
        """The same, with what feeding forecasts costs each entity; whom nobody knows is not fed.

        Args:
            free_run: f32[E].
        """
        return replace(self, free_run=np.append(free_run, np.float32(1)).astype(np.float32))

    def row(self, entity: str) -> int:
        """Where an entity is told; E of one that is not known."""
        return self.entities.index(entity) if entity in self.entities else len(self.entities)

    def joint(self, entity: str, *, values: Floats, observed: NDArray[np.bool_], targets: Sequence[int], forecasts: Floats) -> Floats:
        """f32[T], NaN where no target was observed: the joint number of every step.

        Args:
            entity: a key; one that is not known is seen with what the others have in common.
            values: f32[T, P], scaled.
            observed: bool[T, P].
            targets: K indices into the parameters.
            forecasts: f32[T, L, K], scaled; one that is no number counts as unobserved.
        """
        row = self.row(entity)
        errors, seen = _errors(values, observed=observed, targets=targets, forecasts=forecasts)
        seen_by = _views(self, row=row, errors=errors, seen=seen, values=values, observed=observed)
        level = self.level[row]
        told = level > 0
        if not told.any():
            return np.full(len(values), np.nan, dtype=np.float32)
        with np.errstate(divide="ignore"):
            logs = np.log(seen_by[:, told] / level[told])
        number: Floats = np.where(seen.any(axis=(1, 2)), np.exp(logs.mean(axis=1)), np.nan).astype(np.float32)
        return number


def learn(panel: Panel, forecasts: Floats) -> Views:
    """The views of a panel's entities.

    Args:
        panel: its steps of the calibrate part tell how forecasts err; they and those of the train part how parameters move together.
            Labelled steps teach nothing. A newcomer with a day of its own in the calibrate part learns from that.
        forecasts: f32[E, T, L, K], scaled, for all steps of the panel.
    """
    entities, _, leads, targets = forecasts.shape
    size, parameters = leads * targets, len(panel.parameters)
    day = DAY_SECONDS // panel.cadence_seconds
    told = [_moments(panel, forecasts[entity], entity=entity, day=day) for entity in range(entities)]
    known = [each for each in told if each is not None]
    common = _in_common(known, size=size, leads=leads, targets=targets, parameters=parameters)
    rows = [_row(each or common) for each in (*told, common)]
    widest = max(row["components"].shape[1] for row in rows)
    for row in rows:
        row["components"] = np.pad(row["components"], ((0, 0), (0, widest - row["components"].shape[1])))
    arrays: dict[str, Any] = {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in rows[0]}  # Any: as the fields are
    level, untried = np.ones((entities + 1, 3), dtype=np.float32), np.ones(entities + 1, dtype=np.float32)
    draft = Views(entities=tuple(panel.entities), level=level, free_run=untried, **arrays)
    return _levelled(draft, panel=panel, forecasts=forecasts, known=[each is not None for each in told])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Moments:
    """Of an entity: sd [L, K], covariance of errors / sd [LK, LK], center and deviation [P], correlation of the values [P, P]."""

    sd: NDArray[np.float64]
    covariance: NDArray[np.float64]
    center: NDArray[np.float64]
    deviation: NDArray[np.float64]
    correlation: NDArray[np.float64]


def _calibrates(panel: Panel, *, entity: int) -> NDArray[np.bool_]:
    return np.asarray((panel.part[entity] == Part.CALIBRATE) & ~panel.hidden[entity])


def _moments(panel: Panel, forecasts: Floats, *, entity: int, day: int) -> _Moments | None:
    """None where there is too little to learn from."""
    quiet, newcomer = _calibrates(panel, entity=entity), panel.newcomer[entity]
    calibrates = quiet if quiet.sum() >= day else quiet & ~newcomer
    if calibrates.sum() < 2:
        return None
    learns = calibrates | ((panel.part[entity] == Part.TRAIN) & ~panel.hidden[entity] & ~newcomer)
    values, observed = panel.values[entity], panel.observed[entity]
    errors, seen = _errors(values[calibrates], observed=observed[calibrates], targets=panel.targets, forecasts=forecasts[calibrates])
    if not seen.any():
        return None
    size = np.where(seen, np.abs(errors), np.nan)
    with np.errstate(all="ignore"):
        told = np.nan_to_num(np.nanquantile(size, SCALE_QUANTILE, axis=0)) / NORMAL_SCALE_QUANTILE
    sd = np.maximum(told, LEAST_SD)
    scaled = (errors / sd).reshape(len(errors), -1)
    used = observed[learns]
    count = np.maximum(used.sum(axis=0), 1)
    center = np.sum(values[learns], axis=0, where=used, dtype=np.float64) / count
    spread = np.sqrt(np.sum((values[learns] - center) ** 2, axis=0, where=used) / count)
    deviation = np.maximum(spread, LEAST_DEVIATION)
    standard = np.where(used, (values[learns] - center) / deviation, 0.0)
    return _Moments(
        sd=sd,
        covariance=scaled.T @ scaled / len(scaled),
        center=center,
        deviation=deviation,
        correlation=standard.T @ standard / len(standard),
    )


def _in_common(known: Sequence[_Moments], *, size: int, leads: int, targets: int, parameters: int) -> _Moments:
    """Medians and means over those that could learn."""
    if not known:
        return _Moments(
            sd=np.ones((leads, targets)),
            covariance=np.eye(size),
            center=np.zeros(parameters),
            deviation=np.ones(parameters),
            correlation=np.eye(parameters),
        )
    return _Moments(
        sd=np.median([each.sd for each in known], axis=0),
        covariance=np.mean([each.covariance for each in known], axis=0),
        center=np.median([each.center for each in known], axis=0),
        deviation=np.median([each.deviation for each in known], axis=0),
        correlation=np.mean([each.correlation for each in known], axis=0),
    )


def _row(moments: _Moments) -> dict[str, NDArray[np.float64]]:
    diagonal = np.diag(np.maximum(np.diag(moments.covariance), NEGLIGIBLE))
    shrunk = (1 - SHRINKAGE) * moments.covariance + SHRINKAGE * diagonal
    variances, axes = np.linalg.eigh(moments.correlation)
    held = np.cumsum(variances[::-1]) / max(variances.sum(), np.finfo(np.float64).tiny)
    components = axes[:, ::-1][:, : int(np.searchsorted(held, SHARE)) + 1]
    precision = np.linalg.inv(shrunk)
    told = {"sd": moments.sd, "precision": precision, "center": moments.center, "deviation": moments.deviation}
    return {**told, "components": components}


def _errors(
    values: Floats, *, observed: NDArray[np.bool_], targets: Sequence[int], forecasts: Floats
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """f64[T, L, K] and bool[T, L, K]: value less forecast, 0 where either is unknown; and whether it is known."""
    chosen = list(targets)
    seen = observed[:, None, chosen] & np.isfinite(forecasts)
    with np.errstate(invalid="ignore"):
        errors = np.where(seen, values[:, None, chosen].astype(np.float64) - forecasts, 0.0)
    return errors, seen


def _views(
    views: Views, *, row: int, errors: NDArray[np.float64], seen: NDArray[np.bool_], values: Floats, observed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """f64[T, 3]: errors, covariance, linear; not yet divided by their levels."""
    scaled = errors / views.sd[row]
    known = seen.sum(axis=1)
    of_target = np.sqrt(np.square(scaled).sum(axis=1) / np.maximum(known, 1))
    mean = of_target.sum(axis=1) / np.maximum((known > 0).sum(axis=1), 1)
    flat = scaled.reshape(len(scaled), -1)
    distance = np.sqrt(np.maximum(np.einsum("ti,ti->t", flat @ views.precision[row], flat), 0.0) / flat.shape[1])
    standard = np.where(observed, (values - views.center[row]) / views.deviation[row], 0.0)
    outside = np.where(observed, standard - standard @ views.components[row] @ views.components[row].T, 0.0)
    return np.stack([mean, distance, np.sqrt(np.square(outside).sum(axis=1))], axis=1)


def _levelled(draft: Views, *, panel: Panel, forecasts: Floats, known: Sequence[bool]) -> Views:
    """The views with their levels; in common: medians over those that could learn."""
    level = np.zeros_like(draft.level)
    for entity in np.flatnonzero(known):
        quiet = _calibrates(panel, entity=int(entity))
        values, observed = panel.values[entity][quiet], panel.observed[entity][quiet]
        errors, seen = _errors(values, observed=observed, targets=panel.targets, forecasts=forecasts[entity][quiet])
        told = _views(draft, row=int(entity), errors=errors, seen=seen, values=values, observed=observed)
        level[entity] = np.sqrt(np.square(told).mean(axis=0))
    level[level < NEGLIGIBLE] = 0.0
    common = np.median(level[:-1][np.asarray(known)], axis=0) if any(known) else np.ones(3)
    level[-1] = common
    level[:-1][~np.asarray(known)] = common
    return replace(draft, level=level.astype(np.float32))
