"""The pictures of findings: the right stretch of the right entity, the period shaded, and names that stay text."""

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from tests.validation.grids import day, grid, multiplied
from validation import advice, figures, tensor_judgements
from validation.findings import Finding

NAME = '<b>&"x</b>'
SHIFT = Finding(
    expectation="same unit",
    severity="stop",
    entity="acme/eu",
    parameter="latency",
    period_start=day(18),
    period_end=day(28),
    found="x 100",
    expected="less than x8",
    sentence="latency of acme/eu is x100 of its own past.",
)


def drawn(frame: pl.DataFrame, finding: Finding) -> str:
    (picture,) = figures.draw(frame.lazy(), findings=[finding]).values()
    return picture


def numbers(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def curve(picture: str) -> list[tuple[float, float]]:
    return numbers(re.findall(r'class="curve" d="([^"]+)"', picture)[0])


def test_a_change_of_unit_is_a_step_into_the_shaded_period() -> None:
    picture = drawn(multiplied(grid(), "latency", by=100.0, since=18), SHIFT)
    (start, width) = map(float, re.findall(r'class="wrong" x="([\d.]+)" y="\d+" width="([\d.]+)"', picture)[0])
    points = curve(picture)
    before = [y for x, y in points if x < start - 1]
    within = [y for x, y in points if start + 1 < x < start + width]
    assert min(before) > max(within)  # heights are told from the top
    assert len(points) == 24 * 24
    assert "logarithmic" in picture


def test_only_the_period_and_some_days_around_it_are_drawn() -> None:
    finding = replace(SHIFT, period_start=day(20), period_end=day(21))
    days = int(figures.BEFORE / timedelta(days=1)) + 1 + int(figures.AFTER / timedelta(days=1))
    assert len(curve(drawn(grid(), finding))) == days * 24


def test_a_long_period_is_drawn_in_longer_steps() -> None:
    picture = drawn(grid(days=60), replace(SHIFT, period_start=day(0), period_end=day(60)))
    assert len(curve(picture)) <= figures.POINTS
    assert "of every 3 hours" in picture


def test_a_single_value_out_of_range_is_seen() -> None:
    frame = grid().with_columns(
        pl.when((pl.col("entity") == "acme/eu") & (pl.col("at") == day(20))).then(1e6).otherwise(pl.col("cpu")).alias("cpu")
    )
    finding = replace(SHIFT, expectation="plausible range", parameter="cpu", period_start=day(20), period_end=day(21))
    highest = numbers(re.findall(r'class="curve" d="([^"]+)"', drawn(frame, finding))[1])
    assert sum(y < figures.HEIGHT / 4 for _, y in highest) == 1


def test_hours_without_a_value_are_a_gap() -> None:
    hole = (pl.col("at") >= day(20)) & (pl.col("at") < day(21))
    frame = grid().with_columns(pl.when(hole).then(None).otherwise(pl.col("latency")).alias("latency"))
    path = re.findall(r'class="curve" d="([^"]+)"', drawn(frame, SHIFT))[0]
    assert path.count("M") == 2


def test_a_long_time_without_a_value_stays_on_the_picture() -> None:
    frame = grid().with_columns(pl.when(pl.col("at") < day(14)).then(None).otherwise(pl.col("latency")).alias("latency"))
    points = curve(drawn(frame, replace(SHIFT, expectation="not missing", period_start=day(0))))
    assert points[0][0] > figures.WIDTH / 2
    assert points[-1][0] == figures.WIDTH - figures.RIGHT


def test_without_a_parameter_the_steps_are_drawn() -> None:
    hole = (pl.col("entity") == "acme/eu") & (pl.col("at") >= day(27.5))
    picture = drawn(
        grid().with_columns((~hole).alias("observed")), replace(SHIFT, expectation="volume", parameter=None, period_start=day(27))
    )
    heights = [y for _, y in curve(picture)]
    assert "acme/eu: steps observed in every hour" in picture
    assert [heights.count(height) for height in (min(heights), max(heights))] == [len(heights) - 12, 12]


def test_a_departure_is_drawn_by_day_with_the_limits_and_each_parameter_in_a_stroke_of_its_own() -> None:
    days = [day(number).date() for number in range(100)]
    rows = pl.concat(
        pl.DataFrame({"parameter": [name] * 100, "day": days, "effect": [0.0] * 93 + [top] * 7})
        for name, top in (("cpu", -3.0), ("<b>latency</b>", 9.0))
    )
    finding = replace(SHIFT, expectation="drift", parameter=None, period_start=day(93), period_end=day(100))
    picture = figures.departure(rows, finding=finding, limit=1.0)
    root = ElementTree.fromstring(picture)  # noqa: S314  # ours
    assert "in deviations from the training: cpu (\u2014), <b>latency</b> (- -)" in "".join(root.itertext())
    paths = {element.get("class"): numbers(str(element.get("d"))) for element in root.iter("path")}
    assert list(paths) == ["curve first", "curve second"]
    assert {len(points) for points in paths.values()} == {60}
    limits = sorted(float(str(element.get("y1"))) for element in root.iter("line") if element.get("class") == "limit")
    assert max(y for _, y in paths["curve first"]) > limits[1] > limits[0] > min(y for _, y in paths["curve second"])


def test_what_cannot_be_drawn_has_no_picture() -> None:
    cases = [
        replace(SHIFT, entity=None),
        replace(SHIFT, parameter="colour"),
        replace(SHIFT, parameter="cpu"),
        replace(SHIFT, period_start=None, period_end=None),
        replace(SHIFT, entity="nobody/eu"),
    ]
    assert figures.draw(grid().with_columns(pl.lit(None, pl.Float64).alias("cpu")).lazy(), findings=cases) == {}


def test_names_are_text_and_the_picture_is_sound_xml() -> None:
    picture = drawn(grid(entities=(NAME,)), replace(SHIFT, entity=NAME))
    root = ElementTree.fromstring(picture)  # noqa: S314  # ours
    assert NAME in "".join(root.itertext())
    assert {element.tag for element in root.iter()} == {"svg", "text", "rect", "line", "path"}
    assert "style" not in picture


@pytest.mark.parametrize("value", [0.0, -5.0, 1e-9, 7e12])
def test_a_flat_line_of_any_height_has_an_axis(value: float) -> None:
    picture = drawn(grid().with_columns(pl.lit(value).alias("latency")), SHIFT)
    assert all(figures.TOP <= y <= figures.HEIGHT - figures.BOTTOM for _, y in curve(picture))
    assert "nan" not in picture


def test_infinite_values_are_left_out() -> None:
    frame = grid().with_columns(pl.when(pl.col("at") == day(20)).then(float("inf")).otherwise(pl.col("latency")).alias("latency"))
    assert "inf" not in drawn(frame, replace(SHIFT, expectation="finite"))


KINDS = {
    kind
    for module in Path(figures.__file__).parent.glob("*.py")
    for kind in re.findall(
        r"""(?:expectation=|_finding\(\s*|^(?:KIND|SHARE|EXPECTATION): Final = )"([a-z ]+)"(?:,|$)""",
        module.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}


def test_every_kind_of_finding_has_a_line_of_its_own() -> None:
    assert len(KINDS) > 10
    assert KINDS - set(advice.ADVICE) == set()
    assert {"drift", "quarantined share", "suites of the release"} <= KINDS
    assert all(line.endswith(".") for line in advice.ADVICE.values())


def test_an_unknown_kind_of_finding_has_a_line_too() -> None:
    assert advice.advice("something new") == advice.OTHERWISE


TENSORS = (
    "scaled mean",
    "scaled deviation",
    "finite tensor",
    "zero where unobserved",
    "round trip",
    "own scale",
    "calendar",
    "newcomer flag",
)
SAID = {**tensor_judgements.SCALES_OF_OTHERS, **tensor_judgements.ARITHMETIC}


def test_every_kind_of_tensor_finding_has_a_line_for_who_maintains_the_pipeline() -> None:
    lines = [advice.advice(kind) for kind in TENSORS]
    assert len(set(lines)) == len(TENSORS)
    assert all(line.startswith("For who maintains the pipeline: ") for line in lines)


def of_tensors(cause: str, *, expectation: str, of: str = "latency of acme/eu") -> Finding:
    """A finding as `tensor_judgements` words it."""
    found, sentence = (told.format(of=of, what="cpu of bolt/eu") for told in (SAID[cause].found, SAID[cause].sentence))
    if expectation == "round trip":
        found = f"12 values that do not come back: {found}" if found else "12 values that do not come back"
    elif expectation != "own scale":
        found, sentence = "mean 0.3 over 900 training steps", f"cpu of bolt/eu has the mean 0.3 after scaling instead of 0: why ({found})."
    return replace(SHIFT, expectation=expectation, found=found, sentence=sentence)


@pytest.mark.parametrize("cause", SAID)
def test_a_cause_in_the_tensors_has_a_line_of_its_own_however_it_is_told(cause: str) -> None:
    told = ("own scale", "scaled mean") if cause in tensor_judgements.SCALES_OF_OTHERS else ("round trip", "scaled mean")
    findings = [of_tensors(cause, expectation=kind) for kind in told if kind == "round trip" or SAID[cause].found]
    assert {advice.cause_of(finding) for finding in findings} == {cause}
    assert {advice.advice_of(finding) for finding in findings} == {f"For who maintains the pipeline: {advice.OF_TENSORS[cause]}"}
    assert len(set(advice.OF_TENSORS.values())) == len(SAID) == len(advice.OF_TENSORS)


def test_a_cause_of_the_raw_telemetry_has_a_line_of_its_own_and_a_factor_that_of_its_kind() -> None:
    told = {
        cause: advice.advice_of(replace(SHIFT, cause=cause))
        for cause in ("sign", "logarithm", "swapped with cpu", "integer division by 60")
    }
    assert len(set(told.values())) == 4
    assert "remainders are lost" in told["integer division by 60"]
    assert "cannot be calculated back" in advice.advice_of(replace(SHIFT, cause="integer division, all zero"))
    assert advice.advice_of(replace(SHIFT, cause="x1/60")) == advice.advice("same unit")
    assert advice.advice_of(SHIFT) == advice.advice("same unit")


def test_what_a_raw_finding_says_is_no_cause_in_the_tensors() -> None:
    assert advice.cause_of(replace(SHIFT, found="scaled twice")) == ""
