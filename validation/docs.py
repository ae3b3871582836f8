"""Results -> Data Docs: pages that need nothing but themselves, for a person who never saw the library.

The library builds the site. Its own templates fetch some 16 files from elsewhere (styles, scripts, a logo whose address carries an id of
the installation); the few templates in `templates` that shadow them hold the styles inline and no script, link or image at all.
The index is ours: every check with its verdict, newest first.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import polars as pl
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.data_context.data_context.context_factory import set_context
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import ValidationResultIdentifier
from great_expectations.render.components import (
    RenderedComponentContent,
    RenderedDocumentContent,
    RenderedHeaderContent,
    RenderedSectionContent,
)
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

from telemetry.schema import AT
from validation import figures
from validation.advice import advice
from validation.expectations import SHOWN, findings_of
from validation.findings import Finding

TEMPLATES: Final = Path(__file__).parent / "templates"
KEPT: Final = 10
"""Validations of a folder that stay; older ones are removed with their pages."""
SITE: Final = "tidewatch"
PAGES: Final = "data_docs"
STORE: Final = "great_expectations"
PICTURES: Final = "pictures"
MARKS: Final = {"passed": "\N{CHECK MARK}", "warned": "!", "stopped": "\N{MULTIPLICATION X}"}
NAMES: Final = {"Table-Level Expectations": "The grid as a whole", AT: "Time"}
ALL_WELL: Final = "Everything is as expected."

Verdict = Literal["passed", "warned", "stopped"]


def context(folder: Path) -> EphemeralDataContext:
    """A context that keeps suites and results under `folder`/great_expectations and its pages under `folder`/data_docs.

    It tells nobody outside and draws no progress bars. Great Expectations knows one current context per process: this one, from now on.
    """
    made = EphemeralDataContext(project_config=_config(folder.absolute()))
    set_context(made)
    return made


def _config(folder: Path) -> DataContextConfig:
    view = {"module_name": __name__, "class_name": PageView.__name__}
    return DataContextConfig(
        stores={
            "expectations": _store("ExpectationsStore", folder=folder / STORE / "suites"),
            "validations": _store("ValidationResultsStore", folder=folder / STORE / "validations"),
            "checkpoints": {"class_name": "CheckpointStore", "store_backend": {"class_name": "InMemoryStoreBackend"}},
            "validation_definition_store": {
                "class_name": "ValidationDefinitionStore",
                "store_backend": {"class_name": "InMemoryStoreBackend"},
            },
        },
        expectations_store_name="expectations",
        validation_results_store_name="validations",
        checkpoint_store_name="checkpoints",
        data_docs_sites={
            SITE: {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder / PAGES)},
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "view": view},
                "site_section_builders": {
                    "expectations": {"class_name": "DefaultSiteSectionBuilder", "view": view},
                    "validations": {
                        "class_name": "DefaultSiteSectionBuilder",
                        "renderer": {
                            "module_name": __name__,
                            "class_name": FindingsFirst.__name__,
                            "pictures": str(folder / STORE / PICTURES),
                        },
                        "view": view,
                    },
                    "profiling": "None",
                },
            }
        },
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )


def _store(kind: str, *, folder: Path) -> dict[str, Any]:  # Any: the library's configuration
    backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder), "suppress_store_backend_id": True}
    return {"class_name": kind, "store_backend": backend}


def illustrate(folder: Path, *, grid: pl.LazyFrame, findings: Sequence[Finding]) -> None:
    """Put pictures of the first findings onto the pages of `folder`.

    Args:
        folder: that of the check.
        grid: what was checked.
        findings: what was found in it, the worst first.
    """
    drawn = figures.draw(grid, findings=findings)
    if not drawn:
        return
    place = folder / STORE / PICTURES
    place.mkdir(exist_ok=True)
    for name, picture in drawn.items():
        (place / f"{name}.svg").write_text(picture, encoding="utf-8")
    build(EphemeralDataContext(project_config=_config(folder.absolute())), folder=folder)


def build(made: EphemeralDataContext, *, folder: Path) -> Path:
    """The site's index.html; of older validations the last `KEPT` stay.

    Raises:
        RuntimeError: a page could not be drawn. The library only logs that.
    """
    store = made.validation_results_store
    keys = [key for key in store.list_keys() if isinstance(key, ValidationResultIdentifier)]
    keys.sort(key=lambda key: key.run_id.run_time, reverse=True)
    for old in keys[KEPT:]:
        store.remove_key(old)  # type: ignore[no-untyped-call]
    made.build_data_docs(site_names=[SITE])
    site = folder / PAGES
    shutil.rmtree(site / "static", ignore_errors=True)  # the library's fonts, logo and animations: 4 MB that no page refers to
    drawn = sum(1 for _ in (site / "validations").rglob("*.html"))
    if drawn != min(len(keys), KEPT):
        raise RuntimeError(f"{site} holds {drawn} pages for {min(len(keys), KEPT)} validations; the log of great_expectations says why.")
    index = _index({key: cast("ExpectationSuiteValidationResult", store.get(key)) for key in keys[:KEPT]})
    (site / "index.html").write_text(index, encoding="utf-8")
    return site / "index.html"


def _index(results: dict[ValidationResultIdentifier, ExpectationSuiteValidationResult]) -> str:
    """The first page: one line for each check, in the order given, and what each kind of check asks."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    suites = dict.fromkeys(key.expectation_suite_identifier.name for key in results)
    return environment.get_template("index.j2").render(
        checks=[_line(key, result=result) for key, result in results.items()],
        suites=[{"name": _words(name), "href": f"expectations/{quote(name)}.html"} for name in suites],
        kept=KEPT,
    )


