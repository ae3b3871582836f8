"""Incidents that a release raised and nobody confirmed are not learned from, and are measured like every other minute."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from flows.feeding import calm
from flows.parallel_test import Candidate, forecasts_of
from flows.unconfirmed import bounded, raised, unconfirmed
from models import sampling
from models.config import Network
from models.lstm import initial
from serving import ledger
from serving.forecasts import tell
from serving.ledger import EVENT, LEDGER, METRICS, SEQUENCE
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.maintenance import PERIODS
from telemetry.panel import Part
from telemetry.schema import AT, ENTITY, INCIDENTS, LABEL, REASON, RELEASE, SCALES
from tests.models.panels import make_panel

ZERO = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def declare(**thresholds: float) -> Contract:
    """An incident closes after ten minutes and is accepted after a day."""
    told = {
        "name": "small",
        "entity": {"keys": ["customer"]},
        "time": {"column": "time"},
        "parameters": {"queries": {"unit": "count", "target": True}},
        "thresholds": thresholds,
        "windows": {"time_steps": 30, "warmup_steps": 0},
    }
    return contracts.parse(told)


PARTS = pl.DataFrame(
    [(entity, ZERO, ZERO + 100 * HOUR) for entity in ("a", "b")], schema=["entity", "start", "calibrate_end"], orient="row"
).cast({"start": pl.Datetime("us", "UTC"), "calibrate_end": pl.Datetime("us", "UTC")})


def periods(*told: tuple[str, float, float]) -> pl.DataFrame:
    """Of whom, from which hour to which."""
    return pl.DataFrame([(entity, ZERO + start * HOUR, ZERO + end * HOUR) for entity, start, end in told], schema=PERIODS, orient="row")


def hours(found: pl.DataFrame) -> list[tuple[str, float, float]]:
    """The other way round."""
    return [(entity, (start - ZERO) / HOUR, (end - ZERO) / HOUR) for entity, start, end in found.rows()]


def test_an_incident_masks_its_first_hours_and_the_minutes_around_it() -> None:
    found = bounded(periods(("a", 10, 12), ("b", 20, 90)), parts=PARTS, contract=declare(close_minutes=30, accept_hours=6))
    assert hours(found) == [("a", 9.1, 13.0), ("b", 19.1, 27.0)]


def test_who_is_told_as_an_incident_most_of_the_time_is_learned_from_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    often = [("a", float(hour), hour + 4.0) for hour in range(5, 95, 10)]
    with caplog.at_level(logging.WARNING):
        found = bounded(periods(*often, ("b", 20, 24)), parts=PARTS, contract=declare())
    assert found[ENTITY].to_list() == ["b"]
    assert "% of what is learned of a was told as incidents" in caplog.text


def test_incidents_count_of_releases_that_were_not_revoked_and_silence_does_not(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    rows = [
        (f"a@{release}{target}", "a", ZERO + start * HOUR, ZERO + start * HOUR, ZERO + (start + 1) * HOUR, 2.0, target, release)
        for release, target, start in (
            ("good", "queries", 10),
            ("good", "silence", 20),
            ("bad", "queries", 30),
            ("stranger", "queries", 40),
        )
    ]
    lake.append("incidents", pl.DataFrame(rows, schema=INCIDENTS, orient="row"))
    events = [(0, "publish", "good"), (1, "publish", "bad"), (2, "revoke", "bad")]
    told = [{SEQUENCE: n, AT: ZERO, EVENT: event, RELEASE: release, REASON: "", METRICS: "{}"} for n, event, release in events]
    lake.append(ledger.TABLE, pl.DataFrame(told, schema=LEDGER))
    found = unconfirmed(lake, parts=PARTS, contract=declare(close_minutes=30))
    assert hours(found) == [("a", 9.1, 12.0)]


@pytest.mark.parametrize(("target", "peak", "told"), [("queries", 1.4, False), ("queries", 1.6, True), ("standstill", 1.1, True)])
def test_what_hardly_reached_beyond_the_bar_may_be_false_and_is_learned_from(tmp_path: Path, target: str, peak: float, told: bool) -> None:
    lake = Lake(str(tmp_path))
    row = ("a@1", "a", ZERO + 10 * HOUR, ZERO + 10 * HOUR, ZERO + 11 * HOUR, peak, target, "good")
    lake.append("incidents", pl.DataFrame([row], schema=INCIDENTS, orient="row"))
    event = {SEQUENCE: 0, AT: ZERO, EVENT: "publish", RELEASE: "good", REASON: "", METRICS: "{}"}
    lake.append(ledger.TABLE, pl.DataFrame([event], schema=LEDGER))
    assert raised(lake).height == told
    assert unconfirmed(lake, parts=PARTS, contract=declare()).height == told


def test_what_is_unconfirmed_is_hidden_from_training_and_counts_in_the_accuracy(tmp_path: Path) -> None:
    plain = make_panel(steps=200)
    marked = np.zeros_like(plain.incident)
    marked[1, 20:40] = marked[1, 190:] = True
    panel = replace(plain, unconfirmed=marked)
    assert np.array_equal(sampling.shown(panel), plain.observed & ~marked[..., None])
    for part in (Part.TRAIN, Part.CALIBRATE):
        assert np.array_equal(sampling.judged(panel, part=part), sampling.judged(plain, part=part) & ~marked)
    scales = pl.DataFrame([(e, p, 0.0, 1.0, 9) for e in panel.entities for p in panel.parameters], schema=SCALES, orient="row")
    made = np.zeros((3, 200, 1, 2), dtype=np.float32)
    assert not tell(panel, made, leads=(1,), scales=scales, start=0, part=Part.TEST)[LABEL].any()
    calm = tell(replace(panel, incident=panel.hidden), made, leads=(1,), scales=scales, start=0, part=Part.TEST)
    assert calm.filter(pl.col(LABEL))[ENTITY].unique().to_list() == ["entity-1"]
    panels.save(panel, folder=tmp_path)
    np.testing.assert_array_equal(panels.load(tmp_path).hidden, marked)
    (tmp_path / "unconfirmed.npy").unlink()  # as an older panel is
    assert not panels.load(tmp_path).hidden.any()
    with pytest.raises(ValueError, match=r"unconfirmed bool\[1, 2\]"):
        replace(panel, unconfirmed=np.zeros((1, 2), dtype=np.bool_))


@pytest.mark.slow  # it compiles
def test_thresholds_know_nothing_of_what_an_outage_did_to_the_minutes_after_it() -> None:
    plain = make_panel(entities=2, steps=300, parameters=3, targets=(0, 1))
    network = Network(parameters=3, calendar=8, entities=2, targets=(0, 1), leads=(1,), shortcut=(1,), hidden=(4,), dense=4, embedding=2)
    weights = {name: np.asarray(weight) for name, weight in initial(network, seed=0).items()}
    candidate = Candidate(network=network, weights=weights, scales=pl.DataFrame(schema=SCALES), entities=plain.entities)
    marked = np.zeros_like(plain.incident)
    marked[1, 100:160] = True
    struck = np.zeros_like(marked)
    struck[1, 100:130] = True
    made = []
    for shift in (0.0, 500.0):
        values = plain.values + np.float32(shift) * struck[..., None] * np.array([1, 1, 0], dtype=np.float32)
        panel = replace(plain, values=values, unconfirmed=marked)
        read = forecasts_of(candidate, panel=panel)
        assert calm(candidate, read, panel=replace(panel, unconfirmed=np.zeros_like(marked)), contract=declare()) is read
        made.append((read, calm(candidate, read, panel=panel, contract=declare())))
    (quiet, calmed), (faulty, calmed_too) = made
    np.testing.assert_allclose(calmed, calmed_too, rtol=1e-5, atol=1e-5)
    assert np.abs(quiet[1, 131:135] - faulty[1, 131:135]).max() > 1e-3
