"""Telemetry that repeats itself: how long is a run, what has been shown, and what becomes of it in forecasts, scores and incidents."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.contributions import BECAUSE, explained
from serving.forecasts import tell
from serving.incidents import open_incidents
from serving.operator import boring
from serving.scorer import coverage, entity_scores, score
from serving.standstill import LEAST_STEPS, MARGIN, Standstill, learn, runs
from serving.surprise import errors
from serving.thresholds import calibrate
from serving.views import Views
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import (
    ACTUAL,
    AT,
    ENTITY,
    FORECAST,
    SCALES,
    STANDSTILL,
    STATE,
    SURPRISE,
    TARGET,
    THRESHOLDS,
    VERDICT,
)
from telemetry.sections import Parameter, Thresholds

ForecastsOf = Callable[..., pl.DataFrame]
START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WEEK = 7 * 24 * 60
OWN = pl.DataFrame([("a", "p0", 1, 1.0, 4.0, 99), ("a", "p1", 1, 1.0, 4.0, 99)], schema=THRESHOLDS, orient="row")
SCALED = pl.DataFrame([("a", name, 0.0, 1.0, 99) for name in ("p0", "p1", "p2")], schema=SCALES, orient="row")


def panel_of(values: NDArray[Any], *, part: Part = Part.TRAIN, targets: tuple[int, ...] = (0, 1), cadence_seconds: int = 60) -> Panel:
    """[entity, step, parameter], NaN where nothing is observed; from 2026 on."""
    entities, steps, parameters = values.shape
    return Panel(
        entities=tuple("abcdefgh"[:entities]),
        parameters=tuple(f"p{number}" for number in range(parameters)),
        targets=targets,
        start_us=int(START.timestamp()) * 1_000_000,
        cadence_seconds=cadence_seconds,
        values=np.nan_to_num(values).astype(np.float32),
        observed=~np.isnan(values),
        calendar=np.zeros((steps, len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros((entities, steps), dtype=np.bool_),
        part=np.full((entities, steps), part, dtype=np.uint8),
        incident=np.zeros((entities, steps), dtype=np.bool_),
    )


def restless(steps: int, *, entities: int = 1, parameters: int = 3) -> NDArray[np.float64]:
    """Values of which none is like the one before."""
    return np.arange(entities * steps * parameters, dtype=np.float64).reshape(entities, steps, parameters)


def run_of(values: list[float | None], *, gap: int = 60, longest: int = 99) -> list[int]:
    """The run of a target that is alone."""
    column = np.array([[np.nan if value is None else value] for value in values])
    told = runs(np.nan_to_num(column).astype(np.float32), observed=~np.isnan(column), targets=(0,), gap=gap, longest=longest)
    assert (told[:, 0] == told[:, 1]).all()  # it is the whole
    return told[:, 0].tolist()


def test_a_run_is_how_often_the_value_before_came_again() -> None:
    assert run_of([5, 5, 5, 8, 8, 5]) == [0, 1, 2, 0, 1, 0]


def test_a_missing_step_neither_prolongs_a_run_nor_ends_it() -> None:
    assert run_of([5, 5, None, 5, None, None, 8]) == [0, 1, 0, 2, 0, 0, 0]


def test_a_long_gap_ends_a_run_because_nobody_knows_what_was_within() -> None:
    assert run_of([5, 5, None, 5, 5], gap=2) == [0, 1, 0, 2, 3]
    assert run_of([5, 5, None, None, 5, 5], gap=2) == [0, 1, 0, 0, 0, 1]


def test_what_has_stood_for_long_enough_is_normal_from_then_on() -> None:
    assert run_of([5] * 6, longest=4) == [0, 1, 2, 3, 0, 0]


def test_the_whole_stands_still_while_no_parameter_says_anything_new_and_targets_are_told_alone() -> None:
    values = np.array([[1, 1, 7], [1, 2, 7], [1, 3, 7], [1, 3, 7], [1, 3, 8], [1, 3, 8]], dtype=np.float32)
    told = runs(values, observed=np.ones(values.shape, dtype=np.bool_), targets=(0, 1), gap=60, longest=99)
    assert told.T.tolist() == [[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 2, 3], [0, 0, 0, 1, 0, 1]]


def test_a_parameter_that_is_seldom_told_does_not_end_the_standstill_of_the_whole() -> None:
    values = np.array([[1, 7], [1, np.nan], [1, 7], [1, np.nan]])
    told = runs(np.nan_to_num(values).astype(np.float32), observed=~np.isnan(values), targets=(0,), gap=60, longest=99)
    assert told[:, 1].tolist() == [0, 1, 2, 3]


def test_the_bar_is_a_multiple_of_what_was_shown_and_never_below_some_steps() -> None:
    values = restless(WEEK)
    values[0, 100:131, 0] = 5.0  # 30 repeats
    found = learn(panel_of(values), context=400)
    assert found.bars.tolist() == [[MARGIN * 30, LEAST_STEPS, LEAST_STEPS]] * 2
    assert (found.gap, found.longest) == (60, 340)


@pytest.mark.parametrize("hide", ["incident", "unconfirmed", "part"])
def test_what_is_hidden_or_of_another_part_teaches_nothing(hide: str) -> None:
    values = restless(WEEK + 100)
    values[0, 100:131] = 5.0
    panel = panel_of(values)
    if hide == "part":
        panel.part[0, 100:131] = Part.TEST
    else:
        getattr(panel, hide)[0, 100:131] = True
    assert (learn(panel, context=400).bars == LEAST_STEPS).all()
    panel.part[:], panel.incident[:], panel.unconfirmed[:] = Part.CALIBRATE, False, False
    assert (learn(panel, context=400).bars > LEAST_STEPS).all()


@pytest.mark.parametrize(("first", "behind"), [(111, 131), (100, 111), (115, 116)])
def test_a_standstill_that_is_hidden_in_part_teaches_nothing_at_all(first: int, behind: int) -> None:
    values = restless(WEEK)
    values[0, 100:131] = 5.0  # told as an incident from its eleventh repeat on
    panel = panel_of(values)
    panel.unconfirmed[0, first:behind] = True
    assert (learn(panel, context=400).bars == LEAST_STEPS).all()


def test_who_has_shown_less_than_a_week_is_held_to_the_highest_bars_of_the_others_too_and_a_stranger_to_those() -> None:
    values = restless(WEEK + 10, entities=3)
    values[0, 50:71, 0] = 5.0
    values[1, 50:81, 1] = 5.0
    values[2, 50:141, 0] = values[2, 50:91, 1] = 5.0
    panel = panel_of(values)
    panel.part[2, WEEK // 2 :] = Part.GAP
    found = learn(panel, context=400)
    least = LEAST_STEPS
    assert found.bars.tolist() == [[40, least, least], [least, 60, least], [180, 80, least], [40, 60, least]]


def test_where_nobody_has_shown_a_week_all_are_held_to_what_any_has_shown() -> None:
    values = restless(300, entities=2)
    values[0, 50:71, 0] = 5.0
    assert (learn(panel_of(values), context=400).bars == [[40, LEAST_STEPS, LEAST_STEPS]] * 3).all()


@pytest.mark.parametrize("every", [5, 9, 11])
def test_a_target_whose_value_often_comes_again_is_not_told_however_long_it_stands(every: int) -> None:
    values = restless(WEEK)
    values[0, every::every, 0] = values[0, every - 1 : -1 : every, 0]
    panel = panel_of(values)
    found = learn(panel, context=400)
    assert found.bars[0].tolist() == [LEAST_STEPS if every > 10 else np.inf, LEAST_STEPS, LEAST_STEPS]


def test_repeats_are_rare_among_the_observations_not_among_the_steps() -> None:
    values = restless(WEEK)
    values[0, :, 0] = np.nan
    values[0, ::50, 0] = 3.0
    assert learn(panel_of(values), context=400).bars[0].tolist() == [np.inf, LEAST_STEPS, LEAST_STEPS]


def test_a_column_that_never_moves_is_told_by_nobody() -> None:
    values = restless(WEEK)
    values[..., 0] = 3.0
    found = learn(panel_of(values), context=400)
    assert found.bars.tolist() == [[np.inf, LEAST_STEPS, LEAST_STEPS]] * 2
    run, bar = found.told(0, values=values[0].astype(np.float32), observed=np.ones(values[0].shape, dtype=np.bool_), targets=(0, 1))
    assert (run <= bar).all()


SERIES = st.lists(st.tuples(*[st.sampled_from([None, 1.0, 1.0, 2.0])] * 2), min_size=30, max_size=80)


def of_series(rows: list[tuple[float | None, ...]]) -> NDArray[np.float64]:
    return np.array([[np.nan if value is None else value for value in row] for row in rows])[None]


@given(SERIES)
def test_nothing_that_was_shown_is_ever_told_were_there_no_margin_either(rows: list[tuple[float | None, ...]]) -> None:
    panel = panel_of(of_series(rows), targets=(0,))
    with patch("serving.standstill.MARGIN", 1.0), patch("serving.standstill.LEAST_STEPS", 1):
        found = learn(panel, context=60)
    run, bar = found.told(0, values=panel.values[0], observed=panel.observed[0], targets=(0,))
    assert (run <= bar).all()
    assert (learn(panel, context=60).bars >= found.bars).all()


@given(SERIES, st.integers(1, 6), st.integers(1, 12), st.data())
def test_a_number_is_the_same_wherever_time_is_cut(
    rows: list[tuple[float | None, ...]], gap: int, longest: int, data: st.DataObject
) -> None:
    values = of_series(rows)
    panel, still = panel_of(values), Standstill(bars=np.full((1, 3), 2.0, dtype=np.float32), gap=gap, longest=longest)
    start = data.draw(st.integers(gap + longest, len(rows) - 1))
    first = start - gap - longest
    whole = still.told(0, values=panel.values[0], observed=panel.observed[0], targets=(0, 1))
    later = still.told(0, values=panel.values[0, first:], observed=panel.observed[0, first:], targets=(0, 1))
    over = [(run / bar)[-(len(rows) - start) :].tolist() for run, bar in (whole, later)]
    assert over[0] == over[1]


def views_of(entities: int, *, parameters: int = 3, still: Standstill | None = None) -> Views:
    """That see nothing jointly."""
    rows = entities + 1
    return Views(
        entities=tuple("abcdefgh"[:entities]),
        sd=np.ones((rows, 1, 2), dtype=np.float32),
        precision=np.stack([np.eye(2, dtype=np.float32)] * rows),
        center=np.zeros((rows, parameters), dtype=np.float32),
        deviation=np.ones((rows, parameters), dtype=np.float32),
        components=np.zeros((rows, parameters, 1), dtype=np.float32),
        level=np.zeros((rows, 3), dtype=np.float32),
        free_run=np.ones(rows, dtype=np.float32),
        standstill=still,
    )


def standing(*, steps: int = 60, flat: slice = slice(20, 40)) -> pl.DataFrame:
    """FORECASTS of an entity all of whose parameters repeat themselves for a while."""
    values = restless(steps)
    values[0, flat] = values[0, flat.start]
    panel = panel_of(values, part=Part.TEST)
    still = Standstill(bars=np.full((2, 3), 10.0, dtype=np.float32), gap=60, longest=99)
    forecasts = panel.values[:, :, None, :2].copy()
    return tell(panel, forecasts, leads=(1,), scales=SCALED, start=0, views=views_of(1, still=still))


def test_it_is_told_in_the_steps_in_which_an_entity_stands_still_for_longer_than_it_may() -> None:
    told = standing().filter(pl.col(TARGET) == STANDSTILL)
    assert told[AT].to_list() == [START + step * MINUTE for step in range(31, 40)]  # the value of step 20 has come eleven times more
    assert told.select(ACTUAL, FORECAST).rows() == [(float(run), 10.0) for run in range(11, 20)]


def test_it_is_told_the_same_from_whatever_step_on_and_of_the_part_alone_that_is_asked_for() -> None:
    values = np.repeat(restless(4), 15, axis=1)
    panel = panel_of(values, part=Part.TEST)
    panel.part[0, :14] = Part.GAP
    views = views_of(1, still=Standstill(bars=np.full((2, 3), 10.0, dtype=np.float32), gap=60, longest=99))
    of_still = pl.col(TARGET) == STANDSTILL
    whole = tell(panel, panel.values[:, :, None, :2], leads=(1,), scales=SCALED, start=0, views=views).filter(of_still)
    later = tell(panel, panel.values[:, 13:, None, :2], leads=(1,), scales=SCALED, start=13, views=views).filter(of_still)
    assert later.equals(whole.filter(pl.col(AT) >= START + 13 * MINUTE))
    tested = tell(panel, panel.values[:, :, None, :2], leads=(1,), scales=SCALED, start=0, part=Part.TEST, views=views).filter(of_still)
    assert tested.equals(whole.filter(pl.col(AT) >= START + 14 * MINUTE))
    assert whole.height > tested.height


def steps_told(values: NDArray[Any], **dead_bands: tuple[float, float]) -> list[int]:
    """The steps of which a standstill is told, by bars of ten steps."""
    panel, still = panel_of(values, part=Part.TEST), Standstill(bars=np.full((2, 3), 10.0, dtype=np.float32), gap=60, longest=99)
    said = {name: Parameter(unit="count", target=True, dead_band=band) for name, band in dead_bands.items()}
    rows = tell(
        panel,
        panel.values[:, :, None, :2],
        leads=(1,),
        scales=SCALED,
        start=0,
        views=views_of(1, still=still),
        boring=boring(panel, scales=SCALED, parameters=said),
    )
    return [(at - START) // MINUTE for at in rows.filter(pl.col(TARGET) == STANDSTILL)[AT]]


def test_a_target_may_stand_still_within_its_dead_band_and_nowhere_else() -> None:
    values = restless(60)
    values[0, 20:40, 0] = 7.0
    told = list(range(31, 40))
    assert steps_told(values) == steps_told(values, p0=(7.1, 900.0)) == steps_told(values, p1=(0.0, 900.0)) == told
    assert steps_told(values, p0=(0.0, 7.0)) == []


def test_what_stands_beside_a_target_that_may_is_told_and_the_whole_may_where_every_target_may() -> None:
    values = restless(60)
    values[0, 20:40, 0], values[0, 25:45, 1] = 7.0, 8.0
    assert steps_told(values, p0=(0.0, 9.0)) == list(range(36, 45))  # of p1
    values[0, 20:45] = [7.0, 8.0, 9.0]
    values[0, 33, 1] = np.nan
    assert steps_told(values, p0=(0.0, 9.0)) == [31, 32, *range(34, 45)]  # of p1 and of the whole, as far as anything else is told
    assert steps_told(values, p0=(0.0, 9.0), p1=(0.0, 9.0)) == []


def test_a_release_without_it_tells_no_standstill() -> None:
    panel = panel_of(np.ones((1, 60, 3)), part=Part.TEST)
    told = tell(panel, panel.values[:, :, None, :2], leads=(1,), scales=SCALED, start=0, views=views_of(1))
    assert not told.filter(pl.col(TARGET) == STANDSTILL).height


def test_it_opens_an_incident_of_its_own_name_that_says_what_stands_still() -> None:
    scores = score(standing(), thresholds=OWN, release="r").scores
    assert scores.equals(scores.sort(ENTITY, AT, maintain_order=True))
    still = scores.filter(pl.col(TARGET) == STANDSTILL)
    assert still.select(SURPRISE, VERDICT).rows() == [(pytest.approx(run / 10), "anomalous") for run in range(11, 20)]
    opened = open_incidents(scores, policy=Thresholds(), cadence_seconds=60)
    assert opened.select("start", "opened", "end", "peak", TARGET).rows() == [
        (START + 31 * MINUTE, START + 34 * MINUTE, START + 40 * MINUTE, pytest.approx(1.9), STANDSTILL)
    ]
    assert explained(opened, scores=scores.lazy())[BECAUSE].to_list() == ["p0, p1 stand still"]


def test_who_has_no_thresholds_of_its_own_is_warming() -> None:
    newcomer = standing().with_columns(newcomer=pl.lit(value=True))
    stranger = OWN.with_columns(pl.lit("b").alias(ENTITY))
    for rows, bars in ((newcomer, OWN), (standing(), stranger)):
        told = score(rows, thresholds=bars, release="r").scores.filter(pl.col(TARGET) == STANDSTILL)
        assert told[VERDICT].unique().to_list() == ["warming"]
        assert (told[SURPRISE] > 1).all()


def test_it_learns_nothing_and_is_no_error() -> None:
    rows = standing(steps=3_000, flat=slice(20, 2_000))
    without = rows.filter(pl.col(TARGET) != STANDSTILL)
    assert errors(rows).height == without.height < rows.height
    told = [calibrate(each, policy=Thresholds(), cadence_seconds=60) for each in (rows, without)]
    assert told[0].equals(told[1])
    assert STANDSTILL not in told[0][TARGET].to_list()


def test_it_neither_ranks_an_entity_nor_covers_a_minute(forecasts_of: ForecastsOf) -> None:
    rows = standing()
    found = score(rows, thresholds=OWN, release="r")
    assert found.entities.equals(score(rows.filter(pl.col(TARGET) != STANDSTILL), thresholds=OWN, release="r").entities)
    again = entity_scores(found.scores.with_columns(label=pl.lit(value=False)))
    assert again["instant"].max() == found.entities["instant"].max() < 1
    blind = score(rows.with_columns(forecast=pl.when(pl.col(TARGET) == STANDSTILL).then(FORECAST)), thresholds=OWN, release="r").scores
    minutes = blind.select(ENTITY, AT)
    assert set(coverage(minutes, scores=blind, quarantined=minutes.clear(), release="r")[STATE]) == {"no data"}


def test_a_release_holds_it_and_one_that_is_older_has_none() -> None:
    still = Standstill(bars=np.array([[10, 20, 10], [30, 20, 10]], dtype=np.float32), gap=60, longest=340)
    views = views_of(1, still=still)
    again = Views.from_bytes(views.to_bytes()).standstill
    assert again is not None
    assert np.array_equal(again.bars, still.bars)
    assert (again.gap, again.longest) == (60, 340)
    assert Views.from_bytes(views.to_bytes()).to_bytes() == views.to_bytes()
    assert Views.from_bytes(replace(views, standstill=None).to_bytes()).standstill is None
    with pytest.raises(ValueError, match="no views of 1 entities: standstill of another type or number"):
        Views.from_bytes(replace(views, standstill=replace(still, bars=still.bars[:1])).to_bytes())
