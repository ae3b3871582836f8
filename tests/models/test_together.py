"""Trainings that are learned side by side come to what each of them comes to alone."""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import pytest

from models import sweep, together, train
from models.config import Network, Training
from models.sweep import Design
from telemetry.panel import Panel

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), hidden=(16,), dense=16, embedding=2)
TRAINING = Training(batch=8, time_steps=24, warmup_steps=8, learning_rate=0.05, epochs=6, patience=1)
SEEDS = (3, 4, 5)

PanelFactory = Callable[..., Panel]

pytestmark = pytest.mark.slow


def test_each_is_as_it_is_alone_and_stops_when_it_would(panel_of: PanelFactory) -> None:
    panel, device = panel_of(), jax.local_devices()[0]
    alone = [train.fit(panel, network=NETWORK, training=replace(TRAINING, seed=seed), devices=[device]) for seed in SEEDS]
    beside = together.fit(panel, network=NETWORK, training=TRAINING, seeds=SEEDS, device=device)
    assert len({len(each.history) for each in alone}) > 1, "of these seeds one stops before another"
    for one, other in zip(beside, alone, strict=True):
        assert len(one.history) == len(other.history)
        np.testing.assert_allclose(
            [each.validation_loss for each in one.history], [each.validation_loss for each in other.history], rtol=1e-3
        )
        for name, weight in other.weights.items():
            np.testing.assert_allclose(one.weights[name], weight, atol=2e-3, err_msg=name)
    assert beside[0].compiles == 1


def test_a_sweep_of_seeds_side_by_side_tells_the_same(panel_of: PanelFactory) -> None:
    panel, design, device = panel_of(), Design(name="small", network=NETWORK, training=TRAINING), jax.local_devices()[0]
    beside = sweep.outcomes_of(panel, design=design, seeds=SEEDS[:2], device=device)
    alone = [each for seed in SEEDS[:2] for each in sweep.outcomes_of(panel, design=design, seeds=[seed], device=device)]
    assert [each.seed for each in beside] == list(SEEDS[:2])
    assert [each.accuracy for each in beside] == pytest.approx([each.accuracy for each in alone], abs=2e-3)
