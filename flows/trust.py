"""Whose network may read its own forecasts: of whom it can go on for hours without seeing, and stay near what comes.

Feeding forecasts (see `models.guard`) keeps a fault from becoming normal where a network knows the tides of an entity. Where it does not,
its own forecasts lead it away, and every later minute would be off. So each entity's calibrate part is run once with the guard forced open
for some hours at a time: the share of these normal minutes that are off is what feeding costs there. Entities above TOLERATED are not fed.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows.feeding import guard_of, run
from serving.stretches import context
from serving.views import Views
from telemetry.contract import Contract
from telemetry.panel import Panel, Part

if TYPE_CHECKING:
    from models.guard import Guard

FORCED_SECONDS: Final = 6 * 3600
"""An outage of some hours is to be seen to its end."""
TOLERATED: Final = 0.05
"""Of normal minutes, off while the network reads its own forecasts."""
NEVER: Final = 2**30


def free_run(candidate: Any, *, panel: Panel, thresholds: pl.DataFrame, contract: Contract) -> NDArray[np.float32]:  # Any: Candidate
    """f32[E]: the share of an entity's normal minutes that are off by its own bars while its network reads its own forecasts.

    1 where there is no such minute to tell from.

    Args:
        candidate: a `flows.parallel_test.Candidate`.
        panel: its calibrate part is what is run over.
        thresholds: THRESHOLDS.
        contract: when an incident opens, and for how long it may be fed.
    """
    share = np.ones(len(panel.entities), dtype=np.float32)
    leads = candidate.network.leads
    guard = guard_of(thresholds, panel=panel, leads=leads, contract=contract)
    steps = np.flatnonzero((panel.part == Part.CALIBRATE).any(axis=0))
    if guard is None or not steps.size:
        return share
    first, behind = int(steps[0]), int(steps[-1]) + 1
    told = run(
        candidate,
        panel=before(panel, behind),
        start=first,
        guard=_forced(guard, panel=panel),
        context=context(contract) // contract.time.cadence,
    )
    values, seen = (array[:, first:behind, list(panel.targets)] for array in (panel.values, panel.observed))
    errors = np.abs(values - told.forecasts[:, :, int(np.argmin(leads))])
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond: NDArray[np.bool_] = errors / guard.usual[:, None, int(np.argmax(leads))] > guard.bars[:, None]
    off = np.logical_and(beyond, seen).any(axis=2)
    normal = told.open & (panel.part == Part.CALIBRATE)[:, first:behind] & ~panel.hidden[:, first:behind] & seen.any(axis=2)
    count = normal.sum(axis=1)
    share[count > 0] = ((off & normal).sum(axis=1)[count > 0] / count[count > 0]).astype(np.float32)
    return share


def before(panel: Panel, step: int) -> Panel:
    """The panel up to a step, exclusive."""
    names = ("values", "observed", "newcomer", "part", "incident", "unconfirmed")
    return replace(panel, calendar=panel.calendar[:, :step], **{name: getattr(panel, name)[:, :step] for name in names})


def _forced(guard: "Guard", *, panel: Panel) -> "Guard":
    """A guard that opens whatever comes, and again as soon as it may."""
    length = min(max(FORCED_SECONDS // panel.cadence_seconds, 1), guard.longest)
    below_all = np.full_like(guard.bars, -1.0)
    return replace(guard, bars=below_all, open_steps=1, open_within=1, close_steps=NEVER, longest=length)


def trusted(guard: "Guard | None", *, views: Views | None, panel: Panel) -> "Guard | None":
    """The guard for those alone who may be fed; None where there are none. Whom nobody has tried is not fed."""
    if guard is None or views is None:
        return None
    known = dict(zip(views.entities, views.free_run.tolist(), strict=False))
    may = np.array([known.get(name, 1.0) <= TOLERATED for name in panel.entities])
    return replace(guard, bars=np.where(may[:, None], guard.bars, np.float32(np.inf))) if may.any() else None
