"""With which weights a training begins: untrained ones, or the champion's where they fit and have seen nothing that comes later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from flows.lakes import lake_of
from flows.settings import Settings
from serving import ledger
from serving.release import Release, load
from telemetry import calendars
from telemetry import contract as contracts
from telemetry.attributes import attribute
from telemetry.contract import Contract
from telemetry.errors import ReleaseError
from telemetry.panel import Panel
from telemetry.schema import ENTITIES

if TYPE_CHECKING:
    from models.config import Network

CHAMPION: Final = "champion"
CORRECTION: Final = "correction"
"""The one array that has a row for each entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a training begins with.

    Attributes:
        release: whose weights; None for untrained ones.
        weights: of that release, with the rows of the panel's entities.
        why: why not those of the champion, where these were asked for.
    """

    release: str | None = None
    weights: dict[str, NDArray[np.float32]] | None = None
    why: str | None = None


def start_of(how: str, *, panel: Panel, network: "Network", contract: Contract, parts: pl.DataFrame, settings: Settings) -> Start:
    """The start that is asked for, or a fresh one with the reason why it cannot be had.

    The champion's weights must have learned, and must have been chosen by, nothing that the new training is held against: neither may
    reach beyond the new train_end or into the new test part.

    Args:
        how: `fresh` or `champion`.
        panel: that will be learned from.
        network: that will be trained on it.
        contract: as it is declared now.
        parts: of this run, from `telemetry.windows.cuts`.
        settings: where lake and releases are.
    """
    if how != CHAMPION:
        return Start()
    lake = lake_of(contract, settings=settings)
    standing = ledger.champion(lake)
    if standing is None:
        return Start(why="no release is in force")
    try:
        release = load(standing.release, folder=settings.releases_folder)
        learned = contracts.parse(release.contract, path=f"of release {release.id}")
    except ReleaseError as error:
        return Start(why=f"{standing.release} cannot be read: {error.message}")
    cohorts = lake.read("entities", schema=ENTITIES).collect()
    why = (
        _seen_too_much(release, parts=parts)
        or _unlike_parameters(learned, panel=panel)
        or _unlike_networks(release, network=network)
        or _unlike_attributes(release, learned=learned, panel=panel, entities=cohorts)
    )
    if why:
        return Start(why=f"{release.id} {why}")
    weights = carried_over(release.weights, known=release.manifest["entities"], entities=panel.entities)
    return Start(release=release.id, weights=weights)


def carried_over(
    weights: Mapping[str, NDArray[np.float32]], *, known: Sequence[str], entities: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """The weights for other entities: each keeps its own correction, and one that was not known gets zeros, which is the shared prior.

    >>> told = carried_over({"correction": np.array([[1.0], [2.0]], dtype=np.float32)}, known=["a", "b"], entities=["b", "c"])
    >>> told["correction"].tolist()
    [[2.0], [0.0]]
    """
    rows = {name: row for row, name in enumerate(known)}
    before = weights[CORRECTION]
    correction = np.zeros((len(entities), before.shape[1]), dtype=np.float32)
    for row, name in enumerate(entities):
        if name in rows:
            correction[row] = before[rows[name]]
    return {**weights, CORRECTION: correction}


def _seen_too_much(release: Release, *, parts: pl.DataFrame) -> str | None:
    """Where entities have spans of their own, the earliest end counts: the release tells only the latest of all."""
    told = release.manifest.get("learned_until"), release.manifest.get("chosen_until") or release.manifest.get("calibrated_until")
    if not all(told):
        return "does not tell until when it has learned"
    learned, chosen = (_instant(each) for each in told)
    train_end, test_start = (_instant(parts[name].min()) for name in ("train_end", "test_start"))
    if learned > train_end:
        return f"learned until {learned:%Y-%m-%d %H:%M}, later than the new training's end at {train_end:%Y-%m-%d %H:%M}"
    if chosen > test_start:
        return f"was chosen by what came until {chosen:%Y-%m-%d %H:%M}, into the new test that begins at {test_start:%Y-%m-%d %H:%M}"
    return None


def _instant(told: object) -> datetime:
    at = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _unlike_parameters(learned: Contract, *, panel: Panel) -> str | None:
    """The rows of the first kernel, and the columns of the last, have no names but the parameters' order."""
    if learned.names == panel.parameters:
        return None
    if set(learned.names) == set(panel.parameters):
        return "has learned the same parameters in another order"
    gone, new = (sorted(names) for names in (set(learned.names) - set(panel.parameters), set(panel.parameters) - set(learned.names)))
    told = [f"it alone has {', '.join(gone)}"] * bool(gone) + [f"it lacks {', '.join(new)}"] * bool(new)
    return f"has learned other parameters: {'; '.join(told)}"


def _unlike_networks(release: Release, *, network: "Network") -> str | None:
    from models.config import Network

    before = replace(Network.from_dict(release.network), entities=network.entities)
    theirs, ours = ({**each.to_dict(), "cells": [str(cell) for cell, _ in each.layers]} for each in (before, network))  # told or by default
    differing = [f"{name} {theirs[name]}, now {ours[name]}" for name in ours if theirs[name] != ours[name]]
    return f"is another network: {'; '.join(differing)}" if differing else None


def _unlike_attributes(release: Release, *, learned: Contract, panel: Panel, entities: pl.DataFrame) -> str | None:
    """Which attributes there are is taken from the entities that were seen, so the same contract may come to others."""
    if not panel.attributes:
        return None
    names = tuple(release.manifest["entities"])
    before = attribute(names, contract=learned, scales=release.scales, cohorts=calendars.cohorts_of(entities)).names
    return None if before == panel.attributes else f"knows other attributes: {', '.join(before)}, now {', '.join(panel.attributes)}"
