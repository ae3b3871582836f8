"""The sections of a run's page: from the run's summary and its exhibits to blocks. A section without anything to say yields nothing.

What a summary holds is taken as it is found: a key that is missing leaves its part out.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from flows import exhibits
from flows.blocks import NONE, Block, Cell, Fact, Facts, Heading, Note, Plot, Table, count, duration, moment, number, plot, text, words
from flows.exhibits import Told
from validation.advice import advice, advice_of, cause_of
from validation.findings import Finding

FINDINGS_LISTED: Final = 50
FINDINGS_DRAWN: Final = 4
WARNINGS_OPEN: Final = 5
"""More of them would push everything else off the screen; they are folded."""


def gate(told: Told) -> Iterator[Block]:
    """Every bar: found, needed, passed."""
    bars = told.frame(exhibits.BARS)
    if bars is None:
        return
    rows = tuple(
        (Cell(text=text(bar[exhibits.NAME])), Cell(text=text(bar[exhibits.FOUND])), Cell(text=text(bar[exhibits.NEEDED])), _passed(bar))
        for bar in bars.iter_rows(named=True)
    )
    failed = bars.height - int(bars[exhibits.PASSED].sum())
    verdict = f"{failed} of {bars.height} bars not passed: the model stays out." if failed else f"All {bars.height} bars passed."
    yield Note(text=verdict, tone="held" if failed else "good")
    yield Table(
        caption="What the gate looked at", columns=("Bar", "Found", "Needed", "Result"), rows=rows, wide=frozenset({"Bar", "Found"})
    )


def _passed(bar: Mapping[str, Any]) -> Cell:  # Any: a row
    return Cell(text="passed", tone="good", mark="✓") if bar[exhibits.PASSED] else Cell(text="not passed", tone="bad", mark="✕")


def checks(told: Told) -> Iterator[Block]:
    """The findings of the data check, worst first, and the telemetry behind the worst."""
    if "findings" not in told.summary and "expectations" not in told.summary:
        return
    findings = list(enumerate(told.summary.get("findings") or []))
    stops, left_out = ([each for each in findings if each[1].get("severity") == name] for name in ("stop", "quarantine"))
    warnings = [each for each in findings if each[1].get("severity") not in ("stop", "quarantine")]
    asked = told.summary.get("expectations")
    judged = "" if asked is None else f"{count(asked)} expectations judged: "
    docs = told.summary.get("data_docs")
    href = told.link(str(docs)) if docs else None
    yield Note(
        text=f"{judged}{_severities(stops=len(stops), left_out=len(left_out), warnings=len(warnings))}.",
        tone="bad" if stops else "held" if findings else "good",
        link="Open the Data Docs" if href else "",
        href=href,
    )
    yield from _finding_plots(told, stops=stops)
    for name, found in (("What stops a run", stops), ("Left out of the run", left_out), ("Warnings", warnings)):
        if found:
            folded = found is warnings and len(warnings) > WARNINGS_OPEN
            yield _findings_table([finding for _, finding in found], name=name, folded=folded)
    if findings:
        yield _what_to_do([finding for _, finding in (*stops, *left_out, *warnings)])


def finding_of(told: Any) -> Finding | None:  # Any: a summary may hold anything
    """The finding that a summary tells; None where it tells none that can be read."""
    try:
        return Finding.from_json(told)
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


def _what_to_do(findings: Sequence[Mapping[str, Any]]) -> Table:  # Any: plain JSON
    lines: dict[str, str] = {}
    for told in findings:
        kind, finding = str(told.get("expectation")), finding_of(told)
        lines.setdefault(advice_of(finding) if finding else advice(kind), f"{kind}: {_error(finding)}" if _error(finding) else kind)
    rows = tuple((Cell(text=words(kind)), Cell(text=line)) for line, kind in lines.items())
    return Table(caption="What to do", columns=("Kind of finding", "What to do"), rows=rows, wide=frozenset({"What to do"}))


def _error(finding: Finding | None) -> str:
    """What was recognised; a factor is one of many that have the same line."""
    cause = "" if finding is None else cause_of(finding)
    return "another unit" if cause.startswith("x") else cause


def _severities(*, stops: int, left_out: int, warnings: int) -> str:
    """How many findings there are of each kind.

    >>> _severities(stops=2, left_out=0, warnings=1), _severities(stops=0, left_out=1, warnings=0)
    ('2 findings that stop a run, 1 warning', '1 finding whose values are left out')
    >>> _severities(stops=0, left_out=0, warnings=0)
    'nothing found'
    """
    stopping = f"{stops} finding{'s that stop' if stops > 1 else ' that stops'} a run" if stops else ""
    out = f"{left_out} finding{'s' if left_out > 1 else ''} whose values are left out" if left_out else ""
    warned = f"{warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    return ", ".join(part for part in (stopping, out, warned) if part) or "nothing found"


def _findings_table(findings: list[Mapping[str, Any]], *, name: str, folded: bool) -> Table:  # Any: plain JSON
    listed = findings[:FINDINGS_LISTED]
    caption = f"{name}: {len(findings)}"
    if len(listed) < len(findings):
        caption += f" (the first {len(listed)} are listed; summary.json holds them all)"
    columns = ("Severity", "Entity", "Parameter", "Period (UTC)", "Found", "Expected", "In words")
    return Table(
        caption=caption,
        columns=columns,
        rows=tuple(_finding_row(finding) for finding in listed),
        wide=frozenset(columns[4:]),
        folded=folded,
    )


def _finding_row(finding: Mapping[str, Any]) -> tuple[Cell, ...]:  # Any: plain JSON
    stop = finding.get("severity") == "stop"
    severity = Cell(text=text(finding.get("severity")), tone="bad" if stop else "held", mark="✕" if stop else "!")
    told = (
        finding.get("entity"),
        finding.get("parameter"),
        _period(finding),
        finding.get("found"),
        finding.get("expected"),
        finding.get("sentence"),
    )
    return (severity, *(Cell(text=text(value)) for value in told))


def _period(finding: Mapping[str, Any]) -> str:  # Any: plain JSON
    start, end = finding.get("period_start"), finding.get("period_end")
    if not start and not end:
        return NONE
    return f"{moment(start)} to\n{moment(end)}" if end else f"from {moment(start)}"


def _finding_plots(told: Told, *, stops: Sequence[tuple[int, Mapping[str, Any]]]) -> Iterator[Plot]:  # Any: plain JSON
    series = told.frame(exhibits.FINDING_SERIES)
    if series is None:
        return
    known = set(series[exhibits.FINDING].unique())
    for index, finding in [(index, finding) for index, finding in stops if index in known][:FINDINGS_DRAWN]:
        from flows import plots

        parameter = text(finding.get("parameter"))
        start, end = _time(finding.get("period_start")), _time(finding.get("period_end"))
        rows = series.filter(pl.col(exhibits.FINDING) == index)
        figure = plots.finding_series(rows, start=start, end=end, parameter=parameter)
        where = f"{text(finding.get('entity'))}, {parameter}"
        yield plot(figure, caption=where, told=text(finding.get("sentence")))


def stage_times(told: Told) -> Iterator[Block]:
    """How long every stage took."""
    stages = told.summary.get("stages") or []
    if not stages:
        return
    seconds = [number(stage.get("seconds")) or 0.0 for stage in stages]
    longest = max([*seconds, 1e-9])
    rows = tuple(
        (Cell(text=text(stage.get("name"))), Cell(text=duration(took), share=took / longest), Cell(text=text(stage.get("note"))))
        for stage, took in zip(stages, seconds, strict=True)
    )
    yield Table(
        caption=f"{duration(sum(seconds))} in all", columns=("Stage", "Time", "What it did"), rows=rows, wide=frozenset({"What it did"})
    )


def training(told: Told) -> Iterator[Block]:
    """The loss by epoch, and the facts of the training."""
    facts, history = told.summary.get("training"), told.frame(exhibits.HISTORY)
    if history is not None:
        from flows import plots

        yield plot(plots.loss_curves(history), caption="Loss by epoch", told=f"{history.height} epochs.")
    if isinstance(facts, Mapping) and facts:
        yield Facts(facts=tuple(_fact(name, value) for name, value in facts.items()))


def _fact(name: str, value: Any) -> Fact:  # Any: plain JSON
    return Fact(name="Time", text=duration(value)) if name == exhibits.SECONDS else Fact(name=words(name), text=text(value))


SHOWN_ELSEWHERE: Final = frozenset(
    {
        "flow",
        "contract",
        "verdict",
        "sentence",
        "hint",
        "stages",
        "page",
        "findings",
        "data_docs",
        "training",
        "profile",
        "started_at",
        "accuracy_bar",
        "reasons",
        "versions",
        "undeclared",
        "clock_example",
        "tables",
        "designs",
        "detectors",
        "rules_refused",
        "contract_lines",
    }
)


def provenance(told: Told) -> Iterator[Block]:
    """Where all of this comes from, and everything else that the summary says."""
    versions = told.summary.get("versions")
    first = ("contract", "contract_digest", "release", "champion", "lake_version")
    rest = [name for name in told.summary if name not in SHOWN_ELSEWHERE and name not in first]
    facts = [Fact(name="Run", text=told.folder.name), Fact(name="Flow", text=told.flow)]
    facts += [Fact(name=words(name), text=text(told.summary[name])) for name in first if told.summary.get(name) is not None]
    facts.append(Fact(name="Summary", text="summary.json", href="summary.json"))
    yield Facts(facts=tuple(facts))
    if isinstance(versions, Mapping) and versions:
        yield Heading(text="Versions")
        yield Facts(facts=tuple(Fact(name=str(name), text=text(version)) for name, version in versions.items()))
    if rest:
        yield Heading(text="All figures")
        yield Facts(facts=tuple(Fact(name=words(name), text=text(told.summary[name])) for name in rest))


def _time(value: Any) -> datetime | None:  # Any: text in ISO format, or a datetime
    at = datetime.fromisoformat(value) if isinstance(value, str) and value else value
    return at.astimezone(UTC) if isinstance(at, datetime) and at.tzinfo else at
