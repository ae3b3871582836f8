"""A simulated fleet looks like its contract, is the same every time, and knows what could be known of its next minute."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from telemetry import contract as contracts
from telemetry.errors import FleetError
from telemetry.fleet import MISSING_SHARE, NULL_SHARE, PARAMETERS, TARGETS, Fleet, FleetConfig, simulate, write
from telemetry.oracle import Reach, measure
from telemetry.schema import AT, ENTITY, LABELS, ORACLE, START, TARGET, TIME, conform

CONTRACT = Path(__file__).parents[2] / "infra" / "contracts" / "fleet.toml"
SMALL = FleetConfig(customers=5, days=14, arriving=2, newcomer_days=7, incidents=4, early_incidents=0, incident_days=(8, 14))
KEYS = ["time", "customer", "region"]


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return simulate(SMALL)


@pytest.fixture(scope="module")
def joined(fleet: Fleet) -> pl.DataFrame:
    """Every observed value of a target beside its oracle, incidents left out: `entity, at, target, value, oracle`."""
    values = fleet.readings.select(
        pl.concat_str("customer", "region", separator="/").alias(ENTITY), pl.col("time").alias(AT), *TARGETS
    ).unpivot(index=[ENTITY, AT], variable_name=TARGET)
    struck = fleet.labels.select(ENTITY, START, "end")
    inside = values.select(ENTITY, AT).unique().join(struck, on=ENTITY).filter(pl.col(AT).is_between(START, "end", closed="left"))
    return (
        values.join(fleet.oracle, on=[ENTITY, AT, TARGET]).join(inside, on=[ENTITY, AT], how="anti").drop_nulls().sort(ENTITY, TARGET, AT)
    )


def test_the_readings_have_the_columns_of_the_contract(fleet: Fleet) -> None:
    contract = contracts.load(CONTRACT)
    assert tuple(fleet.readings.columns) == (contract.time.column, *contract.entity.keys, *contract.names)
    assert fleet.readings.schema["time"] == TIME
    assert contract.targets == TARGETS


def test_every_reading_is_plausible_in_the_units_of_its_source(fleet: Fleet) -> None:
    for name, parameter in contracts.load(CONTRACT).parameters.items():
        factor = 0.001 if parameter.source_unit == "ms" else 1.0
        told = fleet.readings.get_column(name).drop_nulls() * factor
        assert told.is_finite().all(), name
        assert told.is_between(parameter.minimum, parameter.maximum).all(), name
        assert told.n_unique() > 5, name
    assert 200 < fleet.readings.get_column("ingest_lag").median() < 2000  # milliseconds


def test_no_row_comes_twice_and_rows_come_in_order(fleet: Fleet) -> None:
    assert not fleet.readings.select(KEYS).is_duplicated().any()
    assert fleet.readings.select(KEYS).equals(fleet.readings.select(KEYS).sort(KEYS))


def test_a_few_minutes_and_values_are_missing(fleet: Fleet) -> None:
    calm = simulate(replace(SMALL, incidents=0))
    expected = (calm.conditional[:, :, 0] > 0).sum()
    assert 1 - calm.readings.height / expected == pytest.approx(MISSING_SHARE, rel=0.2)
    nulls = sum(fleet.readings.select(PARAMETERS).null_count().row(0))
    assert nulls / (fleet.readings.height * len(PARAMETERS)) == pytest.approx(NULL_SHARE, rel=0.3)


def test_customers_arrive_early_enough_to_mature_and_one_is_a_newcomer_at_the_end(fleet: Fleet) -> None:
    seen = dict(fleet.readings.group_by("customer").agg(pl.col("time").min()).iter_rows())
    days = {customer: (at - SMALL.start) / timedelta(days=1) for customer, at in seen.items()}
    *founding, early, late = (days[name] for name in SMALL.customer_names)
    assert founding == [0.0, 0.0, 0.0]
    assert 0 < early < SMALL.days - SMALL.newcomer_days < late < SMALL.days


def test_every_entity_is_seen_in_its_very_first_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telemetry.fleet.MISSING_SHARE", 0.5)
    config = replace(SMALL, customers=6, days=2, arriving=1, incidents=0, incident_days=None)
    seen = dict(simulate(config).readings.group_by("customer", "region").agg(pl.col("time").min()).select("customer", "time").iter_rows())
    late = config.start + timedelta(minutes=int(config.arrivals[-1]))
    assert seen == dict.fromkeys(config.customer_names[:-1], config.start) | {config.customer_names[-1]: late}


def test_the_same_configuration_writes_the_same_bytes(tmp_path: Path) -> None:
    config = replace(SMALL, customers=3, days=3, incidents=1, incident_days=(0, 3), arriving=1)
    for run in ("first", "second"):
        write(simulate(config), folder=tmp_path / run)
    first, second = _fingerprints(tmp_path / "first"), _fingerprints(tmp_path / "second")
    assert list(first) == [
        "readings/2026-01-01.parquet", "readings/2026-01-02.parquet", "readings/2026-01-03.parquet",
        "truth/labels.parquet", "truth/oracle.parquet",
    ]  # fmt: skip
    assert first == second
    write(simulate(replace(config, seed=1)), folder=tmp_path / "other")
    assert set(_fingerprints(tmp_path / "other").values()).isdisjoint(first.values())


def test_the_files_hold_what_was_simulated(fleet: Fleet, tmp_path: Path) -> None:
    write(fleet, folder=tmp_path)
    assert pl.read_parquet(tmp_path / "readings").sort(KEYS).equals(fleet.readings)
    assert pl.read_parquet(tmp_path / "truth" / "oracle.parquet").equals(fleet.oracle)
    conform(pl.read_parquet(tmp_path / "truth" / "labels.parquet"), LABELS, name="labels")


def test_the_oracle_is_compact_and_there_for_every_minute_of_every_target(fleet: Fleet) -> None:
    assert fleet.oracle.schema[ORACLE] == pl.Float32
    assert fleet.oracle.height == len(TARGETS) * (fleet.conditional[:, :, 0] > 0).sum()


@pytest.mark.slow
def test_nothing_known_the_minute_before_improves_on_the_oracle(joined: pl.DataFrame) -> None:
    """Residuals have mean 0, and go with neither the last residual nor the forecast nor its last change: it is the conditional mean."""
    residual = (pl.col("value") - pl.col(ORACLE)) / pl.col("value").std().over(ENTITY, TARGET)
    known = {"one": pl.lit(1.0), "last": residual.shift(1), "level": pl.col(ORACLE) / pl.col(ORACLE).mean().over(ENTITY, TARGET) - 1.0}
    known["change"] = pl.col(ORACLE) / pl.col(ORACLE).shift(1) - 1.0
    told = joined.group_by(TARGET).agg(
        ((residual * past).drop_nulls().sum() / (residual * past).drop_nulls().pow(2).sum().sqrt()).alias(name)
        for name, past in known.items()
    )
    assert told.select(pl.max_horizontal(pl.col(*known).abs().max())).item() < 4.5  # standard errors, of 20 such


def test_repeating_the_last_value_is_improved_on_by_the_oracle(fleet: Fleet) -> None:
    reach = measure(fleet)
    assert reach.skill == pytest.approx(0.285, abs=0.015)


@pytest.mark.slow
def test_the_small_customers_are_relatively_noisier(joined: pl.DataFrame) -> None:
    told = (
        joined.filter(pl.col(TARGET) == "positions")
        .group_by(ENTITY)
        .agg(size=pl.col(ORACLE).mean(), noise=(pl.col("value") / pl.col(ORACLE) - 1.0).std())
        .sort("size")
        .get_column("noise")
    )
    assert told[0] > 1.2 * told[-1]


@pytest.mark.slow
def test_the_noise_grows_with_volume_and_shrinks_relative_to_it(joined: pl.DataFrame) -> None:
    busy = pl.col(ORACLE) > pl.col(ORACLE).median()
    error = pl.col("value") - pl.col(ORACLE)
    one = joined.filter(pl.col(ENTITY) == "acme/eu", pl.col(TARGET) == "positions").select(
        quiet=error.filter(~busy).std(), busy=error.filter(busy).std(),
        quiet_share=(error / pl.col(ORACLE)).filter(~busy).std(), busy_share=(error / pl.col(ORACLE)).filter(busy).std(),
    )  # fmt: skip
    quiet, loud, quiet_share, busy_share = one.row(0)
    assert loud > 1.3 * quiet
    assert quiet_share > 1.3 * busy_share


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_small_fleet_is_near_the_promised_figures(seed: int) -> None:
    reach = measure(simulate(FleetConfig(customers=4, days=35, seed=seed, arriving=0)))
    assert 0.990 < reach.oracle < 0.994
    assert 0.93 < reach.persistence < 0.95
    assert reach.worst > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_fleet_is_at_the_promised_figures(seed: int) -> None:
    reach = measure(simulate(FleetConfig(days=62, seed=seed)), days=60)
    assert 0.991 < reach.oracle < 0.993, reach
    assert 0.93 < reach.persistence < 0.95
    assert reach.worst > 0.983
    assert _spread(reach, by=TARGET) < 0.004
    assert _spread(reach, by=ENTITY) < 0.008


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its own peak memory")
def test_the_demo_fleet_takes_less_than_two_gibibytes() -> None:
    script = "from pathlib import Path; from telemetry.fleet import FleetConfig, simulate; simulate(FleetConfig(days=62));"
    peak = "print(next(line.split()[1] for line in Path('/proc/self/status').open() if line.startswith('VmHWM')))"
    # not ru_maxrss: that of a child begins with what its parent had
    told = subprocess.run([sys.executable, "-c", script + peak], check=True, capture_output=True, text=True)
    assert int(told.stdout) / 2**20 < 2.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"customers": 2, "arriving": 2}, "no fleet of 2 customers, 2 of them arriving"),
        ({"regions": ()}, "in 0 regions"),
        ({"incident_days": (3, 99)}, "days 3 to 99 are not within the 60 days"),
        ({"start": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, "not in UTC"),
        ({"zones": ("Europe/Berlin", "Mars/Olympus")}, "no time zone Mars/Olympus"),
    ],
)
def test_an_impossible_fleet_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(FleetError, match=message):
        replace(FleetConfig(), **changes)


def test_a_fleet_may_start_at_any_minute() -> None:
    config = FleetConfig(customers=1, days=2, arriving=0, incidents=0, early_incidents=0, start=datetime(2026, 2, 28, 23, 30, tzinfo=UTC))
    assert simulate(config).readings.get_column("time").max() == datetime(2026, 3, 2, 23, 29, tzinfo=UTC)


def test_customers_may_live_by_the_clocks_of_their_own_zones() -> None:
    start, jump = datetime(2026, 3, 27, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)
    calm = FleetConfig(customers=2, regions=("eu",), days=4, arriving=0, incidents=0, early_incidents=0, start=start)
    winter, utc = (simulate(replace(calm, zones=zones)).conditional for zones in (("Etc/GMT-1",), ("UTC",)))
    local = simulate(replace(calm, zones=("Europe/Berlin", "UTC")))
    jumped = (jump - start) // timedelta(minutes=1)
    assert local.config.customer_zones == {"acme": "Europe/Berlin", "borealis": "UTC"}
    np.testing.assert_array_equal(local.conditional[:, 1], utc[:, 1])
    np.testing.assert_array_equal(local.conditional[:jumped, 0], winter[:jumped, 0])
    assert not np.isclose(local.conditional[jumped:, 0], winter[jumped:, 0]).all()


def test_incidents_leave_all_other_minutes_as_they_were(fleet: Fleet) -> None:
    calm = simulate(replace(SMALL, incidents=0))
    key = pl.concat_str("customer", "region", separator="/").alias(ENTITY)
    struck = calm.readings.select(*KEYS, key).join(fleet.labels, on=ENTITY).filter(pl.col("time").is_between(START, "end", closed="left"))
    assert struck.height > 120
    assert np.array_equal(calm.conditional, fleet.conditional)
    assert calm.readings.join(struck, on=KEYS, how="anti").equals(fleet.readings.join(struck, on=KEYS, how="anti"))


def _fingerprints(folder: Path) -> dict[str, str]:
    files = sorted(folder.rglob("*.parquet"))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _spread(reach: Reach, *, by: str) -> float:
    means: NDArray[np.float64] = reach.by_entity_target.group_by(by).agg(pl.col("oracle").mean()).get_column("oracle").to_numpy()
    return float(means.max() - means.min())
