"""What the releases in force before told as incidents and nobody confirmed: it is not learned from, within bounds.

A model that learns from what its predecessor raised as an incident forgives it the next time. What was masked for no other reason still
counts in the accuracy of the parallel test: a model is not excused wherever one before it was wrong.

Some incidents are false, and were every one of them left out, the minutes that remain would be quieter than those to come: thresholds would
promise too little. False ones hardly reach beyond the bar, true ones do; so what stays below `DOUBTFUL` is learned from. Were it true after
all, it has moved no bar further than to there.
"""

import logging
from datetime import timedelta
from typing import Final

import polars as pl

from serving import ledger
from serving.incidents import SILENCE
from serving.surprise import SLOW_STEPS
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.maintenance import PERIODS
from telemetry.schema import END, ENTITY, INCIDENTS, PEAK, RELEASE, STANDSTILL, START, TARGET

DOUBTFUL: Final = 1.5
"""Peak surprise below which an incident may well be false. On simulated fleets nine tenths of the false ones stay below 1.2, nine tenths of
the true ones do not. A standstill is measured otherwise (see `serving.standstill`), and never doubtful."""
MOST_SHARE: Final = 0.25
"""Where a release told more of an entity's learned time than this as incidents, they are not the exception: nothing of it is masked."""
_SHARE: Final = "__share__"

logger = logging.getLogger(__name__)


def unconfirmed(lake: Lake, *, parts: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """PERIODS of `telemetry.maintenance`: incidents that releases raised, with `close_minutes` on both sides, and more.

    A surprise that adds up minutes tells of a fault only when it has lasted for a while, and the first minutes of a fault are the worst: as
    many as are added up are left out before an incident, too. After it, a window: so long the network's state, and such surprises, still
    know of it. Thresholds would take either for usual.

    An incident masks no more than its first `accept_hours`: what lasts longer is taken for normal, or the model could never learn a world
    that has changed. Of releases that were revoked none counts.

    Args:
        lake: its incidents and its ledger.
        parts: from `telemetry.windows.cuts`.
        contract: when an incident closes and how long one may last.
    """
    return bounded(raised(lake), parts=parts, contract=contract)


def believed() -> pl.Expr:
    """Whether one of INCIDENTS is neither a silence, which has no values to learn, nor a doubtful one."""
    return (pl.col(TARGET) != SILENCE) & ((pl.col(TARGET) == STANDSTILL) | (pl.col(PEAK) >= DOUBTFUL))


def raised(lake: Lake) -> pl.DataFrame:
    """PERIODS of the incidents, but for silence and the doubtful ones, that releases raised which were not revoked."""
    standing = [each.release for each in ledger.in_force(ledger.history(lake))]
    rows = lake.read("incidents", schema=INCIDENTS).filter(pl.col(RELEASE).is_in(standing), believed()).collect()
    return rows.select(list(PERIODS)).unique().sort(ENTITY, START, END)


def bounded(incidents: pl.DataFrame, *, parts: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """PERIODS of `entity, start, end`, as above."""
    policy, cadence = contract.thresholds, contract.time.cadence
    after = contract.windows.time_steps * cadence
    margin, longest = policy.close_minutes * cadence, timedelta(hours=policy.accept_hours)
    told = incidents.select(
        ENTITY,
        (pl.col(START) - margin - SLOW_STEPS * cadence).alias(START),
        (pl.min_horizontal(END, pl.col(START) + longest) + margin + after).alias(END),
    )
    learned = parts.select(ENTITY, pl.col(START).alias("from"), pl.col("calibrate_end").alias("until"))
    length = pl.min_horizontal(END, "until") - pl.max_horizontal(START, "from")
    share = length.dt.total_seconds().clip(lower_bound=0).sum() / (pl.col("until") - pl.col("from")).dt.total_seconds().first()
    shares = told.join(learned, on=ENTITY).group_by(ENTITY).agg(share.alias(_SHARE))
    usual = shares.filter(pl.col(_SHARE) > MOST_SHARE).sort(ENTITY)
    for entity, part in usual.iter_rows():
        logger.warning("%.0f %% of what is learned of %s was told as incidents: none of them is left out of it", 100 * part, entity)
    return told.join(usual, on=ENTITY, how="anti").select(list(PERIODS)).sort(ENTITY, START)
