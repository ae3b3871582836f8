"""Backtest: a period over again by a release, as live scoring would have told it, beside baselines and the team's own threshold rules.

By default it is the champion's weights that are tested. Of a champion that was recalibrated last night the thresholds know all but some
hours; then those of an older release of the same weights are taken, which know less: the newest that leaves what is asked for to be tested
by, and where no period is asked for, a week.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
from prefect import flow

from flows import console, detectors
from flows.artifacts import tell_table
from flows.beside import Rival, baselines, figures, within
from flows.detectors import Comparison
from flows.excerpts import excerpts
from flows.judge import incidents_told
from flows.lakes import labels_of, lake_of
from flows.locations import instant
from flows.maintained import maintain
from flows.prepare import build, work
from flows.replay import CALIBRATED, Aside, ranks, replay
from flows.reporting import closing
from flows.runs import Run, begin
from flows.settings import Settings
from serving import ledger
from serving.incidents import match
from serving.release import WEIGHTS, Release, load
from serving.suspensions import spans
from telemetry import alert_rules
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError, ReleaseError, TidewatchError
from telemetry.lake import Lake
from telemetry.masks import masked, possible
from telemetry.schema import AT, END, ENTITY, RELEASE, START, SUSPENSIONS, TIME
from validation.detection import Told

RULES: Final = "rules"
LEARNED: Final = "learned_until"
LEAST_PERIOD: Final = timedelta(days=7)
"""A week shows every hour of the week."""


class BacktestError(TidewatchError):
    """A period cannot be gone through again as it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is gone through again.

    Attributes:
        lake: what was measured.
        release: by which.
        learned: the contract that it was learned with.
        declared: the contract as it is now.
        since: first instant that is compared.
        until: exclusive.
        in_sample: whether the release knows some of it.
        labels: LABELS that begin in it.
        champion: whose weights these are, and whose own thresholds know too much; null where the release itself was asked for.
    """

    lake: Lake
    release: Release
    learned: Contract
    declared: Contract
    since: datetime
    until: datetime
    in_sample: bool
    labels: pl.DataFrame
    champion: str | None = None

    @property
    def calibrated(self) -> datetime:
        """Up to which the release knows what was."""
        return _calibrated(self.release)

    @property
    def name(self) -> str:
        """Of the release, as a detector."""
        return f"release {self.release.id}"

    def watched(self) -> pl.LazyFrame:
        """`entity, at` of what was measured in the period."""
        return self.lake.grid(contract=self.learned, since=self.since, until=self.until).select(ENTITY, AT)


@flow(name="backtest", log_prints=True)
def backtest(
    contract: str = "fleet",
    since: str | None = None,
    until: str | None = None,
    release: str = "",
    rules: str = "",
    in_sample: bool = False,
) -> dict[str, Any]:  # Any: plain JSON
    """Go through a period again by a release, beside baselines and the team's own rules; nothing is published or written to the lake.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        since: From here on; by default from where the release was calibrated.
        until: Up to here, exclusive; by default to the end of what the lake holds.
        release: Its id; by default the champion, or one of the same weights whose thresholds know less.
        rules: A rules file as Prometheus reads it.
        in_sample: Go through what the release has learned from or was calibrated on, too; the figures are marked.
    """
    settings = Settings()
    run = begin("backtest", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        own = alert_rules.load(Path(rules)) if rules else None
        asked = _asked(contract, settings=settings, since=since, until=until, release=release, in_sample=in_sample)
        summary.update(scored_by=asked.release.id, since=asked.since.isoformat(), until=asked.until.isoformat(), in_sample=asked.in_sample)
        told = [replay_stage(run, asked=asked), *baselines_stage(run, asked=asked)]
        if own is not None:
            by_rules, refused = rules_stage(run, asked=asked, rules=own)
            told.append(by_rules)
            summary["rules_refused"] = refused
        found = compare_stage(run, asked=asked, told=told)
        summary.update(_facts(found), **found.facts(), verdict="backtested", sentence=_sentence(asked, found))
    return summary


def _asked(contract: str, *, settings: Settings, since: str | None, until: str | None, release: str, in_sample: bool) -> Asked:
    """What is meant, or why it cannot be."""
    declared = contracts.load(settings.contract_path(contract))
    lake = lake_of(declared, settings=settings)
    standing = ledger.champion(lake)
    if not release and standing is None:
        raise ReleaseError("No release is in force that could be gone back with.", hint="train one first: tidewatch retrain.")
    champion = load(release or (standing.release if standing else ""), folder=settings.releases_folder)
    learned = contracts.parse(champion.contract, path=f"of release {champion.id}")
    now, cadence = datetime.now(UTC), learned.time.cadence
    last = lake.grid(contract=learned).select(pl.col(AT).max()).collect().item()
    if last is None:
        raise EmptySourceError(f"The lake {lake.root} holds no grid.", hint="ingest a source first: tidewatch ingest.")
    begin_at = instant(since, now=now, name="since")
    end = min(_step(instant(until, now=now, name="until") or last + cadence, cadence=cadence), last + cadence)
    found = champion if release or in_sample else unknowing(champion, lake=lake, folder=settings.releases_folder, since=begin_at, until=end)
    learned, calibrated = contracts.parse(found.contract, path=f"of release {found.id}"), _calibrated(found)
    start = _step(begin_at or calibrated, cadence=cadence)
    if start >= end:
        raise BacktestError(
            f"There is nothing from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC: the lake ends with {last:%Y-%m-%d %H:%M}, and "
            f"{found.id} was calibrated on what is before {calibrated:%Y-%m-%d %H:%M}.",
            hint="ingest what came since, or name another period: --since, --until.",
        )
    if start < calibrated and not in_sample:
        raise BacktestError(
            f"{found.id} has learned from, or was calibrated on, what is before {calibrated:%Y-%m-%d %H:%M} UTC; a period from "
            f"{start:%Y-%m-%d %H:%M} on would test it by what it knows.",
            hint=f"--since {calibrated:%Y-%m-%dT%H:%MZ}, an older release (--release), or --in-sample, whose figures are marked.",
        )
    begin_in = pl.col(START).is_between(pl.lit(start).cast(TIME), pl.lit(end).cast(TIME), closed="left")
    return Asked(
        lake=lake,
        release=found,
        learned=learned,
        declared=declared,
        since=start,
        until=end,
        in_sample=start < calibrated,
        labels=labels_of(lake).filter(begin_in).sort(ENTITY, START),
        champion=champion.id if found is not champion else None,
    )


def unknowing(champion: Release, *, lake: Lake, folder: Path, since: datetime | None, until: datetime) -> Release:
    """The newest release of the champion's weights that was calibrated before a period, as far as there is one.

    Args:
        champion: in force; it is taken where none was calibrated before `since`.
        lake: whose ledger tells of the others. What was revoked is passed over.
        folder: of releases.
        since: first instant of the period; by default a week before `until`, and the oldest where none was calibrated before that.
        until: end of the period.
    """
    asked, chosen = since or until - LEAST_PERIOD, champion
    for standing in reversed(ledger.in_force(ledger.history(lake))):
        found = champion if standing.release == champion.id else load(standing.release, folder=folder)
        if found.files[WEIGHTS] != champion.files[WEIGHTS]:
            break
        chosen = found
        if _calibrated(found) <= asked:
            return found
    return chosen if since is None else champion


def _calibrated(release: Release) -> datetime:
    return datetime.fromisoformat(release.manifest[CALIBRATED])


def _step(at: datetime, *, cadence: timedelta) -> datetime:
    """The beginning of the step in which an instant lies."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (at - epoch) // cadence * cadence


