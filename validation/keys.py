"""What a contract says of entities by a key, held against the entities that there are: whom it forgets, and of whom it speaks in vain.

The findings only warn: whom the contract does not name goes by its defaults, and who is named may come tomorrow.
"""

from collections.abc import Mapping, Sequence

from validation.findings import Finding

SHOWN = 5
"""Names that a sentence spells out."""


def calendar_keys(entities: Sequence[str], *, keys: Sequence[str], by: str, tables: Mapping[str, Sequence[str]]) -> tuple[Finding, ...]:
    """Values of the key `by` that a table of the section `calendar` does not name, and names in it that no entity has.

    Args:
        entities: as they are named, `acme/eu`.
        keys: the contract's, in their order.
        by: one of them.
        tables: the names in each table, such as `zones`.
    """
    index = list(keys).index(by)
    parts = [[name] if len(keys) == 1 else name.split("/") for name in entities if name]  # what has no name is told elsewhere
    there = sorted({part[index] for part in parts if len(part) == len(keys)})
    found: list[Finding] = []
    for table, named in tables.items():
        place, usual = f"calendar.{table}", {"zones": "calendar.zone", "countries": "calendar.country"}[table]
        forgotten, vain = ([one for one in of if one not in other] for of, other in ((there, named), (named, there)))
        if forgotten:
            told = f"{place} names {len(there) - len(forgotten)} of {len(there)} values of {by}; by {usual} go {_listed(forgotten)}."
            missed = f"{len(forgotten)} of {len(there)} values of {by} not named"
            found.append(Finding.warning("calendar keys", found=missed, expected=f"{place}: all of them", sentence=told))
        if vain:
            told = f"{place} names {_listed(vain)}, and no entity has {by} so: a mistake in writing, or one that has not come yet."
            found.append(
                Finding.warning("calendar keys", found=f"no entity has {_listed(vain)}", expected=f"{place}: values of {by}", sentence=told)
            )
    return tuple(found)


def _listed(names: Sequence[str]) -> str:
    """As many as a sentence bears.

    >>> _listed(["acme", "bolt"]), _listed(list("abcdefg"))
    ('acme, bolt', 'a, b, c, d, e and 2 more')
    """
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
