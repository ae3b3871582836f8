"""Results -> Data Docs: pages that need nothing but themselves.

The library builds the site. Its own templates fetch some 16 files from elsewhere (styles, scripts, a logo whose address carries an id of
the installation); the few templates in `templates` that shadow them hold the styles inline and no script, link or image at all.
"""

import shutil
from pathlib import Path
from typing import Any, Final, cast

from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.data_context.data_context.context_factory import set_context
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import DataContextConfig, ProgressBarsConfig
from great_expectations.data_context.types.resource_identifiers import ValidationResultIdentifier
from great_expectations.render.components import (
    RenderedDocumentContent,
    RenderedHeaderContent,
    RenderedSectionContent,
    RenderedStringTemplateContent,
    RenderedTableContent,
)
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView
from jinja2 import ChoiceLoader, FileSystemLoader

from validation.expectations import SHOWN, findings_of, text
from validation.findings import Finding

TEMPLATES: Final = Path(__file__).parent / "templates"
KEPT: Final = 10
"""Validations of a folder that stay; older ones are removed with their pages."""
SITE: Final = "tidewatch"
PAGES: Final = "data_docs"
STORE: Final = "great_expectations"


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
                        "renderer": {"module_name": __name__, "class_name": FindingsFirst.__name__},
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
    if drawn != min(len(keys), KEPT) or not (site / "index.html").read_text(encoding="utf-8"):
        raise RuntimeError(f"{site} holds {drawn} pages for {min(len(keys), KEPT)} validations; the log of great_expectations says why.")
    return site / "index.html"


class PageView(DefaultJinjaPageView):
    """The library's pages through our templates."""

    def __init__(self, custom_styles_directory: str | None = None, custom_views_directory: str | None = None) -> None:
        super().__init__(custom_styles_directory=custom_styles_directory, custom_views_directory=custom_views_directory)
        self.env.loader = ChoiceLoader([FileSystemLoader(TEMPLATES), *([self.env.loader] if self.env.loader else [])])


class FindingsFirst(ValidationResultsPageRenderer):
    """The library's page of a validation, with all findings in plain sentences on top."""

    def render(
        self, validation_results: ExpectationSuiteValidationResult, suite_parameters: dict[str, Any] | None = None
    ) -> RenderedDocumentContent:
        """The document; it begins with what to look at."""
        meta = cast("dict[str, Any]", validation_results.meta)
        meta.setdefault("batch_spec", {})["data_asset_name"] = validation_results.suite_name  # else the page says None
        document: RenderedDocumentContent = super().render(validation_results, suite_parameters)
        found = [finding for result in validation_results.results for finding in findings_of(result)]
        overview, *columns = document.sections
        odd = {finding.parameter for finding in found}
        columns.sort(key=lambda section: section.section_name not in odd)  # what failed comes first, the rest in its order
        document.sections = [_sentences(sorted(found, key=lambda finding: finding.severity)), overview, *columns]
        return document


def _sentences(found: list[Finding]) -> RenderedSectionContent:
    rows = [[_badge(finding.severity), text(finding.sentence)] for finding in found[:SHOWN]]
    if len(found) > SHOWN:
        rows.append([text(""), text(f"and {len(found) - SHOWN} more, below")])
    if not found:
        rows.append([text("none"), text("Everything is as expected.")])
    header = RenderedHeaderContent(header="What to look at", styling={"header": {"classes": ["alert"]}})
    return RenderedSectionContent(section_name="What to look at", content_blocks=[header, RenderedTableContent(table=rows)])


def _badge(severity: str) -> RenderedStringTemplateContent:
    return RenderedStringTemplateContent(
        string_template={"template": "$told", "params": {"told": severity}, "styling": {"classes": [severity]}}
    )
