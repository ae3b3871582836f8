"""The calendar that each entity follows, and its attributes, are held against the contract by a clock of the checks' own."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.calendars import Place, calendar
from telemetry.panel import Panel
from tests.validation.grids import contract
from tests.validation.tensors import Scaled, made_of, scaled
from validation.advice import advice
from validation.findings import Finding
from validation.tensor_entities import expected_calendar, offsets_us

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Chatham")
CALENDAR: dict[str, Any] = {"by": "customer", "zones": {"acme": "Europe/Berlin"}, "countries": {"acme": "DE"}}


@pytest.fixture(scope="module")
def plain() -> Scaled:
    return scaled()


def local(plain: Scaled, **sections: Any) -> Scaled:
    """The healthy panel, by a contract with these sections."""
    return made_of(plain.grid, entities=plain.entities, declared=contract(**sections))


def found(panel: Scaled, *, kind: str = "calendar") -> list[Finding]:
    return [finding for finding in panel.findings() if finding.expectation == kind]


@settings(max_examples=40, deadline=None)
@given(zone=st.sampled_from(ZONES), country=st.sampled_from(["", "DE-BY", "US"]), minute=st.integers(0, 8 * 366 * 1440))
def test_the_clock_of_the_checks_is_that_of_the_panel(zone: str, country: str, minute: int) -> None:
    start = (datetime(2021, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)) // timedelta(microseconds=1)
    times = {"start_us": start, "cadence_seconds": 900}
    nothing = np.zeros((1, 400, 0))
    panel = Panel(
        **times,
        entities=("a",),
        parameters=(),
        targets=(),
        values=nothing.astype(np.float32),
        observed=nothing.astype(bool),
        calendar=calendar(**times, steps=400, place=Place(zone=zone, country=country), holidays=True),
        newcomer=np.zeros((1, 400), dtype=bool),
        part=np.zeros((1, 400), dtype=np.uint8),
        incident=np.zeros((1, 400), dtype=bool),
    )
    np.testing.assert_allclose(panel.calendar[0], expected_calendar(panel, place=(zone, country), columns=11), atol=1e-6)


def test_local_calendars_that_are_right_are_not_complained_of(plain: Scaled) -> None:
    assert found(local(plain, calendar=CALENDAR)) == []


def test_utc_for_all_is_found_where_a_customer_has_a_zone(plain: Scaled) -> None:
    right = local(plain, calendar=CALENDAR | {"zones": {"acme": "Europe/Berlin", "bolt": "Asia/Kolkata"}})
    own = int(right.panel.clock[right.panel.entities.index("acme/eu")])
    utc = right.panel.calendar.copy()
    utc[own, :, :8] = plain.panel.calendar[0]
    odd = {finding.parameter: finding for finding in found(right.spoiled(calendar=utc)) if finding.entity is None}
    assert set(odd) == {"hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "monthday_sin", "monthday_cos"}
    assert odd["hour_sin"].found.endswith(", a clock at UTC +0 h")
    assert odd["hour_sin"].sentence.startswith("hour_sin is not what the clock says in Europe/Berlin (DE) at ")
    assert odd["hour_sin"].sentence.endswith("that is at UTC +0 h: that is not the time in Europe/Berlin (DE).")


def test_an_entity_that_follows_anothers_zone_is_named(plain: Scaled) -> None:
    right = local(plain, calendar=CALENDAR)
    clock = right.panel.clock.copy()
    moved = right.panel.entities.index("acme/us")
    clock[moved] = right.panel.clock[right.panel.entities.index("bolt/eu")]
    (finding,) = found(right.spoiled(clock=clock))
    assert (finding.entity, finding.parameter, finding.severity) == ("acme/us", None, "stop")
    assert finding.found == f"the calendar of UTC, {right.panel.steps:,} steps off"
    assert finding.expected == "the calendar of Europe/Berlin (DE)"
    assert "telemetry.calendars.follow" in advice(finding.expectation)


def test_holidays_of_another_country_and_missing_ones_are_found(plain: Scaled) -> None:
    right = local(plain, calendar={"zone": "Europe/Berlin", "country": "US"})
    assert right.panel.calendar.shape[-1] == 11
    for calendar_ in (right.panel.calendar[..., :8], right.panel.calendar + np.eye(11, dtype=np.float32)[8]):
        odd = found(right.spoiled(calendar=calendar_))
        assert "holiday" in {finding.parameter for finding in odd}


def test_attributes_of_another_entity_are_named(plain: Scaled) -> None:
    right = local(plain, attributes={"one_hot": ["region"], "facts": {"size": {"by": "customer", "values": {"acme": 3, "bolt": 9}}}})
    assert found(right, kind="attributes") == []
    wrong = right.panel.static.copy()
    wrong[1] = wrong[2]
    (finding,) = found(right.spoiled(static=wrong), kind="attributes")
    assert (finding.entity, finding.found) == ("acme/us", "3 wrong: region=eu, region=us, size")


@pytest.mark.slow
def test_the_tables_of_zones_that_make_and_check_a_calendar_agree() -> None:
    every = pl.datetime_range(datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC), "29h", eager=True)
    utc, at = every.dt.replace_time_zone(None), every.dt.epoch("us").to_numpy()
    apart = []
    for zone in sorted(available_timezones() - {"localtime", "Factory"}):
        ahead = (every.dt.convert_time_zone(zone).dt.replace_time_zone(None) - utc).dt.total_microseconds().to_numpy()
        if (ahead != offsets_us(at, zone=zone)).any():
            apart.append(zone)
    assert apart == []
