"""Profiles of days: against Polars' own statistics, as a history that grows by what is new alone, and as the ground of drift."""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from telemetry.contract import Contract, load
from telemetry.fleet import FleetConfig, simulate
from telemetry.lake import Lake
from telemetry.schema import COMPARED, DRIFT, PROFILES, STORED_PROFILES
from tests.validation.grids import MONDAY, contract, day, grid, multiplied
from validation.drift import advice, drift, findings, last_day, paths, shares
from validation.history import TABLE, compare, profile, store, stored

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
FLEET = Path(__file__).parents[2] / "infra" / "contracts" / "fleet.toml"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def of(frame: pl.DataFrame, *, told: Contract | None = None) -> pl.DataFrame:
    return profile(frame.lazy(), contract=told or contract())


def one(profiles: pl.DataFrame, *, entity: str = "acme/eu", parameter: str = "queries", number: int = 0) -> dict[str, object]:
    found = profiles.filter(
        pl.col("entity") == entity, pl.col("parameter") == parameter, pl.col("day") == (MONDAY + timedelta(days=number)).date()
    )
    return found.row(0, named=True)


def with_queries(*values: float | None) -> pl.DataFrame:
    """A day whose other steps are null."""
    frame = grid(days=1, entities=("acme/eu",))
    return frame.with_columns(pl.Series("queries", [*values, *[None] * (frame.height - len(values))], dtype=pl.Float64))


# The statistics.


def test_a_profile_says_what_polars_says_of_every_group() -> None:
    frame = grid(days=3).with_columns(pl.when(pl.int_range(pl.len()) % 7 != 3).then(pl.exclude("entity", "at", "observed")))
    value = pl.col("value")
    quantiles = {"min": 0.0, "q01": 0.01, "q25": 0.25, "median": 0.5, "q75": 0.75, "q99": 0.99, "max": 1.0}
    said = (
        frame.drop("observed")
        .unpivot(index=["entity", "at"], variable_name="parameter")
        .group_by("entity", "parameter", pl.col("at").dt.date().alias("day"))
        .agg(
            value.count().cast(pl.Int64).alias("n"),
            (value.null_count() / pl.len()).alias("null_share"),
            (value == 0).mean().alias("zero_share"),
            *(value.quantile(share, interpolation="linear").alias(name) for name, share in quantiles.items()),
            value.mean().alias("mean"),
            value.std().alias("sd"),
            value.drop_nulls().n_unique().cast(pl.Int64).alias("distinct"),
        )
        .sort("entity", "parameter", "day")
    )
    assert_frame_equal(of(frame), said, rel_tol=1e-12)


def test_the_order_of_the_rows_changes_no_bit() -> None:
    for frame in (grid(days=3), grid(days=3).filter(pl.col("at") < day(2.5))):
        shuffled = frame.sample(fraction=1.0, shuffle=True, seed=1)
        assert of(shuffled).equals(of(frame))


def test_a_day_that_is_still_going_on_has_no_profile() -> None:
    frame = grid(days=3)
    assert of(frame.filter(pl.col("at") < day(2.99)))["day"].unique().sort().to_list() == [date(2026, 3, 2), date(2026, 3, 3)]
    assert of(frame.filter(pl.col("at") < day(0.5))).equals(pl.DataFrame(schema=PROFILES))
    assert of(frame.clear()).equals(pl.DataFrame(schema=PROFILES))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((), {"n": 0, "null_share": 1.0, "zero_share": None, "min": None, "median": None, "mean": None, "sd": None, "distinct": 0}),
        ((4.0,), {"n": 1, "zero_share": 0.0, "min": 4.0, "q01": 4.0, "max": 4.0, "mean": 4.0, "sd": None, "distinct": 1}),
        ((0.0, 0.0, 3.0), {"n": 3, "zero_share": 2 / 3, "median": 0.0, "mean": 1.0, "sd": math.sqrt(3), "distinct": 2}),
        ((math.inf, -math.inf, -1.0, 1.0), {"n": 2, "null_share": 142 / 144, "min": -1.0, "max": 1.0, "mean": 0.0, "distinct": 2}),
        ((1e308, 1.5e308), {"n": 2, "max": 1.5e308, "mean": None, "sd": None, "distinct": 2}),
    ],
    ids=["no value", "one value", "zeros", "infinite values", "values beyond a sum"],
)
def test_what_cannot_be_said_of_a_day_is_null(values: tuple[float, ...], told: dict[str, object]) -> None:
    found = one(of(with_queries(*values)))
    assert {name: found[name] for name in told} == {name: pytest.approx(value) if value else value for name, value in told.items()}


