"""Faults injected into copies of real telemetry, in a known place and strength: how strong must one be to be found, and how soon is it?

    yardstick   what a deviation of each entity's parameter is, and what values it can have (canonical units)
    plan        which fault of which strength is put where (`telemetry.injection_plan`)
    inject      a copy of the panel that has them, and the labels of exactly what was changed

A plan is told by names, instants and canonical units, so that two models with scales of their own meet the same faults.

    spike        up for a few steps                          drop    down, sustained
    ramp         up or down, growing evenly to its strength  shift   to another level, sustained
    noise        scatters, beside what is there              flat    stays at its last value
    degradation  all targets as in an outage: errors and latencies up, volumes down
    silence      no row comes                                nothing a control: what is found of it is found by luck

Strengths count in the entity's own deviations; of `flat` and `silence` they are the number of steps.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.contract import Contract
from telemetry.panel import Panel, Part
from telemetry.scaling import matrices
from telemetry.schema import COUNT, END, ENTITY, KIND, PARAMETER, START, TIME, Schema, conform
from telemetry.sections import Parameter

STRENGTH: Final = "strength"
TARGETS: Final = "targets"
SIGN: Final = "sign"
DRAW: Final = "draw"
PLAN: Final[Schema] = {
    ENTITY: pl.String,
    START: TIME,
    END: TIME,
    KIND: pl.String,
    STRENGTH: pl.Float64,
    TARGETS: pl.List(pl.String),
    SIGN: pl.List(pl.Int8),
    DRAW: pl.Int64,
}
"""A fault: whom it strikes, from when until when (exclusive), which targets in which direction, and the seed of its noise."""
INJECTED: Final[Schema] = {ENTITY: pl.String, START: TIME, END: TIME, KIND: pl.String, STRENGTH: pl.Float64, DRAW: pl.Int64}
"""What was changed, from the first step that is another to the last (exclusive); of the control, what was left as it is."""

SPIKE, DROP, RAMP, SHIFT, NOISE = "spike", "drop", "ramp", "shift", "noise"
DEGRADATION, FLAT, SILENCE, NOTHING = "degradation", "flat", "silence", "nothing"
DEVIATIONS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
STRENGTHS: Final[Mapping[str, tuple[float, ...]]] = {
    **dict.fromkeys((SPIKE, DROP, RAMP, SHIFT, NOISE, DEGRADATION), DEVIATIONS),
    FLAT: (15.0, 30.0, 60.0),
    SILENCE: (2.0, 5.0, 10.0, 30.0),
    NOTHING: (0.0,),
}
STEPS: Final[Mapping[str, int]] = {SPIKE: 5, DROP: 30, RAMP: 60, SHIFT: 60, NOISE: 30, DEGRADATION: 30, NOTHING: 30}
"""How long each lasts; `flat` and `silence` last as many steps as they are strong."""
LASTING: Final = (FLAT, SILENCE)
LEAST_HISTORY_SECONDS: Final = 24 * 3600
"""Of training; an entity with less takes its deviation from all that there is of it."""
VARIES_WITHIN: Final = (0.05, 0.95)
"""Quantiles that must differ, or a target has no deviation to count in: it is constant but for a few steps."""
ERRORS: Final = ("error", "fail", "timeout", "reject", "retr", "loss", "lost", "denied", "5xx")
WAITING: Final = ("latency", "duration", "delay", "wait", "lag", "queue")
SECONDS: Final = ("ns", "us", "ms", "s", "min", "second", "millisecond")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Yardstick:
    """What faults are measured by, in canonical units.

    Attributes:
        entities: in the order of `deviation`.
        targets: likewise.
        deviation: f64[E, K], of the entity's own normal steps; 0 where a target is constant, and no fault can be graded.
        lowest: f64[K], the least value that the contract takes for possible.
        highest: f64[K], the greatest.
        direction: i8[K], where an outage takes it: 1 up, -1 down, 0 either way.
    """

    entities: tuple[str, ...]
    targets: tuple[str, ...]
    deviation: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    direction: NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Injected:
    """A copy of telemetry with faults: the panel, and INJECTED, what was changed in it."""

    panel: Panel
    labels: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault within a panel: an entity's index, steps from `start` to `end`, indices of targets with their directions."""

    kind: str
    strength: float
    entity: int
    start: int
    end: int
    targets: tuple[int, ...]
    signs: tuple[int, ...]
    draw: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measure:
    """A yardstick in the scaled units of a panel, [E, K] each."""

    deviation: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]


def yardstick(panel: Panel, *, scales: pl.DataFrame, contract: Contract, entities: NDArray[np.int64] | None = None) -> Yardstick:
    """What a deviation is, entity by entity: over its training part, or over all there is of it where that is less than a day.

    Labelled steps do not count.

    Args:
        panel: the longer, the better the deviations are known.
        scales: SCALES with which it was scaled.
        contract: names the targets' ranges.
        entities: indices of those asked about; all by default.
    """
    asked = np.arange(len(panel.entities)) if entities is None else entities
    names = tuple(panel.entities[index] for index in asked)
    chosen = [contract.parameters[name] for name in panel.target_names]
    _, sd = matrices(scales, entities=names, parameters=panel.target_names)
    own = [_deviations(panel, entity=int(index)) for index in asked]
    return Yardstick(
        entities=names,
        targets=panel.target_names,
        deviation=np.array(own).reshape(sd.shape) * sd,
        lowest=np.array([-np.inf if p.minimum is None else p.minimum for p in chosen]),
        highest=np.array([np.inf if p.maximum is None else p.maximum for p in chosen]),
        direction=np.array([direction(name, p) for name, p in zip(panel.target_names, chosen, strict=True)], dtype=np.int8),
    )


