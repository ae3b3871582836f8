"""The frame of the Data Docs: their first page, what a page begins with, and the pages of checks that Great Expectations did not run.

Light: Jinja and files, no Great Expectations. The library's own pages are made in `docs`, which hands on a line for each of them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from validation import figures
from validation.advice import advice_of, cause_of
from validation.findings import RANK, Finding
from validation.verdict import worst_first

TEMPLATES: Final = Path(__file__).parent / "templates"
KEPT: Final = 10
"""Checks of a kind that stay in a folder; older ones are removed with their pages."""
PAGES: Final = "data_docs"
STORE: Final = "great_expectations"
PICTURES: Final = "pictures"
LINES: Final = "lines.json"
OTHERS: Final = "others"
"""In the store: checks that the library did not run. In the pages: their pages."""
SHOWN: Final = 50
"""Findings with an entry of their own on a page."""
LIKEWISE: Final = 20
"""Others that a finding names as the same."""
VERBS: Final = {"stop": ("stops", "stop"), "quarantine": ("quarantines", "quarantine"), "warn": ("warns", "warn")}
MARKS: Final = {"passed": "\N{CHECK MARK}", "warned": "!", "quarantined": "\N{CIRCLED DIVISION SLASH}", "stopped": "\N{MULTIPLICATION X}"}
MEANINGS: Final = {
    "stop": "nothing is learned until it is mended",
    "quarantine": "what it names is left out of the run, and the rest goes on",
    "warn": "a person should know",
}
WHAT: Final = {
    "raw grid": "the telemetry as it came in, before anything is scaled",
    "scaled panel": "what the network learns from, held against the telemetry",
    "scaled panel by the champion": "what the release in force is given, held against the telemetry",
    "drift": "the last days, held against what the release in force learned from",
}
ALL_WELL: Final = "Everything is as expected."

Verdict = Literal["passed", "warned", "quarantined", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A check as the first page tells it."""

    at: str
    name: str
    href: str
    verdict: Verdict
    findings: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A check that the library did not run; `told` says what was looked at."""

    name: str
    at: datetime
    told: str
    findings: tuple[Finding, ...]

    @property
    def slug(self) -> str:
        """Its file's name without the ending."""
        return f"{self.name.replace(' ', '-')}-{self.at:%Y%m%dT%H%M%S%f}"


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """What a check with these findings comes to."""
    severities = {str(finding.severity) for finding in findings}
    worst = min(severities, key=lambda severity: RANK[severity], default="")
    return {"stop": "stopped", "quarantine": "quarantined", "warn": "warned"}.get(worst, "passed")  # type: ignore[return-value]  # all of it


def counted(findings: Sequence[Finding]) -> str:
    """How many stop, quarantine and warn, in words; 'none' where there is none."""
    counts = {severity: sum(finding.severity == severity for finding in findings) for severity in RANK}
    return ", ".join(f"{count} that {VERBS[severity][count > 1]}" for severity, count in counts.items() if count) or "none"


