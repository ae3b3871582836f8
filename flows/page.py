"""A run's page: one HTML file for a person, made of the run's summary and of the exhibits that it left.

The file asks for nothing from outside, and says so to the browser (its content security policy). plotly.js is inside of it once,
and only where there is a figure. Whatever a summary holds, a page is written: what cannot be shown is named on it.
"""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from flows import arrived, detected, found_faults, levels, measured, profiled, sections, suspended, swept
from flows.blocks import Block, Note, Plot, Tone, count, decimal, duration, moment, number, percent, text, words
from flows.exhibits import Told
from flows.runs import Run
from validation import site
from validation.advice import advice_of

_log = logging.getLogger(__name__)

TONES: Final[dict[str, Tone]] = {
    **dict.fromkeys(
        ("promoted", "passed", "scored", "ingested", "recalibrated", "backtested", "swept", "tended", "trained", "done"), "good"
    ),
    "held": "held",
    **dict.fromkeys(("stopped", "crashed", "failed"), "bad"),
}
MARKS: Final[dict[Tone, str]] = {"good": "✓", "held": "!", "bad": "✕", "plain": "i"}
LONG_LINE: Final = 120
ALSO_STOPS: Final = 4
"""Other findings that the verdict names; more would push what was measured off the screen."""
WAY_BACK: Final = "<!-- run -->"
"""Stands in the header of every page of the Data Docs."""
SENTENCE_ENDS: Final = re.compile(r"(?<=[a-z]\.) +(?=[A-Z0-9])")
COUNTS: Final = {"rows": "Rows", "rows_in": "Rows read", "rows_new": "New rows", "scored_minutes": "Minutes scored", "entities": "Entities"}
SECTIONS: Final[tuple[tuple[str, str, Callable[[Told], Iterator[Block]]], ...]] = (
    ("gate", "Gate", sections.gate),
    ("sweep", "Designs", swept.section),
    ("profile", "Where the time goes", profiled.section),
    ("detection", "Detection", detected.section),
    ("data-check", "Data check", sections.checks),
    ("levels", "Levels", levels.levels),
    ("ingested", "Ingested", arrived.outcome),
    ("quarantine", "Quarantine", arrived.refused),
    ("suspended", "Quarantined parameters", suspended.parameters),
    ("entities", "Entities", arrived.watched),
    ("feeds", "Feeds", arrived.feeds),
    ("lake", "Lake", arrived.tables),
    ("stages", "Stages", sections.stage_times),
    ("accuracy", "Accuracy", measured.accuracy),
    ("forecasts", "Forecast against actual", measured.excerpts),
    ("incidents", "Incidents", measured.incidents),
    ("injected", "Injected faults", found_faults.section),
    ("training", "Training", sections.training),
    ("provenance", "Provenance", sections.provenance),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One main figure."""

    name: str
    value: str
    note: str = ""
    tone: Tone = "plain"
    code: bool = False
    """Set as code: an identifier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a heading; `key` is its anchor."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of the run: the first line of its sentence, the points below it, and what to do next."""

    name: str
    tone: Tone
    mark: str
    line: str
    more: tuple[str, ...]
    hint: str
    label: str = "Next"
    """Before the hint."""
    docs: str | None = None
    """The way to the Data Docs, where they tell more."""


def write(run: Run, *, summary: dict[str, Any]) -> Path:  # Any: plain JSON
    """Put the page of a run in place in one step, say where it is, and let the run's Data Docs lead back to it."""
    partial = run.page.with_name(f"{run.page.name}.partial")
    partial.write_text(render(run, summary=summary), encoding="utf-8", errors="xmlcharrefreplace")
    partial.replace(run.page)
    for doc in (run.folder / "data_docs").rglob("*.html"):
        _lead_back(doc, page=run.page)
    return run.page


def _lead_back(doc: Path, *, page: Path) -> None:
    """Put the way to the run's page where a page of the Data Docs, which was written before it, keeps a place for it."""
    html = doc.read_text(encoding="utf-8")
    if WAY_BACK in html:
        up = "../" * (len(doc.relative_to(page.parent).parts) - 1)
        doc.write_text(html.replace(WAY_BACK, f'<a class="run" href="{up}{page.name}">The page of this run</a>'), encoding="utf-8")


def render(run: Run, *, summary: dict[str, Any]) -> str:  # Any: plain JSON
    """The page as HTML."""
    told = Told(folder=run.folder, flow=run.flow, summary=summary)
    made = tuple(section for key, title, blocks in SECTIONS if (section := _section(key, title=title, blocks=blocks, told=told)))
    drawn = any(isinstance(block, Plot) for section in made for block in section.blocks)
    seconds = sum(stage.seconds for stage in run.stages)
    html = _template().render(
        flow=run.flow,
        contract=text(summary.get("contract")),
        when=moment(run.started_at, seconds=True),
        took=duration(seconds) if run.stages else "",
        verdict=_stopped(told) or verdict_of(summary),
        tiles=() if _stopped(told) else tuple(tiles(summary)),
        sections=made,
        style=_part("page.css"),
        plotly=_plotly() if drawn else None,
        script=_part("page.js"),
    )
    return html.lstrip()


def verdict_of(summary: dict[str, Any]) -> Verdict:  # Any: plain JSON
    """The verdict in one line, with what else its sentence says.

    >>> verdict_of({"verdict": "held", "sentence": "Held:\\n  - skill 0.0", "hint": None}).more
    ('skill 0.0',)
    """
    name = text(summary.get("verdict"))
    tone = TONES.get(name, "plain")
    tone = "held" if tone == "good" and (summary.get("files_failed") or summary.get("quarantined")) else tone
    sentence, found = str(summary.get("sentence") or ""), summary.get("reasons")
    reasons = [str(reason) for reason in found] if isinstance(found, list) else []
    for reason in reasons:
        sentence = sentence.replace(reason, "")  # told below, one a line
    sentence = SENTENCE_ENDS.sub("\n", sentence) if len(sentence) > LONG_LINE else sentence
    lines = [" ".join(line.split()).removeprefix("- ") for line in sentence.splitlines() if line.strip()]
    line, *more = lines or [words(name)]
    return Verdict(name=name, tone=tone, mark=MARKS[tone], line=line, more=(*more, *reasons), hint=str(summary.get("hint") or ""))


def _stopped(told: Told) -> Verdict | None:
    """The verdict on a run that was stopped by what was found in its telemetry, in the words of the findings; None of any other."""
    found = told.summary.get("findings")
    findings = [finding for each in (found if isinstance(found, list) else []) if (finding := sections.finding_of(each))]
    stops = [finding for finding in findings if finding.severity == "stop"]
    if told.summary.get("verdict") != "stopped" or not stops:
        return None
    worst, *others = (first for first, *_ in site.together(stops))
    more = [other.sentence for other in others[:ALSO_STOPS]]
    more += [f"And {len(others) - ALSO_STOPS} more, below."] if len(others) > ALSO_STOPS else []
    docs = told.link(str(told.summary.get("data_docs") or ""))
    return Verdict(
        name="stopped",
        tone=TONES["stopped"],
        mark=MARKS[TONES["stopped"]],
        line=worst.sentence,
        more=tuple(more),
        hint=advice_of(worst),
        label="What to do",
        docs=docs,
    )


def tiles(summary: dict[str, Any]) -> Iterator[Tile]:  # Any: plain JSON
    """The main figures, where there are any."""
    yield from _accuracy_tiles(summary)
    if (skill := number(summary.get("skill"))) is not None:
        yield Tile(name="Skill", value=decimal(skill), note="error saved over the last value", tone="bad" if skill <= 0 else "plain")
    for key, name in COUNTS.items():
        if number(summary.get(key)) is not None:
            yield Tile(name=name, value=count(summary[key]))
    if failed := number(summary.get("files_failed")):
        yield Tile(name="Unreadable parts", value=count(failed), note=f"of {count(summary.get('files'))}", tone="bad")
    if quarantined := number(summary.get("rows_quarantined")):
        yield Tile(name="Quarantined rows", value=count(quarantined), tone="held")
    if held := number(summary.get("suspended")):
        yield Tile(name="Quarantined parameters", value=count(held), tone="held")
    yield from _incident_tiles(summary)
    if number(summary.get("vus_pr")) is not None:
        pca = summary.get("vus_pr_pca")
        yield Tile(name="VUS-PR", value=decimal(summary["vus_pr"]), note=f"PCA {decimal(pca)}" if number(pca) is not None else "")
    if release := summary.get("release") or summary.get("scored_by"):
        yield Tile(name="Release", value=text(release)[:12], code=True)


def _accuracy_tiles(summary: dict[str, Any]) -> Iterator[Tile]:  # Any: plain JSON
    if number(summary.get("accuracy")) is not None:
        lower, bar = number(summary.get("accuracy_lower")), number(summary.get("accuracy_bar"))
        below = lower is not None and bar is not None and lower < bar
        note = "" if lower is None else f"lower 95 % bound {percent(lower)}"
        note += f"{'; ' if note else ''}bar {percent(bar)}" if bar is not None else ""
        yield Tile(name="Accuracy", value=percent(summary["accuracy"]), note=note, tone="bad" if below else "plain")
    for key, name, note in (
        ("accuracy_persistence", "Last value", "repeated: what is to be beaten"),
        ("accuracy_oracle", "Oracle", "the best that is possible"),
    ):
        if number(summary.get(key)) is not None:
            yield Tile(name=name, value=percent(summary[key]), note=note)


def _incident_tiles(summary: dict[str, Any]) -> Iterator[Tile]:  # Any: plain JSON
    found = number(summary.get("incidents_found"))
    known = number(summary.get("incidents_injected", summary.get("incidents_labelled")))
    if not known and (opened := number(summary.get("incidents"))) is not None:
        yield Tile(name="Incidents", value=count(opened))
    if found is not None and known:
        minutes = number(summary.get("minutes_to_detect"))
        note = "" if minutes is None else f"{decimal(minutes, digits=1)} minutes after their start (median)"
        yield Tile(name="Incidents found", value=f"{count(found)} of {count(known)}", note=note, tone="held" if found < known else "plain")
    if (false := number(summary.get("false_incidents"))) is not None:
        yield Tile(name="False incidents", value=count(false))


def _section(key: str, *, title: str, blocks: Callable[[Told], Iterator[Block]], told: Told) -> Section | None:
    """A section with all that could be made of it; None where there is nothing to say."""
    made: list[Block] = []
    try:
        for block in blocks(told):
            made.append(block)  # noqa: PERF402 - what was made before an error is kept
    except Exception as error:  # noqa: BLE001 - the page of a run that went wrong must not go wrong itself; what is missing is named on it
        _log.warning("The section '%s' of the page could not be made", key, exc_info=error)
        made.append(Note(text=f"What belongs here could not be shown: {type(error).__name__}: {error}"[:500], tone="held"))
    return Section(key=key, title=title, blocks=tuple(made)) if made else None


@cache
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html")


def _part(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]  # only for pages with a figure

    return str(get_plotlyjs())
