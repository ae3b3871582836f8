"""The cut of time and the panel: no window reaches from one part into the next, nothing later leaks into earlier scales."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from telemetry import contract as contracts
from telemetry.calendars import calendar
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError, SourceError
from telemetry.panel import Part, load, save
from telemetry.scaling import fit
from telemetry.schema import AT, COHORT, COUNT, ENTITIES, ENTITY, FIRST_SEEN, LABELS, LAST_SEEN, MEAN, OBSERVED, PARAMETER, SD, TIME
from telemetry.windows import cuts, panel

START = datetime(2026, 3, 1, tzinfo=UTC)


def a_contract(**changes: object) -> Contract:
    raw = {
        "name": "toy",
        "entity": {"keys": ["customer"], "cohort": "customer"},
        "time": {"column": "at", "zone": "UTC"},
        "parameters": {
            "load": {"unit": "count", "target": True, "minimum": 0, "maximum": 1e6},
            "flag": {"unit": "ratio", "minimum": 0, "maximum": 1},
        },
        "windows": {"time_steps": 8, "warmup_steps": 2},
        "newcomer": {"days": 1},
    }
    return contracts.parse(raw | changes)


def a_grid(*, minutes: int = 2000, entities: tuple[str, ...] = ("a", "b"), late: int = 0) -> pl.DataFrame:
    """Entity b starts `late` minutes after a; load is a noisy level per entity, flag never changes."""
    rng = np.random.default_rng(0)
    frames = []
    for number, name in enumerate(entities):
        first = late if number else 0
        at = pl.datetime_range(START + timedelta(minutes=first), START + timedelta(minutes=minutes - 1), "1m", eager=True).cast(TIME)
        load_ = 100.0 * (number + 1) + 10 * rng.normal(size=len(at))
        frames.append(
            pl.DataFrame({ENTITY: [name] * len(at), AT: at, OBSERVED: [True] * len(at), "load": load_, "flag": np.zeros(len(at))})
        )
    return pl.concat(frames)


def seen(grid: pl.DataFrame) -> pl.DataFrame:
    return (
        grid.group_by(ENTITY)
        .agg(pl.lit("x").alias(COHORT), pl.col(AT).min().alias(FIRST_SEEN), pl.col(AT).max().alias(LAST_SEEN))
        .select(list(ENTITIES))
        .sort(ENTITY)
    )


def no_labels() -> pl.DataFrame:
    return pl.DataFrame(schema=dict(LABELS))


def test_a_gap_of_one_window_lies_between_the_parts() -> None:
    contract = a_contract()
    row = cuts(a_grid().lazy(), contract=contract).row(0, named=True)
    gap = contract.windows.time_steps * contract.time.cadence
    assert row["calibrate_start"] - row["train_end"] == gap
    assert row["test_start"] - row["calibrate_end"] == gap
    assert row["test_start"] == START + timedelta(minutes=1600)
    assert row["end"] == START + timedelta(minutes=2000)


def test_own_spans_are_cut_apart_and_a_common_one_together() -> None:
    grid = a_grid(late=1000).lazy()
    common = cuts(grid, contract=a_contract())["test_start"]
    own = cuts(grid, contract=a_contract(split={"by": "entity"}))["test_start"]
    assert common.n_unique() == 1
    assert own.to_list() == [START + timedelta(minutes=1600), START + timedelta(minutes=1800)]


def test_too_short_a_span_is_refused_by_name() -> None:
    with pytest.raises(SourceError, match=r"a spans 100 steps.*need at least"):
        cuts(a_grid(minutes=100).lazy(), contract=a_contract())


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(EmptySourceError, match="no row to learn from"):
        cuts(a_grid().clear().lazy(), contract=a_contract())


def test_training_has_mean_0_and_deviation_1_after_scaling() -> None:
    contract, grid = a_contract(), a_grid(minutes=20_000)
    parts = cuts(grid.lazy(), contract=contract)
    scales = fit(grid.lazy(), contract=contract, entities=seen(grid), cuts=parts)
    built = panel(grid.lazy(), contract=contract, scales=scales, entities=seen(grid), labels=no_labels(), parts=parts)
    train = built.values[..., 0][built.part == Part.TRAIN].reshape(2, -1)
    np.testing.assert_allclose(train.mean(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(train.std(axis=1), 1, atol=1e-4)


def test_nothing_after_the_training_part_changes_a_scale() -> None:
    contract, grid = a_contract(), a_grid()
    parts = cuts(grid.lazy(), contract=contract)
    later = pl.col(AT) >= parts["train_end"][0]
    spoiled = grid.with_columns(pl.when(later).then(1e9).otherwise(pl.col("load")).alias("load"))
    clean, dirty = (fit(g.lazy(), contract=contract, entities=seen(grid), cuts=parts) for g in (grid, spoiled))
    assert clean.equals(dirty)


def test_a_constant_column_gets_a_floor_and_a_stranger_its_cohort() -> None:
    contract, grid = a_contract(), a_grid(minutes=20_000)
    entities = pl.concat(
        [seen(grid), pl.DataFrame({ENTITY: ["new"], COHORT: ["x"], FIRST_SEEN: [START], LAST_SEEN: [START]}, schema=dict(ENTITIES))]
    )
    scales = fit(grid.lazy(), contract=contract, entities=entities, cuts=cuts(grid.lazy(), contract=contract))
    flag = scales.filter(pl.col(PARAMETER) == "flag")
    assert flag[SD].to_list() == [0.01] * 3
    stranger = scales.filter((pl.col(ENTITY) == "new") & (pl.col(PARAMETER) == "load")).row(0, named=True)
    assert stranger[COUNT] == 0
    assert stranger[MEAN] == pytest.approx(150, abs=1)
    assert stranger[SD] == pytest.approx(10, abs=0.5)


def test_little_history_leans_on_the_cohort_in_proportion() -> None:
    contract, grid = a_contract(), a_grid(minutes=20_000, late=12_000)
    parts = cuts(grid.lazy(), contract=contract)
    scales = fit(grid.lazy(), contract=contract, entities=seen(grid), cuts=parts)
    young = scales.filter((pl.col(ENTITY) == "b") & (pl.col(PARAMETER) == "load")).row(0, named=True)
    weight = young[COUNT] / (7 * 1440)
    assert 0 < weight < 1
    assert young[MEAN] == pytest.approx(weight * 200 + (1 - weight) * 150, abs=1)


def test_a_null_is_zero_and_unobserved_and_a_label_marks_its_minutes() -> None:
    contract = a_contract()
    grid = a_grid().with_columns(pl.when(pl.col(AT) == START + timedelta(minutes=5)).then(None).otherwise(pl.col("load")).alias("load"))
    parts = cuts(grid.lazy(), contract=contract)
    label = {ENTITY: ["b"], "start": [START + timedelta(minutes=3)], "end": [START + timedelta(minutes=6)], "kind": ["local"]}
    labels = pl.DataFrame(label, schema=dict(LABELS))
    scales = fit(grid.lazy(), contract=contract, entities=seen(grid), cuts=parts)
    built = panel(grid.lazy(), contract=contract, scales=scales, entities=seen(grid), labels=labels, parts=parts)
    assert not built.observed[0, 5, 0]
    assert built.values[0, 5, 0] == 0
    assert np.argwhere(built.incident).tolist() == [[1, 3], [1, 4], [1, 5]]


def test_a_newcomer_is_flagged_for_its_first_days_only_and_those_there_from_the_start_are_not() -> None:
    contract, grid = a_contract(), a_grid(minutes=4000, late=1000)
    parts = cuts(grid.lazy(), contract=contract)
    scales = fit(grid.lazy(), contract=contract, entities=seen(grid), cuts=parts)
    built = panel(grid.lazy(), contract=contract, scales=scales, entities=seen(grid), labels=no_labels(), parts=parts)
    assert not built.newcomer[0].any()
    assert built.newcomer[1].nonzero()[0].tolist() == list(range(1000, 2440))


def test_a_saved_panel_comes_back_the_same(tmp_path: Path) -> None:
    contract, grid = a_contract(), a_grid()
    parts = cuts(grid.lazy(), contract=contract)
    scales = fit(grid.lazy(), contract=contract, entities=seen(grid), cuts=parts)
    built = panel(grid.lazy(), contract=contract, scales=scales, entities=seen(grid), labels=no_labels(), parts=parts)
    save(built, folder=tmp_path)
    back = load(tmp_path)
    assert (back.entities, back.start_us) == (built.entities, built.start_us)
    np.testing.assert_array_equal(back.values, built.values)
    np.testing.assert_array_equal(back.part, built.part)


def test_the_calendar_turns_once_an_hour_a_day_a_week() -> None:
    told = calendar(start_us=int(datetime(2026, 3, 2, tzinfo=UTC).timestamp() * 1e6), steps=7 * 1440 + 1, cadence_seconds=60)
    minute, hour, week = told[:, :2], told[:, 2:4], told[:, 4:6]
    np.testing.assert_allclose(minute[0], minute[60], atol=1e-6)
    np.testing.assert_allclose(minute[15], [1, 0], atol=1e-6)
    np.testing.assert_allclose(hour[360], [1, 0], atol=1e-6)
    np.testing.assert_allclose(week[0], week[-1], atol=1e-6)
    assert not np.allclose(week[0], week[1440], atol=0.1)
