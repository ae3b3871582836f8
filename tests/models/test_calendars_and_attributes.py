"""Each entity is learned from and forecast by the calendar that it follows, and is known by its attributes where its name is not known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from models import predict, train
from models.config import Network, Training
from models.lstm import check, initial
from telemetry.panel import Panel

PLAIN: Final = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), leads=(1, 5), hidden=(6,), dense=4, embedding=2)
NETWORK: Final = replace(PLAIN, static=2)
TRAINING: Final = Training(batch=8, time_steps=24, warmup_steps=8, learning_rate=0.01, epochs=1)

PanelFactory = Callable[..., Panel]


def local(panel: Panel) -> Panel:
    """With a calendar for the second entity and one for the others, and two attributes."""
    random = np.random.default_rng(3)
    calendar = random.uniform(-1, 1, size=(2, panel.steps, 8)).astype(np.float32)
    static = np.array([[1, 0], [0, 1], [0, 1]], dtype=np.float32)
    clock = np.array([0, 1, 0], dtype=np.int32)
    return replace(panel, calendar=calendar, clock=clock, static=static, attributes=("region=eu", "region=us"))


def weights(network: Network = NETWORK) -> dict[str, NDArray[np.float32]]:
    """Such that nothing of the input is silent."""
    random = np.random.default_rng(1)
    drawn = {name: np.asarray(weight) for name, weight in initial(network, seed=0).items()}
    return {name: (weight + 0.2 * random.normal(size=weight.shape)).astype(np.float32) for name, weight in drawn.items()}


def forecast(panel: Panel, *, network: Network = NETWORK, index: list[int] | None = None, by: object = None) -> NDArray[np.float32]:
    rows = None if index is None else np.array(index, dtype=np.int32)
    told = by if isinstance(by, dict) else weights(network)
    return predict.forecast(panel, network=network, weights=told, start=100, stop=200, entity_index=rows)


def test_each_entity_is_forecast_by_the_calendar_that_it_follows(panel_of: PanelFactory) -> None:
    panel = local(panel_of(steps=300))
    told = forecast(panel)
    for entity, place in enumerate(panel.clock):
        alone = replace(panel, calendar=panel.calendar[place], clock=np.zeros(3, dtype=np.int32))
        np.testing.assert_array_equal(told[entity], forecast(alone)[entity])
    moved = replace(panel, clock=np.array([0, 0, 0], dtype=np.int32))
    assert (forecast(moved)[1] != told[1]).any()
    np.testing.assert_array_equal(forecast(moved)[[0, 2]], told[[0, 2]])


def test_an_unknown_entity_is_still_known_by_its_attributes(panel_of: PanelFactory) -> None:
    panel = local(panel_of(steps=300))
    alike = replace(panel, values=np.repeat(panel.values[:1], 3, axis=0), clock=np.zeros(3, dtype=np.int32))
    unknown = forecast(alike, index=[-1, -1, -1])
    assert (unknown[0] != unknown[1]).any()
    np.testing.assert_array_equal(unknown[1], unknown[2])


def test_what_training_may_never_have_seen_says_nothing_before_it_has_learned(panel_of: PanelFactory) -> None:
    network = replace(NETWORK, calendar=11)
    panel = local(panel_of(steps=300))
    flags = np.random.default_rng(0).integers(0, 2, size=(2, panel.steps, 3)).astype(np.float32)
    marked = replace(panel, calendar=np.concatenate([panel.calendar, flags], axis=-1))
    nothing = replace(panel, calendar=np.concatenate([panel.calendar, np.zeros_like(flags)], axis=-1), static=np.zeros_like(panel.static))
    untrained = {name: np.asarray(weight) for name, weight in initial(network, seed=0).items()}
    np.testing.assert_array_equal(forecast(marked, network=network, by=untrained), forecast(nothing, network=network, by=untrained))


@pytest.mark.slow
def test_attributes_are_learned_of_entities_whose_name_is_hidden(panel_of: PanelFactory) -> None:
    panel = local(panel_of())
    trained = train.fit(panel, network=NETWORK, training=replace(TRAINING, unknown_share=1.0))
    kernel = trained.weights["layers.0.input_kernel"]
    assert np.abs(kernel[4 + 8 + 5 : 4 + 8 + 5 + 2]).min() > 0, "the rows of the attributes, before those of the embedding"
    assert not trained.weights["correction"].any()


@pytest.mark.slow
def test_a_panel_that_is_streamed_is_learned_from_like_one_in_memory(panel_of: PanelFactory) -> None:
    panel = local(panel_of())
    whole, streamed = (train.fit(panel, network=NETWORK, training=TRAINING, memory=memory) for memory in (train.MEMORY, 1))
    plain = train.fit(replace(panel, clock=np.zeros(3, dtype=np.int32)), network=NETWORK, training=TRAINING)
    for name, weight in whole.weights.items():
        np.testing.assert_array_equal(streamed.weights[name], weight)
    assert any((plain.weights[name] != weight).any() for name, weight in whole.weights.items()), "the clock is looked at"


def test_a_network_that_was_told_before_there_were_attributes_is_what_it_was(panel_of: PanelFactory) -> None:
    told = {name: value for name, value in PLAIN.to_dict().items() if name != "static"}
    assert Network.from_dict(told) == PLAIN
    check(weights(PLAIN), network=Network.from_dict(told))
    panel = local(panel_of(steps=300))
    bare = replace(panel, static=np.zeros((3, 0), dtype=np.float32), attributes=())
    np.testing.assert_array_equal(forecast(panel, network=PLAIN), forecast(bare, network=PLAIN))


@pytest.mark.parametrize("network", [replace(NETWORK, static=3), replace(NETWORK, calendar=11), replace(NETWORK, parameters=5)])
def test_a_panel_of_other_columns_is_refused(panel_of: PanelFactory, network: Network) -> None:
    panel = local(panel_of(steps=300))
    message = r"the panel is not this network's: found columns .*'calendar': 8, 'static': 2.*, expected"
    with pytest.raises(ValueError, match=message):
        forecast(panel, network=network)
    with pytest.raises(ValueError, match=message):
        train.fit(panel, network=network, training=TRAINING)
