"""What a check keeps of the days, and what it warns of: against a lake and a release of its own, without Prefect."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows import exhibits, levels, page, profiles, runs, sections
from flows.blocks import Table
from flows.settings import Settings
from serving import ledger
from serving.release import compose, write
from telemetry.lake import Lake
from telemetry.schema import ENTITIES, SCALES, STORED_PROFILES, THRESHOLDS
from telemetry.upkeep import retain, status
from tests.validation.grids import contract, day, grid
from validation.findings import Finding

LEARNED_DAYS = 14
DECLARED = contract()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def kept(lake: Lake, frame: pl.DataFrame, *, run: str = "run", at: datetime | None = None) -> tuple[Finding, ...]:
    folder = Settings().runs_folder / "check" / run
    return profiles.keep(lake, grid=frame.lazy(), contract=DECLARED, folder=folder, at=at or day(100), settings=Settings())


def rows(lake: Lake) -> pl.DataFrame:
    return lake.read("profiles", schema=STORED_PROFILES).collect()


def release(lake: Lake, *, at: datetime) -> str:
    """A release in force that learned the first days."""
    made = compose(
        weights={"w": np.zeros(1, dtype=np.float32)},
        network={},
        scales=pl.DataFrame(schema=SCALES),
        thresholds=pl.DataFrame(schema=THRESHOLDS),
        contract={},
        manifest={"learned_until": str(day(LEARNED_DAYS))},
        created_at=at,
    )
    write(made, folder=Settings().releases_folder)
    ledger.publish(lake, release=made.id, folder=Settings().releases_folder, at=at, metrics={})
    return made.id


def doubled(frame: pl.DataFrame, *, since: float) -> pl.DataFrame:
    """Twice the load of one entity."""
    hit = (pl.col("entity") == "acme/eu") & (pl.col("at") >= day(since))
    return frame.with_columns(pl.when(hit).then(pl.col(name) * 2).otherwise(pl.col(name)).alias(name) for name in ("queries", "latency"))


def test_a_run_adds_what_is_new_and_names_itself(home: Path, lake: Lake) -> None:
    assert kept(lake, grid(days=3), run="one", at=day(3)) == ()
    kept(lake, grid(days=3), run="two", at=day(4))
    kept(lake, pl.concat([grid(days=3), grid(days=1, start=day(3))]), run="three", at=day(5))
    told = rows(lake).group_by("run", "at").agg(pl.len(), pl.col("day").n_unique().alias("days")).sort("at")
    assert told.rows() == [("one", day(3), 36, 3), ("three", day(5), 12, 1)]


def test_a_drifted_entity_is_warned_of_on_the_page_and_nothing_stops(home: Path, lake: Lake, tmp_path: Path) -> None:
    healthy = grid(days=35)
    kept(lake, healthy.filter(pl.col("at") < day(20)), at=day(20))
    told = release(lake, at=day(20))
    assert kept(lake, healthy, at=day(35)) == ()
    (finding,) = kept(lake, doubled(healthy, since=25), at=day(36))
    assert (finding.severity, finding.entity, finding.expectation) == ("warn", "acme/eu", "drift")
    assert finding.found == "2 of 4 parameters drifted"
    assert f"release {told} learned (until 2026-03-16)" in finding.sentence
    summary = {"findings": [finding.as_json()], "expectations": 1}
    tables = [
        block
        for block in sections.checks(exhibits.Told(folder=tmp_path, flow="quality-report", summary=summary))
        if isinstance(block, Table)
    ]
    assert [table.caption for table in tables] == ["Warnings: 1", "What to do"]
    assert "tidewatch retrain" in tables[1].rows[0][1].text


def test_the_page_lists_what_of_the_last_day_is_far_from_what_it_was(home: Path, lake: Lake) -> None:
    lake.see(pl.DataFrame([(name, name[5:], day(0), day(0)) for name in ("acme/eu", "acme/us", "bolt/eu")], schema=ENTITIES, orient="row"))
    told = exhibits.Told(folder=Settings().runs_folder / "check" / "run", flow="check", summary={})
    kept(lake, grid(days=20))
    assert list(levels.levels(told)) == []
    release(lake, at=day(101))
    hit = (pl.col("entity") == "acme/eu") & (pl.col("at") >= day(18))
    kept(
        lake,
        grid(days=20).with_columns(pl.when(hit).then(pl.col("latency") * 10).otherwise(pl.col("latency")).alias("latency")),
        at=day(102),
    )
    (table,) = levels.levels(told)
    assert isinstance(table, Table)
    assert table.caption == "Levels of 2026-03-21 that are more than x3 away from what they were: 1"
    (row,) = table.rows
    cells = [cell.text for cell in row]
    assert cells[:2] == ["acme/eu", "Latency"]
    assert [round(float(cell[1:])) for cell in (cells[2], cells[4])] == [10, 10]
    assert float(cells[5][1:]) == pytest.approx(10, rel=0.3)  # quartiles of 144 values scatter
    assert float(cells[3][1:]) == pytest.approx(10 / 3, rel=0.1)  # the other one in its cohort is three times as large
    assert "Levels" in page.render(runs.Run(flow="check", folder=told.folder, started_at=day(0)), summary={"verdict": "passed"})


def test_what_the_champion_learned_is_what_was_known_when_it_was_published(home: Path, lake: Lake) -> None:
    """Days of the training that are told otherwise later are no part of it."""
    kept(lake, grid(days=20), at=day(20))
    release(lake, at=day(20))
    assert [finding.entity for finding in kept(lake, doubled(grid(days=35), since=0), at=day(35))] == ["acme/eu"]


def test_a_release_older_than_the_first_profile_is_held_against_the_days_as_they_are_told_now(home: Path, lake: Lake) -> None:
    release(lake, at=day(20))
    assert kept(lake, grid(days=35), at=day(35)) == ()
    assert len(kept(lake, doubled(grid(days=35), since=25), at=day(36))) == 1


def test_a_release_that_is_lost_or_says_nothing_leaves_drift_unsaid(home: Path, lake: Lake) -> None:
    made = release(lake, at=day(20))
    frame = doubled(grid(days=35), since=25)
    (Settings().releases_folder / made / "manifest.json").unlink()
    assert kept(lake, frame, at=day(35)) == ()
    assert rows(lake).height == 35 * 3 * 4


def test_profiles_are_listed_and_go_when_they_are_older_than_is_kept(home: Path, lake: Lake) -> None:
    kept(lake, grid(days=10), at=day(10))
    assert [(table.table, table.rows) for table in status(lake)] == [("profiles", 120)]
    short = contract()
    short = short.model_copy(update={"retention": short.retention.model_copy(update={"scores_days": 4})})
    assert retain(lake, contract=short, now=day(10)) == {"profiles": 6 * 3 * 4}
    assert rows(lake)["day"].min() == day(6).date()


@pytest.mark.parametrize("told", ["2026-03-16 00:00:00+00:00", "2026-03-16 00:00:00", "2026-03-16 02:00:00+02:00"])
def test_the_end_of_a_training_is_in_utc(home: Path, lake: Lake, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        manifest = {"learned_until": told}  # noqa: RUF012

    monkeypatch.setattr(profiles, "load", lambda _, **__: Loaded())
    assert profiles.learned_until("r", settings=Settings()) == datetime(2026, 3, 16, tzinfo=UTC) == day(0) + timedelta(days=14)
