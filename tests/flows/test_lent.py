"""Whom a release does not know: told by its own days, and scored anew where these are told otherwise."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows.parallel_test import forecasts_of, released
from flows.prepare import build
from serving.forecasts import tell
from serving.scorer import score
from telemetry.schema import ACTUAL, AT, ENTITY, FORECAST, SURPRISE, TARGET
from telemetry.strangers import HOURS, Tides, liken
from tests.flows.places import Place, assert_same, at, make_places, rows_of, views_of

pytestmark = pytest.mark.slow
LATE = range(100, 130)
STEPS = 420
ARRIVES = 150
"""In the midst of a stretch; the next ones begin at 192 and 256."""


def place_of(places: Callable[..., Place], name: str) -> Place:
    """Whose release knows how days usually go."""
    made = places(name)
    hours = np.random.default_rng(0).normal(size=(2, HOURS, 3)).astype(np.float32)
    views = replace(views_of(2, parameters=3, level=1.0), tides=Tides(entities=("a", "b"), hours=hours))
    return replace(made, release=replace(made.release, views=views))


def large(rows: pl.DataFrame) -> pl.DataFrame:
    """Readings of which those of `c` are of another size."""
    return rows.with_columns(pl.when(pl.col(ENTITY) == "c").then(pl.col("queries") * 300 + 5000).otherwise("queries").alias("queries"))


@pytest.mark.parametrize("portions", [(STEPS,), (160, 200, 215, 290, STEPS)])
def test_a_stranger_is_told_live_as_it_is_in_one_go(tmp_path: Path, portions: tuple[int, ...]) -> None:
    """Of the scores of many stretches, however they were scored: those of one panel that begins with its first row."""
    place = place_of(make_places(tmp_path), "live")
    every = large(rows_of({"a": list(range(STEPS)), "c": list(range(ARRIVES, STEPS))}))
    for portion in portions:
        place.arrive(every.filter(pl.col(AT) < at(portion)))
        place.score()
    found = place.table("scores").filter(pl.col(ENTITY) == "c")
    release, contract = place.release, place.contract
    grid = place.lake.grid(contract=contract).filter(pl.col(ENTITY) == "c")
    panel = build(grid, lake=place.lake, contract=contract, scales=release.scales, parts=None)
    assert release.views is not None
    panel, lent = liken(panel, scales=release.scales, tides=release.views.tides, contract=contract)
    assert lent is not None
    ahead = forecasts_of(released(release), panel=panel)
    rows = lent.judged_by(release.thresholds).restored(
        tell(panel, ahead, leads=(1, 3), scales=release.scales, start=0, views=release.views)
    )
    whole = score(rows, thresholds=release.thresholds, release=release.id, cadence_seconds=900).scores
    both = found.join(whole, on=[ENTITY, AT, TARGET], suffix="_whole").filter(pl.col(SURPRISE).is_not_null())
    assert both.height > 2 * 0.9 * (STEPS - ARRIVES)
    assert both[SURPRISE].to_numpy() == pytest.approx(both["surprise_whole"].to_numpy(), rel=0.02)
    told = both.filter(pl.col(TARGET) == "queries")
    assert told.select((pl.col(ACTUAL) > 1000).mean()).item() > 0.9  # in the unit that it was told in
    assert told[FORECAST].to_list() == pytest.approx(told["forecast_whole"].to_list(), rel=0.02)


@pytest.mark.parametrize("make", [lambda places, name: places(name), place_of], ids=["older", "with tides"])
def test_a_late_reading_of_a_stranger_is_in_all_scales_that_are_told_of_it(tmp_path: Path, make: Callable[..., Place]) -> None:
    places = make_places(tmp_path)
    found, expected = make(places, "late"), make(places, "whole")
    every = rows_of({"a": list(range(STEPS)), "c": list(range(STEPS))})
    far = (pl.col(ENTITY) == "c") & pl.col(AT).is_between(at(LATE.start), at(LATE.stop), closed="left")
    every = every.with_columns(pl.when(far).then(pl.col("queries") + 500.0).otherwise("queries").alias("queries"))
    found.arrive(every.filter(~far))
    found.score()
    before = found.table("scores")
    found.arrive(every)
    found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)
    long_after = (pl.col(ENTITY) == "c") & (pl.col(AT) >= at(STEPS - 20))
    changed = before.filter(long_after).get_column(FORECAST).to_list() != found.table("scores").filter(long_after)[FORECAST].to_list()
    assert changed  # its scale of the last days still has what came late
