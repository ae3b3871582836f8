"""Where faults are put into telemetry, and which: as many of every kind and strength, in normal stretches, apart from each other."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.injection import (
    DEGRADATION,
    FLAT,
    LASTING,
    NOTHING,
    SILENCE,
    STEPS,
    STRENGTHS,
    Fault,
    Measure,
    Yardstick,
    as_frame,
    changes,
    measured,
)
from telemetry.panel import Panel

TRIES: Final = 40
"""Stretches that are tried for a fault before it is left out."""
TOLD: Final = 0.95
"""The share of a stretch's steps in which a target must have been observed."""
OFTEN: Final = 0.1
"""A target of whose observations more are the one before, such as a count of what is rare, stands still as it always does: no flat line."""
REALISED: Final = 0.75
"""A fault of which less than this share could be told, because no value lies below nothing, is put elsewhere or left out."""


def plan(
    panel: Panel, *, by: Yardstick, scales: pl.DataFrame, where: NDArray[np.bool_], seed: int, each: int, gap_steps: int,
    strengths: Mapping[str, Sequence[float]] = STRENGTHS,
) -> pl.DataFrame:  # fmt: skip
    """PLAN: up to `each` faults of every kind and strength, at random in stretches that are wholly within `where`.

    A stretch is as long as the longest fault and a gap, in which the network's state comes to rest again; it holds one fault, that
    ends a gap before the stretch does. What cannot be told where it falls (half a deviation less than nothing) is tried elsewhere,
    and left out in the end; so is a flat line of a target whose values often come again.

    Args:
        panel: scaled telemetry; the entities that are no part of `by` are passed over.
        by: from `yardstick`.
        scales: SCALES with which the panel was scaled.
        where: bool[E, T], the steps that are normal and may be changed.
        seed: the same seed plans the same faults.
        each: most faults of a kind and strength.
        gap_steps: least distance of a fault from the next one, and from the end of what is normal.
        strengths: of every kind.
    """
    rng = np.random.default_rng(seed)
    longest = max(_steps(kind, strength) for kind, told in strengths.items() for strength in told)
    usable = _usable(panel, where=where, length=longest + gap_steps)
    slots = [tuple(slot) for slot in usable[rng.permutation(len(usable))].tolist()]
    deck = [(kind, float(strength)) for kind, told in strengths.items() for strength in told for _ in range(each)]
    measure = measured(panel, by=by, scales=scales)
    made: list[Fault] = []
    for index in rng.permutation(len(deck)):
        kind, strength = deck[index]
        for attempt in range(min(TRIES, len(slots))):
            fault = _drawn(rng, panel=panel, by=by, measure=measure, kind=kind, strength=strength, slot=slots[attempt], longest=longest)
            if fault is not None:
                made.append(fault)
                del slots[attempt]
                break
    often = _often_again(panel)
    return as_frame([fault for fault in made if fault.kind != FLAT or not often[fault.entity, fault.targets[0]]], panel=panel)


def _often_again(panel: Panel) -> NDArray[np.bool_]:
    """bool[E, K]: whether more than OFTEN of the pairs of steps in which a target was observed tell one value."""
    chosen = list(panel.targets)
    values, there = panel.values[:, :, chosen], panel.observed[:, :, chosen]
    pairs = there[:, 1:] & there[:, :-1]
    again = (pairs & (values[:, 1:] == values[:, :-1])).sum(axis=1)
    return np.asarray(again > OFTEN * pairs.sum(axis=1))


def _steps(kind: str, strength: float) -> int:
    return int(strength) if kind in LASTING else STEPS[kind]


def _usable(panel: Panel, *, where: NDArray[np.bool_], length: int) -> NDArray[np.int64]:
    """i64[slot, 2]: entity and first step of every stretch that is wholly within `where`, side by side from the panel's end back."""
    there = where & panel.observed[:, :, list(panel.targets)].any(axis=2)
    count = panel.steps // length
    offset = panel.steps - count * length
    share = there[:, offset:].reshape(len(panel.entities), count, length).mean(axis=2)
    wholly = where[:, offset:].reshape(len(panel.entities), count, length).all(axis=2)
    entity, slot = np.nonzero(wholly & (share >= TOLD))
    return np.stack([entity, offset + slot * length], axis=1)


def _drawn(
    rng: np.random.Generator, *, panel: Panel, by: Yardstick, measure: Measure, kind: str, strength: float, slot: tuple[int, int],
    longest: int,
) -> Fault | None:  # fmt: skip
    """A fault in a stretch; None where it cannot be told there as strong as it is asked for."""
    entity, first = slot
    steps = _steps(kind, strength)
    start = max(first + int(rng.integers(0, longest - steps + 1)), 1)
    span = slice(start, start + steps)
    told = panel.observed[entity, span][:, list(panel.targets)].mean(axis=0) >= TOLD
    able = np.flatnonzero(told & (measure.deviation[entity] > 0))
    draw = int(rng.integers(0, 2**31))
    if kind in (SILENCE, NOTHING):
        return Fault(kind=kind, strength=strength, entity=entity, start=start, end=start + steps, targets=(), signs=(), draw=draw)
    if len(able) < (2 if kind == DEGRADATION else 1):
        return None
    targets = tuple(int(k) for k in (able if kind == DEGRADATION else rng.permutation(able)[:1]))
    signs = tuple(_sign(rng, kind=kind, outage=int(by.direction[by.targets.index(panel.target_names[k])])) for k in targets)
    fault = Fault(kind=kind, strength=strength, entity=entity, start=start, end=start + steps, targets=targets, signs=signs, draw=draw)
    return fault if strength == 0 or _realised(fault, panel=panel, measure=measure) >= REALISED else None


def _sign(rng: np.random.Generator, *, kind: str, outage: int) -> int:
    drawn = 1 if rng.random() < 0.5 else -1
    match kind:
        case "spike":
            return 1
        case "drop":
            return -1
        case "degradation":
            return outage or drawn
        case _:
            return drawn


def _realised(fault: Fault, *, panel: Panel, measure: Measure) -> float:
    """How much of a fault its target's range leaves, 0 to 1; of `flat`, the share of its steps in which something changes."""
    shares = []
    for target, changed, asked in changes(fault, panel=panel, measure=measure):
        column = panel.targets[target]
        made = changed - panel.values[fault.entity, fault.start : fault.end, column].astype(np.float64)
        if fault.kind == FLAT:
            return float(np.mean(made != 0))
        whole = np.abs(asked).sum()
        shares.append(1.0 if whole == 0 else float(np.abs(made).sum() / whole))
    return max(shares) if fault.kind == DEGRADATION else min(shares)
