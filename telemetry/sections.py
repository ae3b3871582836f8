"""The sections of a telemetry contract, each validated on its own: who, when, what, how it arrives, how it is learned and judged."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

Aggregation = Literal["sum", "mean", "counter"]
MissingPolicy = Literal["mark", "zero", "previous", "ignore"]
TimeFormat = Literal["iso", "pattern", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns", "second_index", "minute_index", "step_index", "row"]
CLOCKS: Final = ("iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns")
COUNTED: Final = ("second_index", "minute_index", "step_index", "row")
"""Formats that count from an origin: seconds, minutes, steps of the cadence, or the rows of a file."""
NewColumns = Literal["discard", "freeze", "evolve"]
Severity = Literal["stop", "quarantine", "warn", "off"]
"""What a finding does: stop the run; leave what it names (entity, parameter, period) out of the run and go on with the rest; warn in the
report; or it is not looked for."""
Share = Annotated[float, Field(gt=0, lt=1)]
Minutes = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the contract: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Entity(Section):
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


class Clock(Section):
    """A second time column, compared with the first: rows where the two disagree are counted and told, none is dropped."""

    column: str
    format: Literal["iso", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"] = "epoch_s"
    tolerance_seconds: Annotated[float, Field(ge=0)] = 60.0


class Time(Section):
    """When: the time column and how it is to be read."""

    column: str = ""
    """Left out with format `row` only."""
    format: TimeFormat = "iso"
    pattern: str | None = None
    """With format `pattern`: the directives of strftime, such as `%d.%m.%Y %H:%M`."""
    zone: str | None = None
    """IANA zone of times that carry none; without it such times are refused."""
    fold: Literal["earliest", "latest", "quarantine"] = "earliest"
    """What a local time means that occurs twice when clocks go back."""
    gap: Literal["quarantine", "forward"] = "quarantine"
    """What becomes of a local time that is skipped when clocks go forward: refused, or moved on by an hour."""
    origin: AwareDatetime | None = None
    """The instant of index 0 (of the first row with format `row`), with the formats that count from one."""
    cadence_seconds: Annotated[int, Field(ge=1)] = 60
    repeated: Literal["last", "aggregate"] = "last"
    """Rows of one file with the same entity and instant: the last one counts, or all of them are one reading by the aggregations."""
    clock: Clock | None = None

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
    def _consistent(self) -> Self:
        if (self.format in COUNTED) != (self.origin is not None):
            raise ValueError(f"origin belongs to the formats {', '.join(COUNTED)}, and is required there")
        if (self.format == "row") != (not self.column):
            raise ValueError("column is left out with format 'row', and required with every other")
        if (self.format == "pattern") != (self.pattern is not None):
            raise ValueError("pattern belongs to format 'pattern', and is required there")
        return self

    @property
    def cadence(self) -> timedelta:
        return timedelta(seconds=self.cadence_seconds)


class Parameter(Section):
    """A measured quantity."""

    unit: Annotated[str, Field(min_length=1)]
    """Canonical unit, in which everything after ingestion is told."""
    source_unit: str | None = None
    """The unit in which the source tells it; converted on the way in."""
    column: str | None = None
    """The source's name for it (in the long layout: the value of the parameter column); its own name by default."""
    query: str | None = None
    """The expression that a Prometheus server is asked; `column`, or the own name, by default."""
    aggregation: Aggregation = "mean"
    """A step is the sum or the mean of its readings; of a counter, by how much it rose, restarts from zero told apart."""
    minimum: float | None = None
    maximum: float | None = None
    missing: MissingPolicy = "mark"
    """What an unobserved step is in the grid: null (mark), null that no check counts (ignore), a measured zero, or the previous
    value up to `previous_steps` old."""
    previous_steps: Annotated[int, Field(ge=1)] = 5
    """Of a counter: a rise since a reading that is more steps older than this is unknown."""
    target: bool = False
    direction: Literal["both", "up", "down"] = "both"
    """Of a target: whether what lies above its forecast can be an anomaly ("up"), what lies below it ("down"), or either."""
    dead_band: tuple[FiniteFloat, FiniteFloat] | None = None
    """Of a target: values from the first to the second (inclusive, canonical unit) are never anomalous, whatever was forecast and however
    long they stand still."""
    minimum_width: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    """Of a target: a value that is no further than this from its forecast (canonical unit) is never anomalous."""
    description: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError(f"minimum {self.minimum} is not below maximum {self.maximum}")
        if self.dead_band is not None and self.dead_band[0] >= self.dead_band[1]:
            raise ValueError(f"dead_band {list(self.dead_band)} holds no values: its first must be below its second")
        if said := [name for name in OPERATORS if not self.target and getattr(self, name) != Parameter.model_fields[name].default]:
            raise ValueError(f"{' and '.join(said)} would say nothing: only a target is judged; set target = true, or leave it out")
        return self

    @model_serializer(mode="wrap")
    def _as_ever(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:  # Any: plain JSON
        """Without what the operator does not say: a contract that is older than these keys means what it meant."""
        told: dict[str, Any] = plain(self)
        usual = {name for name in OPERATORS if getattr(self, name) == Parameter.model_fields[name].default}
        return {name: value for name, value in told.items() if name not in usual}


OPERATORS: Final = ("direction", "dead_band", "minimum_width")
"""What an operator says of a target beside the model; see `serving.operator`."""


class Files(Section):
    """How delimited text files are written."""

    header: bool = True
    """Without one the columns are called column_1, column_2, ..."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    decimal_comma: bool = False


class Layout(Section):
    """Wide: a column a parameter. Long: a row a parameter, with its name in one column and its value in another."""

    kind: Literal["wide", "long"] = "wide"
    parameter_column: str | None = None
    value_column: str | None = None
    unit_column: str | None = None
    """Long only: the unit of each row's value; a row in a unit that is not known is quarantined."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = (self.parameter_column, self.value_column)
        if self.kind == "long" and None in named:
            raise ValueError("kind 'long' needs parameter_column and value_column")
        if self.kind == "wide" and (*named, self.unit_column) != (None, None, None):
            raise ValueError("parameter_column, value_column and unit_column belong to kind 'long'")
        return self


class Sql(Section):
    """What is read of a database: one of the two."""

    table: str | None = None
    """A table or view, with its schema if need be: `telemetry.minutes`."""
    query: str | None = None
    """A SELECT with the contract's columns; the time range is asked around it."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("name either a table or a query")
        return self


class Late(Section):
    """How late readings may come."""

    offset_minutes: Annotated[int, Field(ge=0)] = 0
    """A step counts as complete this long after the newest reading of its source; scoring waits for it."""
    silence_minutes: Minutes = 60
    """A source that is silent for longer no longer holds the others back."""


class Retention(Section):
    """How long the lake keeps what; older rows go when retention is asked for, never on the way in."""

    grid_days: Annotated[int, Field(ge=1)] = 800
    readings_days: Annotated[int, Field(ge=1)] = 400
    """Readings below the cadence, which late ones are merged with; a step that is older is sealed."""
    scores_days: Annotated[int, Field(ge=1)] = 400
    """Scores, coverage, closed incidents and their groups, and profiles of days."""
    quarantine_days: Annotated[int, Field(ge=1)] = 400
    history_hours: Annotated[int, Field(ge=0)] = 168
    """How long files that a newer version replaced can still be read by an older one."""


class Newcomer(Section):
    """An entity younger than `days` is flagged in the tensor and left out of training, and watched all the same."""

    days: Annotated[int, Field(ge=0)] = 30
    departed_days: Annotated[int, Field(ge=1)] = 7
    """An entity that is silent for longer has departed; when it comes back, that is told as a return."""
    since_start: bool = False
    """Whether those seen in the very first step count as newcomers too (they were there before the data began, by default)."""


class Budget(Section):
    """How many incidents an operator can look at; thresholds are solved for all entities together so that as many open.

    Of those who are no newcomers: what newcomers open comes on top (see `serving.budget`).
    """

    incidents: Annotated[float, Field(gt=0)]
    per: Literal["customer_week", "shift"] = "customer_week"
    """A week of one customer (the first key), or eight hours of everybody together."""


class Thresholds(Section):
    """When a surprise is an anomaly."""

    method: Literal["conformal", "tail", "sigma", "mean_sd", "best_f1"] = "conformal"
    """See `serving.thresholds`."""
    false_alarms_per_week: Annotated[float, Field(gt=0)] = 1.0
    """Promised rate of anomalous minutes per entity and target, for the methods that promise one: conformal and tail."""
    sigmas: Annotated[float, Field(gt=0)] = 3.0
    """For the methods sigma and mean_sd."""
    track: Annotated[float, Field(ge=0, le=3)] = 0.0
    """How far a minute that is anomalous and not labelled raises the threshold of its entity and target from then on, as a natural
    logarithm; it falls slowly, so that the promise is kept while the telemetry drifts. 0 leaves thresholds as they were learned."""
    budget: Budget | None = None
    open_minutes: Minutes = 3
    """An incident opens after this many anomalous minutes ..."""
    open_within: Minutes = 5
    """... out of this many, and closes after `close_minutes` without one."""
    close_minutes: Minutes = 10
    reopen_minutes: Annotated[int, Field(ge=0)] = 30
    """An incident that opens again within so many minutes of its close is the same incident; 0 tells each as its own."""
    flaps: Annotated[int, Field(ge=0)] = 3
    """Of an entity whose incidents open more often than this within `flap_minutes`, the incident stays open ..."""
    flap_minutes: Minutes = 360
    """... until it has been quiet for so long. With `flaps` 0 none does."""
    group_minutes: Annotated[int, Field(ge=0)] = 15
    """Incidents of several entities that open within so many minutes of each other may be one; 0 groups none."""
    feed_forecasts: bool = True
    """While an incident is open, the network reads its own forecasts of the targets, so that the fault does not become normal."""
    accept_hours: Annotated[float, Field(gt=0)] = 24.0
    """A level that an incident has held for so long is taken for normal: fed as it came, and learned from unless somebody labels it."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.open_minutes > self.open_within:
            raise ValueError(f"open_minutes {self.open_minutes} of open_within {self.open_within} can never open an incident")
        if self.close_minutes < self.open_within - self.open_minutes:
            raise ValueError("close_minutes would close an incident that open_within still holds open")
        said = {"reopen_minutes", "flaps", "flap_minutes"} & self.model_fields_set  # a contract older than these keys stays what it is
        if said and self.flaps and self.flap_minutes <= self.close_minutes + self.reopen_minutes:
            raise ValueError(
                f"flap_minutes {self.flap_minutes} would close a flapping incident no later than any other, which can open again for "
                f"close_minutes {self.close_minutes} + reopen_minutes {self.reopen_minutes}; make it longer, or set flaps = 0"
            )
        return self

    @model_serializer(mode="wrap")
    def _as_ever(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:  # Any: plain JSON
        """Without the keys that older contracts could not have, where they say nothing: such a contract means what it meant."""
        told: dict[str, Any] = plain(self)
        fields = Thresholds.model_fields
        return {name: value for name, value in told.items() if name in _FIRST_THRESHOLDS or getattr(self, name) != fields[name].default}


_FIRST_THRESHOLDS: Final = frozenset({"method", "false_alarms_per_week", "sigmas", "open_minutes", "open_within", "close_minutes"})


class Gate(Section):
    """What lets a model pass. The bars are fixed before anything is measured."""

    accuracy: Share = 0.985
    skill: float = 0.0
    entity_skill_share: Annotated[float, Field(ge=0, le=1)] = 0.95
    worst_decile_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.95
    block_minutes: Annotated[int, Field(ge=1)] = 360
    """Length of the non-overlapping blocks over which the lower bound is taken."""
    injected_recall: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Of the injected faults that nobody may miss, the share that must be found by its lower 95 % bound; 0 does not ask for it."""

    @model_serializer(mode="wrap")
    def _as_ever(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:  # Any: plain JSON
        """Without the keys that older contracts could not have, where they say nothing: such a contract means what it meant."""
        told: dict[str, Any] = plain(self)
        fields = Gate.model_fields
        return {name: value for name, value in told.items() if name in _FIRST_GATE or getattr(self, name) != fields[name].default}


_FIRST_GATE: Final = frozenset({"accuracy", "skill", "entity_skill_share", "worst_decile_accuracy", "block_minutes"})


class Checks(Section):
    """What a finding of each raw check does: stop the run, leave out what it names, warn in the report, or nothing."""

    plausible_range: Severity = "quarantine"
    infinite: Severity = "quarantine"
    missing: Severity = "quarantine"
    """Of a parameter that an entity does not tell while its others arrive."""
    counter: Severity = "quarantine"
    """Of a counter that ran backwards: its rises then are none."""
    copies: Severity = "warn"
    """Of a day that is told again, value by value, as another day or as another entity's."""
    unit_shift: Severity = "stop"
    unit_shift_factor: Annotated[float, Field(gt=1)] = 8.0
    """A sustained jump of a parameter's daily level by this factor or more is taken for a change of unit."""
    max_quarantined_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Of the cells (entity x parameter): where more would be left out, it is no matter of single ones any more, and the run stops."""
    max_missing_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_restarts_a_day: Annotated[int, Field(ge=0)] = 24
    """Of a counter; more of them are warned of."""
    max_out_of_range_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    min_volume_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Fewer observed steps of an entity in the last full day than this share of what it had on a day before are warned of."""
    stale_hours: Annotated[float, Field(gt=0)] = 24.0
    """An entity whose newest observed step is older than that, held against the newest of all, is warned of."""
    outage: Severity = "warn"
    """Of what looks like an outage of an hour or more that nobody has labelled: a model that learns from it forgives it the next time."""
    drift_effect: Annotated[float, Field(gt=0)] = 1.0
    """A parameter whose median of the last days is this many training deviations away from that of the training has drifted."""
    drift_share: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """An entity of whose parameters a larger share has drifted is warned of: learn anew."""

    @model_serializer(mode="wrap")
    def _as_ever(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:  # Any: plain JSON
        """Without the key that older contracts could not have, where it says nothing: such a contract means what it meant."""
        told: dict[str, Any] = plain(self)
        return {name: value for name, value in told.items() if name != "outage" or value != Checks.model_fields["outage"].default}


class Rule(Section):
    """What two parameters of a step must be to each other: `left op right`, in canonical units, wherever both are told."""

    left: str
    op: Literal["<=", "<"]
    right: str
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Share of `right` by which `left` may lie above it."""
    max_share: Annotated[float, Field(ge=0, lt=1)] = 0.01
    """Share of an entity's steps that may break it."""
    severity: Literal["stop", "quarantine", "warn"] = "stop"
    """Of a quarantine: both parameters are left out, as either may be wrong."""

    @property
    def text(self) -> str:
        """The rule as it is read: `failed_queries <= queries`."""
        return f"{self.left} {self.op} {self.right}"
