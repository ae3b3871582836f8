"""Two months of a simulated fleet after the two months that were learned: readings -> a model and its bars -> scores and incidents.

The learning part has incidents too, which operators have labelled; of the test part no label is known to anything that judges. What is
judged went the way of a release: cut, scaled, learned, calibrated, and then `flows.parallel_test.try_out`, minute after minute. The weights
are frozen. The thresholds are those of a `recalibrate`, which runs every night; here it runs every `RECALIBRATED`, on the days before, of
which it leaves out what operators have labelled (in the learning part) and what was told as an incident that nobody has confirmed (but for
doubtful ones, as always).
"""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from flows.parallel_test import Candidate, try_out
from flows.recalibrate import LATEST
from flows.unconfirmed import believed, bounded
from serving.incidents import open_incidents
from serving.lending import MEMORY
from serving.surprise import SLOW_STEPS
from telemetry import windows
from telemetry.contract import Contract
from telemetry.faults import EVERY_KIND, REGIONAL
from telemetry.fleet import simulate
from telemetry.panel import Panel
from telemetry.schema import AT, COUNT, END, ENTITY, FIRST_SEEN, INCIDENTS, KIND, LABEL, NEWCOMER, START, SURPRISE, TARGET, TIME
from tests.benchmarks.learner import telemetries
from tests.benchmarks.learner.telemetries import Telemetry
from tests.benchmarks.learner.worlds import Arriving

BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
RELEASE: Final = "parallel test"
WAKE: Final = timedelta(hours=1)
"""After an incident, in which a promise about normal minutes is not held to them: told apart, never left out unsaid."""
RECALIBRATED: Final = timedelta(days=7)
TABLES: Final = ("lead1", "scores")
MATURE: Final = "mature"
EVENT: Final = "event"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a fleet, and for how long."""

    customers: int = 8
    regions: tuple[str, ...] = ("eu", "us")
    learned_days: int = 60
    judged_days: int = 60
    matured: int = 1
    """Customers that arrive early in the learning part, and are no newcomers when the test begins."""
    arriving: int = 3
    """Customers that arrive within the test, spread over its first half."""
    incidents: int = 27
    early_incidents: int = 9
    newcomer_incidents: int = 9
    newcomer_days: int = 30
    epochs: int | None = None

    @property
    def learned_at(self) -> datetime:
        """The instant at which the learning part ends and the test begins."""
        return BEGIN + timedelta(days=self.learned_days)

    @property
    def end(self) -> datetime:
        """Of the test."""
        return self.learned_at + timedelta(days=self.judged_days)

    def fleet(self, *, seed: int) -> Arriving:
        """What to simulate: the first arrives after a fourteenth of the learning part, the others at odd hours of the test."""
        early = tuple(self.learned_days / 14 + 0.3 * index for index in range(self.matured))
        late = tuple(self.learned_days + self.judged_days * (0.04 + 0.18 * index) + 0.37 * index for index in range(self.arriving))
        return Arriving(
            customers=self.customers,
            regions=self.regions,
            days=self.learned_days + self.judged_days,
            start=BEGIN,
            seed=seed,
            arriving=len(early + late),
            arrival_days=early + late,
            newcomer_days=self.newcomer_days,
            incidents=self.incidents,
            early_incidents=self.early_incidents,
            incident_days=(self.learned_days, self.learned_days + self.judged_days),
            kinds=EVERY_KIND,
            newcomer_incidents=self.newcomer_incidents,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weeks:
    """A fleet before and during its parallel test.

    Attributes:
        telemetry: all of it; the labels are those of the learning part alone.
        labels: LABELS of the test, with `mature` (whether the entity was no newcomer at the start) and `event` (of several entities that
            are struck together).
        exposure: `entity, mature, newcomer`: weeks of the test for which each was there, as what.
        matured: `entity, matured`: the instant from which on each is no newcomer.
    """

    size: Size
    telemetry: Telemetry
    labels: pl.DataFrame
    exposure: pl.DataFrame
    matured: pl.DataFrame

    @property
    def contract(self) -> Contract:
        return self.telemetry.contract

    @property
    def customer_weeks(self) -> dict[str, float]:
        """Of the customers as `mature` and as `newcomer`: a customer counts once, however many regions it has."""
        customers = self.exposure.group_by(customer()).agg(pl.col(MATURE, NEWCOMER).max())
        return {name: float(customers[name].sum()) for name in (MATURE, NEWCOMER)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """What was said of the test.

    Attributes:
        incidents: INCIDENTS.
        minutes: `entity, at, target, surprise, newcomer, label, wake`, of the minutes that have a surprise.
        calibrations: by which it was said, the oldest first.
        folder: with the rows of lead 1 and the scores, by entity and week.
    """

    incidents: pl.DataFrame
    minutes: pl.DataFrame
    calibrations: tuple["Calibration", ...]
    folder: Path

    def in_force(self, at: datetime) -> "Calibration":
        """By what a minute of the test was judged."""
        return [each for each in self.calibrations if each.since <= at][-1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What was in force from an instant on: THRESHOLDS, and a candidate with what it learned beside its weights."""

    since: datetime
    candidate: Candidate
    thresholds: pl.DataFrame


