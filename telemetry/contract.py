"""A telemetry contract: one TOML file per kind of telemetry, read into one frozen, validated, hashed record.

It says who is watched (entity keys), when (time column, zone, cadence), what (parameters with unit, aggregation, plausible
range, missing-data policy), how it arrives (files, layout, units, lateness), how it is learned (windows, leads, split, training)
and what lets a model pass (gate). The sections are in `telemetry.sections`, `telemetry.entity_sections` and `telemetry.learning_sections`.
"""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Self, get_args

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from telemetry.entity_sections import Attributes, Calendar, strangers
from telemetry.errors import ContractError, UnitError
from telemetry.learning_sections import Leads, Split, Training, Windows
from telemetry.sections import (
    Checks,
    Entity,
    Files,
    Gate,
    Late,
    Layout,
    NewColumns,
    Newcomer,
    Parameter,
    Retention,
    Rule,
    Section,
    Sql,
    Thresholds,
    Time,
)
from telemetry.units import DEGREES, Conversion, Declared, conversion

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RESERVED: Final = frozenset({"entity", "cohort", "at", "observed", "label", "day", "row", "revision", "source", "target", "parameter"})
"""Columns of our own tables, which a parameter must not be named after."""
_LATER: Final = {"calendar": Calendar(), "attributes": Attributes()}
"""Sections that older contracts could not have: one that does not use them means what it meant."""


class Contract(Section):
    """One kind of telemetry, completely declared."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str = ""
    reviewed: bool = True
    """False in a draft that nobody has confirmed yet: `load` refuses it."""
    entity: Entity
    calendar: Calendar = Calendar()
    attributes: Attributes = Attributes()
    time: Time
    files: Files = Files()
    layout: Layout = Layout()
    sql: Sql | None = None
    units: dict[str, str] = Field(default_factory=dict)
    """Units that are not in the usual tables, by what they are: `Mi = "MiB"`, `tick = "0.01 s"`."""
    new_columns: NewColumns = "discard"
    """A column (in the long layout: a parameter) that the contract does not name: passed over and told, refused, or kept in the grid
    as it is until it is declared."""
    late: Late = Late()
    retention: Retention = Retention()
    label_column: str | None = None
    """Column that is 1 where a person marked the row as an incident; measured against, never learned from."""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1)]
    rules: tuple[Rule, ...] = ()
    """What parameters must be to each other in every step."""
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

    @field_validator("rules")
    @classmethod
    def _rules_compare_parameters(cls, value: tuple[Rule, ...], info: ValidationInfo) -> tuple[Rule, ...]:
        parameters: dict[str, Parameter] = info.data.get("parameters", {})
        declared = tuple(info.data.get("units", {}).items())
        wrong = [_wrong_with(rule, parameters=parameters, declared=declared) for rule in value if parameters]
        told = [sentence for sentence in wrong if sentence]
        repeated = sorted({rule.text for n, rule in enumerate(value) if rule in value[:n]})
        if told or repeated:
            raise ValueError("; ".join([*told, *(f"'{text}' is declared twice" for text in repeated)]))
        return value

    @model_validator(mode="after")
    def _entities_are_told_by_their_keys(self) -> Self:
        keys = tuple(dict.fromkeys((*self.entity.keys, *filter(None, (self.entity.cohort,)))))
        if wrong := strangers(self.calendar, self.attributes, keys=keys):
            raise ValueError("; ".join(wrong))
        return self

    @model_validator(mode="after")
    def _units_fit(self) -> Self:
        for name, parameter in self.parameters.items():
            try:
                self.conversion(name, source=parameter.source_unit or parameter.unit)
            except UnitError as error:
                raise ValueError(f"parameters.{name}: {error}") from error
        return self

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
    def temperatures(self) -> tuple[str, ...]:
        """The parameters that are told in degrees, whose scales have different zeros."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.unit in DEGREES)

    def conversion(self, name: str, *, source: str) -> Conversion:
        """How a value of the parameter `name` that is told in `source` becomes its canonical unit.

        Raises:
            UnitError: the unit is unknown, or measures something else.
        """
        return conversion(source=source, canonical=self.parameters[name].unit, declared=tuple(self.units.items()))

    @property
    def digest(self) -> str:
        """SHA-256 over the declared meaning (16 hex digits): equal for equal contracts, whatever their layout or comments."""
        without = {"reviewed", *(name for name, usual in _LATER.items() if getattr(self, name) == usual)}
        told = json.dumps(self.model_dump(mode="json", exclude=without), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def _wrong_with(rule: Rule, *, parameters: dict[str, Parameter], declared: Declared) -> str | None:
    """Why a rule cannot be meant, or None."""
    unknown = [f"'{name}'" for name in dict.fromkeys((rule.left, rule.right)) if name not in parameters]
    if unknown:
        return f"'{rule.text}' names {' and '.join(unknown)}, no parameter of this contract; its parameters are {', '.join(parameters)}"
    if rule.left == rule.right:
        return f"'{rule.text}' compares a parameter with itself"
    left, right = parameters[rule.left].unit, parameters[rule.right].unit
    try:
        alike = conversion(source=left, canonical=right, declared=declared) == Conversion(factor=1.0, offset=0.0)
    except UnitError as error:
        return f"'{rule.text}': {error}"
    return None if alike else f"'{rule.text}' compares {left} with {right}; both sides need the same unit"


def load(path: Path) -> Contract:
    """The contract in a TOML file.

    Raises:
        ContractError: the file is missing, no TOML, does not say what a contract must (every problem is named at once), or is a draft
            that nobody has reviewed.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        hint = "see infra/contracts for examples."
        raise ContractError(path=str(path), problems=("there is no such file",), hint=hint) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ContractError(path=str(path), problems=(f"it is no TOML: {error}",)) from error
    contract = parse(raw, path=str(path))
    if not contract.reviewed:
        hint = "settle every line marked REVIEW with someone who knows this telemetry, then delete the line `reviewed = false`."
        raise ContractError(path=str(path), problems=("it is a draft that nobody has reviewed: reviewed = false",), hint=hint)
    return contract


def parse(raw: dict[str, Any], *, path: str = "<contract>") -> Contract:  # Any: TOML is what it is until validated
    """The contract that a parsed TOML document declares, be it reviewed or not.

    Raises:
        ContractError: it does not say what a contract must; every problem is named at once.
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
