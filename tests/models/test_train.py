"""Training learns, from nothing but what it may learn from, with one compilation and the same bytes every time."""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pytest
from numpy.typing import NDArray

from models import baselines, predict, train
from models.config import Cell, Loss, Network, Supervision, Training
from models.losses import EXTRAS
from telemetry.errors import TrainingError
from telemetry.panel import Panel, Part

pytestmark = pytest.mark.slow  # most of it is one compilation, which the quick ones would not share with the others
NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), leads=(1, 5), hidden=(16,), dense=16, embedding=2)
TRAINING = Training(batch=8, time_steps=24, warmup_steps=8, learning_rate=0.01, epochs=1)

PanelFactory = Callable[..., Panel]


@pytest.fixture
def panel(panel_of: PanelFactory) -> Panel:
    """With a newcomer's first days and incidents within TRAIN, a step not observed, and an entity that is only a newcomer."""
    panel = panel_of()
    newcomer, incident, observed = panel.newcomer.copy(), panel.incident.copy(), panel.observed.copy()
    newcomer[1, :300] = newcomer[2] = True
    incident[0, 200:260] = incident[1, 690:700] = True
    observed[0, 400] = False
    return replace(panel, newcomer=newcomer, incident=incident, observed=observed)


def _bytes(panel: Panel, *, training: Training = TRAINING) -> dict[str, bytes]:
    return {name: weight.tobytes() for name, weight in train.fit(panel, network=NETWORK, training=training).weights.items()}


def _planted(panel: Panel, *, where: NDArray[np.bool_], value: float = 1e6) -> Panel:
    return replace(panel, values=np.where(where[..., None], np.float32(value), panel.values))


def test_a_run_compiles_once_and_the_next_of_its_shape_not_at_all(panel: Panel) -> None:
    first = train.fit(panel, network=NETWORK, training=replace(TRAINING, epochs=3))
    other = replace(TRAINING, epochs=2, patience=7, seed=7, learning_rate=0.007, schedule="cosine", unknown_share=0.7)
    assert first.compiles <= 1  # none if another test of this shape came before
    assert train.fit(panel, network=NETWORK, training=other).compiles == 0


def test_a_run_of_a_new_shape_compiles_once(panel_of: PanelFactory) -> None:
    assert train.fit(panel_of(), network=NETWORK, training=replace(TRAINING, epochs=3, time_steps=23)).compiles == 1


def test_two_runs_give_the_same_bytes_and_another_seed_gives_others(panel: Panel) -> None:
    training = replace(TRAINING, epochs=2)
    assert _bytes(panel, training=training) == _bytes(panel, training=training)
    assert _bytes(panel, training=training) != _bytes(panel, training=replace(training, seed=1))


def test_devices_that_share_a_batch_learn_what_one_would(panel: Panel) -> None:
    assert len(jax.local_devices()) == 2
    shared, alone = (train.fit(panel, network=NETWORK, training=TRAINING, devices=devices) for devices in (None, jax.local_devices()[:1]))
    assert (shared.device, alone.device) == ("cpu x 2", "cpu")
    assert shared.history[0].validation_loss == pytest.approx(alone.history[0].validation_loss, rel=1e-4)
    for name, weight in shared.weights.items():
        np.testing.assert_allclose(weight, alone.weights[name], atol=2e-4, err_msg=name)


def test_devices_that_do_not_divide_a_batch_are_left_out(panel: Panel) -> None:
    assert train.fit(panel, network=NETWORK, training=replace(TRAINING, batch=7)).device == "cpu"


@pytest.mark.parametrize("supervision", ["every_step", "last_step"])
@pytest.mark.parametrize("what", ["newcomer", "incident", "unobserved", "gap", "calibrate", "test"])
def test_nothing_is_learned_from(what: str, supervision: Supervision, panel: Panel) -> None:
    training = replace(TRAINING, supervision=supervision)
    where = {
        "newcomer": panel.newcomer,
        "incident": panel.incident,
        "unobserved": ~panel.observed.any(axis=-1),
        "gap": panel.part == Part.GAP,
        "calibrate": panel.part == Part.CALIBRATE,
        "test": panel.part == Part.TEST,
    }[what]
    assert where.any()
    assert _bytes(_planted(panel, where=where), training=training) == _bytes(panel, training=training)


def test_a_target_that_was_never_observed_is_not_taken_for_average(panel: Panel) -> None:
    observed = panel.observed.copy()
    observed[..., panel.targets[1]] = False
    bias = train.fit(replace(panel, observed=observed), network=NETWORK, training=TRAINING).weights["head.bias"]
    by_target = bias.reshape(len(NETWORK.leads), len(NETWORK.targets))
    assert by_target[:, 0].all()
    assert not by_target[:, 1].any()


def test_everything_in_train_is_learned_from(panel: Panel) -> None:
    where = np.zeros_like(panel.newcomer)
    where[1, 350] = True
    assert _bytes(_planted(panel, where=where)) != _bytes(panel)


def test_an_entity_that_is_only_a_newcomer_keeps_the_shared_prior(panel: Panel) -> None:
    correction = train.fit(panel, network=NETWORK, training=TRAINING).weights["correction"]
    assert np.abs(correction[:2]).min() > 0
    assert not correction[2].any()


