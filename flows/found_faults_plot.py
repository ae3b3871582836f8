"""The figure of recall by strength, a line for each class of injected faults."""

from typing import Final

import plotly.graph_objects as go  # type: ignore[import-untyped]
import polars as pl

from flows import strokes
from telemetry.injection import DEVIATIONS, STRENGTH
from telemetry.schema import KIND
from validation.injected import LEAST, MOST, RECALL

LOOKS: Final = (
    (strokes.BLUE, "circle", "solid"),
    (strokes.TEAL, "diamond", "dash"),
    (strokes.AMBER, "square", "dot"),
    (strokes.RED, "x", "dashdot"),
    (strokes.GREY, "triangle-up", "longdash"),
    (strokes.INK, "star", "solid"),
)
"""Colour, symbol and dash of a class, in the order of their names."""
HEIGHT: Final = 340


def recall_by_strength(graded: pl.DataFrame) -> go.Figure:
    """A line a class (kind, strength, recall, lower, upper) over the strength in deviations."""
    figure = go.Figure()
    for index, ((kind,), rows) in enumerate(sorted(graded.sort(STRENGTH).partition_by(KIND, as_dict=True, maintain_order=True).items())):
        color, symbol, dash = LOOKS[index % len(LOOKS)]
        above, below = (rows[MOST] - rows[RECALL]).to_list(), (rows[RECALL] - rows[LEAST]).to_list()
        figure.add_trace(
            go.Scatter(
                x=rows[STRENGTH].to_list(),
                y=[strokes.rounded(value) for value in rows[RECALL]],
                error_y={"array": above, "arrayminus": below, "symmetric": False, "color": color, "thickness": 0.7, "width": 2},
                name=strokes.label(kind),
                mode="lines+markers",
                line={"color": color, "width": 2, "dash": dash},
                marker={"symbol": symbol, "size": 8},
            )
        )
    figure.update_layout(
        xaxis={"type": "log", "tickvals": DEVIATIONS, "ticktext": [f"{each:g}" for each in DEVIATIONS], "title": {"text": "deviations"}},
        yaxis={"title": {"text": "found"}, "tickformat": ".0%", "range": [-0.03, 1.03]},
        hovermode="x unified",
        margin={"b": 56, "t": 60},
    )
    return strokes.laid_out(figure, height=HEIGHT)
