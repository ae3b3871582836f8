"""What a person on call sees first: the pages of a check as a browser lays them out, and the ways between them."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urljoin
from urllib.request import urlopen

import polars as pl
import pytest

from flows import page
from flows.runs import Run
from flows.serve_pages import listen, serving
from tests.flows.browser import needs_browser, opened
from tests.validation.grids import contract, day, grid, multiplied
from validation import figures, site
from validation.findings import CheckReport, Finding

pytestmark = pytest.mark.slow

HEIGHT = 800
READ = """<script>addEventListener("load", () => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange(), told = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.height && box.bottom <= HEIGHT && !["SCRIPT", "STYLE"].includes(node.parentNode.nodeName)) told.push(node.data);
  }
  const drawn = [...document.querySelectorAll("svg.picture, .canvas")].map((one) => one.getBoundingClientRect().top);
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify({ text: told.join(" ").replace(/\\s+/g, " "), drawn });
  document.body.append(out);
});</script>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What stands within the first screen, and where the pictures of a page begin."""

    text: str
    drawn: list[float]


def seen(path: Path, *, folder: Path) -> Seen:
    """The first screen of a file as a browser lays it out at 1280 x 800."""
    copy = path.with_name(f"copy-{path.name}")
    html = path.read_text(encoding="utf-8")
    copy.write_text(html.replace("</body>", f"{READ.replace('HEIGHT', str(HEIGHT))}</body>"), encoding="utf-8")
    told = opened(copy, profile=folder / "profile", size=(1280, HEIGHT)).stdout
    copy.unlink()
    return Seen(**json.loads(unescape(told.partition('<pre id="seen">')[2].partition("</pre>")[0])))


def checked(frame: pl.DataFrame, *, folder: Path, verdict: str) -> Run:
    """A check that has ended: its Data Docs, then its page."""
    from validation import docs
    from validation.checks import check_raw

    run = Run(flow="check", folder=folder / "runs" / "check" / "20260330-000000-abcdef", started_at=datetime(2026, 3, 30, tzinfo=UTC))
    run.folder.mkdir(parents=True)
    report = check_raw(frame.lazy(), contract=contract(), folder=run.folder, name="raw grid")
    docs.illustrate(run.folder, grid=frame.lazy(), findings=report.findings)
    leave(run, report=report, verdict=verdict)
    return run


def leave(run: Run, *, report: CheckReport, verdict: str) -> None:
    findings = [finding.as_json() for finding in report.findings]
    summary = {
        "flow": "check",
        "contract": "small",
        "verdict": verdict,
        "sentence": "The telemetry passes its checks.",
        "findings": findings,
    }
    page.write(run, summary=summary | {"expectations": report.results, "data_docs": str(report.docs)})


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One parameter of one customer is told a hundredfold in both of its regions."""
    frame = multiplied(grid(), "latency", by=100.0, since=18, entities=("acme/eu", "acme/us"))
    return checked(frame, folder=tmp_path_factory.mktemp("stopped"), verdict="stopped")


def validation_page(run: Run) -> Path:
    (found,) = (run.folder / "data_docs" / "validations").rglob("*.html")
    return found


def all_docs(run: Run) -> list[Path]:
    return sorted((run.folder / "data_docs").rglob("*.html"))


def way_back(path: Path) -> str:
    """Where a page of the Data Docs leads back to."""
    (href,) = re.findall(r'<a class="run" href="([^"]+)">The page of this run</a>', path.read_text(encoding="utf-8"))
    return str(href)


def test_every_page_of_the_data_docs_leads_back_to_the_page_of_the_run_and_that_leads_there(stopped: Run) -> None:
    assert len(all_docs(stopped)) == 3
    for path in all_docs(stopped):
        assert (path.parent / way_back(path)).resolve() == stopped.page
    html = stopped.page.read_text(encoding="utf-8")
    (href,) = set(re.findall(r'href="([^"#]*data_docs[^"]*)"', html))
    assert (stopped.folder / href).resolve() == stopped.folder / "data_docs" / "index.html"


@pytest.fixture
def served(stopped: Run) -> Iterator[str]:
    """Where the runs' pages are served."""
    server = listen(stopped.folder.parents[1], port=0)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_address[1]}/"


