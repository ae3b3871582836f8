"""Several devices as one: which of them share a batch.

A CPU may pass for several, one a core (JAX_NUM_CPU_DEVICES). The steps of a recurrence are too small for XLA to cut up, so that of two
cores one would idle; as two devices both work.
"""

from collections.abc import Sequence
from typing import Final

import jax
import numpy as np
from jax.sharding import Mesh

AXIS: Final = "windows"
"""The axis of a mesh along which a batch is cut."""
COMPILER: Final[dict[str, bool | int | float | str]] = {"xla_cpu_prefer_vector_width": 512}
"""How programs are compiled. XLA keeps to 256 bits on CPUs that have 512, by which a forecast takes 13 % longer; others ignore it."""


def mesh_of(devices: Sequence[jax.Device] | None, *, batch: int) -> Mesh:
    """The devices (by default all that are local) that share a batch: as many as divide it evenly."""
    every = list(jax.local_devices() if devices is None else devices)
    count = max(count for count in range(1, len(every) + 1) if batch % count == 0)
    return Mesh(np.array(every[:count]), (AXIS,))
