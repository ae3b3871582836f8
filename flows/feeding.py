"""Feeding: the guard that a release's thresholds make, and a release run over a panel under it (see `models.guard`)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.lending import complete
from serving.stretches import longest
from telemetry.contract import Contract
from telemetry.panel import Panel
from telemetry.schema import ENTITY, LEAD, SD, TARGET, THRESHOLD

if TYPE_CHECKING:
    from models.guard import Guard

logger = logging.getLogger(__name__)
_ROW: Final = "__row__"
_LEAD: Final = "__lead__"
_COLUMN: Final = "__column__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fed:
    """Forecasts, and what a guard did; nothing where the contract has no forecasts fed.

    Attributes:
        forecasts: f32[E, T - start, L, K], as `flows.parallel_test.forecasts_of` gives them.
        open: bool[E, T - start], where the network read its own forecasts because the guard was open.
        accepted: bool[E, T - start], where an incident had lasted so long that its level is taken for normal from there on.
    """

    forecasts: NDArray[np.float32]
    open: NDArray[np.bool_]
    accepted: NDArray[np.bool_]


def guard_of(thresholds: pl.DataFrame, *, panel: Panel, leads: Sequence[int], contract: Contract) -> "Guard | None":
    """The guard that judges as THRESHOLDS do, or None where the contract has no forecasts fed; an entity without its own borrows."""
    from models.guard import Guard  # JAX takes seconds to import

    policy = contract.thresholds
    if not policy.feed_forecasts:
        return None
    known = complete(thresholds, entities=panel.entities).filter(pl.col(TARGET).is_in(panel.target_names), pl.col(LEAD).is_in(leads))
    rows = (
        known.join(_places(panel.entities, name=ENTITY, place=_ROW), on=ENTITY)
        .join(_places(panel.target_names, name=TARGET, place=_COLUMN), on=TARGET)
        .with_columns(pl.col(LEAD).replace_strict(list(leads), range(len(leads)), return_dtype=pl.Int64).alias(_LEAD))
    )
    row, lead, column = (rows[name].to_numpy() for name in (_ROW, _LEAD, _COLUMN))
    usual = np.full((len(panel.entities), len(leads), len(panel.targets)), np.inf, dtype=np.float32)
    bars = np.full((len(panel.entities), len(panel.targets)), np.inf, dtype=np.float32)
    usual[row, lead, column], bars[row, column] = rows[SD].to_numpy(), rows[THRESHOLD].to_numpy()
    return Guard(
        usual=usual,
        bars=bars,
        open_steps=policy.open_minutes,
        open_within=policy.open_within,
        close_steps=policy.close_minutes,
        longest=longest(contract) // contract.time.cadence,
        settle=contract.windows.time_steps,
    )


def run(
    candidate: Any,  # Any: flows.parallel_test.Candidate, which imports this
    *,
    panel: Panel,
    start: int,
    guard: "Guard | None",
    context: int | None = None,
    known: NDArray[np.bool_] | None = None,
) -> Fed:
    """What a candidate expected from step `start` on; it may know other entities than the panel has.

    Args:
        candidate: a `flows.parallel_test.Candidate`.
        panel: scaled as it was trained.
        start: first step.
        guard: of the panel's entities; None feeds what came.
        context: steps before that its state is warmed up on; all of them by default.
        known: bool[E, T], steps in which it reads its own forecasts, whatever the guard says.
    """
    from models.predict import watched

    place = {name: index for index, name in enumerate(candidate.entities)}
    index = np.array([place.get(name, -1) for name in panel.entities], dtype=np.int32)
    told = watched(
        panel,
        network=candidate.network,
        weights=candidate.weights,
        start=start,
        stop=panel.steps,
        entity_index=index,
        context=context,
        guard=guard,
        known=known,
    )
    return Fed(forecasts=told.forecasts, open=told.open, accepted=told.accepted)


def calm(candidate: Any, forecasts: NDArray[np.float32], *, panel: Panel, contract: Contract) -> NDArray[np.float32]:  # Any: as above
    """Forecasts f32[E, T, L, K] to calibrate on: an incident that is known does not reach into the minutes after it.

    Where the panel hides something, the network reads its own forecasts meanwhile. Had it read what came, it would be wrong for a while
    after an outage as well, and the thresholds would be told that such errors are usual. In the last window of what is hidden it reads
    again what comes, so that it is used to it when it counts.
    """
    from models.guard import never

    if not panel.hidden.any():
        return forecasts
    entities, _, leads, targets = forecasts.shape
    guard = never(entities=entities, leads=leads, targets=targets)
    return run(candidate, panel=panel, start=0, guard=guard, known=known_to_be_off(panel, contract=contract)).forecasts


def known_to_be_off(panel: Panel, *, contract: Contract) -> NDArray[np.bool_]:
    """bool[E, T]: what a panel hides, but for the last window of each."""
    known, last = panel.hidden, contract.windows.time_steps
    known[:, :-last] &= known[:, last:]
    known[:, -last:] = False
    return known


def tell_accepted(fed: Fed, *, panel: Panel, start: int, since: datetime, until: datetime, contract: Contract) -> None:
    """Log whose level is taken for normal from when on, of the steps from `since` to `until`.

    Args:
        fed: what was fed.
        panel: over which; `start` is its step that is the first of `fed`.
        start: see `panel`.
        since: first instant.
        until: end, exclusive.
        contract: that the forecasts are made by.
    """
    for entity, step in np.argwhere(fed.accepted):
        at = datetime.fromtimestamp(panel.start_us / 1_000_000 + int(start + step) * panel.cadence_seconds, UTC)
        if since <= at < until:
            logger.warning(
                "%s was in an incident for %g hours at %s UTC: its level is taken for normal from then on (thresholds.accept_hours)",
                panel.entities[entity],
                contract.thresholds.accept_hours,
                f"{at:%Y-%m-%d %H:%M}",
            )


def _places(names: Sequence[str], *, name: str, place: str) -> pl.DataFrame:
    return pl.DataFrame({name: pl.Series(names, dtype=pl.String), place: pl.int_range(len(names), dtype=pl.Int64, eager=True)})
