"""Column names, written once, and the schemas of every table that crosses a module's boundary.

null = not observed, 0 = a measured zero; NaN never gets here. Times are UTC, to the microsecond.
"""

from collections.abc import Mapping
from typing import Final

import polars as pl

from telemetry.errors import SchemaError

ENTITY: Final = "entity"
"""The key columns of an entity joined by `/`, e.g. `acme/eu`."""
COHORT: Final = "cohort"
AT: Final = "at"
OBSERVED: Final = "observed"
"""True where at least one parameter of the minute was measured."""
PARAMETER: Final = "parameter"
TARGET: Final = "target"
JOINT: Final = "joint"
"""In place of a target: all of an entity together."""
STANDSTILL: Final = "standstill"
"""In place of a target: telemetry that repeats itself (see `serving.standstill`)."""
NEWCOMER: Final = "newcomer"
START: Final = "start"
END: Final = "end"
"""End of a period, exclusive."""
OPENED: Final = "opened"
"""The instant at which an incident could first be told: the end of the step that opened it."""
KIND: Final = "kind"
FIRST_SEEN: Final = "first_seen"
SOURCE: Final = "source"
ROW: Final = "row"
REASON: Final = "reason"
TEXT: Final = "text"
FINGERPRINT: Final = "fingerprint"
ROWS_IN: Final = "rows_in"
ROWS_QUARANTINED: Final = "rows_quarantined"
ROWS_REPEATED: Final = "rows_repeated"
"""Rows that say word for word what another row of the same part says."""
FEED: Final = "feed"
REVISION: Final = "revision"
"""When a reading was written, microseconds since 1970: of two values for one instant, the one of the later revision counts."""
RESOLVED: Final = "resolved"
LAST_SEEN: Final = "last_seen"
NEWEST: Final = "newest"

LEAD: Final = "lead_minutes"
ACTUAL: Final = "actual"
FORECAST: Final = "forecast"
PERSISTENCE: Final = "persistence"
ORACLE: Final = "oracle"
SIGMA: Final = "sigma"
SURPRISE: Final = "surprise"
VERDICT: Final = "verdict"
SCORE: Final = "score"
LABEL: Final = "label"
STATE: Final = "state"
RELEASE: Final = "release"
INCIDENT: Final = "incident"
GROUP: Final = "group"
LABEL_SET: Final = "label_set"
"""What the entities of a group have in common, such as `region=eu & version=2.1`."""
PEAK: Final = "peak"
MEAN: Final = "mean"
SD: Final = "sd"
COUNT: Final = "count"
THRESHOLD: Final = "threshold"

DAY: Final = "day"
"""A date, UTC."""
RUN: Final = "run"
OBSERVATIONS: Final = "n"
NULL_SHARE: Final = "null_share"
ZERO_SHARE: Final = "zero_share"
LEAST: Final = "min"
Q01: Final = "q01"
Q25: Final = "q25"
MEDIAN: Final = "median"
Q75: Final = "q75"
Q99: Final = "q99"
GREATEST: Final = "max"
DISTINCT: Final = "distinct"
SPREAD: Final = "spread"
"""The third quartile less the first."""
DAYS: Final = "days"
EFFECT: Final = "effect"
DRIFTED: Final = "drifted"
CAUSE: Final = "cause"
FACTOR: Final = "factor"
BEFORE: Final = "before"
AFTER: Final = "after"
FOUND_AT: Final = "found_at"
CLOSED_AT: Final = "closed_at"

TIME: Final = pl.Datetime("us", "UTC")
Schema = Mapping[str, pl.DataType | type[pl.DataType]]


def grid_schema(parameters: tuple[str, ...]) -> Schema:
    """One row per entity and cadence step: `entity, at, observed`, then every parameter as Float64 (null = not observed)."""
    return {ENTITY: pl.String, AT: TIME, OBSERVED: pl.Boolean, **dict.fromkeys(parameters, pl.Float64)}


