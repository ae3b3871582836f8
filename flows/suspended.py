"""What is suspended, for a person or a machine: on a run's page, in a list, and how it is lifted."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from flows import exhibits, locations
from flows.blocks import Block, Cell, Note, Table, count, moment, text
from flows.exhibits import Told
from flows.lakes import lake_of
from flows.settings import Settings
from flows.suspensions import LIFTED, SUSPENDED, VALUES
from serving import ledger
from serving.stretches import progress
from telemetry import contract as contracts
from telemetry.errors import TidewatchError
from telemetry.lake import Lake
from telemetry.schema import AFTER, AT, BEFORE, CAUSE, END, ENTITY, LIFTS, PARAMETER, RELEASE, START, SUSPENSIONS
from validation.advice import advice, advice_of
from validation.findings import Finding
from validation.forms import SWAPPED
from validation.judgements import REASONS

LISTED: Final = 50
RECENT: Final = timedelta(days=1)
"""What ended so short a time before is on the page still."""
SINCE: Final = "since"
UNTIL: Final = "until"
_KIND: Final = "same unit"
_UNDO: Final = "If it is right as it is: tidewatch suspensions lift."


class NotSuspendedError(TidewatchError):
    """There is no suspension that could be lifted."""


def reason(cause: str, *, before: float, after: float) -> str:
    """What happened, in words.

    >>> reason("x1000", before=278.2, after=286410.0)
    'looks like a unit changed by x1000: 278.2 in the hour before, 286,410 since'
    """
    levels = f"{_level(before)} in the hour before, {_level(after)} since"
    if cause.startswith(SWAPPED):
        return f"tells what {cause.removeprefix(SWAPPED).strip()} should tell, as if two columns were swapped: {levels}"
    if cause.startswith("x"):
        return f"looks like a unit changed by {cause}: {levels}"
    return f"{REASONS.get(cause, f'looks like {cause}').removeprefix('that ').removeprefix('it ')}: {levels}"


def _level(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def shown(suspensions: pl.DataFrame, *, until: datetime) -> pl.DataFrame:
    """Those of SUSPENSIONS that stand or have ended just now, those that stand first."""
    recent = suspensions.filter(pl.col(END).is_null() | (pl.col(END) > pl.lit(until - RECENT)))
    return recent.sort(pl.col(END).is_null(), START, ENTITY, PARAMETER, descending=[True, True, False, False])


def parameters(told: Told) -> Iterator[Block]:
    """Which parameters are not believed, since when, why, and what to do."""
    found, values = told.frame(exhibits.SUSPENDED), told.frame(exhibits.IMPOSSIBLE)
    if found is not None:
        stands = found[END].null_count()
        yield Note(
            text=f"{count(stands)} parameters are quarantined now. Their entities are scored on their other parameters; "
            f"no incident opens from these. {_UNDO}",
            tone="held" if stands else "good",
        )
        columns = ("Entity", "Parameter", "Since (UTC)", "Until (UTC)", "What happened", "What to do")
        rows = tuple(_row(each) for each in found.head(LISTED).iter_rows(named=True))
        more = "" if found.height <= LISTED else f" (the first {LISTED} are listed; tidewatch suspensions list tells all)"
        yield Table(caption=f"Quarantined parameters: {count(found.height)}{more}", columns=columns, rows=rows, wide=frozenset(columns[4:]))
    if values is not None:
        columns = ("Entity", "Parameter", "First (UTC)", "Last before (UTC)", "Values", "What to do")
        rows = tuple(
            (
                *(Cell(text=text(each[name])) for name in (ENTITY, PARAMETER)),
                *(Cell(text=moment(each[name])) for name in (START, END)),
                Cell(text=count(each[VALUES])),
                Cell(text=advice("plausible range")),
            )
            for each in values.head(LISTED).iter_rows(named=True)
        )
        yield Table(
            caption=f"Values that cannot be, left out one by one: {count(values[VALUES].sum())}",
            columns=columns,
            rows=rows,
            numbers=frozenset({"Values"}),
            wide=frozenset({"What to do"}),
        )


def _row(each: dict[str, Any]) -> tuple[Cell, ...]:  # Any: a row
    ended = each[END] is not None
    state = Cell(text=moment(each[END])) if ended else Cell(text="still", tone="held", mark="!")
    why = reason(each[CAUSE], before=each[BEFORE], after=each[AFTER])
    return (
        Cell(text=text(each[ENTITY])),
        Cell(text=text(each[PARAMETER])),
        Cell(text=moment(each[START])),
        state,
        Cell(text=why),
        Cell(text="Nothing; it ended by itself or was lifted." if ended else _what_to_do(each, why=why)),
    )


def _what_to_do(each: dict[str, Any], *, why: str) -> str:  # Any: a row
    finding = Finding(
        expectation=_KIND,
        severity="quarantine",
        entity=each[ENTITY],
        parameter=each[PARAMETER],
        period_start=each[START],
        period_end=each[END],
        found=why,
        expected="",
        sentence=why,
        cause=each[CAUSE],
    )
    return advice_of(finding)


def told(contract: str, *, settings: Settings, every: bool = False) -> dict[str, Any]:  # Any: plain JSON
    """`suspended`, how many stand; `suspensions`: entity, parameter, since, until, cause, sentence of those or, if asked, of every one."""
    lake, rows, _ = _standing(contract, settings=settings)
    stands = rows.filter(pl.col(END).is_null())
    listed = (rows if every else stands).sort(START, ENTITY, PARAMETER, descending=[True, False, False])
    return {"contract": contract, "suspended": stands.height, "suspensions": as_rows(listed), "lake": lake.root}


def as_rows(suspensions: pl.DataFrame) -> list[dict[str, Any]]:  # Any: plain JSON
    """SUSPENSIONS as a summary tells them."""
    return [
        {
            ENTITY: each[ENTITY],
            PARAMETER: each[PARAMETER],
            SINCE: each[START].isoformat(),
            UNTIL: each[END].isoformat() if each[END] else None,
            CAUSE: each[CAUSE],
            "sentence": reason(each[CAUSE], before=each[BEFORE], after=each[AFTER]),
        }
        for each in suspensions.iter_rows(named=True)
    ]


def as_text(told: dict[str, Any]) -> str:  # Any: plain JSON
    """Two lines a suspension."""
    lines = []
    for each in told["suspensions"]:
        ended = f" until {moment(each[UNTIL])}" if each[UNTIL] else ""
        lines += [f"{each[ENTITY]}  {each[PARAMETER]}  since {moment(each[SINCE])}{ended}", f"    {each['sentence']}"]
    return "\n".join([*lines, f"{told['suspended']} parameters are quarantined. {_UNDO}"])


def lifted(contract: str, *, settings: Settings, entity: str, parameter: str, at: str | None) -> dict[str, Any]:  # Any: plain JSON
    """Believe a parameter again; `lifted` says from when on.

    Args:
        contract: name of a contract that ships, or path of a TOML file.
        settings: where the lake is.
        entity: whose.
        parameter: of it.
        at: an instant as the command line takes it; by default the end of what is scored.

    Raises:
        NotSuspendedError: nothing of it is suspended then, or later.
    """
    lake, rows, until = _standing(contract, settings=settings)
    instant = locations.instant(at, now=datetime.now(UTC), name="at") or until
    mine = rows.filter(pl.col(ENTITY) == entity, pl.col(PARAMETER) == parameter)
    if instant is None or mine.filter(pl.col(END).is_null() | (pl.col(END) > pl.lit(instant))).is_empty():
        when = "" if instant is None else f" at {instant:%Y-%m-%d %H:%M} UTC or later"
        raise NotSuspendedError(f"{parameter} of {entity} is not suspended{when}.", hint="see what is: tidewatch suspensions list --all.")
    lake.merge(LIFTED, pl.DataFrame([(entity, parameter, instant)], schema=LIFTS, orient="row"), keys=(ENTITY, PARAMETER, AT))
    sentence = f"{parameter} of {entity} is believed from {instant:%Y-%m-%d %H:%M} UTC on; the next scoring scores it from there."
    return {"contract": contract, "lifted": instant.isoformat(), "sentence": sentence}


def _standing(contract: str, *, settings: Settings) -> tuple[Lake, pl.DataFrame, datetime | None]:
    """SUSPENSIONS of the release in force, and the end of what it has scored."""
    lake = lake_of(contracts.load(settings.contract_path(contract)), settings=settings)
    standing = ledger.champion(lake)
    if standing is None:
        return lake, pl.DataFrame(schema=SUSPENSIONS), None
    rows = lake.read(SUSPENDED, schema=SUSPENSIONS).filter(pl.col(RELEASE) == standing.release).collect()
    done = progress(lake, release=standing.release)
    return lake, rows, done.until if done else None
