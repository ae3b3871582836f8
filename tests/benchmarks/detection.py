"""How well Tidewatch tells anomalous from normal minutes on data that nobody here made, beside PCA, a robust z and a plain LSTM.

    python tests/benchmarks/detection.py [--json] [--data FOLDER] [--sets smd asd ...] [--seeds 5]

FOLDER holds the sets (smd, jumpstarter, asd, smap_msl, ms_cloud, nab), or is itself laid out like smd: folders `train` and `test` with
`machine-<group>-<number>.parquet`. Of each set one model is learned for all of its entities, by its contract and nothing else; every
minute of the judged part is then scored as scoring in production does it, from what came before. Labels of the judged part are read by
the measure alone.

    vus_pr           mean over the entities that have a labelled minute, of the volume under the precision-recall surface (window 100,
                     version 'opt', scores put to 0..1 for each entity), of the score that production ranks by: the joint surprise,
                     which rises at once and is halved every ten steps
    vus_pr_instant   the same of the joint surprise of each minute alone
    vus_pr_lstm      the same of the root mean square of the forecasts' errors over leads and targets, by calibrated sizes: a plain LSTM
    vus_pr_pca       the same of what lies outside of the principal components that hold 0.9 of the variance, fitted on train
    vus_pr_robust_z  the same of the mean over the parameters of |robust z|, by the hour as `models.baselines` has it, fitted on train
    ..._held         a baseline's score kept as the joint surprise is, so that like stands beside like
    nab              score of Numenta's benchmark, profile "standard", at surprise 1, and at the threshold that is best for each (as its own
                     runner chooses it, on what it is judged by)

Each figure is a mean over the seeds, with the least and the greatest. Nothing is demanded but for smd: exits with 1 where its vus_pr is
below 0.52 or below PCA's.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(min(os.cpu_count() or 1, 4)))

import numpy as np  # noqa: E402  (the environment is set first)
import polars as pl  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from flows.parallel_test import forecasts_of, try_out  # noqa: E402
from serving.scorer import INSTANT, held  # noqa: E402
from telemetry import contract as contracts  # noqa: E402
from telemetry.panel import Panel  # noqa: E402
from telemetry.schema import AT, ENTITY, LABEL, SCORE, TIME  # noqa: E402
from tests.benchmarks.judgement import nab, sets  # noqa: E402
from tests.benchmarks.judgement.detectors import pca, plain_lstm, robust_z  # noqa: E402
from tests.benchmarks.judgement.sets import PublicSet  # noqa: E402
from tests.benchmarks.learner import telemetries  # noqa: E402
from tests.benchmarks.learner.telemetries import Prepared, Telemetry  # noqa: E402
from validation.vus import vus_pr  # noqa: E402

ASKED: Final = 0.52
OTHERS: Final = ("lstm", "pca", "robust_z")
FIGURE: Final = "figure"
VALUE: Final = "value"
SEED: Final = "seed"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """A set, ready to be judged, and `entity, at` with the scores of the baselines that no seed changes."""

    public: PublicSet
    telemetry: Telemetry
    made: Prepared
    baselines: pl.DataFrame


def made_ready(public: PublicSet, *, source: Path, folder: Path) -> Judged:
    """Ingested, cut and scaled."""
    contract, read = contracts.load(public.contract), source
    if public.rewrite is not None:
        read = folder / "rewritten"
        read.mkdir(parents=True)
        public.rewrite(source, read)
    telemetry = telemetries.of_source(read, contract=contract, folder=folder)
    cut = sets.parts(telemetry.grid, public=public, source=source, contract=contract)
    made = telemetries.prepared(telemetry, folder=folder / "panel", parts=cut)
    known = {"pca": pca(made.panel), "robust_z": robust_z(made.panel)}
    return Judged(public=public, telemetry=telemetry, made=made, baselines=framed(made.panel, known))


def framed(panel: Panel, scores: dict[str, NDArray[np.float64]]) -> pl.DataFrame:
    """f64[E, T] of each name as columns beside `entity, at`."""
    steps = panel.start_us + np.arange(panel.steps) * panel.cadence_seconds * 1_000_000
    return pl.concat(
        pl.DataFrame({AT: pl.Series(steps).cast(TIME), **{name: told[entity] for name, told in scores.items()}}).select(
            pl.lit(key).alias(ENTITY), pl.all()
        )
        for entity, key in enumerate(panel.entities)
    )


def of_seed(judged: Judged, *, seed: int, folder: Path) -> pl.DataFrame:
    """`entity, figure, value, seed` of one training; the entity is null where a figure is of the whole set."""
    panel, contract = judged.made.panel, judged.telemetry.contract
    training = replace(telemetries.training_of(contract), seed=seed)
    candidate, _ = telemetries.learned(panel, contract=contract, scales=judged.made.scales, training=training)
    ranks = try_out(candidate, panel=panel, contract=contract, into=folder / f"seed{seed}").ranks
    of_lstm = framed(panel, {"lstm": plain_lstm(panel, forecasts_of(candidate, panel=panel))})
    rows = ranks.sort(ENTITY, AT).join(of_lstm, on=[ENTITY, AT]).join(judged.baselines, on=[ENTITY, AT]).sort(ENTITY, AT)
    rows = rows.with_columns(*(held(name).alias(f"{name}_held") for name in OTHERS))
    return pl.DataFrame(
        [*_vus(rows), *(_nab(rows) if judged.public.name == "nab" else ())],
        schema={ENTITY: pl.String, FIGURE: pl.String, VALUE: pl.Float64},
        orient="row",
    ).with_columns(pl.lit(seed).alias(SEED))


def _vus(rows: pl.DataFrame) -> Iterator[tuple[str, str, float]]:
    """Of every entity that has a labelled minute among the judged ones."""
    columns = {"vus_pr": SCORE, "vus_pr_instant": INSTANT} | {
        f"vus_pr_{name}{end}": f"{name}{end}" for name in OTHERS for end in ("", "_held")
    }
    for (name,), own in rows.filter(pl.col(LABEL).any().over(ENTITY)).partition_by(ENTITY, as_dict=True, maintain_order=True).items():
        for figure, column in columns.items():
            score = own[column].to_numpy()
            unit = (score - score.min()) / max(score.max() - score.min(), np.finfo(np.float64).tiny)
            yield str(name), figure, vus_pr(unit, own[LABEL].to_numpy())


def _nab(rows: pl.DataFrame) -> Iterator[tuple[None, str, float]]:
    """Of the whole set."""
    apart = rows.partition_by(ENTITY, maintain_order=True)
    for name, column in {"": INSTANT, "_robust_z": "robust_z"}.items():
        series = [(own[column].to_numpy(), own[LABEL].to_numpy()) for own in apart]
        if not name:
            yield None, "nab_at_1", nab.nab_score(series, threshold=1.0)
        yield None, f"nab_best{name}", nab.nab_score(series, threshold=nab.best_threshold(series))


def record(judged: Judged, *, told: pl.DataFrame, seconds: float) -> dict[str, Any]:  # Any: plain JSON
    """What is printed of a set: each figure as the mean over entities and then seeds, with the least and the greatest seed."""
    of_seed = told.group_by(FIGURE, SEED, maintain_order=True).agg(pl.col(VALUE).mean())
    over = of_seed.group_by(FIGURE, maintain_order=True).agg(
        pl.col(VALUE).mean(), pl.col(VALUE).min().alias("least"), pl.col(VALUE).max().alias("greatest")
    )
    entities = told.filter(pl.col(ENTITY).is_not_null()).group_by(ENTITY, FIGURE, maintain_order=True).agg(pl.col(VALUE).mean())
    per_entity = {
        str(name): {row[FIGURE]: round(row[VALUE], 4) for row in own.iter_rows(named=True)}
        for (name,), own in entities.partition_by(ENTITY, as_dict=True, maintain_order=True).items()
    }
    return {
        **{row[FIGURE]: round(row[VALUE], 4) for row in over.iter_rows(named=True)},
        "spread": {row[FIGURE]: [round(row["least"], 4), round(row["greatest"], 4)] for row in over.iter_rows(named=True)},
        "seeds": sorted(told[SEED].unique().to_list()),
        "entities": per_entity,
        "steps": int(judged.made.panel.steps),
        "seconds": round(seconds, 1),
    }


def table(name: str, told: dict[str, Any]) -> str:  # Any: a record
    """A set for a person."""
    lines = [f"{name}: {len(told['entities'])} labelled entities, {len(told['seeds'])} seeds, {told['seconds']:.0f} s"]
    for figure, (least, greatest) in told["spread"].items():
        lines.append(f"  {figure:22} {told[figure]:8.4f}   [{least:.4f}, {greatest:.4f}]")
    return "\n".join(lines)


def chosen(data: Path, *, names: list[str]) -> list[tuple[PublicSet, Path]]:
    """The sets that are there, and where; a folder that is itself laid out like smd is that one set."""
    if (data / "train").is_dir() and (data / "test").is_dir():
        return [(sets.SETS[0], data)]
    there = [(each, data / each.folder) for each in sets.SETS if not names or each.name in names]
    return [(each, place) for each, place in there if place.is_dir()]


def main() -> int:
    """Print what was measured of every set."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--json", action="store_true", help="print one line of JSON")
    arguments.add_argument("--data", type=Path, default=Path(os.environ.get("TIDEWATCH_DATA", ROOT.parent / "shared" / "data")))
    arguments.add_argument("--sets", nargs="*", default=[], choices=[each.name for each in sets.SETS], metavar="SET")
    arguments.add_argument("--seeds", type=int, default=5)
    asked = arguments.parse_args()
    found = chosen(asked.data, names=asked.sets)
    if not found:
        print(f"There are no public sets at {asked.data}; TIDEWATCH_DATA names their folder.", file=sys.stderr)
        return 0
    records: dict[str, Any] = {}  # Any: plain JSON
    for public, source in found:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="tidewatch-detection-") as folder:
            judged = made_ready(public, source=source, folder=Path(folder))
            told = pl.concat([of_seed(judged, seed=seed, folder=Path(folder)) for seed in range(asked.seeds)])
            records[public.name] = record(judged, told=told, seconds=time.perf_counter() - began)
        print(table(public.name, records[public.name]), file=sys.stderr if asked.json else sys.stdout, flush=True)
    if asked.json:
        print(json.dumps({"sets": records}))
    smd = records.get("smd")
    return 0 if smd is None or (smd["vus_pr"] >= ASKED and smd["vus_pr"] > smd["vus_pr_pca"]) else 1


if __name__ == "__main__":
    sys.exit(main())
