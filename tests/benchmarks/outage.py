"""Outages of 200 customers in 5 regions: how many alerts they are to a system of thresholds, and how many incidents here.

    python tests/benchmarks/outage.py [--seeds 5] [--customers 200] [--json]

Readings are those of the simulated fleet (`telemetry.fleet`), a row a minute of 1,000 entities and 5 targets; the forecast of each minute
is the simulator's own expectation of it, so that what is measured here is judgement, not learning. Bars are calibrated on the first day by
the default policy. On the second, at one o'clock in the afternoon, an hour goes bad: all 5 targets of the entities of a label set move by
4 to 8 of their deviations, each entity beginning within 5 minutes of the others. Beside it, in the three hours that are judged, 12
incidents of single entities that have nothing to do with it, and whatever false ones the noise makes. Versions and plans are facts of
customers, in the contract.

A case is right if the groups have the label sets that were hit, no more and no fewer, at least 95 % of who was hit is in them, at most 5 %
of who was hit is told as not hit, and of those of a label set whom luck has spared at least 95 % are told so. The cases: a region; a
version; a plan; one customer in all regions; the customers of one version in one region; 90 % of a region; two regions; a region and a
version at once; silence of all; nothing at all.

The last line of `--json` is one record:
    customers          of the fleet
    entities           of it: each customer in each region. An outage of all hits so many
    cases              by name, of each: right (seeds of all), label_set and, as [least, greatest] over the seeds: groups, hit (entities
                       that were struck), members (entities in a group), not_hit (entities that a group tells as spared), single (incidents
                       in no group), metric_alerts, ratio, told_first
    metric_alerts      of the region: incidents of single targets of the entities in the group, opened and closed by the same rule
    groups, label_set, not_hit  of it
    told_first         of it: how many incidents had been told singly before the group was there, instant by instant as if it were live
    ratio              of it: metric alerts to one group, the least of the seeds
    seeds, seconds
`metric_alerts` counts what a threshold on every target of every entity would send, had it the same bars and the same M of N. Exits with 1
if any case of any seed is wrong, or if the ratio of the region is below 150.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from serving.groups import group, summed  # noqa: E402  (the checkout is not installed)
from serving.incidents import open_incidents  # noqa: E402
from serving.label_sets import EVERYONE, labels  # noqa: E402
from serving.scorer import score  # noqa: E402
from serving.thresholds import calibrate  # noqa: E402
from telemetry import contract as contracts  # noqa: E402
from telemetry.contract import Contract  # noqa: E402
from telemetry.fleet import TARGETS, Fleet, FleetConfig, simulate  # noqa: E402
from telemetry.schema import AT, ENTITY, FORECASTS, INCIDENT, LABEL_SET, OPENED, START, TARGET, TIME  # noqa: E402

REGIONS: Final = ("af", "ap", "eu", "sa", "us")
VERSIONS: Final = ("2.0", "2.1", "3.0", "3.1")
PLANS: Final = ("free", "gold", "team")
BEGIN: Final = datetime(2026, 3, 3, tzinfo=UTC)
DAY: Final = 24 * 60
SEEN: Final = (DAY + 12 * 60, DAY + 15 * 60)
"""Minutes that are judged: noon to three o'clock of the second day."""
HIT_AT, LASTS, ONSET = DAY + 13 * 60, 60, 5
UNRELATED: Final = 12
STRENGTHS: Final = (4.0, 8.0)
WORST_RATIO: Final = 150
SIGNS: Final = np.array([-1.0, -1.0, 1.0, 1.0, -1.0])
"""Devices, queries and positions fall; failed queries and the time of a query rise."""
Floats = NDArray[np.float32]
Figures = dict[str, Any]  # Any: plain JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Who is hit, and what should be said of it.

    Attributes:
        hit: of the labels' columns.
        expected: the label sets.
        share: of the hit that really are.
        silent: rows stop instead.
    """

    hit: pl.Expr
    expected: tuple[str, ...]
    share: float = 1.0
    silent: bool = False


REGION, VERSION, PLAN = (pl.col(name) for name in ("region", "version", "plan"))
CASES: Final = {
    "region": Case(hit=REGION == "eu", expected=("region=eu",)),
    "version": Case(hit=VERSION == "2.1", expected=("version=2.1",)),
    "plan": Case(hit=PLAN == "gold", expected=("plan=gold",)),
    "customer": Case(hit=pl.col("customer") == "elm", expected=("customer=elm",)),
    "region and version": Case(hit=(REGION == "eu") & (VERSION == "2.1"), expected=("region=eu & version=2.1",)),
    "90 % of a region": Case(hit=REGION == "eu", expected=("region=eu",), share=0.9),
    "two regions": Case(hit=REGION.is_in(["eu", "us"]), expected=("region=eu|us",)),
    "two at once": Case(hit=(REGION == "eu") | (VERSION == "2.1"), expected=("region=eu", "version=2.1")),
    "silence of all": Case(hit=pl.lit(value=True), expected=(EVERYONE,), silent=True),
    "nothing": Case(hit=pl.lit(value=False), expected=()),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watched:
    """A fleet with its bars.

    Attributes:
        contract: with versions and plans.
        labels: of the entities, in the order of the arrays.
        actual: f32[minute, entity, target], NaN where no row came.
        expected: f32[minute, entity, target].
        sigma: f32[entity, target], deviation over the first day.
        thresholds: THRESHOLDS.
    """

    contract: Contract
    labels: pl.DataFrame
    actual: Floats
    expected: Floats
    sigma: Floats
    thresholds: pl.DataFrame


def declared(config: FleetConfig) -> Contract:
    """The fleet's contract, and which version and plan each customer has."""
    names = config.customer_names
    random = np.random.default_rng(0)
    facts = {
        "version": {"by": "customer", "values": dict(zip(names, random.choice(VERSIONS, len(names)).tolist(), strict=True))},
        "plan": {"by": "customer", "values": dict(zip(names, random.choice(PLANS, len(names)).tolist(), strict=True))},
    }
    shipped = contracts.load(ROOT / "infra" / "contracts" / "fleet.toml").model_dump(mode="json")
    return contracts.parse(shipped | {"attributes": {"facts": facts}})


