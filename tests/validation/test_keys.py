"""Whom a contract's calendar forgets, and of whom it speaks in vain, is warned of and stops nothing."""

from validation.advice import advice
from validation.keys import calendar_keys

KEYS = ("customer", "region")
ENTITIES = ("acme/eu", "acme/us", "bolt/eu", "core/eu")


def test_a_table_that_names_everybody_is_not_complained_of() -> None:
    assert calendar_keys(ENTITIES, keys=KEYS, by="region", tables={"zones": ("eu", "us")}) == ()


def test_who_is_forgotten_is_counted_and_what_nobody_has_is_named() -> None:
    forgotten, vain = calendar_keys(ENTITIES, keys=KEYS, by="customer", tables={"zones": ("acme", "bolt", "akme")})
    assert forgotten.sentence == "calendar.zones names 2 of 3 values of customer; by calendar.zone go core."
    assert forgotten.found == "1 of 3 values of customer not named"
    assert vain.sentence.startswith("calendar.zones names akme, and no entity has customer so")
    assert {each.severity for each in (forgotten, vain)} == {"warn"}
    assert "section calendar" in advice(vain.expectation)


def test_each_table_is_looked_at_on_its_own_and_a_broken_name_is_passed_over() -> None:
    names = ("m-1/x", "", "m-2")
    (told,) = calendar_keys(names, keys=("machine",), by="machine", tables={"zones": ("m-1/x", "m-2"), "countries": ("m-2",)})
    assert told.sentence == "calendar.countries names 1 of 2 values of machine; by calendar.country go m-1/x."
    assert calendar_keys(("acme",), keys=KEYS, by="region", tables={"zones": ()}) == ()
