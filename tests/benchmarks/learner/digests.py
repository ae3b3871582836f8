"""Whether two networks have the same weights, to the byte."""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def digest(weights: Mapping[str, NDArray[np.float32]]) -> str:
    """Hexadecimal digest of the weights' names, shapes and bytes.

    >>> zeros, ones = np.zeros(2, np.float32), np.ones(2, np.float32)
    >>> digest({"a": ones, "b": zeros}) == digest({"b": zeros, "a": ones}), digest({"a": ones}) == digest({"a": zeros})
    (True, False)
    """
    told = hashlib.blake2b(digest_size=16)
    for name in sorted(weights):
        told.update(f"{name} {weights[name].shape} ".encode())
        told.update(np.ascontiguousarray(weights[name]).data)
    return told.hexdigest()
