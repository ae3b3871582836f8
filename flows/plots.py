"""Figures of a run's page: frame in, Plotly figure out. Pure; nothing is read, drawn or asked for.

No meaning is carried by a colour alone: signs, dashes and words go with it. Names come from telemetry; `label` makes them harmless,
because Plotly reads a few HTML tags in texts.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
import plotly.graph_objects as go  # type: ignore[import-untyped]
import polars as pl

from flows import strokes
from flows.exhibits import FOUND, LOSS, LOWER, MATCHED, NUMBER, UPPER, VALIDATION_LOSS, VALUE
from telemetry.schema import ACTUAL, AT, END, ENTITY, FORECAST, LABEL, ROW, START, SURPRISE, TARGET
from validation.metrics import ACCURACY, ACCURACY_ORACLE, ACCURACY_PERSISTENCE

LOG_FROM_DECADES: Final = 2.0
"""Values that span more are drawn on a logarithmic axis."""
ROW_PX: Final = 22
MANY_TARGETS: Final = 12
UPPER_LANE: Final = -0.2
LOWER_LANE: Final = 0.2
"""Rows count downwards."""
BELOW: Final = "below"


def finding_series(series: pl.DataFrame, *, start: datetime | None, end: datetime | None, parameter: str) -> go.Figure:
    """What was measured around a finding (at, value), with its period shaded."""
    series = series.sort(AT)
    figure = go.Figure(strokes.curve(series, VALUE, name=strokes.label(parameter), color=strokes.INK, width=1.4))
    if start is not None and not series.is_empty():
        last = end if end is not None else series[AT].max()
        figure.add_shape(strokes.shade(start, last, color=strokes.WRONG))
        figure.add_trace(strokes.swatch("period of the finding", color=strokes.WRONG))
        figure.add_shape(strokes.rule(start, color=strokes.RED))
    span = decades(series[VALUE])
    axis = {"type": "log", "dtick": math.ceil(span / 6), "tickformat": ",~g"} if span > LOG_FROM_DECADES else {}
    title = f"{strokes.label(parameter)}{' (logarithmic)' if axis else ''}"
    figure.update_layout(xaxis=strokes.TIME_AXIS, yaxis={**axis, "title": {"text": title}})
    return strokes.laid_out(figure, height=280)


def decades(values: pl.Series) -> float:
    """Decades between the smallest and the largest of the values; 0 where one is not above zero.

    >>> decades(pl.Series([1.0, None, 1000.0])), decades(pl.Series([0.0, 5.0]))
    (3.0, 0.0)
    """
    found = values.drop_nulls().cast(pl.Float64)
    found = found.filter(found.is_finite())
    low, high = found.min(), found.max()
    if not isinstance(low, float) or not isinstance(high, float) or low <= 0:
        return 0.0
    return round(float(np.log10(high) - np.log10(low)), 9)


def accuracy_dots(by_entity: pl.DataFrame, *, bar: float | None) -> go.Figure:
    """Every entity's accuracy beside that of repeating the last value and of the oracle; the first row at the top."""
    below = pl.lit(False) if bar is None else (pl.col(ACCURACY) < bar).fill_null(False)
    rows = by_entity.with_row_index(ROW).with_columns(below.alias(BELOW))
    figure = go.Figure(_links(rows))
    figure.add_trace(_dots(rows, ACCURACY_PERSISTENCE, name="last value repeated", color=strokes.GREY, symbol="circle-open"))
    if rows[ACCURACY_ORACLE].null_count() < rows.height:
        figure.add_trace(_dots(rows, ACCURACY_ORACLE, name="oracle", color=strokes.TEAL, symbol="diamond-open"))
    figure.add_trace(_dots(rows.filter(~pl.col(BELOW)), ACCURACY, name="model", color=strokes.BLUE, symbol="circle"))
    if rows[BELOW].any():
        figure.add_trace(_dots(rows.filter(BELOW), ACCURACY, name="model, below the bar", color=strokes.RED, symbol="x"))
    if bar is not None:
        figure.add_shape(strokes.rule(bar, color=strokes.AMBER))
        figure.add_trace(strokes.rule_swatch(f"bar, {bar:.2%}", color=strokes.AMBER))
    figure.update_layout(xaxis={"tickformat": ".2~%", "tickangle": 0}, yaxis=strokes.rows_axis(rows[ENTITY]), hovermode="closest")
    return strokes.laid_out(figure, height=110 + ROW_PX * max(rows.height, 3))


