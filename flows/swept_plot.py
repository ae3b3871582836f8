"""The figure of a sweep: rows of designs in, Plotly figure out. Pure; no meaning is carried by a colour alone."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go  # type: ignore[import-untyped]
import polars as pl

from flows import strokes
from flows.plots import LOG_FROM_DECADES, decades

LOOKS: Final = ((strokes.BLUE, "circle"), (strokes.TEAL, "diamond"), (strokes.AMBER, "square"), (strokes.GREY, "triangle-up"))
"""Colour and symbol of an architecture, in the order in which they appear."""
HEIGHT: Final = 440
TICKS: Final = tuple(step * 10.0**power for power in range(-2, 6) for step in (1, 2, 5))
"""Of a logarithmic axis, seconds."""
BESIDE: Final = "\N{NO-BREAK SPACE}" * 2
"""Before the text at a dot, so that it stands clear of the ring around the chosen one."""


def accuracy_by_seconds(rows: Sequence[Mapping[str, Any]]) -> go.Figure:  # Any: rows of flows.swept
    """Every design's accuracy with its standard error against its seconds of training; the rows are best first."""
    figure = go.Figure()
    names = sorted(
        {str(row["architecture"]) for row in rows}, key=lambda name: min(row["cost"] for row in rows if row["architecture"] == name)
    )
    for index, name in enumerate(names):
        for overlapping in (True, False):
            of = [row for row in rows if row["architecture"] == name and bool(row["overlapping"]) is overlapping]
            if of:
                figure.add_trace(_dots(of, name=name, overlapping=overlapping, look=LOOKS[index % len(LOOKS)]))
    taken = next(row for row in rows if row["chosen"])
    ring = {"symbol": "circle-open", "size": 24, "color": strokes.RED, "line": {"width": 2}}
    place = {"x": [strokes.rounded(taken["train_seconds"])], "y": [strokes.rounded(taken["accuracy"])]}
    figure.add_trace(go.Scatter(**place, name="chosen", mode="markers", marker=ring, hoverinfo="skip"))
    line = strokes.rounded(rows[0]["accuracy"] - rows[0]["error"])
    figure.add_shape(_level(line, color=strokes.RED))
    figure.add_trace(strokes.rule_swatch("one standard error below the best", color=strokes.RED))
    seconds = pl.Series([row["train_seconds"] for row in rows], dtype=pl.Float64)
    axis = (
        {"type": "log", "tickvals": TICKS, "ticktext": [f"{tick:g}" for tick in TICKS]}
        if decades(seconds) > LOG_FROM_DECADES / 2
        else {"rangemode": "tozero"}
    )
    figure.update_layout(
        xaxis={**axis, "title": {"text": "seconds of training (mean over the seeds)"}},
        yaxis={"title": {"text": "accuracy"}, "tickformat": ".2~%"},
        hovermode="closest",
        margin={"b": 60, "t": 72},
    )
    return strokes.laid_out(figure, height=HEIGHT)


def _dots(rows: Sequence[Mapping[str, Any]], *, name: str, overlapping: bool, look: tuple[str, str]) -> go.Scatter:  # Any: as above
    color, symbol = look
    windows = "overlapping" if overlapping else "apart"
    return go.Scatter(
        x=[strokes.rounded(row["train_seconds"]) for row in rows],
        y=[strokes.rounded(row["accuracy"]) for row in rows],
        error_y={"array": [strokes.rounded(row["error"]) for row in rows], "color": color, "thickness": 1.2, "width": 4},
        text=[f"{BESIDE}{row['time_steps']}" for row in rows],
        textposition="middle right",
        textfont={"size": 11},
        mode="markers+text",
        name=f"{strokes.label(name)}, {windows}",
        marker={"color": color, "symbol": symbol if overlapping else f"{symbol}-open", "size": 10, "line": {"width": 2, "color": color}},
        customdata=[strokes.label(row["design"]) for row in rows],
        hovertemplate="%{customdata}<br>%{y:.3%} after %{x:.1f} s<extra></extra>",
    )


def _level(y: float | None, *, color: str) -> dict[str, Any]:  # Any: Plotly's own layout of a shape
    """A dashed line from the left to the right."""
    line = {"color": color, "width": 1.5, "dash": "dash"}
    return {"type": "line", "xref": "paper", "yref": "y", "x0": 0, "x1": 1, "y0": y, "y1": y, "line": line, "layer": "below"}
