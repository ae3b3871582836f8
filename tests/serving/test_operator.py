"""What the operator says beside the model: it changes verdicts, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from serving import operator, scorer
from serving.incidents import open_incidents
from serving.operator import boring, excused
from serving.scorer import score
from telemetry.panel import CALENDAR, Panel, Part
from telemetry.schema import ACTUAL, AT, FORECASTS, JOINT, SCALES, SCORES, SURPRISE, TARGET, THRESHOLDS, VERDICT
from telemetry.sections import Parameter, Thresholds

ForecastsOf = Callable[..., pl.DataFrame]
BARS = pl.DataFrame([("a", name, lead, 1.0, 2.0, 99) for name in ("q", "t") for lead in (1, 15)], schema=THRESHOLDS, orient="row")
OFF = [0.0, 1.0, 5.0, -5.0]
"""Errors in SIGMA, which is 2, around the actual 10; a surprise is an error over 2."""


def said(**fields: Any) -> dict[str, Parameter]:
    """A contract's parameters, of which the operator says something of `q`."""
    return {"q": Parameter(unit="count", target=True, **fields), "t": Parameter(unit="ms", target=True)}


def verdicts(forecasts: pl.DataFrame, **fields: Any) -> list[str]:
    return score(forecasts, thresholds=BARS, release="r", parameters=said(**fields)).scores[VERDICT].to_list()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["anomalous", "anomalous"]),
        ({"direction": "up"}, ["anomalous", "normal"]),
        ({"direction": "down"}, ["normal", "anomalous"]),
        ({"minimum_width": 9.9}, ["anomalous", "anomalous"]),
        ({"minimum_width": 10.0}, ["normal", "normal"]),
        ({"dead_band": (10.0, 11.0)}, ["normal", "normal"]),
        ({"dead_band": (0.0, 9.9)}, ["anomalous", "anomalous"]),
        ({"dead_band": (10.000005, 11.0)}, ["normal", "normal"]),  # 10 as it comes back from what the network read
        ({"dead_band": (0.0, 9.999995)}, ["normal", "normal"]),
        ({"dead_band": (10.0001, 11.0)}, ["anomalous", "anomalous"]),
        ({"dead_band": (0.0, 9.9), "direction": "up", "minimum_width": 2.0}, ["anomalous", "normal"]),
    ],
)
def test_what_is_excused_is_normal(forecasts_of: ForecastsOf, fields: dict[str, Any], expected: list[str]) -> None:
    assert verdicts(forecasts_of(OFF), **fields) == ["normal", "normal", *expected]


def test_surprises_stay_what_they_are_and_others_are_left_alone(forecasts_of: ForecastsOf) -> None:
    forecasts = pl.concat([forecasts_of(OFF), forecasts_of(OFF, target="t")])
    plain = score(forecasts, thresholds=BARS, release="r").scores
    told = score(forecasts, thresholds=BARS, release="r", parameters=said(direction="up", dead_band=(0.0, 99.0))).scores
    assert told.drop(VERDICT).equals(plain.drop(VERDICT))
    assert told.filter(pl.col(TARGET) == "t").equals(plain.filter(pl.col(TARGET) == "t"))
    assert told.filter(pl.col(TARGET) == "q", pl.col(SURPRISE) > 1)[VERDICT].to_list() == ["normal", "normal"]


def test_the_direction_is_that_from_the_forecast_which_was_missed_most(forecasts_of: ForecastsOf) -> None:
    followed, before = forecasts_of([-0.5] * 4, leads=(1,)), forecasts_of([6.0] * 4, leads=(15,))  # a rise that lead 1 has got used to
    forecasts = pl.concat([followed, before])
    assert verdicts(forecasts, direction="up") == ["anomalous"] * 4
    assert verdicts(forecasts, direction="down") == ["normal"] * 4


def test_a_forecast_that_is_not_known_excuses_nothing() -> None:
    rows = pl.DataFrame([("a", None, "q", 10.0, None, 3.0, "anomalous", "r")], schema=SCORES, orient="row")
    unknown = pl.DataFrame(schema=FORECASTS)
    assert excused(rows, forecasts=unknown, thresholds=BARS, parameters=said(direction="up", minimum_width=99.0)).to_list() == [False]
    assert excused(rows, forecasts=unknown, thresholds=BARS, parameters=said(dead_band=(9.0, 11.0))).to_list() == [True]


