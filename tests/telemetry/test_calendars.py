"""Every entity lives by the calendar of its own zone and country: a pure function of the instant, across jumps of the clock."""

import hashlib
import json
import logging
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telemetry import contract as contracts
from telemetry.calendars import Place, calendar, calendars, follow, tell
from telemetry.contract import Contract
from telemetry.errors import ContractError
from telemetry.panel import CALENDAR, HOLIDAYS, load, save
from telemetry.scaling import fit
from telemetry.schema import AT, COHORT, ENTITIES, ENTITY, FIRST_SEEN, LABELS, LAST_SEEN, OBSERVED, TIME
from telemetry.windows import cuts, panel

START = datetime(2026, 3, 26, tzinfo=UTC)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia")
BY_CUSTOMER = {"by": "customer", "zones": {"acme": "Europe/Berlin", "bolt": "Asia/Kolkata"}, "countries": {"acme": "DE-BY"}}


def a_contract(*, keys: tuple[str, ...] = ("customer", "region"), cohort: str | None = "region", **sections: Any) -> Contract:
    return contracts.parse(
        {
            "name": "toy",
            "entity": {"keys": keys} | ({"cohort": cohort} if cohort else {}),
            "time": {"column": "at", "zone": "UTC", "cadence_seconds": 600},
            "parameters": {"load": {"unit": "count", "target": True}},
            "windows": {"time_steps": 8, "warmup_steps": 2},
            "newcomer": {"days": 1},
        }
        | sections
    )


def us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def clock_of(told: np.ndarray) -> list[tuple[int, int]]:
    """Weekday (Monday is 0) and minute of day that a calendar's sines and cosines mean."""
    of_day = np.rint(np.arctan2(told[:, 2], told[:, 3]) / (2 * np.pi) * 1440) % 1440
    weekday = np.rint(np.arctan2(told[:, 4], told[:, 5]) / (2 * np.pi) * 7) % 7
    return [(int(day), int(minute)) for day, minute in zip(weekday, of_day, strict=True)]


def at(zone: str, *, start: datetime, steps: int, minutes: int = 30) -> list[tuple[int, int]]:
    return clock_of(calendar(start_us=us(start), steps=steps, cadence_seconds=minutes * 60, place=Place(zone=zone)))


def test_the_local_hour_jumps_forward_in_spring_and_back_in_autumn() -> None:
    spring = at("Europe/Berlin", start=datetime(2026, 3, 29, 0, 30, tzinfo=UTC), steps=3)
    assert spring == [(6, 90), (6, 180), (6, 210)]  # 1:30, then 3:00
    autumn = at("Europe/Berlin", start=datetime(2026, 10, 25, 0, 30, tzinfo=UTC), steps=3)
    assert autumn == [(6, 150), (6, 120), (6, 150)]  # 2:30, then 2:00 again


def test_zones_of_half_and_three_quarter_hours_are_told_to_the_minute() -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert at("Asia/Kolkata", start=noon, steps=1) == [(0, 17 * 60 + 30)]
    assert at("Asia/Kathmandu", start=noon, steps=1) == [(0, 17 * 60 + 45)]
    half = datetime(2026, 4, 4, 14, 30, tzinfo=UTC)  # Lord Howe Island goes back by half an hour
    assert at("Australia/Lord_Howe", start=half, steps=2) == [(6, 90), (6, 90)]


def test_a_month_whose_last_day_lacks_this_hour_is_told_all_the_same() -> None:
    told = calendar(start_us=us(datetime(2024, 3, 1, 1, 30, tzinfo=UTC)), steps=1, cadence_seconds=60, place=Place(zone="Europe/Berlin"))
    np.testing.assert_allclose(told[0, 6:8], [0, 1], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    minute=st.integers(0, 4 * 366 * 1440),
    cadence=st.sampled_from([60, 600, 900, 3600]),
    ahead=st.integers(0, 50),
)
@example(zone="Europe/Berlin", minute=27 * 1440 + 3 * 1440, cadence=60, ahead=50)
def test_a_calendar_is_a_function_of_the_instant_alone(zone: str, minute: int, cadence: int, ahead: int) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    place, steps = Place(zone=zone, country="DE"), ahead + 20
    whole = calendar(start_us=us(start), steps=steps, cadence_seconds=cadence, place=place, holidays=True)
    later = us(start + timedelta(seconds=cadence * ahead))
    np.testing.assert_array_equal(calendar(start_us=later, steps=20, cadence_seconds=cadence, place=place, holidays=True), whole[ahead:])
    local = [(start + timedelta(seconds=cadence * step)).astimezone(ZoneInfo(zone)) for step in range(steps)]
    assert clock_of(whole) == [(each.weekday(), each.hour * 60 + each.minute) for each in local]
    np.testing.assert_allclose(whole[:, :8:2] ** 2 + whole[:, 1:8:2] ** 2, 1, atol=1e-5)


