"""A forecast knows nothing after the step it was made at, and does not depend on how time was cut into chunks."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from models import predict
from models.config import Network
from models.lstm import Steps, forecaster, initial, rest
from telemetry.panel import Panel

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), leads=(1, 5), shortcut=(5,), hidden=(6,), dense=4, embedding=2)

PanelFactory = Callable[..., Panel]


def _weights(network: NETWORK = NETWORK) -> dict[str, NDArray[np.float32]]:
    weights = {name: np.asarray(weight) for name, weight in initial(network, seed=0).items()}
    random = np.random.default_rng(1)
    correction = random.normal(size=weights["correction"].shape).astype(np.float32)
    return weights | {"correction": correction, "head.bias": np.ones_like(weights["head.bias"])}


def _forecast(panel: Panel, *, start: int = 100, stop: int = 200, **settings: object) -> NDArray[np.float32]:
    return predict.forecast(panel, network=NETWORK, weights=_weights(), start=start, stop=stop, **settings)  # type: ignore[arg-type]


def test_a_forecast_knows_nothing_after_the_step_it_was_made_at(panel_of: PanelFactory) -> None:
    panel, changed = panel_of(steps=300), 150
    values, observed, newcomer = panel.values.copy(), panel.observed.copy(), panel.newcomer.copy()
    values[:, changed:] += 3
    observed[:, changed + 10 :, 1] = False
    newcomer[:, changed:] = True
    before, after = _forecast(panel), _forecast(replace(panel, values=values, observed=observed, newcomer=newcomer))
    for index, lead in enumerate(NETWORK.leads):
        first_free = changed + lead - 100
        np.testing.assert_array_equal(before[:, :first_free, index], after[:, :first_free, index])
        assert (before[:, first_free, index] != after[:, first_free, index]).all()


def test_forecasts_are_those_the_network_makes_a_lead_before(panel_of: PanelFactory) -> None:
    panel = panel_of(steps=60)
    steps = Steps(
        values=panel.values.swapaxes(0, 1),
        missing=~panel.observed.swapaxes(0, 1),
        calendar=np.broadcast_to(panel.calendar[0][:, None], (60, 3, 8)),
        newcomer=panel.newcomer.T,
        entity=np.arange(3),
    )
    model = forecaster(NETWORK, weights=jax.tree.map(jnp.asarray, _weights()))
    made, _ = jax.jit(model.__call__)(jax.tree.map(jnp.asarray, steps), carries=rest(NETWORK, batch=3))
    told = _forecast(panel, start=10, stop=60)
    for index, lead in enumerate(NETWORK.leads):
        np.testing.assert_allclose(
            told[:, :, index], np.asarray(made)[10 - lead : 60 - lead, :, index].swapaxes(0, 1), rtol=1e-4, atol=1e-5
        )


def test_chunks_of_any_length_tell_the_same_and_share_one_compilation(panel_of: PanelFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = panel_of(steps=300)
    whole, before = _forecast(panel, start=0, stop=250), predict._advance._cache_size()  # type: ignore[attr-defined]
    monkeypatch.setattr(predict, "CHUNK_STEPS", (32, 32))
    np.testing.assert_allclose(_forecast(panel, start=0, stop=250), whole, rtol=1e-4, atol=1e-5)
    assert predict._advance._cache_size() - before == 1  # type: ignore[attr-defined]


def test_what_is_not_observed_is_not_looked_at(panel_of: PanelFactory) -> None:
    panel = panel_of(steps=300)
    observed, values = panel.observed.copy(), panel.values.copy()
    observed[:, 140:150], values[:, 140:150] = False, 1e6
    zeros = np.where(observed, panel.values, 0).astype(np.float32)
    np.testing.assert_array_equal(
        _forecast(replace(panel, observed=observed, values=values)), _forecast(replace(panel, observed=observed, values=zeros))
    )


def test_a_panel_that_begins_too_late_for_a_lead_is_told_the_training_mean(panel_of: PanelFactory) -> None:
    told = _forecast(panel_of(steps=50), start=0, stop=50)
    assert told.shape == (3, 50, 2, 2)
    for index, lead in enumerate(NETWORK.leads):
        assert not told[:, :lead, index].any()
        assert told[:, lead:, index].all()


def test_the_context_bounds_how_far_back_a_forecast_looks(panel_of: PanelFactory) -> None:
    panel = panel_of(steps=300)
    values = panel.values.copy()
    values[:, : 200 - 5 - 20] += 3
    changed = replace(panel, values=values)
    np.testing.assert_array_equal(*(_forecast(each, start=200, stop=210, context=20) for each in (panel, changed)))
    assert not np.array_equal(*(_forecast(each, start=200, stop=210, context=21) for each in (panel, changed)))


def test_entities_are_served_by_the_rows_that_the_caller_names(panel_of: PanelFactory) -> None:
    panel = panel_of(steps=300)
    same = replace(panel, values=np.repeat(panel.values[:1], 3, axis=0))
    told = _forecast(same, entity_index=np.array([1, -1, 1], dtype=np.int32))
    np.testing.assert_array_equal(told[0], told[2])
    assert not np.array_equal(told[0], told[1])
    stranger = _forecast(same, entity_index=np.array([-1, -1, 99], dtype=np.int32))
    np.testing.assert_array_equal(stranger[0], told[1])
    np.testing.assert_array_equal(stranger[2], told[1])


def test_foreign_weights_and_steps_outside_of_the_panel_are_refused(panel_of: PanelFactory) -> None:
    with pytest.raises(ValueError, match="not this network's"):
        predict.forecast(panel_of(), network=replace(NETWORK, dense=5), weights=_weights(), start=0, stop=10)
    with pytest.raises(ValueError, match="0 to 1001 are not within the panel's 1000"):
        _forecast(panel_of(), start=0, stop=1_001)
