"""A sweep tells the same of a design as training it alone, and chooses the simplest of those that equal the best."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from models import sweep, train
from models.config import Network, Training
from models.sweep import Design, Outcome
from telemetry.panel import Panel

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), hidden=(16,), dense=16, embedding=2)
TRAINING = Training(batch=8, time_steps=24, warmup_steps=8, learning_rate=0.01, epochs=2)
SMALL = Design(name="small", network=NETWORK, training=TRAINING)
LARGE = Design(name="large", network=replace(NETWORK, hidden=(16, 16)), training=TRAINING)

PanelFactory = Callable[..., Panel]


def _outcome(design: Design, *, seed: int, accuracy: float) -> Outcome:
    return Outcome(design=design.name, seed=seed, accuracy=accuracy, validation_loss=0.1, epochs=2, train_seconds=1.0, predict_seconds=0.1)


def test_there_are_the_eighteen_designs_of_the_story() -> None:
    told = sweep.designs(NETWORK, training=TRAINING)
    assert len({design.name for design in told}) == 18
    assert min(told, key=lambda design: design.cost).name == "2 x LSTM(64), 16 steps, overlapping"


@pytest.mark.parametrize(("large", "chosen"), [((0.95, 0.97), "small"), ((0.98, 0.98), "large")])
def test_the_simplest_within_one_standard_error_is_chosen(large: tuple[float, float], chosen: str) -> None:
    outcomes = [_outcome(SMALL, seed=seed, accuracy=0.955) for seed in (0, 1)]
    outcomes += [_outcome(LARGE, seed=seed, accuracy=accuracy) for seed, accuracy in enumerate(large)]
    ranked = sweep.rank(outcomes, designs=[SMALL, LARGE])
    assert [each.design.name for each in ranked] == ["large", "small"]
    assert [each.design.name for each in ranked if each.chosen] == [chosen]


def test_seeds_of_the_best_that_agree_by_luck_do_not_decide() -> None:
    outcomes = [_outcome(SMALL, seed=seed, accuracy=accuracy) for seed, accuracy in enumerate((0.94, 0.97))]
    outcomes += [_outcome(LARGE, seed=seed, accuracy=0.96) for seed in (0, 1)]
    best, other = sweep.rank(outcomes, designs=[SMALL, LARGE])
    assert (best.design.name, best.spread, other.chosen) == ("large", 0.0, True)
    assert best.error == other.error == pytest.approx(0.03 / 2 / 2**0.5, rel=1e-6)


def test_a_single_seed_has_no_spread() -> None:
    (only,) = sweep.rank([_outcome(SMALL, seed=0, accuracy=0.9)], designs=[SMALL])
    assert (only.accuracy, only.spread, only.error, only.chosen) == (0.9, 0.0, 0.0, True)


@pytest.mark.slow
def test_trainings_side_by_side_are_those_of_one_after_the_other(panel_of: PanelFactory) -> None:
    panel = panel_of()
    told = sweep.run(panel, designs=[SMALL, LARGE], seeds=(0, 1))
    assert [(each.design, each.seed) for each in told] == [("small", 0), ("small", 1), ("large", 0), ("large", 1)]
    alone = train.fit(panel, network=SMALL.network, training=replace(TRAINING, seed=1))
    best = min(epoch.validation_loss for epoch in alone.history)
    assert told[1].validation_loss == pytest.approx(best, rel=1e-3)
    assert all(0.5 < each.accuracy <= 1 for each in told)


def test_windows_apart_are_the_same_in_every_epoch(panel_of: PanelFactory) -> None:
    from models import sampling
    from telemetry.panel import Part

    for supervision in ("last_step", "every_step"):
        training = replace(TRAINING, overlapping=False, supervision=supervision)
        drawer = sampling.sampler(sampling.judged(panel_of(), part=Part.TRAIN), network=NETWORK, training=training)
        first, second = ({tuple(row[:2]) for row in drawer.draw(epoch).rows.reshape(-1, 4).tolist()} for epoch in (1, 2))
        assert len(first & second) > 0.9 * len(first)
        assert all(start % training.time_steps == 0 for _, start in first)
