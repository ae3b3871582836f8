"""A training step on several devices is that of one, and a gradient that is too long is shortened to its limit.

Both are told by Adam's first moment, which after one step is a tenth of the gradient that came to it.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from models import epochs, sampling, train
from models.config import Network, Precision, Training
from models.devices import mesh_of
from models.epochs import Record, State
from models.lstm import initial
from models.sampling import Windows
from telemetry.panel import Panel, Part

pytestmark = pytest.mark.slow

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), leads=(1, 5), hidden=(8,), dense=8, embedding=2)
TRAINING = Training(batch=8, time_steps=16, warmup_steps=4, learning_rate=0.01, epochs=1)
BETA = 0.9
"""By which Adam's first moment forgets."""
Gradients = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def panel(panel_of: Callable[..., Panel]) -> Panel:
    """One of which the first entities tell less, so that the two halves of a batch have not the same number of targets."""
    panel = panel_of(steps=400)
    observed = panel.observed.copy()
    observed[0, ::3] = False
    return replace(panel, observed=observed)


def stepped(
    panel: Panel, *, clip: float = 0.0, batch: int = TRAINING.batch, devices: int = 2, streamed: bool = False
) -> tuple[State, Record]:
    """What one training step and the validation after it come to."""
    training = replace(TRAINING, clip=clip, batch=batch)
    mesh = mesh_of(jax.local_devices()[:devices], batch=training.batch)
    assert mesh.size == devices
    learnable, held = (sampling.judged(panel, part=part) for part in (Part.TRAIN, Part.CALIBRATE))
    drawn = sampling.sampler(learnable, network=NETWORK, training=training).draw(1)
    held_out = sampling.validation(held, network=NETWORK, training=training, batch=training.batch)
    run = train.runner(panel, network=NETWORK, training=training, mesh=mesh, memory=0 if streamed else 2**30)
    state = jax.device_put(epochs.begin({k: jax.numpy.array(v) for k, v in initial(NETWORK, seed=0).items()}), NamedSharding(mesh, P()))
    return run(state, Windows(*(field[:1] for field in drawn)), np.full(1, 0.01, dtype=np.float32), held_out)


def gradients(state: State) -> Gradients:
    return {name: np.asarray(moment) / (1 - BETA) for name, moment in state.moments.mu.items()}


def length(of: Gradients) -> float:
    return float(np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in of.values())))


@pytest.fixture(scope="module")
def free(panel: Panel) -> tuple[State, Record]:
    return stepped(panel)


def assert_same(one: Gradients, other: Gradients, *, times: float = 1.0) -> None:
    for name, gradient in one.items():
        np.testing.assert_allclose(gradient * times, other[name], rtol=2e-3, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("streamed", [False, True])
def test_two_devices_make_the_step_of_one(panel: Panel, free: tuple[State, Record], streamed: bool) -> None:
    alone, shared = stepped(panel, devices=1), free if not streamed else stepped(panel, streamed=True)
    assert_same(gradients(alone[0]), gradients(shared[0]))
    assert shared[1].judged.tolist() == alone[1].judged.tolist()
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(getattr(shared[1], name), getattr(alone[1], name), rtol=1e-5)
    for weight in shared[0].weights.values():  # every device holds the same
        copies = [np.asarray(shard.data) for shard in weight.addressable_shards]
        assert len(copies) == 2
        np.testing.assert_array_equal(*copies)


def test_a_gradient_that_is_too_long_is_shortened_to_the_limit_in_its_direction(panel: Panel, free: tuple[State, Record]) -> None:
    whole = gradients(free[0])
    limit = length(whole) / 4
    clipped = gradients(stepped(panel, clip=limit)[0])
    assert length(clipped) == pytest.approx(limit, rel=1e-3)
    assert_same(whole, clipped, times=1 / 4)


def test_a_gradient_within_the_limit_is_left_as_it_is(panel: Panel, free: tuple[State, Record]) -> None:
    whole = gradients(free[0])
    assert_same(whole, gradients(stepped(panel, clip=1.1 * length(whole))[0]))


@pytest.mark.parametrize(("precision", "highest"), [("mixed", False), ("float32", True)])
def test_products_are_as_precise_as_asked_for_on_the_way_there_and_back(panel: Panel, precision: Precision, highest: bool) -> None:
    training = replace(TRAINING, precision=precision)
    mesh = mesh_of(jax.local_devices()[:1], batch=training.batch)
    sampler, held_out = train.cut_windows(panel, network=NETWORK, training=training)
    data = train.load(panel, network=NETWORK, training=training)
    given = (epochs.begin(initial(NETWORK, seed=0)), data, sampler.draw(1), np.full(sampler.batches, 0.01, np.float32), held_out)
    told = str(epochs.epoch.trace(*given, network=NETWORK, cut=epochs.Cut.of(training), mesh=mesh).jaxpr)
    products, precise = told.count("dot_general["), told.count("precision=(Precision.HIGHEST, Precision.HIGHEST)")
    assert products > 10
    assert precise == (products if highest else 0)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_device_that_learns_from_its_windows_in_turns_comes_to_the_same(panel: Panel, streamed: bool) -> None:
    together, in_turns = (stepped(panel, batch=2 * epochs.ROWS, devices=devices, streamed=streamed) for devices in (2, 1))
    assert [epochs.turns(2 * epochs.ROWS // devices, mesh=mesh_of(None, batch=2)) for devices in (2, 1)] == [1, 2]
    assert in_turns[1].judged.tolist() == together[1].judged.tolist()
    assert_same(gradients(in_turns[0]), gradients(together[0]))
