"""Publish: the gate decides; what it lets through becomes a release and goes into the ledger, what it holds goes there too."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, assert_never

import polars as pl
from prefect import task

from flows.artifacts import tell_table, tell_text
from flows.check import QUARANTINED
from flows.exhibits import read
from flows.judge import Judged
from flows.lakes import lake_of
from flows.parallel_test import training_of
from flows.prepare import work
from flows.retries import ONCE
from flows.runs import Run
from flows.settings import Settings
from serving import ledger
from serving.release import VIEWS_FILE, Release, compose, load_weights, same_bytes, write
from serving.views import Views
from telemetry import contract as contracts
from telemetry.contract import Contract
from validation.gate import Decision, Evidence, Hold, Promote, decide

LIBRARIES: Final = ("jax", "flax", "optax", "polars", "numpy", "great-expectations", "tidewatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the gate said and who is in force now."""

    decision: Decision
    release: str
    champion: str | None
    already_in_force: bool
    accuracy_bar: float
    contract_digest: str

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        promoted = isinstance(self.decision, Promote)
        return {
            "verdict": "promoted" if promoted else "held",
            "gate": "promote" if promoted else "hold",
            "reasons": [] if promoted else [reason.sentence for reason in _reasons(self.decision)],
            "release": self.release if promoted else None,
            "candidate": self.release,
            "champion": self.champion,
            "accuracy_bar": self.accuracy_bar,
            "contract_digest": self.contract_digest,
            "versions": versions(),
            "sentence": self.sentence,
        }

    @property
    def sentence(self) -> str:
        """For a person."""
        match self.decision:
            case Promote():
                again = " (the same as before)" if self.already_in_force else ""
                return f"Release {self.release} passed the gate and is in force{again}."
            case Hold(reasons=reasons):
                force = f"{self.champion} stays in force" if self.champion else "nothing is in force"
                return f"The gate holds {self.release}; {force}. {' '.join(reason.sentence for reason in reasons)}"
            case _:
                assert_never(self.decision)


def _reasons(decision: Decision) -> tuple[Any, ...]:  # Any: validation.gate.Reason
    return decision.reasons if isinstance(decision, Hold) else ()


def versions() -> dict[str, str]:
    """The libraries that made a release."""
    return {name: version(name) for name in LIBRARIES}


@task(name="gate and publish", **ONCE)
def publish(*, contract: str, folder: str, judged: Judged, checks_passed: bool, reason: str) -> Published:
    """Write the release, let the gate decide, note it in the ledger. The directory comes first: the ledger names only what is there."""
    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    release = _composed(declared, folder=folder)
    write(release, folder=settings.releases_folder)
    evidence = Evidence(
        checks_passed=checks_passed,
        finite=judged.finite,
        same_bytes=same_bytes(release, folder=settings.releases_folder),
        incidents_candidate=judged.found,
        incidents_champion=judged.found_by_champion,
        injected=judged.injected.found,
    )
    decision = decide(judged.metrics, champion=judged.champion, evidence=evidence, policy=declared.gate)
    before = ledger.champion(lake)
    figures = {name: value for name, value in judged.facts().items() if value is not None and not isinstance(value, list | dict)}
    at = datetime.now(UTC)
    match decision:
        case Promote():
            ledger.publish(lake, release=release.id, folder=settings.releases_folder, at=at, metrics=figures, reason=reason)
        case Hold(reasons=reasons):
            told = " ".join(found.sentence for found in reasons)
            ledger.hold(lake, release=release.id, at=at, metrics=figures, reason=told)
        case _:
            assert_never(decision)
    after = ledger.champion(lake)
    data = Path(folder) / "data"
    data.mkdir(exist_ok=True)
    bars = [{"name": bar.name, "found": bar.found, "needed": bar.needed, "passed": bar.passed} for bar in decision.bars]
    pl.DataFrame(bars).write_parquet(data / "bars.parquet")
    return Published(
        decision=decision,
        release=release.id,
        champion=after.release if after else None,
        already_in_force=before is not None and before.release == release.id,
        accuracy_bar=declared.gate.accuracy,
        contract_digest=declared.digest,
    )


def _composed(declared: Contract, *, folder: str) -> Release:
    """The release that a run's folder holds."""
    from validation import recorded  # Great Expectations takes seconds to import

    record = training_of(folder)
    left_out = read(Path(folder), name=QUARANTINED)
    return compose(
        weights=load_weights(work(folder) / "weights.safetensors"),
        network=record["network"],
        scales=pl.read_parquet(work(folder) / "scales.parquet"),
        thresholds=pl.read_parquet(work(folder) / "thresholds.parquet"),
        contract=declared.model_dump(mode="json"),
        manifest={
            "entities": list(record["entities"]),
            "training": record["training"],
            "contract_digest": declared.digest,
            "learned_until": record["learned_until"],
            "chosen_until": record["chosen_until"],
            "calibrated_until": str(pl.read_parquet(work(folder) / "parts.parquet")["calibrate_end"].max()),
            "versions": versions(),
        }
        | ({} if left_out is None else {"quarantined": [_span(row) for row in left_out.iter_rows(named=True)]}),
        created_at=datetime.now(UTC),
        suites=recorded.record(declared),
        views=Views.from_bytes(views.read_bytes()) if (views := work(folder) / VIEWS_FILE).exists() else None,
    )


def _span(row: dict[str, Any]) -> dict[str, str]:  # Any: a row of SPANS
    """What the release did not learn from, as plain JSON."""
    return {name: value if isinstance(value, str) else value.isoformat() for name, value in row.items()}


def publish_stage(run: Run, *, contract: str, judged: Judged, checks_passed: bool, reason: str = "retrain") -> Published:
    """The stage that `retrain` and `recalibrate` share."""
    with run.stage("gate") as stage:
        published = publish(contract=contract, folder=str(run.folder), judged=judged, checks_passed=checks_passed, reason=reason)
        passed = sum(bar.passed for bar in published.decision.bars)
        word = "promote" if isinstance(published.decision, Promote) else "hold"
        stage.note = f"{word}: {passed} of {len(published.decision.bars)} bars passed; release {published.release}"
        bars = [{"bar": b.name, "found": b.found, "needed": b.needed, "passed": b.passed} for b in published.decision.bars]
        tell_table("gate", rows=bars, description=f"Gate: {word}")
        tell_text("gate-decision", markdown=published.sentence, description=f"Gate: {word}")
    return published
