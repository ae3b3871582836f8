"""Results -> Data Docs: pages that need nothing but themselves, for a person who never saw the library.

The library builds the site. Its own templates fetch some 16 files from elsewhere (styles, scripts, a logo whose address carries an id of
the installation); the few templates in `templates` that shadow them hold the styles inline and no script, link or image at all.
The index, and what a page begins with, are ours: see `site`.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast
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
from jinja2 import ChoiceLoader, FileSystemLoader

from telemetry.schema import AT
from validation import figures, site
from validation.expectations import findings_of
from validation.findings import Finding
from validation.site import KEPT, PICTURES, STORE, TEMPLATES
from validation.verdict import worst_first

SITE: Final = "tidewatch"
PAGES: Final = site.PAGES
NAMES: Final = {"Table-Level Expectations": "All of it", AT: "Time"}


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
    """Put pictures of the first findings onto the pages of `folder`; of those that say the same, one has a picture.

    Args:
        folder: that of the check.
        grid: what was checked.
        findings: what was found in it, the worst first.
    """
    drawn = figures.draw(grid, findings=[first for first, *_ in site.together(findings)])
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
    pages = folder / PAGES
    shutil.rmtree(pages / "static", ignore_errors=True)  # the library's fonts, logo and animations: 4 MB that no page refers to
    drawn = sum(1 for _ in (pages / "validations").rglob("*.html"))
    if drawn != min(len(keys), KEPT):
        raise RuntimeError(f"{pages} holds {drawn} pages for {min(len(keys), KEPT)} validations; the log of great_expectations says why.")
    results = {key: cast("ExpectationSuiteValidationResult", store.get(key)) for key in keys[:KEPT]}
    site.write_others(folder)
    return site.write_index(folder, lines=[_line(key, result=result) for key, result in results.items()])


def _line(key: ValidationResultIdentifier, *, result: ExpectationSuiteValidationResult) -> site.Line:
    href = quote(f"validations/{'/'.join(key.to_tuple())}.html")  # type: ignore[no-untyped-call]
    return site.line(_words(key.expectation_suite_identifier.name), at=key.run_id.run_time, href=href, findings=_found(result))


def _found(result: ExpectationSuiteValidationResult) -> tuple[Finding, ...]:
    """All findings of a validation, the worst first."""
    return worst_first(finding for each in result.results for finding in findings_of(each))


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


def _first(found: Sequence[Finding], *, asked: int, pictures: Path) -> RenderedSectionContent:
    told = site.opening(found, told=f"{asked} expectations were checked.", pictures=pictures)
    return RenderedSectionContent(section_name="What to look at", content_blocks=[Findings(told)])