def replay_stage(run: Run, *, asked: Asked) -> Told:
    """What the release says of the period."""
    with run.stage("replay") as stage:
        told = replay_period(asked, folder=str(run.folder))
        stage.note = (
            f"{told.incidents.height} incidents by {asked.release.id}, {asked.since:%Y-%m-%d %H:%M} to {asked.until:%Y-%m-%d %H:%M}"
        )
    return told


def replay_period(asked: Asked, *, folder: str) -> Told:
    """Live scoring over again, from where it began with the release, so that it knows what it would have known."""
    begun = min(asked.calibrated, asked.since)
    told = replay(asked.lake, release=asked.release, contract=asked.declared, since=begun, until=asked.until, folder=Path(folder))
    scores = told.scores.filter(pl.col(AT) >= pl.lit(asked.since).cast(TIME))
    matched = match(within(told.incidents, since=asked.since, until=asked.until), labels=asked.labels)
    data = Path(folder) / "data"
    data.mkdir(exist_ok=True)
    incidents_told(matched, scores=scores.lazy()).write_parquet(data / "incidents.parquet")
    matched.labels.write_parquet(data / "labels.parquet")
    shown = excerpts(work(folder) / "scored", matched=matched, thresholds=asked.release.thresholds, contract=asked.learned)
    shown.write_parquet(data / "excerpts.parquet")
    by_step = ranks(scores, labels=labels_of(asked.lake))
    return Told(name=asked.name, incidents=matched.incidents, labels=matched.labels, scores=scores, ranks=by_step)


def baselines_stage(run: Run, *, asked: Asked) -> list[Told]:
    """What the baselines say of it."""
    with run.stage("baselines") as stage:
        told = baselines_of_period(asked, folder=str(run.folder))
        stage.note = ", ".join(f"{each.name} {each.incidents.height}" for each in told) + " incidents"
    return told


