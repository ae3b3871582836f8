"""Units are converted where a factor leads from one to the other, and refused by name everywhere else."""

import pytest

from telemetry.errors import UnitError
from telemetry.units import FAMILIAR, Conversion, conversion


@pytest.mark.parametrize(
    ("source", "canonical", "factor", "offset"),
    [
        ("s", "ms", 1000.0, 0.0),
        ("ms", "s", 0.001, 0.0),
        ("percent", "ratio", 0.01, 0.0),
        ("kB", "MB", 0.001, 0.0),
        ("KiB", "B", 1024.0, 0.0),
        ("B", "bit", 8.0, 0.0),
        ("Mbit/s", "bit/s", 1e6, 0.0),
        ("count/s", "count/min", 60.0, 0.0),
        ("query/s", "count/min", 60.0, 0.0),
        ("degC", "kelvin", 1.0, 273.15),
        ("hPa", "kPa", 0.1, 0.0),
        ("dBm", "dBm", 1.0, 0.0),
    ],
)
def test_a_unit_becomes_another_by_its_factor_and_offset(source: str, canonical: str, factor: float, offset: float) -> None:
    assert conversion(source=source, canonical=canonical) == Conversion(factor=factor, offset=offset)


def test_a_temperature_keeps_its_fixed_points() -> None:
    to_celsius = conversion(source="degF", canonical="degC")
    assert 212 * to_celsius.factor + to_celsius.offset == pytest.approx(100)
    assert 32 * to_celsius.factor + to_celsius.offset == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("source", "canonical"),
    [("s", "B"), ("B", "count"), ("percent", "count"), ("ratio", "count"), ("bit", "1"), ("Hz", "count/s"), ("B/s", "B"), ("rad", "count")],
)
def test_what_measures_different_things_is_refused(source: str, canonical: str) -> None:
    with pytest.raises(UnitError, match=f"'{source}' cannot be turned into '{canonical}'.*\nHint: declare source_unit"):
        conversion(source=source, canonical=canonical)


def test_a_logarithmic_unit_has_no_factor() -> None:
    with pytest.raises(UnitError, match="'dBm' cannot be turned into 'mW'"):
        conversion(source="dBm", canonical="mW")


@pytest.mark.parametrize("unit", ["furlogs", "5 ms", "(", "'", "a.b()"])
def test_an_unknown_unit_is_named_with_examples(unit: str) -> None:
    with pytest.raises(UnitError, match=r"unknown unit.*\nHint: known are, for example, count"):
        conversion(source=unit, canonical=unit)


def test_every_unit_that_a_message_offers_is_known() -> None:
    assert [conversion(source=unit, canonical=unit) for unit in FAMILIAR] == [Conversion(factor=1.0, offset=0.0)] * len(FAMILIAR)
