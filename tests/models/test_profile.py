"""A training is taken apart into what it does, and what its parts do not account for is told."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from models import slices, train
from models.config import Network, Training
from models.losses import EXTRAS
from models.profile import Profile, Share, profile
from telemetry.errors import TrainingError
from telemetry.panel import Panel, Part

pytestmark = pytest.mark.slow
NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), leads=(1, 5), hidden=(16,), dense=16, embedding=2)
TRAINING = Training(batch=8, time_steps=24, warmup_steps=8)
OF_A_STEP = [
    "gathering windows",
    "input products",
    "recurrence, forward",
    "recurrence, backward",
    "dense layers and loss",
    "optimiser",
    "exchange between devices",
]
PanelFactory = Callable[..., Panel]


def part(told: Profile, name: str) -> Share:
    (found,) = [part for part in told.parts if part.name == name]
    return found


@pytest.fixture(scope="module")
def told(panel_of: PanelFactory) -> Profile:
    return profile(panel_of(), network=NETWORK, training=TRAINING)


def test_every_part_of_an_epoch_is_told_in_its_order(told: Profile) -> None:
    names = ["compiling", "moving the panel to the devices", "drawing windows", *OF_A_STEP, "validation", "not accounted for"]
    assert [part.name for part in told.parts] == names
    assert [part.when for part in told.parts] == ["once", "once", "beside", *["step"] * len(OF_A_STEP), "epoch", "step"]
    assert all(part.seconds > 0 for part in told.parts if part.name not in ("compiling", "recurrence, backward", "not accounted for"))


def test_the_parts_and_the_rest_are_the_epoch(told: Profile) -> None:
    inside = [part for part in told.parts if part.share is not None]
    assert sum(part.epoch_seconds or 0 for part in inside) == pytest.approx(told.epoch_seconds)
    assert sum(part.share or 0 for part in inside) == pytest.approx(1)
    assert all(part.epoch_seconds == pytest.approx(part.seconds * told.steps) for part in inside if part.when == "step")
    assert told.epoch_seconds == pytest.approx(told.step_seconds * told.steps + part(told, "validation").seconds)


def test_how_fast_it_is_follows_from_the_step(told: Profile, panel_of: PanelFactory) -> None:
    assert told.windows_a_second == pytest.approx(told.batch / told.step_seconds)
    forecasts = (TRAINING.time_steps - TRAINING.warmup_steps) * len(NETWORK.leads) * len(NETWORK.targets)
    assert 0.8 * forecasts < told.targets_a_second / told.windows_a_second <= forecasts  # those beyond TRAIN are not learned from
    assert (told.device, told.batch, told.streamed) == ("cpu x 2", 8, False)
    epoch = train.fit(panel_of(), network=NETWORK, training=replace(TRAINING, epochs=1)).history[0]
    assert told.steps * told.batch == epoch.windows
    assert told.measured_steps == told.steps


def test_a_panel_on_the_host_is_told_as_such(panel_of: PanelFactory) -> None:
    told = profile(panel_of(), network=NETWORK, training=TRAINING, memory=1_000)
    assert told.streamed
    assert part(told, "cutting windows out of the panel").when == "beside"
    assert {"moving the panel to the devices", "gathering windows"}.isdisjoint(part.name for part in told.parts)


def test_one_device_exchanges_nothing(panel_of: PanelFactory) -> None:
    told = profile(panel_of(), network=NETWORK, training=TRAINING, devices=jax.local_devices()[:1])
    assert told.device == "cpu"
    assert "exchange between devices" not in [part.name for part in told.parts]


def test_other_cells_losses_and_layers_are_taken_apart_too(panel_of: PanelFactory) -> None:
    network = replace(NETWORK, hidden=(16, 8), cells=("lstm", "gru"), extras=EXTRAS["quantile"])
    told = profile(panel_of(), network=network, training=replace(TRAINING, loss="quantile", clip=1.0, supervision="last_step"))
    assert [part.name for part in told.parts if part.when == "step"] == [*OF_A_STEP, "not accounted for"]


@pytest.mark.parametrize(("name", "function"), [("optimiser", "_optimiser"), ("dense layers and loss", "_tail")])
def test_what_is_done_a_thousand_times_is_told_as_the_slowest(
    panel_of: PanelFactory, monkeypatch: pytest.MonkeyPatch, name: str, function: str
) -> None:
    once: Callable[[slices.Taken], slices.Slice] = getattr(slices, function)

    def often(of: slices.Taken) -> slices.Slice:
        part = once(of)

        def again(weights: slices.Tree, given: slices.Tree) -> slices.Tree:
            def one(total: jax.Array, _: None) -> tuple[jax.Array, None]:
                made = part(weights, jax.tree.map(lambda array: array + 0 * total, given))  # after the time before
                return sum((abs(leaf).sum() for leaf in jax.tree.leaves(made)), start=jnp.float32(0)), None

            return jax.lax.scan(one, jnp.float32(0), length=1_000)[0]

        return again

    monkeypatch.setattr(slices, function, often)
    slow = profile(panel_of(), network=NETWORK, training=TRAINING)
    assert max((part for part in slow.parts if part.when == "step"), key=lambda each: each.seconds).name == name
    assert part(slow, "not accounted for").seconds < 0, "training itself does it once a step"


def test_what_cannot_be_trained_cannot_be_taken_apart(panel_of: PanelFactory) -> None:
    panel = panel_of()
    with pytest.raises(TrainingError, match="nothing to learn from"):
        profile(replace(panel, newcomer=~panel.newcomer), network=NETWORK, training=TRAINING)
    values = panel.values.copy()
    values[1, 40, 2] = float("nan")
    assert panel.part[1, 40] == Part.TRAIN
    with pytest.raises(TrainingError, match="entity-1 has nan as parameter-2 at step 40"):
        profile(replace(panel, values=values), network=NETWORK, training=TRAINING)