def test_utc_is_told_as_it_was_before_there_were_zones() -> None:
    times = {"start_us": us(START), "steps": 5000, "cadence_seconds": 60}
    plain = calendar(**times)
    assert plain.shape == (5000, len(CALENDAR))
    np.testing.assert_array_equal(plain, calendar(**times, place=Place(zone="Etc/UTC"), holidays=True)[:, :8])
    minute = np.arange(5000)
    np.testing.assert_allclose(plain[:, 2], np.sin(2 * np.pi * (minute % 1440) / 1440), atol=1e-5)


def test_a_holiday_lasts_a_local_day_and_is_told_the_day_before_and_after() -> None:
    place = Place(zone="Europe/Berlin", country="DE")
    start = datetime(2026, 4, 30, 12, tzinfo=UTC)
    told = calendar(start_us=us(start), steps=72, cadence_seconds=3600, place=place, holidays=True)[:, len(CALENDAR) :]
    local = [(start + timedelta(hours=hour)).astimezone(ZoneInfo("Europe/Berlin")).date() for hour in range(72)]
    labour_day = date(2026, 5, 1)
    expected = [[day == labour_day, day == date(2026, 4, 30), day == date(2026, 5, 2)] for day in local]
    np.testing.assert_array_equal(told, np.array(expected))
    assert told.shape[1] == len(HOLIDAYS)
    assert told[:, 0].sum() == 24


def test_parts_of_a_country_and_new_year_have_their_own_holidays() -> None:
    def holidays(country: str, day: datetime) -> list[float]:
        place = Place(zone="UTC", country=country)
        return [float(flag) for flag in calendar(start_us=us(day), steps=1, cadence_seconds=60, place=place, holidays=True)[0, 8:]]

    epiphany = datetime(2026, 1, 6, 12, tzinfo=UTC)
    assert holidays("DE-BY", epiphany)[0] == 1
    assert holidays("DE-BE", epiphany)[0] == 0
    assert holidays("", epiphany) == [0, 0, 0]
    assert holidays("DE", datetime(2025, 12, 31, 12, tzinfo=UTC)) == [0, 1, 0], "the next year's first day"


def test_entities_follow_the_zone_of_their_customer_and_others_fall_back() -> None:
    declared = a_contract(calendar=BY_CUSTOMER | {"zone": "America/Chicago", "country": "US"})
    followed = follow(("acme/eu", "acme/us", "bolt/eu", "core/eu"), contract=declared)
    own = [followed.places[place] for place in followed.clock]
    assert own == [
        Place(zone="Europe/Berlin", country="DE-BY"),
        Place(zone="Europe/Berlin", country="DE-BY"),
        Place(zone="Asia/Kolkata", country="US"),
        Place(zone="America/Chicago", country="US"),
    ]
    assert followed.fallen_back == ("bolt/eu", "core/eu"), "bolt has a zone and no country"
    assert followed.unused == ()


def test_a_cohort_that_is_no_key_is_looked_up_and_an_unknown_entity_falls_back() -> None:
    declared = a_contract(keys=("machine",), cohort="machine", calendar={"by": "machine", "zones": {"m-1/x": "Asia/Tokyo"}})
    followed = follow(("m-1/x", "m-2"), contract=declared)
    assert [followed.places[place].zone for place in followed.clock] == ["Asia/Tokyo", "UTC"]
    grouped = contracts.parse(
        a_contract().model_dump(mode="json")
        | {
            "entity": {"keys": ["customer"], "cohort": "site", "path_pattern": "(?P<site>[a-z]+)"},
            "calendar": {"by": "site", "zones": {"north": "Asia/Tokyo"}},
        }
    )
    followed = follow(("a", "b"), contract=grouped, cohorts={"a": "north"})
    assert [followed.places[place].zone for place in followed.clock] == ["Asia/Tokyo", "UTC"]


def test_the_log_tells_who_falls_back_and_what_nobody_has(caplog: pytest.LogCaptureFixture) -> None:
    declared = a_contract(calendar=BY_CUSTOMER | {"zones": {"acme": "Europe/Berlin", "acmee": "Asia/Tokyo"}})
    with caplog.at_level(logging.INFO):
        tell(follow(("acme/eu", "bolt/eu"), contract=declared), contract=declared)
    assert (
        "1 of 2 entities have a customer that calendar.zones or calendar.countries does not name, and go by UTC there: bolt/eu"
        in caplog.text
    )
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == ["calendar: no entity has the customer of calendar.zones.acmee; is it spelled as in the data?"]


