"""A column's header and the range of its values -> the parameter's name, and the unit that it is probably told in.

The header is believed before the values: `latency (ms)`, `rx_bytes`, `CpuUsage(m)`. Whatever is guessed is a unit that Pint knows.
"""

import re
from dataclasses import dataclass
from typing import Final

from telemetry.contract import NAME, RESERVED
from telemetry.errors import UnitError
from telemetry.units import conversion

UNKNOWN: Final = "1"
"""The unit of what nobody has told a unit of."""
MILLICORE: Final = "millicore"
DECLARED: Final = {MILLICORE: "0.001 count"}
"""Units that a contract must declare, where they are guessed."""
_SPELLED: Final = {
    "%": "percent", "pct": "percent", "perc": "percent", "percent": "percent", "percentage": "percent", "ratio": "ratio",
    "fraction": "ratio", "count": "count", "cnt": "count", "ops": "count/s", "rps": "count/s", "qps": "count/s",
    "iops": "count/s", "tps": "count/s", "ns": "ns", "nanoseconds": "ns", "us": "us", "µs": "us", "μs": "us", "micros": "us",
    "microseconds": "us", "usec": "us", "ms": "ms", "millis": "ms", "msec": "ms", "milliseconds": "ms", "s": "s", "sec": "s", "secs": "s",
    "second": "s", "seconds": "s", "min": "min", "mins": "min", "minutes": "min", "h": "hour", "hours": "hour", "days": "day",
    "byte": "B", "bytes": "B", "kb": "kB", "mb": "MB", "gb": "GB", "tb": "TB", "ki": "KiB", "mi": "MiB", "gi": "GiB", "ti": "TiB",
    "kib": "KiB", "mib": "MiB", "gib": "GiB", "bps": "bit/s", "kbps": "kbit/s", "mbps": "Mbit/s", "gbps": "Gbit/s", "°c": "degC",
    "c": "degC", "celsius": "degC", "°f": "degF", "fahrenheit": "degF", "kelvin": "kelvin", "volt": "V", "volts": "V", "amps": "A",
    "ampere": "A", "watt": "W", "watts": "W", "kw": "kW", "wh": "Wh", "kwh": "kWh", "hz": "Hz", "khz": "kHz", "mhz": "MHz", "ghz": "GHz",
    "pa": "Pa", "hpa": "hPa", "kpa": "kPa", "mbar": "mbar", "psi": "psi", "mmhg": "mmHg", "mm_hg": "mmHg", "rpm": "rpm", "deg": "deg",
    "degrees": "deg", "km_h": "km/h", "kmh": "km/h", "mph": "mph", "m_s": "m/s", "meters": "m", "metres": "m", "km": "km", "dbm": "dBm",
}  # fmt: skip
"""Units as headers spell them, in lower case."""
_NO_SUFFIX: Final = {"c", "h", "min", "mins"}
"""Units between brackets only: `temp_min` is a minimum."""
_BRACKETED: Final = re.compile(r"^(?P<name>.*?)[ _]*[(\[{](?P<unit>[^()\[\]{}]*)[)\]}]\s*$")
_PER_SECOND: Final = re.compile(r"_(per_s(ec(ond)?)?|ps)$")
_ACCELERATION: Final = re.compile(r"acc|vibration|accel")
_WORDS: Final = (
    (re.compile(r"temp|tdew|dew_?point"), "degC", "temperatures are mostly told in it"),
    (re.compile(r"humid|^rh(_|$)"), "percent", "humidity is mostly told in it"),
    (re.compile(r"volt"), "V", "by its name"),
)
_SHARE: Final = re.compile(r"cpu|util|usage|percent|pct|mem|disk|busy|idle|success")
_COUNTED: Final = re.compile(
    r"^(?!.*(time|duration|latency|delay|lag)).*(count|request|quer|error|fail|call|event|hit|message|packet|device|session|user|visit|order|job|task|connection|retr|drop|depth|num_|_num)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What the values of a column are like.

    Attributes:
        low: the least of them.
        high: the greatest.
        varied: whether there are more than two.
    """

    low: float
    high: float
    varied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitGuess:
    """A parameter's name and unit.

    Attributes:
        name: what a contract may call it.
        unit: that Pint knows, or one of DECLARED.
        reason: why.
        told: whether the header tells it; otherwise a person must confirm it.
    """

    name: str
    unit: str
    reason: str
    told: bool


def guess_unit(column: str, *, values: Range) -> UnitGuess:
    """What a column probably tells.

    >>> guess_unit("PodClientLatencyP90(s)", values=Range(low=0, high=2.5, varied=True))
    UnitGuess(name='pod_client_latency_p90', unit='s', reason="the header says '(s)'", told=True)
    """
    bracketed = _BRACKETED.match(column)
    plain = bracketed["name"] if bracketed and bracketed["name"].strip() else column
    words = snake(plain)
    name = parameter_name(column if plain == column else words)
    if bracketed:
        unit = _spelled(bracketed["unit"].strip(), words=words)
        if unit:
            return UnitGuess(name=name, unit=unit, reason=f"the header says '({bracketed['unit'].strip()})'", told=True)
    return _by_suffix(name, words=words) or _by_range(name, words=words, values=values)


def parameter_name(column: str) -> str:
    """A column's name as a contract may have it: its own if it can be.

    >>> parameter_name("T_out"), parameter_name("Free memory"), parameter_name("day"), parameter_name("5xx")
    ('T_out', 'free_memory', 'day_value', 'value_5xx')
    """
    if NAME.fullmatch(column) and column.lower() not in RESERVED:
        return column
    plain = snake(column) or "value"
    plain = plain if NAME.fullmatch(plain) else f"value_{plain}"
    return f"{plain}_value" if plain in RESERVED else plain


def snake(text: str) -> str:
    """A header in small letters, its words joined by `_`.

    >>> snake("PodClientLatencyP90(s)"), snake("TimeStamp (s)"), snake("CPUUsage")
    ('pod_client_latency_p90_s', 'time_stamp_s', 'cpu_usage')
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", "_", text)
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_")


def _spelled(text: str, *, words: str) -> str | None:
    """The unit that a header spells between brackets."""
    if text == "m" and re.search(r"cpu|core", words):
        return MILLICORE
    if text == "g" and _ACCELERATION.search(words):
        return "g_0"
    told = _SPELLED.get(text.lower()) if text not in ("C", "K", "Mb", "Gb", "Kb", "mS") else {"C": "degC", "K": "kelvin"}.get(text)
    return next((unit for unit in (told, text) if unit and _known(unit)), None)


def _known(unit: str) -> bool:
    """Whether Pint knows a unit; numbers within one are no unit."""
    if re.search(r"^\d|\s", unit):
        return False
    try:
        conversion(source=unit, canonical=unit)
    except UnitError:
        return False
    return True


def _by_suffix(name: str, *, words: str) -> UnitGuess | None:
    """The unit that the last words of a name are."""
    per_second = _PER_SECOND.search(words)
    if per_second:
        base = _by_suffix(name, words=words[: per_second.start()])
        unit = f"{base.unit}/s" if base and base.unit in ("B", "kB", "MB", "count") else "count/s"
        return UnitGuess(name=name, unit=unit, reason=f"the name ends in '{per_second.group().strip('_')}'", told=True)
    parts = words.removesuffix("_total").split("_")
    for suffix in ("_".join(parts[-2:]), parts[-1]):
        alone = suffix == words
        if suffix in _SPELLED and suffix not in _NO_SUFFIX and not (alone and len(suffix) <= 3):
            return UnitGuess(name=name, unit=_SPELLED[suffix], reason=f"the name ends in '{suffix}'", told=True)
    return UnitGuess(name=name, unit="count", reason="the name ends in 'total'", told=False) if words.endswith("_total") else None


def _by_range(name: str, *, words: str, values: Range) -> UnitGuess:
    told = f"values from {values.low:.6g} to {values.high:.6g}"
    for pattern, unit, why in _WORDS:
        if pattern.search(words):
            return UnitGuess(name=name, unit=unit, reason=f"{why}; {told}", told=False)
    if _SHARE.search(words) and values.low >= 0 and 1.5 < values.high <= 100:
        return UnitGuess(name=name, unit="percent", reason=f"its name, and {told}", told=False)
    if values.low >= 0 and values.high <= 1 and values.varied:
        return UnitGuess(name=name, unit="ratio", reason=told, told=False)
    if _COUNTED.search(words) and values.low >= 0:
        return UnitGuess(name=name, unit="count", reason=f"its name, and {told}", told=False)
    return UnitGuess(name=name, unit=UNKNOWN, reason=f"nothing tells its unit; {told}", told=False)
