"""Standstill: telemetry that repeats itself for longer than its entity has ever shown, such as when what exports it hangs.

A flat line looks like a good day to a forecaster: where the last value is expected, it comes. What tells it is the repeat itself:

    run     how many observations of a target, one after the other, were the value of the one before; of the entity as a whole, how many of
            its rows said nothing new of any parameter
    bar     MARGIN times the longest run of the train and calibrate parts, what is hidden apart, and no less than LEAST_STEPS; none where
            repeats are not rare
    number  the greatest run / bar of the targets and of the whole; above 1 = anomalous

A column that never moves, or counts so few that many a minute's number is that of the next, says nothing by repeating itself: how long it
does follows its level, and a quieter month would be told as a standstill. Hence RARE. Who has shown less than a week is held to the highest
bars of those who have shown one, too; who is not known, to those alone. A target may stand within its dead band, which the operator says
(see `serving.operator`), and the whole may while every target that is told lies within its own.

A missing step is no observation: it neither prolongs a run nor ends it, unless so many are missing in a row (`gap`) that nobody knows what
was between. A value that has stood for `longest` steps is taken for normal from then on, as `thresholds.accept_hours` has it of any other
level. Hence no number rests on more than the `longest + gap` steps before it, and live scoring tells the same however time is cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from telemetry.panel import Panel, Part

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
MARGIN: Final = 2.0
"""Where each repeat has the same small chance, a run as long as the longest of n days comes once in n days, and one twice as long once in
about n * n."""
LEAST_STEPS: Final = 10
RARE: Final = 0.1
"""Of a target's observations that many may be the one before. On 12 public machines the half that nobody learned from has 6 standstills in
28 weeks with it, with any share from 0.03 to 0.2, and 91 with 0.3: slow counts of which there are few."""
GAP_STEPS: Final = 60
WEEK_SECONDS: Final = 7 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standstill:
    """How long E entities may stand still, and in row E those of whom nothing is known.

    Attributes:
        bars: f32[E + 1, K + 1], in observations: of each target, and last of the whole; infinite where none is told.
        gap: so many missing steps end a run.
        longest: a value that has stood for so many steps is normal.
    """

    bars: Floats
    gap: int
    longest: int

    def told(
        self, row: int, *, values: Floats, observed: Bools, targets: Sequence[int], boring: Bools | None = None
    ) -> tuple[Floats, Floats]:
        """f32[T] twice: the run that is the greatest for its bar at every step, and that bar.

        Args:
            row: of the entity, E where it is not known.
            values: f32[T, P], scaled.
            observed: bool[T, P].
            targets: K indices into the parameters.
            boring: bool[T, K], where a target may stand still; nowhere by default.
        """
        run = runs(values, observed=observed, targets=targets, gap=self.gap, longest=self.longest)
        if boring is not None:
            whole = boring.any(axis=1) & (boring | ~observed[:, list(targets)]).all(axis=1)
            run = np.where(np.column_stack([boring, whole]), 0, run)
        which = (run / self.bars[row]).argmax(axis=1)
        return run[np.arange(len(run)), which].astype(np.float32), self.bars[row, which]


def learn(panel: Panel, *, context: int) -> Standstill:
    """What the entities of a panel have shown.

    Args:
        panel: its steps of the train and calibrate parts count, newcomers' too, but for what is hidden, or stands still as
            what is hidden does.
        context: how many steps before a minute whoever scores it is sure to see. Of hardly more than LEAST_STEPS none is told.
    """
    gap = min(GAP_STEPS, context // 4)
    longest = context - gap
    within, hidden = (panel.part == Part.TRAIN) | (panel.part == Part.CALIBRATE), panel.hidden
    bars = np.zeros((len(panel.entities), len(panel.targets) + 1), dtype=np.float32)
    for entity, shown in enumerate(within):
        observed = panel.observed[entity] & shown[:, None]
        since, there = _blocks(panel.values[entity], observed=observed, targets=panel.targets, gap=gap)
        run, there = _counted(since, there=there), there & ~hidden[entity][:, None]
        is_rare = ((run > 0) & there).sum(axis=0) <= RARE * there.sum(axis=0)
        most = np.where(there & ~_touched(since, hidden=hidden[entity]), run, 0).max(axis=0, initial=0)
        bars[entity] = np.where(is_rare, np.maximum(MARGIN * most, LEAST_STEPS), np.inf)
    shows = within & ~hidden
    week = (shows & panel.observed.any(axis=2)).sum(axis=1) * panel.cadence_seconds >= WEEK_SECONDS
    common = bars[week if week.any() else slice(None)].max(axis=0, initial=LEAST_STEPS)
    every = np.append(np.where(week[:, None], bars, np.maximum(bars, common)), common[None], axis=0)
    return Standstill(bars=every, gap=gap, longest=longest)


def runs(values: Floats, *, observed: Bools, targets: Sequence[int], gap: int, longest: int) -> NDArray[np.int64]:
    """i64[T, K + 1]: the run of each target, and last of the whole; 0 where nothing is observed or all has stood for `longest` steps.

    >>> values = np.array([[5, 5, 5, 5, 8]], dtype=np.float32).T
    >>> runs(values, observed=np.array([[True, True, False, True, True]]).T, targets=(0,), gap=60, longest=99)[:, 0].tolist()
    [0, 1, 0, 2, 0]
    """
    since, there = _blocks(values, observed=observed, targets=targets, gap=gap)
    stands = there & (np.arange(len(values))[:, None] - since < longest)
    return np.where(stands, _counted(since, there=there), 0)


def _blocks(values: Floats, *, observed: Bools, targets: Sequence[int], gap: int) -> tuple[NDArray[np.int64], Bools]:
    """i64[T, K + 1] and bool[T, K + 1], of each target and of the whole: since which step it stands, and whether it is observed."""
    begun = np.stack([_begun(values[:, p], observed=observed[:, p], gap=gap) for p in range(values.shape[1])], axis=1)
    chosen = list(targets)
    since = np.concatenate([begun[:, chosen], begun.max(axis=1, keepdims=True)], axis=1)
    return since, np.concatenate([observed[:, chosen], observed.any(axis=1, keepdims=True)], axis=1)


def _counted(since: NDArray[np.int64], *, there: Bools) -> NDArray[np.int64]:
    """i64[T, K + 1]: the run at every step that is observed."""
    count = np.cumsum(there, axis=0)
    return np.where(there, count - np.take_along_axis(count, since, axis=0), 0)


def _touched(since: NDArray[np.int64], *, hidden: Bools) -> Bools:
    """bool[T, K + 1]: whether what has stood since then is hidden at any step. An incident that was told begins some steps after its cause,
    and those steps would teach that standing still so long is normal."""
    begun = np.zeros(since.shape, dtype=np.bool_)
    begun[since[hidden], np.arange(since.shape[1])] = True
    return np.take_along_axis(begun, since, axis=0)


def _begun(values: Floats, *, observed: Bools, gap: int) -> NDArray[np.int64]:
    """i64[T]: since which step the last value of a parameter that was observed has been the same; 0 before the first."""
    seen = np.flatnonzero(observed)
    known = values[seen]
    new = np.ones(len(seen), dtype=np.bool_)
    new[1:] = (known[1:] != known[:-1]) | (np.diff(seen) > gap)
    begun = np.zeros(len(values), dtype=np.int64)
    begun[seen[new]] = seen[new]
    return np.maximum.accumulate(begun)
