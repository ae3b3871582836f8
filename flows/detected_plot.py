"""The figure of a comparison of detectors: rows of figures in, Plotly figure out. Pure; no meaning is carried by a colour alone."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go  # type: ignore[import-untyped]

from flows import strokes

LOOKS: Final = (
    (strokes.BLUE, "star"),
    (strokes.GREY, "circle"),
    (strokes.TEAL, "diamond"),
    (strokes.AMBER, "square"),
    (strokes.RED, "triangle-up"),
    (strokes.INK, "cross"),
)
"""The first is the detector that is judged."""


def found_by_false(rows: Sequence[Mapping[str, Any]]) -> go.Figure:  # Any: rows of flows.detectors
    """Share of the events that each detector found against its false incidents a customer-week."""
    figure = go.Figure()
    for number, row in enumerate(rows):
        if row["recall"] is None or row["false_per_customer_week"] is None:
            continue
        color, symbol = LOOKS[min(number, len(LOOKS) - 1)]
        name = strokes.label(row["detector"])
        figure.add_trace(
            go.Scatter(
                x=[strokes.rounded(row["false_per_customer_week"])],
                y=[strokes.rounded(row["recall"])],
                name=name,
                mode="markers",
                marker={"symbol": symbol, "size": 16 if number == 0 else 11, "color": color, "line": {"width": 1, "color": color}},
                hovertemplate=f"{name}<br>{row['found']} of {row['events']} found<br>%{{x:.3~g}} false a customer-week<extra></extra>",
            )
        )
    most = max((float(row["false_per_customer_week"] or 0.0) for row in rows), default=0.0) or 1.0
    figure.update_layout(
        xaxis={"title": {"text": "false incidents a customer-week"}, "range": [-0.04 * most, 1.08 * most]},
        yaxis={"title": {"text": "incidents found"}, "tickformat": ".0%", "range": [-0.05, 1.05]},
        hovermode="closest",
        margin={"b": 60, "t": 60},
    )
    return strokes.laid_out(figure, height=360)