def customer() -> pl.Expr:
    """The customer of an entity."""
    return pl.col(ENTITY).str.split("/").list.first().alias("customer")


def weeks(size: Size, *, seed: int, folder: Path, contract: Contract | None = None) -> Weeks:
    """Simulated and ingested.

    Args:
        size: of the fleet.
        seed: of the simulation.
        folder: for its lake.
        contract: instead of the one that ships.
    """
    made = telemetries.of_simulated(simulate(size.fleet(seed=seed)), folder=folder)
    before = pl.col(START) < size.learned_at
    young = timedelta(days=size.newcomer_days)
    seen = made.entities.select(ENTITY, FIRST_SEEN, *_lives(size, first=made.entities[FIRST_SEEN].min(), young=young))
    labels = made.labels.filter(~before).join(seen, on=ENTITY).with_columns((pl.col(START) >= pl.col("matured")).alias(MATURE))
    alone = pl.concat_str(ENTITY, pl.lit(" "), KIND, pl.lit(" "), pl.col(START).cast(pl.String))
    together = pl.concat_str(
        pl.when(pl.col(KIND) == REGIONAL).then(pl.lit("region")).otherwise(customer()),
        pl.lit(" "),
        KIND,
        pl.lit(" "),
        pl.col(START).cast(pl.String),
    )
    event = pl.when(pl.col(KIND).is_in([REGIONAL, "customer"])).then(together).otherwise(alone).alias(EVENT)
    told = replace(made, labels=made.labels.filter(before), contract=contract or made.contract, oracle=None)
    return Weeks(
        size=size,
        telemetry=told,
        labels=labels.select(*made.labels.columns, MATURE, event).sort(START, ENTITY),
        exposure=seen.select(ENTITY, MATURE, NEWCOMER),
        matured=seen.select(ENTITY, "matured"),
    )


def _lives(size: Size, *, first: object, young: timedelta) -> list[pl.Expr]:
    """`matured`, the instant from which on each is no newcomer; weeks of the test as mature, and as newcomer."""
    seen, end = pl.col(FIRST_SEEN), pl.lit(size.end, dtype=TIME)
    matured = pl.when(seen > pl.lit(first, dtype=TIME)).then(seen + young).otherwise(seen)
    begin = pl.max_horizontal(pl.lit(size.learned_at, dtype=TIME), seen)

    def in_weeks(since: pl.Expr, until: pl.Expr) -> pl.Expr:
        return (until - since).dt.total_minutes().clip(lower_bound=0) / (7 * 24 * 60)

    turned = pl.max_horizontal(begin, pl.min_horizontal(matured, end))
    return [matured.alias("matured"), in_weeks(turned, end).alias(MATURE), in_weeks(begin, turned).alias(NEWCOMER)]


def learned(told: Weeks, *, folder: Path) -> tuple[Candidate, pl.DataFrame]:
    """The model of a retrain at the end of the learning part, and where its parts of time lie."""
    known = told.telemetry.until(told.size.learned_at)
    made = telemetries.prepared(known, folder=folder)
    training = telemetries.training_of(told.contract, epochs=told.size.epochs)
    candidate, _ = telemetries.learned(made.panel, contract=told.contract, scales=made.scales, training=training)
    return candidate, made.parts


def panel_of(told: Weeks, *, candidate: Candidate, parts: pl.DataFrame, telemetry: Telemetry | None = None) -> Panel:
    """All of the telemetry as the model sees it; its calibrate part is that of the learning, its test part all that came after that."""
    seen = telemetry or told.telemetry
    learned = parts.select("train_end", "calibrate_start", "calibrate_end").head(1)
    whole = seen.entities.select(ENTITY).join(learned, how="cross").with_columns(pl.lit(BEGIN, dtype=TIME).alias(START))
    cut = whole.with_columns(pl.lit(told.size.learned_at, dtype=TIME).alias("test_start"), pl.lit(told.size.end, dtype=TIME).alias(END))
    return windows.panel(
        seen.grid.lazy(), contract=told.contract, scales=candidate.scales, entities=seen.entities, labels=seen.labels, parts=cut
    )


def judged(told: Weeks, *, candidate: Candidate, parts: pl.DataFrame, folder: Path) -> Judgement:
    """The test by the production's own way, calibrated anew every `RECALIBRATED`."""
    for name in TABLES:
        (folder / name).mkdir(parents=True)
    calibrations, at = list[Calibration](), told.size.learned_at
    while at < told.size.end:
        calibrations.append(_judged_week(told, candidate=candidate, parts=parts, since=at, folder=folder))
        at += RECALIBRATED
    return Judgement(
        incidents=_opened(told, folder=folder),
        minutes=minutes(told, folder=folder),
        calibrations=tuple(calibrations),
        folder=folder,
    )