@pytest.mark.parametrize(
    ("q", "t", "expected"),
    [
        (9.0, 0.1, "normal"),  # q alone makes it, and is excused
        (9.0, 4.4, "normal"),
        (9.0, 4.6, "anomalous"),  # t has its part in it
        (0.8, 0.3, "normal"),
        (0.4, 0.1, "anomalous"),  # neither stands out: it is of something else
        (0.8, 0.9, "anomalous"),
    ],
)
def test_the_joint_number_is_excused_where_all_that_contribute_are(forecasts_of: ForecastsOf, q: float, t: float, expected: str) -> None:
    forecasts = pl.concat([forecasts_of([2.0 * q]), forecasts_of([2.0 * t], target="t")])
    whole = forecasts_of([3.0], target=JOINT).with_columns(pl.lit(0, dtype=pl.Int32).alias("lead_minutes"))
    bars = pl.concat([BARS, pl.DataFrame([("a", JOINT, 0, 1.0, 2.0, 99)], schema=THRESHOLDS, orient="row")])
    every = pl.concat([forecasts, whole])
    of_joint = pl.col(TARGET) == JOINT
    told = score(every, thresholds=bars, release="r", parameters=said(direction="down")).scores.filter(of_joint)
    assert told[VERDICT].item() == expected
    assert score(every, thresholds=bars, release="r").scores.filter(of_joint)[VERDICT].item() == "anomalous"


def test_what_is_excused_opens_no_incident_of_a_newcomer_either(forecasts_of: ForecastsOf) -> None:
    rise = forecasts_of([6.0] * 5, newcomer=True)
    policy = Thresholds(open_minutes=3, open_within=5, close_minutes=10)

    def opened(parameters: dict[str, Parameter] | None) -> int:
        scores = score(rise, thresholds=BARS, release="r", parameters=parameters).scores
        return open_incidents(scores, policy=policy, cadence_seconds=60).height

    assert (opened(None), opened(said(direction="up")), opened(said(direction="down"))) == (1, 1, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dead_band": (5.0, 5.0)}, "holds no values: its first must be below its second"),
        ({"minimum_width": -1.0}, "greater than or equal to 0"),
        ({"direction": "sideways"}, "'both', 'up' or 'down'"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Parameter(unit="count", target=True, **fields)


def test_of_what_is_not_judged_nothing_can_be_said() -> None:
    with pytest.raises(ValueError, match="direction and minimum_width would say nothing: only a target is judged"):
        Parameter(unit="count", direction="up", minimum_width=1.0)


def test_saying_nothing_is_as_if_nothing_could_be_said() -> None:
    plain = Parameter(unit="count", target=True)
    assert Parameter(unit="count", target=True, direction="both", minimum_width=0).model_dump() == plain.model_dump()
    assert not {"direction", "dead_band", "minimum_width"} & plain.model_dump().keys()
    told = Parameter(unit="count", target=True, dead_band=(1, 2))
    assert Parameter.model_validate(told.model_dump(mode="json")) == told
    assert set(told.model_dump()) - set(plain.model_dump()) == {"dead_band"}


def panel_of(told: NDArray[Any], *, mean: float, sd: float) -> Panel:
    """Of `a`, with the targets t and q in this order; f64[step, target] in canonical units."""
    steps = len(told)
    return Panel(
        entities=("a",),
        parameters=("t", "q"),
        targets=(0, 1),
        start_us=0,
        cadence_seconds=60,
        values=((told - mean) / sd).astype(np.float32)[None],
        observed=np.isfinite(told)[None],
        calendar=np.zeros((steps, len(CALENDAR)), dtype=np.float32),
        newcomer=np.zeros((1, steps), dtype=np.bool_),
        part=np.full((1, steps), Part.TEST, dtype=np.uint8),
        incident=np.zeros((1, steps), dtype=np.bool_),
    )


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 1.0), (123.4567, 7.7), (1_234_567.8, 321.0), (-3.3, 0.001)])
def test_what_the_source_told_within_a_dead_band_is_boring_up_to_its_very_edges(mean: float, sd: float) -> None:
    q = np.array([0.0, 20.0, 7.0, 24.0, -4.0, np.nan])
    panel = panel_of(np.stack([np.full(6, 7.0), q], axis=1), mean=mean, sd=sd)
    scales = pl.DataFrame([("a", name, mean, sd, 9) for name in ("t", "q")], schema=SCALES, orient="row")
    found = boring(panel, scales=scales, parameters=said(dead_band=(0.0, 20.0)))
    assert found is not None
    assert found[0].tolist() == [[False, each] for each in (True, True, True, False, False, False)]


def test_where_no_target_has_a_dead_band_nothing_is_boring() -> None:
    scales = pl.DataFrame([("a", name, 0.0, 1.0, 9) for name in ("t", "q")], schema=SCALES, orient="row")
    assert boring(panel_of(np.zeros((3, 2)), mean=0.0, sd=1.0), scales=scales, parameters=said(minimum_width=9.0, direction="up")) is None


def test_both_modules_mean_the_same_by_normal() -> None:
    assert operator.NORMAL == scorer.NORMAL


def test_rows_keep_their_order(forecasts_of: ForecastsOf) -> None:
    forecasts = forecasts_of(OFF)
    scores = score(forecasts, thresholds=BARS, release="r").scores.sample(fraction=1.0, shuffle=True, seed=3)
    free = excused(scores, forecasts=forecasts, thresholds=BARS, parameters=said(direction="up"))
    by_time = dict(zip(scores[AT], free, strict=True))
    assert [by_time[at] for at in sorted(by_time)] == [True, False, False, True]
    assert scores[ACTUAL].to_list() == [10.0] * 4
