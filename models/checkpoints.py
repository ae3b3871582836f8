"""Checkpoints of a training, by Orbax: a training that was killed goes on after its last whole epoch, and ends with the same bytes.

A checkpoint belongs to one training: same telemetry, network, settings and versions of the libraries. Any other begins anew.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp  # type: ignore[import-untyped]  # it ships no types

from models.config import Network, Training
from models.epochs import State
from telemetry.panel import Panel

KEPT = 2
"""The last checkpoint, and the one before."""
_STATE, _HISTORY = "state", "history"


class Checkpoints:
    """Where a training keeps its state.

    Args:
        folder: of all trainings; each has a folder of its own within.
        identity: of this training, as `identity` tells it.
    """

    def __init__(self, folder: Path, *, identity: str) -> None:
        self._folder = folder.resolve() / identity
        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT,
            enable_async_checkpointing=False,  # saves in the background from several threads hang
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, state: State, *, history: list[dict[str, Any]]) -> None:  # Any: plain JSON
        """Keep the state after an epoch and what all epochs so far came to; whole or not at all."""
        kept = {_STATE: ocp.args.StandardSave(state), _HISTORY: ocp.args.JsonSave(history)}
        self._manager.save(len(history), args=ocp.args.Composite(**kept))

    def latest(self, like: State) -> tuple[State, list[dict[str, Any]]] | None:
        """State and epochs of the last checkpoint, if there is one; the arrays lie where those of `like` do."""
        step = self._manager.latest_step()
        if step is None:
            return None
        wanted = {_STATE: ocp.args.StandardRestore(jax.tree.map(_abstract, like)), _HISTORY: ocp.args.JsonRestore()}
        kept = self._manager.restore(step, args=ocp.args.Composite(**wanted))
        return kept[_STATE], kept[_HISTORY]

    def close(self, *, done: bool) -> None:
        """Let go of the folder; of a training that is done nothing is kept."""
        self._manager.close()
        if done:
            shutil.rmtree(self._folder, ignore_errors=True)


def _abstract(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def identity(panel: Panel, *, network: Network, training: Training, start: Mapping[str, Any], devices: int) -> str:
    """Hexadecimal digest of all that decides what a training comes to. `start` are the weights that it begins with."""
    libraries = {name: version(name) for name in ("jax", "jaxlib", "optax", "flax")}
    told = {"network": network.to_dict(), "training": asdict(training), "libraries": libraries, "devices": devices}
    digest = hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16)
    of_entities = (panel.clock, panel.static, *((panel.unconfirmed,) if panel.unconfirmed.any() else ()))
    for array in (panel.values, panel.observed, panel.calendar, panel.newcomer, panel.part, panel.incident, *of_entities):
        digest.update(np.ascontiguousarray(array).data)
    for name in sorted(start):
        digest.update(np.ascontiguousarray(start[name]).data)
    return digest.hexdigest()
