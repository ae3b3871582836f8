"""Incidents are what a devops person would call one, where the labels say; planted faults change one quantity and nothing else."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from telemetry.errors import FleetError, UnknownFaultError
from telemetry.faults import EVERY_KIND, KINDS, STORM_MINUTES, VOLUMES, PlantedFault, draw, plant
from telemetry.fleet import TARGETS, Fleet, FleetConfig, simulate
from telemetry.schema import AT, END, ENTITY, KIND, LABELS, ORACLE, START, TARGET, conform

CONFIG = FleetConfig(customers=6, days=14, arriving=1, newcomer_days=5, incidents=8, early_incidents=0, incident_days=(7, 14))


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return simulate(CONFIG)


@pytest.fixture(scope="module")
def distance(fleet: Fleet) -> pl.DataFrame:
    """`entity, at, distance`: of the target that is farthest from its oracle, in the target's deviations."""
    values = fleet.readings.select(
        pl.concat_str("customer", "region", separator="/").alias(ENTITY), pl.col("time").alias(AT), *TARGETS
    ).unpivot(index=[ENTITY, AT], variable_name=TARGET)
    off = (pl.col("value") - pl.col(ORACLE)).abs() / pl.col("value").std().over(ENTITY, TARGET)
    return (
        values.join(fleet.oracle, on=[ENTITY, AT, TARGET])
        .with_columns(off.alias("distance"))
        .group_by(ENTITY, AT)
        .agg(pl.col("distance").max())
        .sort(ENTITY, AT)
    )


def _within(distance: pl.DataFrame, *, label: dict[str, object], after: timedelta = timedelta(0)) -> NDArray[np.float64]:
    start, end = label[START] + after, label[END] + after  # type: ignore[operator]
    found = distance.filter(pl.col(ENTITY) == label[ENTITY], pl.col(AT).is_between(start, end, closed="left"))
    values: NDArray[np.float64] = found.get_column("distance").to_numpy()
    return values


def test_the_labels_name_every_kind_within_the_days_asked_for(fleet: Fleet) -> None:
    conform(fleet.labels, LABELS, name="labels")
    assert set(fleet.labels.get_column(KIND)) == set(KINDS)
    first, last = (CONFIG.start + timedelta(days=day) for day in CONFIG.period)
    assert fleet.labels.get_column(START).min() >= first
    assert fleet.labels.get_column(END).max() <= last
    minutes = (fleet.labels.get_column(END) - fleet.labels.get_column(START)).dt.total_minutes()
    assert minutes.is_between(30, 180).all()


def test_no_two_incidents_of_an_entity_come_within_an_hour(fleet: Fleet) -> None:
    crowded = simulate(replace(CONFIG, incidents=24))
    gap = crowded.labels.sort(ENTITY, START).select(pl.col(START) - pl.col(END).shift(1).over(ENTITY)).to_series().drop_nulls()
    assert gap.len() > 5
    assert gap.min() >= timedelta(hours=1)


def test_an_incident_of_a_customer_strikes_all_its_regions_and_a_local_one_only_one(fleet: Fleet) -> None:
    regions = (
        fleet.labels.group_by(KIND, START, END, pl.col(ENTITY).str.split("/").list.first()).len().group_by(KIND).agg(pl.col("len").unique())
    )
    assert dict(regions.iter_rows()) == {"local": [1], "customer": [2], "gradual": [1], "silent": [1]}


def test_a_local_or_a_customers_incident_is_several_deviations_throughout(fleet: Fleet, distance: pl.DataFrame) -> None:
    for label in fleet.labels.filter(pl.col(KIND).is_in(["local", "customer"])).iter_rows(named=True):
        assert np.mean(_within(distance, label=label) > 3.0) > 0.95, label


def test_a_gradual_incident_grows_from_nothing_to_several_deviations(fleet: Fleet, distance: pl.DataFrame) -> None:
    for label in fleet.labels.filter(pl.col(KIND) == "gradual").iter_rows(named=True):
        values = _within(distance, label=label)
        assert values[:10].mean() < 2.0, label
        assert values[-10:].min() > 6.0, label


def test_a_silent_entity_either_sends_no_rows_or_says_that_no_vehicle_is_there(fleet: Fleet) -> None:
    silent = fleet.labels.filter(pl.col(KIND) == "silent").sort(START)
    keyed = fleet.readings.with_columns(pl.concat_str("customer", "region", separator="/").alias(ENTITY))
    told = [
        keyed.filter(pl.col(ENTITY) == row[ENTITY], pl.col("time").is_between(row[START], row[END], closed="left"))
        for row in silent.iter_rows(named=True)
    ]
    gone, empty = sorted(told, key=lambda frame: frame.height)
    assert gone.is_empty()
    assert empty.height > 25
    assert empty.get_column("positions").drop_nulls().eq(0).all()
    assert empty.get_column("reporting_devices").drop_nulls().eq(0).all()
    assert empty.get_column("queries").drop_nulls().gt(0).all()


