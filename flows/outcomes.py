"""What each training of a sweep came to, kept from the moment that it is known: a sweep that was killed and is asked again goes on.

One file a panel, `<home>/sweeps/<digest>.jsonl`, and in it one line a training. A training is known again by all that decides what it
comes to: the telemetry, the network, its settings with the seed, the libraries, and the kind of device, which decides the seconds.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.config import Network, Training
from telemetry.panel import Panel, Part

LIBRARIES: Final = ("jax", "jaxlib", "optax", "flax")
IDENTITY: Final = "identity"


def without_test(panel: Panel) -> Panel:
    """The panel as a sweep may see it: what comes after all that it may look at is cut off, the rest of TEST is not observed.

    Where TEST is the end of a common time line, as it is by default, nothing is copied.
    """
    looked_at = np.isin(panel.part, (Part.TRAIN, Part.CALIBRATE))
    stop = int(np.flatnonzero(looked_at.any(axis=0)).max(initial=-1)) + 1
    test = panel.part[:, :stop] == Part.TEST
    values, observed, part = panel.values[:, :stop], panel.observed[:, :stop], panel.part[:, :stop]
    if test.any():
        values = np.where(test[..., None], np.float32(0), values)
        observed = observed & ~test[..., None]
        part = np.where(test, np.uint8(Part.ABSENT), part)
    return replace(
        panel,
        values=values,
        observed=observed,
        calendar=panel.calendar[..., :stop, :],
        newcomer=panel.newcomer[:, :stop],
        part=part,
        incident=panel.incident[:, :stop],
        unconfirmed=panel.unconfirmed[:, :stop],
    )


def digest_of(panel: Panel) -> str:
    """Hexadecimal digest of all that a panel holds, one part of an array after the other, so that a mapped panel stays on disk."""
    digest = hashlib.blake2b(digest_size=16)
    for field in fields(panel):
        told = getattr(panel, field.name)
        array = told if isinstance(told, np.ndarray) else np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
        digest.update(f"{field.name} {array.dtype} {array.shape}".encode())
        for part in array:
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()


def identity(network: Network, *, training: Training, device: str) -> str:
    """Hexadecimal digest of all that decides what a training over a panel comes to, but for the panel. `device`: its kind."""
    libraries = {name: version(name) for name in LIBRARIES}
    told = {"network": network.to_dict(), "training": asdict(training), "libraries": libraries, "device": device}
    return hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16).hexdigest()


class Outcomes:
    """The trainings over one panel that are over, by their identity; files beyond the newest `keep` panels are removed."""

    def __init__(self, folder: Path, *, panel: str, keep: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{panel}.jsonl"
        for old in sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)[keep:]:
            old.unlink(missing_ok=True)

    def known(self) -> dict[str, dict[str, Any]]:  # Any: plain JSON
        """What is kept; a line that a kill has cut off is none."""
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        told = [record for line in lines if (record := _record(line)) is not None]
        return {record.pop(IDENTITY): record for record in told}

    def keep(self, outcome: Mapping[str, Any], *, identity: str) -> None:  # Any: plain JSON
        """Keep one, at once and whole: it is on its way to the disk when this returns."""
        append(self._path, {IDENTITY: identity, **outcome})


def append(path: Path, record: Mapping[str, Any]) -> None:  # Any: plain JSON
    """One more line, on a line of its own even where the last one was cut off."""
    line = json.dumps(record).encode() + b"\n"
    with path.open("a+b", buffering=0) as file:
        end = file.seek(0, 2)
        file.seek(max(end - 1, 0))
        file.write(line if file.read(1) in (b"", b"\n") else b"\n" + line)


def _record(line: str) -> dict[str, Any] | None:  # Any: plain JSON
    try:
        told = json.loads(line)
    except json.JSONDecodeError:
        return None
    return told if isinstance(told, dict) and IDENTITY in told else None


def together(missing: Sequence[tuple[str, int]]) -> list[tuple[list[str], list[int]]]:
    """Trainings (design, seed), sorted by design, as products of designs and seeds, neighbours with the same seeds as one.

    >>> together([("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 1)])
    [(['a', 'b'], [0, 1]), (['c'], [1])]
    """
    seeds = [(name, tuple(seed for _, seed in pairs)) for name, pairs in groupby(missing, key=lambda pair: pair[0])]
    return [([name for name, _ in of], list(told)) for told, of in groupby(seeds, key=lambda each: each[1])]
