"""Several trainings of one design at once, which differ in nothing but their seed: one program learns all of them side by side.

A small network leaves much of a GPU idle, which others can use; `tests/benchmarks/train.py --part sweep` measures what it is worth. On a
CPU two took a quarter longer than one after the other.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from models import epochs, train
from models.config import Network, Training
from models.devices import mesh_of
from models.epochs import Cut, Record, State
from models.lstm import check_panel, initial
from models.sampling import Windows
from models.train import Epoch, Trained
from telemetry.panel import Panel


def fit(panel: Panel, *, network: Network, training: Training, seeds: Sequence[int], device: jax.Device) -> list[Trained]:
    """The trained networks, one for each seed: the same as `train.fit` of each, but for the order of sums.

    All go on until the last of them is over; of one that is over before, nothing more counts. An epoch's seconds are its share of all.

    Args:
        panel: as for `train.fit`; it must fit onto the device.
        network: what to train.
        training: how; its own seed does not count.
        seeds: of weights and windows.
        device: that learns.

    Raises:
        TrainingError: as `train.fit`.
        ValueError: the panel is not the network's.
    """
    check_panel(panel, network=network)
    sampler, held_out = train.cut_windows(panel, network=network, training=training)
    samplers = [replace(sampler, training=replace(training, seed=seed)) for seed in seeds]
    mesh, compiled_before = mesh_of([device], batch=sampler.batch), epochs.compiled()
    everywhere = NamedSharding(mesh, P())
    data = jax.device_put(train.load(panel, training=training, network=network), everywhere)
    begun = [epochs.begin(initial(network, seed=seed)) for seed in seeds]
    states: State = jax.device_put(jax.tree.map(lambda *each: jnp.stack(each), *begun), everywhere)
    histories: list[list[Epoch]] = [[] for _ in seeds]
    going = np.ones(len(seeds), dtype=bool)
    while going.any():
        began, number = time.perf_counter(), max(map(len, histories)) + 1
        rates = train.rates(number, batches=sampler.batches, training=training)
        drawn = [each.draw(number) for each in samplers]
        windows = Windows(*(np.stack(field) for field in zip(*drawn, strict=True)))
        states, records = epochs.side_by_side(states, data, windows, rates, held_out, network=network, cut=Cut.of(training), mesh=mesh)
        host = jax.device_get(records)
        for index in np.flatnonzero(going):
            record: Record = jax.tree.map(lambda field, of=index: field[of], host)
            count = sampler.batches * sampler.batch
            histories[index].append(train.told(record, number=number, windows=count, began=began, share=1 / len(seeds)))
        going &= [not train.is_over(history, training=training) for history in histories]
        # nothing is better than that, so that the best weights of what is over stay as they are
        states = states._replace(best_loss=jnp.where(going, states.best_loss, -jnp.inf))
    best = jax.device_get(states.best)
    compiles = epochs.compiled() - compiled_before
    return [
        Trained(
            weights={name: np.asarray(weight[index]) for name, weight in best.items()},
            history=tuple(history),
            device=train.told_device(mesh),
            compiles=compiles,
        )
        for index, history in enumerate(histories)
    ]
