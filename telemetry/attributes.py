"""What is known of an entity and does not change, as numbers: the values of its keys, and facts that the contract tells by them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from telemetry.calendars import key_values
from telemetry.contract import Contract
from telemetry.schema import COUNT, ENTITY

Values = tuple[str | None, ...]
_Told = TypeVar("_Told")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributed:
    """S attributes of E entities: their names, such as `region=eu`, and f32[E, S]."""

    names: tuple[str, ...]
    values: NDArray[np.float32]


def attribute(names: tuple[str, ...], *, contract: Contract, scales: pl.DataFrame, cohorts: Mapping[str, str]) -> Attributed:
    """The contract's attributes of entities.

    Which flags there are, and how numbers are scaled, is taken from the entities that training has seen. A value that it has not seen is
    all zeros, as is one that is not known.

    Args:
        names: E entities.
        contract: what is declared.
        scales: SCALES of the training; who has a count in it was seen.
        cohorts: by entity, of these and of those that training has seen.
    """
    seen = tuple(scales.filter(pl.col(COUNT) > 0).get_column(ENTITY).unique().sort().to_list()) if _declared(contract) else ()
    columns = list(_columns(names, seen=seen, contract=contract, cohorts=cohorts))
    values = np.array([column for _, column in columns], dtype=np.float32).reshape(len(columns), len(names))
    return Attributed(names=tuple(name for name, _ in columns), values=np.ascontiguousarray(values.T))


def _declared(contract: Contract) -> bool:
    return bool(contract.attributes.one_hot or contract.attributes.facts)


def _columns(
    names: tuple[str, ...], *, seen: tuple[str, ...], contract: Contract, cohorts: Mapping[str, str]
) -> Iterator[tuple[str, list[float]]]:
    """Name and E values of every attribute."""

    def of(entities: tuple[str, ...], key: str) -> Values:
        return key_values(entities, key=key, contract=contract, cohorts=cohorts)

    for key in contract.attributes.one_hot:
        yield from _flags(key, values=of(names, key), seen=of(seen, key))
    for name, fact in contract.attributes.facts.items():
        theirs, known = of(names, fact.by), of(seen, fact.by)
        if (words := fact.words) is not None:
            yield from _flags(name, values=_through(words, theirs), seen=_through(words, known))
        else:
            yield name, _scaled(_through(fact.numbers, theirs), seen=_through(fact.numbers, known))


def _through(table: Mapping[str, _Told], keys: Values) -> tuple[_Told | None, ...]:
    return tuple(None if key is None else table.get(key) for key in keys)


def _flags(name: str, *, values: Values, seen: Values) -> Iterator[tuple[str, list[float]]]:
    """One for each value that was seen."""
    for word in sorted({value for value in seen if value is not None}):
        yield f"{name}={word}", [float(value == word) for value in values]


def _scaled(values: tuple[float | None, ...], *, seen: tuple[float | None, ...]) -> list[float]:
    """Around 0 and of deviation 1 over what was seen; 0 where it is not known.

    >>> _scaled((10.0, None, 30.0), seen=(10.0, 20.0, 30.0))
    [-1.22..., 0.0, 1.22...]
    """
    known = np.array([value for value in seen if value is not None])
    mean, deviation = (float(known.mean()), float(known.std())) if known.size else (0.0, 0.0)
    return [0.0 if value is None else (value - mean) / (deviation or 1.0) for value in values]
