"""Recall is told with its interval, and a model that finds fewer faults than another is told from one that had less luck."""

from typing import Any

import polars as pl
import pytest

from telemetry.injection import DEGRADATION, DRAW, FLAT, NOTHING, SHIFT, SILENCE, SPIKE, STRENGTH
from telemetry.schema import END, ENTITY, KIND, START, TIME
from validation.injected import (
    FAULTS,
    FOUND,
    LEAST,
    MATURE,
    MET,
    MINUTES_TO_DETECT,
    MOST,
    NEWCOMERS,
    RECALL,
    WHO,
    compare,
    found_of,
    grade,
    mcnemar,
    reached,
)


def met(*told: tuple[str, float, list[bool]], who: str = MATURE) -> pl.DataFrame:
    """MET: of each class and strength, which of its faults were found, after two minutes each."""
    rows: list[dict[str, Any]] = [
        {ENTITY: "acme/eu", KIND: kind, STRENGTH: strength, WHO: who, FOUND: found, MINUTES_TO_DETECT: 2.0 if found else None}
        for kind, strength, of in told
        for found in of
    ]
    frame = pl.DataFrame(rows).with_columns(
        pl.lit(None, dtype=TIME).alias(START), pl.lit(None, dtype=TIME).alias(END), pl.int_range(pl.len()).alias(DRAW)
    )
    return frame.select(pl.col(name).cast(kind) for name, kind in MET.items())


def half(count: int) -> list[bool]:
    return [True] * count + [False] * count


def test_recall_is_told_with_wilsons_interval_and_the_median_time() -> None:
    told = grade(met((SPIKE, 8.0, half(5)))).row(0, named=True)
    assert (told[FAULTS], told[FOUND], told[RECALL], told[MINUTES_TO_DETECT]) == (10, 5, 0.5, 2.0)
    assert told[LEAST] == pytest.approx(0.2366, abs=1e-4)  # R: prop.test(5, 10, correct = FALSE)
    assert told[MOST] == pytest.approx(0.7634, abs=1e-4)


def test_the_interval_stays_within_a_share_where_all_or_none_is_found() -> None:
    told = grade(met((SPIKE, 8.0, [True] * 3), (SPIKE, 1.0, [False] * 3)))
    assert told[MOST].to_list()[1] == 1.0
    assert told[LEAST].to_list()[0] == pytest.approx(0.0)
    assert told[LEAST].to_list()[1] == pytest.approx(0.4385, abs=1e-4)
    assert told[MINUTES_TO_DETECT].to_list() == [None, 2.0]


def test_a_class_is_found_from_the_strength_on_above_which_every_one_is() -> None:
    lucky = met(
        (SPIKE, 1.0, [True] * 5), (SPIKE, 2.0, [False] * 5), (SPIKE, 4.0, [True] * 5), (SPIKE, 8.0, [True] * 5), (SHIFT, 8.0, half(2))
    )
    told = reached(grade(lucky))
    assert dict(told.select(KIND, STRENGTH).iter_rows()) == {SPIKE: 4.0, SHIFT: None}


def test_the_gate_counts_strong_faults_of_mature_entities_alone() -> None:
    strong = met(
        (SPIKE, 4.0, half(5)),
        (SPIKE, 2.0, [True] * 9),
        (FLAT, 15.0, [False] * 9),
        (NOTHING, 0.0, [True] * 9),
        (SILENCE, 30.0, [True]),
        (FLAT, 30.0, [True, False]),
    )
    told = found_of(pl.concat([strong, met((SPIKE, 8.0, [True] * 9), who=NEWCOMERS)]))
    assert (told.faults, told.found) == (13, 7)
    assert told.lower < told.recall == pytest.approx(7 / 13)
    assert found_of(strong.clear()).recall != found_of(strong.clear()).recall, "of none there is no recall"


def test_who_loses_a_class_is_told_from_who_had_less_luck() -> None:
    champion = met((SPIKE, 8.0, [True] * 20), (SHIFT, 8.0, half(10)), (DEGRADATION, 8.0, [True] * 20))
    assert compare(champion, champion=champion) is not None
    lost = found_of(met((SPIKE, 8.0, [True] * 20), (SHIFT, 8.0, half(10)), (DEGRADATION, 8.0, half(10))), champion=champion).lost
    assert lost is not None
    assert (lost.kind, lost.found, lost.found_by_champion, lost.significant) == (DEGRADATION, 10, 20, True)
    assert lost.p == pytest.approx(4 * 0.5**10)
    few = found_of(
        met((SPIKE, 8.0, [False] * 2 + [True] * 18), (SHIFT, 8.0, half(10)), (DEGRADATION, 8.0, [True] * 20)), champion=champion
    ).lost
    assert few is not None
    assert not few.significant


def test_finding_more_is_never_a_loss() -> None:
    champion = met((SPIKE, 8.0, half(20)))
    better = found_of(met((SPIKE, 8.0, [True] * 40)), champion=champion).lost
    assert better is not None
    assert (better.p, better.significant) == (1.0, False)


def test_faults_that_only_one_met_are_not_compared() -> None:
    here = met((SPIKE, 8.0, [True] * 4))
    assert found_of(here, champion=here.with_columns(pl.col(DRAW) + 100)).lost is None


def test_the_exact_test_is_that_of_a_fair_coin() -> None:
    assert mcnemar(lost=3, won=1) == pytest.approx(5 / 16)
    assert mcnemar(lost=0, won=7) == 1.0