def baselines_of_period(asked: Asked, *, folder: str) -> list[Told]:
    """Fitted on what the release has learned from, calibrated on what it was calibrated on, over the same steps."""
    aside = Aside(asked.lake.root, storage_options=asked.lake.storage_options, aside=str(work(folder) / "replay"))
    told = aside.read("suspensions", schema=SUSPENSIONS).filter(pl.col(RELEASE) == asked.release.id).collect()
    rows = possible(asked.lake.grid(contract=asked.learned, until=asked.until), contract=asked.learned)
    worked_on = maintain(asked.lake, release=asked.release, contract=asked.learned, begun=False)
    grid = masked(rows, spans=pl.concat([spans(told), worked_on.spans])).collect().lazy()
    panel = build(grid, lake=asked.lake, contract=asked.learned, scales=asked.release.scales, parts=_parts(asked, grid=grid))
    policy = asked.learned.model_copy(update={"split": asked.learned.split.model_copy(update={"by": "time"})})
    every = baselines(panel, scales=asked.release.scales, contract=policy, into=work(folder) / "beside", worked_on=worked_on.told)
    return [each.told(asked.labels) for each in every]


def _parts(asked: Asked, *, grid: pl.LazyFrame) -> pl.DataFrame:
    """As of `windows.cuts`: train and calibrate as the release had them, test is the period."""
    gap = asked.learned.windows.time_steps * asked.learned.time.cadence
    learned = datetime.fromisoformat(asked.release.manifest.get(LEARNED) or asked.release.manifest[CALIBRATED])
    bounds = {
        "train_end": learned,
        "calibrate_start": learned + gap,
        "calibrate_end": asked.calibrated,
        "test_start": asked.since,
        END: asked.until,
    }
    known = grid.group_by(ENTITY).agg(pl.col(AT).min().alias(START)).sort(ENTITY).collect()
    return known.with_columns(pl.lit(at).cast(TIME).alias(name) for name, at in bounds.items())


def rules_stage(run: Run, *, asked: Asked, rules: alert_rules.Rules) -> tuple[Told, list[dict[str, Any]]]:  # Any: plain JSON
    """What the team's own rules say of it, and which of them cannot be followed."""
    with run.stage("rules") as stage:
        told, followed = rules_of_period(asked, rules=rules)
        refused = [{"name": each.name, "group": each.group, "line": each.line, "sentence": each.sentence} for each in followed.refused]
        unfit = f", {len(refused)} that cannot be followed" if refused else ""
        stage.note = f"{told.incidents['incident'].n_unique()} alerts of {len(followed.alerts)} rules{unfit}"
    for each in refused:
        console.line(f"  rule {each['name']}, line {each['line']}: {each['sentence']}")
    return told, refused


def rules_of_period(asked: Asked, *, rules: alert_rules.Rules) -> tuple[Told, alert_rules.Rules]:
    """The alerts that the rules would have told."""
    first = asked.since - alert_rules.reach(rules)
    grid = asked.lake.grid(contract=asked.declared, since=first, until=asked.until)
    fired = alert_rules.fire(rules, grid=grid, contract=asked.declared)
    rival = Rival(name=RULES, incidents=within(fired.incidents, since=asked.since, until=asked.until), ranks=None, scores=None)
    return rival.told(asked.labels), fired.rules


def compare_stage(run: Run, *, asked: Asked, told: list[Told]) -> Comparison:
    """All of them by the same figures."""
    with run.stage("compare") as stage:
        detected = figures(told, watched=asked.watched(), contract=asked.declared)
        found = detectors.comparison(told, detected=detected)
        detectors.leave(found, folder=run.folder)
        stage.note = detectors.verdict(found.rows)
        tell_table("detectors", rows=found.rows, description=stage.note)
    console.table(detectors.HEADS, rows=detectors.cells(found.rows), numbers=detectors.NUMBERS)
    return found


def _facts(found: Comparison) -> dict[str, Any]:  # Any: plain JSON
    """What a run that judges says under the same names."""
    first = found.detected[0].figures
    return {
        "incidents": first.incidents,
        "incidents_labelled": first.events,
        "incidents_found": first.found,
        "incidents_missed": first.events - first.found,
        "false_incidents": first.false_incidents if first.events else None,
        "minutes_to_detect": first.minutes_to_detect,
        "vus_pr": first.vus_pr,
        "vus_pr_pca": found.vus_pr("PCA"),
    }


def _sentence(asked: Asked, found: Comparison) -> str:
    marked = " In sample: the release knows this period, and these figures are no test of it." if asked.in_sample else ""
    told = detectors.verdict(found.rows)
    return f"{told[:1].upper()}{told[1:]}{_whose(asked)}{marked}"


def _whose(asked: Asked) -> str:
    """Why it is not the champion that was tested; nothing where it was."""
    if asked.champion is None:
        return ""
    return f" By {asked.release.id}, of the same weights as the champion {asked.champion}, whose own thresholds know this period."
