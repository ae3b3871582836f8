"""While a guard is open the network reads its own forecasts; nothing later is known, and it opens, closes and gives up by rule."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import predict
from models.config import Network
from models.guard import Guard, never
from models.lstm import initial
from models.predict import Watched
from telemetry.panel import Panel
from tests.models.panels import make_panel

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), leads=(1, 5), shortcut=(5,), hidden=(6,), dense=4, embedding=2)
STEPS = 220
FAULT = slice(80, 140)

PanelFactory = Callable[..., Panel]


def _weights() -> dict[str, NDArray[np.float32]]:
    return {name: np.asarray(weight) for name, weight in initial(NETWORK, seed=0).items()}


def guard(*, bar: float = 6.0, **rule: int) -> Guard:
    """Opens with 2 of 3 steps, closes after 4, accepts after 500, acts from step 8 on."""
    told = {"open_steps": 2, "open_within": 3, "close_steps": 4, "longest": 500, "settle": 8} | rule
    return Guard(usual=np.ones((3, 2, 2), np.float32), bars=np.full((3, 2), bar, np.float32), **told)


def run(panel: Panel, *, by: Guard | None, start: int = 0, **how: Any) -> Watched:
    """Forecasts up to STEPS; told is what the guard did."""
    return predict.watched(panel, network=NETWORK, weights=_weights(), start=start, stop=STEPS, guard=by, **how)


def faulty(panel: Panel, *, shift: float = 20.0, entity: int = 1) -> Panel:
    """The targets of one entity are far off in the steps FAULT."""
    values = panel.values.copy()
    values[entity, FAULT, 0] += shift
    values[entity, FAULT, 2] -= shift
    return replace(panel, values=values)


def test_a_guard_that_nothing_is_beyond_changes_no_forecast(panel_of: PanelFactory) -> None:
    panel = faulty(panel_of(steps=STEPS))
    told = run(panel, by=guard(bar=np.inf))
    np.testing.assert_allclose(told.forecasts, run(panel, by=None).forecasts, rtol=1e-6, atol=1e-6)
    assert not told.fed.any()
    assert not told.open.any()


def test_an_incident_is_fed_from_its_first_step_to_its_end_and_closes_after_it(panel_of: PanelFactory) -> None:
    told = run(faulty(panel_of(steps=STEPS)), by=guard())
    assert np.flatnonzero(told.fed[1]).tolist() == list(range(FAULT.start, FAULT.stop + 3))
    assert np.flatnonzero(told.open[1]).tolist() == list(range(FAULT.start + 1, FAULT.stop + 3))
    assert not told.fed[[0, 2]].any()
    assert not told.accepted.any()


def test_what_is_fed_is_the_forecast_for_that_very_step(panel_of: PanelFactory) -> None:
    told = run(panel := faulty(panel_of(steps=STEPS)), by=guard())
    values = panel.values.copy()
    values[..., list(NETWORK.targets)] = np.where(told.fed[..., None], told.forecasts[:, :, 0], panel.values[..., list(NETWORK.targets)])
    np.testing.assert_allclose(told.forecasts, run(replace(panel, values=values), by=None).forecasts, rtol=1e-5, atol=1e-5)


def test_forecasts_under_a_guard_know_nothing_of_how_large_the_fault_is(panel_of: PanelFactory) -> None:
    small, large = (run(faulty(panel_of(steps=STEPS), shift=shift), by=guard()) for shift in (20.0, 2_000.0))
    np.testing.assert_array_equal(small.fed, large.fed)
    np.testing.assert_array_equal(small.forecasts, large.forecasts)
    unguarded = [run(faulty(panel_of(steps=STEPS), shift=shift), by=None).forecasts for shift in (20.0, 2_000.0)]
    assert not np.allclose(unguarded[0], unguarded[1])


def test_a_lead_with_a_short_cut_starts_from_the_forecast_while_the_guard_is_open(panel_of: PanelFactory) -> None:
    panel = faulty(panel_of(steps=STEPS))
    fed, plain = (run(panel, by=by).forecasts[1, FAULT.start + 10 : FAULT.stop, 1] for by in (guard(), None))
    assert np.abs(fed).max() < 5 < np.abs(plain).min()


def test_what_lasts_longer_is_accepted_and_told(panel_of: PanelFactory) -> None:
    told = run(faulty(panel_of(steps=STEPS)), by=guard(longest=30, settle=20))
    first, accepted = FAULT.start, FAULT.start + 31
    assert np.flatnonzero(told.accepted[1]).tolist()[0] == accepted
    assert np.flatnonzero(told.fed[1, : accepted + 20]).tolist() == list(range(first, accepted))


def test_one_step_that_is_off_is_not_read_but_opens_nothing(panel_of: PanelFactory) -> None:
    values = (panel := panel_of(steps=STEPS)).values.copy()
    values[0, 100, 2] += 50
    told = run(replace(panel, values=values), by=guard())
    assert np.argwhere(told.fed).tolist() == [[0, 100]]
    assert not told.open.any()


def test_a_guard_does_not_act_before_the_state_has_settled_nor_for_newcomers(panel_of: PanelFactory) -> None:
    panel = faulty(panel_of(steps=STEPS))
    assert np.flatnonzero(run(panel, by=guard(settle=100)).fed[1])[0] == 100
    newcomer = np.ones_like(panel.newcomer)
    assert not run(replace(panel, newcomer=newcomer), by=guard()).fed.any()


def test_what_is_not_observed_is_neither_off_nor_fed(panel_of: PanelFactory) -> None:
    panel = faulty(panel_of(steps=STEPS))
    observed = panel.observed.copy()
    observed[1, FAULT] = False
    blind = replace(panel, observed=observed)
    told = run(blind, by=guard())
    assert not told.fed.any()
    assert not run(replace(panel, observed=np.zeros_like(observed)), by=guard(bar=1e-6)).fed.any()
    np.testing.assert_allclose(told.forecasts, run(blind, by=None).forecasts, rtol=1e-6, atol=1e-6)


def test_steps_before_the_start_are_watched_too(panel_of: PanelFactory) -> None:
    panel = faulty(panel_of(steps=STEPS))
    whole, late = run(panel, by=guard()), run(panel, by=guard(), start=120, context=100)
    np.testing.assert_array_equal(late.open, whole.open[:, 120:])
    assert late.open[1, 0]


def test_time_may_be_cut_into_chunks_anywhere(panel_of: PanelFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = faulty(panel_of(steps=STEPS))
    whole, before = run(panel, by=guard()), predict._guarded._cache_size()  # type: ignore[attr-defined]
    monkeypatch.setattr(predict, "CHUNK_STEPS", (32, 32))
    pieces = run(panel, by=guard())
    np.testing.assert_allclose(pieces.forecasts, whole.forecasts, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(pieces.fed, whole.fed)
    assert predict._guarded._cache_size() - before == 1  # type: ignore[attr-defined]


@settings(max_examples=15, deadline=None)
@given(changed=st.integers(1, STEPS - 10), shift=st.floats(-30, 30), bar=st.sampled_from((0.5, 2.0, 6.0)))
def test_later_values_change_no_earlier_forecast(changed: int, shift: float, bar: float) -> None:
    panel = faulty(make_panel(steps=STEPS))
    values = panel.values.copy()
    values[:, changed:] += np.float32(shift)
    before, after = (run(each, by=guard(bar=bar)) for each in (panel, replace(panel, values=values)))
    np.testing.assert_array_equal(before.fed[:, :changed], after.fed[:, :changed])
    for index, lead in enumerate(NETWORK.leads):
        np.testing.assert_array_equal(before.forecasts[:, : changed + lead, index], after.forecasts[:, : changed + lead, index])


def test_what_is_known_to_be_a_fault_is_fed_whatever_the_guard_says(panel_of: PanelFactory) -> None:
    known = np.zeros((3, STEPS), dtype=bool)
    known[1, FAULT] = True
    by = never(entities=3, leads=2, targets=2)
    small, large = (run(faulty(panel_of(steps=STEPS), shift=shift), by=by, known=known) for shift in (0.0, 2_000.0))
    np.testing.assert_array_equal(small.fed, known)
    np.testing.assert_array_equal(small.forecasts, large.forecasts)
    assert not small.open.any()
    others = run(panel_of(steps=STEPS), by=None).forecasts[[0, 2]]
    np.testing.assert_allclose(large.forecasts[[0, 2]], others, rtol=1e-6, atol=1e-6)


def test_bars_of_others_and_rules_that_contradict_are_refused(panel_of: PanelFactory) -> None:
    with pytest.raises(ValueError, match="do not fit the panel"):
        run(panel_of(steps=STEPS, entities=2), by=guard())
    with pytest.raises(ValueError, match="opens with 4 of 3 steps"):
        guard(open_steps=4)
    with pytest.raises(ValueError, match=r"bars f32\[3, 1\]"):
        replace(guard(), bars=np.ones((3, 1), np.float32))
