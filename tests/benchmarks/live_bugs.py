"""How soon an error of arithmetic is told in a live fleet: each kind of the bug bank, three hours of data and the minutes after it began.

    python tests/benchmarks/live_bugs.py [--seeds 20] [--minutes 3] [--incidents 1000] [--kind x8] [--json]

A bug counts where it changed a value within those minutes: zero is zero in every unit, and what was not reported cannot be wrong. It is
detected where any of its series is told, named where everything that is told is called by its name, and right where exactly its series are
told. Bugs that are not right by then are asked again with more minutes, up to sixty. Then windows around the incidents of other fleets are
asked, from three hours before each to an hour after it: nothing may be told of them. Exits with 1 where it is.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from telemetry import fleet  # noqa: E402  (the checkout is put on the path first)
from telemetry.fleet import FleetConfig  # noqa: E402
from telemetry.schema import AT, END, ENTITY, OBSERVED, START  # noqa: E402
from tests.validation.bugs import KINDS, Planted, matches, plant  # noqa: E402
from validation import onset  # noqa: E402
from validation.onset import Onset  # noqa: E402

MINUTE: Final = timedelta(minutes=1)
BEFORE: Final = timedelta(hours=3)
AFTER_INCIDENT: Final = timedelta(hours=1)
LATER: Final = (4, 5, 7, 10, 15, 20, 30, 45, 60)
FIRST_INCIDENT_SEED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one bug.

    Attributes:
        kind: of the bank.
        seed: of the fleet and of the bug.
        parameters: that it struck.
        series: how many of them, entity by entity, changed within the minutes.
        detected: whether any was told within them.
        named: whether it was, and everything told was called by its name.
        right: whether just its series were told.
        minutes: after which all of it was; null if not within the hour.
        empty: whether it left nothing but zeros in those minutes.
    """

    kind: str
    seed: int
    parameters: tuple[str, ...]
    series: int
    detected: bool
    named: bool
    right: bool
    minutes: int | None
    empty: bool


