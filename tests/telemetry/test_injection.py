"""A fault is put just where it is told to be, as strong as it is told to be, and nothing else is touched."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from telemetry.contract import Contract, parse
from telemetry.injection import (
    DEGRADATION,
    DEVIATIONS,
    DROP,
    FLAT,
    INJECTED,
    NOISE,
    NOTHING,
    RAMP,
    SHIFT,
    SILENCE,
    SPIKE,
    STEPS,
    STRENGTH,
    STRENGTHS,
    Injected,
    Yardstick,
    cut,
    inject,
    yardstick,
)
from telemetry.injection_plan import plan
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import END, ENTITY, KIND, SCALES, START

NAMES = ("queries", "failed_queries", "query_time", "cpu")
TARGETS = ("queries", "failed_queries", "query_time")
ENTITIES = ("acme/eu", "borealis/us")
STEPS_OF_PANEL = 6_000
GAP = 40
MEANS, DEVIATION = (100.0, 50.0, 20.0, 5.0), (10.0, 5.0, 2.0, 1.0)


def contract() -> Contract:
    parameters: dict[str, Any] = {
        "queries": {"unit": "count", "aggregation": "sum", "minimum": 0, "target": True},
        "failed_queries": {"unit": "count", "aggregation": "sum", "minimum": 0, "target": True},
        "query_time": {"unit": "ms", "minimum": 0, "target": True},
        "cpu": {"unit": "percent", "minimum": 0, "maximum": 100},
    }
    told = {"name": "t", "entity": {"keys": ["customer", "region"]}, "time": {"column": "time"}, "parameters": parameters}
    return parse(told, path="of this test")


def scales(*, of: tuple[str, ...] = ENTITIES, factor: float = 1.0) -> pl.DataFrame:
    rows = [
        (entity, name, mean, factor * sd, STEPS_OF_PANEL) for entity in of for name, mean, sd in zip(NAMES, MEANS, DEVIATION, strict=True)
    ]
    return pl.DataFrame(rows, schema=dict(SCALES), orient="row")


def panel(*, factor: float = 1.0, seed: int = 0, missing: float = 0.01) -> Panel:
    """Noise around the mean, scaled with deviations that are `factor` times the true ones."""
    rng = np.random.default_rng(seed)
    shape = (len(ENTITIES), STEPS_OF_PANEL, len(NAMES))
    observed = np.repeat(rng.random(shape[:2]) >= missing, len(NAMES)).reshape(shape)
    values = np.where(observed, rng.normal(size=shape) / factor, 0).astype(np.float32)
    part = np.full(shape[:2], Part.TEST, dtype=np.uint8)
    part[:, :2_000] = Part.TRAIN
    return Panel(
        entities=ENTITIES,
        parameters=NAMES,
        targets=(0, 1, 2),
        start_us=int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000,
        cadence_seconds=60,
        values=values,
        observed=observed,
        calendar=np.zeros((shape[1], len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros(shape[:2], dtype=bool),
        part=part,
        incident=np.zeros(shape[:2], dtype=bool),
    )


PANEL = panel()
EVERYWHERE = PANEL.part == Part.TEST
BY = yardstick(PANEL, scales=scales(), contract=contract())


def faults(*, seed: int = 0, each: int = 1, where: NDArray[np.bool_] = EVERYWHERE, **strengths: tuple[float, ...]) -> pl.DataFrame:
    return plan(PANEL, by=BY, scales=scales(), where=where, seed=seed, each=each, gap_steps=GAP, strengths=strengths or STRENGTHS)


def made(told: pl.DataFrame, *, of: Panel = PANEL, by: Yardstick = BY, factor: float = 1.0) -> Injected:
    return inject(of, faults=told, by=by, scales=scales(factor=factor))


def steps(row: dict[str, Any], *, of: Panel = PANEL) -> tuple[int, int, int]:
    """Entity, first step and end of a row with a start and an end."""
    begin = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=of.start_us)
    minute = timedelta(minutes=1)
    return of.entities.index(row[ENTITY]), (row[START] - begin) // minute, (row[END] - begin) // minute


def other(done: Injected, *, than: Panel = PANEL) -> NDArray[np.bool_]:
    """bool[E, T]: where something is another."""
    changed: NDArray[np.bool_] = ((done.panel.values != than.values) | (done.panel.observed != than.observed)).any(axis=2)
    return changed


def canonical(of: Panel) -> NDArray[np.float64]:
    return of.values.astype(np.float64) * np.array(DEVIATION) + np.array(MEANS)


def alone(kind: str, strength: float, *, seed: int = 0) -> tuple[Injected, NDArray[np.float64], tuple[int, int, int]]:
    """One fault: what it made, by how much every target is another in canonical units f64[step, K], and where it is."""
    told = faults(seed=seed, **{kind: (strength,)})
    done = made(told)
    entity, start, end = steps(told.row(0, named=True))
    return done, (canonical(done.panel) - canonical(PANEL))[entity, start:end, :3], (entity, start, end)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(sorted(STRENGTHS)))
def test_labels_cover_exactly_what_was_changed(seed: int, kind: str) -> None:
    told = faults(seed=seed, each=3, **{kind: STRENGTHS[kind]})
    done = made(told)
    covered = np.zeros(PANEL.values.shape[:2], dtype=bool)
    changed = other(done)
    for row in done.labels.iter_rows(named=True):
        entity, start, end = steps(row)
        covered[entity, start:end] = True
        if kind != NOTHING:
            assert changed[entity, start]
            assert changed[entity, end - 1]
    assert not (changed & ~covered).any()
    assert not done.panel.values[~done.panel.observed].any(), "what was not told has no value"
    assert changed.any() == (kind != NOTHING)


def test_what_is_copied_stays_as_it_is() -> None:
    before = (PANEL.values.copy(), PANEL.observed.copy())
    made(faults(each=4))
    assert (PANEL.values == before[0]).all()
    assert (PANEL.observed == before[1]).all()


@pytest.mark.parametrize("kind", [SPIKE, DROP, RAMP, SHIFT, NOISE, DEGRADATION])
def test_no_strength_changes_nothing(kind: str) -> None:
    told = faults(each=2, **{kind: (0.0,)})
    assert told.height == 2
    done = made(told)
    assert not other(done).any()
    assert done.labels.is_empty()


def test_the_same_seed_injects_the_same_faults_and_another_one_others() -> None:
    first, again, another = (made(faults(seed=seed, each=3)) for seed in (1, 1, 2))
    assert first.labels.equals(again.labels)
    assert (first.panel.values == again.panel.values).all()
    assert not first.labels.equals(another.labels)


def test_faults_are_apart_and_within_what_is_normal() -> None:
    where = EVERYWHERE.copy()
    where[0, 3_000:3_500] = False
    told = faults(each=3, where=where)
    assert told.height > 40
    taken = np.zeros(where.shape, dtype=int)
    for row in told.iter_rows(named=True):
        entity, start, end = steps(row)
        assert where[entity, start : end + GAP].all()
        taken[entity, start : end + GAP] += 1
    assert taken.max() == 1


def test_every_kind_and_strength_is_planned_as_often_as_it_is_asked_for() -> None:
    told = faults(each=2).group_by(KIND, STRENGTH).len()
    found = {(kind, strength): count for kind, strength, count in told.iter_rows()}
    asked = {(kind, strength): 2 for kind, of in STRENGTHS.items() for strength in of}
    assert {cell for cell in asked if cell not in found or found[cell] != 2} <= {cell for cell in asked if cell[1] >= 8}
    assert dict(told.filter(pl.col(KIND) == SPIKE).select(STRENGTH, "len").iter_rows()) == dict.fromkeys(DEVIATIONS, 2)


def test_a_spike_rises_by_as_many_of_the_entitys_own_deviations() -> None:
    _, change, (entity, start, end) = alone(SPIKE, 4.0)
    struck = int(np.abs(change).sum(axis=0).argmax())
    own = PANEL.values[entity, :2_000, struck][PANEL.observed[entity, :2_000, struck]].std() * DEVIATION[struck]
    observed = PANEL.observed[entity, start:end, struck]
    assert end - start == STEPS[SPIKE]
    np.testing.assert_allclose(change[observed, struck], 4 * own, rtol=1e-4)
    assert not np.delete(change, struck, axis=1).any()


def test_a_drop_falls_and_a_ramp_grows() -> None:
    _, drop, _ = alone(DROP, 2.0)
    assert drop.min() < 0
    assert drop.max() == 0
    _, ramp, _ = alone(RAMP, 2.0)
    grown = np.abs(ramp[:, int(np.abs(ramp).sum(axis=0).argmax())])
    told = grown[grown > 0]
    assert (np.diff(told) > 0).all()
    assert told[-1] > 20 * told[0]


def test_a_flat_line_is_the_last_value_before_it() -> None:
    done, change, (entity, start, end) = alone(FLAT, 30.0)
    struck = int(np.abs(change).sum(axis=0).argmax())
    observed = PANEL.observed[entity, :, struck]
    last = PANEL.values[entity, np.flatnonzero(observed[:start])[-1], struck]
    assert set(done.panel.values[entity, start:end, struck][observed[start:end]]) == {last}


def test_noise_scatters_around_what_was_there() -> None:
    changes = np.concatenate([alone(NOISE, 4.0, seed=seed)[1].ravel() / 4 for seed in range(12)])
    told = changes[changes != 0]
    assert (told > 0).any()
    assert (told < 0).any()


def test_silent_rows_are_not_observed() -> None:
    done, _, (entity, start, end) = alone(SILENCE, 10.0)
    assert end - start == 10
    assert not done.panel.observed[entity, start:end].any()
    assert not done.panel.values[entity, start:end].any()
    assert (done.panel.observed[entity, end : end + GAP] == PANEL.observed[entity, end : end + GAP]).all()


def test_in_an_outage_errors_and_latencies_rise_and_volumes_fall() -> None:
    _, change, _ = alone(DEGRADATION, 4.0)
    assert change[:, 0].max() <= 0 > change[:, 0].min()
    assert change[:, 1].min() >= 0 < change[:, 1].max()
    assert change[:, 2].min() >= 0 < change[:, 2].max()


def test_no_count_is_negative_and_what_cannot_be_told_is_left_out() -> None:
    near = np.maximum(PANEL.values - 9.0, -10.0)  # one deviation above nothing
    low = replace(PANEL, values=np.where(PANEL.observed, near, 0).astype(np.float32))
    by = yardstick(low, scales=scales(), contract=contract())
    told = plan(low, by=by, scales=scales(), where=EVERYWHERE, seed=0, each=8, gap_steps=GAP)
    done = made(told, of=low, by=by)
    assert (canonical(done.panel) >= -1e-4)[..., :3].all()
    drops = told.filter(pl.col(KIND) == DROP)[STRENGTH].unique().to_list()
    assert 0.5 in drops
    assert 8.0 not in drops


def test_a_constant_target_is_struck_by_nothing_that_is_graded_in_deviations() -> None:
    still = PANEL.values.copy()
    still[..., :3] = 1.0
    of = replace(PANEL, values=still)
    by = yardstick(of, scales=scales(), contract=contract())
    assert not by.deviation.any()
    told = plan(of, by=by, scales=scales(), where=EVERYWHERE, seed=0, each=1, gap_steps=GAP)
    assert set(told[KIND]) == {SILENCE, NOTHING}


def test_a_target_whose_values_often_come_again_has_no_flat_line_and_all_else_is_as_ever() -> None:
    of = replace(PANEL, values=PANEL.values.copy())
    of.values[0, :, 1] = np.random.default_rng(9).integers(0, 6, STEPS_OF_PANEL)  # one value in six is the one before

    def planned() -> pl.DataFrame:
        strengths = {FLAT: (15.0, 30.0), DROP: (4.0,)}
        return plan(of, by=BY, scales=scales(), where=EVERYWHERE, seed=3, each=6, gap_steps=GAP, strengths=strengths)

    left_out = (pl.col(ENTITY) == ENTITIES[0]) & (pl.col("targets").list.first() == TARGETS[1]) & (pl.col(KIND) == FLAT)
    with patch("telemetry.injection_plan.OFTEN", 0.25):
        every = planned()
    assert every.filter(left_out).height > 0
    assert planned().equals(every.filter(~left_out))
    assert planned().filter(pl.col(KIND) == FLAT).height > 0


def test_models_with_other_scales_meet_the_same_faults() -> None:
    told = faults(each=2)
    stretched = panel(factor=3.0)
    other_scales = inject(stretched, faults=told, by=BY, scales=scales(factor=3.0))
    here = made(told)
    assert other_scales.labels.equals(here.labels)
    there = other_scales.panel.values.astype(np.float64) * 3 * np.array(DEVIATION) + np.array(MEANS)
    seen = here.panel.observed
    np.testing.assert_allclose(there[seen], canonical(here.panel)[seen], atol=1e-3)


def test_what_strikes_others_is_passed_over() -> None:
    told = faults(each=2).with_columns(pl.lit("nobody/eu").alias(ENTITY))
    done = made(told)
    assert not other(done).any()
    assert done.labels.equals(pl.DataFrame(schema=dict(INJECTED)))


def test_an_entity_without_training_takes_its_deviation_from_what_there_is_of_it() -> None:
    part = PANEL.part.copy()
    part[1, :2_000] = Part.GAP
    values = PANEL.values.copy()
    values[1] *= 0.5
    by = yardstick(replace(PANEL, part=part, values=values), scales=scales(), contract=contract())
    np.testing.assert_allclose(by.deviation[0], DEVIATION[:3], rtol=0.05)
    np.testing.assert_allclose(by.deviation[1], np.array(DEVIATION[:3]) / 2, rtol=0.05)


def test_a_cut_is_the_panel_from_a_step_on() -> None:
    told = cut(PANEL, entities=np.array([1]), start=100)
    assert told.entities == ("borealis/us",)
    assert told.start_us == PANEL.start_us + 100 * 60 * 1_000_000
    assert (told.values == PANEL.values[1:, 100:]).all()
    assert told.calendar.shape[1] == told.steps == STEPS_OF_PANEL - 100
