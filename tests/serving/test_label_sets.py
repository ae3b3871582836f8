"""Label sets: the fewest words for who is hit."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from serving.label_sets import EVERYONE, explain, labels, least_bits, partitions
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.schema import ENTITY

REGIONS = ("af", "ap", "eu", "sa", "us")


def fleet(customers: int = 40, regions: tuple[str, ...] = REGIONS) -> pl.DataFrame:
    """Entities with a customer, a region, and what is known of the customer."""
    rows = [
        (f"c{number:03}/{region}", f"c{number:03}", region, ("2.0", "2.1", "3.0", "3.1")[number % 4], ("free", "gold", "team")[number % 3])
        for number in range(customers)
        for region in regions
    ]
    return pl.DataFrame(rows, schema=[ENTITY, "customer", "region", "version", "plan"], orient="row")


def explained(hit: pl.Expr, *, there: pl.DataFrame | None = None, but: int = 0, also: int = 0) -> list[tuple[str, int]]:
    """Names of the label sets, and how many each covers, where `but` of the hit are not and `also` of the others are."""
    there = fleet() if there is None else there
    struck = there.select(hit.fill_null(value=False)).to_series().to_numpy().copy()
    random = np.random.default_rng(1)
    struck[random.choice(np.flatnonzero(struck), but, replace=False)], others = False, np.flatnonzero(~struck)
    struck[random.choice(others, also, replace=False)] = True
    return [(found.name, int(found.covers.sum())) for found in explain(struck, partitions=partitions(there))]


REGION, VERSION, PLAN, CUSTOMER = (pl.col(name) for name in ("region", "version", "plan", "customer"))


@pytest.mark.parametrize(
    ("hit", "expected"),
    [
        (REGION == "eu", [("region=eu", 40)]),
        (VERSION == "2.1", [("version=2.1", 50)]),
        (PLAN == "gold", [("plan=gold", 65)]),
        (CUSTOMER == "c007", [("customer=c007", 5)]),
        ((REGION == "eu") & (VERSION == "2.1"), [("region=eu & version=2.1", 10)]),
        ((REGION == "eu") & (VERSION == "2.1") & (PLAN == "gold"), [("region=eu & version=2.1 & plan=gold", 4)]),
        ((REGION == "eu") | (VERSION == "2.1"), [("version=2.1", 50), ("region=eu", 40)]),
        ((REGION == "eu") | (REGION == "us"), [("region=eu", 40), ("region=us", 40)]),
        (REGION != "eu", [("region=af", 40), ("region=ap", 40), ("region=sa", 40), ("region=us", 40)]),
        (
            (REGION != "eu") | CUSTOMER.is_in(["c001", "c010", "c020"]),  # where few are hit is no explanation
            [("region=af", 40), ("region=ap", 40), ("region=sa", 40), ("region=us", 40)],
        ),
        (REGION.is_not_null(), [(EVERYONE, 200)]),
        (pl.col(ENTITY) == "c001/eu", []),
        (REGION.is_null(), []),
    ],
)
def test_the_label_set_is_the_one_that_was_hit(hit: pl.Expr, expected: list[tuple[str, int]]) -> None:
    assert explained(hit) == expected


@pytest.mark.parametrize(
    ("hit", "but", "expected"),
    [
        (REGION == "eu", 4, [("region=eu", 40)]),
        (REGION == "eu", 20, [("region=eu", 40)]),
        (CUSTOMER == "c007", 2, [("customer=c007", 5)]),
        (REGION.is_not_null(), 20, [(EVERYONE, 200)]),
        (REGION.is_not_null(), 95, [(EVERYONE, 200)]),
        (REGION.is_not_null(), 120, []),
    ],
)
def test_who_is_not_hit_does_not_hide_it(hit: pl.Expr, but: int, expected: list[tuple[str, int]]) -> None:
    assert explained(hit, but=but) == expected


def test_who_is_hit_beside_is_not_in_it() -> None:
    assert explained(REGION == "eu", also=5) == [("region=eu", 40)]
    assert explained(CUSTOMER == "c007", also=3) == [("customer=c007", 5)]


@pytest.mark.parametrize("hit", [2, 3, 4, 5, 8, 13])
def test_what_comes_together_by_chance_is_explained_by_nothing(hit: int) -> None:
    there = fleet()
    parts, random = partitions(there), np.random.default_rng(hit)
    found = 0
    for _ in range(200):
        struck = np.zeros(there.height, dtype=np.bool_)
        struck[random.choice(there.height, hit, replace=False)] = True
        found += bool(explain(struck, partitions=parts, least_bits=least_bits(there.height, together=30 / 10_080)))
    assert found <= 1


def test_a_small_fleet_tells_a_customer_and_a_region() -> None:
    there = fleet(12, ("eu", "us")).select(ENTITY, "customer", "region")
    assert explained(CUSTOMER == "c007", there=there) == [("customer=c007", 2)]
    assert explained(REGION == "us", there=there) == [("region=us", 12)]
    assert explained(pl.col(ENTITY).is_in(["c001/eu", "c002/eu"]), there=there) == []


def test_fewer_keys_say_the_same_in_fewer_words() -> None:
    named = [part.keys for part in partitions(fleet().with_columns(cohort=REGION))]
    assert ("cohort",) not in named
    assert ("customer", "plan") not in named
    assert ("region", "version") in named


def test_who_lacks_a_label_is_in_no_set_of_it() -> None:
    there = fleet().with_columns(version=pl.when(REGION != "eu").then(VERSION))
    assert explained(VERSION.is_null(), there=there) == [("region=eu", 40)]
    assert explained(VERSION == "2.1", there=there) == [("version=2.1", 40)]


def declared(**attributes: Any) -> Contract:
    return contracts.parse(
        {
            "name": "small",
            "entity": {"keys": ["customer", "region"], "cohort": "site", "path_pattern": "(?P<site>x)"},
            "time": {"column": "time"},
            "parameters": {"queries": {"unit": "count", "target": True}},
            "attributes": attributes,
        }
    )


def test_labels_are_the_keys_the_cohort_and_what_is_known_by_them() -> None:
    facts = {
        "plan": {"by": "customer", "values": {"acme": "gold", "delta": "free"}},
        "version": {"by": "site", "values": {"x": 2.1}},
        "region": {"by": "customer", "values": {"acme": "north"}},
    }
    told = labels(("acme/eu", "delta/us", "odd"), contract=declared(facts=facts), cohorts={"acme/eu": "x"})
    assert told.to_dicts() == [
        {
            "entity": "acme/eu",
            "customer": "acme",
            "region": "eu",
            "site": "x",
            "plan": "gold",
            "version": "2.1",
            "region of customer": "north",
        },
        {
            "entity": "delta/us",
            "customer": "delta",
            "region": "us",
            "site": None,
            "plan": "free",
            "version": None,
            "region of customer": None,
        },
        dict.fromkeys(told.columns) | {"entity": "odd"},
    ]
