"""What a check of the data found, told so that a person can act on it. Light: no Great Expectations, no frames."""

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Self

from telemetry.errors import DataCheckError

Severity = Literal["stop", "quarantine", "warn"]
"""What a finding does: nothing is learned; what it names is left out of the run, and the rest goes on; a person should know."""
RANK: Final = {"stop": 0, "quarantine": 1, "warn": 2}
"""The worst first."""
TOLD_IN_MESSAGE: Final = 3
"""A message that lists hundreds of findings is not read; the pages hold them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    expectation: str
    """Which check found it, e.g. `same unit`."""
    severity: Severity
    entity: str | None
    parameter: str | None
    period_start: datetime | None
    period_end: datetime | None
    """Exclusive."""
    found: str
    expected: str
    sentence: str
    """All of it in plain words, for a person at 3 am."""
    cause: str = ""
    """The error of arithmetic behind it, where one was recognised: `x1000`, `integer division by 60`, `swapped with queries`."""
    beside: tuple[str, ...] = ()
    """Other parameters that are quarantined with this one, because nobody knows which of them is wrong."""

    @classmethod
    def warning(cls, expectation: str, *, found: str, expected: str, sentence: str) -> Self:
        """What is no single entity's, parameter's or time's matter, and stops nothing."""
        return cls(
            expectation=expectation,
            severity="warn",
            entity=None,
            parameter=None,
            period_start=None,
            period_end=None,
            found=found,
            expected=expected,
            sentence=sentence,
        )

    @property
    def period(self) -> str:
        """The period in words, UTC; empty where there is none."""
        if self.period_start is None or self.period_end is None:
            return ""
        return f"{self.period_start:%Y-%m-%d %H:%M} to {self.period_end:%Y-%m-%d %H:%M} UTC"

    def as_json(self) -> dict[str, Any]:  # Any: plain JSON
        """The fields as plain JSON, times in ISO format."""
        told = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(self).items()}
        return told | {"beside": list(self.beside)}

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:  # Any: plain JSON
        """The finding that `as_json` told."""
        times = {key: datetime.fromisoformat(told[key]) if told[key] else None for key in ("period_start", "period_end")}
        return cls(**{**told, **times, "beside": tuple(told.get("beside", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """The outcome of one suite."""

    passed: bool
    """No finding is a 'stop'."""
    findings: tuple[Finding, ...]
    asked: int
    """Expectations that the suite holds."""
    results: int
    """Expectations that were judged; equal to `asked`, or the check would have refused."""
    docs: Path
    """The Data Docs' index.html."""
    seconds: float

    @property
    def stops(self) -> tuple[Finding, ...]:
        """The findings that stop a run."""
        return tuple(finding for finding in self.findings if finding.severity == "stop")

    @property
    def quarantined(self) -> tuple[Finding, ...]:
        """The findings that name what a run leaves out."""
        return tuple(finding for finding in self.findings if finding.severity == "quarantine")


class DataCheckFailed(DataCheckError):  # noqa: N818  # reads as what happened
    """The data failed a check that stops the run; `report` holds everything that was found."""

    def __init__(self, report: CheckReport) -> None:
        self.report = report
        told = "\n".join(f"  - {_line(finding)}" for finding in report.stops[:TOLD_IN_MESSAGE])
        more = len(report.stops) - TOLD_IN_MESSAGE
        rest = f"\n  - and {more} more" if more > 0 else ""
        super().__init__(f"The data failed {len(report.stops)} of its checks:\n{told}{rest}", hint=f"open {report.docs}.")


def _line(finding: Finding) -> str:
    where = " / ".join(part for part in (finding.entity, finding.parameter, finding.period) if part)
    return f"{where or finding.expectation}: found {finding.found}, expected {finding.expected}."
