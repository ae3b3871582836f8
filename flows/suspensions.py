"""What is suspended, brought up to date before anything is scored: the table `suspensions`, and what scores must be told anew for it.

The table is a function of the grid, of the release and of what operators have lifted (see `serving.suspensions`). It is written before the
scores that follow from it; which version of it they know is noted last, so that a kill in between costs time and nothing else.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import polars as pl

from serving.release import Release
from serving.stretches import CHANGES, NEVER, PROGRESS, TABLE, Progress, context, length
from serving.suspensions import HISTORY, block_of, suspensions
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.masks import possible
from telemetry.revisions import Span, as_of, replace
from telemetry.schema import AT, CLOSED_AT, END, ENTITY, FOUND_AT, LIFTS, PARAMETER, RELEASE, START, SUSPENSIONS, TIME, Schema, grid_schema

SUSPENDED: Final = "suspensions"
LIFTED: Final = "lifts"
VALUES: Final = "values"
IMPOSSIBLE: Final[Schema] = {ENTITY: pl.String, PARAMETER: pl.String, START: TIME, END: TIME, VALUES: pl.UInt32}
"""Values that cannot be: how many, from the first to the last (exclusive)."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER_ENDS: Final = datetime(9000, 1, 1, tzinfo=UTC)
_WAS: Final = "__was__"
_IS: Final = "__is__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is suspended.

    Attributes:
        told: SUSPENSIONS of the release.
        changes: CHANGES, where something is suspended now and was not when scores were written, or the other way round.
        version: of the table; `lifts`: of what operators have lifted.
    """

    told: pl.DataFrame
    changes: pl.DataFrame
    version: int
    lifts: int


def hold(
    lake: Lake,
    *,
    release: Release,
    contract: Contract,
    before: Progress | None,
    done: Progress,
    begun: datetime,
    frontier: datetime,
    changes: pl.DataFrame,
) -> Held:
    """Bring what a release's scores must not believe up to date. Safe to run again at any point.

    Args:
        lake: its telemetry and its tables.
        release: whose scores they are.
        contract: that it was learned with.
        before: how far it had scored; null if it has not begun.
        done: how far it shall have, and by which version of the grid.
        begun: the first instant of which it has scores.
        frontier: everything before it has been looked at, but for `changes`.
        changes: CHANGES of the grid before the frontier.
    """
    cadence = contract.time.cadence
    origin = block_of(begun, cadence=cadence)
    known = lake.read(SUSPENDED, schema=SUSPENSIONS).filter(pl.col(RELEASE) == release.id).collect()
    known = _taken_over(lake, release=release, origin=origin, contract=contract) if before is None else known
    version = lake.version(LIFTED)
    lifts = _lifts(lake, version=version)
    new = lifts if before is None else lifts.join(_lifts(lake, version=before.lifts), on=list(LIFTS), how="anti")
    told = known
    if before is None or frontier < done.until or changes.height or new.height:
        asked = pl.concat([changes.select(ENTITY, START), new.select(ENTITY, pl.col(AT).alias(START))])
        oldest = origin - HISTORY * cadence
        earlier = asked.filter(pl.col(START) >= oldest).group_by(ENTITY).agg(pl.col(START).min())
        told = _told(
            lake, release=release, contract=contract, done=done, frontier=frontier, origin=origin, known=known, earlier=earlier, lifts=lifts
        )
    replace(lake, SUSPENDED, told, span=Span(release=release.id, since=_EPOCH, column=START), schema=SUSPENSIONS)
    now = lake.version(SUSPENDED)
    otherwise = pl.DataFrame(schema=CHANGES) if before is None else _otherwise(_as_told(lake, before=before, release=release.id), told)
    return Held(told=told, changes=otherwise, version=_number(now), lifts=_number(version))


def _number(version: int | None) -> int:
    return NEVER if version is None else version


def _told(
    lake: Lake,
    *,
    release: Release,
    contract: Contract,
    done: Progress,
    frontier: datetime,
    origin: datetime,
    known: pl.DataFrame,
    earlier: pl.DataFrame,
    lifts: pl.DataFrame,
) -> pl.DataFrame:
    """SUSPENSIONS: of all from the frontier's block on, of some (`entity, start`) from an earlier one on."""
    cadence = contract.time.cadence
    newest = max(origin, block_of(frontier, cadence=cadence))
    begins = {entity: max(origin, block_of(start, cadence=cadence)) for entity, start in earlier.iter_rows()}
    begins = {entity: begin for entity, begin in begins.items() if begin < newest}
    grids = [_grid(lake, contract=contract, since=newest, done=done).filter(~pl.col(ENTITY).is_in(list(begins)))]
    if begins:
        grids.insert(0, _grid(lake, contract=contract, since=min(begins.values()), done=done, entities=tuple(sorted(begins))))
    grid = pl.concat(grids)
    open_ones = known.filter(pl.col(END).is_null())[ENTITY].to_list()
    everyone = {*grid[ENTITY].unique().to_list(), *open_ones, *earlier[ENTITY].to_list()}
    told = suspensions(
        grid,
        begins={entity: begins.get(entity, newest) for entity in everyone},
        origin=origin,
        known=known,
        lifts=lifts,
        cadence=cadence,
        until=done.until,
        release=release.id,
    )
    return pl.concat([known.filter(~pl.col(ENTITY).is_in(list(everyone))), told]).sort(ENTITY, PARAMETER, START)


