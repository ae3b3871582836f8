"""A release: weights, scales, thresholds, contract and manifest in one immutable directory named by what it holds.

    <folder>/<id>/weights.safetensors   the network's arrays, float32
                  scales.parquet        SCALES
                  thresholds.parquet    THRESHOLDS
                  views.safetensors     `serving.views`; releases that are older than this file lack it
                  contract.json         the contract it was trained for
                  suites.json           what was asked of its telemetry; releases that are older than this file lack it
                  manifest.json         network and training configuration, data, metrics, versions; SHA-256 of all others

The id is the first 16 hex digits of the SHA-256 over the manifest without `id`, `seal` and `created_at`. As the manifest holds the hashes
of the other files, equal content has an equal id, whenever it was made, and any other content has another. `seal` is the SHA-256 over the
whole manifest without itself: it covers `created_at` too. Nothing is pickled, and nothing is read before its hash was verified.
"""

import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from serving.views import Views
from telemetry.errors import ReleaseError
from telemetry.schema import ENTITY, LEAD, PARAMETER, SCALES, TARGET, THRESHOLDS, conform

WEIGHTS: Final = "weights.safetensors"
SCALES_FILE: Final = "scales.parquet"
THRESHOLDS_FILE: Final = "thresholds.parquet"
CONTRACT: Final = "contract.json"
MANIFEST: Final = "manifest.json"
VIEWS_FILE: Final = "views.safetensors"
SUITES: Final = "suites.json"
CONTENT: Final = (WEIGHTS, SCALES_FILE, THRESHOLDS_FILE, CONTRACT)
"""What every release holds."""
OPTIONAL: Final = (SUITES, VIEWS_FILE)
CREATED_AT: Final = "created_at"
IDENTIFIER: Final = re.compile(r"[0-9a-f]{16}")

