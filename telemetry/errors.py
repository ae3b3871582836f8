"""What can be wrong with telemetry, as a tree of exceptions: one class a mistake, its facts as attributes.

TidewatchError
├── ContractError            a contract file that cannot be read or does not say what it must
├── SourceError              a source that cannot be read as the contract says
│   ├── SourceMissingError
│   ├── EmptySourceError
│   ├── MissingColumnError
│   ├── NewColumnsError      columns that the contract does not name, where new ones are frozen
│   ├── BadValueError        text in a number, a time that cannot be read
│   └── NaiveTimeError       a time without a zone, and none declared
├── RulesError               a file of threshold rules that cannot be read
├── UnitError                a unit that is unknown or of another dimension
├── SchemaError              a frame that is not what the boundary asks for
├── FleetError               a simulated fleet that cannot be made as asked
│   └── UnknownFaultError    a fault that cannot be planted
├── DataCheckError           telemetry that fails its checks (raised in `validation`)
├── TrainingError            a training that cannot go on (raised in `models`)
└── ReleaseError             a release that is missing, revoked or damaged (raised in `serving`)

Every message says what was found, what was expected and where, then `Hint:` with the next step.
"""

from typing import Any


class TidewatchError(Exception):
    """The root: whatever Tidewatch refuses on purpose. The command line prints it without a traceback.

    Attributes:
        message: what was found, what was expected, and where.
        hint: the next step.
        summary: the figures of the run that was stopped, if it was one.
    """

    summary: dict[str, Any] | None = None  # Any: plain JSON

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message if hint is None else f"{message}\nHint: {hint}")


class ContractError(TidewatchError):
    """The contract cannot be used."""

    def __init__(self, *, path: str, problems: tuple[str, ...], hint: str | None = None) -> None:
        self.path = path
        self.problems = problems
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"The contract {path} cannot be used:\n{lines}", hint=hint)


class SourceError(TidewatchError):
    """A source cannot be read as its contract says."""


class SourceMissingError(SourceError):
    """No file is where the source should be."""


class EmptySourceError(SourceError):
    """The source is there and holds no row."""


class MissingColumnError(SourceError):
    """The source lacks columns that the contract names."""

    def __init__(self, *, source: str, missing: tuple[str, ...], found: tuple[str, ...]) -> None:
        self.source, self.missing, self.found = source, missing, found
        super().__init__(
            f"{source} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has {', '.join(found)}.",
            hint="name the column in the contract as the source spells it (parameters.<name>.column), or fix the export.",
        )


class NewColumnsError(SourceError):
    """The source has columns that the contract does not name, and does not allow."""

    def __init__(self, *, source: str, columns: tuple[str, ...]) -> None:
        self.source, self.columns = source, columns
        super().__init__(
            f"{source} has {', '.join(columns)}, which the contract does not name; new columns are frozen.",
            hint="declare them under [parameters], or set new_columns to 'discard' (pass over and tell) or 'evolve' (keep as they are).",
        )


class BadValueError(SourceError):
    """A value cannot be read as what the contract says it is."""


class NaiveTimeError(SourceError):
    """Times come without a zone, and the contract declares none."""


class RulesError(TidewatchError):
    """A file of threshold rules cannot be read."""


class UnitError(TidewatchError):
    """A unit is unknown, or cannot be turned into the parameter's own."""


class SchemaError(TidewatchError):
    """A frame has not the columns or types that its boundary asks for."""


class FleetError(TidewatchError):
    """A simulated fleet cannot be made as it was asked for."""


class UnknownFaultError(FleetError):
    """A fault's name says nothing that could be planted."""

    def __init__(self, *, fault: str, known: tuple[str, ...]) -> None:
        self.fault, self.known = fault, known
        super().__init__(f"'{fault}' is no fault that can be planted.", hint=f"known are, for example, {', '.join(known)}.")


class DataCheckError(TidewatchError):
    """Telemetry failed a check that stops the run."""


class TrainingError(TidewatchError):
    """A training cannot go on."""


class ReleaseError(TidewatchError):
    """A release is missing, revoked or damaged."""