def test_the_ways_between_the_pages_lead_there_when_they_are_served(stopped: Run, served: str) -> None:
    home = f"{served}check/{stopped.folder.name}/"
    index = urljoin(home, "data_docs/index.html")
    (href,) = set(re.findall(r'href="(validations/[^"]+)"', urlopen(index).read().decode()))  # noqa: S310  # ours
    for address in (index, urljoin(index, href)):
        path = stopped.folder / unquote(address.removeprefix(home))
        with urlopen(urljoin(address, way_back(path))) as answer:  # noqa: S310  # as above
            assert answer.read() == stopped.page.read_bytes()


def test_pages_that_were_there_before_the_run_had_one_of_its_own_have_no_dead_way_back(tmp_path: Path) -> None:
    site.add(tmp_path, site.Other(name="drift", at=day(1), told="Nothing was held against it.", findings=()), pictures={})
    for path in (tmp_path / "data_docs").rglob("*.html"):
        assert page.WAY_BACK in path.read_text(encoding="utf-8")
        assert "The page of this run" not in path.read_text(encoding="utf-8")


@pytest.mark.service
@needs_browser
def test_the_first_screen_of_a_stopped_run_says_who_what_by_how_much_and_what_to_do(stopped: Run, tmp_path: Path) -> None:
    for path in (stopped.page, validation_page(stopped)):
        told = seen(path, folder=tmp_path)
        assert re.search(r"latency of acme/eu is x[\d.]+ of its own past from 2026-03-20 00:00 UTC", told.text)
        assert "that looks like a unit changed by x100" in told.text
        assert "everywhere at customer acme" in told.text
        assert "What to do" in told.text
        assert "declare source_unit in the contract" in told.text
        assert "Data Docs" in told.text or "The page of this run" in told.text
    assert told.drawn[0] < HEIGHT - 300
    index = seen(stopped.folder / "data_docs" / "index.html", folder=tmp_path)
    assert re.search(r"stopped [\d-]+ [\d:]+ raw grid .* 2 that stop latency of acme/eu is x", index.text)


@pytest.mark.service
@needs_browser
def test_what_is_quarantined_is_told_on_the_first_screen_as_left_out(tmp_path: Path) -> None:
    frame = multiplied(grid(), "cpu", by=1e4, since=27, entities=("acme/eu",))
    run = checked(frame, folder=tmp_path, verdict="passed")
    told = seen(validation_page(run), folder=tmp_path)
    assert "Quarantined" in told.text
    assert re.search(r"quarantine acme/eu told 144 values of cpu", told.text)
    assert "quarantine means that what it names is left out of the run, and the rest goes on." in told.text
    assert told.drawn[0] < HEIGHT - 200
    on_page = seen(run.page, folder=tmp_path).text
    assert "1 finding whose values are left out" in on_page


@pytest.mark.service
@needs_browser
def test_a_clean_run_says_so_and_nothing_else(tmp_path: Path) -> None:
    run = checked(grid(), folder=tmp_path, verdict="passed")
    for path in (validation_page(run), run.folder / "data_docs" / "index.html"):
        told = seen(path, folder=tmp_path).text
        assert "passed" in told.lower()
        assert "Everything is as expected." in told
        assert "stop " not in told
    assert "nothing found" in seen(run.page, folder=tmp_path).text


@pytest.mark.service
@needs_browser
def test_a_drift_is_drawn_on_the_first_screen_of_its_page(tmp_path: Path) -> None:
    moved = pl.DataFrame(
        {"parameter": ["latency"] * 30, "day": [day(number).date() for number in range(30)], "effect": [0.0] * 23 + [4.0] * 7}
    )
    found = Finding(
        expectation="drift",
        severity="warn",
        entity="acme/eu",
        parameter=None,
        period_start=day(23),
        period_end=day(30),
        found="1 of 4 parameters drifted",
        expected="none",
        sentence="In the last 7 days 1 of 4 parameters of acme/eu was elsewhere.",
    )
    picture = figures.departure(moved, finding=found, limit=1.0)
    other = site.Other(name="drift", at=day(30), told="Held against it.", findings=(found,))
    told = seen(site.add(tmp_path, other, pictures={figures.name_of(found): picture}), folder=tmp_path)
    assert "1 of 4 parameters of acme/eu was elsewhere." in told.text
    assert "learn anew: tidewatch retrain" in told.text
    assert told.drawn[0] < HEIGHT - 200


def test_a_run_that_left_something_out_is_not_told_in_the_tone_of_one_that_took_all() -> None:
    told = {"verdict": "passed", "sentence": "The telemetry passes its checks."}
    assert [page.verdict_of(told | {"quarantined": cells}).tone for cells in ([], [{"entity": "acme/eu"}])] == ["good", "held"]