def simulated(config: FleetConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The grid of a fleet, in source units, and its incidents."""
    made = fleet.simulate(config)
    keyed = made.readings.select(
        pl.concat_str("customer", "region", separator="/").alias(ENTITY), pl.col("time").alias(AT), *fleet.PARAMETERS
    )
    return keyed.with_columns(pl.lit(value=True).alias(OBSERVED)).sort(ENTITY, AT), made.labels


def outcome(grid: pl.DataFrame, *, kind: str, seed: int, minutes: int) -> Outcome | None:
    """A bug in a clean grid; null where it changed nothing within the minutes."""
    frame, planted = plant(grid, kind=kind, seed=seed)
    near = pl.col(AT).is_between(planted.start - BEFORE, planted.start + LATER[-1] * MINUTE, closed="left")
    clean, struck = grid.filter(near), frame.filter(near)
    first = planted.rows & (pl.col(AT) < planted.start + minutes * MINUTE)
    was, now = clean.filter(first), struck.filter(first)
    changed = {
        (entity, name)
        for entity, name in planted.series
        if (was.filter(pl.col(ENTITY) == entity)[name] != now.filter(pl.col(ENTITY) == entity)[name]).any()
    }
    if not changed:
        return None
    found = _told(struck, planted=planted, minutes=minutes)
    right = set(found) == changed
    named = bool(found) and all(matches(each.cause, planted) for each in found.values())
    after = minutes if right and named else _later(struck, planted=planted, minutes=minutes)
    empty = all(bool((now.filter(pl.col(ENTITY) == entity)[name].drop_nulls() == 0).all()) for entity, name in changed)
    return Outcome(
        kind=kind,
        seed=seed,
        parameters=planted.parameters,
        series=len(changed),
        detected=bool(set(found) & changed),
        named=named,
        right=right and named,
        minutes=after,
        empty=empty,
    )


def _told(struck: pl.DataFrame, *, planted: Planted, minutes: int) -> dict[tuple[str, str], Onset]:
    window = struck.filter(pl.col(AT) < planted.start + minutes * MINUTE)
    return {(each.entity, each.parameter): each for each in onset.find(window, cadence=MINUTE)}


def _later(struck: pl.DataFrame, *, planted: Planted, minutes: int) -> int | None:
    """The first of `LATER` after which all that the bug struck is told, by its name, and nothing else."""
    for more in LATER:
        if more > minutes:
            found = _told(struck, planted=planted, minutes=more)
            if set(found) == planted.series and all(matches(each.cause, planted) for each in found.values()):
                return more
    return None


def mistaken(count: int) -> Iterator[tuple[int, tuple[Onset, ...]]]:
    """For at least `count` incidents, its seed and what was told of the time around it."""
    seed, looked_at = FIRST_INCIDENT_SEED, 0
    while looked_at < count:
        config = FleetConfig(
            customers=8, regions=("eu", "us"), days=14, seed=seed, arriving=0, incidents=60, incident_days=(1, 14), early_incidents=0
        )
        grid, labels = simulated(config)
        by_entity = grid.partition_by(ENTITY, as_dict=True)
        for entity, start, end in labels.select(ENTITY, START, END).iter_rows():
            window = by_entity[(entity,)].filter(pl.col(AT).is_between(start - BEFORE, end + AFTER_INCIDENT))
            yield seed, onset.find(window, cadence=MINUTE)
        looked_at += labels.height
        seed += 1


def table(outcomes: list[Outcome], *, minutes: int) -> dict[str, dict[str, Any]]:
    """By kind."""
    rows: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(each.kind for each in outcomes):
        told = [each for each in outcomes if each.kind == kind]
        took = [each.minutes for each in told if each.minutes is not None]
        rows[kind] = {
            "planted": len(told),
            "detected": sum(each.detected for each in told),
            "named": sum(each.named for each in told),
            "right": sum(each.right for each in told),
            **{f"right_in_{most}": sum(each <= most for each in took) for most in (10, 30, 60) if most > minutes},
            "median_minutes": statistics.median(took) if took else None,
        }
    return rows


def main() -> int:
    """0 if nothing is told of an incident."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--minutes", type=int, default=3)
    parser.add_argument("--incidents", type=int, default=1000)
    parser.add_argument("--kind", action="append", choices=sorted(KINDS))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)  # noqa: E731
    outcomes: list[Outcome] = []
    nothing = 0
    for seed in range(asked.seeds):
        grid, _ = simulated(FleetConfig(customers=4, regions=("eu", "us"), days=28, seed=seed, arriving=1, incidents=6, early_incidents=3))
        for kind in asked.kind or list(KINDS):
            one = outcome(grid, kind=kind, seed=seed, minutes=asked.minutes)
            nothing += one is None
            if one is not None:
                outcomes.append(one)
                if not one.right:
                    why = "nothing but zeros" if one.empty else f"{one.series} series"
                    when = f"after {one.minutes} minutes" if one.minutes else "not within the hour"
                    say(f"  {kind}, seed {seed}, {' and '.join(one.parameters)}: {why}, told {when}")
    rows = table(outcomes, minutes=asked.minutes)
    heads = list(next(iter(rows.values()))) if rows else []
    say(f"{'kind':26}" + "".join(f"{head:>15}" for head in heads))
    for kind, row in rows.items():
        say(f"{kind:26}" + "".join(f"{'' if row[head] is None else row[head]:>15}" for head in heads))
    windows = list(mistaken(asked.incidents)) if asked.incidents else []
    wrong = [(seed, told) for seed, told in windows if told]
    for seed, told in wrong:
        say(f"  incident of seed {seed} told as {', '.join(f'{each.parameter} {each.cause}' for each in told)}")
    figures = {
        "minutes": asked.minutes,
        "planted": len(outcomes),
        "nothing_changed": nothing,
        "detected": sum(each.detected for each in outcomes),
        "named": sum(each.named for each in outcomes),
        "right": sum(each.right for each in outcomes),
        "incidents": len(windows),
        "incidents_mistaken": len(wrong),
        "by_kind": rows,
        "missed": [asdict(each) for each in outcomes if not each.right],
    }
    print(json.dumps(figures) if asked.json else {name: told for name, told in figures.items() if name not in ("by_kind", "missed")})
    return 0 if not wrong else 1


if __name__ == "__main__":
    raise SystemExit(main())
