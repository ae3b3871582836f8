"""A panel that is larger than the devices' memory: windows are cut out of it on the host, some batches at a time.

While the devices work on one chunk the host cuts the next one: it is given to them before the first is done.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from models import epochs
from models.config import Network
from models.devices import AXIS
from models.epochs import OF_SEEN, Chunk, Cut, Record, Seen, State
from models.sampling import Windows
from telemetry.panel import Panel, Part

CHUNK_BYTES = 64 * 2**20
"""Of the values that are on their way to the devices at a time; two such chunks are there at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A panel on the host, and how it is learned from.

    Attributes:
        panel: may be mapped from disk.
        network: whose leads tell how far beyond its end a window is cut.
        cut: of the training.
        mesh: of the devices that share a batch.
    """

    panel: Panel
    network: Network
    cut: Cut
    mesh: Mesh

    def epoch(self, state: State, windows: Windows, rates: NDArray[np.float32], held_out: Windows) -> tuple[State, Record]:
        """One pass over windows at rates f32[batches], then the validation; the same as `epochs.epoch` of data on the devices."""
        how = {"network": self.network, "cut": self.cut, "mesh": self.mesh}
        told = []
        for batches, chunk in self._chunks(windows):
            state, of_chunk = epochs.advance(state, chunk, rates[batches], **how)
            told.append(of_chunk)
        sums = [epochs.validated(state.weights, chunk, **how) for _, chunk in self._chunks(held_out)]
        joined = jax.tree.map(lambda *parts: np.concatenate(parts), *told)
        total, count = (sum(parts[1:], start=parts[0]) for parts in zip(*sums, strict=True))
        after: tuple[State, Record] = epochs.settled(state, joined, total, count)
        return after

    def _chunks(self, windows: Windows) -> Iterator[tuple[slice, Chunk]]:
        """Batches cut out of the panel, on the devices; all chunks are of one size but for the last."""
        step = max(1, CHUNK_BYTES // self._batch_bytes(windows.rows.shape[1]))
        of_batches = NamedSharding(self.mesh, P(None, AXIS))
        of_seen = Seen(*(NamedSharding(self.mesh, cut) for cut in OF_SEEN))  # type: ignore[arg-type]  # how each field is cut
        for first in range(0, windows.rows.shape[0], step):
            batches = slice(first, first + step)
            chosen = Windows(rows=windows.rows[batches], gain=windows.gain[batches], shift=windows.shift[batches])
            yield batches, (jax.device_put(self._seen(chosen), of_seen), jax.device_put(chosen, of_batches))

    def _batch_bytes(self, batch: int) -> int:
        length = self.cut.time_steps + max(self.network.leads)
        return batch * length * len(self.panel.parameters) * 5

    def _seen(self, windows: Windows) -> Seen:
        """What windows hold; all that may not be looked at is 'not observed', and nothing is after the panel's end."""
        panel = self.panel
        entity, start = windows.rows[:, None, :, 0], windows.rows[:, None, :, 1]
        at = start + np.arange(self.cut.time_steps + max(self.network.leads))[None, :, None]
        inside = at < panel.steps
        at = np.minimum(at, panel.steps - 1)
        mature = inside & ~(panel.newcomer[entity, at] | panel.incident[entity, at] | panel.unconfirmed[entity, at])
        missing = ~(panel.observed[entity, at] & mature[..., None])
        told: tuple[Any, ...] = (  # Any: NumPy's arrays, on their way to the devices
            np.where(missing, np.float32(0), panel.values[entity, at]),
            missing,
            np.where(mature, panel.part[entity, at], np.uint8(Part.ABSENT)),
            np.where(inside[..., None], panel.calendar[panel.clock[entity], at], np.float32(0)),
            panel.static[windows.rows[..., 0]],
        )
        return Seen(*told)