Json = dict[str, Any]  # Any: a JSON document, told by whoever composes the release
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release in memory; made by `compose` or `load` only, so that `id` tells its content.

    Attributes:
        id: 16 hex digits.
        weights: arrays by name.
        network: configuration that the weights fit.
        scales: SCALES.
        thresholds: THRESHOLDS.
        contract: the contract as a JSON document.
        suites: the expectations by which its telemetry was checked, as a JSON document; None where it is older than this record.
        views: of the entities as wholes; None where it is older than they are.
        manifest: facts about how it came about, as a JSON document.
        created_at: UTC; no part of the id.
        files: content of the directory by name, manifest included.
    """

    id: str
    weights: Weights
    network: Json
    scales: pl.DataFrame
    thresholds: pl.DataFrame
    contract: Json
    suites: Json | None
    views: Views | None
    manifest: Json
    created_at: datetime
    files: Mapping[str, bytes]


def compose(
    *,
    weights: Weights,
    network: Json,
    scales: pl.DataFrame,
    thresholds: pl.DataFrame,
    contract: Json,
    manifest: Json,
    created_at: datetime,
    suites: Json | None = None,
    views: Views | None = None,
) -> Release:
    """The release of this content.

    Args:
        weights: float32 arrays, all finite.
        network: configuration that the weights fit.
        scales: SCALES.
        thresholds: THRESHOLDS.
        contract: the contract as a JSON document.
        manifest: facts: training configuration, digest of the contract, fingerprint of the data, metrics, versions of the libraries.
            What differs from run to run without meaning (durations, host names) would give equal content different ids.
        created_at: UTC.
        suites: the expectations by which its telemetry was checked, as a JSON document.
        views: of the entities as wholes.

    Raises:
        ReleaseError: weights are not float32 or not finite.
        SchemaError: a frame is not what it should be.
    """
    _refuse_unusable(weights)
    scales = conform(scales, SCALES, name="scales").sort(ENTITY, PARAMETER)
    thresholds = conform(thresholds, THRESHOLDS, name="thresholds").sort(ENTITY, TARGET, LEAD)
    files = {
        WEIGHTS: _safetensors(weights),
        SCALES_FILE: _parquet(scales),
        THRESHOLDS_FILE: _parquet(thresholds),
        CONTRACT: json.dumps(contract, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n",  # its parameters' order counts
    }
    if suites is not None:
        files[SUITES] = _json(suites)
    if views is not None:
        files[VIEWS_FILE] = views.to_bytes()
    core = {"facts": manifest, "network": network, "files": {name: _sha256(content) for name, content in files.items()}}
    identifier = _identify(core)
    whole = {**core, "id": identifier, CREATED_AT: created_at.isoformat()}
    files[MANIFEST] = _json({**whole, "seal": _sha256(_json(whole))})
    return Release(
        id=identifier,
        weights=weights,
        network=network,
        scales=scales,
        thresholds=thresholds,
        contract=contract,
        suites=suites,
        views=views,
        manifest=manifest,
        created_at=created_at,
        files=files,
    )


def write(release: Release, *, folder: Path) -> Path:
    """The directory of `release` in `folder`, written if it is not there yet.

    It appears under its name only when all of it is on the disk; a process killed before leaves a directory that nobody looks at.

    Raises:
        ReleaseError: a directory of that name is there and is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / release.id
    if place.exists():
        load(release.id, folder=folder)
        return place
    draft = Path(tempfile.mkdtemp(prefix=f".{release.id}-", dir=folder))
    try:
        for name, content in release.files.items():
            _write(draft / name, content)
        _sync(draft)
        _move(draft, place)
        _sync(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place


def load(identifier: str, *, folder: Path) -> Release:
    """The release `identifier` in `folder`, every byte of it verified.

    Raises:
        ReleaseError: it is not there, lacks a file, has one too many, or anything in it was altered.
    """
    place = folder / identifier
    if not IDENTIFIER.fullmatch(identifier) or place.is_symlink() or not place.is_dir():
        there = sorted(entry.name for entry in folder.iterdir() if IDENTIFIER.fullmatch(entry.name)) if folder.is_dir() else []
        raise ReleaseError(f"There is no release {identifier!r} in {folder}; there are: {', '.join(there) or 'none'}.")
    files = _read(place)
    manifest = _verified(files, place=place)
    try:
        return Release(
            id=place.name,
            weights=_arrays(files[WEIGHTS]),
            network=manifest["network"],
            scales=conform(pl.read_parquet(io.BytesIO(files[SCALES_FILE])), SCALES, name="scales"),
            thresholds=conform(pl.read_parquet(io.BytesIO(files[THRESHOLDS_FILE])), THRESHOLDS, name="thresholds"),
            contract=json.loads(files[CONTRACT]),
            suites=json.loads(files[SUITES]) if SUITES in files else None,
            views=Views.from_bytes(files[VIEWS_FILE]) if VIEWS_FILE in files else None,
            manifest=manifest["facts"],
            created_at=datetime.fromisoformat(manifest[CREATED_AT]),
            files=files,
        )
    except (SafetensorError, pl.exceptions.PolarsError, ValueError) as error:
        raise _damaged(place, f"it cannot be read: {error}") from error


def same_bytes(release: Release, *, folder: Path) -> bool:
    """Whether what is written in `folder` is `release`, byte for byte, and composes to the same id again."""
    there = load(release.id, folder=folder)
    again = compose(
        weights=there.weights,
        network=there.network,
        scales=there.scales,
        thresholds=there.thresholds,
        contract=there.contract,
        manifest=there.manifest,
        created_at=there.created_at,
        suites=there.suites,
        views=there.views,
    )
    content = {name: told for name, told in release.files.items() if name != MANIFEST}
    return again.id == release.id and all(there.files[name] == again.files[name] == told for name, told in content.items())


def save_weights(weights: Weights, *, path: Path) -> None:
    """Arrays in a safetensors file, for the way from training to release."""
    path.write_bytes(_safetensors(weights))


def load_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays that `save_weights` wrote.

    Raises:
        ReleaseError: the file is missing or holds no such arrays.
    """
    try:
        return _arrays(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise ReleaseError(f"{path} holds no weights: {error}.", hint="train again: tidewatch retrain.") from error


def _safetensors(weights: Weights) -> bytes:
    return bytes(save_safetensors({name: np.ascontiguousarray(weights[name]) for name in sorted(weights)}))


def _arrays(content: bytes) -> dict[str, NDArray[np.float32]]:
    return dict(load_safetensors(content))


def _refuse_unusable(weights: Weights) -> None:
    wrong = [f"{name} is {array.dtype}" for name, array in weights.items() if array.dtype != np.float32]
    wrong += [f"{name} is not finite" for name, array in weights.items() if not np.isfinite(array).all()]
    if wrong or not weights:
        told = "; ".join(wrong) or "there are none"
        raise ReleaseError(f"These weights make no release: {told}; expected finite float32 arrays.", hint="see the training's log.")


def _identify(core: Json) -> str:
    return _sha256(_json(core))[:16]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(document: Json) -> bytes:
    """One document, one text: sorted keys, no number that is none."""
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.rechunk().write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """The folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move(draft: Path, place: Path) -> None:
    """`draft` under its name; if another writer of the same content was faster, its directory is as good."""
    draft.chmod(0o755)
    try:
        draft.rename(place)
    except OSError:
        if not place.exists():
            raise
        load(place.name, folder=place.parent)


def _read(place: Path) -> dict[str, bytes]:
    """All files of a release, no more and no fewer; whether the optional ones belong to it is for the manifest to say."""
    found = {entry.name: entry for entry in place.iterdir()}
    expected = {*CONTENT, MANIFEST} | (set(OPTIONAL) & set(found))
    _as_listed(set(found), expected=expected, place=place)
    strange = sorted(name for name, entry in found.items() if entry.is_symlink() or not entry.is_file())
    if strange:
        raise _damaged(place, f"not plain files: {', '.join(strange)}")
    return {name: found[name].read_bytes() for name in sorted(expected)}


def _as_listed(found: set[str], *, expected: set[str], place: Path) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    told = [f"missing: {', '.join(missing)}"] * bool(missing) + [f"unknown: {', '.join(extra)}"] * bool(extra)
    if told:
        raise _damaged(place, "; ".join(told))


def _verified(files: Mapping[str, bytes], *, place: Path) -> Json:
    """The manifest, after it, its id and the hash of every file were verified."""
    try:
        manifest = json.loads(files[MANIFEST])
        whole = {key: value for key, value in manifest.items() if key != "seal"}
        core = {key: whole[key] for key in ("facts", "network", "files")}
        told = {**core, "id": whole["id"], CREATED_AT: whole[CREATED_AT], "seal": _sha256(_json(whole))}
        intact = _json(told) == files[MANIFEST] and whole["id"] == _identify(core) == place.name
        hashes = {name: core["files"][name] for name in {*CONTENT, *core["files"]}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(place, f"{MANIFEST} is no manifest") from error
    if not intact:
        raise _damaged(place, f"{MANIFEST} was altered")
    _as_listed(set(files) - {MANIFEST}, expected=set(hashes), place=place)
    altered = sorted(name for name, sha256 in hashes.items() if _sha256(files[name]) != sha256)
    if altered:
        raise _damaged(place, f"altered: {', '.join(altered)}")
    return dict(manifest)


def _damaged(place: Path, what: str) -> ReleaseError:
    hint = "roll back to another release: tidewatch rollback; a release is never repaired in place."
    return ReleaseError(f"The release {place.name} in {place.parent} is damaged: {what}.", hint=hint)