def watch(config: FleetConfig) -> Watched:
    """The fleet, and bars from its first day."""
    fleet = simulate(config)
    contract = declared(config)
    actual, expected = _told(fleet, config=config), fleet.conditional
    sigma = np.nanstd(actual[:DAY], axis=0)
    names = config.entities
    parts = (
        forecasts(actual[:DAY], expected[:DAY], sigma=sigma, names=names, minutes=(0, DAY), entities=slice(start, start + 100))
        for start in range(0, len(names), 100)
    )
    thresholds = calibrate(parts, policy=contract.thresholds, cadence_seconds=60)
    cohorts = {name: name.partition("/")[2] for name in names}
    known = labels(names, contract=contract, cohorts=cohorts)
    return Watched(contract=contract, labels=known, actual=actual, expected=expected, sigma=sigma, thresholds=thresholds)


def _told(fleet: Fleet, *, config: FleetConfig) -> Floats:
    """f32[minute, entity, target] of the readings, NaN where there is none."""
    key = pl.concat_str("customer", "region", separator="/").cast(pl.Enum(config.entities)).to_physical()
    minute = (pl.col("time") - pl.lit(config.start).cast(TIME)).dt.total_minutes()
    rows = fleet.readings.select(minute.alias("minute"), key.alias("entity"), *TARGETS)
    told = np.full((config.minutes, len(config.entities), len(TARGETS)), np.nan, dtype=np.float32)
    told[rows["minute"].to_numpy(), rows["entity"].to_numpy()] = rows.select(TARGETS).cast(pl.Float32).fill_null(np.nan).to_numpy()
    return told


