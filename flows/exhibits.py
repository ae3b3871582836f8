"""The frames that a run leaves for its page: one Parquet file each under `data` in the run's folder. Every one may be missing.

bars            name, found, needed, passed                                             what the gate looked at
finding_series  finding, at, value                                                     the telemetry behind the first findings
compared        COMPARED of telemetry.schema                                           the last finished day against what is known
by_entity       entity, rows, accuracy, accuracy_persistence, accuracy_oracle, skill   (by_target, by_entity_target likewise)
excerpts        excerpt, title, entity, target, at, actual, forecast, lower, upper, surprise, label
incidents       incident, entity, start, opened, end, peak, target, matched                    matched: null where nothing is labelled
groups          group, label_set, start, opened, end, peak, incidents, hit, not_hit, spared       incidents that are one
labels          entity, start, end, kind, found, minutes_to_detect
injected        GRADED of validation.injected, and model (candidate, champion)         what was found of injected faults
nights          at, release, faults, found                                              what was found in the shadow of the last days
suspended       SUSPENSIONS of telemetry.schema                                        what stands, and what has ended just now
impossible      IMPOSSIBLE of flows.suspensions                                        values that cannot be, of the minutes scored now
history         number, loss, validation_loss, seconds                                 one row an epoch
refused         reason, rows, new, parts, since, source, row, example                          the feed's open quarantine, by reason
watermarks      feed, newest, at                                                       how far each feed has come
watched         HISTORY of telemetry.presence                                          who is watched, as of the newest reading
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from telemetry.schema import END, ENTITY, KIND, PEAK, START, TARGET, TIME, Schema

BARS: Final = "bars"
FINDING_SERIES: Final = "finding_series"
COMPARED: Final = "compared"
BY_ENTITY: Final = "by_entity"
BY_TARGET: Final = "by_target"
BY_ENTITY_TARGET: Final = "by_entity_target"
EXCERPTS: Final = "excerpts"
INCIDENTS: Final = "incidents"
GROUPS: Final = "groups"
LABELS: Final = "labels"
INJECTED: Final = "injected"
NIGHTS: Final = "nights"
SUSPENDED: Final = "suspended"
IMPOSSIBLE: Final = "impossible"
HISTORY: Final = "history"
REFUSED: Final = "refused"
WATERMARKS: Final = "watermarks"
WATCHED: Final = "watched"

NAME: Final = "name"
FOUND: Final = "found"
NEEDED: Final = "needed"
PASSED: Final = "passed"
FINDING: Final = "finding"
"""Index into the summary's findings."""
VALUE: Final = "value"
EXCERPT: Final = "excerpt"
"""Number of an excerpt; the order on the page."""
TITLE: Final = "title"
LOWER: Final = "lower"
UPPER: Final = "upper"
"""Ends of the band in which a minute is normal."""
MATCHED: Final = "matched"
BECAUSE: Final = "because"
"""The targets that had part in an incident, and how much."""
MINUTES_TO_DETECT: Final = "minutes_to_detect"
MODEL: Final = "model"
CANDIDATE: Final = "candidate"
CHAMPION: Final = "champion"
NUMBER: Final = "number"
LOSS: Final = "loss"
VALIDATION_LOSS: Final = "validation_loss"
SECONDS: Final = "seconds"

NO_INCIDENTS: Final[Schema] = {ENTITY: pl.String, START: TIME, END: TIME, PEAK: pl.Float64, TARGET: pl.String, MATCHED: pl.Boolean}
NO_LABELS: Final[Schema] = {ENTITY: pl.String, START: TIME, END: TIME, KIND: pl.String, FOUND: pl.Boolean, MINUTES_TO_DETECT: pl.Float64}


def path_of(folder: Path, *, name: str) -> Path:
    """Where an exhibit of a run lies."""
    return folder / "data" / f"{name}.parquet"


def read(folder: Path, *, name: str) -> pl.DataFrame | None:
    """An exhibit of a run; None where the run left none, or left it empty."""
    path = path_of(folder, name=name)
    if not path.is_file():
        return None
    frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
    return None if frame.is_empty() else frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a run has told: its folder and its summary."""

    folder: Path
    flow: str
    summary: Mapping[str, Any]  # Any: plain JSON

    def frame(self, name: str) -> pl.DataFrame | None:
        """An exhibit; None where there is none."""
        return read(self.folder, name=name)

    def link(self, path: str | Path) -> str | None:
        """`path` as the page may link to it; None where it is not a file in the run's folder."""
        found = Path(path)
        inside = found.is_relative_to(self.folder) and found.is_file()
        return found.relative_to(self.folder).as_posix() if inside else None
