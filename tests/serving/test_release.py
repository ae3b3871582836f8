"""A release is what its name says, or it is refused."""

import pickle
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from serving.release import CONTENT, Release, compose, load, load_weights, same_bytes, save_weights, write
from telemetry.errors import ReleaseError, SchemaError
from telemetry.schema import SCALES, THRESHOLDS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONTENTS: dict[str, Any] = {
    "weights": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3, dtype=np.float32)},
    "network": {"hidden": [64, 64], "leads": [1]},
    "scales": pl.DataFrame([("b", "p", 1.0, 2.0, 9), ("a", "p", 3.0, 4.0, 9)], schema=SCALES, orient="row"),
    "thresholds": pl.DataFrame([("a", "p", 1, 0.5, 4.0, 9)], schema=THRESHOLDS, orient="row"),
    "contract": {"name": "fleet", "digest": "0123456789abcdef"},
    "manifest": {"training": {"seed": 0}, "metrics": {"accuracy": 0.99}, "description": "Überwachung"},
    "created_at": NOW,
}
OTHERS: dict[str, Any] = {
    "weights": {"kernel": np.ones((2, 3), dtype=np.float32), "bias": np.zeros(3, dtype=np.float32)},
    "network": {"hidden": [64], "leads": [1]},
    "scales": CONTENTS["scales"].with_columns(mean=pl.col("mean") * 1.0000001),
    "thresholds": CONTENTS["thresholds"].with_columns(threshold=pl.lit(4.5)),
    "contract": {"name": "fleet", "digest": "f123456789abcdef"},
    "manifest": {"training": {"seed": 1}, "metrics": {"accuracy": 0.99}, "description": "Überwachung"},
}


def make_release(**changes: Any) -> Release:
    return compose(**CONTENTS | changes)


def test_what_is_written_is_what_is_loaded(tmp_path: Path) -> None:
    release = make_release()
    place = write(release, folder=tmp_path)
    found = load(release.id, folder=tmp_path)
    assert place == tmp_path / release.id
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [release.id]
    assert {name: array.tolist() for name, array in found.weights.items()} == {n: a.tolist() for n, a in CONTENTS["weights"].items()}
    assert found.scales.equals(CONTENTS["scales"].sort("entity"))
    assert found.thresholds.equals(CONTENTS["thresholds"])
    assert (found.network, found.contract, found.manifest) == (CONTENTS["network"], CONTENTS["contract"], CONTENTS["manifest"])
    assert (found.created_at, found.files) == (NOW, release.files)
    assert same_bytes(release, folder=tmp_path)


def test_the_order_of_a_contracts_parameters_survives(tmp_path: Path) -> None:
    release = make_release(contract={"parameters": {"b": {}, "a": {}}})
    write(release, folder=tmp_path)
    assert list(load(release.id, folder=tmp_path).contract["parameters"]) == ["b", "a"]


def test_equal_content_has_an_equal_id_whenever_and_in_whatever_order_it_is_composed() -> None:
    release = make_release()
    again = make_release(
        created_at=datetime(2027, 1, 1, tzinfo=UTC),
        weights=dict(reversed(CONTENTS["weights"].items())),
        scales=CONTENTS["scales"].reverse(),
        network=dict(reversed(CONTENTS["network"].items())),
    )
    assert again.id == release.id
    assert {name: again.files[name] == release.files[name] for name in CONTENT} == dict.fromkeys(CONTENT, True)


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_other_content_has_another_id(what: str) -> None:
    assert make_release(**{what: OTHERS[what]}).id != make_release().id


def test_writing_it_again_changes_nothing(tmp_path: Path) -> None:
    first = write(make_release(), folder=tmp_path)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in first.iterdir()}
    assert write(make_release(created_at=datetime(2027, 1, 1, tzinfo=UTC)), folder=tmp_path) == first
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in first.iterdir()} == before
    assert same_bytes(make_release(created_at=datetime(2027, 1, 1, tzinfo=UTC)), folder=tmp_path)


@pytest.mark.parametrize("name", [*CONTENT, "manifest.json"])
@pytest.mark.parametrize("where", [0, 0.3, 0.6, -1])
def test_a_single_altered_bit_anywhere_is_refused(tmp_path: Path, name: str, where: float) -> None:
    place = write(make_release(), folder=tmp_path)
    content = bytearray((place / name).read_bytes())
    content[-1 if where == -1 else int(where * len(content))] ^= 1
    (place / name).write_bytes(content)
    with pytest.raises(ReleaseError, match="is damaged: (altered: " + name + "|manifest.json was altered|manifest.json is no manifest)"):
        load(place.name, folder=tmp_path)


def test_a_date_or_a_space_that_was_changed_in_the_manifest_is_refused(tmp_path: Path) -> None:
    place = write(make_release(), folder=tmp_path)
    told = (place / "manifest.json").read_text(encoding="utf-8")
    for altered in (told.replace("2026-03-01", "2026-04-01"), told + "\n", told.replace("0.99", "0.999")):
        assert altered != told
        (place / "manifest.json").write_text(altered, encoding="utf-8")
        with pytest.raises(ReleaseError, match=r"manifest.json was altered"):
            load(place.name, folder=tmp_path)


def test_a_release_under_another_name_is_refused(tmp_path: Path) -> None:
    write(make_release(), folder=tmp_path).rename(tmp_path / "0123456789abcdef")
    with pytest.raises(ReleaseError, match=r"manifest.json was altered"):
        load("0123456789abcdef", folder=tmp_path)


