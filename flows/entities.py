"""Who is watched, for a person or a machine: every entity with its state, since when it is there, departed since when, returned when."""

from datetime import UTC, datetime
from typing import Any

from flows.lakes import lake_of
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.presence import ABSENCES, DEPARTED, DEPARTED_AT, NEWCOMER, PRESENT, RETURNED_AT, history
from telemetry.schema import COHORT, ENTITIES, ENTITY, FIRST_SEEN, LAST_SEEN, STATE

Told = dict[str, Any]  # Any: plain JSON
STATES = (NEWCOMER, PRESENT, DEPARTED)


def told(contract: str, *, settings: Settings, now: datetime | None = None) -> Told:
    """`contract`, `as_of`, `entities` (HISTORY of `telemetry.presence`, with the cohort), and how many there are of each state.

    Args:
        contract: name of a contract that ships, or path of a TOML file.
        settings: where the lake is.
        now: as of which it is told. Default: the end of the newest day of any entity, so that old telemetry is not all departed.
    """
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    known = lake.read("entities", schema=ENTITIES).collect()
    newest = known[LAST_SEEN].max()
    latest = newest + declared.time.cadence if isinstance(newest, datetime) else datetime.now(UTC)
    as_of = now or latest
    rows = history(lake.days(), contract=declared, until=as_of, entities=known)
    rows = rows.join(known.select(ENTITY, COHORT), on=ENTITY, how="left", maintain_order="left")
    counts = {state: rows.filter(rows[STATE] == state).height for state in STATES}
    return {"contract": contract, "as_of": as_of, **counts, "entities": rows.to_dicts()}


def as_text(told: Told) -> str:
    """One line an entity, then how many there are of each state."""
    width = max((len(entity[ENTITY]) for entity in told["entities"]), default=0)
    lines = [f"{entity[ENTITY]:<{width}}  {entity[STATE]:<8}  {_since(entity)}" for entity in told["entities"]]
    counts = ", ".join(f"{told[state]} {state}" for state in STATES)
    return "\n".join([*lines, f"{len(told['entities'])} entities as of {told['as_of']:%Y-%m-%d %H:%M}: {counts}."])


def _since(entity: dict[str, Any]) -> str:  # Any: a row of HISTORY
    seen = f"seen {entity[FIRST_SEEN]} to {entity[LAST_SEEN]}"
    departed = f", departed since {entity[DEPARTED_AT]}" if entity[DEPARTED_AT] else ""
    times = f" ({entity[ABSENCES]} times in all)" if entity[ABSENCES] > 1 else ""
    returned = f", returned {entity[RETURNED_AT]}{times}" if entity[RETURNED_AT] else ""
    return seen + departed + returned
