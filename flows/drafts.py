"""A drafted contract as a file, and what to do with it next."""

import re
from pathlib import Path

from telemetry.drafting import REVIEW, draft
from telemetry.errors import TidewatchError


class ContractExistsError(TidewatchError):
    """A file is where a draft is to be written."""


def name_of(out: Path) -> str:
    """The name of a contract that is written to a file.

    >>> name_of(Path("contracts/Edge-Routers 2.toml"))
    'edge_routers_2'
    """
    plain = re.sub(r"[^a-z0-9]+", "_", out.stem.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"telemetry_{plain}".rstrip("_")


def written(sample: Path, *, out: Path, name: str) -> str:
    """Draft a contract for `sample` and write it to `out`; what to do next, for a person.

    Raises:
        ContractExistsError: `out` is there already; it is left as it is.
        TidewatchError: the sample cannot be understood.
    """
    hint = "name another file with --out, or move this one away."
    if out.exists():
        raise ContractExistsError(f"{out} is there already, and a contract is never overwritten.", hint=hint)
    text = draft(sample, name=name)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ContractExistsError(f"{out} is there already, and a contract is never overwritten.", hint=hint) from error
    questions = [f"  line {number}: {line.partition(REVIEW)[2].strip()}" for number, line in _questions(text)]
    return "\n".join(
        [
            f"{out} is drafted from {sample}. It is a guess until somebody who knows this telemetry has settled:",
            *questions,
            f"Then delete its line `reviewed = false` and try it: tidewatch ingest --contract {out} --source {sample}",
        ]
    )


def _questions(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.splitlines(), start=1) if REVIEW in line]