def test_a_silent_flat_line_is_far_outside_the_noise(fleet: Fleet, distance: pl.DataFrame) -> None:
    flat = [_within(distance, label=label) for label in fleet.labels.filter(pl.col(KIND) == "silent").iter_rows(named=True)]
    values = max(flat, key=len)
    assert np.median(values) > 2.0  # the noise alone is beyond 1 in 8 of 1000 minutes


def test_after_an_incident_all_is_as_before(fleet: Fleet, distance: pl.DataFrame) -> None:
    for label in fleet.labels.iter_rows(named=True):
        length = label[END] - label[START]
        values = _within(distance, label=label, after=min(length, timedelta(minutes=60)) if length < timedelta(hours=1) else length)
        assert np.mean(values > 1.5) < 0.05, label


def test_no_newcomer_has_an_incident() -> None:
    config = replace(CONFIG, customers=3, arriving=2, newcomer_days=30, incidents=4)
    struck = simulate(config).labels.get_column(ENTITY).str.split("/").list.first()
    assert set(struck) == {config.customer_names[0]}


def test_more_incidents_than_busy_days_are_refused() -> None:
    with pytest.raises(FleetError, match=r"9 incidents in the days 0 to 2 do not fit: there are 2 busy days") as raised:
        draw(
            np.random.default_rng(0),
            count=9,
            days=(0, 2),
            load=np.ones((2880, 2), dtype=np.float32),
            regions=2,
            matured=np.zeros(2, dtype=np.int64),
        )
    assert "fewer incidents" in str(raised.value)


EVERY = replace(CONFIG, kinds=EVERY_KIND, incidents=len(EVERY_KIND), newcomer_incidents=1)


@pytest.fixture(scope="module")
def every() -> Fleet:
    return simulate(EVERY)


def _struck(fleet: Fleet, kind: str) -> tuple[dict[str, object], pl.DataFrame, pl.DataFrame]:
    """A label of the kind, the entity's rows within it, and the same minutes as they were expected."""
    label = fleet.labels.filter(pl.col(KIND) == kind, ~pl.col(ENTITY).str.starts_with(fleet.config.customer_names[-1])).row(0, named=True)
    keyed = fleet.readings.with_columns(pl.concat_str("customer", "region", separator="/").alias(ENTITY), pl.col("time").alias(AT))
    near = pl.col(AT).is_between(label[START] - timedelta(hours=1), label[END], closed="left")
    rows = keyed.filter(pl.col(ENTITY) == label[ENTITY], near).sort(AT)
    calm = fleet.oracle.filter(pl.col(ENTITY) == label[ENTITY]).pivot(on=TARGET, index=[ENTITY, AT], values=ORACLE).filter(near).sort(AT)
    return label, rows, calm


def test_every_kind_can_be_asked_for(every: Fleet) -> None:
    assert set(every.labels.get_column(KIND)) == set(EVERY_KIND)
    with pytest.raises(FleetError, match="no incident of the kind flood"):
        replace(CONFIG, kinds=("flood",))


def test_a_regional_outage_strikes_everybody_who_is_there_on_a_day_without_others(every: Fleet) -> None:
    regional = every.labels.filter(pl.col(KIND) == "regional")
    (start,) = regional[START].unique()
    arrived = [
        name
        for name, minute in zip(EVERY.customer_names, EVERY.arrivals, strict=True)
        if EVERY.start + timedelta(minutes=int(minute)) <= start
    ]
    regions = regional[ENTITY].str.split("/").list.last().unique().to_list()
    assert len(regions) == 1
    assert sorted(regional[ENTITY].str.split("/").list.first()) == sorted(arrived)
    assert every.labels.filter(pl.col(START).dt.date() == start.date())[KIND].unique().to_list() == ["regional"]


def test_who_never_comes_within_the_span_has_no_part_in_a_regional_outage() -> None:
    load = np.tile(np.sin(np.arange(2880, dtype=np.float32) / 200)[:, None] + 2, (1, 4))
    load[:, 2:] = 0  # a customer that comes later
    matured = np.where(load.any(axis=0), 0, 2880)
    whole, without = (
        [
            draw(
                np.random.default_rng(seed),
                count=1,
                days=(0, 2),
                load=those,
                regions=2,
                matured=matured[: those.shape[1]],
                kinds=("regional",),
            )
            for seed in range(4)
        ]
        for those in (load, load[:, :2])
    )
    assert whole == without
    assert {incident.entities for (incident,) in whole} == {(0,), (1,)}


def test_frozen_telemetry_repeats_the_row_before_it_and_then_goes_on(every: Fleet) -> None:
    label, rows, _ = _struck(every, "flat")
    within = rows.filter(pl.col(AT) >= label[START]).drop("time", AT)
    before = rows.filter(pl.col(AT) < label[START]).tail(1).drop("time", AT)
    told = within.select(pl.col("positions", "query_time", "battery", "cpu").drop_nulls().n_unique())
    assert within.height >= 30
    assert set(told.row(0)) == {1}
    assert within["query_time"].drop_nulls()[0] == before["query_time"][0]