def _grid(lake: Lake, *, contract: Contract, since: datetime, done: Progress, entities: tuple[str, ...] | None = None) -> pl.DataFrame:
    first = since - HISTORY * contract.time.cadence
    rows = lake.grid(contract=contract, since=first, until=done.until, entities=entities, version=done.grid)
    return possible(rows, contract=contract).select(list(grid_schema(contract.names))).collect()


def _taken_over(lake: Lake, *, release: Release, origin: datetime, contract: Contract) -> pl.DataFrame:
    """What the release that scored before suspends still, if it began after this one had learned: that is no level of its past."""
    others = lake.read(TABLE, schema=PROGRESS).filter(pl.col(RELEASE) != release.id).sort(AT, RELEASE).collect()
    if others.is_empty():
        return pl.DataFrame(schema=SUSPENSIONS)
    learned = datetime.fromisoformat(release.manifest.get("learned_until") or release.manifest["calibrated_until"])
    seen = origin - context(contract) - length(contract)
    rows = lake.read(SUSPENDED, schema=SUSPENSIONS).filter(
        pl.col(RELEASE) == others[RELEASE][-1],
        pl.col(START) >= pl.lit(learned).cast(TIME),
        pl.col(FOUND_AT) <= pl.lit(origin).cast(TIME),
        pl.col(END).is_null() | (pl.col(CLOSED_AT) > pl.lit(seen).cast(TIME)),
    )
    return rows.with_columns(pl.lit(release.id).alias(RELEASE)).collect()


def _lifts(lake: Lake, *, version: int | None) -> pl.DataFrame:
    """LIFTS as they were; none where nobody can tell any more."""
    empty = pl.DataFrame(schema=LIFTS)
    found = None if version in (None, NEVER) else as_of(lake, LIFTED, version=version, schema=LIFTS)
    return empty if found is None else found


def _as_told(lake: Lake, *, before: Progress, release: str) -> pl.DataFrame:
    """SUSPENSIONS as the release's scores know them; where nobody can tell any more, none."""
    empty = pl.DataFrame(schema=SUSPENSIONS)
    found = None if before.suspensions == NEVER else as_of(lake, SUSPENDED, version=before.suspensions, schema=SUSPENSIONS)
    return empty if found is None else found.filter(pl.col(RELEASE) == release)


def _otherwise(was: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """CHANGES where one of two SUSPENSIONS suspends what the other does not."""
    keys = [ENTITY, PARAMETER, START]
    ends = [rows.select(*keys, pl.col(END).fill_null(_NEVER_ENDS).alias(name)) for rows, name in ((was, _WAS), (told, _IS))]
    both = ends[0].join(ends[1], on=keys, how="full", coalesce=True).with_columns(pl.col(_WAS, _IS).fill_null(pl.col(START)))
    spans = both.select(ENTITY, pl.min_horizontal(_WAS, _IS).alias(START), pl.max_horizontal(_WAS, _IS).alias(END))
    return spans.filter(pl.col(START) < pl.col(END)).select(list(CHANGES))


def impossible(told: pl.DataFrame, *, could_be: pl.DataFrame, contract: Contract, since: datetime) -> pl.DataFrame:
    """IMPOSSIBLE of a grid from an instant on; `could_be` is what `telemetry.masks.possible` left of it."""
    end = (pl.col(AT).max() + contract.time.cadence).alias(END)
    parts = [
        told.filter(told[name].is_not_null() & could_be[name].is_null(), pl.col(AT) >= since)
        .group_by(ENTITY)
        .agg(pl.lit(name).first().alias(PARAMETER), pl.col(AT).min().alias(START), end, pl.len().alias(VALUES))
        for name in contract.names
    ]
    return pl.concat(parts).select(list(IMPOSSIBLE))


def together(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """IMPOSSIBLE of several portions of time, sorted."""
    every = pl.concat([pl.DataFrame(schema=IMPOSSIBLE), *parts])
    ends = every.group_by(ENTITY, PARAMETER).agg(pl.col(START).min(), pl.col(END).max(), pl.col(VALUES).sum())
    return ends.select(list(IMPOSSIBLE)).sort(ENTITY, PARAMETER)
