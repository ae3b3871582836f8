"""A telemetry contract: one TOML file per kind of telemetry, read into one frozen, validated, hashed record.

It says who is watched (entity keys), when (time column, zone, cadence), what (parameters with unit, aggregation, plausible
range, missing-data policy), how it is learned (windows, leads, split, training) and what lets a model pass (gate).
"""

import hashlib
import json
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from telemetry.errors import ContractError, UnitError
from telemetry.units import conversion

Aggregation = Literal["sum", "mean"]
MissingPolicy = Literal["mark", "zero", "previous"]
TimeFormat = Literal["iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "minute_index"]
Severity = Literal["stop", "warn", "off"]
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED: Final = frozenset({"entity", "cohort", "at", "observed", "label", "day", "row", "source", "target", "parameter"})
"""Columns of our own tables, which a parameter must not be named after."""
Share = Annotated[float, Field(gt=0, lt=1)]
Minutes = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entity(_Section):
    """Who is watched: the tuple of key columns, joined by `/` into one key."""

    keys: Annotated[tuple[str, ...], Field(min_length=1)]
    """Columns, or named groups of `path_pattern`."""
    cohort: str | None = None
    """The key whose equal values make entities alike (scales of a newcomer lean on its cohort)."""
    path_pattern: str | None = None
    """Regular expression over a file's path; its named groups become key columns."""

    @model_validator(mode="after")
    def _keys_exist(self) -> Self:
        if self.cohort is not None and self.cohort not in self.keys + self._groups():
            raise ValueError(f"cohort '{self.cohort}' is neither one of the keys {list(self.keys)} nor a group of path_pattern")
        return self

    def _groups(self) -> tuple[str, ...]:
        return tuple(re.compile(self.path_pattern).groupindex) if self.path_pattern else ()

    @field_validator("path_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        if value is not None and not re.compile(value).groupindex:
            raise ValueError("path_pattern has no named group such as (?P<machine>...)")
        return value


class Time(_Section):
    """When: the time column and how it is to be read."""

    column: str
    format: TimeFormat = "iso"
    zone: str | None = None
    """IANA zone of times that carry none; without it such times are refused."""
    origin: AwareDatetime | None = None
    """The instant of index 0, with `minute_index` only."""
    cadence_seconds: Annotated[int, Field(ge=1)] = 60

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"'{value}' is no IANA time zone such as 'UTC' or 'Europe/Helsinki'") from error
        return value

    @model_validator(mode="after")
    def _origin_fits(self) -> Self:
        if (self.format == "minute_index") != (self.origin is not None):
            raise ValueError("origin belongs to format 'minute_index', and is required there")
        return self

    @property
    def cadence(self) -> timedelta:
        return timedelta(seconds=self.cadence_seconds)


class Parameter(_Section):
    """A measured quantity."""

    unit: Annotated[str, Field(min_length=1)]
    """Canonical unit, in which everything after ingestion is told."""
    source_unit: str | None = None
    """The unit in which the source tells it; converted on the way in."""
    column: str | None = None
    """The source's name for it; its own name by default."""
    aggregation: Aggregation = "mean"
    minimum: float | None = None
    maximum: float | None = None
    missing: MissingPolicy = "mark"
    """What an unobserved step is in the grid: null (mark), a measured zero, or the previous value up to `previous_steps` old."""
    previous_steps: Annotated[int, Field(ge=1)] = 5
    target: bool = False
    description: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum} is not below maximum {self.maximum}")
        try:
            conversion(source=self.source_unit or self.unit, canonical=self.unit)
        except UnitError as error:
            raise ValueError(str(error)) from error
        return self


class Newcomer(_Section):
    """An entity younger than `days` is flagged in the tensor and left out of training, and watched all the same."""

    days: Annotated[int, Field(ge=0)] = 30
    since_start: bool = False
    """Whether those seen in the very first step count as newcomers too (they were there before the data began, by default)."""


class Windows(_Section):
    """What a model sees of the past."""

    time_steps: Minutes = 64
    warmup_steps: Annotated[int, Field(ge=0)] = 16
    """First steps of a window that are not judged in training, when every step is supervised."""
    supervision: Literal["every_step", "last_step"] = "every_step"

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.warmup_steps >= self.time_steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} leaves nothing of time_steps {self.time_steps}")
        return self


class Leads(_Section):
    """How far ahead the forecasts look, in steps of the cadence."""

    steps: Annotated[tuple[Minutes, ...], Field(min_length=1)] = (1,)
    shortcut: tuple[Minutes, ...] = ()
    """Leads that are forecast as a correction to the last value: good for accuracy, blind to a sustained shift."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if 1 not in self.steps:
            raise ValueError("lead 1 is always forecast; add 1 to steps")
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"steps repeats a lead: {list(self.steps)}")
        if not set(self.shortcut) <= set(self.steps):
            raise ValueError(f"shortcut {list(self.shortcut)} names leads that are not in steps {list(self.steps)}")
        return self


class Split(_Section):
    """Which part of the past is learned from, calibrated on and judged by: train | gap | calibrate | gap | test."""

    by: Literal["time", "entity"] = "time"
    """Cut the common time line, or every entity's own span."""
    test_share: Share = 0.2
    calibrate_share: Share = 0.1
    """Of the whole span, taken right before the test."""

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.test_share + self.calibrate_share >= 1:
            raise ValueError("test_share + calibrate_share leave nothing to train on")
        return self


