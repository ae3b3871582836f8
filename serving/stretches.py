"""Time cut into stretches: what is scored together, and what must be scored anew when a reading comes late.

A network's state is warmed up on the `CONTEXT_WINDOWS` windows before a stretch, always from the same step on, so that a score is a
function of the grid and the release alone: it is the same whether its minute is scored as it comes, in a backlog, or once more
because of a late reading. A reading therefore changes the scores of its own stretch and of those that are warmed up on it, and no others.

How far a release has scored, and which versions of the tables it had before it, is one row of the table `progress`, written last: a
scoring that dies is done again from there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.resample import lookback
from telemetry.schema import AT, END, ENTITY, RELEASE, START, TIME, Schema

CONTEXT_WINDOWS: Final = 4
"""How many windows of the past the network's state is warmed up on."""
STRETCH_WINDOWS: Final = 16
"""The length of a stretch. A longer one makes a live minute dearer (the stretch so far is run through), a shorter one a backlog."""
TABLE: Final = "progress"
VERSIONS: Final = ("grid", "entities", "suspensions", "lifts")
"""The tables that scores are told from."""
NEVER: Final = -1
"""The version of a table that is not there."""
PROGRESS: Final[Schema] = {RELEASE: pl.String, AT: TIME, **{f"{name}_version": pl.Int64 for name in VERSIONS}}
CHANGES: Final[Schema] = {ENTITY: pl.String, START: TIME, END: TIME}
"""Where something of an entity is told otherwise than before; `end` is exclusive."""
_INDEX: Final = "__index__"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Steps that are scored together.

    Attributes:
        anchor: where the network's state begins.
        start: first step.
        end: exclusive.
        reach: until where rows are looked at (exclusive): beyond `end` only where a later row fills a gap within.
    """

    anchor: datetime
    start: datetime
    end: datetime
    reach: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a release has scored (exclusive), and the versions of the tables that it had before it."""

    until: datetime
    grid: int
    entities: int = NEVER
    suspensions: int = NEVER
    lifts: int = NEVER


def length(contract: Contract) -> timedelta:
    """How long a stretch is."""
    return STRETCH_WINDOWS * contract.windows.time_steps * contract.time.cadence


def longest(contract: Contract) -> timedelta:
    """For how long forecasts are fed at most, in whole steps of the cadence: nothing where the contract has none fed."""
    policy, cadence = contract.thresholds, contract.time.cadence
    return max(1, round(timedelta(hours=policy.accept_hours) / cadence)) * cadence if policy.feed_forecasts else timedelta(0)


def context(contract: Contract) -> timedelta:
    """How far before a stretch its state begins.

    An incident that is still fed with forecasts when the stretch begins was opened less than `longest` before: within the context, and
    after the state was warmed up. So the state knows of it without being told.
    """
    return (CONTEXT_WINDOWS * contract.windows.time_steps + max(contract.leads.steps)) * contract.time.cadence + longest(contract)


def filled(contract: Contract) -> bool:
    """Whether a row that comes after a gap says what the steps within it were."""
    return any(parameter.missing in ("zero", "previous") for parameter in contract.parameters.values())


def between(since: datetime, until: datetime, *, contract: Contract) -> Iterator[Stretch]:
    """The stretches that hold the steps from `since` to `until` (exclusive), in their order."""
    step = length(contract)
    if since >= until:
        return
    for index in range((since - _EPOCH) // step, -((_EPOCH - until) // step)):
        yield _stretch(index, contract=contract)


def influence(contract: Contract) -> timedelta:
    """How long after a step a stretch may begin whose scores depend on it."""
    return context(contract) + lookback(contract)


def touched(changes: pl.DataFrame, *, contract: Contract, after: timedelta) -> dict[Stretch, tuple[str, ...]]:
    """Which entities are concerned in which stretches, in the order of time.

    Args:
        changes: CHANGES.
        contract: the release's.
        after: how long after its end a change still matters, such as `influence`.
    """
    step = length(contract) // timedelta(microseconds=1)
    began = (pl.col(START) - _EPOCH).dt.total_microseconds() // step
    ended = (pl.col(END) - _EPOCH + after).dt.total_microseconds() - 1
    pairs = (
        changes.select(ENTITY, pl.int_ranges(began, ended // step + 1).alias(_INDEX))
        .explode(_INDEX)
        .group_by(_INDEX)
        .agg(pl.col(ENTITY).unique().sort())
        .sort(_INDEX)
    )
    return {_stretch(index, contract=contract): tuple(entities) for index, entities in pairs.iter_rows()}


def merged(*told: Iterable[Stretch]) -> list[Stretch]:
    """Every stretch once, in the order of time."""
    return sorted({stretch for stretches in told for stretch in stretches}, key=lambda stretch: stretch.start)


def progress(lake: Lake, *, release: str) -> Progress | None:
    """How far a release has scored; null if it has not begun."""
    rows = lake.read(TABLE, schema=PROGRESS).filter(pl.col(RELEASE) == release).collect().to_dicts()
    return next((Progress(until=row[AT], **{name: row[f"{name}_version"] for name in VERSIONS}) for row in rows), None)


def remember(lake: Lake, *, release: str, done: Progress) -> None:
    """Note how far a release has scored; to be called after everything else is written."""
    versions = {f"{name}_version": [getattr(done, name)] for name in VERSIONS}
    row = pl.DataFrame({RELEASE: [release], AT: [done.until], **versions}, schema=PROGRESS)
    lake.merge(TABLE, row, keys=(RELEASE,))


def _stretch(index: int, *, contract: Contract) -> Stretch:
    start = _EPOCH + index * length(contract)
    end = start + length(contract)
    before = context(contract)
    beyond = before - longest(contract)
    return Stretch(anchor=start - before, start=start, end=end, reach=end + beyond if filled(contract) else end)
