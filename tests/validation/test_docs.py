"""The pages need nothing but themselves, say what was found, and do not pile up."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest

from tests.validation.grids import contract, day, grid, multiplied
from validation import figures, site
from validation.advice import advice
from validation.findings import CheckReport, Finding, Severity

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
    from validation import docs
    from validation.checks import check_raw

    report = check_raw(frame.lazy(), contract=contract(plausible_range="stop"), folder=folder, name="raw grid")
    docs.illustrate(folder, grid=frame.lazy(), findings=report.findings)
    return report


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> CheckReport:
    frame = multiplied(grid(entities=("acme/eu", "acme/us", "<b>&$x</b>")), "latency", by=100.0, since=18)
    return check(multiplied(frame, "cpu", by=1e4, since=27, entities=("<b>&$x</b>",)), folder=tmp_path_factory.mktemp("failed"))


def in_words(page: str) -> str:
    """What a reader sees of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))


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
    text = in_words(validation_page(failed))
    assert "Stopped" in text
    assert text.index("Stopped") < text.index("stop latency of acme/eu is x") < text.index("looks like a unit changed by x100")


def test_every_finding_says_what_to_do(failed: CheckReport) -> None:
    text = in_words(validation_page(failed))
    assert text.count("What to do") == len(failed.findings) == 2
    assert "declare source_unit in the contract" in text
    assert "widen minimum and maximum in the contract" in text


def test_findings_are_drawn_where_they_stand(failed: CheckReport) -> None:
    page = validation_page(failed)
    assert page.count('<svg class="picture"') == 2
    assert page.index("latency of acme/eu is x") < page.index("<svg") < page.index("144 values of cpu")


def test_pictures_stay_when_another_check_writes_its_pages(tmp_path: Path) -> None:
    from validation import docs

    check(multiplied(grid(), "latency", by=100.0, since=18), folder=tmp_path)
    report = check(grid(), folder=tmp_path)
    assert sum("<svg" in page.read_text(encoding="utf-8") for page in pages(report)) == 1
    docs.illustrate(tmp_path, grid=grid().lazy(), findings=())
    assert sum("<svg" in page.read_text(encoding="utf-8") for page in pages(report)) == 1


def test_the_index_tells_every_check_newest_first(tmp_path: Path) -> None:
    check(multiplied(grid(), "latency", by=100.0, since=18), folder=tmp_path)
    foreign = pl.col("entity") == "acme/eu"
    warned = grid(entities=(*(f"c{number}/eu" for number in range(6)), "acme/eu"))
    check(warned.with_columns(pl.when(foreign).then(pl.col("latency") * 1e3).otherwise(pl.col("latency"))), folder=tmp_path)
    index = in_words(check(grid(), folder=tmp_path).docs.read_text(encoding="utf-8"))
    told = r"(?:\u2713|!|\u2715) (passed|warned|stopped) [\d-]+ [\d:]+ raw grid the telemetry .*? scaled (.*?) (?=Every|All of|latency of)"
    lines = re.findall(told, index)
    assert lines == [("passed", "none"), ("warned", "1 that warns"), ("stopped", "1 that stops")]


def test_the_index_tells_the_first_sentence_as_text(failed: CheckReport) -> None:
    index = failed.docs.read_text(encoding="utf-8")
    assert re.search(r"latency of acme/eu is x[\d.]+ of its own past", index)
    assert "2 that stop" in index


def test_markup_in_a_name_is_text_on_the_index(tmp_path: Path) -> None:
    spoiled = multiplied(grid(entities=("<b>&$x</b>",)), "cpu", by=1e4, since=27, entities=("<b>&$x</b>",))
    index = check(spoiled, folder=tmp_path).docs.read_text(encoding="utf-8")
    assert "<b>&" not in index
    assert "&lt;b&gt;&amp;$x&lt;/b&gt;" in index


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
    assert (names[0], names[-1]) == ("What to look at", "About this check")
    assert set(names[1:3]) == {"latency", "cpu"}


