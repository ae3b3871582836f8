"""What the lake's own runs say on their pages: rows by outcome, the quarantine by reason, who is watched, the feeds, the tables."""

from collections.abc import Iterator
from typing import Final

from flows import exhibits
from flows.blocks import NONE, Block, Cell, Note, Table, count, decimal, moment, number, text
from flows.exhibits import Told
from telemetry.presence import DEPARTED, DEPARTED_AT, NEWCOMER, PRESENT, RETURNED_AT
from telemetry.quarantine import NOT_A_ROW
from telemetry.schema import AT, ENTITY, FEED, FIRST_SEEN, LAST_SEEN, NEWEST, REASON, ROW, SOURCE, STATE

OUTCOMES: Final = (
    ("rows_accepted", "accepted", "the grid's values are made of them"),
    ("rows_repeated", "repeated", "they say word for word what another row of their part says"),
    ("rows_quarantined", "quarantined", "they cannot be read, or came when their step was sealed"),
)
FILES: Final = (
    ("files_known", "ingested before"),
    ("files_failed", "not readable at all, and in quarantine as a whole"),
    ("files_copied", "beside them, the same as another"),
    ("files_passed_over", "beside them, not wanted by the contract"),
)
STATES: Final = ((NEWCOMER, "newcomers"), (PRESENT, "present"), (DEPARTED, "departed"))
ENTITIES_LISTED: Final = 200
FOLDED: Final = 10
"""More entities than these would push everything else off the screen."""


def outcome(told: Told) -> Iterator[Block]:
    """Every row that was read, by what became of it."""
    read = number(told.summary.get("rows_in"))
    if read is None or "rows_accepted" not in told.summary:
        return
    found = told.summary
    held = {"rows_quarantined": "!"} if found.get("rows_quarantined") else {}
    rows = [
        (
            Cell(text=name, tone="held" if key in held else "plain", mark=held.get(key, "")),
            Cell(text=count(found.get(key)), share=(number(found.get(key)) or 0.0) / max(read, 1.0)),
            Cell(text=meaning),
        )
        for key, name, meaning in OUTCOMES
    ]
    yield Table(
        caption=f"{count(read)} rows read from {text(found.get('feed'))}",
        columns=("Rows", "How many", "What that means"),
        rows=tuple(rows),
        wide=frozenset({"What that means"}),
    )
    files = ", ".join(f"{count(found[key])} {what}" for key, what in FILES if number(found.get(key)))
    yield Note(
        text=f"{count(found.get('files'))} parts" + (f": {files}." if files else "."), tone="held" if found.get("files_failed") else "plain"
    )
    if found.get("undeclared"):
        yield Note(text=f"The contract does not name: {text(found['undeclared'])}.", tone="held")
    if apart := number(found.get("clocks_apart")):
        yield Note(text=f"{count(apart)} rows have two clocks that disagree; {text(found.get('clock_example'))}.", tone="held")


def refused(told: Told) -> Iterator[Block]:
    """What of the feed is in quarantine, by reason."""
    reasons = told.frame(exhibits.REFUSED)
    if reasons is None:
        return
    rows = tuple(
        (
            Cell(text=text(each[REASON])),
            Cell(text=count(each["rows"])),
            Cell(text=count(each["new"]), tone="held" if each["new"] else "plain", mark="!" if each["new"] else ""),
            Cell(text=moment(each["since"])),
            Cell(text=f"{each[SOURCE]}, {'row ' + str(each[ROW]) if each[ROW] != NOT_A_ROW else 'as a whole'}: {each['example']}"),
        )
        for each in reasons.iter_rows(named=True)
    )
    columns = ("Reason", "Rows", "New", "Since (UTC)", "Such as")
    yield Note(text="Each of these rows is kept with its text. Once the contract can read them: tidewatch quarantine retry.")
    yield Table(
        caption=f"{count(reasons['rows'].sum())} in quarantine, {count(reasons['new'].sum())} new in this run",
        columns=columns,
        rows=rows,
        numbers=frozenset({"Rows", "New"}),
        wide=frozenset({"Reason", "Such as"}),
    )


def feeds(told: Told) -> Iterator[Block]:
    """The newest reading of every feed."""
    marks = told.frame(exhibits.WATERMARKS)
    if marks is None:
        return
    rows = tuple(
        (Cell(text=text(each[FEED])), Cell(text=moment(each[NEWEST], seconds=True)), Cell(text=moment(each[AT], seconds=True)))
        for each in marks.iter_rows(named=True)
    )
    yield Table(
        caption="How far each feed has come",
        columns=("Feed", "Newest reading (UTC)", "Ingested (UTC)"),
        rows=rows,
        wide=frozenset({"Feed"}),
    )


def watched(told: Told) -> Iterator[Block]:
    """Who is new, departed or returned; the others are counted."""
    every = told.frame(exhibits.WATCHED)
    if every is None:
        return
    notable = every.filter((every[STATE] != PRESENT) | every[RETURNED_AT].is_not_null())
    counts = ", ".join(f"{count(every.filter(every[STATE] == state).height)} {word}" for state, word in STATES)
    yield Note(text=f"{count(every.height)} entities: {counts}.")
    if not notable.height:
        return
    listed = notable.head(ENTITIES_LISTED)
    more = "" if listed.height == notable.height else f" (the first {listed.height} are listed; tidewatch entities tells all)"
    rows = tuple(
        (
            Cell(text=text(each[ENTITY])),
            Cell(text=text(each[STATE]), tone="held" if each[STATE] == DEPARTED else "plain"),
            *(Cell(text=NONE if each[name] is None else f"{each[name]}") for name in (FIRST_SEEN, LAST_SEEN, DEPARTED_AT, RETURNED_AT)),
        )
        for each in listed.iter_rows(named=True)
    )
    columns = ("Entity", "State", "First seen", "Last seen", "Departed", "Returned")
    yield Table(
        caption=f"Newcomers, departed, returned: {count(notable.height)}{more}", columns=columns, rows=rows, folded=notable.height > FOLDED
    )


def tables(told: Told) -> Iterator[Block]:
    """The lake's tables, as a run left them."""
    found = told.summary.get("tables")
    if not isinstance(found, list) or not found:
        return
    rows = tuple(
        (
            Cell(text=text(each.get("table"))),
            *(Cell(text=count(each.get(name))) for name in ("rows", "files")),
            Cell(text=decimal(each.get("megabytes"), digits=1)),
            *(Cell(text=text(each.get(name))) for name in ("version", "oldest", "newest")),
        )
        for each in found
    )
    columns = ("Table", "Rows", "Files", "MB", "Version", "From", "To")
    yield Table(caption="Tables of the lake", columns=columns, rows=rows, numbers=frozenset(columns[1:5]))