def together(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that say the same of several entities in one list, the worst first; those of an unknown cause stay alone.

    An error of arithmetic is the same where kind, cause and parameter are; of the tensors a cause is the same whatever the parameter.
    """
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for number, finding in enumerate(worst_first(findings)):
        cause = cause_of(finding)
        of = finding.parameter if finding.cause else None
        groups.setdefault((finding.severity, finding.expectation, cause, of) if cause else (number,), []).append(finding)
    return list(groups.values())


def opening(findings: Sequence[Finding], *, told: str, pictures: Path) -> dict[str, Any]:  # Any: plain JSON
    """What a page begins with, as `findings.j2` shows it: the verdict, and every finding with what to do.

    Args:
        findings: all of the check.
        told: a sentence on what was looked at.
        pictures: folder of the pictures that `figures` drew.
    """
    verdict, groups = verdict_of(findings), together(findings)
    shown = groups[:SHOWN]
    return {
        "verdict": verdict,
        "mark": MARKS[verdict],
        "told": f"{told} {f'Findings: {counted(findings)}.' if findings else ALL_WELL}",
        "meanings": {severity: MEANINGS[severity] for severity in RANK if any(each.severity == severity for each in findings)},
        "findings": [_entry(group, pictures=pictures) for group in shown],
        "more": sum(len(group) for group in groups[SHOWN:]),
    }


def _entry(group: Sequence[Finding], *, pictures: Path) -> dict[str, Any]:  # Any: plain JSON
    finding, *others = group
    picture = pictures / f"{figures.name_of(finding)}.svg"
    return {
        "severity": finding.severity,
        "sentence": finding.sentence,
        "found": finding.found,
        "expected": finding.expected,
        "advice": advice_of(finding),
        "likewise": [_like(other, finding) for other in others[:LIKEWISE]],
        "likewise_more": max(len(others) - LIKEWISE, 0),
        "picture": Markup(picture.read_text(encoding="utf-8")) if picture.is_file() else "",  # noqa: S704  # ours, its texts escaped
    }


def _like(other: Finding, finding: Finding) -> str:
    """What of another finding is not said yet."""
    what = f"{other.parameter} of {other.entity}" if other.parameter and other.entity else other.entity or other.parameter or ""
    when = f", {other.period}" if other.period != finding.period else ""
    found = f": {other.found}" if other.found != finding.found else ""
    return f"{what}{when}{found}"


def write_index(folder: Path, *, lines: Iterable[Line]) -> Path:
    """The first page: one line for each check of `folder`, the newest first, those of `lines` and the others."""
    told = [asdict(line) for line in lines]
    store = folder / STORE
    store.mkdir(parents=True, exist_ok=True)
    (store / LINES).write_text(json.dumps(told), encoding="utf-8")
    return _index(folder, lines=told)


def _index(folder: Path, *, lines: Sequence[Mapping[str, str]]) -> Path:
    pages = folder / PAGES
    pages.mkdir(exist_ok=True)
    others = [asdict(_line(other)) for other in _kept(folder)]
    checks = sorted([*lines, *others], key=lambda line: line["at"], reverse=True)
    suites = sorted({line["name"] for line in lines})
    (pages / "index.html").write_text(
        _template("index.j2").render(
            checks=[{**line, "mark": MARKS[line["verdict"]], "what": WHAT.get(line["name"], "")} for line in checks],
            suites=[{"name": name, "href": f"expectations/{quote(name.replace(' ', '-'))}.html"} for name in suites],
            kept=KEPT,
        ),
        encoding="utf-8",
    )
    return pages / "index.html"


def add(folder: Path, other: Other, *, pictures: Mapping[str, str]) -> Path:
    """The page of a check that the library did not run; from now on the first page leads there.

    Args:
        folder: that of the check, as of `checks.check_raw`.
        other: what was looked at and found.
        pictures: SVG by `figures.name_of`.
    """
    for place in (folder / STORE / OTHERS, folder / STORE / PICTURES, folder / PAGES / OTHERS):
        place.mkdir(parents=True, exist_ok=True)
    record = {"name": other.name, "at": other.at.isoformat(), "told": other.told, "findings": [found.as_json() for found in other.findings]}
    (folder / STORE / OTHERS / f"{other.slug}.json").write_text(json.dumps(record), encoding="utf-8")
    for name, picture in pictures.items():
        (folder / STORE / PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")
    known = folder / STORE / LINES
    _index(folder, lines=json.loads(known.read_text(encoding="utf-8")) if known.is_file() else [])
    return write_others(folder)[-1]


def write_others(folder: Path) -> list[Path]:
    """The pages of the checks that the library did not run, the oldest first."""
    written = []
    for other in _kept(folder):
        page = folder / PAGES / OTHERS / f"{other.slug}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        told = opening(other.findings, told=other.told, pictures=folder / STORE / PICTURES)
        title = f"{other.name}, {other.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        page.write_text(_template("other.j2").render(content_block=told, page_title=title), encoding="utf-8")
        written.append(page)
    return written


def _kept(folder: Path) -> list[Other]:
    """Those of a folder, the oldest first; beyond `KEPT` they are removed."""
    found = sorted(((_other(path), path) for path in (folder / STORE / OTHERS).glob("*.json")), key=lambda each: each[0].at)
    for other, path in found[:-KEPT]:
        path.unlink()
        (folder / PAGES / OTHERS / f"{other.slug}.html").unlink(missing_ok=True)
    return [other for other, _ in found[-KEPT:]]


def _other(path: Path) -> Other:
    told = json.loads(path.read_text(encoding="utf-8"))
    findings = tuple(Finding.from_json(finding) for finding in told["findings"])
    return Other(name=told["name"], at=datetime.fromisoformat(told["at"]), told=told["told"], findings=findings)


def _line(other: Other) -> Line:
    return line(other.name, at=other.at, href=quote(f"{OTHERS}/{other.slug}.html"), findings=other.findings)


def line(name: str, *, at: datetime, href: str, findings: Iterable[Finding]) -> Line:
    """A check as the first page tells it."""
    found = worst_first(findings)
    return Line(
        at=f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        name=name,
        href=href,
        verdict=verdict_of(found),
        findings=counted(found),
        sentence=found[0].sentence if found else ALL_WELL,
    )


def _template(name: str) -> Any:  # Any: jinja2.Template, whose render takes anything
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined).get_template(name)
