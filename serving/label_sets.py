"""Which entities are hit, in the fewest words: the label sets of the shortest description.

A label of an entity is the value of a key, of the cohort, or of a fact that the contract tells by one (plan, version). A label set is a
conjunction of up to `MOST_KEYS` labels, `region=eu & version=2.1`, a union of values of one key, `region=ap|eu`, or `everyone`.

The criterion is the shortest description (Rissanen, Automatica 14, 1978). Of N entities, h of which are hit, the hit ones are told in

    log2(N + 1) + log2 C(N, h)  bits

their number and then which they are. A label set of n entities, k of them hit, is worth its name (how many keys, which keys, which of
their values) where the whole becomes shorter by it: name + the k of n + the other h - k of the other N - n. So it must be hit more than
the rest is, by more than chance gives to one of so many sets; who in it is not hit costs bits. Label sets are taken one by one, the one
that saves the most first; what is left is explained by none. Everyone needs no name and saves nothing: it is told where, after all that,
more than half of the rest is hit.

Chance saves b bits at most once in 2^b looks (Gruenwald, The Minimum Description Length Principle, 2007, ch. 3). The more entities there
are, the more often incidents of theirs come together by chance, so that a label set must save `least_bits`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.calendars import key_values
from telemetry.contract import Contract
from telemetry.schema import ENTITY

MOST_KEYS: Final = 3
EVERYONE: Final = "everyone"
LEAST_HIT: Final = 2
"""One entity needs no label set: it has a name."""
_LABEL: Final = "__label__"
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def labels(names: tuple[str, ...], *, contract: Contract, cohorts: Mapping[str, str]) -> pl.DataFrame:
    """`entity` and, as text, each key, the cohort where it is no key, and each fact of the contract; null where it is not known."""
    keys = tuple(dict.fromkeys((*contract.entity.keys, *filter(None, (contract.entity.cohort,)))))
    values = {key: key_values(names, key=key, contract=contract, cohorts=cohorts) for key in keys}
    told: dict[str, list[str | None]] = {key: list(value) for key, value in values.items()}
    for name, fact in contract.attributes.facts.items():
        table = {key: value if isinstance(value, str) else f"{value:g}" for key, value in fact.values.items()}
        told[name if name not in told else f"{name} of {fact.by}"] = [None if key is None else table.get(key) for key in values[fact.by]]
    return pl.DataFrame({ENTITY: list(names), **told}, schema={ENTITY: pl.String, **dict.fromkeys(told, pl.String)})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Partition:
    """All conjunctions of some keys: `code` tells of each entity which it is in (-1: none), `names` how they read."""

    keys: tuple[str, ...]
    code: Ints
    names: tuple[str, ...]
    bits: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelSet:
    """What the entities of a group have in common.

    Attributes:
        name: as it is read.
        keys: of which it is made.
        covers: bool[N], who is in it.
    """

    name: str
    keys: tuple[str, ...]
    covers: Bools

    def joined(self, other: "LabelSet") -> "LabelSet":
        """Both, which are of the same single key."""
        key = self.keys[0]
        values = sorted({*self.name.removeprefix(f"{key}=").split("|"), *other.name.removeprefix(f"{key}=").split("|")})
        return LabelSet(name=f"{key}={'|'.join(values)}", keys=self.keys, covers=self.covers | other.covers)


def partitions(there: pl.DataFrame) -> tuple[Partition, ...]:
    """Of `entity` and labels: by each set of up to `MOST_KEYS` keys, unless one with fewer keys parts the entities in the same way."""
    keys = tuple(column for column in there.columns if column != ENTITY)
    made: list[Partition] = []
    seen: set[bytes] = set()
    for size in range(1, min(MOST_KEYS, len(keys)) + 1):
        sets = tuple(combinations(keys, size))
        for chosen in sets:
            text = pl.concat_str([pl.format("{}={}", pl.lit(key), pl.col(key)) for key in chosen], separator=" & ")
            names = there.select(text.alias(_LABEL))[_LABEL]
            values = names.drop_nulls().unique(maintain_order=True)
            code = np.full(len(names), -1, dtype=np.int64)
            known = names.is_not_null().to_numpy()
            code[known] = names.drop_nulls().cast(pl.Enum(values)).to_physical().cast(pl.Int64).to_numpy()
            if not len(values) or code.tobytes() in seen:
                continue
            seen.add(code.tobytes())
            bits = size + np.log2(len(sets)) + np.log2(len(values))
            made.append(Partition(keys=chosen, code=code, names=tuple(values), bits=float(bits)))
    return tuple(made)


def least_bits(entities: int, *, together: float) -> float:
    """What a label set must save so that chance makes one no oftener than about once a week, with an incident a week of each entity.

    There are as many looks as incidents open beside another one.

    Args:
        entities: N.
        together: share of a week within which incidents come together.

    >>> round(least_bits(24, together=30 / 10_080), 2), round(least_bits(1000, together=30 / 10_080), 2)
    (0.78, 9.97)
    """
    return math.log2(max(1.0, entities * min(1.0, entities * together)))


def explain(hit: Bools, *, partitions: tuple[Partition, ...], least_bits: float = 0.0) -> list[LabelSet]:
    """The label sets that tell shortest who of N entities is hit, the one that saves the most first; none where none saves enough.

    Args:
        hit: bool[N].
        partitions: of the same N entities.
        least_bits: what each must save, or more than nothing.
    """
    rest = np.ones(len(hit), dtype=np.bool_)
    found: list[LabelSet] = []
    while (hit & rest).sum() >= LEAST_HIT and (best := _best(hit, rest=rest, partitions=partitions, least_bits=least_bits)) is not None:
        found.append(best)
        rest &= ~best.covers
    left = int((hit & rest).sum())
    if left >= LEAST_HIT and 2 * left > rest.sum():
        return [LabelSet(name=EVERYONE, keys=(), covers=np.ones(len(hit), dtype=np.bool_))]
    return found


def _best(hit: Bools, *, rest: Bools, partitions: tuple[Partition, ...], least_bits: float) -> LabelSet | None:
    """The label set that saves the most of what is left, the one with the fewest keys among equals."""
    cost = _cost_of(len(hit))
    of_all, of_hit = int(rest.sum()), int((hit & rest).sum())
    before = cost.of(np.array([of_all]), np.array([of_hit]))[0]
    saved, best = least_bits, None
    for partition in partitions:
        size = len(partition.names)
        n = np.bincount(partition.code[rest & (partition.code >= 0)], minlength=size)
        k = np.bincount(partition.code[hit & rest & (partition.code >= 0)], minlength=size)
        after = partition.bits + cost.of(n, k) + cost.of(of_all - n, of_hit - k)
        more = (k >= LEAST_HIT) & (k * of_all > n * of_hit)
        gain = np.where(more, before - after, 0.0)
        index = int(gain.argmax())
        if gain[index] > saved + 1e-9:
            saved, best = float(gain[index]), (partition, index)
    if best is None:
        return None
    partition, index = best
    return LabelSet(name=partition.names[index], keys=partition.keys, covers=partition.code == index)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Cost:
    """Bits to tell k of n, by logarithms of factorials up to N."""

    factorial: Floats

    def of(self, n: Ints, k: Ints) -> Floats:
        """log2(n + 1) + log2 C(n, k)."""
        told: Floats = np.log2(n + 1) + self.factorial[n] - self.factorial[k] - self.factorial[n - k]
        return told


def _cost_of(size: int) -> _Cost:
    return _Cost(factorial=np.concatenate([[0.0], np.cumsum(np.log2(np.arange(1, size + 1)))]))
