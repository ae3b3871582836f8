"""From incidents of single entities to groups: incidents that come together are one, by the smallest label set that explains them.

Which incidents come together is told as they open, one instant after the other: those that are in a group with an incident that is open (or
could open again, see `reopen_minutes`), and those that opened within the last `group_minutes`. Of them, the entities of a label set (see
`serving.label_sets`) are a group, and what no label set explains stays single. A group opens with its first incident and is named after
it; it may gain members, and its label set may change, for as long as it is open. Values of one key that are hit within `group_minutes` of
each other are one label set. Where two groups turn out to be one, that goes on under the name of the older.

What is told of an instant depends on what opened until then, and on nothing later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from serving.label_sets import LEAST_HIT, Ints, LabelSet, Partition, explain, least_bits, partitions
from telemetry.schema import (
    END,
    ENTITY,
    GROUP,
    GROUPS,
    INCIDENT,
    INCIDENTS,
    LABEL_SET,
    OPENED,
    PEAK,
    RELEASE,
    START,
    TIME,
    conform,
)
from telemetry.sections import Thresholds

_CLUSTER: Final = "__cluster__"


def group(
    incidents: pl.DataFrame, *, labels: pl.DataFrame, policy: Thresholds, cadence_seconds: int, watched: pl.DataFrame | None = None
) -> pl.DataFrame:
    """GROUPS of incidents, by group, entity and incident: a row for each incident that is in one, and for each entity that is not hit.

    Args:
        incidents: INCIDENTS of one release, in any order.
        labels: `entity` and a column of text for each key; who is hit and stands here not has no label.
        policy: how close incidents open that may be one, and when they close.
        cadence_seconds: length of a step.
        watched: `entity, start, end` (exclusive): when each is watched, for who is not hit. Default: all of `labels`, always.
    """
    found = [pl.DataFrame(schema=GROUPS)]
    quiet, window = _quiet_and_window(policy, cadence_seconds=cadence_seconds)
    for cluster in _clustered(incidents, policy=policy, cadence_seconds=cadence_seconds).partition_by(_CLUSTER, include_key=False):
        there = _there(labels, cluster=cluster, watched=watched)
        enough = least_bits(there.height, together=2 * window / timedelta(weeks=1))
        found.append(_Fold(incidents=cluster, there=there, quiet=quiet, window=window, least_bits=enough).groups())
    return conform(pl.concat(found).sort(GROUP, ENTITY, INCIDENT), GROUPS, name="groups")


def unsettled(incidents: pl.DataFrame, *, policy: Thresholds, cadence_seconds: int, since: datetime) -> pl.DataFrame:
    """Those INCIDENTS whose groups, if they are in any, may change by incidents that end at `since` or later, those among them."""
    told = _clustered(incidents, policy=policy, cadence_seconds=cadence_seconds)
    return told.filter(pl.col(END).max().over(_CLUSTER) >= pl.lit(since).cast(TIME)).drop(_CLUSTER)


def _quiet_and_window(policy: Thresholds, *, cadence_seconds: int) -> tuple[timedelta, timedelta]:
    """How long after its end an incident can open again, and how close incidents open that may be one."""
    cadence = timedelta(seconds=cadence_seconds)
    return (policy.close_minutes + policy.reopen_minutes) * cadence, policy.group_minutes * cadence


def _clustered(incidents: pl.DataFrame, *, policy: Thresholds, cadence_seconds: int) -> pl.DataFrame:
    """INCIDENTS in the order of opening, numbered by cluster: what opens later comes together with nothing of a cluster before.

    Clusters of a single entity, which make no group, are left out.
    """
    quiet, window = _quiet_and_window(policy, cadence_seconds=cadence_seconds)
    until = pl.max_horizontal(pl.col(END) + quiet, pl.col(OPENED) + window)
    every = conform(incidents, INCIDENTS, name="incidents").sort(OPENED, ENTITY, INCIDENT)
    numbered = every.with_columns((pl.col(OPENED) > until.cum_max().shift(1)).fill_null(value=False).cum_sum().alias(_CLUSTER))
    return numbered.filter(pl.col(ENTITY).n_unique().over(_CLUSTER) >= LEAST_HIT, policy.group_minutes > 0)


def _there(labels: pl.DataFrame, *, cluster: pl.DataFrame, watched: pl.DataFrame | None) -> pl.DataFrame:
    """`labels` of those who are watched when the first incident opens, and of those that are hit."""
    hit = pl.col(ENTITY).is_in(cluster[ENTITY].unique().implode())
    began = pl.lit(cluster[OPENED].min(), dtype=TIME)
    who = None if watched is None else watched.filter(began >= pl.col(START), began < pl.col(END))[ENTITY].unique()
    there = labels if who is None else labels.filter(hit | pl.col(ENTITY).is_in(who.implode()))
    strangers = cluster.select(ENTITY).unique().join(there, on=ENTITY, how="anti")
    return pl.concat([there, strangers], how="diagonal").sort(ENTITY)


@dataclass(slots=True, kw_only=True, eq=False)
class _Group:
    """An open or closed group: rows of incidents by number."""

    name: str
    labels: LabelSet
    members: list[int]


@dataclass(slots=True, kw_only=True, eq=False)
class _Fold:
    """The groups of one cluster, told one instant of opening after the other.

    Attributes:
        incidents: INCIDENTS in the order of opening.
        there: `entity` and labels of N entities, sorted.
        quiet: how long after its end an incident can open again.
        window: how close incidents open that may be one.
        least_bits: what a label set must save.
    """

    incidents: pl.DataFrame
    there: pl.DataFrame
    quiet: timedelta
    window: timedelta
    least_bits: float
    open: list[_Group] = field(default_factory=list)
    closed: list[_Group] = field(default_factory=list)
    who: Ints = field(init=False)
    opened: list[datetime] = field(init=False)
    ended: list[datetime] = field(init=False)
    partitions: tuple[Partition, ...] = field(init=False)

    def __post_init__(self) -> None:
        order = pl.Enum(self.there[ENTITY])
        self.who = self.incidents[ENTITY].cast(order).to_physical().cast(pl.Int64).to_numpy()
        self.opened, self.ended = self.incidents[OPENED].to_list(), self.incidents[END].to_list()
        self.partitions = partitions(self.there)

    def groups(self) -> pl.DataFrame:
        """GROUPS of the cluster."""
        for at in sorted(set(self.opened)):
            self._close(at)
            self._open(at)
        told = [*self.closed, *self.open]
        return pl.concat([pl.DataFrame(schema=GROUPS), *(self._told(group) for group in told)])

    def _close(self, at: datetime) -> None:
        """Groups of which no incident is open, or could open again, gain nothing any more."""
        over = [group for group in self.open if max(self.ended[row] for row in group.members) + self.quiet < at]
        self.closed += over
        self.open = [group for group in self.open if group not in over]

    def _open(self, at: datetime) -> None:
        """What has opened until `at` and is not settled, told anew."""
        grouped = {row for group in (*self.open, *self.closed) for row in group.members}
        fresh = [row for row, opened in enumerate(self.opened) if at - self.window <= opened <= at and row not in grouped]
        rows = sorted({*fresh, *(row for group in self.open for row in group.members)})
        hit = np.zeros(self.there.height, dtype=np.bool_)
        hit[self.who[rows]] = True
        if hit.sum() < LEAST_HIT:
            return
        found = self._united(explain(hit, partitions=self.partitions, least_bits=self.least_bits), rows=rows)
        owners = self._owners(found)
        claims = self._claims(rows, found=found, owners=owners)
        stays = [group for group in self.open if group not in owners.values()]
        for number, labels in enumerate(found):
            members = claims[number]
            if number in owners:
                owners[number].labels, owners[number].members = labels, members
            elif len(set(self.who[members])) >= LEAST_HIT:
                self.open.append(_Group(name=self._name(members), labels=labels, members=members))
        claimed = {row for members in claims for row in members}
        for group in stays:
            free = [row for row in (*group.members, *fresh) if row not in claimed and group.labels.covers[self.who[row]]]
            group.members = sorted(set(free))
            claimed.update(group.members)
        self.open = [group for group in self.open if len(set(self.who[group.members])) >= LEAST_HIT]

    def _united(self, found: list[LabelSet], *, rows: list[int]) -> list[LabelSet]:
        """Values of one key that were hit at once are one label set."""
        made: list[tuple[LabelSet, datetime]] = []
        for labels in found:
            first = min(self.opened[row] for row in rows if labels.covers[self.who[row]])
            same = (
                n for n, (other, at) in enumerate(made) if len(labels.keys) == 1 and other.keys == labels.keys and self._at_once(at, first)
            )
            if (place := next(same, None)) is None:
                made.append((labels, first))
            else:
                made[place] = (made[place][0].joined(labels), min(made[place][1], first))
        return [labels for labels, _ in made]

    def _at_once(self, first: datetime, second: datetime) -> bool:
        return abs(first - second) <= self.window

    def _owners(self, found: list[LabelSet]) -> dict[int, _Group]:
        """By number of a label set, the open group that goes on with it: the one of which it covers the most, the older among equals."""
        pairs = [
            (-int(labels.covers[self.who[group.members]].sum()), age, number)
            for number, labels in enumerate(found)
            for age, group in enumerate(self.open)
        ]
        owners: dict[int, _Group] = {}
        for covered, age, number in sorted(pairs):
            if covered and number not in owners and self.open[age] not in owners.values():
                owners[number] = self.open[age]
        return owners

    def _claims(self, rows: list[int], *, found: list[LabelSet], owners: Mapping[int, _Group]) -> list[list[int]]:
        """The rows of each label set: where it is already, if that still covers it, else the first that does."""
        home = {row: number for number, group in owners.items() for row in group.members}
        claims: list[list[int]] = [[] for _ in found]
        for row in rows:
            covering = [number for number, labels in enumerate(found) if labels.covers[self.who[row]]]
            if covering:
                claims[home[row] if home.get(row) in covering else covering[0]].append(row)
        return claims

    def _name(self, members: list[int]) -> str:
        """After the first of the members after which no group is named."""
        taken = {group.name for group in (*self.open, *self.closed)}
        names = (f"group of {self.incidents[INCIDENT][row]}" for row in sorted(members))
        return next(name for name in names if name not in taken)

    def _told(self, group: _Group) -> pl.DataFrame:
        """GROUPS of one."""
        hit = self.incidents[group.members]
        start, opened, end = hit[START].min(), hit[OPENED].min(), hit[END].max()
        meanwhile = self.incidents.filter(pl.col(START) < end, pl.col(END) > start)[ENTITY]
        spared = self.there.filter(pl.Series(group.labels.covers), ~pl.col(ENTITY).is_in(meanwhile.implode()))[ENTITY]
        not_hit = pl.DataFrame({ENTITY: spared}).with_columns(
            pl.lit(None, dtype=pl.String).alias(INCIDENT),
            pl.lit(start, dtype=TIME).alias(START),
            pl.lit(opened, dtype=TIME).alias(OPENED),
            pl.lit(None, dtype=pl.Float64).alias(PEAK),
            pl.lit(hit[RELEASE][0]).alias(RELEASE),
        )
        shared = (pl.lit(group.name).alias(GROUP), pl.lit(group.labels.name).alias(LABEL_SET), pl.lit(end, dtype=TIME).alias(END))
        return pl.concat([hit.select(not_hit.columns), not_hit]).with_columns(*shared).select(list(GROUPS))


def summed(groups: pl.DataFrame) -> pl.DataFrame:
    """`group, label_set, start, opened, end, peak, incidents, hit, not_hit` (entities), one row a group, the latest first."""
    named = pl.col(INCIDENT).is_not_null()
    return (
        groups.group_by(GROUP, LABEL_SET)
        .agg(
            pl.col(START).min(),
            pl.col(OPENED).min(),
            pl.col(END).max(),
            pl.col(PEAK).max(),
            named.sum().cast(pl.Int64).alias("incidents"),
            pl.col(ENTITY).filter(named).n_unique().cast(pl.Int64).alias("hit"),
            (~named).sum().cast(pl.Int64).alias("not_hit"),
        )
        .sort(OPENED, GROUP, descending=[True, False])
    )