ENTITIES: Final[Schema] = {ENTITY: pl.String, COHORT: pl.String, FIRST_SEEN: TIME, LAST_SEEN: TIME}
LABELS: Final[Schema] = {ENTITY: pl.String, START: TIME, END: TIME, KIND: pl.String}
QUARANTINE: Final[Schema] = {SOURCE: pl.String, FINGERPRINT: pl.String, ROW: pl.Int64, REASON: pl.String, TEXT: pl.String}
"""Rows that could not be read; row 0 stands for a part that cannot be read at all."""
QUARANTINED: Final[Schema] = {**QUARANTINE, FEED: pl.String, AT: TIME, RESOLVED: TIME}
"""The table of them: since when, and when they were read after all (null = not yet)."""
SOURCES: Final[Schema] = {
    FEED: pl.String,
    SOURCE: pl.String,
    FINGERPRINT: pl.String,
    REVISION: pl.Int64,
    ROWS_IN: pl.Int64,
    ROWS_QUARANTINED: pl.Int64,
    ROWS_REPEATED: pl.Int64,
    AT: TIME,
}
"""The parts that were ingested, and when."""
WATERMARKS: Final[Schema] = {FEED: pl.String, NEWEST: TIME, AT: TIME}
"""The newest reading of every feed, and when it was ingested."""
SCALES: Final[Schema] = {ENTITY: pl.String, PARAMETER: pl.String, MEAN: pl.Float64, SD: pl.Float64, COUNT: pl.Int64}
FORECASTS: Final[Schema] = {
    ENTITY: pl.String,
    AT: TIME,
    TARGET: pl.String,
    LEAD: pl.Int32,
    ACTUAL: pl.Float32,
    FORECAST: pl.Float32,
    PERSISTENCE: pl.Float32,
    SIGMA: pl.Float32,
    NEWCOMER: pl.Boolean,
    LABEL: pl.Boolean,
}
"""What a model (or baseline) said for minute `at`, `lead_minutes` before it, beside what came; canonical units; observed rows only."""
THRESHOLDS: Final[Schema] = {ENTITY: pl.String, TARGET: pl.String, LEAD: pl.Int32, SD: pl.Float64, THRESHOLD: pl.Float64, COUNT: pl.Int64}
"""`sd` is the usual error as a share of the training deviation, `threshold` counts in it; a count of 0 marks a borrowed threshold."""
SCORES: Final[Schema] = {
    ENTITY: pl.String,
    AT: TIME,
    TARGET: pl.String,
    ACTUAL: pl.Float64,
    FORECAST: pl.Float64,
    SURPRISE: pl.Float64,
    VERDICT: pl.String,
    RELEASE: pl.String,
}
COVERAGE: Final[Schema] = {ENTITY: pl.String, AT: TIME, STATE: pl.String, RELEASE: pl.String}
INCIDENTS: Final[Schema] = {
    INCIDENT: pl.String,
    ENTITY: pl.String,
    START: TIME,
    OPENED: TIME,
    END: TIME,
    PEAK: pl.Float64,
    TARGET: pl.String,
    RELEASE: pl.String,
}
GROUPS: Final[Schema] = {
    GROUP: pl.String,
    LABEL_SET: pl.String,
    ENTITY: pl.String,
    INCIDENT: pl.String,
    START: TIME,
    OPENED: TIME,
    END: TIME,
    PEAK: pl.Float64,
    RELEASE: pl.String,
}
"""Incidents that are one: a row for each, with its own start, opening and peak and the end of the group; and one for each entity of the
label set that is not hit (incident and peak null, start and opening those of the group)."""
SUSPENSIONS: Final[Schema] = {
    ENTITY: pl.String,
    PARAMETER: pl.String,
    START: TIME,
    END: TIME,
    CAUSE: pl.String,
    FACTOR: pl.Float64,
    BEFORE: pl.Float64,
    AFTER: pl.Float64,
    FOUND_AT: TIME,
    CLOSED_AT: TIME,
    RELEASE: pl.String,
}
"""Parameters that are not believed, from the first wrong value on until the first that is right again (null while it stands): why, by which
factor the level changed (null where no factor tells it), the level of the hour before and of the first wrong values, canonical units; and
from when on the readings told of the beginning, and of the end."""
LIFTS: Final[Schema] = {ENTITY: pl.String, PARAMETER: pl.String, AT: TIME}
"""What an operator has said: from this instant on the parameter is believed, as it is."""
PROFILES: Final[Schema] = {
    ENTITY: pl.String,
    PARAMETER: pl.String,
    DAY: pl.Date,
    OBSERVATIONS: pl.Int64,
    NULL_SHARE: pl.Float64,
    ZERO_SHARE: pl.Float64,
    **dict.fromkeys((LEAST, Q01, Q25, MEDIAN, Q75, Q99, GREATEST, MEAN, SD), pl.Float64),
    DISTINCT: pl.Int64,
}
"""What a parameter of an entity was on a day: how many finite values; of the day's steps, the share without one; of the values, the share
that is zero; then of the values (null where there is none; `sd` where there is only one). Canonical units."""
STORED_PROFILES: Final[Schema] = {**PROFILES, RUN: pl.String, AT: TIME}
"""The table of them: a day that is told otherwise than before is one row more, with the run that found it and when that was."""
_RATIOS: Final = tuple(f"{what}_{whose}" for what in (MEDIAN, SPREAD) for whose in ("past", COHORT, "champion"))
COMPARED: Final[Schema] = {ENTITY: pl.String, PARAMETER: pl.String, DAY: pl.Date, **dict.fromkeys(_RATIOS, pl.Float64)}
"""Natural logarithms of a day's median and spread over those of the entity's own past, of the others of its cohort, of the champion's
training; null where one of the two is unknown, is zero, or has the other's sign reversed."""
DRIFT: Final[Schema] = {
    ENTITY: pl.String,
    PARAMETER: pl.String,
    **dict.fromkeys((MEDIAN, f"{MEDIAN}_champion", f"{SD}_champion", EFFECT), pl.Float64),
    DRIFTED: pl.Boolean,
}
"""How far the last days' median is from that of the champion's training, in deviations of that training."""


def conform(frame: pl.DataFrame, schema: Schema, *, name: str) -> pl.DataFrame:
    """`frame` with exactly the columns of `schema`, in its order.

    Raises:
        SchemaError: a column is missing, unknown or of another type.
    """
    found = dict(frame.schema)
    missing = [column for column in schema if column not in found]
    unknown = [column for column in found if column not in schema]
    wrong = [f"{c} is {found[c]}, not {schema[c]}" for c in schema if c in found and found[c] != schema[c]]
    if missing or unknown or wrong:
        parts = (("missing", missing), ("unknown", unknown), ("types", wrong))
        told = "; ".join(f"{what}: {', '.join(which)}" for what, which in parts if which)
        raise SchemaError(f"The frame '{name}' is not what its boundary asks for: {told}.")
    return frame.select(list(schema))