# The history.


def test_the_same_content_twice_adds_nothing(lake: Lake) -> None:
    profiles = of(grid(days=3))
    assert store(lake, profiles=profiles, run="one", at=AT) == profiles.height == 3 * 3 * 4
    assert store(lake, profiles=profiles, run="two", at=AT + timedelta(days=1)) == 0
    assert lake.version(TABLE) == 0
    assert stored(lake).equals(profiles)
    assert lake.read(TABLE, schema=STORED_PROFILES).select("run", "at").unique().collect().rows() == [("one", AT)]


def test_only_days_that_are_new_or_told_otherwise_are_added(lake: Lake) -> None:
    store(lake, profiles=of(grid(days=2)), run="one", at=AT)
    later = of(multiplied(grid(days=2), "cpu", by=2, since=1))
    assert store(lake, profiles=later, run="two", at=AT + timedelta(hours=1)) == 1
    told = lake.read(TABLE, schema=STORED_PROFILES).filter(pl.col("run") == "two").select("entity", "parameter", "day").collect()
    assert told.rows() == [("acme/eu", "cpu", date(2026, 3, 3))]
    assert stored(lake).equals(later)
    assert store(lake, profiles=of(grid(days=2)), run="three", at=AT + timedelta(hours=2)) == 1  # what was first counts again


def test_the_history_can_be_read_as_it_was_known_then(lake: Lake) -> None:
    first = of(grid(days=3))
    store(lake, profiles=first, run="one", at=AT)
    store(lake, profiles=of(multiplied(grid(days=4), "cpu", by=2, since=1)), run="two", at=AT + timedelta(days=1))
    assert stored(lake, at=AT).equals(first)
    assert stored(lake, at=AT - timedelta(seconds=1)).is_empty()
    assert stored(lake, at=AT, before=day(2.5)).equals(first.filter(pl.col("day") < date(2026, 3, 4)))


# The comparison.


def days_of(entity: str, *medians: float | None, first: int = 0, spread: float = 2.0) -> pl.DataFrame:
    """PROFILES of one parameter: a day a median."""
    rows = [
        {
            "entity": entity,
            "parameter": "cpu",
            "day": (MONDAY + timedelta(days=first + number)).date(),
            "n": 0 if median is None else 100,
            "median": median,
            "mean": median,
            "sd": None if median is None else 1.0,
            "q25": median,
            "q75": None if median is None else median + spread,
        }
        for number, median in enumerate(medians)
    ]
    return pl.DataFrame(rows, schema=PROFILES)


NOBODY = pl.DataFrame(schema={"entity": pl.String, "cohort": pl.String})


def compared(now: pl.DataFrame, **others: pl.DataFrame) -> dict[str, object]:
    nothing = now.clear()
    told = compare(
        now, past=others.get("past", nothing), cohort=others.get("cohort", NOBODY), champion=others.get("champion", nothing)
    ).row(0, named=True)
    return {name: value if value is None or isinstance(value, str) else round(value, 9) for name, value in told.items() if name != "day"}


def test_the_own_past_is_the_median_of_the_fourteen_days_before() -> None:
    past = pl.concat([days_of("a", 1000.0, *[2.0] * 7, *[4.0] * 7, 9.0), days_of("b", 77.0)])
    told = compared(days_of("a", 6.0, first=15, spread=4.0), past=past)  # day 15 itself is stored too, and does not count
    assert (told["median_past"], told["spread_past"]) == (round(math.log(6 / 3), 9), round(math.log(4 / 2), 9))
    assert compared(days_of("a", 6.0), past=past)["median_past"] is None


