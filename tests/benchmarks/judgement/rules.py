"""Threshold rules as a good devops team would write them for a fleet, their numbers read off the learning part alone.

By this procedure, which was fixed before a rule was looked at in a test:

    for every customer and region    query time, failed queries: a tenth above the highest value that was held for five minutes in the
                                     learning part; reporting devices: a tenth below the lowest one; each `for: 5m`
    for all                          the largest of the upper bounds of query time, for those that have none of their own
                                     the share of queries that fail: a tenth above the highest that any entity held for five minutes
                                     queries and positions over ten minutes against yesterday and against the week before: a tenth below
                                     the lowest ratio that any entity held for five minutes, if those of then were more than its quietest
    absent                           no row of a customer and region for five minutes
    standing still                   positions, queries and query time that have not changed for ten minutes

Minutes of labelled incidents, and those that are compared with one, teach nothing.
"""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml  # type: ignore[import-untyped]

from flows.demo import HISTORY_DAYS, LIVE_DAYS
from flows.demo import START as DEMO_START
from telemetry import alert_rules, windows
from telemetry.contract import Contract
from telemetry.fleet import FleetConfig
from telemetry.schema import AT, END, ENTITY, START
from tests.benchmarks.learner import telemetries

HELD: Final = "5m"
HELD_MINUTES: Final = 5
SMOOTHED_MINUTES: Final = 10
MARGIN: Final = 0.1
UPPER: Final = {"query_time": "QueriesAreSlow", "failed_queries": "ManyQueriesFail"}
LOWER: Final = {"reporting_devices": "FewVehiclesReport"}
DROPS: Final = ("queries", "positions")
PASTS: Final = {"1d": timedelta(days=1), "1w": timedelta(weeks=1)}
SHARE: Final = "failed_share"
Rule = dict[str, Any]  # Any: plain YAML