@pytest.mark.parametrize("name", [*CONTENT, "manifest.json"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    place = write(make_release(), folder=tmp_path)
    (place / name).unlink()
    with pytest.raises(ReleaseError, match=f"damaged: missing: {name}"):
        load(place.name, folder=tmp_path)


def test_a_file_too_many_is_refused_a_pickle_above_all(tmp_path: Path) -> None:
    place = write(make_release(), folder=tmp_path)
    (place / "weights.pkl").write_bytes(pickle.dumps({"kernel": 1}))
    with pytest.raises(ReleaseError, match=r"damaged: unknown: weights.pkl"):
        load(place.name, folder=tmp_path)


def test_a_pickle_in_place_of_the_weights_is_refused(tmp_path: Path) -> None:
    content = make_release().files | {"weights.safetensors": pickle.dumps({"kernel": 1})}
    place = write(replace(make_release(), files=content), folder=tmp_path)
    with pytest.raises(ReleaseError, match=r"altered: weights.safetensors"):
        load(place.name, folder=tmp_path)


def test_links_are_refused(tmp_path: Path) -> None:
    place = write(make_release(), folder=tmp_path / "true")
    (place / "contract.json").rename(tmp_path / "contract.json")
    (place / "contract.json").symlink_to(tmp_path / "contract.json")
    with pytest.raises(ReleaseError, match=r"not plain files: contract.json"):
        load(place.name, folder=tmp_path / "true")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / place.name).symlink_to(place)
    with pytest.raises(ReleaseError, match="There is no release"):
        load(place.name, folder=tmp_path / "linked")


@pytest.mark.parametrize("name", ["../releases", "..", "", "0123456789abcde", "0123456789ABCDEF", "0123456789abcdef\n", "/etc"])
def test_names_that_are_no_ids_are_refused(tmp_path: Path, name: str) -> None:
    write(make_release(), folder=tmp_path / "releases")
    with pytest.raises(ReleaseError, match=f"There is no release .* there are: {make_release().id}"):
        load(name, folder=tmp_path / "releases")


def test_a_damaged_directory_is_not_taken_for_written(tmp_path: Path) -> None:
    place = write(make_release(), folder=tmp_path)
    (place / "scales.parquet").write_bytes(b"")
    with pytest.raises(ReleaseError, match=r"altered: scales.parquet\.\nHint: roll back"):
        write(make_release(), folder=tmp_path)


def test_a_draft_that_a_kill_left_behind_is_nobodys_release(tmp_path: Path) -> None:
    release = make_release()
    draft = tmp_path / f".{release.id}-abc"
    draft.mkdir()
    (draft / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(ReleaseError, match="There is no release"):
        load(release.id, folder=tmp_path)
    assert load(write(release, folder=tmp_path).name, folder=tmp_path).id == release.id


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({}, "there are none"),
        ({"kernel": np.zeros(2)}, "kernel is float64"),
        ({"kernel": np.array([1, np.nan], dtype=np.float32)}, "kernel is not finite"),
    ],
)
def test_weights_that_cannot_serve_make_no_release(weights: dict[str, Any], told: str) -> None:
    with pytest.raises(ReleaseError, match=told):
        make_release(weights=weights)


def test_figures_and_frames_that_are_none_make_no_release() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_release(manifest={"accuracy": float("nan")})
    with pytest.raises(SchemaError, match="'thresholds'"):
        make_release(thresholds=CONTENTS["scales"])


def test_weights_travel_by_themselves(tmp_path: Path) -> None:
    save_weights(CONTENTS["weights"], path=tmp_path / "weights.safetensors")
    assert load_weights(tmp_path / "weights.safetensors")["kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    (tmp_path / "pickled").write_bytes(pickle.dumps(1))
    for name in ("pickled", "missing"):
        with pytest.raises(ReleaseError, match=f"{name} holds no weights"):
            load_weights(tmp_path / name)


SUITES = {"raw": [{"type": "expect_finite_values", "kwargs": {"column": "cpu"}}], "tensors": []}


def test_a_release_holds_the_suites_by_which_its_telemetry_was_checked(tmp_path: Path) -> None:
    with_suites, without = make_release(suites=SUITES), make_release()
    assert with_suites.id != without.id  # other content, another name
    write(with_suites, folder=tmp_path)
    assert load(with_suites.id, folder=tmp_path).suites == SUITES
    assert same_bytes(with_suites, folder=tmp_path)
    write(without, folder=tmp_path)
    assert load(without.id, folder=tmp_path).suites is None


def test_suites_cannot_be_taken_out_of_a_release_nor_put_into_one(tmp_path: Path) -> None:
    with_suites, without = make_release(suites=SUITES), make_release()
    told = write(with_suites, folder=tmp_path) / "suites.json"
    content = told.read_bytes()
    told.write_bytes(content.replace(b"cpu", b"gpu"))
    with pytest.raises(ReleaseError, match=r"altered: suites\.json"):
        load(with_suites.id, folder=tmp_path)
    told.unlink()
    with pytest.raises(ReleaseError, match=r"missing: suites\.json"):
        load(with_suites.id, folder=tmp_path)
    (write(without, folder=tmp_path) / "suites.json").write_bytes(content)
    with pytest.raises(ReleaseError, match=r"unknown: suites\.json"):
        load(without.id, folder=tmp_path)
