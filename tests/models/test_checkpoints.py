"""A training that was killed goes on after its last whole epoch, and ends with the bytes of one that was not."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import train
from models.config import Network, Training
from telemetry.panel import Panel

NETWORK = Network(parameters=4, calendar=8, entities=3, targets=(0, 2), hidden=(16,), dense=16, embedding=2)
TRAINING = Training(batch=8, time_steps=24, warmup_steps=8, learning_rate=0.01, epochs=5)
TRAINED_BY_ITSELF = """
import sys, time
from pathlib import Path
from models import train
from tests.models.conftest import make_panel
from tests.models.test_checkpoints import NETWORK, TRAINING

def told(epoch):
    print(epoch.number, flush=True)
    time.sleep(0.3)

train.fit(make_panel(), network=NETWORK, training=TRAINING, checkpoints=Path(sys.argv[1]), on_epoch=told)
"""

PanelFactory = Callable[..., Panel]


class PlugPulledError(Exception):
    """Somebody pulled the plug."""


def _until(number: int) -> Callable[[train.Epoch], None]:
    def told(epoch: train.Epoch) -> None:
        if epoch.number == number:
            raise PlugPulledError

    return told


def _same(ours: train.Trained, theirs: train.Trained) -> None:
    assert {name: weight.tobytes() for name, weight in ours.weights.items()} == {
        name: weight.tobytes() for name, weight in theirs.weights.items()
    }
    losses = [(epoch.loss, epoch.validation_loss) for epoch in ours.history]
    assert losses == [(epoch.loss, epoch.validation_loss) for epoch in theirs.history]


@pytest.mark.slow
def test_a_training_goes_on_where_it_was_interrupted(panel_of: PanelFactory, tmp_path: Path) -> None:
    panel, whole = panel_of(), train.fit(panel_of(), network=NETWORK, training=TRAINING)
    with pytest.raises(PlugPulledError):
        train.fit(panel, network=NETWORK, training=TRAINING, checkpoints=tmp_path, on_epoch=_until(3))
    seconds: list[float] = []
    resumed = train.fit(
        panel, network=NETWORK, training=TRAINING, checkpoints=tmp_path, on_epoch=lambda epoch: seconds.append(epoch.seconds)
    )
    _same(resumed, whole)
    assert len(seconds) == TRAINING.epochs
    assert not list(tmp_path.iterdir()), "nothing is kept of a training that is done"


@pytest.mark.slow
def test_a_training_by_another_clock_or_with_other_attributes_is_another_one(panel_of: PanelFactory) -> None:
    from models.checkpoints import identity

    panel = panel_of()
    calendar = np.concatenate([panel.calendar, panel.calendar + 1])
    static = np.eye(3, 1, dtype=np.float32)
    local = replace(panel, calendar=calendar, clock=np.array([0, 1, 0], dtype=np.int32), static=static, attributes=("region=eu",))
    others = (replace(local, clock=np.array([0, 1, 1], dtype=np.int32)), replace(local, static=1 - static))
    told = {identity(each, network=NETWORK, training=TRAINING, start={}, devices=1) for each in (panel, local, *others)}
    assert len(told) == 4


@pytest.mark.slow
def test_another_training_begins_anew(panel_of: PanelFactory, tmp_path: Path) -> None:
    with pytest.raises(PlugPulledError):
        train.fit(panel_of(), network=NETWORK, training=TRAINING, checkpoints=tmp_path, on_epoch=_until(2))
    values = panel_of().values.copy()
    values[0, 0, 0] += 1
    for panel, training in ((replace(panel_of(), values=values), TRAINING), (panel_of(), replace(TRAINING, seed=3))):
        numbers: list[int] = []
        with pytest.raises(PlugPulledError):
            train.fit(
                panel,
                network=NETWORK,
                training=training,
                checkpoints=tmp_path,
                on_epoch=lambda epoch, numbers=numbers: (numbers.append(epoch.number), _until(1)(epoch)),  # type: ignore[misc]
            )
        assert numbers == [1]
        assert np.isfinite(panel.values).all()


@pytest.mark.slow
def test_a_training_that_was_killed_ends_with_the_same_bytes(panel_of: PanelFactory, tmp_path: Path) -> None:
    whole = train.fit(panel_of(), network=NETWORK, training=TRAINING)
    with subprocess.Popen([sys.executable, "-c", TRAINED_BY_ITSELF, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        while child.stdout.readline().strip() != "2":
            assert child.poll() is None, "the training ended before it could be killed"
        time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir())
    _same(train.fit(panel_of(), network=NETWORK, training=TRAINING, checkpoints=tmp_path), whole)