@pytest.mark.parametrize(
    ("calendar", "told"),
    [
        ({"zone": "Mars/Olympus"}, "calendar.zone: 'Mars/Olympus' is no IANA time zone"),
        ({"by": "customer", "zones": {"acme": "Europe"}}, "calendar.zones.acme: 'Europe' is no IANA time zone"),
        ({"zone": "localtime"}, "calendar.zone: 'localtime' is no IANA time zone"),
        ({"country": "XX"}, "calendar.country: 'XX' is no country whose holidays are known"),
        ({"by": "customer", "countries": {"acme": "DE-ZZ"}}, "calendar.countries.acme: 'DE-ZZ' names no part of DE; known are BB,"),
        ({"zones": {"acme": "UTC"}}, "zones and countries need `by`"),
        ({"by": "customer"}, "`by` needs zones or countries"),
        ({"by": "plan", "zones": {"gold": "UTC"}}, "calendar.by: 'plan' is neither a key nor the cohort of an entity; expected one of cus"),
        ({"timezone": "UTC"}, "calendar.timezone: unknown key; allowed here: by, countries, country, zone, zones"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_its_key(calendar: dict[str, object], told: str) -> None:
    with pytest.raises(ContractError) as caught:
        a_contract(calendar=calendar)
    assert told in str(caught.value)


def test_a_contract_without_these_sections_means_what_it_meant() -> None:
    plain = a_contract()
    before = plain.model_dump(mode="json", exclude={"reviewed", "calendar", "attributes"})
    meant = hashlib.sha256(json.dumps(before, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
    assert plain.digest == a_contract(calendar={}, attributes={}).digest == meant
    assert plain.digest != a_contract(calendar={"zone": "Europe/Berlin"}).digest


def a_grid(entities: tuple[str, ...]) -> pl.DataFrame:
    times = pl.datetime_range(START, START + timedelta(days=5), "10m", closed="left", eager=True).cast(TIME)
    rng = np.random.default_rng(0)
    return pl.concat([pl.DataFrame({ENTITY: name, AT: times, OBSERVED: True, "load": rng.normal(size=len(times))}) for name in entities])


def a_panel(contract: Contract, *, entities: tuple[str, ...] = ("acme/eu", "bolt/eu", "core/us"), known: tuple[str, ...] = ()) -> Any:
    """The panel of `entities`, with the scales of `known` (by default the same)."""
    seen, grid = a_grid(known or entities), a_grid(entities)

    def told(frame: pl.DataFrame) -> pl.DataFrame:
        region = pl.col(ENTITY).str.split("/").list.last().first().alias(COHORT)
        spans = frame.group_by(ENTITY).agg(region, pl.col(AT).min().alias(FIRST_SEEN), pl.col(AT).max().alias(LAST_SEEN))
        return spans.select(list(ENTITIES)).sort(ENTITY)

    scales = fit(seen.lazy(), contract=contract, entities=told(seen), cuts=cuts(seen.lazy(), contract=contract))
    labels = pl.DataFrame(schema=dict(LABELS))
    return panel(grid.lazy(), contract=contract, scales=scales, entities=told(grid), labels=labels, parts=None)


def test_a_panel_has_one_calendar_for_each_place_and_none_more(tmp_path: Path) -> None:
    plain = a_panel(a_contract())
    assert plain.calendar.shape == (1, plain.steps, 8)
    assert plain.clock.tolist() == [0, 0, 0]
    made = a_panel(a_contract(calendar=BY_CUSTOMER))
    assert made.calendar.shape == (3, made.steps, 11)
    assert made.calendar_names == (*CALENDAR, *HOLIDAYS)
    for entity, zone in zip(range(3), ("Europe/Berlin", "Asia/Kolkata", "UTC"), strict=True):
        local = [each.astimezone(ZoneInfo(zone)) for each in (START, START + timedelta(days=4))]
        told = clock_of(made.calendar[made.clock[entity]])
        assert [told[0], told[4 * 144]] == [(each.weekday(), each.hour * 60 + each.minute) for each in local]
    save(made, folder=tmp_path)
    again = load(tmp_path)
    np.testing.assert_array_equal(again.calendar, made.calendar)
    np.testing.assert_array_equal(again.clock, made.clock)


def test_a_panel_that_was_saved_before_there_were_zones_is_read(tmp_path: Path) -> None:
    made = a_panel(a_contract())
    save(made, folder=tmp_path)
    np.save(tmp_path / "calendar.npy", made.calendar[0])
    for name in ("clock", "static"):
        (tmp_path / f"{name}.npy").unlink()
    told = (tmp_path / "panel.json").read_text(encoding="utf-8").replace(', "attributes": []', "")
    (tmp_path / "panel.json").write_text(told, encoding="utf-8")
    again = load(tmp_path)
    np.testing.assert_array_equal(again.calendar, made.calendar)
    assert (again.clock.tolist(), again.static.shape) == ([0, 0, 0], (3, 0))


def test_a_clock_that_is_not_there_is_refused() -> None:
    made = a_panel(a_contract(calendar=BY_CUSTOMER))
    with pytest.raises(ValueError, match=r"clock \[0, 1, 3\] must name one of 3 calendars for each of 3 entities"):
        replace(made, clock=np.array([0, 1, 3], dtype=np.int32))


def test_scoring_of_a_few_minutes_sees_the_calendar_of_training() -> None:
    contract = a_contract(calendar=BY_CUSTOMER, attributes={"one_hot": ["region"]})
    trained = a_panel(contract)
    live = contracts.parse(contract.model_dump(mode="json"), path="of a release")  # as a release keeps it
    few = a_grid(("bolt/eu", "zeta/us")).filter(pl.col(AT) >= START + timedelta(days=2, hours=3))
    entities = pl.DataFrame({ENTITY: ["bolt/eu"], COHORT: ["eu"], FIRST_SEEN: [START], LAST_SEEN: [START]}, schema=dict(ENTITIES))
    scales = fit(
        a_grid(trained.entities).lazy(),
        contract=contract,
        entities=pl.DataFrame({ENTITY: trained.entities, COHORT: "eu", FIRST_SEEN: START, LAST_SEEN: START}, schema=dict(ENTITIES)),
        cuts=cuts(a_grid(trained.entities).lazy(), contract=contract),
    )
    labels = pl.DataFrame(schema=dict(LABELS))
    scored = panel(few.lazy(), contract=live, scales=scales, entities=entities, labels=labels, parts=None)
    first = (scored.start_us - trained.start_us) // 600_000_000
    np.testing.assert_array_equal(scored.calendar[scored.clock[0]], trained.calendar[trained.clock[1], first:])
    np.testing.assert_array_equal(scored.static[0], trained.static[1])
    np.testing.assert_array_equal(scored.calendar[scored.clock[1]], trained.calendar[trained.clock[2], first:])  # unknown: by UTC


def test_attributes_are_those_that_training_has_seen() -> None:
    values: dict[str, dict[str, Any]] = {"plan": {"acme": "gold", "bolt": "free"}, "cars": {"acme": 10, "bolt": 30}}
    facts = {name: {"by": "customer", "values": told} for name, told in values.items()}
    contract = a_contract(attributes={"one_hot": ["region"], "facts": facts})
    trained = a_panel(contract)
    assert trained.attributes == ("region=eu", "region=us", "plan=free", "plan=gold", "cars")
    np.testing.assert_allclose(trained.static, [[1, 0, 0, 1, -1], [1, 0, 1, 0, 1], [0, 1, 0, 0, 0]])
    later = a_panel(contract, entities=("bolt/apac", "new/eu"), known=trained.entities)
    assert later.attributes == trained.attributes
    np.testing.assert_allclose(later.static, [[0, 0, 1, 0, 1], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"one_hot": ["plan"]}, "attributes.one_hot.0: 'plan' is neither a key nor the cohort"),
        ({"facts": {"plan": {"by": "size", "values": {"acme": "gold"}}}}, "attributes.facts.plan.by: 'size' is neither a key nor"),
        ({"one_hot": ["region", "region"]}, "region would be told twice"),
        ({"facts": {"plan": {"by": "customer", "values": {}}}}, "attributes.facts.plan.values"),
        ({"facts": {"plan": {"by": "customer", "values": {"acme": "gold", "bolt": 3}}}}, "attributes.facts.plan.values"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_attribute_is_told_by_its_key(attributes: dict[str, object], told: str) -> None:
    with pytest.raises(ContractError) as caught:
        a_contract(attributes=attributes)
    assert told in str(caught.value)


def test_calendars_of_several_places_are_told_in_their_order() -> None:
    followed = follow(("acme/eu", "bolt/eu"), contract=a_contract(calendar=BY_CUSTOMER))
    times = {"start_us": us(START), "steps": 10, "cadence_seconds": 600}
    told = calendars(followed, **times, holidays=True)
    for place, own in zip(followed.places, told, strict=True):
        np.testing.assert_array_equal(own, calendar(**times, place=place, holidays=True))
