"""Every expectation is tripped by what it guards against, through the checks as they run, and is green on sound telemetry."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.validation import test_counters as counters
from tests.validation.grids import STEPS_A_DAY, contract, day, grid, multiplied, silenced
from tests.validation.tensors import Scaled, made_of, scaled

pytestmark = pytest.mark.slow

OTHERS = ("c1/eu", "c2/eu", "c3/eu", "c4/eu", "c5/eu", "c6/eu")
RULE = {"left": "failures", "op": "<=", "right": "queries"}
CUSTOMERS = ("acme", "bolt", *(name.split("/")[0] for name in OTHERS))
DECLARED = contract(rules=(RULE,), calendar={"by": "customer", "zones": dict.fromkeys(CUSTOMERS, "UTC")})
Outcome = dict[str, bool]
"""Whether all expectations of a type succeeded, by the type."""


def sound() -> pl.DataFrame:
    return pl.concat([grid(night=0.5), grid(night=0.5, entities=OTHERS, seed=1)])


def copied(frame: pl.DataFrame) -> pl.DataFrame:
    """The day before told once more."""
    hit = (pl.col("entity") == "c2/eu") & (pl.col("at").dt.date() == day(9).date())
    back = STEPS_A_DAY
    return frame.with_columns(pl.when(hit).then(pl.col(name).shift(back)).otherwise(name).alias(name) for name in DECLARED.names)


def infinite(frame: pl.DataFrame, *entities: str) -> pl.DataFrame:
    return multiplied(frame, "latency", by=float("inf"), since=27, until=27.1, entities=entities)


RAW: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "expect_declared_columns": lambda frame: frame.drop("cpu"),
    "expect_rows": lambda frame: frame.clear(),
    "expect_one_row_a_step": lambda frame: pl.concat([frame, frame.tail(1)]),
    "expect_time_goes_forward": lambda frame: frame.reverse(),
    "expect_plausible_range": lambda frame: multiplied(frame, "cpu", by=9.0, since=20),
    "expect_finite_values": lambda frame: infinite(frame, "acme/eu"),
    "expect_not_missing": lambda frame: multiplied(frame, "latency", by=float("nan"), since=2),
    "expect_same_unit": lambda frame: multiplied(frame, "latency", by=100.0, since=18),
    "expect_unit_of_others": lambda frame: multiplied(frame, "latency", by=1e3, since=0, entities=("c3/eu",)),
    "expect_rule": lambda frame: multiplied(frame, "failures", by=1e4, since=2),
    "expect_volume": lambda frame: silenced(frame, since=27.1),
    "expect_freshness": lambda frame: silenced(frame, since=26.5),
    "expect_calendar_keys": lambda frame: frame.with_columns(pl.col("entity").str.replace("bolt", "zeta", literal=True)),
    "expect_no_copies": copied,
    "expect_few_quarantined": lambda frame: infinite(frame, "acme/eu", *OTHERS),
}
COUNTERS: dict[str, Callable[[], pl.DataFrame]] = {
    "expect_counter_forward": lambda: counters.counted(changes={100: counters.fallen}),
    "expect_few_restarts": lambda: counters.counted(changes=dict.fromkeys(range(150, 280, 4), counters.restarted)),
}


def changed(change: Callable[[Any, Scaled], None]) -> Callable[[Scaled], Scaled]:
    """Spoils a copy of the values."""

    def spoil(panel: Scaled) -> Scaled:
        values = panel.values()
        change(values, panel)
        return panel.spoiled(values=values)

    return spoil


def nan(values: Any, _: Scaled) -> None:
    values[0, 5, 3] = np.nan


def stray(values: Any, _: Scaled) -> None:
    values[1, 3 * STEPS_A_DAY + 4, 2] = 1.0


def variance(values: Any, panel: Scaled) -> None:
    values[0, :, 0] /= np.float32(panel.constants("acme/eu", "queries")[1])


def no_mean(values: Any, panel: Scaled) -> None:
    mean, sd = panel.constants("acme/eu", "queries")
    values[0, :, 0] += np.float32(mean / sd)


def others(values: Any, panel: Scaled) -> None:
    own, other = panel.constants("acme/eu", "latency"), panel.constants("acme/us", "latency")
    values[0, :, 2] = (values[0, :, 2] * own[1] + own[0] - other[0]) / other[1]


def moved(values: Any, _: Scaled) -> None:
    values[0, :, 0] = np.roll(values[0, :, 0], 1)


TENSORS: dict[str, Callable[[Scaled], Scaled]] = {
    "expect_scaled_mean": changed(no_mean),
    "expect_scaled_deviation": changed(variance),
    "expect_finite_tensor": changed(nan),
    "expect_zero_where_unobserved": changed(stray),
    "expect_round_trip": changed(moved),
    "expect_own_scale": changed(others),
    "expect_calendar": lambda panel: panel.spoiled(calendar=np.roll(panel.panel.calendar, 6, axis=-2)),
    "expect_attributes": lambda panel: panel.spoiled(static=1 - panel.panel.static),
    "expect_newcomer_flag": lambda panel: panel.spoiled(newcomer=np.zeros_like(panel.panel.newcomer)),
}


def attributed() -> Scaled:
    """The healthy panel, with a flag for each region."""
    plain = scaled()
    return made_of(plain.grid, entities=plain.entities, declared=contract(attributes={"one_hot": ["region"]}))


def outcome(folder: Path) -> Outcome:
    """Of the validations that a check stored in a folder."""
    told: Outcome = {}
    for path in (folder / "great_expectations" / "validations").rglob("*.json"):
        for result in json.loads(path.read_text(encoding="utf-8"))["results"]:
            kind = result["expectation_config"]["type"]
            told[kind] = told.get(kind, True) and result["success"]
    return told


def of_raw(frame: pl.DataFrame, *, folder: Path) -> Outcome:
    from validation.checks import check_raw

    check_raw(frame.lazy(), contract=DECLARED, folder=folder)
    return outcome(folder)


def of_counters(readings: pl.DataFrame, *, folder: Path) -> Outcome:
    from validation.checks import check_raw

    risen = grid(days=3, entities=("acme/eu", "bolt/eu")).select("entity", "at", "observed", "queries")
    check_raw(risen.lazy(), contract=counters.contract(), folder=folder, readings=readings.lazy())
    return outcome(folder)


def of_tensors(panel: Scaled, *, folder: Path) -> Outcome:
    from validation.checks import check_tensor

    check_tensor(panel.panel, scales=panel.scales, grid=panel.grid.lazy(), contract=panel.declared, entities=panel.entities, folder=folder)
    return outcome(folder)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("clean")
    raw = of_raw(sound(), folder=folder / "raw")
    counted = of_counters(counters.counted(), folder=folder / "counters")
    return raw | counted | of_tensors(attributed(), folder=folder / "tensors")


def test_there_is_a_fixture_for_every_expectation_and_every_expectation_is_asked(clean: Outcome) -> None:
    from validation.expectations import kinds

    assert {*RAW, *COUNTERS, *TENSORS} == set(clean) == kinds()


def test_sound_telemetry_trips_none(clean: Outcome) -> None:
    assert [kind for kind, success in clean.items() if not success] == []


@pytest.mark.parametrize("kind", RAW)
def test_an_expectation_of_the_grid_is_tripped(kind: str, tmp_path: Path) -> None:
    assert of_raw(RAW[kind](sound()), folder=tmp_path)[kind] is False


@pytest.mark.parametrize("kind", COUNTERS)
def test_an_expectation_of_counters_is_tripped(kind: str, tmp_path: Path) -> None:
    told = of_counters(COUNTERS[kind](), folder=tmp_path)
    assert [each for each, success in told.items() if not success] == [kind]


@pytest.mark.parametrize("kind", TENSORS)
def test_an_expectation_of_the_tensors_is_tripped(kind: str, tmp_path: Path) -> None:
    assert of_tensors(TENSORS[kind](attributed()), folder=tmp_path)[kind] is False