def known_deviations(by: Yardstick, *, scales: pl.DataFrame, contract: Contract) -> Yardstick:
    """`by` with the deviations of the training, where an entity has a day of it or more; constant targets stay without one."""
    seconds = pl.col(COUNT) * contract.time.cadence_seconds
    known = scales.filter(seconds >= LEAST_HISTORY_SECONDS)
    _, trained = matrices(known, entities=by.entities, parameters=by.targets)
    order = pl.DataFrame({ENTITY: by.entities}).join(pl.DataFrame({PARAMETER: by.targets}), how="cross", maintain_order="left_right")
    told = order.join(
        known.select(ENTITY, PARAMETER, pl.lit(value=True).alias("own")), on=[ENTITY, PARAMETER], how="left", maintain_order="left"
    )
    own = told["own"].fill_null(value=False).to_numpy().reshape(by.deviation.shape)
    return replace(by, deviation=np.where(own & (by.deviation > 0), trained, by.deviation))


def direction(name: str, parameter: Parameter) -> int:
    """Where an outage takes a parameter: 1 up, -1 down, 0 where its name and unit do not tell.

    >>> counted = Parameter(unit="count", aggregation="sum")
    >>> direction("failed_queries", counted), direction("query_time", Parameter(unit="ms")), direction("queries", counted)
    (1, 1, -1)
    """
    told = name.lower()
    if parameter.unit.lower() in SECONDS or any(word in told for word in (*ERRORS, *WAITING)):
        return 1
    return -1 if parameter.aggregation in ("sum", "counter") or parameter.unit == "count" else 0


def _deviations(panel: Panel, *, entity: int) -> NDArray[np.float64]:
    """f64[K], scaled, of one entity; 0 where a target is constant."""
    observed = panel.observed[entity][:, list(panel.targets)] & ~panel.incident[entity][:, None]
    values = panel.values[entity][:, list(panel.targets)]
    training = (panel.part[entity] == Part.TRAIN)[:, None] & observed
    enough = training.sum(axis=0) * panel.cadence_seconds >= LEAST_HISTORY_SECONDS
    counted = np.where(enough, training, observed)
    told = [values[counted[:, k], k].astype(np.float64) for k in range(len(panel.targets))]
    return np.array([each.std() if _varies(each) else 0.0 for each in told])


def _varies(values: NDArray[np.float64]) -> bool:
    if values.size < 2:
        return False
    low, high = np.quantile(values, VARIES_WITHIN)
    return bool(high > low)


def measured(panel: Panel, *, by: Yardstick, scales: pl.DataFrame) -> Measure:
    """The yardstick in the scaled units of a panel; no deviation of entities and targets that it does not know."""
    mean, sd = matrices(scales, entities=panel.entities, parameters=panel.target_names)
    known = {name: index for index, name in enumerate(by.entities)}
    column = [by.targets.index(name) if name in by.targets else -1 for name in panel.target_names]
    deviation = np.zeros(sd.shape)
    for entity, name in enumerate(panel.entities):
        if name in known:
            deviation[entity] = [0.0 if k < 0 else by.deviation[known[name], k] for k in column]
    low = np.array([-np.inf if k < 0 else by.lowest[k] for k in column])
    high = np.array([np.inf if k < 0 else by.highest[k] for k in column])
    return Measure(deviation=deviation / sd, lowest=(low - mean) / sd, highest=(high - mean) / sd)


