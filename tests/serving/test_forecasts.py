"""Forecasts told in canonical units."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from serving.forecasts import tell, tell_each
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import ACTUAL, AT, ENTITY, FORECAST, LEAD, PERSISTENCE, SCALES, TARGET

SCALE = {
    "entity": ["a", "a", "b", "b"],
    "parameter": ["p", "q", "p", "q"],
    "mean": [10.0, 100.0, 20.0, 200.0],
    "sd": [2.0, 10.0, 4.0, 20.0],
}
SCALED = pl.DataFrame(SCALE | {"count": [99] * 4}, schema=SCALES)


def make_panel(*, steps: int = 4) -> Panel:
    """Entities a and b, parameters p and q with target q alone; its scaled value at step t is t for a, and 10 t for b."""
    values = np.zeros((2, steps, 2), dtype=np.float32)
    values[:, :, 1] = np.arange(steps) * np.array([[1], [10]])
    return Panel(
        entities=("a", "b"),
        parameters=("p", "q"),
        targets=(1,),
        start_us=1_767_225_600_000_000,  # 2026-01-01
        cadence_seconds=60,
        values=values,
        observed=np.ones((2, steps, 2), dtype=bool),
        calendar=np.zeros((steps, len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros((2, steps), dtype=bool),
        part=np.full((2, steps), Part.TEST, dtype=np.uint8),
        incident=np.zeros((2, steps), dtype=bool),
    )


def test_every_value_is_told_in_the_units_of_its_own_entity_and_target() -> None:
    forecasts = np.full((2, 2, 1, 1), 0.5, dtype=np.float32)
    told = tell(make_panel(), forecasts, leads=(1,), scales=SCALED, start=2)
    at = datetime(2026, 1, 1, 0, 2, tzinfo=UTC), datetime(2026, 1, 1, 0, 3, tzinfo=UTC)
    assert told.rows() == [
        ("a", at[0], "q", 1, 120.0, 105.0, 110.0, 10.0, False, False),
        ("a", at[1], "q", 1, 130.0, 105.0, 120.0, 10.0, False, False),
        ("b", at[0], "q", 1, 600.0, 210.0, 400.0, 20.0, False, False),
        ("b", at[1], "q", 1, 800.0, 210.0, 600.0, 20.0, False, False),
    ]


def test_a_lead_is_told_from_the_first_step_it_could_be_made_for_and_beside_the_value_of_then() -> None:
    forecasts = np.stack([np.full((2, 4, 1), 1), np.full((2, 4, 1), 2)], axis=2).astype(np.float32)
    told = tell(make_panel(), forecasts, leads=(1, 3), scales=SCALED, start=0).filter(pl.col(ENTITY) == "a")
    assert told.select(pl.col(AT).dt.minute(), LEAD, FORECAST, PERSISTENCE).rows() == [
        (1, 1, 110.0, 100.0),
        (2, 1, 110.0, 110.0),
        (3, 1, 110.0, 120.0),
        (3, 3, 120.0, 100.0),
    ]


def test_what_was_not_observed_is_neither_judged_nor_repeated() -> None:
    panel = make_panel()
    panel.observed[0, [0, 2], 1] = False
    told = tell(panel, np.zeros((2, 4, 1, 1), dtype=np.float32), leads=(1,), scales=SCALED, start=0).filter(pl.col(ENTITY) == "a")
    assert told.select(pl.col(AT).dt.minute(), ACTUAL, PERSISTENCE).rows() == [(1, 110.0, None), (3, 130.0, 110.0)]


def test_only_the_part_asked_for_is_told_each_entity_by_its_own_cut() -> None:
    panel = make_panel()
    panel.part[0, 2] = panel.part[1, 3] = Part.CALIBRATE
    told = tell(panel, np.zeros((2, 4, 1, 1), dtype=np.float32), leads=(1,), scales=SCALED, start=0, part=Part.CALIBRATE)
    assert told.select(ENTITY, pl.col(AT).dt.minute()).rows() == [("a", 2), ("b", 3)]


def test_newcomers_and_incidents_are_marked() -> None:
    panel = make_panel()
    panel.newcomer[0, 3] = panel.incident[1, 3] = True
    told = tell(panel, np.zeros((2, 1, 1, 1), dtype=np.float32), leads=(1,), scales=SCALED, start=3)
    assert told.select(ENTITY, "newcomer", "label").rows() == [("a", True, False), ("b", False, True)]


def test_whom_no_training_has_seen_is_a_newcomer_as_long_as_that_is_so() -> None:
    known = SCALED.with_columns(pl.when(pl.col(ENTITY) == "b").then(0).otherwise(pl.col("count")).cast(pl.Int64).alias("count"))
    told = tell(make_panel(), np.zeros((2, 1, 1, 1), dtype=np.float32), leads=(1,), scales=known, start=3)
    assert told.select(ENTITY, "newcomer").rows() == [("a", False), ("b", True)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 3e38])
def test_a_forecast_that_is_no_number_is_null_and_keeps_its_row(bad: float) -> None:
    told = tell(make_panel(), np.full((2, 1, 1, 1), bad, dtype=np.float32), leads=(1,), scales=SCALED, start=3)
    assert told.get_column(FORECAST).to_list() == [None, None]


def test_entities_come_one_by_one_and_make_up_the_whole() -> None:
    forecasts = np.random.default_rng(0).normal(size=(2, 3, 2, 1)).astype(np.float32)
    each = list(tell_each(make_panel(), forecasts, leads=(1, 2), scales=SCALED, start=1))
    assert [frame.get_column(ENTITY).unique().to_list() for frame in each] == [["a"], ["b"]]
    assert pl.concat(each).equals(tell(make_panel(), forecasts, leads=(1, 2), scales=SCALED, start=1))


def test_targets_keep_their_order_and_names() -> None:
    panel = replace(make_panel(), targets=(1, 0))
    forecasts = np.array([[[[1.0, 2.0]]], [[[3.0, 4.0]]]], dtype=np.float32)
    told = tell(panel, forecasts, leads=(1,), scales=SCALED, start=3)
    assert told.select(ENTITY, TARGET, FORECAST).rows() == [("a", "q", 110.0), ("a", "p", 14.0), ("b", "q", 260.0), ("b", "p", 36.0)]


def test_forecasts_that_do_not_fit_the_panel_are_refused() -> None:
    with pytest.raises(ValueError, match=r"f32\[2, 3, 1, 1\] from step 2 do not fit a panel of 2 entities, 4 steps and 1 targets"):
        tell(make_panel(), np.zeros((2, 3, 1, 1), dtype=np.float32), leads=(1,), scales=SCALED, start=2)
