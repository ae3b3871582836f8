"""Scoring what is complete, and what was late after all: the tables are those of a run in which everything was in time.

The network is not trained: what is tested holds for any weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from flows import verdicts
from flows.verdicts import Advanced, advance
from serving.release import Release, compose
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError
from telemetry.lake import Lake
from telemetry.resample import entities_from
from telemetry.schema import (
    ACTUAL,
    AT,
    COHORT,
    COVERAGE,
    ENTITY,
    INCIDENT,
    INCIDENTS,
    REVISION,
    SCALES,
    SCORES,
    STATE,
    TARGET,
    THRESHOLDS,
    TIME,
)

pytestmark = pytest.mark.slow
STEP = timedelta(minutes=15)
START = datetime(2026, 1, 1, tzinfo=UTC)
SCORED_FROM = 100
ENTITIES = ("a", "b", "c")
TABLES = {"scores": SCORES, "coverage": COVERAGE, "incidents": INCIDENTS}
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
        return frame.sort([column for column in (INCIDENT, ENTITY, AT, TARGET) if column in frame.columns])

    def versions(self) -> dict[str, int | None]:
        """The number of every table's newest commit."""
        return {name: self.lake.version(name) for name in (*TABLES, "scored")}


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Lakes of their own."""

    def build(name: str = "lake", **sections: Any) -> Place:
        contract = declare(**sections)
        return Place(lake=Lake(str(tmp_path / name)), contract=contract, release=release_of(contract), folder=tmp_path / f"run_of_{name}")

    return build


def assert_same(found: Place, expected: Place) -> None:
    """All tables of two places say the same, and nothing twice."""
    for name in TABLES:
        assert_frame_equal(found.table(name), expected.table(name), rel_tol=1e-4, abs_tol=1e-4)
    assert not found.table("scores").select(ENTITY, AT, TARGET).is_duplicated().any()
    assert not found.table("coverage").select(ENTITY, AT).is_duplicated().any()
    assert not found.table("incidents")[INCIDENT].is_duplicated().any()


def states(place: Place, *, entity: str, steps: range) -> list[str | None]:
    """The state of each step, null where there is none."""
    told = dict(place.table("coverage").filter(pl.col(ENTITY) == entity).select(AT, STATE).rows())
    return [told.get(at(step)) for step in steps]


def test_a_late_row_is_scored_after_all_as_if_it_had_been_in_time(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(260)), "b": list(range(260))})
    late = (pl.col(ENTITY) == "a") & pl.col(AT).is_between(at(180), at(190), closed="left")
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~late))
    found.score()
    assert states(found, entity="a", steps=range(179, 191)) == ["scored", *["no data"] * 10, "scored"]
    assert "a@2026-01-02T21:00:00Z/silence" in found.table("incidents")[INCIDENT]
    found.arrive(every.filter(late))
    done = found.score()
    assert (done.minutes, done.late, done.since, done.until) == (0, 10, at(180), at(260))
    assert states(found, entity="a", steps=range(179, 191)) == ["scored"] * 12
    assert "a@2026-01-02T21:00:00Z/silence" not in found.table("incidents")[INCIDENT]
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_a_step_that_is_told_otherwise_is_scored_anew(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(200))})
    half = every.filter(pl.col(AT) == at(150)).with_columns(pl.col(AT) + STEP / 2, queries=pl.lit(50.0))
    found, expected = place(), place("in_time")
    found.arrive(every)
    found.score()
    before = found.table("scores")
    found.arrive(half)
    assert found.score().late == 1
    expected.arrive(pl.concat([every, half]))
    expected.score()
    assert_same(found, expected)
    assert not found.table("scores").equals(before)


@pytest.mark.parametrize(("seed", "missing"), [(0, "mark"), (1, "mark"), (2, "zero"), (3, "previous")])
def test_the_tables_do_not_tell_in_which_order_the_rows_came(place: Callable[..., Place], seed: int, missing: str) -> None:
    random = np.random.default_rng(seed)
    there = {"a": list(range(400)), "b": [*range(120), *range(160, 400)], "c": [*range(130, 180), *range(360, 400)]}
    every = rows_of({entity: [step for step in steps if random.random() > 0.1] for entity, steps in there.items()}, seed=seed)
    own = ((every[AT] - START).dt.total_minutes() // 15).to_numpy()
    delay = np.where(random.random(every.height) < 0.05, random.integers(1, 200, size=every.height), 0)
    come = every.with_columns(pl.Series("come", own + delay))
    found, expected = place(missing=missing), place("in_time", missing=missing)
    before = -1
    for asked in sorted({*random.integers(SCORED_FROM, 590, size=4).tolist(), 109, 600}):
        found.arrive(come.filter(pl.col("come").is_between(before, asked, closed="right")).drop("come"))
        found.score()
        before = asked
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_what_a_gap_was_is_scored_once_a_row_comes_after_it(place: Callable[..., Place]) -> None:
    found = place(missing="zero")
    gap = range(190, 195)  # over the end of a stretch, at 192
    found.arrive(rows_of({"a": list(range(190)), "b": list(range(195))}))
    found.score()
    assert states(found, entity="a", steps=gap) == ["no data"] * 5
    found.arrive(rows_of({"a": [195], "b": [195]}))
    assert found.score().minutes == 2
    assert states(found, entity="a", steps=gap) == ["scored"] * 5
    queries = found.table("scores").filter(pl.col(ENTITY) == "a", pl.col(TARGET) == "queries", pl.col(AT).is_between(at(190), at(194)))
    assert queries[ACTUAL].to_list() == [0.0] * 5


def test_asking_again_writes_nothing(place: Callable[..., Place]) -> None:
    found = place()
    found.arrive(rows_of({"a": list(range(200)), "b": list(range(190))}))
    first = found.score()
    assert (first.minutes, first.late) == (200, 0)
    before = found.versions()
    again = found.score()
    assert (again.minutes, again.late) == (0, 0)
    assert found.versions() == before


@pytest.mark.parametrize("deaths", range(1, 6))
def test_a_scoring_that_dies_is_done_again_and_repeats_nothing(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    every = rows_of({"a": list(range(260)), "b": list(range(260))})
    late = (pl.col(ENTITY) == "a") & pl.col(AT).is_between(at(120), at(130), closed="left")
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~late, pl.col(AT) < at(200)))
    found.score()
    found.arrive(every)
    calls = 0

    def dies(*told: Any, **more: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == deaths:
            raise KeyboardInterrupt
        return really(*told, **more)

    really = verdicts.replace
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            found.score()
    found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_what_was_forgotten_is_scored_anew(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(260))})
    late = pl.col(AT) == at(150)
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~late))
    found.score()
    found.arrive(every)
    found.lake.compact("grid")
    opened = found.lake.open("grid")
    assert opened is not None
    opened.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_scoring_waits_until_a_step_is_complete_in_all_feeds(place: Callable[..., Place]) -> None:
    found = place(late={"offset_minutes": 30, "silence_minutes": 120})
    found.arrive(rows_of({"a": list(range(200)), "b": list(range(196))}))
    assert found.score().until == at(200)  # without a watermark there is nothing to wait for
    found.arrive(rows_of({"a": list(range(220)), "b": list(range(216))}))
    for feed, step in (("a", 219), ("b", 215)):
        found.lake.mark(feed=feed, newest=at(step), at=at(220))
    done = found.score(now=at(220))
    assert (done.until, done.waits_for) == (at(213), "b")
    assert found.table("scores")[AT].max() == at(212)
    found.arrive(rows_of({"a": list(range(224))}))
    found.lake.mark(feed="a", newest=at(223), at=at(224))
    done = found.score(now=at(224))  # b is silent for two hours
    assert (done.until, done.late) == (at(221), 0)
    assert states(found, entity="b", steps=range(213, 221)) == ["scored"] * 3 + ["no data"] * 5
    done = found.score(now=at(300))
    assert (done.until, done.waits_for) == (at(224), None)


def test_the_departed_are_watched_no_more_until_they_return(place: Callable[..., Place]) -> None:
    day = 96
    found = place()
    found.arrive(rows_of({"a": list(range(6 * day)), "b": [*range(120), *range(5 * day + 10, 6 * day)]}))
    found.score()
    gone = states(found, entity="b", steps=range(120, 6 * day))
    assert gone[: 3 * day - 120] == ["no data"] * (3 * day - 120)
    assert gone[3 * day - 120 : 5 * day + 10 - 120] == [None] * (2 * day + 10)
    assert set(gone[5 * day + 10 - 120 :]) == {"scored"}  # no newcomer again
    silences = found.table("incidents").filter(pl.col(TARGET) == "silence")
    assert silences.select(ENTITY, "start", "end").rows() == [("b", at(120), at(3 * day))]


def test_an_older_first_reading_ends_the_time_of_a_newcomer_earlier(place: Callable[..., Place]) -> None:
    every = rows_of({"a": list(range(500)), "b": [60, *range(150, 500)]})
    first = (pl.col(ENTITY) == "b") & (pl.col(AT) == at(60))
    found, expected = place(), place("in_time")
    found.arrive(every.filter(~first))
    found.score()
    assert states(found, entity="b", steps=range(348, 438, 89)) == ["warming", "warming"]
    found.arrive(every.filter(first))
    found.score()
    assert states(found, entity="b", steps=range(347, 349)) == ["warming", "scored"]
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)


def test_an_empty_lake_cannot_be_scored(place: Callable[..., Place]) -> None:
    with pytest.raises(EmptySourceError, match="holds no grid"):
        place().score()
