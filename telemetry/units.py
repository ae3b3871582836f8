"""Unit arithmetic: what a source's unit means in a parameter's canonical one. The arithmetic is Pint's.

Stricter than Pint in two ways: bits, counts and plain numbers are different things (Pint turns 1 B into 8 counts), and a
conversion must be a straight line (Pint turns dBm into mW by a logarithm).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from tokenize import TokenError
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
    registry.define("ratio = 1")
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
    _known(source)
    _known(canonical)
    if source == canonical:
        return Conversion(factor=1.0, offset=0.0)
    registry = _registry()
    if registry.get_root_units(source)[1] != registry.get_root_units(canonical)[1]:
        raise _unlike(source=source, canonical=canonical)
    convert = _converter(source=source, canonical=canonical)
    zero, one, ten = convert(0.0), convert(1.0), convert(10.0)
    factor = one - zero
    if not math.isclose(ten, 10 * factor + zero, rel_tol=1e-9, abs_tol=1e-12):
        raise _unlike(source=source, canonical=canonical)
    return Conversion(factor=float(f"{factor:.12g}"), offset=float(f"{zero:.12g}"))


def _unlike(*, source: str, canonical: str) -> UnitError:
    message = f"'{source}' cannot be turned into '{canonical}': they measure different things, or no factor leads from one to the other"
    return UnitError(message, hint="declare source_unit in the unit that the source really uses.")


def _known(unit: str) -> None:
    import pint

    try:
        _registry().parse_units(unit)
    except (pint.errors.PintError, ValueError, TypeError, AttributeError, AssertionError, TokenError) as error:
        raise UnitError(f"unknown unit '{unit}'", hint=f"known are, for example, {', '.join(FAMILIAR)}.") from error


def _converter(*, source: str, canonical: str) -> Callable[[float], float]:
    import pint

    registry = _registry()

    def convert(value: float) -> float:
        try:
            return float(registry.Quantity(value, source).to(canonical).magnitude)
        except (pint.errors.PintError, ArithmeticError) as error:
            raise _unlike(source=source, canonical=canonical) from error

    return convert
