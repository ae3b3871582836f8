import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import page, plots
from flows.blocks import percent, text
from flows.exhibits import path_of
from tests.flows import runs_for_pages as runs
from tests.flows.browser import needs_browser, opened
from tests.flows.runs_for_pages import Ended

IN_ORDER = ["gate", "data-check", "stages", "accuracy", "forecasts", "incidents", "training", "provenance"]
LOADING = re.compile(
    r"""(?:\b(?:src|href|srcset|action|poster|data)\s*=\s*["']?|url\(\s*["']?|@import\s+["']?)\s*(?:https?:)?//""", re.IGNORECASE
)


class Outline(HTMLParser):
    """What a reader who does not see the page is told of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open, data.strip()))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def written(ended: Ended) -> str:
    return page.write(ended.run, summary=ended.summary).read_text(encoding="utf-8")


def own(html: str) -> str:
    """The page without the library that draws its figures."""
    from plotly.offline import get_plotlyjs

    return html.replace(get_plotlyjs(), "")


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(runs.promoted(tmp_path_factory.mktemp("promoted")))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(runs.stopped(tmp_path_factory.mktemp("stopped")))


def test_the_sections_come_in_the_order_of_interest(promoted: str) -> None:
    assert [section["id"] for section in Outline(promoted).all("section")] == IN_ORDER
    assert promoted.index('class="verdict') < promoted.index('class="tiles"') < promoted.index('id="gate"')


@pytest.mark.parametrize(
    ("verdict", "tone"),
    [
        *((name, "good") for name in ("promoted", "passed", "scored", "ingested", "recalibrated", "done")),
        ("held", "held"),
        ("stopped", "bad"),
        ("crashed", "bad"),
    ],
)
def test_a_verdict_has_its_tone_its_sign_and_its_name(tmp_path: Path, verdict: str, tone: str) -> None:
    ended = runs.crashed(tmp_path)
    html = written(Ended(run=ended.run, summary=ended.summary | {"verdict": verdict, "sentence": "So it went."}))
    sign = {"good": "✓", "held": "!", "bad": "✕"}[tone]
    assert f'<div class="verdict {tone}" role="status">\n  <span class="sign" aria-hidden="true">{sign}</span>' in html
    assert f'<p class="name">{verdict}</p>\n    <p class="line">So it went.</p>' in html
    assert f"<title>{verdict}: retrain fleet, 2026-03-02 03:41:07 UTC - Tidewatch</title>" in html


def test_a_held_release_names_every_reason_on_a_line_of_its_own(tmp_path: Path) -> None:
    told = page.verdict_of(runs.held(tmp_path).summary)
    assert told.line == "The release is held and the champion stays: 2 of 7 bars are not passed."
    assert told.more == (
        "Accuracy, lower 95 % bound: 71.92 %, needed at least 98.50 %.",
        "Skill over repeating the last value: -0.3120, needed above 0.0000.",
    )


def test_reasons_in_the_summary_are_not_told_twice() -> None:
    summary = {
        "verdict": "held",
        "sentence": "The gate holds a1; b2 stays in force. Skill: 0, needed above 0.",
        "reasons": ["Skill: 0, needed above 0."],
    }
    told = page.verdict_of(summary)
    assert (told.line, told.more) == ("The gate holds a1; b2 stays in force.", ("Skill: 0, needed above 0.",))


def test_a_long_sentence_is_cut_after_its_first_point_and_nowhere_else() -> None:
    told = page.verdict_of({"sentence": f"Release a1 is in force. {'More is told. ' * 9}It took 3.5 s on cpu."})
    assert told.line == "Release a1 is in force."
    assert told.more == (*["More is told."] * 9, "It took 3.5 s on cpu.")


def test_the_main_figures_are_tiles_and_what_is_below_its_bar_is_marked(tmp_path: Path) -> None:
    tiles = {tile.name: tile for tile in page.tiles(runs.held(tmp_path).summary)}
    assert list(tiles) == [
        "Accuracy",
        "Last value",
        "Oracle",
        "Skill",
        "Rows",
        "Entities",
        "Quarantined rows",
        "Incidents found",
        "False incidents",
        "VUS-PR",
    ]
    assert (tiles["Accuracy"].value, tiles["Accuracy"].note, tiles["Accuracy"].tone) == (
        "72.04 %",
        "lower 95 % bound 71.92 %; bar 98.50 %",
        "bad",
    )
    assert (tiles["Incidents found"].value, tiles["Incidents found"].tone) == ("9 of 10", "held")


def test_a_share_is_rounded_down_so_that_a_near_miss_does_not_read_as_a_pass() -> None:
    assert percent(0.98499999) == "98.49 %"
    assert percent(0.985) == "98.50 %"


def test_the_gate_says_what_was_found_and_needed(tmp_path: Path) -> None:
    html = written(runs.held(tmp_path))
    assert "2 of 7 bars not passed: the model stays out." in html
    row = html[html.index("accuracy, lower 95 % bound</th>") :].partition("</tr>")[0]
    assert re.findall(r">([^<>]*\w[^<>]*)<", row) == ["71.92 %", "at least 98.50 %", " not passed"]
    assert 'class="bad"' in row
    assert "✕" in row


def test_findings_that_stop_come_before_warnings(stopped: str) -> None:
    table = stopped[stopped.index("What stops a run: 2") :]
    assert re.findall(r"</span> (stop|warn)", table) == ["stop", "stop", "warn"]
    assert "126 expectations judged: 2 findings that stop a run, 1 warning." in stopped
    assert '<a href="data_docs/index.html">Open the Data Docs</a>' in stopped


def test_every_kind_of_finding_is_told_once_what_to_do(stopped: str) -> None:
    table = stopped.partition("<caption>What to do")[2].partition("</table>")[0]
    assert table.count("declare source_unit in the contract") == 1


def test_many_warnings_are_folded_and_what_is_not_listed_is_counted(tmp_path: Path) -> None:
    ended = runs.crashed(tmp_path)
    html = written(Ended(run=ended.run, summary=ended.summary | {"findings": [runs.finding(severity="warn")] * 60}))
    assert "<details><summary>Warnings: 60 (the first 50 are listed; summary.json holds them all)</summary>" in html
    assert html.count("borealis/us</td>") == 50


def test_the_telemetry_behind_a_finding_is_drawn(stopped: str) -> None:
    assert [figure["id"] for figure in Outline(stopped).all("script") if "id" in figure] == ["data-check-2"]
    assert stopped.count("<figure") == 1


def test_data_docs_outside_of_the_run_are_not_linked(tmp_path: Path) -> None:
    ended = runs.stopped(tmp_path)
    assert "Open the Data Docs" not in written(Ended(run=ended.run, summary=ended.summary | {"data_docs": "/etc/hostname"}))


def test_what_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    html = written(runs.crashed(tmp_path))
    assert [section["id"] for section in Outline(html).all("section")] == ["stages", "provenance"]
    assert "Plotly" not in html
    assert len(html) < 30_000


def test_a_score_run_lists_its_incidents_without_calling_them_false(tmp_path: Path) -> None:
    html = written(runs.scored(tmp_path))
    assert [section["id"] for section in Outline(html).all("section")] == ["stages", "forecasts", "incidents", "provenance"]
    assert "Opened: 3" in html
    assert "False: " not in html


def test_what_an_incident_is_made_of_may_take_several_lines_and_the_peak_beside_it_stays_in_sight(promoted: str) -> None:
    assert re.findall(rf'<td class="([^"]*)">{runs.BECAUSE}</td>', promoted) == ["plain wide"] * 2


def test_plotly_is_inside_once_and_the_page_stays_below_8_mb(promoted: str) -> None:
    from plotly.offline import get_plotlyjs

    assert promoted.count(get_plotlyjs()) == 1
    assert len(promoted.encode()) < 8_000_000


def test_nothing_is_asked_from_outside(promoted: str, stopped: str) -> None:
    for html in (promoted, stopped):
        assert "default-src 'none'" in html
        assert LOADING.findall(own(html)) == []
    assert LOADING.search('<img src="https://example.org/a.png">')
    assert LOADING.search("@import '//example.org/a.css'")


def test_the_page_can_be_read_without_seeing_it(promoted: str) -> None:
    outline = Outline(own(promoted))
    assert outline.all("html") == [{"lang": "en"}]
    assert len(outline.all("h1")) == 1
    assert all(head.get("scope") in {"col", "row"} for head in outline.all("th"))
    assert len(outline.all("figure")) == len(outline.all("figcaption")) == 7
    canvases = [canvas for canvas in outline.all("div") if "data-figure" in canvas]
    assert all(canvas["role"] == "img" and canvas["aria-label"] for canvas in canvases)
    identifiers = Counter(attributes["id"] for _, attributes in outline.tags if "id" in attributes)
    assert identifiers.most_common(1)[0][1] == 1
    assert {link["href"] for link in outline.all("a")} >= {f"#{key}" for key in IN_ORDER}


def test_markup_in_names_is_told_letter_by_letter(tmp_path: Path) -> None:
    ended = runs.stopped(tmp_path, entity=runs.NASTY)
    excerpts = runs.excerpts().with_columns(entity=pl.lit(runs.NASTY), target=pl.lit("<a href='x'>y</a>"), title=pl.lit("</script><b>"))
    rows = runs.accuracies(entity=[runs.NASTY], target=["</script>"])
    runs.leave(
        ended.run,
        excerpts=excerpts,
        by_entity=rows,
        by_entity_target=rows,
        incidents=runs.incidents().with_columns(entity=pl.lit(runs.NASTY)),
    )
    html = own(written(ended))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    scripts = Counter(tag for tag, _ in Outline(html).tags)["script"]
    assert scripts == html.count("</script>") == html.count("<figure") + 2
    assert "alert" not in [name for name, told in Outline(html).texts if name == "script" and told.startswith("alert")]
    assert "<a href='x'" not in html
    assert "\\u003ca href" not in html  # Plotly would make a link of it


def test_five_hundred_entities_show_the_worst_and_say_so(tmp_path: Path) -> None:
    html = written(runs.promoted(tmp_path, entities=500))
    assert "Accuracy by entity, worst first: 40 of 500 entities" in html
    assert "Accuracy by entity and target, in percent: 40 of 500 entities" in html
    assert "All 500 entities as a table" in html
    assert len(html.encode()) < 8_000_000


def test_more_excerpts_than_can_be_drawn_are_counted(tmp_path: Path) -> None:
    ended = runs.crashed(tmp_path)
    one = runs.excerpts().filter(pl.col("excerpt") == 0).head(30)
    runs.leave(ended.run, excerpts=pl.concat(one.with_columns(excerpt=pl.lit(number, dtype=pl.Int32)) for number in range(15)))
    html = written(ended)
    assert html.count("<figure") == 12
    assert "12 of 15 excerpts are drawn" in html


ODD: dict[str, dict[str, Any]] = {
    "findings are text": {"findings": "all of them"},
    "findings are numbers": {"findings": [1, None]},
    "stages are nothing": {"stages": None},
    "stages are numbers": {"stages": [1]},
    "figures are no numbers": {"accuracy": float("nan"), "skill": float("inf"), "rows": "many", "entities": None, "accuracy_bar": "high"},
    "figures are lists": {"accuracy": [1], "release": {"id": 1}, "training": [], "versions": "none", "verdict": ["held"]},
    "texts are nothing": {"sentence": None, "verdict": None, "contract": None, "hint": None},
    "text cannot be encoded": {"sentence": "half a sign \ud83d", "contract": "\x00"},
    "times are no times": {"findings": [{"severity": "stop", "period_start": "yesterday", "period_end": 7}], "started_at": 3},
    "a number is beyond all": {"rows": 10**400},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_page_is_written_whatever_the_summary_holds(tmp_path: Path, odd: dict[str, Any]) -> None:
    ended = runs.crashed(tmp_path)
    runs.leave(ended.run, by_entity=runs.accuracies(entity=["a", "b"]), bars=runs.bars(passed=True))
    assert "</html>" in written(Ended(run=ended.run, summary=ended.summary | odd))


def test_a_page_is_written_for_an_empty_summary(tmp_path: Path) -> None:
    assert "</html>" in written(Ended(run=runs.new_run(tmp_path), summary={}))


def test_a_section_that_cannot_be_made_says_why_and_leaves_the_others(tmp_path: Path) -> None:
    ended = runs.promoted(tmp_path, entities=2)
    path_of(ended.run.folder, name="by_entity").write_bytes(b"PAR1 and then nothing")
    runs.leave(ended.run, incidents=pl.DataFrame({"entity": ["acme/eu"]}), history=pl.DataFrame({"number": ["one"]}))
    html = written(ended)
    assert [section["id"] for section in Outline(html).all("section")] == IN_ORDER
    assert html.count("What belongs here could not be shown: ") == 3
    assert "ColumnNotFoundError" in html


def test_a_page_replaces_the_one_before_in_one_step(tmp_path: Path) -> None:
    ended = runs.crashed(tmp_path)
    written(ended)
    assert "second time" in written(Ended(run=ended.run, summary=ended.summary | {"sentence": "second time"}))
    assert [path.name for path in ended.run.folder.iterdir()] == ["index.html"]


@pytest.mark.slow  # another Python starts
def test_plotly_is_imported_only_for_a_figure() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import flows.page, sys; print('plotly' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "False"


@pytest.mark.parametrize(("factor", "kind"), [(100.0, None), (1000.0, "log")])
def test_values_over_more_than_two_decades_are_drawn_logarithmically(factor: float, kind: str | None) -> None:
    at = pl.datetime_range(runs.START, runs.START + timedelta(hours=1), "1m", eager=True)
    series = pl.DataFrame({"at": at, "value": [1.0] * 30 + [factor] * 31})
    figure = plots.finding_series(series, start=runs.START, end=None, parameter="queries")
    assert figure.layout.yaxis.type == kind


def test_the_band_is_closed_on_both_sides_of_a_gap() -> None:
    rows = runs.excerpts().filter(pl.col("excerpt") == 2)
    band = plots.excerpt(rows).data[0]
    gaps = pl.Series(band.y).is_nan().sum()
    assert (band.name, band.fill, gaps) == ("normal band", "toself", 2)
    assert len(band.y) == 2 * rows["lower"].count() + 2


def test_only_minutes_with_a_surprise_above_one_are_marked() -> None:
    rows = runs.excerpts().filter(pl.col("excerpt") == 1)
    surprise = pl.when(pl.int_range(pl.len()) < 3).then(pl.int_range(pl.len()) * 0.1 + 0.95).otherwise(0.5)  # 0.95, 1.05, 1.15, then calm
    figure = plots.excerpt(rows.with_columns(surprise=surprise))
    marked = next(trace for trace in figure.data if trace.name == "anomalous minute")
    assert list(marked.y) == rows["actual"][1:3].to_list()
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [
        (runs.START + timedelta(minutes=1150), runs.START + timedelta(minutes=1240))
    ]


def test_missed_and_false_incidents_carry_a_sign_beside_their_colour() -> None:
    figure = plots.timeline(runs.incidents(), runs.labels(), entities=[*runs.labels()["entity"].unique(), "lumen/us"])
    signs = {trace.name: trace.marker.symbol for trace in figure.data if trace.type == "scatter"}
    assert signs == {"false incident": "triangle-up", "labelled and missed": "x"}


def test_an_entity_below_the_bar_has_a_sign_of_its_own() -> None:
    rows = runs.accuracies(entity=["a", "b"]).with_columns(accuracy=pl.Series([0.9, 0.99]), accuracy_oracle=pl.lit(None, dtype=pl.Float64))
    figure = plots.accuracy_dots(rows, bar=0.985)
    told = {trace.name: (trace.marker.symbol, list(trace.y)) for trace in figure.data if trace.mode == "markers"}
    assert told["model, below the bar"] == ("x", [0])
    assert told["model"] == ("circle", [1])
    assert "oracle" not in told


@pytest.mark.parametrize(("bar", "cells"), [(None, [0.987, 0.991]), (0.98, [0.987, 0.991])])
def test_nothing_is_drawn_red_that_is_not_below_a_bar(bar: float | None, cells: list[float]) -> None:
    rows = runs.accuracies(entity=["a", "b"], target=["x", "x"]).with_columns(accuracy=pl.Series(cells))
    heatmap = plots.accuracy_heatmap(rows, entities=["a", "b"], bar=bar).data[0]
    first_blue = next(place for place, color in heatmap.colorscale if color in {"#d3e4f0", "#a9cbe0"})
    assert all(cell >= heatmap.zmin + first_blue * (heatmap.zmax - heatmap.zmin) for cell in cells)


def test_words_of_a_summary_are_told_plainly() -> None:
    assert text({"kind": "x100", "customer": "acme"}) == "kind x100, customer acme"
    assert text(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01 00:00:00+00:00"


SIZE = (1300, 3000)
"""Of a window that shows a whole page."""


def complaints(browser: subprocess.CompletedProcess[str]) -> list[str]:
    """Errors of scripts, and everything that the page's policy has refused to load."""
    return [line for line in browser.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.service
@needs_browser
@pytest.mark.parametrize("make", [runs.promoted, runs.stopped, runs.scored])
def test_a_browser_draws_every_figure_and_asks_for_nothing(tmp_path: Path, make: Any) -> None:
    ended = make(tmp_path)
    html = written(ended)
    browser = opened(ended.run.page, profile=tmp_path / "profile", size=SIZE)
    assert browser.stdout.count('data-drawn="yes"') == own(html).count("<figure") > 0
    assert complaints(browser) == []


@pytest.mark.service
@needs_browser
@pytest.mark.parametrize(
    "call", ["<img src='https://example.org/a.png'>", "<script>fetch('https://example.org/')</script>", "<script>nothing()</script>"]
)
def test_a_browser_would_refuse_a_call_from_the_page_and_say_so(tmp_path: Path, call: str) -> None:
    ended = runs.crashed(tmp_path)
    changed = written(ended).replace("</body>", f"{call}</body>")
    ended.run.page.write_text(changed, encoding="utf-8")
    assert complaints(opened(ended.run.page, profile=tmp_path / "profile", size=SIZE))


@pytest.mark.service
@needs_browser
def test_a_browser_shows_markup_in_names_as_text(tmp_path: Path) -> None:
    ended = runs.promoted(tmp_path, entities=2)
    nasty = "<a href='https://example.org'>acme</a><img src=x onerror=alert(1)>"
    rows = runs.accuracies(entity=[nasty], target=[nasty])
    runs.leave(
        ended.run, by_entity=rows, by_target=rows, by_entity_target=rows, incidents=runs.incidents().with_columns(entity=pl.lit(nasty))
    )
    written(ended)
    browser = opened(ended.run.page, profile=tmp_path / "profile", size=SIZE)
    outline = Outline(own(browser.stdout))
    assert complaints(browser) == []
    assert outline.all("img") == []
    assert not any("example.org" in (link.get("href") or link.get("xlink:href") or "") for link in outline.all("a"))
    assert any(tag == "text" and told == nasty for tag, told in outline.texts)
