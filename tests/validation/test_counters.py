"""A counter that runs backwards is told from one that begins anew, and from one that does so all the time."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from telemetry.contract import Contract, parse
from tests.validation.grids import STEP, day, grid
from validation.counters import backwards, falls, restarts

SINCE = 5 * STEP
STEPS = 3 * 144


def contract(**checks: Any) -> Contract:
    """Of one counter at ten minutes a step."""
    raw = {
        "name": "counted",
        "entity": {"keys": ["customer", "region"]},
        "time": {"column": "time", "zone": "UTC", "cadence_seconds": 600},
        "parameters": {"queries": {"unit": "count", "aggregation": "counter", "target": True}},
        "checks": {"max_quarantined_share": 0.5} | checks,
    }
    return parse(raw)


def counted(**told: Any) -> pl.DataFrame:
    """Three days of two counters that rise by about 100 a step; `told` replaces values of acme/eu by step."""
    rng = np.random.default_rng(2)
    at = pl.datetime_range(day(0), day(0) + (STEPS - 1) * STEP, STEP, eager=True, time_unit="us")
    frames = []
    for entity in ("acme/eu", "bolt/eu"):
        values = 1e6 + rng.poisson(100, STEPS).cumsum().astype(np.float64)
        for step, change in sorted(told.get("changes", {}).items()) if entity == "acme/eu" else ():
            values[step:] = change(values[step:], values[step - 1])
        frames.append(pl.DataFrame({"entity": entity, "at": at, "queries": values}))
    return pl.concat(frames)


def restarted(values: Any, before: float) -> Any:
    return values - before


def fallen(values: Any, before: float) -> Any:
    return values - 0.2 * before


def odd(frame: pl.DataFrame) -> pl.DataFrame:
    return falls(frame, parameter="queries", since=SINCE)


def test_a_counter_that_rises_never_falls() -> None:
    assert odd(counted()).is_empty()
    assert backwards(odd(counted()), parameter="queries", cadence=STEP, severity="stop") == ()


def test_a_restart_is_no_running_backwards() -> None:
    found = odd(counted(changes={100: restarted, 200: restarted}))
    assert found["backwards"].to_list() == [False, False]
    assert found["at"].to_list() == [day(0) + 100 * STEP, day(0) + 200 * STEP]
    assert backwards(found, parameter="queries", cadence=STEP, severity="stop") == ()
    assert restarts(found, parameter="queries", at_most=24) == ()


@pytest.mark.parametrize("change", [fallen, lambda values, _: values - 350, lambda values, before: values - 0.9 * before])
def test_a_fall_that_does_not_go_to_zero_is_named(change: Any) -> None:
    (found,) = backwards(odd(counted(changes={100: change})), parameter="queries", cadence=STEP, severity="quarantine")
    start = day(0) + 100 * STEP
    assert (found.expectation, found.severity, found.entity, found.parameter) == ("counter", "quarantine", "acme/eu", "queries")
    assert (found.period_start, found.period_end) == (start, start + STEP)
    assert "which is no restart from zero" in found.sentence


def test_a_slow_counter_may_begin_anew_at_nearly_what_it_told() -> None:
    slow = [0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0]
    frame = pl.DataFrame({"entity": "acme/eu", "at": [day(0) + n * STEP for n in range(len(slow))], "queries": slow})
    assert odd(frame)["backwards"].to_list() == [False]


def test_what_only_falls_is_no_counter() -> None:
    frame = pl.DataFrame({"entity": "acme/eu", "at": [day(0) + n * STEP for n in range(5)], "queries": [90.0, 80.0, 70.0, 60.0, 50.0]})
    assert odd(frame)["backwards"].all()


def test_what_is_restarted_again_and_again_is_warned_of() -> None:
    found = odd(counted(changes=dict.fromkeys(range(150, 280, 4), restarted)))
    (told,) = restarts(found, parameter="queries", at_most=24)
    assert (told.severity, told.period_start, told.period_end) == ("warn", day(1), day(2))
    assert told.found == "up to 33 restarts a day, on 1 day"
    assert restarts(found, parameter="queries", at_most=33) == ()


def test_after_a_silence_the_grid_tells_no_rise_and_a_fall_does_no_harm() -> None:
    frame = counted(changes={100: fallen}).filter(~pl.col("at").is_between(day(0) + 90 * STEP, day(0) + 99 * STEP))
    assert odd(frame).is_empty()
    assert len(falls(frame, parameter="queries", since=timedelta(days=1))) == 1


@pytest.mark.slow
def test_the_counters_have_a_suite_and_a_page_of_their_own(tmp_path: Path) -> None:
    from validation.checks import check_raw

    risen = grid(days=3, entities=("acme/eu", "bolt/eu")).select("entity", "at", "observed", "queries")
    told = counted(changes={100: fallen})
    alone = check_raw(risen.lazy(), contract=contract(), folder=tmp_path / "alone")
    report = check_raw(risen.lazy(), contract=contract(), folder=tmp_path / "both", readings=told.lazy())
    assert report.asked == report.results == alone.asked + 2
    assert [(found.expectation, found.severity) for found in report.findings] == [("counter", "quarantine")]
    assert report.passed
    assert len([*(tmp_path / "both" / "data_docs" / "validations").rglob("*.html")]) == 2
    off = check_raw(risen.lazy(), contract=contract(counter="off"), folder=tmp_path / "off", readings=told.lazy())
    assert off.asked == alone.asked
    few = contract(max_quarantined_share=0.1)  # 1 of 2 cells
    stopped = check_raw(risen.lazy(), contract=few, folder=tmp_path / "few", readings=told.lazy())
    assert [found.expectation for found in stopped.stops] == ["quarantined share"]