def test_the_cohort_is_the_median_of_its_others_on_the_same_day() -> None:
    now = pl.concat([days_of(entity, level) for entity, level in (("a", 8.0), ("b", 2.0), ("c", 4.0), ("d", 5.0), ("e", 99.0))])
    cohort = pl.DataFrame({"entity": ["a", "b", "c", "d", "e", "f"], "cohort": ["eu", "eu", "eu", "eu", "us", None]})
    told = compare(now, past=now.clear(), cohort=cohort, champion=now.clear())
    ratios = [None if ratio is None else round(math.exp(ratio), 9) for ratio in told["median_cohort"]]
    assert ratios == [8 / 4, 2 / 5, 4 / 5, round(5 / 4, 9), None]


def test_the_champion_is_the_median_of_what_it_learned() -> None:
    told = compared(days_of("a", 6.0), champion=days_of("a", 2.0, None, 3.0, 50.0))
    assert (told["median_champion"], told["spread_champion"]) == (round(math.log(2), 9), 0.0)


@pytest.mark.parametrize(("now", "known", "ratio"), [(0.0, 3.0, None), (3.0, 0.0, None), (-3.0, 3.0, None), (-6.0, -3.0, math.log(2))])
def test_a_ratio_needs_two_levels_of_one_sign(now: float, known: float, ratio: float | None) -> None:
    told = compared(days_of("a", now), champion=days_of("a", known))["median_champion"]
    assert told == (None if ratio is None else round(ratio, 9))


def test_without_any_past_there_is_nothing_to_compare() -> None:
    nothing = pl.DataFrame(schema=PROFILES)
    assert compare(nothing, past=nothing, cohort=NOBODY, champion=nothing).equals(pl.DataFrame(schema=COMPARED))


# The verdict on drift.

LEARNED = days_of("a", *[10.0, 12.0] * 7)


@pytest.mark.parametrize(("level", "drifted"), [(11.0, False), (11.9, False), (12.1, True), (9.9, True), (22.0, True)], ids=str)
def test_drift_is_told_in_deviations_of_the_training(level: float, drifted: bool) -> None:
    found = drift(days_of("a", *[level] * 7, first=20), champion=LEARNED, contract=contract())
    (row,) = found.to_dicts()
    assert (row["median_champion"], row["drifted"]) == (11.0, drifted)
    assert row["sd_champion"] == pytest.approx(math.sqrt(14 / 13))
    assert row["effect"] == pytest.approx((level - 11.0) / row["sd_champion"])


def test_a_step_that_is_small_against_the_values_themselves_is_no_drift() -> None:
    steady, noisy = days_of("a", *[10.0] * 14), days_of("a", *[10.0] * 14).with_columns(sd=pl.lit(8.0))
    moved = days_of("a", *[12.0] * 7, first=20)
    assert [drift(moved, champion=known, contract=contract())["drifted"].item() for known in (steady, noisy)] == [True, False]


def test_what_was_constant_has_drifted_once_it_is_another() -> None:
    constant = days_of("a", *[10.0] * 14).with_columns(sd=pl.lit(0.0))
    for level in (10.0, 10.5):
        (row,) = drift(days_of("a", *[level] * 7, first=20), champion=constant, contract=contract()).to_dicts()
        assert (row["effect"], row["drifted"]) == (None, level != 10.0)


def test_with_too_few_days_nothing_is_said() -> None:
    few = days_of("a", *[99.0] * 4, first=20)
    for now, known in ((few, LEARNED), (days_of("a", *[99.0] * 7, first=20), LEARNED.head(4)), (few.clear(), LEARNED)):
        assert drift(now, champion=known, contract=contract()).equals(pl.DataFrame(schema=DRIFT))
    assert last_day(few.clear()) is None
    assert advice(pl.DataFrame(schema=DRIFT), contract=contract()) == "keep"


