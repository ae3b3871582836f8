"""Which targets had part in an incident."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from serving.contributions import contributions, explained
from telemetry.schema import INCIDENT, INCIDENTS, TARGET

ScoresOf = Callable[..., pl.DataFrame]
START = datetime(2026, 1, 1, tzinfo=UTC)


def incident(*, first: int, behind: int, entity: str = "a") -> pl.DataFrame:
    """From one minute until another."""
    at = [START + timedelta(minutes=minute) for minute in (first, behind)]
    return pl.DataFrame([(f"{entity}@{first}", entity, at[0], at[0], at[1], 3.0, "joint", "r")], schema=INCIDENTS, orient="row")


def test_a_target_has_the_share_of_its_surprise_within_the_incident(scores_of: ScoresOf) -> None:
    wholes = [scores_of([5.0] * 4, target=target) for target in ("joint", "standstill")]
    told = pl.concat([scores_of([9.0, 3.0, 3.0, 9.0]), scores_of([0.0, 1.0, 1.0, 0.0], target="t"), *wholes])
    found = contributions(incident(first=1, behind=3), scores=told.lazy())
    assert found.rows() == [("a@1", "q", pytest.approx(0.75)), ("a@1", "t", pytest.approx(0.25))]


def test_other_entities_have_no_part_in_it(scores_of: ScoresOf) -> None:
    told = pl.concat([scores_of([3.0, 3.0]), scores_of([9.0, 9.0], entity="b", target="t")])
    found = contributions(incident(first=0, behind=2), scores=told.lazy())
    assert found.get_column(TARGET).to_list() == ["q"]


def test_a_person_is_told_the_greatest_three_and_no_trifles(scores_of: ScoresOf) -> None:
    surprises = {"q": 5.0, "r": 3.0, "s": 1.5, "t": 1.4, "u": 0.2}
    told = pl.concat([scores_of([surprise] * 3, target=target) for target, surprise in surprises.items()])
    both = pl.concat([incident(first=0, behind=3), incident(first=0, behind=3, entity="silent")])
    found = explained(both, scores=told.lazy())
    assert found.select(INCIDENT, "because").rows() == [("a@0", "q 45 %, r 27 %, s 14 %"), ("silent@0", None)]


def test_of_a_standstill_a_person_is_told_what_does_not_move(scores_of: ScoresOf) -> None:
    still = incident(first=0, behind=3).with_columns(pl.lit("standstill").alias(TARGET))
    moving = scores_of([0.5] * 3, target="z").with_columns(actual=pl.int_range(3).cast(pl.Float64))
    every = [scores_of([0.5] * 3, target=target) for target in "qrstu"]
    for targets, words in ((1, "q stands still"), (2, "q, r stand still"), (5, "q, r, s and 2 more stand still")):
        found = explained(still, scores=pl.concat([moving, *every[:targets]]).lazy())
        assert found["because"].to_list() == [words]
    assert explained(still, scores=moving.lazy())["because"].to_list() == [None]