def forecasts(
    actual: Floats, expected: Floats, *, sigma: Floats, names: tuple[str, ...], minutes: tuple[int, int], entities: slice
) -> pl.DataFrame:
    """FORECASTS of lead 1; rows that did not come are left out."""
    values, means = (array[:, entities].transpose(1, 0, 2) for array in (actual, expected))
    some = names[entities]
    at = pl.datetime_range(
        BEGIN + minutes[0] * timedelta(minutes=1),
        BEGIN + minutes[1] * timedelta(minutes=1),
        "1m",
        closed="left",
        eager=True,
        time_unit="us",
    )
    steps, targets = len(at), len(TARGETS)
    frame = pl.DataFrame(
        {
            ENTITY: pl.Series(np.repeat(np.arange(len(some)), steps * targets)).replace_strict(
                dict(enumerate(some)), return_dtype=pl.String
            ),
            AT: at.gather(np.tile(np.repeat(np.arange(steps), targets), len(some))),
            TARGET: pl.Series(np.tile(np.arange(targets), len(some) * steps)).replace_strict(
                dict(enumerate(TARGETS)), return_dtype=pl.String
            ),
            "actual": values.ravel(),
            "forecast": means.ravel(),
            "sigma": np.broadcast_to(sigma[entities][:, None], values.shape).ravel(),
        }
    )
    usual = {"lead_minutes": 1, "persistence": 0.0, "newcomer": False, "label": False}
    whole = frame.with_columns(pl.lit(value, dtype=FORECASTS[name]).alias(name) for name, value in usual.items())
    return whole.filter(pl.col("actual").is_not_nan()).select(pl.col(name).cast(kind) for name, kind in FORECASTS.items())