def changes(fault: Fault, *, panel: Panel, measure: Measure) -> Iterator[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
    """Of each target struck: its index, f64[step] what it becomes, f64[step] by how much it was to change (scaled)."""
    for number, (target, sign) in enumerate(zip(fault.targets, fault.signs, strict=True)):
        values = panel.values[fault.entity, :, panel.targets[target]]
        was = values[fault.start : fault.end].astype(np.float64)
        if fault.kind == FLAT:
            seen = np.flatnonzero(panel.observed[fault.entity, : fault.start, panel.targets[target]])
            last = float(values[seen[-1]]) if len(seen) else float(was[0])
            yield target, np.full(len(was), last), np.full(len(was), last) - was
            continue
        shape = _shape(fault, steps=len(was), rng=np.random.default_rng([fault.draw, number]))
        asked = sign * fault.strength * measure.deviation[fault.entity, target] * shape
        low = np.minimum(measure.lowest[fault.entity, target], was)
        high = np.maximum(measure.highest[fault.entity, target], was)
        yield target, np.clip(was + asked, low, high), asked


def _shape(fault: Fault, *, steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """f64[step], in units of the fault's strength."""
    match fault.kind:
        case "ramp":
            return np.arange(1, steps + 1) / steps
        case "noise":
            return rng.normal(size=steps)
        case _:
            return np.ones(steps)


def as_frame(faults: Sequence[Fault], *, panel: Panel) -> pl.DataFrame:
    """PLAN, by entity and start."""
    step_us = panel.cadence_seconds * 1_000_000
    frame = pl.DataFrame(
        {
            ENTITY: [panel.entities[fault.entity] for fault in faults],
            START: pl.Series([panel.start_us + fault.start * step_us for fault in faults], dtype=pl.Int64).cast(TIME),
            END: pl.Series([panel.start_us + fault.end * step_us for fault in faults], dtype=pl.Int64).cast(TIME),
            KIND: [fault.kind for fault in faults],
            STRENGTH: [fault.strength for fault in faults],
            TARGETS: [[panel.target_names[k] for k in fault.targets] for fault in faults],
            SIGN: [list(fault.signs) for fault in faults],
            DRAW: [fault.draw for fault in faults],
        },
        schema=dict(PLAN),
    )
    return conform(frame.sort(ENTITY, START), PLAN, name="plan")


def inject(panel: Panel, *, faults: pl.DataFrame, by: Yardstick, scales: pl.DataFrame) -> Injected:
    """A copy of `panel` with the faults in it; nothing outside of their spans is another, to the last bit.

    Args:
        panel: scaled telemetry; it stays as it is. What strikes an entity, a target or a time that it has not is passed over.
        faults: PLAN.
        by: the yardstick that they were planned by.
        scales: SCALES with which the panel was scaled.
    """
    values, observed = np.array(panel.values), np.array(panel.observed)
    measure = measured(panel, by=by, scales=scales)
    struck: list[Fault] = []
    for fault in _placed(conform(faults, PLAN, name="plan"), panel=panel):
        span = slice(fault.start, fault.end)
        if fault.kind == SILENCE:
            values[fault.entity, span], observed[fault.entity, span] = 0.0, False
        for target, changed, _ in changes(fault, panel=panel, measure=measure):
            column = panel.targets[target]
            there = panel.observed[fault.entity, span, column]
            values[fault.entity, span, column] = np.where(there, changed, panel.values[fault.entity, span, column])
        changed_steps = _changed(fault, panel=panel, values=values, observed=observed)
        if fault.kind == NOTHING or len(changed_steps):
            ends = (fault.start, fault.end) if fault.kind == NOTHING else (int(changed_steps[0]), int(changed_steps[-1]) + 1)
            struck.append(replace(fault, start=ends[0], end=ends[1]))
    labels = as_frame(struck, panel=panel).select(list(INJECTED))
    return Injected(panel=replace(panel, values=values, observed=observed), labels=labels)


def _changed(fault: Fault, *, panel: Panel, values: NDArray[np.float32], observed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The steps in which something of the entity is another than it was."""
    span = slice(fault.start, fault.end)
    other = (values[fault.entity, span] != panel.values[fault.entity, span]) | (
        observed[fault.entity, span] != panel.observed[fault.entity, span]
    )
    return fault.start + np.flatnonzero(other.any(axis=1))


def _placed(faults: pl.DataFrame, *, panel: Panel) -> Iterator[Fault]:
    """The faults that fall into the panel, by its indices."""
    entities = {name: index for index, name in enumerate(panel.entities)}
    targets = {name: index for index, name in enumerate(panel.target_names)}
    step_us = panel.cadence_seconds * 1_000_000
    steps = faults.with_columns((pl.col(name).dt.epoch("us") - panel.start_us) // step_us for name in (START, END))
    for row in steps.iter_rows(named=True):
        struck = [(targets[name], sign) for name, sign in zip(row[TARGETS], row[SIGN], strict=True) if name in targets]
        if row[ENTITY] in entities and 0 < row[START] < row[END] <= panel.steps and (struck or row[KIND] in (SILENCE, NOTHING)):
            yield Fault(
                kind=row[KIND],
                strength=row[STRENGTH],
                entity=entities[row[ENTITY]],
                start=row[START],
                end=row[END],
                targets=tuple(target for target, _ in struck),
                signs=tuple(sign for _, sign in struck),
                draw=row[DRAW],
            )


def cut(panel: Panel, *, entities: NDArray[np.int64], start: int) -> Panel:
    """The panel from a step on, of some entities (indices, in their order)."""
    shape = (len(panel.entities), panel.steps)
    told: dict[str, Any] = {field.name: getattr(panel, field.name) for field in fields(panel)}  # Any: as the fields are
    stepwise = [name for name, each in told.items() if name != "calendar" and isinstance(each, np.ndarray) and each.shape[:2] == shape]
    steps: dict[str, Any] = {name: np.array(told[name][entities, start:]) for name in stepwise}  # Any: as above
    return replace(
        panel,
        entities=tuple(panel.entities[index] for index in entities),
        start_us=panel.start_us + start * panel.cadence_seconds * 1_000_000,
        calendar=np.array(panel.calendar[:, start:]),
        clock=panel.clock[entities],
        static=panel.static[entities],
        **steps,
    )