def accuracy_heatmap(by_entity_target: pl.DataFrame, *, entities: Sequence[str], bar: float | None) -> go.Figure:
    """Accuracy of every entity (rows, in the order given) and target (columns); each cell says its figure in percent."""
    targets = by_entity_target[TARGET].unique(maintain_order=True).sort().to_list()
    known = {(row[ENTITY], row[TARGET]): row[ACCURACY] for row in by_entity_target.iter_rows(named=True)}
    cells = [[strokes.rounded(known.get((entity, target))) for target in targets] for entity in entities]
    told = [cell for row in cells for cell in row if cell is not None]
    low, colors = _colors(min(told, default=0.0), bar=bar)
    narrow = len(targets) > MANY_TARGETS
    digits = 0 if narrow else 1
    heatmap = go.Heatmap(
        z=cells,
        x=[strokes.label(target) for target in targets],
        y=list(range(len(entities))),
        text=[[_percent(cell, digits=digits) for cell in row] for row in cells],
        texttemplate="%{text}",
        zmin=low,
        zmax=1.0,
        colorscale=colors,
        showscale=False,
        xgap=2,
        ygap=2,
        customdata=[[strokes.label(entity)] * len(targets) for entity in entities],
        hovertemplate="%{customdata}<br>%{x} %{z:.2%}<extra></extra>",
    )
    figure = go.Figure(heatmap)
    columns = {"type": "category", "showgrid": False, "side": "top", "tickangle": -60 if narrow else None}
    figure.update_layout(yaxis=strokes.rows_axis(pl.Series(entities, dtype=pl.String)), xaxis=columns, margin={"t": 36, "b": 10})
    return strokes.laid_out(figure, height=(120 if narrow else 60) + ROW_PX * max(len(entities), 3))


def _percent(share: float | None, *, digits: int) -> str:
    """Percent, rounded down; empty where there is none."""
    return "" if share is None else f"{math.floor(share * 100 * 10**digits + 1e-9) / 10**digits:.{digits}f}"


def _colors(worst: float, *, bar: float | None) -> tuple[float, list[tuple[float, str]]]:
    """The accuracy that the scale starts at and its colours up to 1: reds below the bar and blues above it; blues alone without a bar.

    >>> _colors(0.97, bar=0.98)[1][2]
    (0.333333, '#a9cbe0')
    """
    if bar is None or not 0 < bar < 1:
        return min(worst, 0.99), [(0.0, "#d3e4f0"), (1.0, "#2f7fb8")]
    low = min(worst, bar - 0.01)
    middle = round((bar - low) / (1 - low), 6)
    return low, [(0.0, "#b5403a"), (middle, "#e3a98f"), (middle, "#a9cbe0"), (1.0, "#2f7fb8")]


def excerpt(rows: pl.DataFrame) -> go.Figure:
    """Forecast against what came (at, actual, forecast, lower, upper, surprise, label), with the band of the normal."""
    rows = rows.sort(AT)
    figure = go.Figure()
    figure.add_trace(strokes.band(rows, lower=LOWER, upper=UPPER, name="normal band", color=strokes.BAND))
    figure.add_trace(strokes.curve(rows, ACTUAL, name="actual", color=strokes.INK, width=1))
    figure.add_trace(strokes.curve(rows, FORECAST, name="forecast", color=strokes.BLUE, width=1.8, dash="dash"))
    surprising = rows.filter(pl.col(SURPRISE) > 1, pl.col(ACTUAL).is_not_null())
    if surprising.height:
        marks = go.Scatter(
            x=strokes.epoch_ms(surprising[AT]),
            y=strokes.heights(surprising[ACTUAL]),
            mode="markers",
            name="anomalous minute",
            marker={"color": strokes.RED, "symbol": "circle-open", "size": 6, "line": {"width": 1.5}},
            hoverinfo="skip",
        )
        figure.add_trace(marks)
    spans = label_spans(rows)
    for start, end in spans:
        figure.add_shape(strokes.shade(start, end, color=strokes.SHADE))
    if spans:
        figure.add_trace(strokes.swatch("labelled incident", color=strokes.SHADE))
    figure.update_layout(xaxis=strokes.TIME_AXIS, yaxis={"title": {"text": strokes.label(rows[TARGET].first())}}, hovermode="x unified")
    return strokes.laid_out(figure, height=320)


def label_spans(rows: pl.DataFrame) -> list[tuple[datetime, datetime]]:
    """Start and end (exclusive) of every run of labelled rows, which must be sorted by time.

    >>> at = pl.datetime_range(datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 3), "1m", eager=True)
    >>> label_spans(pl.DataFrame({"at": at, "label": [False, True, True, False]}))
    [(datetime.datetime(2026, 1, 1, 0, 1), datetime.datetime(2026, 1, 1, 0, 3))]
    """
    step = pl.col(AT).diff().median().fill_null(pl.duration(minutes=1)).alias("step")
    runs = (
        rows.with_columns(pl.col(LABEL).fill_null(False), step)
        .group_by(pl.col(LABEL).rle_id().alias("run"), maintain_order=True)
        .agg(pl.col(LABEL).first(), pl.col(AT).first().alias(START), (pl.col(AT).last() + pl.col("step").first()).alias(END))
        .filter(LABEL)
    )
    return list(runs.select(START, END).iter_rows())


