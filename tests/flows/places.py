"""A small kind of telemetry, a release that has learned nothing, and lakes that it scores: what is tested holds for any weights."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from flows.verdicts import Advanced, advance
from serving import stretches
from serving.release import Release, compose
from serving.views import Views
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.resample import entities_from
from telemetry.schema import (
    AT,
    COHORT,
    COVERAGE,
    ENTITY,
    GROUPS,
    INCIDENT,
    INCIDENTS,
    PARAMETER,
    REVISION,
    SCALES,
    SCORES,
    STATE,
    SUSPENSIONS,
    TARGET,
    THRESHOLDS,
    TIME,
)
from telemetry.schema import (
    START as BEGINS,
)

STEP = timedelta(minutes=15)
START = datetime(2026, 1, 1, tzinfo=UTC)
SCORED_FROM = 100
ENTITIES = ("a", "b", "c")
TABLES = {"scores": SCORES, "coverage": COVERAGE, "incidents": INCIDENTS, "groups": GROUPS, "suspensions": SUSPENSIONS}
Rows = pl.DataFrame


def at(step: int) -> datetime:
    """The beginning of a step."""
    return START + step * STEP


def declare(**sections: Any) -> Contract:
    """A quarter of an hour a step, 64 steps a stretch, departed after a day."""
    missing = sections.pop("missing", "mark")
    raw: dict[str, Any] = {
        "name": "small",
        "entity": {"keys": ["customer"]},
        "time": {"column": "time", "cadence_seconds": 900},
        "windows": {"time_steps": 4, "warmup_steps": 0},
        "leads": {"steps": [1, 3]},
        "newcomer": {"days": 3, "departed_days": 1},
        "parameters": {
            "queries": {"unit": "count", "aggregation": "sum", "target": True, "missing": missing},
            "cpu": {"unit": "percent", "target": True},
            "users": {"unit": "count"},
        },
    }
    return contracts.parse(raw | sections)


def release_of(contract: Contract) -> Release:
    """One that has learned nothing and knows two of the entities."""
    from models.config import Network
    from models.lstm import initial
    from telemetry.panel import CALENDAR

    network = Network(
        parameters=3, calendar=len(CALENDAR), entities=2, targets=(0, 1), leads=(1, 3), hidden=(4,), dense=4, embedding=2, shortcut=(1,)
    )
    pairs = [(entity, name) for entity in ENTITIES[:2] for name in contract.names]
    return compose(
        weights={name: np.asarray(weight) for name, weight in initial(network, seed=1).items()},
        network=network.to_dict(),
        scales=pl.DataFrame([(*pair, 0.0, 1.0, 99) for pair in pairs], schema=SCALES, orient="row"),
        thresholds=pl.DataFrame(
            [(e, t, lead, 1.0, 2.0, 99) for e in ENTITIES[:2] for t in contract.targets for lead in (1, 3)], schema=THRESHOLDS, orient="row"
        ),
        contract=contract.model_dump(mode="json"),
        manifest={"calibrated_until": at(SCORED_FROM).isoformat(), "entities": ["a", "b"]},
        created_at=START,
        views=views_of(2, parameters=len(contract.names), level=0.0),
    )


def views_of(entities: int, *, parameters: int, level: float) -> Views:
    """Of so many entities, all fed; with a level of 0 there is no joint number of them."""
    rows, size = entities + 1, 2 * 2  # leads times targets
    return Views(
        entities=ENTITIES[:entities],
        sd=np.ones((rows, 2, 2), dtype=np.float32),
        precision=np.stack([np.eye(size, dtype=np.float32)] * rows),
        center=np.zeros((rows, parameters), dtype=np.float32),
        deviation=np.ones((rows, parameters), dtype=np.float32),
        components=np.zeros((rows, parameters, 1), dtype=np.float32),
        level=np.full((rows, 3), level, dtype=np.float32),
        free_run=np.zeros(rows, dtype=np.float32),
    )


def rows_of(steps: dict[str, list[int]], *, seed: int = 0) -> Rows:
    """Noisy readings, now and then far off, on these steps of each entity; the same value for the same step, whoever else is asked."""
    told = []
    for entity, numbers in steps.items():
        noise = np.random.default_rng([seed, ENTITIES.index(entity)]).standard_t(2, size=(3, 2_000))
        told += [(entity, at(step), *(float(value) for value in noise[:, step]), 1) for step in numbers]
    schema = {ENTITY: pl.String, AT: TIME, "queries": pl.Float64, "cpu": pl.Float64, "users": pl.Float64, REVISION: pl.Int64}
    return pl.DataFrame(told, schema=schema, orient="row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A lake, and who scores it."""

    lake: Lake
    contract: Contract
    release: Release
    folder: Path

    def arrive(self, rows: Rows) -> None:
        """Readings come into the lake."""
        self.lake.merge_readings(rows, contract=self.contract)
        self.lake.see(entities_from(rows.lazy().with_columns(pl.lit("x").alias(COHORT))))

    def score(self, *, now: datetime = START) -> Advanced:
        """Bring the tables up to date."""
        return advance(self.lake, release=self.release, contract=self.contract, folder=str(self.folder), now=now)

    def table(self, name: str) -> pl.DataFrame:
        """One of them, sorted."""
        frame = self.lake.read(name, schema=TABLES[name]).collect()
        return frame.sort([column for column in (INCIDENT, ENTITY, AT, TARGET, PARAMETER, BEGINS) if column in frame.columns])

    def versions(self) -> dict[str, int | None]:
        """The number of every table's newest commit."""
        return {name: self.lake.version(name) for name in (*TABLES, stretches.TABLE)}


def assert_same(found: Place, expected: Place) -> None:
    """All tables of two places say the same, and nothing twice."""
    for name in TABLES:
        assert_frame_equal(found.table(name), expected.table(name), rel_tol=1e-4, abs_tol=1e-4)
    assert not found.table("scores").select(ENTITY, AT, TARGET).is_duplicated().any()
    assert not found.table("coverage").select(ENTITY, AT).is_duplicated().any()
    assert not found.table("incidents")[INCIDENT].is_duplicated().any()
    assert not found.table("suspensions").select(ENTITY, PARAMETER, BEGINS).is_duplicated().any()


def states(place: Place, *, entity: str, steps: range) -> list[str | None]:
    """The state of each step, null where there is none."""
    told = dict(place.table("coverage").filter(pl.col(ENTITY) == entity).select(AT, STATE).rows())
    return [told.get(at(step)) for step in steps]


def make_places(folder: Path) -> Callable[..., Place]:
    """Lakes of their own."""

    def build(name: str = "lake", **sections: Any) -> Place:
        contract = declare(**sections)
        return Place(lake=Lake(str(folder / name)), contract=contract, release=release_of(contract), folder=folder / f"run_of_{name}")

    return build
