"""Telemetry that stands still, as live scoring tells it: by the minutes before alone, in whatever portions one scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from serving.standstill import Standstill
from serving.stretches import context
from telemetry.schema import ACTUAL, AT, ENTITY, REVISION, STANDSTILL, STATE, TARGET
from tests.flows.places import Place, assert_same, at, make_places, rows_of, states, views_of

pytestmark = pytest.mark.slow
FLAT = (150, 210)
"""Across the end of a stretch, which is at step 192, and from long before it on."""


def place_of(places: Callable[..., Place], name: str) -> Place:
    """Whose release has a bar of ten steps for everybody, and looks as far back as is sure to be seen."""
    made = places(name)
    before = context(made.contract) // made.contract.time.cadence
    still = Standstill(bars=np.full((3, 3), 10.0, dtype=np.float32), gap=before // 4, longest=before - before // 4)
    views = replace(views_of(2, parameters=3, level=0.0), standstill=still)
    return replace(made, release=replace(made.release, views=views))


def flat_rows() -> pl.DataFrame:
    """Readings of three entities, of which `a` repeats itself; of `b` one parameter does."""
    every = rows_of({entity: list(range(260)) for entity in "abc"})
    stands = pl.col(AT).is_between(at(FLAT[0]), at(FLAT[1]), closed="left")
    whole, one = stands & (pl.col(ENTITY) == "a"), stands & (pl.col(ENTITY) == "b")
    return every.with_columns(
        pl.when(whole | one).then(0.25).otherwise("queries").alias("queries"),
        *(pl.when(whole).then(0.25).otherwise(name).alias(name) for name in ("cpu", "users")),
    )


def told(place: Place) -> pl.DataFrame:
    return place.table("scores").filter(pl.col(TARGET) == STANDSTILL)


def test_a_standstill_is_told_the_same_in_whatever_portions_one_scores(tmp_path: Path) -> None:
    places = make_places(tmp_path)
    found, expected = place_of(places, "portions"), place_of(places, "backlog")
    every = flat_rows()
    for step in (100, 155, 165, 185, 191, 192, 193, 200, 230, 260):
        found.arrive(every.filter(pl.col(AT) < at(step)))
        found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)
    runs = range(11, FLAT[1] - FLAT[0])
    assert told(expected).select(ENTITY, AT, ACTUAL).rows() == [(entity, at(FLAT[0] + run), float(run)) for entity in "ab" for run in runs]
    assert states(expected, entity="a", steps=range(180, 200)) == ["scored"] * 20
    opened = expected.table("incidents").filter(pl.col(TARGET) == STANDSTILL)
    assert set(opened[ENTITY]) <= {"a", "b"}
    assert expected.table("coverage").filter(pl.col(STATE) == "no data").is_empty()


def test_what_stands_still_within_its_dead_band_is_told_by_nobody_in_whatever_portions_one_scores(tmp_path: Path) -> None:
    places = make_places(tmp_path)
    every, found = flat_rows(), place_of(places, "portions")
    said = {name: each.model_copy(update={"dead_band": (0.2, 0.3)}) for name, each in found.contract.parameters.items() if each.target}
    for names, expected in ((("queries",), {"a"}), (("queries", "cpu"), set())):
        for steps in ((100, 155, 192, 195, 260), (260,)):
            place = place_of(places, f"{len(names)} of {len(steps)}")
            declared = place.contract.parameters | {name: said[name] for name in names}
            place = replace(place, contract=place.contract.model_copy(update={"parameters": declared}))  # and not the release's own
            for step in steps:
                place.arrive(every.filter(pl.col(AT) < at(step)))
                place.score()
            assert set(told(place)[ENTITY]) == expected


def test_a_value_that_comes_late_ends_a_standstill_after_all(tmp_path: Path) -> None:
    places = make_places(tmp_path)
    found, expected = place_of(places, "late"), place_of(places, "backlog")
    every = flat_rows()
    late = (pl.col(ENTITY) == "a") & (pl.col(AT) == at(FLAT[0] + 5))
    every = every.with_columns(pl.when(late).then(7.0).otherwise("queries").alias("queries"))
    found.arrive(every.filter(~late))
    found.score()
    assert told(found).filter(pl.col(ENTITY) == "a")[AT].min() == at(FLAT[0] + 12)  # the missing step is no observation
    found.arrive(every.filter(late).with_columns(pl.lit(2).cast(pl.Int64).alias(REVISION)))
    found.score()
    expected.arrive(every)
    expected.score()
    assert_same(found, expected)
    assert told(expected).filter(pl.col(ENTITY) == "a")[AT].min() == at(FLAT[0] + 11)  # of the other target