def write(path: Path, *, grid: pl.DataFrame, labels: pl.DataFrame, keys: tuple[str, ...]) -> None:
    """A rules file that `promtool check rules` takes.

    Args:
        path: of the file.
        grid: rows of the learning part.
        labels: LABELS of it.
        keys: of an entity.
    """
    learned = _quiet(grid, labels=labels).sort(ENTITY, AT)
    bars = _bars(learned)
    own = [rule for row in bars.iter_rows(named=True) for rule in _own(row, keys=keys)]
    groups = [
        {"name": "customers", "interval": "1m", "rules": own},
        {"name": "all", "interval": "1m", "rules": _general(bars) + _drops(learned)},
        {"name": "telemetry", "interval": "1m", "rules": _telemetry(bars, keys=keys)},
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    head = "# Threshold rules, as a devops team would write them; each number's origin: tests/benchmarks/judgement/rules.py.\n"
    path.write_text(head + yaml.safe_dump({"groups": groups}, sort_keys=False, width=130), encoding="utf-8")


def of_demo(path: Path) -> None:
    """The rules of the fleet that `make demo` simulates, of what is learned there: all before the parallel test."""
    with tempfile.TemporaryDirectory() as folder:
        telemetry = telemetries.of_fleet(FleetConfig(days=HISTORY_DAYS + LIVE_DAYS, start=DEMO_START), folder=Path(folder))
    history = telemetry.until(DEMO_START + timedelta(days=HISTORY_DAYS))
    learned = history.until(windows.cuts(history.grid.lazy(), contract=history.contract)["test_start"][0])
    known = learned.labels.filter(pl.col(START) < learned.grid[AT].max())
    write(path, grid=learned.grid, labels=known, keys=telemetry.contract.entity.keys)


def told(path: Path, *, grid: pl.LazyFrame, contract: Contract, since: Any) -> pl.DataFrame:  # Any: a datetime
    """INCIDENTS of the rules from an instant on."""
    rules = alert_rules.load(path)
    if rules.refused:
        raise ValueError(f"{len(rules.refused)} rules are refused, the first: {rules.refused[0]}")
    return alert_rules.alerts(rules, grid=grid, contract=contract).filter(pl.col(START) >= since)


def merged(incidents: pl.DataFrame) -> pl.DataFrame:
    """Alerts of an entity that overlap are one, so that the rules are not charged for telling a thing twice."""
    order = incidents.sort(ENTITY, START, END)
    until = pl.col(END).cum_max().shift(1).over(ENTITY)
    run = (pl.col(START) > until).fill_null(value=True).cum_sum().over(ENTITY).alias("run")
    first = [pl.col(name).first() for name in incidents.columns if name not in (ENTITY, END)]
    return order.with_columns(run).group_by(ENTITY, "run", maintain_order=True).agg(*first, pl.col(END).max()).select(incidents.columns)


def _quiet(grid: pl.DataFrame, *, labels: pl.DataFrame) -> pl.DataFrame:
    """Values outside of labelled incidents, null inside."""
    periods = labels.select(ENTITY, pl.col(START).alias(AT), pl.col(END).alias("ended")).sort(AT)
    beside = grid.sort(AT).join_asof(periods, on=AT, by=ENTITY, check_sortedness=False)
    inside = (pl.col(AT) < pl.col("ended")).fill_null(value=False)
    names = [*UPPER, *LOWER, *DROPS]
    shares = (pl.col("failed_queries") / pl.col("queries").replace(0.0, None)).alias(SHARE)
    return beside.with_columns(shares).with_columns(
        pl.when(~inside).then(pl.col(name)).alias(name) for name in dict.fromkeys([*names, SHARE])
    )


def _bars(learned: pl.DataFrame) -> pl.DataFrame:
    """By entity: the highest and lowest values that were held for as long as a rule asks for, and its quietest ten minutes."""
    above = [pl.col(name).rolling_min(HELD_MINUTES + 1).max().alias(name) for name in (*UPPER, SHARE)]
    below = [pl.col(name).rolling_max(HELD_MINUTES + 1).min().alias(name) for name in LOWER]
    quiet = [
        pl.col(name).rolling_mean(SMOOTHED_MINUTES, min_samples=SMOOTHED_MINUTES).quantile(0.1).alias(f"{name} quiet") for name in DROPS
    ]
    return learned.group_by(ENTITY, maintain_order=True).agg(*above, *below, *quiet)


def _own(row: dict[str, Any], *, keys: tuple[str, ...]) -> list[Rule]:  # Any: a row's values
    who = _who(row[ENTITY], keys=keys)
    high = [_rule(alert, f"{name}{who} > {_digits(row[name] * (1 + MARGIN))}") for name, alert in UPPER.items() if row[name] is not None]
    low = [_rule(alert, f"{name}{who} < {_digits(row[name] * (1 - MARGIN))}") for name, alert in LOWER.items() if row[name]]
    return high + low


def _general(bars: pl.DataFrame) -> list[Rule]:
    highest = bars.select(pl.col(*UPPER, SHARE).max()).row(0, named=True)
    slow = _rule("QueriesAreSlowForAnyone", f"query_time > {_digits(highest['query_time'] * (1 + MARGIN))}")
    return [slow, _rule("LargeShareFails", f"failed_queries / queries > {_digits(highest[SHARE] * (1 + MARGIN))}")]


def _drops(learned: pl.DataFrame) -> list[Rule]:
    rules = []
    for name in DROPS:
        smooth = pl.col(name).rolling_mean(SMOOTHED_MINUTES, min_samples=SMOOTHED_MINUTES).over(ENTITY)
        now = learned.select(ENTITY, AT, smooth.alias("now")).drop_nulls()
        floor = now.select(pl.col("now").quantile(0.1).over(ENTITY).min()).item()
        for past, ago in PASTS.items():
            then = now.select(ENTITY, pl.col(AT) + ago, pl.col("now").alias("then")).filter(pl.col("then") > floor)
            ratio = (pl.col("now") / pl.col("then")).rolling_max(HELD_MINUTES + 1).over(ENTITY)
            lowest = now.join(then, on=[ENTITY, AT]).sort(ENTITY, AT).select(ratio.min()).item()
            if lowest is None:
                continue
            smoothed, before = f"avg_over_time({name}[{SMOOTHED_MINUTES}m])", f"avg_over_time({name}[{SMOOTHED_MINUTES}m] offset {past})"
            bar = _digits(lowest * (1 - MARGIN))
            rules.append(_rule(f"{name.title()}AreLost{past}", f"{smoothed} < {bar} * {before} and {before} > {_digits(floor)}"))
    return rules


def _telemetry(bars: pl.DataFrame, *, keys: tuple[str, ...]) -> list[Rule]:
    absent = [
        {"alert": "NothingArrives", "expr": f"absent_over_time(queries{_who(entity, keys=keys)}[5m])"}
        for entity in bars[ENTITY].unique(maintain_order=True)
    ]
    still = " and ".join(f"changes({name}[10m]) == 0" for name in ("positions", "queries", "query_time"))
    return [*absent, {"alert": "TelemetryStandsStill", "expr": still}]


def _rule(alert: str, expression: str) -> Rule:
    return {"alert": alert, "expr": expression, "for": HELD}


def _who(entity: str, *, keys: tuple[str, ...]) -> str:
    return "{" + ", ".join(f'{key}="{value}"' for key, value in zip(keys, entity.split("/"), strict=True)) + "}"


def _digits(value: float) -> str:
    """Three digits, as a person would write them.

    >>> _digits(1234.5), _digits(0.12345)
    ('1230', '0.123')
    """
    return f"{float(f'{value:.3g}'):g}"