def _judged_week(told: Weeks, *, candidate: Candidate, parts: pl.DataFrame, since: datetime, folder: Path) -> Calibration:
    """Calibrated on what was before an instant, and the days after it judged by that; their scores are left in `folder`."""
    until, cadence = min(since + RECALIBRATED, told.size.end), told.contract.time.cadence
    cut = _cut(told, parts=parts, since=since, until=until)
    raised = _opened(told, folder=folder).filter(believed()).select(ENTITY, START, END)
    seen = told.telemetry.until(until)
    panel = windows.panel(
        seen.grid.lazy(),
        contract=told.contract,
        scales=candidate.scales,
        entities=seen.entities,
        labels=seen.labels,
        parts=cut.with_columns(pl.col("test_start") - SLOW_STEPS * cadence - _remembered(candidate)),  # errors add up with those before
        unconfirmed=bounded(raised, parts=cut, contract=told.contract),
    )
    into = folder / f"{since:week %Y%m%d}"
    found = try_out(candidate, panel=panel, contract=told.contract, into=into)
    now = Calibration(since=since, candidate=replace(candidate, views=found.views), thresholds=found.thresholds)
    for name in TABLES:
        for file in (into / name).glob("*.parquet"):
            pl.scan_parquet(file).filter(pl.col(AT) >= since).sink_parquet(folder / name / f"{since:%Y%m%d} {file.name}")
    return now


def _remembered(candidate: Candidate) -> pl.Expr:
    """How far before a minute the bars of whom no training has seen look back, as live scoring does it (`flows.foretold`)."""
    known = candidate.scales.filter(pl.col(COUNT) > 0).get_column(ENTITY).unique().implode()
    return pl.when(pl.col(ENTITY).is_in(known)).then(pl.lit(timedelta(0))).otherwise(pl.lit(MEMORY))


def _cut(told: Weeks, *, parts: pl.DataFrame, since: datetime, until: datetime) -> pl.DataFrame:
    """As `flows.recalibrate` calibrates: on the latest days that the weights have not learned from."""
    gap = told.contract.windows.time_steps * told.contract.time.cadence
    begin = max(parts.item(0, "calibrate_start"), since - LATEST)
    learned = {START: BEGIN, "train_end": begin - gap}
    bounds = learned | {"calibrate_start": begin, "calibrate_end": since - gap, "test_start": since, END: until}
    here = told.telemetry.until(until).entities.select(ENTITY)
    return here.with_columns(pl.lit(at, dtype=TIME).alias(name) for name, at in bounds.items())


def _opened(told: Weeks, *, folder: Path) -> pl.DataFrame:
    """INCIDENTS of all scores that were left."""
    policy, seconds = told.contract.thresholds, told.contract.time.cadence_seconds
    files = sorted((folder / "scores").glob("*.parquet"))
    if not files:
        return pl.DataFrame(schema=dict(INCIDENTS))
    scores = pl.scan_parquet(files)
    until = scores.select(pl.col(AT).max() + told.contract.time.cadence).collect().item()
    found = [
        open_incidents(own, policy=policy, cadence_seconds=seconds, until=until, departed_days=told.contract.newcomer.departed_days)
        for own in (scores.filter(pl.col(ENTITY) == entity).collect() for entity in told.telemetry.entities[ENTITY])
        if own.height
    ]
    return pl.concat(found)


def minutes(told: Weeks, *, folder: Path) -> pl.DataFrame:
    """The minutes that have a surprise, beside what was true of them."""
    frames = []
    for file in sorted(os.listdir(folder / "scores")):
        scores = pl.read_parquet(folder / "scores" / file, columns=[ENTITY, AT, TARGET, SURPRISE]).filter(pl.col(SURPRISE).is_not_null())
        young = scores.join(told.matured, on=ENTITY).with_columns((pl.col(AT) < pl.col("matured")).alias(NEWCOMER)).drop("matured")
        frames.append(_marked(young, labels=told.labels))
    return pl.concat(frames)


def _marked(scores: pl.DataFrame, *, labels: pl.DataFrame) -> pl.DataFrame:
    """Scores of an entity with `label`, within an incident, and `wake`, within the hour after one."""
    periods = labels.join(scores.select(ENTITY).unique(), on=ENTITY).sort(START)
    last = scores.sort(AT).join_asof(periods.select(pl.col(START).alias(AT), pl.col(END).alias("ended")).sort(AT), on=AT)
    inside = (pl.col(AT) < pl.col("ended")).fill_null(value=False)
    wake = (pl.col(AT) < pl.col("ended") + WAKE).fill_null(value=False) & ~inside
    return last.with_columns(inside.alias(LABEL), wake.alias("wake")).drop("ended")