def test_training_stops_without_a_better_epoch_and_keeps_the_best(panel: Panel) -> None:
    restless = replace(TRAINING, learning_rate=0.2, epochs=60, patience=2)
    told: list[train.Epoch] = []
    trained = train.fit(panel, network=NETWORK, training=restless, on_epoch=told.append)
    best = min(trained.history, key=lambda epoch: epoch.validation_loss).number
    assert tuple(told) == trained.history
    assert best + restless.patience == len(trained.history) < restless.epochs
    until_best = train.fit(panel, network=NETWORK, training=replace(restless, epochs=best))
    assert {name: weight.tobytes() for name, weight in trained.weights.items()} == {
        name: weight.tobytes() for name, weight in until_best.weights.items()
    }


def test_a_loss_that_is_not_finite_names_its_steps_and_weights(panel: Panel) -> None:
    message = r"not finite in training steps 1 to \d+ \(epoch 1\).*not finite in the first of them: correction, .*prior\.\nHint: lower"
    with pytest.raises(TrainingError, match=message):
        train.fit(panel, network=NETWORK, training=replace(TRAINING, learning_rate=1e38))


def test_a_value_that_is_not_finite_is_named_by_its_place(panel: Panel) -> None:
    where = np.zeros_like(panel.newcomer)
    where[1, 320] = True
    with pytest.raises(TrainingError, match=r"entity-1 has inf as parameter-0 at step 320 of the panel; expected finite.*\nHint: check"):
        train.fit(_planted(panel, where=where, value=np.inf), network=NETWORK, training=TRAINING)


def test_a_panel_of_newcomers_leaves_nothing_to_learn_from(panel: Panel) -> None:
    with pytest.raises(TrainingError, match=r"nothing to learn from.*\nHint: take more days in"):
        train.fit(replace(panel, newcomer=np.ones_like(panel.newcomer)), network=NETWORK, training=TRAINING)


def test_a_panel_without_a_calibration_part_leaves_nothing_to_validate_on(panel: Panel) -> None:
    part = np.where(panel.part == Part.CALIBRATE, Part.GAP, panel.part).astype(np.uint8)
    with pytest.raises(TrainingError, match="nothing to validate on"):
        train.fit(replace(panel, part=part), network=NETWORK, training=TRAINING)


@pytest.mark.parametrize(("supervision", "epochs"), [("every_step", 60), ("last_step", 6)])
def test_a_wave_is_forecast_better_than_by_its_last_value(supervision: Supervision, epochs: int, panel: Panel) -> None:
    training = replace(TRAINING, epochs=epochs, patience=epochs, supervision=supervision, schedule="cosine")
    weights = train.fit(panel, network=NETWORK, training=training).weights
    mature, start, targets = slice(0, 2), 900, np.array(panel.targets)
    forecasts = predict.forecast(panel, network=NETWORK, weights=weights, start=start, stop=panel.steps)[mature]
    actual = panel.values[mature, start:, targets]
    for index, lead in enumerate(NETWORK.leads):
        last = baselines.persistence(panel.values, observed=panel.observed, lead=lead)[mature, start:, targets]
        assert np.abs(forecasts[:, :, index] - actual).mean() < 0.5 * np.abs(last - actual).mean()


@pytest.mark.parametrize("loss", ["huber", "gaussian", "quantile"])
@pytest.mark.parametrize("cells", [("lstm",), ("gru",)])
def test_every_loss_and_cell_learns(loss: Loss, cells: tuple[Cell, ...], panel: Panel) -> None:
    network = replace(NETWORK, cells=cells, extras=EXTRAS[loss])
    training = replace(TRAINING, epochs=40, patience=40, loss=loss, clip=1.0, schedule="cosine", rise=0.1)
    history = train.fit(panel, network=network, training=training).history
    assert history[-1].validation_loss < history[0].validation_loss - 0.2


def test_the_rate_rises_and_falls() -> None:
    training = replace(TRAINING, epochs=2, learning_rate=1.0, schedule="cosine", rise=0.25)
    rates = np.concatenate([train.rates(number, batches=10, training=training) for number in (1, 2)])
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert (np.diff(rates[5:]) < 0).all()
    assert rates[-1] < 0.02


def test_a_clipped_gradient_moves_another_way_than_a_free_one(panel: Panel) -> None:
    assert _bytes(panel, training=replace(TRAINING, clip=1e-3)) != _bytes(panel)


def test_a_training_may_begin_where_another_one_ended(panel: Panel) -> None:
    first = train.fit(panel, network=NETWORK, training=replace(TRAINING, epochs=3))
    onwards = train.fit(panel, network=NETWORK, training=TRAINING, start=first.weights)
    assert onwards.history[0].loss < first.history[0].loss
    with pytest.raises(ValueError, match=r"the weights are not this network's: .*prior: found"):
        train.fit(panel, network=replace(NETWORK, embedding=3), training=TRAINING, start=first.weights)


def test_a_panel_that_is_streamed_is_learned_from_as_one_that_is_on_the_devices(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.streaming.CHUNK_BYTES", 60_000)
    training = replace(TRAINING, epochs=3)
    whole, streamed = (train.fit(panel, network=NETWORK, training=training, memory=memory) for memory in (2**30, 0))
    for one, other in zip(whole.history, streamed.history, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert other.validation_loss == pytest.approx(one.validation_loss, rel=1e-4)
    for name, weight in streamed.weights.items():
        np.testing.assert_allclose(weight, whole.weights[name], atol=5e-4, err_msg=name)


def test_a_streamed_training_compiles_each_of_its_shapes_once(panel: Panel) -> None:
    train.fit(panel, network=NETWORK, training=TRAINING, memory=0)
    assert train.fit(panel, network=NETWORK, training=replace(TRAINING, epochs=3), memory=0).compiles == 0
