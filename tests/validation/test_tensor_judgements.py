"""Every way in which scaling has gone wrong before is found, and a healthy panel is left in peace."""

import numpy as np
import polars as pl
import pytest

from telemetry.panel import Part
from tests.validation.grids import STEPS_A_DAY, contract
from tests.validation.tensor_bugs import KINDS, Site, champion, fleet, plant
from tests.validation.tensors import Scaled, made_of, scaled
from validation import tensor_judgements as judgements
from validation.findings import Finding

FULL = judgements.full_weight_steps(contract())
EU, US, BOLT = 0, 1, 2
QUERIES, FAILURES, LATENCY, CPU = range(4)


@pytest.fixture(scope="module")
def healthy() -> Scaled:
    return scaled()


def means(statistics: pl.DataFrame, *, parameter: str) -> tuple[Finding, ...]:
    return judgements.off_mean(statistics, parameter=parameter, full_weight=FULL, tolerance=0.01, severity="stop")


def deviations(statistics: pl.DataFrame, *, parameter: str) -> tuple[Finding, ...]:
    return judgements.off_deviation(statistics, parameter=parameter, full_weight=FULL, tolerance=0.01, severity="stop")


def all_findings(panel: Scaled) -> list[Finding]:
    return panel.findings()


def told(panel: Scaled) -> set[tuple[str, str | None, str | None]]:
    return {(finding.expectation, finding.entity, finding.parameter) for finding in all_findings(panel)}


def test_a_healthy_panel_has_no_finding_with_a_newcomer_a_gap_and_a_constant(healthy: Scaled) -> None:
    assert all_findings(healthy) == []
    assert healthy.panel.newcomer[BOLT].sum() == 2 * STEPS_A_DAY
    assert not healthy.panel.observed[US, :, LATENCY].all()
    assert np.ptp(healthy.panel.values[US, :, CPU]) == 0


def test_a_mean_left_in_is_found(healthy: Scaled) -> None:
    values = healthy.values()
    mean, sd = healthy.constants("acme/eu", "queries")
    values[EU, :, QUERIES] += np.float32(mean / sd)
    assert told(healthy.spoiled(values=values)) == {("scaled mean", "acme/eu", "queries"), ("round trip", "acme/eu", "queries")}


def test_a_variance_for_a_deviation_is_found(healthy: Scaled) -> None:
    values = healthy.values()
    values[EU, :, QUERIES] /= np.float32(healthy.constants("acme/eu", "queries")[1])
    (first, *_) = deviations(healthy.spoiled(values=values).statistics(), parameter="queries")
    assert (first.entity, first.severity, first.expected) == ("acme/eu", "stop", "1 within 0.01")
    assert told(healthy.spoiled(values=values)) == {("scaled deviation", "acme/eu", "queries"), ("round trip", "acme/eu", "queries")}


def test_the_constants_of_another_entity_are_found_and_named(healthy: Scaled) -> None:
    values = healthy.values()
    own, other = healthy.constants("acme/eu", "latency"), healthy.constants("acme/us", "latency")
    values[EU, :, LATENCY] = (values[EU, :, LATENCY] * own[1] + own[0] - other[0]) / other[1]
    spoiled = healthy.spoiled(values=values)
    (swapped,) = judgements.wrong_scale(spoiled.statistics(), parameter="latency")
    assert (swapped.entity, swapped.found) == ("acme/eu", "the scale of acme/us")
    assert {name for name, _, _ in told(spoiled)} == {"own scale", "scaled mean", "scaled deviation"}


def test_scaling_twice_is_found_and_named(healthy: Scaled) -> None:
    values = healthy.values()
    mean, sd = healthy.constants("acme/us", "queries")
    values[US, :, QUERIES] = (values[US, :, QUERIES] - mean) / sd
    (twice,) = judgements.wrong_scale(healthy.spoiled(values=values).statistics(), parameter="queries")
    assert (twice.entity, twice.found) == ("acme/us", "scaled twice")


