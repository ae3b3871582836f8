"""Whose thresholds a backtest takes where nobody says: those that know nothing of the period, of the champion's weights."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows.backtest import unknowing
from serving import ledger
from serving.release import Release, compose, load, write
from telemetry.lake import Lake
from tests.flows.places import START, declare, release_of

pytestmark = pytest.mark.slow
DAY = timedelta(days=1)


@dataclass
class Lineage:
    """Releases in a folder and in the ledger of a lake."""

    lake: Lake
    folder: Path

    def publish(self, day: float, *, weights: float = 1.0) -> Release:
        """One that was calibrated until a day, and put in force a day later."""
        like = release_of(declare())
        made = compose(
            weights={name: array * weights for name, array in like.weights.items()},
            network=like.network,
            scales=like.scales,
            thresholds=like.thresholds,
            contract=like.contract,
            manifest=dict(like.manifest) | {"calibrated_until": (START + day * DAY).isoformat()},
            created_at=START,
            views=like.views,
        )
        write(made, folder=self.folder)
        ledger.publish(self.lake, release=made.id, folder=self.folder, at=START + (day + 1) * DAY, metrics={})
        return made

    def chosen(self, *, until: float, since: float | None = None) -> str:
        """The id of the release that is taken for a period, in days."""
        standing = ledger.champion(self.lake)
        assert standing is not None
        champion = self.of(standing.release)
        begun: datetime | None = None if since is None else START + since * DAY
        return unknowing(champion, lake=self.lake, folder=self.folder, since=begun, until=START + until * DAY).id

    def of(self, identifier: str) -> Release:
        """A release by its id."""
        return load(identifier, folder=self.folder)


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage(lake=Lake(str(tmp_path / "lake")), folder=tmp_path / "releases")


def test_a_champion_that_leaves_a_week_is_tested_itself(lineage: Lineage) -> None:
    lineage.publish(10)
    champion = lineage.publish(20)
    assert lineage.chosen(until=27) == champion.id


def test_of_nightly_thresholds_those_of_a_week_ago_are_taken(lineage: Lineage) -> None:
    nights = [lineage.publish(day) for day in range(20, 31)]
    assert lineage.chosen(until=31) == nights[4].id  # calibrated until day 24
    assert lineage.chosen(until=30.5) == nights[3].id


def test_where_none_leaves_a_week_it_is_the_oldest_of_the_weights(lineage: Lineage) -> None:
    lineage.publish(2, weights=0.5)
    oldest = lineage.publish(20)
    lineage.publish(22)
    assert lineage.chosen(until=23) == oldest.id


def test_other_weights_are_not_the_champions(lineage: Lineage) -> None:
    lineage.publish(3)
    lineage.publish(10, weights=0.5)
    champion = lineage.publish(20)
    assert lineage.chosen(until=21) == champion.id


def test_for_a_period_that_is_asked_for_the_newest_that_does_not_know_it_is_taken(lineage: Lineage) -> None:
    first, second, champion = (lineage.publish(day) for day in (10, 14, 20))
    assert lineage.chosen(since=14, until=21) == second.id
    assert lineage.chosen(since=13.9, until=21) == first.id
    assert lineage.chosen(since=20, until=21) == champion.id
    assert lineage.chosen(since=9, until=21) == champion.id  # all know it, which is told of the champion


def test_what_was_revoked_is_passed_over(lineage: Lineage) -> None:
    first, second, _ = (lineage.publish(day) for day in (10, 12, 20))
    ledger.revoke(lineage.lake, release=second.id, at=START + 30 * DAY, reason="wrong")
    assert lineage.chosen(until=21) == first.id
