"""Unit arithmetic: what a source's unit means in a parameter's canonical one. The arithmetic is Pint's."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from telemetry.errors import UnitError

if TYPE_CHECKING:
    import pint

FAMILIAR = (
    "count", "ratio", "percent", "ns", "us", "ms", "s", "min", "hour", "day", "B", "kB", "MB", "GB", "KiB", "MiB", "GiB",
    "bit/s", "Mbit/s", "count/s", "count/min", "m", "km", "km/h", "degC", "degF", "kelvin", "V", "mV", "A", "W", "kW", "Wh", "kWh",
    "Pa", "kPa", "hPa", "dBm", "Hz", "1",
)  # fmt: skip
"""What an error message offers; every unit that Pint knows is understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """canonical = source * factor + offset."""

    factor: float
    offset: float


@cache
def _registry() -> "pint.UnitRegistry[float]":
    import pint  # 0.3 s that only contracts with units pay

    registry: pint.UnitRegistry[float] = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    registry.define("ratio = [] = ratio")
    registry.define("req = count = request = query")
    return registry


@cache
def conversion(*, source: str, canonical: str) -> Conversion:
    """How to turn `source` into `canonical`.

    >>> conversion(source="s", canonical="ms")
    Conversion(factor=1000.0, offset=0.0)

    Raises:
        UnitError: a unit is unknown, or the two measure different things.
    """
    if source == canonical:
        _known(source)
        return Conversion(factor=1.0, offset=0.0)
    convert = _converter(source=source, canonical=canonical)
    zero, one = convert(0.0), convert(1.0)
    factor = one - zero
    return Conversion(factor=float(f"{factor:.12g}"), offset=float(f"{zero:.12g}"))


def _known(unit: str) -> None:
    import pint

    try:
        _registry().parse_units(unit)
    except (pint.errors.PintError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise UnitError(f"unknown unit '{unit}'", hint=f"known are, for example, {', '.join(FAMILIAR)}.") from error


def _converter(*, source: str, canonical: str) -> Callable[[float], float]:
    import pint

    _known(source)
    _known(canonical)
    registry = _registry()

    def convert(value: float) -> float:
        try:
            return float(registry.Quantity(value, source).to(canonical).magnitude)
        except pint.errors.PintError as error:
            message = f"'{source}' cannot be turned into '{canonical}': {error}"
            raise UnitError(message, hint="declare source_unit in the unit that the source really uses.") from error

    return convert
