"""What is not believed: where it begins and ends, and that passing over what does not jump loses nothing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from serving.jumps import BLOCK, candidates
from serving.suspensions import HISTORY, block_of, spans, suspensions
from telemetry.schema import AT, END, ENTITY, LIFTS, PARAMETER, START, SUSPENSIONS, TIME

MINUTE = timedelta(minutes=1)
ORIGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
FIRST = -HISTORY


def minute(number: int) -> datetime:
    """So many minutes after the first block began."""
    return ORIGIN + number * MINUTE


def grid_of(steps: int, *, since: int, until: int, factor: float, seed: int = 0) -> pl.DataFrame:
    """Two entities, two parameters; `queries` of `a` is wrong for a while."""
    random = np.random.default_rng(seed)
    at = [minute(step) for step in range(FIRST, steps)]
    parts = []
    for entity in ("a", "b"):
        queries, cpu = np.round(random.normal(500, 25, len(at))), np.round(random.normal(40, 2, len(at)), 2)
        if entity == "a":
            queries[since - FIRST : until - FIRST] *= factor
        parts.append(pl.DataFrame({ENTITY: entity, AT: pl.Series(at).cast(TIME), "observed": True, "queries": queries, "cpu": cpu}))
    return pl.concat(parts)


def told(grid: pl.DataFrame, *, until: int, known: pl.DataFrame | None = None, begin: int = 0) -> pl.DataFrame:
    """SUSPENSIONS of both."""
    return suspensions(
        grid.filter(pl.col(AT) < minute(until)),
        begins=dict.fromkeys(("a", "b"), minute(begin)),
        origin=ORIGIN,
        known=pl.DataFrame(schema=SUSPENSIONS) if known is None else known,
        lifts=pl.DataFrame(schema=LIFTS),
        cadence=MINUTE,
        until=minute(until),
        release="r",
    )


@pytest.mark.parametrize("factor", [1000.0, 1024.0, 60.0, 0.01, -1.0])
def test_an_error_is_suspended_from_its_first_to_its_last_value(factor: float) -> None:
    found = told(grid_of(200, since=58, until=130, factor=factor), until=200)  # over the ends of two blocks
    assert spans(found).rows() == [("a", "queries", minute(58), minute(130))]


@pytest.mark.slow
def test_looking_at_block_after_block_tells_what_looking_once_does() -> None:
    grid = grid_of(200, since=58, until=130, factor=1000.0)
    known = pl.DataFrame(schema=SUSPENSIONS)
    for until in range(1, 201):
        known = told(grid, until=until, known=known, begin=(until - 1) // BLOCK * BLOCK)
        if until == 61:
            assert spans(known).rows() == [("a", "queries", minute(58), None)]
    assert known.equals(told(grid, until=200))


def test_what_nothing_is_wrong_with_is_passed_over_and_believed() -> None:
    grid = grid_of(180, since=0, until=0, factor=1.0)
    assert candidates(grid, begins=dict.fromkeys(("a", "b"), ORIGIN), origin=ORIGIN, cadence=MINUTE) == {}
    assert told(grid, until=180).is_empty()


def test_a_jump_is_a_candidate_of_its_own_parameter_alone() -> None:
    grid = grid_of(120, since=70, until=120, factor=60.0)
    found = candidates(grid, begins=dict.fromkeys(("a", "b"), minute(60)), origin=ORIGIN, cadence=MINUTE)
    assert found == {("a", minute(60)): frozenset({"queries"})}


def test_a_younger_entity_is_looked_at_alone() -> None:
    grid = grid_of(120, since=70, until=120, factor=60.0).filter((pl.col(ENTITY) == "b") | (pl.col(AT) >= minute(30)))
    assert told(grid, until=120).select(ENTITY, PARAMETER, START, END).rows() == [("a", "queries", minute(70), None)]


def test_blocks_are_the_same_for_everyone() -> None:
    assert block_of(minute(59), cadence=MINUTE) == ORIGIN
    assert block_of(minute(60), cadence=MINUTE) == minute(60)