def timeline(incidents: pl.DataFrame, labels: pl.DataFrame, *, entities: Sequence[str]) -> go.Figure:
    """One row an entity: what was opened above, what was labelled below; missed and false ones carry a sign of their own."""
    place = pl.DataFrame({ENTITY: list(entities)}, schema={ENTITY: pl.String}).with_row_index(ROW)
    matched, found = pl.col(MATCHED).fill_null(True), pl.col(FOUND).fill_null(False)
    figure = go.Figure()
    for told, name, color, lane, symbol in (
        (incidents.filter(matched), "incident", strokes.BLUE, UPPER_LANE, None),
        (incidents.filter(~matched), "false incident", strokes.RED, UPPER_LANE, "triangle-up"),
        (labels.filter(found), "labelled and found", strokes.TEAL, LOWER_LANE, None),
        (labels.filter(~found), "labelled and missed", strokes.AMBER, LOWER_LANE, "x"),
    ):
        placed = told.join(place, on=ENTITY, how="inner")
        if placed.height:
            figure.add_traces(_spans(placed, name=name, color=color, lane=lane, symbol=symbol))
    figure.update_layout(xaxis=strokes.TIME_AXIS, yaxis=strokes.rows_axis(place[ENTITY]), barmode="overlay", hovermode="closest")
    return strokes.laid_out(figure, height=110 + 30 * max(place.height, 3))


def loss_curves(history: pl.DataFrame) -> go.Figure:
    """Loss of training and of validation by epoch; the best epoch marked."""
    history = history.sort(NUMBER)
    figure = go.Figure()
    for column, name, color, dash in ((LOSS, "training", strokes.GREY, "dot"), (VALIDATION_LOSS, "validation", strokes.BLUE, "solid")):
        mode = "lines+markers" if history.height <= 40 else "lines"
        values = [strokes.rounded(value) for value in history[column]]
        line = {"color": color, "width": 2, "dash": dash}
        figure.add_trace(go.Scatter(x=history[NUMBER].to_list(), y=values, name=name, mode=mode, line=line, marker={"size": 5}))
    measured = history.filter(pl.col(VALIDATION_LOSS).is_finite())
    if measured.height:
        best = measured.row(int(measured[VALIDATION_LOSS].arg_min() or 0), named=True)
        marker = {"symbol": "star", "size": 13, "color": strokes.TEAL}
        name = f"best, epoch {best[NUMBER]}"
        figure.add_trace(go.Scatter(x=[best[NUMBER]], y=[strokes.rounded(best[VALIDATION_LOSS])], name=name, mode="markers", marker=marker))
    spread = max(decades(history[LOSS]), decades(history[VALIDATION_LOSS]))
    yaxis = {"title": {"text": "loss"}, "rangemode": "normal", **({"type": "log"} if spread > 1 else {})}
    every = {"dtick": 1} if history.height <= 20 else {}  # else a few epochs are ticked at halves
    figure.update_layout(xaxis={"title": {"text": "epoch"}, "tickformat": "d", **every}, yaxis=yaxis, hovermode="x unified")
    return strokes.laid_out(figure, height=300)


def _dots(rows: pl.DataFrame, column: str, *, name: str, color: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=[strokes.rounded(value) for value in rows[column]],
        y=rows[ROW].to_list(),
        text=[strokes.label(entity) for entity in rows[ENTITY]],
        name=name,
        mode="markers",
        marker={"color": color, "symbol": symbol, "size": 10, "line": {"width": 2, "color": color}},
        hovertemplate="%{text}<br>" + name + " %{x:.2%}<extra></extra>",
    )


def _links(rows: pl.DataFrame) -> go.Scatter:
    """A thin line from the last value's accuracy to the model's."""
    ends = rows.drop_nulls([ACCURACY_PERSISTENCE, ACCURACY])
    x = [
        value
        for last, model in zip(ends[ACCURACY_PERSISTENCE], ends[ACCURACY], strict=True)
        for value in (strokes.rounded(last), strokes.rounded(model), None)
    ]
    y = [value for row in ends[ROW] for value in (row, row, None)]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": strokes.GRID, "width": 2}, showlegend=False, hoverinfo="skip")


def _spans(told: pl.DataFrame, *, name: str, color: str, lane: float, symbol: str | None) -> list[go.Bar | go.Scatter]:
    """A bar from start to end in one lane of its entity's row, never too thin to be seen; where there is a sign, it stands on the start."""
    ends = told[END].fill_null(told[START])
    starts = [f"{start:%Y-%m-%d %H:%M:%S}" for start in told[START]]
    y = [row + lane for row in told[ROW]]
    bars = go.Bar(
        base=starts,
        x=(ends - told[START]).dt.total_milliseconds().clip(lower_bound=0).to_list(),
        y=y,
        orientation="h",
        width=0.3,
        name=name,
        marker={"color": color, "line": {"color": color, "width": 2}},
        text=[strokes.label(entity) for entity in told[ENTITY]],
        textposition="none",
        customdata=[f"{start:%Y-%m-%d %H:%M} to {end:%H:%M}" for start, end in zip(told[START], ends, strict=True)],
        hovertemplate="%{text}<br>" + name + "<br>%{customdata}<extra></extra>",
        legendgroup=name,
        showlegend=symbol is None,
    )
    if symbol is None:
        return [bars]
    marker = {"symbol": symbol, "size": 11, "color": color, "line": {"width": 1, "color": color}}
    return [bars, go.Scatter(x=starts, y=y, mode="markers", name=name, legendgroup=name, marker=marker, hoverinfo="skip")]