def test_a_slow_loss_ends_at_three_tenths_and_nothing_complains(every: Fleet) -> None:
    label, rows, calm = _struck(every, "volume")
    share = rows.join(calm, on=AT, suffix="_expected").filter(pl.col(AT) >= label[START])
    assert (label[END] - label[START]) >= timedelta(minutes=90)  # type: ignore[operator]
    assert (share["positions"] / share["positions_expected"]).head(10).mean() > 0.85
    assert (share["positions"] / share["positions_expected"]).tail(10).mean() < 0.4
    assert (share["query_time"] / share["query_time_expected"]).tail(30).mean() == pytest.approx(1.0, abs=0.15)


def test_a_burst_comes_in_storms(every: Fleet) -> None:
    label, rows, calm = _struck(every, "burst")
    share = rows.join(calm, on=AT, suffix="_expected").filter(pl.col(AT) >= label[START])
    minute = (share[AT] - label[START]).dt.total_minutes() % STORM_MINUTES[1]
    ratio = share["queries"] / share["queries_expected"]
    assert ratio.filter(minute < STORM_MINUTES[0]).mean() == pytest.approx(2.5, abs=0.3)
    assert ratio.filter(minute >= STORM_MINUTES[0]).mean() == pytest.approx(1.0, abs=0.1)


def test_unsteady_telemetry_swings_and_keeps_its_mean(every: Fleet) -> None:
    label, rows, calm = _struck(every, "noise")
    share = rows.join(calm, on=AT, suffix="_expected").filter(pl.col(AT) >= label[START])
    ratio = share["positions"] / share["positions_expected"]
    assert ratio.mean() == pytest.approx(1.0, abs=0.2)
    assert ratio.std() > 0.25


def test_newcomers_have_incidents_only_where_they_are_asked_for(every: Fleet) -> None:
    young = EVERY.customer_names[-1]
    arrived = EVERY.start + timedelta(minutes=int(EVERY.arrivals[-1]))
    own = every.labels.filter(pl.col(ENTITY).str.starts_with(young), pl.col(KIND) != "regional")
    assert own.height > 0
    assert own.filter(pl.col(START) < arrived).is_empty()
    assert own.filter(pl.col(START) >= arrived + timedelta(days=EVERY.newcomer_days)).is_empty()


def test_a_fleet_of_the_usual_kinds_is_what_it_was_before_there_were_others(fleet: Fleet) -> None:
    assert simulate(replace(CONFIG, kinds=KINDS, newcomer_incidents=0)).readings.equals(fleet.readings)


@pytest.mark.parametrize(("fault", "factor"), [("x100", 100.0), ("x1000", 1000.0), ("x0.001", 0.001)])
def test_a_planted_fault_multiplies_one_volume_of_one_customer_to_the_end(fleet: Fleet, fault: str, factor: float) -> None:
    changed, planted = plant(fleet.readings, fault=fault, seed=3)
    hit = (pl.col("customer") == planted.customer) & (pl.col("time") >= planted.start)
    column = planted.parameter
    assert planted == PlantedFault(kind=fault, customer=planted.customer, region=None, parameter=column, start=planted.start)
    assert column in VOLUMES
    assert set(fleet.readings.filter(hit).get_column("region")) == set(CONFIG.regions)
    assert changed.filter(hit).get_column(column).equals(fleet.readings.filter(hit).get_column(column) * factor)
    assert changed.filter(~hit).equals(fleet.readings.filter(~hit))
    assert changed.drop(column).equals(fleet.readings.drop(column))


def test_a_planted_fault_begins_about_two_thirds_in_with_one_of_the_first_customers(fleet: Fleet) -> None:
    planted = [plant(fleet.readings, fault="x100", seed=seed)[1] for seed in range(12)]
    shares = [(fault.start - CONFIG.start) / timedelta(days=CONFIG.days) for fault in planted]
    assert 0.55 <= min(shares) <= max(shares) <= 0.7
    assert CONFIG.customer_names[-1] not in {fault.customer for fault in planted}
    assert len({fault.parameter for fault in planted}) > 2
    assert planted[0] == plant(fleet.readings, fault="x100", seed=0)[1]


@pytest.mark.parametrize("fault", ["", "100", "x", "x-3", "x0", "x1", "x1.0", "times100", "x1e3"])
def test_an_unknown_fault_is_refused_with_the_known_ones(fleet: Fleet, fault: str) -> None:
    with pytest.raises(UnknownFaultError, match=f"'{fault}' is no fault that can be planted") as raised:
        plant(fleet.readings, fault=fault, seed=0)
    assert "Hint: known are, for example, x100, x1000, x0.001." in str(raised.value)
