"""Sweep: which network and which windows are the simplest that forecast this telemetry as well as any. Nothing is published."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import polars as pl
from prefect import flow, task
from pydantic import Field

from flows import console, outcomes, swept, tracking
from flows.artifacts import Bar, tell_table
from flows.exhibits import path_of
from flows.learnable import learnable
from flows.prepare import work
from flows.reporting import closing
from flows.retries import ONCE
from flows.runs import Run, begin
from flows.settings import Settings
from flows.train import Changes, network_of, training_of
from telemetry import contract as contracts
from telemetry import panel as panels
from telemetry.contract import Contract
from telemetry.errors import TidewatchError
from telemetry.panel import Panel

if TYPE_CHECKING:
    from models.sweep import Design, Outcome

log = logging.getLogger(__name__)

EVERY: Final = "all"
TIME_STEPS: Final = (16, 64, 256)
LONGEST: Final = 4096
"""A window of more steps is a slip of the pen."""
OUTCOMES: Final = "outcomes.jsonl"


class SweepError(TidewatchError):
    """A sweep cannot be made as it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a sweep is asked for.

    Attributes:
        designs: `all`, a part of their names, or a pattern such as `2 x LSTM(64),*apart`.
        time_steps: lengths of the windows.
        seeds: how many, from the contract's own on.
        epochs: instead of the contract's.
        supervision: instead of the contract's.
    """

    designs: str
    time_steps: tuple[int, ...]
    seeds: int
    epochs: int | None
    supervision: Literal["every_step", "last_step"] | None

    def __post_init__(self) -> None:
        """Refuse what cannot be swept over."""
        if not self.time_steps or not all(2 <= steps <= LONGEST for steps in self.time_steps):
            raise SweepError(
                f"time_steps {list(self.time_steps)} cannot be swept over; expected lengths of windows from 2 to {LONGEST:,} steps.",
                hint="name some, such as 16,64,256.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What came of a sweep.

    Attributes:
        rows: of every design, best first, as `flows.swept` tells them.
        lines: for the contract, so that it asks for the chosen design.
        trainings: how many there are in all.
        known: how many of them were known from before.
        seeds: each design's.
    """

    rows: list[dict[str, Any]]  # Any: plain JSON
    lines: str
    trainings: int
    known: int
    seeds: int

    def facts(self) -> dict[str, Any]:  # Any: plain JSON
        """Its part of a summary."""
        return {
            "designs": self.rows,
            "chosen": swept.chosen(self.rows)["design"],
            "contract_lines": self.lines,
            "trainings": self.trainings,
            "trainings_known": self.known,
        }


@flow(name="sweep", log_prints=True)
def sweep(
    contract: str = "fleet",
    source: str = "",
    designs: str = EVERY,
    time_steps: tuple[int, ...] = TIME_STEPS,
    seeds: Annotated[int, Field(ge=1, le=100)] = 3,
    epochs: Annotated[int | None, Field(ge=1)] = None,
    supervision: Literal["every_step", "last_step"] | None = None,
) -> dict[str, Any]:  # Any: plain JSON
    """Train every design with several seeds, and say which is the simplest of those that nobody can tell from the best.

    Nothing is published, and the parallel test is not looked at: designs are ranked by the calibration part.

    Args:
        contract: Name of a contract that ships (fleet, smd), or path of a TOML file.
        source: Folder, file or glob of readings to ingest first. Empty: only what the lake holds.
        designs: `all`, a part of the names of those that are wanted, or a pattern such as `2 x LSTM(64),*apart`.
        time_steps: Lengths of the windows.
        seeds: Trainings of each design; a single one tells no spread.
        epochs: Instead of the contract's.
        supervision: Instead of the contract's.
    """
    settings = Settings()
    run = begin("sweep", settings=settings)
    with closing(run, settings=settings, contract=contract) as summary:
        wanted = Wanted(designs=designs, time_steps=tuple(time_steps), seeds=seeds, epochs=epochs, supervision=supervision)
        ready = learnable(run, summary, contract=contract, source=source)
        told = sweep_stage(run, contract=contract, wanted=wanted, lake_version=ready.prepared.lake_version)
        summary.update(told.facts(), verdict="swept")
        summary["sentence"] = f"{swept.sentence(told.rows)} {ready.left_out}".strip()
        if told.seeds == 1:
            summary["hint"] = "a single seed tells no spread, so nothing but the best counts as good; ask with --seeds 3."
        console.lines(told.lines)
    return summary


def sweep_stage(run: Run, *, contract: str, wanted: Wanted, lake_version: int) -> Swept:
    """Train everything that is wanted and not known yet, and tell how it ranks."""
    with run.stage("sweep") as stage:
        told = sweep_designs(contract=contract, folder=str(run.folder), wanted=wanted, lake_version=lake_version)
        known = f", {told.known} of them known from before" if told.known else ""
        stage.note = f"{told.trainings} trainings: {len(told.rows)} designs x {told.seeds} seed{'s' if told.seeds > 1 else ''}{known}"
        tell_table("sweep", rows=swept.for_people(told.rows), description=swept.sentence(told.rows))
    console.table(swept.HEADS, rows=swept.cells(told.rows), numbers=swept.NUMBERS)
    return told


