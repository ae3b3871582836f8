"""The pages need nothing but themselves, say what was found, and do not pile up."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest

from tests.validation.grids import contract, grid, multiplied
from validation.findings import CheckReport

pytestmark = pytest.mark.slow


class Addresses(HTMLParser):
    """Every address in a page, whatever asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.found += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "action", "poster"} and value]


def addresses(page: Path) -> Addresses:
    told = Addresses()
    told.feed(page.read_text(encoding="utf-8"))
    return told


def check(frame: pl.DataFrame, *, folder: Path) -> CheckReport:
    from validation.checks import check_raw

    return check_raw(frame.lazy(), contract=contract(), folder=folder, name="raw grid")


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> CheckReport:
    frame = multiplied(grid(entities=("acme/eu", "acme/us", "<b>&$x</b>")), "latency", by=100.0, since=18)
    return check(multiplied(frame, "cpu", by=1e4, since=27, entities=("<b>&$x</b>",)), folder=tmp_path_factory.mktemp("failed"))


def pages(report: CheckReport) -> list[Path]:
    return sorted(report.docs.parent.rglob("*.html"))


def validation_page(report: CheckReport) -> str:
    (page,) = (report.docs.parent / "validations").rglob("*.html")
    return page.read_text(encoding="utf-8")


def test_no_page_asks_for_anything_outside(failed: CheckReport) -> None:
    assert len(pages(failed)) == 3
    for page in pages(failed):
        told = addresses(page)
        assert not told.tags & {"script", "img", "iframe", "object", "embed", "base", "meta http-equiv"}
        assert not [address for address in told.found if re.match(r"(?i)\s*(\w+:)?//|\s*(https?|ftp|javascript):", address)]
        assert not re.search(r"(?i)url\(|@import|https?://", page.read_text(encoding="utf-8"))


def test_every_link_leads_to_a_page_that_is_there(failed: CheckReport) -> None:
    for page in pages(failed):
        for address in addresses(page).found:
            path, _, anchor = address.partition("#")
            target = (page.parent / unquote(path)).resolve() if path and not path.startswith("data:") else page
            assert target.is_file(), f"{page.name} leads to {address}"
            assert not anchor or f'id="{anchor}"' in target.read_text(encoding="utf-8")


def test_nothing_but_pages_is_left(failed: CheckReport) -> None:
    assert {path.suffix for path in failed.docs.parent.rglob("*") if path.is_file()} == {".html"}


def test_the_page_begins_with_sentences_for_a_person(failed: CheckReport) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", validation_page(failed)))
    assert "What to look at stop latency of acme/eu is x" in text
    assert "looks like a unit changed by x100" in text


def test_expectations_are_told_in_words(failed: CheckReport) -> None:
    text = validation_page(failed)
    assert "An entity&#39;s values are 0 to 100 percent." in text or "An entity's values are 0 to 100 percent." in text
    assert not re.search(r"expect_\w+\(", text)
    assert "An unexpected Exception occurred" not in text


def test_names_from_the_data_are_text_and_no_markup(failed: CheckReport) -> None:
    assert "<b>&" not in validation_page(failed)
    assert "&lt;b&gt;&amp;$x&lt;/b&gt;" in validation_page(failed)


def test_what_failed_comes_first(failed: CheckReport) -> None:
    names = re.findall(r'<a href="#section-\d+">([^<]+)</a>', validation_page(failed))
    assert names[:2] == ["What to look at", "Overview"]
    assert set(names[2:4]) == {"latency", "cpu"}


def test_a_page_of_a_passed_check_says_so(tmp_path: Path) -> None:
    assert "Everything is as expected." in validation_page(check(grid(), folder=tmp_path))


def test_old_validations_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from validation import docs

    monkeypatch.setattr(docs, "KEPT", 2)
    for _ in range(4):
        report = check(grid(days=2), folder=tmp_path)
    assert len(list((tmp_path / "data_docs" / "validations").rglob("*.html"))) == 2
    assert len(list((tmp_path / "great_expectations" / "validations").rglob("*.json"))) == 2
    assert len(addresses(report.docs).found) > 2


def test_two_suites_share_a_folder(tmp_path: Path) -> None:
    from tests.validation.tensors import scaled
    from validation.checks import check_tensor

    check(grid(days=2), folder=tmp_path)
    told = scaled()
    report = check_tensor(told.panel, scales=told.scales, grid=told.grid.lazy(), contract=contract(), folder=tmp_path, name="tensors")
    index = report.docs.read_text(encoding="utf-8")
    assert index.count("raw-grid") >= 2
    assert index.count("tensors") >= 2
