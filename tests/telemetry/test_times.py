"""A time column means the same instants in every format, or none at all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from telemetry.sections import Time
from telemetry.times import implausible, instants

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(values: list[Any], *, dtype: Any = pl.String, **time: Any) -> list[datetime | None]:
    frame = pl.DataFrame({"t": values}, schema={"t": dtype})
    return frame.select(instants("t", dtype=frame.schema["t"], time=Time(column="t", **time)).at)["t"].to_list()


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31 12:00:00+00:00",
        "2026-01-31T14:00:00.000+02:00",
        "2026-01-31T14:00+0200",
        " 2026-01-31T12:00:00.000000000Z ",
        "2026-01-31 13:00:00+01",
    ],
)
def test_iso_times_with_an_offset_are_that_instant(text: str) -> None:
    assert at([text]) == [NOON]


@pytest.mark.parametrize("text", ["2026-01-31T14:00:00", "2026-01-31 14:00", "2026-01-31 14:00:00.000"])
def test_iso_times_without_one_are_in_the_declared_zone(text: str) -> None:
    assert at([text], zone="Europe/Helsinki") == [NOON]


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00Z", "31.01.2026 12:00", "", None, "12:00:00", "1769860800"])
def test_what_is_no_iso_time_is_none(text: str | None) -> None:
    assert at([text], zone="UTC") == [None]


def test_a_skipped_hour_is_no_time_and_a_repeated_one_is_the_first() -> None:
    skipped, repeated = "2026-03-29 03:30", "2026-10-25 03:30"
    assert at([skipped, repeated], zone="Europe/Helsinki") == [None, datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]


def test_a_naive_time_is_marked_where_no_zone_is_declared() -> None:
    for values, dtype in ((["2026-01-31 14:00"], pl.String), ([datetime(2026, 1, 31, 14)], pl.Datetime("ms"))):  # noqa: DTZ001
        frame = pl.DataFrame({"t": values}, schema={"t": dtype})
        how = instants("t", dtype=frame.schema["t"], time=Time(column="t"))
        assert frame.select(how.naive, how.at.is_null().alias("unread")).row(0) == (True, True)


def test_typed_times_keep_their_instant_whatever_their_unit_and_zone() -> None:
    assert at([NOON], dtype=pl.Datetime("ns", "America/New_York")) == [NOON]


@pytest.mark.parametrize(
    ("kind", "units_per_second"),
    [("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6), ("epoch_ns", 10**9)],
)
def test_epochs_are_exact_in_every_unit_and_type(kind: str, units_per_second: int) -> None:
    odd = NOON + timedelta(seconds=1)
    count = int(odd.timestamp()) * units_per_second
    assert at([count], dtype=pl.Int64, format=kind) == [odd]
    assert at([f" {count} "], format=kind) == [odd]
    assert at([float(count)], dtype=pl.Float64, format=kind) == [odd]


def test_fractions_of_a_second_are_kept_and_nonsense_is_none() -> None:
    assert at(["1769860800.25", "soon", "", "nan"], format="epoch_s") == [NOON + timedelta(milliseconds=250), None, None, None]


def test_a_minute_index_counts_whole_minutes_from_the_origin() -> None:
    how: dict[str, Any] = {"format": "minute_index", "origin": ORIGIN}
    assert at([0, 90], dtype=pl.Int32, **how) == [ORIGIN, ORIGIN + timedelta(minutes=90)]
    assert at(["1", "1.5", "x"], **how) == [ORIGIN + timedelta(minutes=1), None, None]


@pytest.mark.parametrize(("count", "dtype"), [(1769860800000, pl.Int64()), (-(10**18), pl.Int64()), (float("inf"), pl.Float64())])
def test_an_epoch_in_the_wrong_unit_is_implausible(count: float, dtype: pl.DataType) -> None:
    assert frame_is_implausible([count], dtype=dtype)


def test_an_epoch_does_not_overflow_into_a_plausible_time() -> None:
    assert (2**58 + 1769860800) * 10**6 % 2**64 == 1769860800 * 10**6
    assert frame_is_implausible([2**58 + 1769860800], dtype=pl.Int64())


def frame_is_implausible(values: list[Any], *, dtype: pl.DataType) -> bool:
    frame = pl.DataFrame({"t": values}, schema={"t": dtype})
    how = instants("t", dtype=dtype, time=Time(column="t", format="epoch_s"))
    return bool(frame.select(implausible(how.at, now=None)).item())


def test_a_time_is_plausible_from_1990_to_a_day_after_now() -> None:
    times = [datetime(1989, 12, 31, tzinfo=UTC), NOON, NOON + timedelta(hours=23), NOON + timedelta(hours=25)]
    frame = pl.DataFrame({"t": times}, schema={"t": pl.Datetime("us", "UTC")})
    assert frame.select(implausible(pl.col("t"), now=NOON))["t"].to_list() == [True, False, False, True]