def _line(key: ValidationResultIdentifier, *, result: ExpectationSuiteValidationResult) -> dict[str, str]:
    found = _found(result)
    verdict = verdict_of(found)
    return {
        "at": f"{key.run_id.run_time:%Y-%m-%d %H:%M:%S}",
        "name": _words(key.expectation_suite_identifier.name),
        "href": quote(f"validations/{'/'.join(key.to_tuple())}.html"),  # type: ignore[no-untyped-call]
        "verdict": verdict,
        "mark": MARKS[verdict],
        "findings": counted(found),
        "sentence": found[0].sentence if found else ALL_WELL,
    }


def _found(result: ExpectationSuiteValidationResult) -> list[Finding]:
    """All findings of a validation, the worst first."""
    return sorted((finding for each in result.results for finding in findings_of(each)), key=lambda finding: finding.severity)


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """What a check with these findings comes to."""
    severities = {finding.severity for finding in findings}
    return "stopped" if "stop" in severities else "warned" if severities else "passed"


def counted(findings: Sequence[Finding]) -> str:
    """How many stop and how many warn, in words; 'none' where there is none."""
    stops = sum(finding.severity == "stop" for finding in findings)
    warnings = len(findings) - stops
    stopping = f"{stops} that stop{'s' if stops == 1 else ''}" if stops else ""
    warned = f"{warnings} that warn{'s' if warnings == 1 else ''}" if warnings else ""
    return ", ".join(part for part in (stopping, warned) if part) or "none"


def _words(name: str) -> str:
    return name.replace("-", " ")


class PageView(DefaultJinjaPageView):
    """The library's pages through our templates."""

    def __init__(self, custom_styles_directory: str | None = None, custom_views_directory: str | None = None) -> None:
        super().__init__(custom_styles_directory=custom_styles_directory, custom_views_directory=custom_views_directory)
        self.env.loader = ChoiceLoader([FileSystemLoader(TEMPLATES), *([self.env.loader] if self.env.loader else [])])


class FindingsFirst(ValidationResultsPageRenderer):
    """The library's page of a validation, with all findings in plain sentences on top and its own overview at the end."""

    def __init__(self, pictures: str) -> None:
        super().__init__()
        self._pictures = Path(pictures)

    def render(
        self, validation_results: ExpectationSuiteValidationResult, suite_parameters: dict[str, Any] | None = None
    ) -> RenderedDocumentContent:
        """The document; it begins with what to look at."""
        meta = cast("dict[str, Any]", validation_results.meta)
        meta.setdefault("batch_spec", {})["data_asset_name"] = validation_results.suite_name  # else the page says None
        validation_results.results.sort(key=lambda result: bool(result.success))  # what failed comes first, the rest in its order
        document: RenderedDocumentContent = super().render(validation_results, suite_parameters)
        found = _found(validation_results)
        overview, *columns = document.sections
        odd = {finding.parameter for finding in found}
        columns.sort(key=lambda section: section.section_name not in odd)
        for section in columns:
            _rename(section)
        overview.section_name = "About this check"
        at = str(document.page_title).rpartition(" / ")[2]
        document.page_title = f"{_words(validation_results.suite_name)}, {at.replace('T', ' ').replace('Z', ' UTC')}"
        document.sections = [_first(found, asked=len(validation_results.results), pictures=self._pictures), *columns, overview]
        return document


def _rename(section: RenderedSectionContent) -> None:
    """A name for what concerns no parameter."""
    if section.section_name not in NAMES:
        return
    section.section_name = NAMES[section.section_name]
    section.content_blocks[0] = RenderedHeaderContent(header=section.section_name, styling={"header": {"classes": ["alert"]}})


class Findings(RenderedComponentContent):
    """The verdict and the findings, shown by `findings.j2`."""

    def __init__(self, told: dict[str, Any]) -> None:  # Any: plain JSON
        super().__init__(content_block_type="findings")
        self._told = told

    def to_json_dict(self) -> dict[str, Any]:  # Any: as above
        """What the template reads."""
        return {**super().to_json_dict(), **self._told}


def _first(found: list[Finding], *, asked: int, pictures: Path) -> RenderedSectionContent:
    verdict = verdict_of(found)
    told = {
        "verdict": verdict,
        "mark": MARKS[verdict],
        "told": f"{asked} expectations were checked. {f'Findings: {counted(found)}.' if found else ALL_WELL}",
        "findings": [_told(finding, pictures=pictures) for finding in found[:SHOWN]],
        "more": max(len(found) - SHOWN, 0),
    }
    return RenderedSectionContent(section_name="What to look at", content_blocks=[Findings(told)])


def _told(finding: Finding, *, pictures: Path) -> dict[str, str]:
    picture = pictures / f"{figures.name_of(finding)}.svg"
    return {
        "severity": finding.severity,
        "sentence": finding.sentence,
        "found": finding.found,
        "expected": finding.expected,
        "advice": advice(finding.expectation),
        "picture": picture.read_text(encoding="utf-8") if picture.is_file() else "",
    }