def test_the_way_of_what_moved_most_is_told_day_by_day_in_deviations_of_the_training() -> None:
    now = pl.concat([days_of("a", *[10.0] * 5, *[14.0] * 7, first=20), days_of("b", *[10.0] * 12, first=20)])
    known = pl.concat([LEARNED, LEARNED.with_columns(entity=pl.lit("b"))])
    found = drift(now, champion=known, contract=contract())
    told = paths(now, champion=known, found=found)
    (effect,) = found.filter(pl.col("drifted"))["effect"]
    assert told["entity"].unique().to_list() == ["a"]
    assert told["effect"].to_list()[-7:] == [effect] * 7
    assert told["day"].to_list() == sorted(now.filter(pl.col("entity") == "a")["day"])
    assert max(abs(value) for value in told["effect"].to_list()[:5]) < effect / 2


def test_more_than_the_declared_share_of_drifted_parameters_asks_for_a_retrain() -> None:
    rows = [("a", name, 2.0, 1.0, 0.5, 2.0, name < "c") for name in "abcd"] + [("b", "a", 1.0, 1.0, 0.5, 0.0, False)]
    found = pl.DataFrame(rows, schema=DRIFT, orient="row")
    assert shares(found, contract=contract(drift_share=0.5)).rows() == [("a", 0.5, "keep"), ("b", 0.0, "keep")]
    assert shares(found, contract=contract(drift_share=0.49)).rows() == [("a", 0.5, "retrain"), ("b", 0.0, "keep")]
    assert findings(found, contract=contract(drift_share=0.5), release="r", learned_until=AT, last=AT.date()) == ()
    (finding,) = findings(found, contract=contract(drift_share=0.49), release="r1", learned_until=AT, last=date(2026, 6, 7))
    assert (finding.severity, finding.entity, finding.found) == ("warn", "a", "2 of 4 parameters drifted")
    assert finding.period == "2026-06-01 00:00 to 2026-06-08 00:00 UTC"
    assert finding.sentence == (
        "In the last 7 days 2 of 4 parameters of a were elsewhere than when release r1 learned (until 2026-05-01): "
        "a 2 instead of 1 (+2.0 deviations); b 2 instead of 1 (+2.0 deviations)."
    )


@pytest.fixture(scope="module")
def fleet() -> tuple[Contract, pl.DataFrame]:
    """A healthy fleet that grows, over 35 days of training and 28 after it."""
    declared = load(FLEET)
    told = simulate(FleetConfig(customers=4, days=63, seed=5, arriving=1, incidents=8, early_incidents=2))
    names = (pl.col(name).cast(pl.Float64) for name in declared.names)
    return declared, told.readings.select(
        pl.concat_str("customer", "region", separator="/").alias("entity"), pl.col("time").alias("at"), *names
    )


@pytest.mark.slow
def test_a_healthy_fleet_asks_for_no_retrain_within_28_days_and_a_doubled_load_does(fleet: tuple[Contract, pl.DataFrame]) -> None:
    declared, readings = fleet
    trained = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=35)
    profiles = of(readings, told=declared)
    learned = profiles.filter(pl.col("day") < trained.date())
    healthy = [
        drift(profiles.filter(pl.col("day") < (trained + timedelta(days=days)).date()), champion=learned, contract=declared)
        for days in range(1, 29)
    ]
    assert max(share for found in healthy for share in shares(found, contract=declared)["share"]) < 0.12
    assert {advice(found, contract=declared) for found in healthy} == {"keep"}
    for entity in ("acme/eu", "corvus/us"):
        hit = (pl.col("entity") == entity) & (pl.col("at") >= trained + timedelta(days=14))
        load_of = ("reporting_devices", "queries", "failed_queries", "positions", "active_sessions", "api_calls")
        doubled = readings.with_columns(pl.when(hit).then(pl.col(name) * 2).otherwise(pl.col(name)).alias(name) for name in load_of)
        found = drift(of(doubled, told=declared), champion=learned, contract=declared)
        asked = shares(found, contract=declared).filter(pl.col("advice") == "retrain")
        assert asked["entity"].to_list() == [entity]