def test_what_failed_comes_first_in_its_section(failed: CheckReport) -> None:
    marks = re.findall(r"fa-times|fa-check-circle", validation_page(failed).partition("<main>")[2])
    assert marks[0] == "fa-times"


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
    assert [index.count(f">{name}<") for name in ("raw grid", "tensors")] == [2, 2]


def test_what_says_the_same_of_several_entities_stands_on_a_page_once(tmp_path: Path) -> None:
    page = validation_page(check(multiplied(grid(), "latency", by=100.0, since=18, entities=("acme/eu", "acme/us")), folder=tmp_path))
    text = in_words(page)
    assert page.count('<article class="finding">') == page.count("<svg") == 1
    assert re.search(r"The same in latency of acme/us: x [\d.]+ of its own past, looks like x100", text)
    assert "Findings: 2 that stop." in text


def other(number: int, *findings: Finding) -> site.Other:
    """A check that Great Expectations did not run."""
    return site.Other(name="drift", at=day(number), told="4 parameters were held against it.", findings=findings)


def drifted(entity: str) -> Finding:
    return Finding(
        expectation="drift",
        severity="warn",
        entity=entity,
        parameter=None,
        period_start=day(20),
        period_end=day(27),
        found="2 of 4 parameters drifted",
        expected="at most 25% of them",
        sentence=f"2 of 4 parameters of {entity} were elsewhere.",
    )


def test_a_check_of_another_kind_has_a_page_and_a_line_that_stay_when_the_library_writes_its_own(tmp_path: Path) -> None:
    check(multiplied(grid(), "latency", by=100.0, since=18), folder=tmp_path)
    found = drifted("<b>&x</b>")
    page = site.add(tmp_path, other(30, found), pictures={figures.name_of(found): "<svg><title>of the drift</title></svg>"})
    report = check(grid(), folder=tmp_path)
    assert page.is_file()
    told, index = page.read_text(encoding="utf-8"), report.docs.read_text(encoding="utf-8")
    assert "<svg><title>of the drift</title></svg>" in told
    assert "2 of 4 parameters of &lt;b&gt;&amp;x&lt;/b&gt; were elsewhere." in told
    assert "4 parameters were held against it. Findings: 1 that warns." in in_words(told)
    assert advice("drift") in told
    assert [index.count(f"</b>{end}") for end in ("</a></td>",)] == [3]
    assert f'href="others/{page.name}"' in index
    for path in pages(report):
        for address in addresses(path).found:
            assert (path.parent / unquote(address.partition("#")[0])).resolve().exists() or address.startswith(("data:", "#"))


def test_a_check_of_another_kind_needs_no_library_and_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "KEPT", 2)
    for number in range(4):
        site.add(tmp_path, other(number), pictures={})
    assert sorted(path.suffix for path in tmp_path.rglob("drift-*")) == [".html", ".html", ".json", ".json"]
    index = (tmp_path / "data_docs" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"\d{4}-\d\d-\d\d 00:00:00", index) == ["2026-03-05 00:00:00", "2026-03-04 00:00:00"]
    assert "Everything is as expected." in index


def test_what_is_quarantined_is_told_between_what_stops_and_what_warns() -> None:
    severities: tuple[Severity, ...] = ("warn", "stop", "quarantine", "warn")
    found = [replace(drifted(f"e{number}"), severity=severity) for number, severity in enumerate(severities)]
    told = site.opening(found, told="All of it.", pictures=Path())
    assert [finding["severity"] for finding in told["findings"]] == ["stop", "quarantine", "warn", "warn"]
    assert (told["verdict"], site.counted(found)) == ("stopped", "1 that stops, 1 that quarantines, 2 that warn")
    assert [site.verdict_of(found[:number]) for number in (0, 1)] == ["passed", "warned"]
    assert site.verdict_of([found[0], found[2]]) == "quarantined"
    assert list(told["meanings"]) == ["stop", "quarantine", "warn"]
