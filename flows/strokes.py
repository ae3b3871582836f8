"""The strokes that figures are made of: colours, lines, shades and axes in the manner of a run's page.

Backgrounds are clear and colours of middle contrast, so that a figure reads on light and on dark; the page's style sets the colour
of its texts and grid lines. Times are UTC.
"""

from html import escape
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
import polars as pl
from numpy.typing import NDArray
from plotly.io.json import to_json_plotly  # type: ignore[import-untyped]

from telemetry.schema import AT

BLUE: Final = "#2f86c9"
TEAL: Final = "#1f9d8a"
AMBER: Final = "#c9821b"
RED: Final = "#d64f4f"
GREY: Final = "#83909f"
INK: Final = "#5c6b7c"
"""The measured values; the page draws this very colour in the colour of its text."""
CLEAR: Final = "rgba(0,0,0,0)"
GRID: Final = "rgba(128,140,155,0.25)"
BAND: Final = "rgba(47,134,201,0.20)"
SHADE: Final = "rgba(201,130,27,0.20)"
WRONG: Final = "rgba(214,79,79,0.16)"
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
DIGITS: Final = 6
KNOWN: Final = "known"
STRETCH: Final = "stretch"
HOUR_MS: Final = 3_600_000
TIME_AXIS: Final = {
    "type": "date",
    "hoverformat": "%Y-%m-%d %H:%M",
    "tickformatstops": [
        {"dtickrange": [None, 23 * HOUR_MS], "value": "%H:%M\n%d %b %Y"},
        {"dtickrange": [23 * HOUR_MS, "M1"], "value": "%d %b\n%Y"},
        {"dtickrange": ["M1", None], "value": "%b %Y"},
    ],
}


def as_json(figure: go.Figure) -> str:
    """The figure as JSON that may stand inside of a script element."""
    told: str = to_json_plotly(figure.to_dict())
    return told


def label(name: Any) -> str:  # Any: a name may be null
    """A name that Plotly shows letter by letter.

    >>> label("<b>acme</b>")
    '&lt;b&gt;acme&lt;/b&gt;'
    """
    return escape(str(name), quote=False)


def laid_out(figure: go.Figure, *, height: int) -> go.Figure:
    """The figure in the page's manner; what it has set itself stays."""
    own = figure.layout.to_plotly_json()
    margin = {"l": 8, "r": 12, "t": 40, "b": 36, **own.get("margin", {})}
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True}
    figure.update_layout(
        template="none",
        height=height,
        margin=margin,
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"family": FONT, "size": 12, "color": INK},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        xaxis=axis,
        yaxis={**axis, "hoverformat": ",.5~g", "title": {"standoff": 10}},
        dragmode="zoom",
    )
    return figure


def curve(rows: pl.DataFrame, column: str, *, name: str, color: str, width: float, dash: str = "solid", legend: bool = True) -> go.Scatter:
    """A column over time; null is a gap."""
    return go.Scatter(
        x=epoch_ms(rows[AT]),
        y=heights(rows[column]),
        name=name,
        mode="lines",
        line={"color": color, "width": width, "dash": dash},
        connectgaps=False,
        showlegend=legend,
        hoverinfo="skip" if not legend else None,
    )


def band(rows: pl.DataFrame, *, lower: str, upper: str, name: str, color: str) -> go.Scatter:
    """What lies between two columns over time: one closed outline for every stretch in which both are known."""
    known = pl.col(lower).is_finite() & pl.col(upper).is_finite()
    stretches = rows.with_columns(known.fill_null(False).alias(KNOWN)).with_columns(pl.col(KNOWN).rle_id().alias(STRETCH)).filter(KNOWN)
    x, y = [], []
    for stretch in stretches.partition_by(STRETCH, maintain_order=True):
        back = stretch.reverse()
        x += [epoch_ms(stretch[AT]), epoch_ms(back[AT]), [np.nan]]
        y += [heights(stretch[upper]), heights(back[lower]), [np.nan]]
    return go.Scatter(
        x=np.concatenate([[], *x]),
        y=np.concatenate([[], *y]).astype(np.float32),
        name=name,
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=color,
        hoverinfo="skip",
    )


def shade(start: Any, end: Any, *, color: str) -> dict[str, Any]:  # Any: times, and Plotly's own layout of a shape
    """A period, from the bottom to the top."""
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": start,
        "x1": end,
        "y0": 0,
        "y1": 1,
        "fillcolor": color,
        "line": {"width": 0},
        "layer": "below",
    }


def rule(x: Any, *, color: str) -> dict[str, Any]:  # Any: as shade
    """A dashed line from the bottom to the top."""
    return {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "line": {"color": color, "width": 1.5, "dash": "dash"},
    }


def swatch(name: str, *, color: str) -> go.Scatter:
    """An entry of the legend for what is shaded."""
    return go.Scatter(
        x=[None], y=[None], mode="markers", name=name, marker={"symbol": "square", "size": 12, "color": color}, hoverinfo="skip"
    )


def rule_swatch(name: str, *, color: str) -> go.Scatter:
    """An entry of the legend for a rule."""
    return go.Scatter(x=[None], y=[None], mode="lines", name=name, line={"color": color, "width": 2, "dash": "dash"}, hoverinfo="skip")


def rows_axis(names: pl.Series) -> dict[str, Any]:  # Any: Plotly's own layout of an axis
    """Row i of a figure is called names[i]; the first is at the top."""
    rows = list(range(names.len()))
    return {"tickvals": rows, "ticktext": [label(name) for name in names], "range": [len(rows) - 0.4, -0.6], "showgrid": False}


def epoch_ms(times: pl.Series) -> NDArray[np.float64]:
    """Milliseconds since 1970, which a date axis reads; sent as bytes, half as long as text."""
    return times.dt.epoch("ms").cast(pl.Float64).to_numpy()


def heights(values: pl.Series) -> NDArray[np.float32]:
    """Seven digits are more than a screen shows; null is a gap."""
    return values.cast(pl.Float32).fill_null(float("nan")).to_numpy()


def rounded(value: float | None) -> float | None:
    """What JSON can hold, and no more digits than a reader needs."""
    return None if value is None or not np.isfinite(value) else round(float(value), DIGITS)