@task(name="sweep", **ONCE)
def sweep_designs(*, contract: str, folder: str, wanted: Wanted, lake_version: int) -> Swept:
    """Train every design with every seed; what is over is kept at once."""
    from models import sweep as sweeper  # JAX takes seconds to import

    settings = Settings()
    declared = contracts.load(settings.contract_path(contract))
    panel = outcomes.without_test(panels.load(work(folder) / "panel"))
    designs = chosen_designs(panel, contract=declared, wanted=wanted)
    seeds = [declared.training.seed + number for number in range(wanted.seeds)]
    tracker = tracking.sweep(settings=settings, contract=declared, run=Path(folder).name, lake_version=lake_version)
    with tracker:
        every, known = trained(panel, designs=designs, seeds=seeds, folder=Path(folder), settings=settings, tracker=tracker)
        ranked = sweeper.rank(every, designs=designs)
        tracker.ranked(ranked, designs=designs)
    rows = swept.rows_of(ranked)
    path_of(Path(folder), name=swept.EXHIBIT).parent.mkdir(exist_ok=True)
    pl.DataFrame(rows).write_parquet(path_of(Path(folder), name=swept.EXHIBIT))
    lines = swept.contract_lines(next(each.design for each in ranked if each.chosen))
    return Swept(rows=rows, lines=lines, trainings=len(every), known=known, seeds=len(seeds))


def chosen_designs(panel: Panel, *, contract: Contract, wanted: Wanted) -> "list[Design]":
    """The designs that are asked for, in the order of the story.

    Raises:
        SweepError: none has such a name.
    """
    from models import sweep as sweeper

    training = replace(
        training_of(contract, changes=Changes(epochs=wanted.epochs)), supervision=wanted.supervision or contract.windows.supervision
    )
    every = sweeper.designs(network_of(panel, contract=contract), training=training, time_steps=wanted.time_steps)
    found = [design for design in every if named(design.name, pattern=wanted.designs)]
    if not found:
        raise SweepError(
            f"No design is called '{wanted.designs}'; there are {len(every)}.",
            hint=f"name a part, or a pattern with *, of names such as {every[0].name} and {every[-1].name}.",
        )
    return found


def named(name: str, *, pattern: str) -> bool:
    """Whether a design is asked for.

    >>> named("2 x LSTM(64), 16 steps, apart", pattern="lstm(64), 16"), named("2 x LSTM(64), 16 steps, apart", pattern="3 x*apart")
    (True, False)
    """
    name, pattern = name.lower(), pattern.strip().lower()
    return pattern in ("", EVERY) or (fnmatchcase(name, pattern) if "*" in pattern else pattern in name)


def trained(
    panel: Panel,
    *,
    designs: "Sequence[Design]",
    seeds: Sequence[int],
    folder: Path,
    settings: Settings,
    tracker: tracking.Sweep,
) -> "tuple[list[Outcome], int]":
    """What every design came to with every seed, and how many of these trainings were known from before."""
    from models import sweep as sweeper

    device = sweeper.device()
    kept = outcomes.Outcomes(settings.home / "sweeps", panel=outcomes.digest_of(panel), keep=settings.keep_runs)
    by_name = {design.name: design for design in designs}
    jobs = [(design.name, seed) for design in designs for seed in seeds]
    identities = {
        (name, seed): outcomes.identity(by_name[name].network, training=replace(by_name[name].training, seed=seed), device=device)
        for name, seed in jobs
    }
    before = kept.known()
    done = {job: sweeper.Outcome(**before[identity]) for job, identity in identities.items() if identity in before}
    known = len(done)
    bar = Bar("sweep-progress", description="Trainings of the sweep")
    with console.progress(len(jobs), of="training") as advance:

        def tell(outcome: "Outcome") -> None:
            outcomes.append(folder / OUTCOMES, asdict(outcome))
            tracker.outcome(outcome, design=by_name[outcome.design])

        def on_outcome(outcome: "Outcome") -> None:
            job = (outcome.design, outcome.seed)
            kept.keep(asdict(outcome), identity=identities[job])
            done[job] = outcome
            tell(outcome)
            advance(len(done), f"{outcome.design}, seed {outcome.seed}: {outcome.accuracy:.4f} after {outcome.train_seconds:.1f} s")
            bar.advance(len(done) / len(jobs))

        for outcome in done.values():
            tell(outcome)
        for names, of in outcomes.together([job for job in jobs if job not in done]):
            sweeper.run(panel, designs=[by_name[name] for name in names], seeds=of, on_outcome=on_outcome)
    return [done[job] for job in jobs], known
