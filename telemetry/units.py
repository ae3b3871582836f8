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
DEGREES = ("degC", "degF", "kelvin", "K", "celsius", "fahrenheit", "degree_Celsius", "degree_Fahrenheit")
"""Units of temperature, whose scales have different zeros."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """canonical = source * factor + offset."""

    factor: float
    offset: float


Declared = tuple[tuple[str, str], ...]
"""Units of a contract's own, and what they are: `(("Mi", "MiB"), ("tick", "0.01 s"))`."""


@cache
def _registry(declared: Declared = ()) -> "pint.UnitRegistry[float]":
    import pint  # 0.3 s that only contracts with units pay

    registry: pint.UnitRegistry[float] = pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
    registry.define("ratio = 1")
    registry.define("req = count = request = query")
    for unit, meaning in declared:
        _define(registry, unit=unit, meaning=meaning)
    return registry


def _define(registry: "pint.UnitRegistry[float]", *, unit: str, meaning: str) -> None:
    import pint

    if not unit.isidentifier():
        raise UnitError(f"'{unit}' cannot be the name of a unit", hint="letters, digits and _ after a letter.")
    try:
        registry.parse_expression(meaning)
        registry.define(f"{unit} = {meaning}")
    except (*_PARSING, pint.errors.PintError) as error:
        raise UnitError(f"unit '{unit}' is declared as '{meaning}', which is not known", hint=_hint()) from error


_PARSING = (ValueError, TypeError, AttributeError, AssertionError, TokenError)


def _hint(declared: Declared = ()) -> str:
    return f"known are, for example, {', '.join((*(unit for unit, _ in declared), *FAMILIAR))}."


@cache
def conversion(*, source: str, canonical: str, declared: Declared = ()) -> Conversion:
    """How to turn `source` into `canonical`, with the usual units and those that are `declared`.

    >>> conversion(source="s", canonical="ms")
    Conversion(factor=1000.0, offset=0.0)

    Raises:
        UnitError: a unit is unknown, or the two measure different things.
    """
    _known(source, declared=declared)
    _known(canonical, declared=declared)
    if source == canonical:
        return Conversion(factor=1.0, offset=0.0)
    registry = _registry(declared)
    if registry.get_root_units(source)[1] != registry.get_root_units(canonical)[1]:
        raise _unlike(source=source, canonical=canonical)
    convert = _converter(registry, source=source, canonical=canonical)
    zero, one, ten = convert(0.0), convert(1.0), convert(10.0)
    factor = one - zero
    if not math.isclose(ten, 10 * factor + zero, rel_tol=1e-9, abs_tol=1e-12):
        raise _unlike(source=source, canonical=canonical)
    return Conversion(factor=float(f"{factor:.12g}"), offset=float(f"{zero:.12g}"))


def _unlike(*, source: str, canonical: str) -> UnitError:
    message = f"'{source}' cannot be turned into '{canonical}': they measure different things, or no factor leads from one to the other"
    return UnitError(message, hint="declare source_unit in the unit that the source really uses.")


def _known(unit: str, *, declared: Declared) -> None:
    import pint

    try:
        _registry(declared).parse_units(unit)
    except (pint.errors.PintError, *_PARSING) as error:
        raise UnitError(f"unknown unit '{unit}'", hint=_hint(declared)) from error


def _converter(registry: "pint.UnitRegistry[float]", *, source: str, canonical: str) -> Callable[[float], float]:
    import pint

    def convert(value: float) -> float:
        try:
            return float(registry.Quantity(value, source).to(canonical).magnitude)
        except (pint.errors.PintError, ArithmeticError) as error:
            raise _unlike(source=source, canonical=canonical) from error

    return convert
