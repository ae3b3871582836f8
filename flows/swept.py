"""What came of a sweep, for people: rows of figures, the verdict in a sentence, the section of the page, and lines for the contract."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from flows.blocks import Block, Cell, Note, Table, count, duration, number, percent, plot, text
from flows.exhibits import Told

if TYPE_CHECKING:
    from models.sweep import Design, Ranked

EXHIBIT: Final = "sweep"
HEADS: Final = ("Design", "Accuracy", "Std. error", "Spread", "Training", "Prediction", "Cost", "")
NUMBERS: Final = frozenset(HEADS[1:-1])
WHAT_IT_SAYS: Final = (
    "Accuracy is the share of the calibration part's values within one training deviation of the forecast a minute before, the mean over "
    "the seeds; spread and standard error are in percentage points. The parallel test was not looked at. Cost is multiplications of a "
    "forecast by a window, in thousands."
)


def rows_of(ranked: "Sequence[Ranked]") -> list[dict[str, Any]]:  # Any: plain JSON
    """Every design with its figures, best first.

    Each has `design`, `architecture`, `time_steps`, `overlapping`, `accuracy` (mean over the seeds), `spread` (their standard deviation),
    `error` (standard error of the mean), `train_seconds`, `predict_seconds`, `cost` (multiplications), `within` (one standard error of
    the best) and `chosen`.
    """
    best = ranked[0]
    return [
        {
            "design": each.design.name,
            "architecture": each.design.name.split(", ")[0],
            "time_steps": each.design.training.time_steps,
            "overlapping": each.design.training.overlapping,
            "accuracy": each.accuracy,
            "spread": each.spread,
            "error": each.error,
            "train_seconds": each.train_seconds,
            "predict_seconds": each.predict_seconds,
            "cost": each.design.cost,
            "within": each.accuracy >= best.accuracy - best.error,
            "chosen": each.chosen,
        }
        for each in ranked
    ]


def chosen(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:  # Any: plain JSON
    """The row of the design that was chosen."""
    return next(row for row in rows if row["chosen"])


def sentence(rows: Sequence[Mapping[str, Any]]) -> str:  # Any: plain JSON
    """What was chosen, and why.

    >>> best = {"design": "large", "accuracy": 0.97, "within": True, "chosen": False}
    >>> sentence([best, {"design": "small", "accuracy": 0.969, "within": True, "chosen": True}])
    'small: within one standard error of the best (large, 97.00 %), and the cheapest of the 2 that are.'
    >>> sentence([best | {"chosen": True}])
    'large: the best (97.00 %), and no other is within one standard error of it.'
    """
    best, taken, within = rows[0], chosen(rows), sum(bool(row["within"]) for row in rows)
    top = percent(best["accuracy"])
    if within == 1:
        return f"{taken['design']}: the best ({top}), and no other is within one standard error of it."
    if taken["design"] == best["design"]:
        return f"{taken['design']}: the best ({top}), and the cheapest of the {within} within one standard error of it."
    return f"{taken['design']}: within one standard error of the best ({best['design']}, {top}), and the cheapest of the {within} that are."


def cells(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:  # Any: plain JSON
    """The rows as text, in the columns of HEADS."""
    return [
        (
            text(row["design"]),
            percent(row["accuracy"]),
            _points(row["error"]),
            _points(row["spread"]),
            duration(row["train_seconds"]),
            duration(row["predict_seconds"]),
            count((number(row["cost"]) or 0) / 1000),
            "chosen" if row["chosen"] else "within" if row["within"] else "",
        )
        for row in rows
    ]


def _points(share: Any) -> str:  # Any: a summary may hold anything
    """A difference of shares, in percentage points."""
    told = number(share)
    return text(share) if told is None else f"{100 * told:.3f}"


def for_people(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:  # Any: plain JSON
    """The rows as a table of the Prefect UI takes them."""
    heads = (*HEADS[:-1], "Verdict")
    return [dict(zip(heads, row, strict=True)) for row in cells(rows)]


def section(told: Told) -> Iterator[Block]:
    """Every design with its figures, as a plot and as a table, and what to put into the contract."""
    rows = told.summary.get("designs")
    if not isinstance(rows, list) or not rows:
        return
    from flows import swept_plot  # Plotly is for pages with a figure only

    yield Note(text=WHAT_IT_SAYS)
    figure = swept_plot.accuracy_by_seconds(rows)
    caption = "Accuracy against seconds of training: the dashed line is one standard error below the best"
    yield plot(figure, caption=caption, told=sentence(rows))
    yield Table(
        caption=f"{len(rows)} designs, best first",
        columns=(*HEADS[:-1], "Verdict"),
        rows=tuple(_row(row, told) for row, told in zip(rows, cells(rows), strict=True)),
        numbers=NUMBERS,
    )
    lines = [line for line in str(told.summary.get("contract_lines") or "").splitlines() if line]
    yield Table(caption="The chosen one in a contract", columns=("Line",), rows=tuple((Cell(text=line),) for line in lines))


def _row(row: Mapping[str, Any], told: Sequence[str]) -> tuple[Cell, ...]:  # Any: plain JSON
    *figures, last = told
    verdict = Cell(text=last, tone="good", mark="✓") if row["chosen"] else Cell(text=last)
    return (*(Cell(text=figure) for figure in figures), verdict)


def contract_lines(design: "Design") -> str:
    """The lines of a contract that ask for a design."""
    network, training = design.network, design.training
    cells = ", ".join(f'"{cell}"' for cell, _ in network.layers)
    windows = (
        f'[windows]\ntime_steps = {training.time_steps}\nwarmup_steps = {training.warmup_steps}\nsupervision = "{training.supervision}"'
    )
    learned = f"[training]\nhidden = {list(network.hidden)}\ncells = [{cells}]\noverlapping = {str(training.overlapping).lower()}"
    return f"{windows}\n\n{learned}"