def struck(fleet: Watched, *, case: Case, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """What is told in the minutes that are judged, and who is hit by the outage."""
    random = np.random.default_rng([seed, 1])
    told = fleet.actual[SEEN[0] : SEEN[1]].copy()
    who = fleet.labels.with_columns(case.hit.fill_null(value=False).alias("__hit__"))["__hit__"].to_numpy().copy()
    who &= random.random(len(who)) < case.share
    for entity in np.flatnonzero(who):
        begins = HIT_AT - SEEN[0] + int(random.integers(0, ONSET + 1)) * (not case.silent)
        span = slice(begins, begins + LASTS)
        told[span, entity] = np.nan if case.silent else told[span, entity] + SIGNS * random.uniform(*STRENGTHS) * fleet.sigma[entity]
    if not case.silent:
        for entity in random.choice(np.flatnonzero(~who), UNRELATED, replace=False):
            begins, target = int(random.integers(0, SEEN[1] - SEEN[0] - 40)), int(random.integers(len(TARGETS)))
            told[begins : begins + 30, entity, target] += SIGNS[target] * random.uniform(*STRENGTHS) * fleet.sigma[entity, target]
    return told, who


def judged(fleet: Watched, *, name: str, seed: int) -> Figures:
    """One case of one seed."""
    case, minute = CASES[name], timedelta(minutes=1)
    told, who = struck(fleet, case=case, seed=seed)
    names = tuple(fleet.labels[ENTITY])
    rows = forecasts(told, fleet.expected[SEEN[0] : SEEN[1]], sigma=fleet.sigma, names=names, minutes=SEEN, entities=slice(None))
    scores = score(rows, thresholds=fleet.thresholds, release="simulated", parameters=fleet.contract.parameters).scores
    policy, until = fleet.contract.thresholds, BEGIN + SEEN[1] * minute
    incidents = open_incidents(scores, policy=policy, cadence_seconds=60, until=until)
    how: dict[str, Any] = {"labels": fleet.labels, "policy": policy, "cadence_seconds": 60}
    groups = group(incidents, **how)
    single = scores.with_columns(pl.concat_str(ENTITY, TARGET, separator="|").alias(ENTITY))
    alerts = open_incidents(single, policy=policy.model_copy(update={"reopen_minutes": 0, "flaps": 0}), cadence_seconds=60, until=until)
    members = groups.drop_nulls(INCIDENT)
    inside = alerts.filter(
        pl.col(ENTITY).str.split("|").list.first().is_in(members[ENTITY].unique().implode()),
        pl.col(START) >= BEGIN + (HIT_AT - 3) * minute,
        pl.col(START) < BEGIN + (HIT_AT + LASTS) * minute,
    )
    hit = set(np.array(names)[who])
    lines = summed(groups).sort(LABEL_SET)
    spared = set(groups.filter(pl.col(INCIDENT).is_null())[ENTITY])
    found = len(hit & set(members[ENTITY])) / max(len(hit), 1) if hit else 1.0
    by_luck = set(fleet.labels.filter(case.hit)[ENTITY]) - hit
    told_spared = len(by_luck - spared - set(members[ENTITY])) <= 0.05 * len(by_luck)
    right = tuple(lines[LABEL_SET]) == case.expected and found >= 0.95 and not len(spared & hit) > 0.05 * len(hit)
    return {
        "right": right and told_spared,
        "label_set": lines[LABEL_SET].to_list(),
        "groups": lines.height,
        "hit": len(hit),
        "members": members[ENTITY].n_unique(),
        "not_hit": len(spared),
        "single": incidents.height - members.height,
        "metric_alerts": inside.height,
        "ratio": round(inside.height / max(lines.height, 1), 1),
        "told_first": told_first(incidents, how=how),
    }


def told_first(incidents: pl.DataFrame, *, how: dict[str, Any]) -> int:
    """How many of the incidents that end up in a group were in none when they opened."""
    after = group(incidents, **how).drop_nulls(INCIDENT).select(INCIDENT, OPENED)
    first = 0
    for (at,), opened in after.partition_by(OPENED, as_dict=True).items():
        then = group(incidents.filter(pl.col(OPENED) <= at), **how)
        first += opened.join(then, on=INCIDENT, how="anti").height
    return first


def over_seeds(figures: list[Figures]) -> Figures:
    """Least and greatest of the figures of a case; its label sets by how many seeds told them."""
    names = [name for name, value in figures[0].items() if isinstance(value, int | float) and not isinstance(value, bool)]
    told: Figures = {"right": f"{sum(each['right'] for each in figures)} of {len(figures)}"}
    sets = [", ".join(each["label_set"]) or "none" for each in figures]
    told["label_set"] = sets[0] if len(set(sets)) == 1 else {each: sets.count(each) for each in sets}
    return told | {name: [min(each[name] for each in figures), max(each[name] for each in figures)] for name in names}


def main() -> int:
    """Measure, and say whether all is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="of the outages and the unrelated incidents; the fleet is one")
    parser.add_argument("--customers", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr if asked.json else sys.stdout, flush=True)

    began = time.perf_counter()
    config = FleetConfig(
        customers=asked.customers, regions=REGIONS, days=2, start=BEGIN, incidents=0, early_incidents=0, arriving=0, seed=1
    )
    fleet = watch(config)
    say(f"{len(config.entities):,} entities, bars of one day, in {time.perf_counter() - began:.0f} s")
    cases: dict[str, Figures] = {}
    for name in CASES:
        figures = [judged(fleet, name=name, seed=seed) for seed in range(asked.seeds)]
        cases[name] = over_seeds(figures)
        say(f"{name:20} {json.dumps(cases[name])}")
    region = cases["region"]
    ratio = region["ratio"][0]
    record = {
        "customers": asked.customers,
        "entities": len(config.entities),
        "cases": cases,
        **{name: region[name] for name in ("metric_alerts", "groups", "label_set", "not_hit", "told_first")},
        "ratio": ratio,
        "seeds": asked.seeds,
        "seconds": round(time.perf_counter() - began, 1),
    }
    if asked.json:
        print(json.dumps(record))
    all_right = all(each["right"] == f"{asked.seeds} of {asked.seeds}" for each in cases.values())
    say(f"all right: {all_right}; {ratio:g} alerts to 1")
    return 0 if all_right and ratio >= WORST_RATIO else 1


if __name__ == "__main__":
    raise SystemExit(main())
