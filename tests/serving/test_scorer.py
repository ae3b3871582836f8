"""Verdicts, joint scores and coverage."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from serving.lending import DIFFER, SURE
from serving.scorer import coverage, score, withheld
from telemetry.schema import AT, ENTITY, SCORE, STATE, SURPRISE, TARGET, THRESHOLDS, VERDICT
from telemetry.sections import Thresholds

ForecastsOf = Callable[..., pl.DataFrame]
START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KNOWN = pl.DataFrame([("a", "q", 1, 0.5, 4.0, 99), ("a", "t", 1, 0.5, 2.0, 99)], schema=THRESHOLDS, orient="row")


def test_a_surprise_above_one_is_anomalous_whatever_the_release(forecasts_of: ForecastsOf) -> None:
    found = score(forecasts_of([1.0, 2.0, -2.1]), thresholds=KNOWN, release="r").scores  # z = error / 0.5, threshold 4
    assert found.get_column(SURPRISE).to_list() == pytest.approx([0.5, 1.0, 1.05])
    assert found.get_column(VERDICT).to_list() == ["normal", "normal", "anomalous"]
    assert found.drop(AT, SURPRISE, VERDICT).row(2) == ("a", "q", 10.0, pytest.approx(14.2), "r")


def test_who_borrows_its_threshold_is_warming_and_its_surprise_is_told(forecasts_of: ForecastsOf) -> None:
    found = score(forecasts_of([9.0], entity="new"), thresholds=KNOWN, release="r").scores
    doubt = np.exp(SURE * DIFFER)  # nothing is known yet of how large its errors are
    assert found.select(SURPRISE, VERDICT).rows() == [(pytest.approx(4.5 / doubt), "warming")]
    found = score(forecasts_of([9.0], newcomer=True), thresholds=KNOWN, release="r").scores
    assert found.select(SURPRISE, VERDICT).rows() == [(4.5, "warming")]


def test_without_a_forecast_or_a_threshold_there_is_no_verdict(forecasts_of: ForecastsOf) -> None:
    told = pl.concat([forecasts_of([None]), forecasts_of([9.0], target="unheard of")])
    found = score(told, thresholds=KNOWN, release="r")
    assert found.scores.select(TARGET, SURPRISE, VERDICT).rows() == [("q", None, "no data"), ("unheard of", None, "no data")]
    assert found.entities.is_empty()


def test_without_views_an_entity_ranks_by_the_mean_surprise_of_its_targets(forecasts_of: ForecastsOf) -> None:
    told = pl.concat([forecasts_of([1.5]), forecasts_of([2.0], target="t")])
    found = score(told, thresholds=KNOWN, release="r").entities
    assert found.row(0) == ("a", START, pytest.approx(1.375), pytest.approx(1.375), False)  # z = 3 of 4, and 4 of 2


def test_the_joint_surprise_ranks_an_entity_where_there_is_one(forecasts_of: ForecastsOf) -> None:
    whole = forecasts_of([1.5], target="joint", leads=(0,), actual=3.0, forecast=0.0, sigma=1.0)
    bars = pl.concat([KNOWN, pl.DataFrame([("a", "joint", 0, 1.0, 2.0, 99)], schema=THRESHOLDS, orient="row")])
    found = score(pl.concat([forecasts_of([2.1]), whole]), thresholds=bars, release="r")
    assert found.entities.get_column("instant").to_list() == [pytest.approx(1.5)]
    of_whole = found.scores.filter(pl.col(TARGET) == "joint")
    assert of_whole.select("actual", "forecast", SURPRISE, VERDICT).rows() == [(None, None, pytest.approx(1.5), "anomalous")]


def test_the_score_rises_at_once_and_is_halved_every_ten_steps(forecasts_of: ForecastsOf) -> None:
    found = score(forecasts_of([0.2, 4.0, *[0.2] * 10, 3.0]), thresholds=KNOWN, release="r").entities
    told = found.get_column(SCORE)
    assert told[0] == pytest.approx(0.1)
    assert told[1] == pytest.approx(2.0)
    assert told[2] == pytest.approx(2.0 * 0.5**0.1)
    assert told[11] == pytest.approx(1.0)
    assert told[12] == pytest.approx(1.5)  # more than what the greatest has fallen to


def test_the_score_does_not_reach_across_entities(forecasts_of: ForecastsOf) -> None:
    known = pl.concat([KNOWN, KNOWN.with_columns(pl.lit("b").alias(ENTITY))])
    told = pl.concat([forecasts_of([8.0]), forecasts_of([0.2], entity="b")])
    found = score(told, thresholds=known, release="r").entities
    assert found.select(ENTITY, SCORE).rows() == [("a", pytest.approx(4.0)), ("b", pytest.approx(0.1, rel=1e-4))]


def test_every_entity_and_minute_has_exactly_one_state(forecasts_of: ForecastsOf) -> None:
    watched = pl.DataFrame({"entity": [e for e in "abc" for _ in range(3)], "at": [START + index * MINUTE for index in range(3)] * 3})
    watched = watched.with_columns(pl.col(AT).cast(pl.Datetime("us", "UTC")))
    told = pl.concat([forecasts_of([9.0, None]), forecasts_of([0.0, 0.0, 0.0], entity="b", newcomer=True)])
    refused = watched.filter(pl.col(AT) == START + 2 * MINUTE, pl.col(ENTITY) == "b")
    scores = score(told, thresholds=KNOWN, release="r").scores
    found = coverage(pl.concat([watched, watched]), scores=scores, quarantined=refused, release="r")
    assert found.select(ENTITY, pl.col(AT).dt.minute(), STATE).rows() == [
        ("a", 0, "scored"),
        ("a", 1, "no data"),
        ("a", 2, "no data"),
        ("b", 0, "warming"),
        ("b", 1, "warming"),
        ("b", 2, "quarantined"),
        ("c", 0, "no data"),
        ("c", 1, "no data"),
        ("c", 2, "no data"),
    ]


def test_one_target_with_a_verdict_is_enough_to_be_scored(forecasts_of: ForecastsOf) -> None:
    told = pl.concat([forecasts_of([None]), forecasts_of([0.0], target="t")])
    scores = score(told, thresholds=KNOWN, release="r").scores
    minutes = scores.select(ENTITY, AT)
    found = coverage(minutes, scores=scores, quarantined=minutes.clear(), release="r")
    assert found.rows() == [("a", START, "scored", "r")]


def test_a_value_that_is_not_believed_is_quarantined_without_a_surprise() -> None:
    rows = pl.DataFrame({ENTITY: ["a", "a"], AT: [START, START + MINUTE], "q": [9.0, None], "t": [1.0, 2.0]})
    rows = rows.with_columns(pl.col(AT).cast(pl.Datetime("us", "UTC")))
    believed = rows.with_columns(pl.lit(None, dtype=pl.Float64).alias("q"))
    found = withheld(rows, believed=believed, targets=("q", "t"), release="r")
    assert found.rows() == [("a", START, "q", None, None, None, "quarantined", "r")]  # what was not told is no data


def test_who_has_no_other_verdict_is_quarantined(forecasts_of: ForecastsOf) -> None:
    judged = score(forecasts_of([0.0]), thresholds=KNOWN, release="r").scores
    rows = judged.select(ENTITY, pl.concat_list(pl.col(AT), pl.col(AT) + MINUTE).alias(AT)).explode(AT).with_columns(t=pl.lit(1.0))
    unjudged = withheld(rows, believed=rows.with_columns(t=pl.lit(None, dtype=pl.Float64)), targets=("t",), release="r")
    found = coverage(
        rows.select(ENTITY, AT), scores=pl.concat([judged, unjudged]), quarantined=rows.select(ENTITY, AT).clear(), release="r"
    )
    assert found[STATE].to_list() == ["scored", "quarantined"]


def test_tracked_thresholds_move_the_verdict_and_not_the_rank(forecasts_of: ForecastsOf) -> None:
    told = forecasts_of([3.0] * 40)  # z = 6, threshold 4
    still, moved = (score(told, thresholds=KNOWN, release="r", policy=policy) for policy in (Thresholds(), Thresholds(track=0.5)))
    assert still.scores.get_column(VERDICT).to_list() == ["anomalous"] * 40
    assert moved.scores.get_column(VERDICT).to_list()[:3] == ["anomalous", "normal", "normal"]
    assert moved.scores.get_column(VERDICT).to_list().count("anomalous") < 5
    assert moved.entities.equals(still.entities)