def test_values_that_are_no_number_are_found(healthy: Scaled) -> None:
    values = healthy.values()
    values[EU, 5, CPU] = np.nan
    values[US, 6, CPU] = np.inf
    found = [f for f in all_findings(healthy.spoiled(values=values)) if f.expectation == "finite tensor"]
    assert [(f.entity, f.found) for f in found] == [(name, "1 values that are not finite") for name in ("acme/eu", "acme/us")]


def test_a_value_where_nothing_was_observed_is_found(healthy: Scaled) -> None:
    values = healthy.values()
    values[US, 3 * STEPS_A_DAY + 4, LATENCY] = 0.5
    assert told(healthy.spoiled(values=values)) == {("zero where unobserved", "acme/us", "latency")}


def test_rows_that_slipped_by_a_step_are_found(healthy: Scaled) -> None:
    values = healthy.values()
    values[EU, 1:, CPU] = values[EU, :-1, CPU]
    assert ("round trip", "acme/eu", "cpu") in told(healthy.spoiled(values=values))


def test_a_measured_step_that_is_marked_unobserved_is_found(healthy: Scaled) -> None:
    values, observed = healthy.values(), healthy.panel.observed.copy()
    values[EU, 7, CPU], observed[EU, 7, CPU] = 0, False
    (lost,) = judgements.unlike_grid(healthy.spoiled(values=values, observed=observed).statistics(), parameter="cpu")
    assert (lost.entity, lost.found) == ("acme/eu", "1 values that do not come back")


def test_an_entity_with_little_training_may_lean_on_its_cohort(healthy: Scaled) -> None:
    statistics = healthy.statistics().filter(entity="bolt/eu", parameter="queries")
    assert statistics["scale_count"].item() < FULL
    assert means(statistics, parameter="queries") == ()


def test_a_panel_of_other_days_need_not_have_mean_zero(healthy: Scaled) -> None:
    part = healthy.panel.part.copy()
    part[:, : 10 * STEPS_A_DAY] = Part.GAP
    assert not {"scaled mean", "scaled deviation"} & {name for name, _, _ in told(healthy.spoiled(part=part))}


def test_a_deviation_below_one_is_right_only_at_the_floor() -> None:
    row = {"kind": "scaled", "parameter": "cpu", "start": None, "end": None, "scale_count": FULL, "steps": FULL, "mean": 0.0}
    rows = [
        row | {"entity": "a", "scale_sd": 100.0, "sd": 1.0},
        row | {"entity": "quiet", "scale_sd": 1.0, "sd": 0.3},
        row | {"entity": "wrong", "scale_sd": 2.0, "sd": 0.3},
        row | {"entity": "constant", "scale_sd": 50.0, "sd": 0.0},
    ]
    assert [f.entity for f in deviations(pl.DataFrame(rows), parameter="cpu")] == ["wrong"]


def test_a_calendar_of_another_zone_is_found(healthy: Scaled) -> None:
    calendar = np.roll(healthy.panel.calendar, 6, axis=-2)
    odd = {parameter for name, _, parameter in told(healthy.spoiled(calendar=calendar)) if name == "calendar"}
    assert odd == {f"{part}_{wave}" for part in ("hour", "weekday", "monthday") for wave in ("sin", "cos")}


def test_a_calendar_that_was_scaled_is_found(healthy: Scaled) -> None:
    calendar = healthy.panel.calendar * np.float32(3)
    odd = [f for f in all_findings(healthy.spoiled(calendar=calendar)) if f.parameter == "hour_cos"]
    assert [f.found.partition(" steps ")[2] for f in odd] == ["off, -3 to 3"]


def test_a_wrong_newcomer_flag_is_found(healthy: Scaled) -> None:
    nobody = np.zeros_like(healthy.panel.newcomer)
    assert told(healthy.spoiled(newcomer=nobody)) == {("newcomer flag", "bolt/eu", None)}
    everybody = np.ones_like(healthy.panel.newcomer)
    assert len(told(healthy.spoiled(newcomer=everybody))) == 3


