"""A network and a training refuse what cannot be trained, and survive JSON."""

import json

import pytest

from models.config import Network, Training


def test_a_network_survives_json() -> None:
    network = Network(parameters=5, calendar=8, entities=3, targets=(0, 4), leads=(1, 15), shortcut=(1,), hidden=(8,))
    assert Network.from_dict(json.loads(json.dumps(network.to_dict()))) == network


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"targets": ()}, "a target"),
        ({"targets": (5,)}, "indices into 5"),
        ({"leads": (0,)}, "1 or more"),
        ({"shortcut": (2,)}, "contain shortcut"),
    ],
)
def test_a_network_that_cannot_forecast_is_refused(wrong: dict[str, tuple[int, ...]], message: str) -> None:
    right: dict[str, tuple[int, ...]] = {"targets": (0,), "leads": (1,)}
    with pytest.raises(ValueError, match=message):
        Network(parameters=5, calendar=8, entities=3, **(right | wrong))


def test_a_warm_up_as_long_as_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing of time_steps 16"):
        Training(time_steps=16, warmup_steps=16)


def test_only_the_last_step_is_judged_with_last_step_supervision() -> None:
    assert Training(time_steps=64, warmup_steps=16).first_judged == 16
    assert Training(time_steps=64, warmup_steps=16, supervision="last_step").first_judged == 63
