"""What could not be read, for a person or a machine: by reason, row by row, and read once more."""

from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from flows.lakes import lake_of
from flows.settings import Settings
from telemetry import contract as contracts
from telemetry.contract import Contract
from telemetry.lake import Lake
from telemetry.quarantine import NOT_A_ROW, still_open
from telemetry.retrying import retry
from telemetry.schema import AT, FEED, QUARANTINED, REASON, RESOLVED, ROW, SOURCE, TEXT

Told = dict[str, Any]  # Any: plain JSON
ROWS: Final = "rows"
EXAMPLE: Final = "example"
PARTS: Final = "parts"
NEW: Final = "new"
SHOWN: Final = 300
"""Characters of an example."""


def told(contract: str, *, settings: Settings) -> Told:
    """`open` rows, `parts` that cannot be read at all, `resolved` rows, and `reasons`: reason, rows, parts, since, an example."""
    _, lake = _lake(contract, settings=settings)
    rows = still_open(lake)
    every = lake.read("quarantine", schema=QUARANTINED).select(pl.len()).collect().item()
    whole = rows.filter(pl.col(ROW) == NOT_A_ROW).height
    reasons = by_reason(rows).to_dicts()
    return {"contract": contract, "open": rows.height - whole, PARTS: whole, "resolved": every - rows.height, "reasons": reasons}


def by_reason(rows: pl.DataFrame, *, since: datetime | None = None) -> pl.DataFrame:
    """`reason, rows, new, parts, since, source, row, example`, the most frequent first.

    Args:
        rows: QUARANTINED.
        since: those that came from then on are `new`.
    """
    new = pl.lit(value=False) if since is None else pl.col(AT) >= since
    return (
        rows.group_by(_kind(), maintain_order=True)
        .agg(
            pl.len().alias(ROWS),
            new.sum().alias(NEW),
            pl.struct(FEED, SOURCE).n_unique().alias(PARTS),
            pl.col(AT).min().alias("since"),
            pl.col(SOURCE).first(),
            pl.col(ROW).first(),
            pl.col(TEXT).first().str.slice(0, SHOWN).alias(EXAMPLE),
        )
        .sort(ROWS, REASON, descending=[True, False])
    )


def _kind() -> pl.Expr:
    """A reason without what is of one row or of one part alone."""
    of_part = pl.col(REASON).str.starts_with(pl.col(SOURCE))
    plain = pl.when(of_part).then(pl.lit("...") + pl.col(REASON).str.strip_prefix(pl.col(SOURCE))).otherwise(REASON)
    found = plain.str.replace(r"(?s) has .*, expected ", " has ..., expected ").str.replace(r"^(has) \d+ ", "$1 ... ")
    return found.str.replace_all(r"\b(row|character|byte|column) \d+", "$1 ...").alias(REASON)


def as_text(told: Told) -> str:
    """A line a reason, with an example below it."""
    lines = []
    for each in told["reasons"]:
        lines.append(f"{each[ROWS]:>9,}  {each[REASON]}")
        what = f"row {each[ROW]}: " if each[ROW] != NOT_A_ROW else "as a whole; "
        lines.append(f"{'':>9}  since {each['since']:%Y-%m-%d %H:%M}, such as {each[SOURCE]} {what}{each[EXAMPLE]}")
    counts = f"{told['open']:,} rows and {told[PARTS]:,} whole parts are in quarantine; {told['resolved']:,} were read after all."
    return "\n".join([*lines, counts])


def rows_told(contract: str, *, settings: Settings, source: str, limit: int, every: bool) -> Told:
    """`rows` (QUARANTINED) whose source has a text in its name, the latest first, and how many there are in all.

    Args:
        contract: name of a contract that ships, or path of a TOML file.
        settings: where the lake is.
        source: part of the name of a file, or of what else a part is called; empty for all.
        limit: how many rows at most.
        every: resolved ones too.
    """
    _, lake = _lake(contract, settings=settings)
    rows = lake.read("quarantine", schema=QUARANTINED).filter(pl.col(SOURCE).str.contains(source, literal=True))
    found = (rows if every else rows.filter(pl.col(RESOLVED).is_null())).sort(AT, SOURCE, ROW, descending=[True, False, False]).collect()
    return {"contract": contract, "found": found.height, ROWS: found.head(limit).to_dicts()}


def rows_as_text(told: Told) -> str:
    """A line a row with its reason, and its text below it."""
    lines = []
    for row in told[ROWS]:
        resolved = f", read after all {row[RESOLVED]:%Y-%m-%d %H:%M}" if row[RESOLVED] else ""
        what = f"row {row[ROW]}" if row[ROW] != NOT_A_ROW else "the whole part"
        lines += [f"{row[SOURCE]}, {what}, since {row[AT]:%Y-%m-%d %H:%M}{resolved}: {row[REASON]}", f"    {row[TEXT]}"]
    more = told["found"] - len(told[ROWS])
    return "\n".join([*lines, f"{len(told[ROWS]):,} of {told['found']:,} rows." if more else f"{told['found']:,} rows."])


def retried(contract: str, *, settings: Settings) -> Told:
    """What a second reading did: counts of rows, and a sentence."""
    declared, lake = _lake(contract, settings=settings)
    done = retry(contract=declared, lake=lake, now=datetime.now(UTC))
    sentence = f"{done.rows_resolved:,} of {done.rows:,} rows are read after all, {done.rows_left:,} stay in quarantine"
    over = f"; {done.rows_passed_over:,} cannot be read from what is kept of them" if done.rows_passed_over else ""
    return {
        "contract": contract,
        ROWS: done.rows,
        "rows_resolved": done.rows_resolved,
        "rows_left": done.rows_left,
        "rows_passed_over": done.rows_passed_over,
        "rows_new": done.rows_new,
        "rows_changed": done.rows_changed,
        "sentence": f"{sentence}{over}.",
    }


def _lake(contract: str, *, settings: Settings) -> tuple[Contract, Lake]:
    declared = contracts.load(settings.contract_path(contract))
    return declared, lake_of(declared, settings=settings)
