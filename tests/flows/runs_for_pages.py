"""Runs as they end, with the exhibits that a page is made of: synthetic, small, the same every time."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from flows.exhibits import path_of
from flows.runs import Run, Stage

START: Final = datetime(2026, 2, 18, tzinfo=UTC)
TARGETS: Final = ("reporting_devices", "queries", "failed_queries", "query_time", "positions")
HELD: Final = (
    "The release is held and the champion stays: 2 of 7 bars are not passed.",
    "Accuracy, lower 95 % bound: 71.92 %, needed at least 98.50 %.",
    "Skill over repeating the last value: -0.3120, needed above 0.0000.",
)
STOPPED: Final = "retrain stopped at the check: The data failed 2 of its checks:"
BECAUSE: Final = "reporting_devices 38 %, query_time 26 %, queries 14 %"
NASTY: Final = "<script>alert(1)</script>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that came to its end, and its summary."""

    run: Run
    summary: dict[str, Any]


def leave(run: Run, **frames: pl.DataFrame) -> None:
    """Put exhibits into the folder of a run."""
    for name, frame in frames.items():
        path = path_of(run.folder, name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(path)


def new_run(folder: Path, *, flow: str = "retrain", stages: tuple[Stage, ...] = ()) -> Run:
    """A run in a folder of its own."""
    home = folder / "20260302-034107-a1b2c3"
    home.mkdir(parents=True)
    return Run(flow=flow, folder=home, started_at=datetime(2026, 3, 2, 3, 41, 7, tzinfo=UTC), stages=list(stages))


def promoted(folder: Path, *, entities: int = 24) -> Ended:
    """A retrain whose release passed the gate."""
    run = new_run(folder, stages=STAGES)
    names = [f"{customer}/{region}" for customer in CUSTOMERS for region in ("eu", "us")]
    names = (names + [f"customer-{index:03}/eu" for index in range(entities)])[:entities]
    leave(
        run,
        bars=bars(passed=True),
        by_entity=accuracies(entity=names),
        by_target=accuracies(target=list(TARGETS)),
        by_entity_target=accuracies(entity=[name for name in names for _ in TARGETS], target=list(TARGETS) * len(names)),
        excerpts=excerpts(),
        history=history(),
        incidents=incidents(),
        labels=labels(),
    )
    summary = {
        "flow": "retrain",
        "contract": "fleet",
        "verdict": "promoted",
        "sentence": "Release 5f0c2ad1e9b7 passed the gate and is in force.",
        "accuracy": 0.98873,
        "accuracy_lower": 0.98612,
        "accuracy_bar": 0.985,
        "accuracy_persistence": 0.93712,
        "accuracy_oracle": 0.99161,
        "skill": 0.2712,
        "rows": 2_073_600,
        "entities": entities,
        "rows_quarantined": 12,
        "incidents_labelled": 10,
        "incidents_found": 9,
        "false_incidents": 2,
        "minutes_to_detect": 4.0,
        "vus_pr": 0.442,
        "vus_pr_pca": 0.424,
        "release": "5f0c2ad1e9b7d4418c3a9f20",
        "champion": "0b9dd4e8fa334dc2b1ae7c11",
        "lake_version": 61,
        "contract_digest": "a94be3c1d2f07788",
        "expectations": 126,
        "findings": [finding(severity="warn")],
        "training": {
            "epochs": 20,
            "best_epoch": 17,
            "loss": 0.2154,
            "validation_loss": 0.2187,
            "seconds": 124.3,
            "device": "cpu",
            "compiles": 1,
        },
        "versions": {"jax": "0.10.2", "flax": "0.12.8", "polars": "2.1.0", "prefect": "3.8.8"},
    }
    return _ended(run, summary)


def held(folder: Path) -> Ended:
    """A retrain whose release did not pass."""
    ended = promoted(folder)
    leave(ended.run, bars=bars(passed=False))
    return _ended(
        ended.run,
        ended.summary
        | {
            "verdict": "held",
            "sentence": "\n  - ".join(HELD),
            "hint": "compare the loss curves with those of the champion's run, or retrain with more epochs.",
            "accuracy": 0.7204,
            "accuracy_lower": 0.7192,
            "skill": -0.312,
            "release": None,
        },
    )


def stopped(folder: Path, *, entity: str = "acme/eu") -> Ended:
    """A retrain that the data check stopped: a parameter a hundred times too large from one day on."""
    run = new_run(
        folder, stages=(Stage(name="ingest", seconds=6.2, note="1,555,200 new rows"), Stage(name="check", seconds=3.1, note="stopped here"))
    )
    docs = run.folder / "data_docs" / "index.html"
    docs.parent.mkdir()
    docs.write_text("<title>docs</title>", encoding="utf-8")
    found = [
        finding(severity="warn"),
        finding(severity="stop", entity=entity, parameter="query_time", found="level x 99.6", expected="below x 8"),
        finding(severity="stop", entity=entity, parameter="queries", found="share 0.31 out of range", expected="0"),
    ]
    at = pl.datetime_range(START, START + timedelta(days=14), "10m", closed="left", eager=True)
    level = 80 + 30 * np.sin(np.arange(at.len()) / 144 * 2 * np.pi) + np.random.default_rng(5).normal(0, 5, at.len())
    value = np.where(np.arange(at.len()) >= 9 * 144, 100 * level, level)
    leave(
        run,
        finding_series=pl.DataFrame({"finding": [1] * at.len(), "at": at, "value": value}).with_columns(pl.col("finding").cast(pl.Int32)),
    )
    summary = {
        "flow": "retrain",
        "contract": "fleet",
        "verdict": "stopped",
        "sentence": "\n  - ".join(
            (STOPPED, f"{entity} / query_time: found level x 99.6, expected below x 8.", f"{entity} / queries: found 0.31.")
        ),
        "hint": f"open {docs}.",
        "gate": "stop",
        "release": None,
        "rows_new": 1_555_200,
        "expectations": 126,
        "findings": found,
        "data_docs": str(docs),
    }
    return _ended(run, summary)


def scored(folder: Path) -> Ended:
    """A score run with incidents and no labels."""
    run = new_run(
        folder,
        flow="score",
        stages=(Stage(name="ingest", seconds=0.8, note="34,560 new rows"), Stage(name="score", seconds=1.9, note="34,560 minutes")),
    )
    leave(
        run,
        incidents=incidents().head(3).with_columns(matched=pl.lit(None, dtype=pl.Boolean)),
        excerpts=excerpts().filter(pl.col("excerpt") < 2),
    )
    summary = {
        "flow": "score",
        "contract": "fleet",
        "verdict": "scored",
        "sentence": "34,560 minutes of 24 entities scored; 3 incidents are open.",
        "rows_new": 34_560,
        "entities": 24,
        "release": "5f0c2ad1e9b7d4418c3a9f20",
    }
    return _ended(run, summary)


def crashed(folder: Path) -> Ended:
    """A run that an unexpected error ended."""
    run = new_run(folder, stages=(*STAGES[:3], Stage(name="train", seconds=31.0, note="stopped here")))
    sentence = "retrain crashed: XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."
    return _ended(
        run, {"flow": "retrain", "contract": "fleet", "verdict": "crashed", "sentence": sentence, "rows": 2_073_600, "entities": 24}
    )


STAGES: Final = (
    Stage(name="ingest", seconds=6.214, note="2,073,600 new rows of 2,073,612 read, 24 entities, 12 rows quarantined"),
    Stage(name="check", seconds=2.871, note="126 expectations, 0 failed, 1 warnings"),
    Stage(name="prepare", seconds=4.102, note="1,992,384 entity-minutes: 1,400,000 train, 200,000 calibrate, 392,384 test"),
    Stage(name="train", seconds=124.3, note="20 epochs on cpu, validation loss 0.2187 (epoch 17)"),
    Stage(name="judge", seconds=18.4, note="accuracy 98.87 %, 9 of 10 incidents found"),
    Stage(name="publish", seconds=0.31, note="release 5f0c2ad1e9b7 promoted"),
)
CUSTOMERS: Final = (
    "acme",
    "borealis",
    "cargonaut",
    "delta-freight",
    "easyhaul",
    "fjordline",
    "gruppo-trasporti-nazionali",
    "hermes",
    "ibex",
    "jotun",
    "kestrel",
    "lumen",
)


def _ended(run: Run, summary: dict[str, Any]) -> Ended:
    return Ended(run=run, summary=summary | {"stages": run.told_stages(), "started_at": run.started_at.isoformat(), "page": str(run.page)})


def finding(*, severity: str, **changes: Any) -> dict[str, Any]:
    """A finding of the data check as a summary holds it."""
    told = {
        "expectation": "same unit",
        "severity": severity,
        "entity": "borealis/us",
        "parameter": "positions",
        "period_start": "2026-02-27T00:00:00+00:00",
        "period_end": "2026-03-04T00:00:00+00:00",
        "found": "4.1 % missing",
        "expected": "at most 1 %",
    } | changes
    was = f"{told['found']}, where {told['expected']} is expected"
    return told | {"sentence": f"{told['parameter']} of {told['entity']} is not as it was before: {was}."}


def bars(*, passed: bool) -> pl.DataFrame:
    """What the gate looked at."""
    rows = [
        ("accuracy, lower 95 % bound", "98.61 %" if passed else "71.92 %", "at least 98.50 %", passed),
        ("skill over repeating the last value", "0.2712" if passed else "-0.3120", "above 0.0000", passed),
        ("entities with skill above 0", "100.00 %", "at least 95.00 %", True),
        ("accuracy of the worst tenth of the entities", "97.31 %", "at least 95.00 %", True),
        ("incidents that the champion finds", "none lost", "none lost", True),
        ("finite", "finite", "finite", True),
        ("same bytes on reload", "the same", "the same", True),
    ]
    return pl.DataFrame(rows, schema=["name", "found", "needed", "passed"], orient="row")


def accuracies(**keys: list[str]) -> pl.DataFrame:
    """Plausible accuracies, skills and rows beside the given keys."""
    size = len(next(iter(keys.values())))
    random = np.random.default_rng(3)
    model = np.clip(random.normal(0.9885, 0.003, size), 0, 1)
    return pl.DataFrame(keys).with_columns(
        rows=pl.lit(86_400),
        accuracy=pl.Series(model),
        accuracy_persistence=pl.Series(np.clip(model - np.abs(random.normal(0.05, 0.01, size)), 0, 1)),
        accuracy_oracle=pl.Series(np.clip(model + 0.003, 0, 1)),
        skill=pl.Series(random.normal(0.27, 0.05, size)),
    )


def excerpts() -> pl.DataFrame:
    """Three stretches of a day and a half: a quiet one, one with an incident, one with a gap."""
    size, random, parts = 2160, np.random.default_rng(7), []
    for excerpt, (title, entity, target) in enumerate(
        (
            ("A quiet day", "acme/eu", "queries"),
            ("Incident: query time rises", "borealis/us", "query_time"),
            ("No telemetry for an hour", "ibex/eu", "positions"),
        )
    ):
        minute = np.arange(size)
        expected = 1200 + 500 * np.sin((minute - 400) / 1440 * 2 * np.pi)
        actual = expected + random.normal(0, 45, size)
        label = (minute >= 1150) & (minute < 1240) & (excerpt == 1)
        actual = np.where(label, actual + 450, actual)
        frame = pl.DataFrame(
            {
                "excerpt": np.full(size, excerpt, dtype=np.int32),
                "title": [title] * size,
                "entity": [entity] * size,
                "target": [target] * size,
                "at": pl.datetime_range(START, START + timedelta(minutes=size), "1m", closed="left", eager=True),
                "actual": actual.astype(np.float32),
                "forecast": expected.astype(np.float32),
                "lower": (expected - 170).astype(np.float32),
                "upper": (expected + 170).astype(np.float32),
                "surprise": (np.abs(actual - expected) / 170).astype(np.float32),
                "label": label,
            }
        )
        gap = pl.int_range(pl.len()).is_between(900, 960) & (excerpt == 2)
        parts.append(
            frame.with_columns(
                pl.when(~gap).then(pl.col(name)).alias(name) for name in ("actual", "forecast", "lower", "upper", "surprise")
            )
        )
    return pl.concat(parts)


def labels() -> pl.DataFrame:
    """Ten labelled incidents, one of them missed."""
    rows = [
        (
            f"{CUSTOMERS[index % 7]}/eu",
            START + timedelta(hours=29 * index),
            START + timedelta(hours=29 * index, minutes=45),
            "degradation",
            index != 6,
            2.0 + index if index != 6 else None,
        )
        for index in range(10)
    ]
    return pl.DataFrame(rows, schema=["entity", "start", "end", "kind", "found", "minutes_to_detect"], orient="row")


def incidents() -> pl.DataFrame:
    """The incidents that were opened: nine that match a label, and two false ones."""
    known = labels().filter(pl.col("found"))
    rows = [
        (f"i{index}", row["entity"], row["start"] + timedelta(minutes=4), row["end"], 3.5, "query_time", True)
        for index, row in enumerate(known.iter_rows(named=True))
    ]
    rows += [
        (
            f"f{index}",
            "lumen/us",
            START + timedelta(days=3 * index + 2),
            START + timedelta(days=3 * index + 2, minutes=9),
            1.4,
            "queries",
            False,
        )
        for index in range(2)
    ]
    told = pl.DataFrame(rows, schema=["incident", "entity", "start", "end", "peak", "target", "matched"], orient="row")
    return told.with_columns(pl.lit(BECAUSE).alias("because"))


def history() -> pl.DataFrame:
    """Twenty epochs."""
    number = np.arange(1, 21)
    loss = 0.21 + 0.4 * np.exp(-number / 3)
    return pl.DataFrame(
        {"number": number, "loss": loss, "validation_loss": loss + 0.003 + 0.0008 * np.maximum(number - 17, 0), "seconds": np.full(20, 6.2)}
    )