class Training(_Section):
    """How the network is trained; the defaults are the configuration that won the story."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 64)
    dense: Annotated[int, Field(ge=1)] = 64
    embedding: Annotated[int, Field(ge=0)] = 8
    batch: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    schedule: Literal["constant", "cosine"] = "constant"
    epochs: Annotated[int, Field(ge=1)] = 100
    patience: Annotated[int, Field(ge=1)] = 5
    """Epochs without a better validation loss after which training stops."""
    seed: int = 0


class Thresholds(_Section):
    """When a surprise is an anomaly."""

    method: Literal["conformal", "sigma"] = "conformal"
    false_alarms_per_week: Annotated[float, Field(gt=0)] = 1.0
    """Promised rate of anomalous minutes per entity and target, for the conformal quantile."""
    sigmas: Annotated[float, Field(gt=0)] = 3.0
    open_minutes: Minutes = 3
    """An incident opens after this many anomalous minutes ..."""
    open_within: Minutes = 5
    """... out of this many, and closes after `close_minutes` without one."""
    close_minutes: Minutes = 10

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.open_minutes > self.open_within:
            raise ValueError(f"open_minutes {self.open_minutes} of open_within {self.open_within} can never open an incident")
        if self.close_minutes < self.open_within - self.open_minutes:
            raise ValueError("close_minutes would close an incident that open_within still holds open")
        return self


class Gate(_Section):
    """What lets a model pass. The bars are fixed before anything is measured."""

    accuracy: Share = 0.985
    skill: float = 0.0
    entity_skill_share: Annotated[float, Field(ge=0, le=1)] = 0.95
    worst_decile_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.95
    block_minutes: Annotated[int, Field(ge=1)] = 360
    """Length of the non-overlapping blocks over which the lower bound is taken."""


class Checks(_Section):
    """What a finding of each raw check does: stop the run, warn in the report, or nothing."""

    plausible_range: Severity = "stop"
    unit_shift: Severity = "stop"
    unit_shift_factor: Annotated[float, Field(gt=1)] = 8.0
    """A sustained jump of a parameter's daily level by this factor or more is taken for a change of unit."""
    max_missing_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_out_of_range_share: Annotated[float, Field(ge=0, le=1)] = 0.0


class Contract(_Section):
    """One kind of telemetry, completely declared."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str = ""
    entity: Entity
    time: Time
    label_column: str | None = None
    """Column that is 1 where a person marked the row as an incident; measured against, never learned from."""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    newcomer: Newcomer = Newcomer()
    windows: Windows = Windows()
    leads: Leads = Leads()
    split: Split = Split()
    training: Training = Training()
    thresholds: Thresholds = Thresholds()
    gate: Gate = Gate()
    checks: Checks = Checks()

    @field_validator("parameters")
    @classmethod
    def _named_apart(cls, value: dict[str, Parameter]) -> dict[str, Parameter]:
        unfit = [name for name in value if not NAME.fullmatch(name) or name in RESERVED]
        if unfit:
            raise ValueError(
                f"{', '.join(unfit)} cannot be a parameter's name (letters, digits and _ after a letter; none of "
                f"{', '.join(sorted(RESERVED))}); how the source spells it belongs into its key column"
            )
        return value

    @model_validator(mode="after")
    def _has_targets(self) -> Self:
        if not self.targets:
            raise ValueError("no parameter is a target; set target = true on those that are to be forecast and judged")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Every parameter, in the order of the file."""
        return tuple(self.parameters)

    @property
    def targets(self) -> tuple[str, ...]:
        """The parameters that are forecast and judged."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.target)

    @property
    def digest(self) -> str:
        """SHA-256 over the declared meaning (16 hex digits): equal for equal contracts, whatever their layout or comments."""
        told = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def load(path: Path) -> Contract:
    """The contract in a TOML file.

    Raises:
        ContractError: the file is missing, no TOML, or does not say what a contract must; every problem is named at once.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = "see infra/contracts for examples."
        raise ContractError(path=str(path), problems=("there is no such file",), hint=hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ContractError(path=str(path), problems=(f"it is no TOML: {error}",)) from error
    return parse(raw, path=str(path))


def parse(raw: dict[str, Any], *, path: str = "<contract>") -> Contract:  # Any: TOML is what it is until validated
    """The contract that a parsed TOML document declares.

    Raises:
        ContractError: as `load`.
    """
    try:
        return Contract.model_validate(raw)
    except ValidationError as error:
        problems = tuple(_problem(found) for found in error.errors())
        raise ContractError(path=path, problems=problems, hint="the annotated example is infra/contracts/fleet.toml.") from error


def _problem(found: Any) -> str:  # Any: pydantic's ErrorDetails, of which only three keys are used
    place = ".".join(str(part) for part in found["loc"]) or "contract"
    if found["type"] == "extra_forbidden":
        allowed = ", ".join(_allowed(found["loc"][:-1]))
        return f"{place}: unknown key; allowed here: {allowed}"
    if found["type"] == "missing":
        return f"{place}: missing"
    return f"{place}: {found['msg'].removeprefix('Value error, ')} (found {found['input']!r})"[:400]


def _allowed(location: tuple[str | int, ...]) -> list[str]:
    """The keys that the section at `location` may have."""
    section: type[BaseModel] = Contract
    for part in location:
        if section is Contract and part == "parameters":
            section = Parameter
        elif part in section.model_fields:
            annotation = section.model_fields[str(part)].annotation
            candidates = (annotation, *get_args(annotation))
            section = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), section)
    return sorted(section.model_fields)