@pytest.fixture(scope="module", params=[0, 1])
def seeded(request: pytest.FixtureRequest) -> tuple[int, Scaled]:
    return request.param, fleet(request.param)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_scaling_bug_is_stopped_and_named_where_it_is_and_nowhere_else(kind: str, seeded: tuple[int, Scaled]) -> None:
    seed, clean = seeded
    spoiled, planted = plant(clean, kind=kind, seed=seed)
    stops = [finding for finding in spoiled.findings() if finding.severity == "stop"]
    assert {(f.entity, f.parameter) for f in stops} == planted.where
    assert {(f.entity, f.parameter) for f in stops if planted.named in f.found or planted.named in f.sentence} == planted.where


def test_clean_panels_are_left_in_peace_and_a_champions_old_scales_do_not_stop(seeded: tuple[int, Scaled]) -> None:
    _, clean = seeded
    assert clean.findings() == []
    assert [finding for finding in champion(clean).findings(unfitting="warn") if finding.severity == "stop"] == []


def test_a_leak_too_small_for_the_tolerance_is_named_all_the_same(healthy: Scaled) -> None:
    spoiled, planted = plant(healthy, kind="leak: all data (fitted)", seed=3)
    (entity, parameter), *_ = sorted(planted.where, key=str)
    (leak,) = [f for f in spoiled.findings() if (f.entity, f.parameter) == (entity, parameter) and f.expectation == "own scale"]
    assert (leak.found, leak.expected) == ("mean and deviation of all its data", "those of its own training")
    assert leak.sentence.endswith("The scales themselves are at fault: the values agree with them.")


def test_a_leak_that_changes_no_scale_is_none() -> None:
    clean = fleet(0)
    constants = clean.statistics().filter(pl.col("kind") == "scaled", pl.col("sd") == 0, pl.col("steps") > 0)
    assert constants.height > 0
    assert constants["cause"].to_list() == [""] * constants.height


def test_an_entity_of_which_the_scales_know_nothing_is_scaled_with_the_median_of_all_and_that_is_no_fault(healthy: Scaled) -> None:
    unknown = healthy.scales.filter(pl.col("entity") != "bolt/eu")
    assert made_of(healthy.grid, entities=healthy.entities, scales=unknown).findings(unfitting="warn") == []


def test_values_of_a_later_time_are_told_as_a_leak(healthy: Scaled) -> None:
    values = healthy.values()
    values[EU, :-6, QUERIES] = values[EU, 6:, QUERIES]
    (moved,) = judgements.unlike_grid(healthy.spoiled(values=values).statistics(), parameter="queries")
    assert moved.found.endswith("values moved by 6 steps, from later to earlier")
    assert "each is that of 6 steps later: the network would see the future" in moved.sentence


def test_what_no_suspect_explains_is_stopped_without_a_name(healthy: Scaled) -> None:
    values = healthy.values()
    values[EU, :, QUERIES] = np.sin(values[EU, :, QUERIES])
    (odd,) = judgements.unlike_grid(healthy.spoiled(values=values).statistics(), parameter="queries")
    assert "an error in its arithmetic, or rows were moved" in odd.sentence


@pytest.mark.parametrize("kind", ["missing scaling (fitted)", "mean only (fitted)", "deviation only (fitted)"])
def test_a_scale_that_is_mixed_with_the_cohorts_is_held_against_what_it_should_be(kind: str, healthy: Scaled) -> None:
    site = Site(clean=healthy, rng=np.random.default_rng(0), entities=[BOLT], parameter=QUERIES, since=0)
    spoiled, named = KINDS[kind](site)
    (fault,) = judgements.wrong_scale(spoiled.statistics(), parameter="queries")
    assert fault.entity == "bolt/eu"
    assert named in fault.found
