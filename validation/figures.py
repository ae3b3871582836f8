"""Findings -> small pictures for their pages: what was measured around the period of a finding, by the hour, as inline SVG.

A picture needs nothing but the style of the page that it stands on: no script, no file. Times are UTC.
"""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2s
from html import escape
from typing import Final

import polars as pl

from telemetry.schema import AT, DAY, EFFECT, ENTITY, OBSERVED, PARAMETER, grid_schema
from validation.findings import Finding

DRAWN: Final = 6
"""The first so many findings of a check are drawn."""
BEFORE: Final = timedelta(days=14)
AFTER: Final = timedelta(days=3)
POINTS: Final = 800
"""More hours than that are drawn in steps of several hours."""
LOG_FROM_DECADES: Final = 2.0
"""Values that span more are drawn on a logarithmic axis."""
EXTREMES: Final = frozenset({"plausible range", "finite"})
"""Of these kinds single values count, which a median would hide."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 200, 64, 14, 26, 26
DEPARTURE_DAYS: Final = timedelta(days=60)
STROKES: Final = {"(\N{EM DASH})": "first", "(- -)": "second", "(\N{MIDDLE DOT}\N{MIDDLE DOT}\N{MIDDLE DOT})": "third"}
"""How a line is drawn, in its name and in the style."""
LEVEL: Final = "level"
LOWEST: Final = "lowest"
HIGHEST: Final = "highest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Where values (or seconds) between `low` and `high` lie between two pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel, to a tenth; what lies beyond the axis is put on its end."""
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, min(max(value, self.low), self.high)))
        return round(self.start + (self.end - self.start) * (value - low) / ((high - low) or 1.0), 1)


def name_of(finding: Finding) -> str:
    """What the picture of a finding is called: the same for the same finding."""
    return blake2s(json.dumps(finding.as_json(), sort_keys=True).encode(), digest_size=8).hexdigest()


def draw(grid: pl.LazyFrame, *, findings: Sequence[Finding]) -> dict[str, str]:
    """The pictures of the first findings that have an entity and a period, by `name_of`; without a parameter its steps are drawn.

    Args:
        grid: what was checked, rows of `grid_schema`.
        findings: the worst first.
    """
    if not findings:
        return {}
    known = {None, *grid.collect_schema().names()} - set(grid_schema(()))
    drawn = [found for found in findings if found.entity and found.parameter in known and found.period_start and found.period_end][:DRAWN]
    frames = pl.collect_all([_around(grid, finding=found) for found in drawn])
    return {name_of(found): picture(frame, finding=found) for found, frame in zip(drawn, frames, strict=True) if frame[LEVEL].count()}


def _around(grid: pl.LazyFrame, *, finding: Finding) -> pl.LazyFrame:
    """`at, lowest, level, highest` in the period of a finding and around it, by the hour or, over a long time, by several.

    Null where nothing was told.
    """
    start, end, _ = _period(finding)
    hours = math.ceil((end - start) / timedelta(hours=1) / POINTS)
    if finding.parameter is None:
        steps = pl.col(OBSERVED).sum().cast(pl.Float64)
        told = [steps.alias(LOWEST), steps.alias(LEVEL), steps.alias(HIGHEST)]
    else:
        value = pl.col(finding.parameter).cast(pl.Float64)
        value = value.filter(value.is_finite())
        told = [value.min().alias(LOWEST), value.median().alias(LEVEL), value.max().alias(HIGHEST)]
    return (
        grid.filter(pl.col(ENTITY) == finding.entity, pl.col(AT) >= start, pl.col(AT) < end)
        .group_by(pl.col(AT).dt.truncate(f"{hours}h"))
        .agg(told)
        .sort(AT)
    )


def _period(finding: Finding) -> tuple[datetime, datetime, datetime]:
    """Start and end of what is drawn, and the start of the finding.

    Raises:
        ValueError: it has no period.
    """
    if finding.period_start is None or finding.period_end is None:
        raise ValueError(f"The finding has no period: {finding.sentence}")
    return finding.period_start - BEFORE, finding.period_end + AFTER, finding.period_start


def picture(frame: pl.DataFrame, *, finding: Finding) -> str:
    """One picture (`at, lowest, level, highest` in, SVG out), with the finding's period shaded."""
    seconds = frame[AT].dt.epoch("s").to_list()
    columns = (LOWEST, HIGHEST) if finding.expectation in EXTREMES else (LEVEL,)
    curves = [frame[column].to_list() for column in columns]
    across = Axis(low=seconds[0], high=max(seconds[-1], seconds[0] + 3600), start=LEFT, end=WIDTH - RIGHT)
    upward = _upward([value for curve in curves for value in curve if value is not None])
    step = min((after - before for before, after in itertools.pairwise(seconds)), default=3600)
    told = _told(finding, hours=max(1, step // 3600)) + (", logarithmic" if upward.log else "")
    parts = [
        f'<svg class="picture" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}; {escape(finding.period)} is shaded">',
        f'<text class="told" x="{LEFT}" y="14">{escape(told)}</text>',
        *_shade(finding, across=across),
        *(part for value in _ticks(upward) for part in _rule(value, upward=upward)),
        *(part for at in _days(across) for part in _day(at, across=across)),
        *(f'<path class="curve" d="{_path(seconds, curve, across=across, upward=upward, step=step)}"/>' for curve in curves),
        "</svg>",
    ]
    return "".join(parts)


def departure(days: pl.DataFrame, *, finding: Finding, limit: float) -> str:
    """How far an entity's parameters were from the training, day by day, as one picture; up to three lines, told apart by their strokes.

    Args:
        days: `parameter, day, effect` (in deviations of the training), sorted; at least one row.
        finding: of the drift, whose period is shaded.
        limit: effect from which on a parameter counts as drifted; drawn on both sides.
    """
    rows = days.filter(pl.col(DAY) > pl.col(DAY).max() - DEPARTURE_DAYS).with_columns(pl.col(DAY).cast(pl.Datetime).dt.epoch("s").alias(AT))
    low, high = rows.select(low=pl.col(EFFECT).min(), high=pl.col(EFFECT).max()).row(0)
    newest = finding.period_end.timestamp() if finding.period_end else rows[AT].max()
    across = Axis(low=rows[AT].min(), high=newest, start=LEFT, end=WIDTH - RIGHT)  # type: ignore[arg-type]  # numbers
    upward = _upward([min(low, -limit), max(high, limit)])
    lines = rows.partition_by(PARAMETER, maintain_order=True)
    names = ", ".join(f"{line[PARAMETER][0]} {stroke}" for line, stroke in zip(lines, STROKES, strict=False))
    told = f"{finding.entity}, by day, in deviations from the training: {names}"
    parts = [
        f'<svg class="picture" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}; {escape(finding.period)} is shaded">',
        f'<text class="told" x="{LEFT}" y="14">{escape(told)}</text>',
        *_shade(finding, across=across),
        *(part for value in _ticks(upward) for part in _rule(value, upward=upward)),
        *(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>' for y in map(upward.at, (-limit, limit))),
        *(part for at in _days(across) for part in _day(at, across=across)),
    ]
    for line, name in zip(lines, STROKES.values(), strict=False):
        path = _path(line[AT].to_list(), line[EFFECT].to_list(), across=across, upward=upward, step=86_400)
        parts.append(f'<path class="curve {name}" d="{path}"/>')
    return "".join([*parts, "</svg>"])


def _told(finding: Finding, *, hours: int) -> str:
    every = "every hour" if hours == 1 else f"every {hours} hours"
    if finding.parameter is None:
        return f"{finding.entity}: steps observed in {every}"
    what = "lowest and highest value" if finding.expectation in EXTREMES else "level (median)"
    return f"{finding.parameter} of {finding.entity}: {what} of {every}"


def _upward(values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    if low > 0 and math.log10(high / low) > LOG_FROM_DECADES:
        return Axis(low=10 ** math.floor(math.log10(low)), high=10 ** math.ceil(math.log10(high)), start=HEIGHT - BOTTOM, end=TOP, log=True)
    low = min(low, 0.0) if low < high / 2 else low
    tick = _nice((high - low) / 4 or abs(high) or 1.0)
    bottom, top = math.floor(low / tick) * tick, math.ceil(high / tick) * tick
    return Axis(low=bottom, high=top if top > bottom else bottom + tick, start=HEIGHT - BOTTOM, end=TOP)


def _nice(step: float) -> float:
    """The next of 1, 2, 5, 10 ... that is not smaller.

    >>> _nice(0.03), _nice(7)
    (0.05, 10.0)
    """
    ten = 10.0 ** math.floor(math.log10(step))
    return next(float(f"{ten * digit:.12g}") for digit in (1, 2, 5, 10) if ten * digit >= step * (1 - 1e-9))


def _ticks(axis: Axis) -> list[float]:
    if axis.log:
        first, last = round(math.log10(axis.low)), round(math.log10(axis.high))
        return [10.0**power for power in range(first, last + 1, max(1, math.ceil((last - first) / 5)))]
    step = _nice((axis.high - axis.low) / 5)
    return [axis.low + step * number for number in range(int((axis.high - axis.low) / step + 1e-9) + 1)]


def _rule(value: float, *, upward: Axis) -> tuple[str, str]:
    y = upward.at(value)
    told = f"{value:,.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"
    return (
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>',
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{told}</text>',
    )


def _days(across: Axis) -> Iterable[datetime]:
    """Some midnights, as many as there is room for."""
    days = (across.high - across.low) / 86_400
    every = timedelta(days=max(1, math.ceil(days / 9)))
    start, end = (datetime.fromtimestamp(edge, tz=UTC) for edge in (across.low, across.high))
    at = start.replace(hour=0, minute=0, second=0, microsecond=0)
    at += timedelta(days=1) if at < start else timedelta()
    while at <= end:
        yield at
        at += every


def _day(at: datetime, *, across: Axis) -> tuple[str, str]:
    x = across.at(at.timestamp())
    foot = HEIGHT - BOTTOM
    return (
        f'<line class="rule" x1="{x}" x2="{x}" y1="{foot}" y2="{foot + 4}"/>',
        f'<text class="tick" x="{x}" y="{foot + 17}" text-anchor="middle">{at:%d %b}</text>',
    )


def _shade(finding: Finding, *, across: Axis) -> tuple[str, ...]:
    if finding.period_start is None or finding.period_end is None:
        return ()
    start, end = across.at(finding.period_start.timestamp()), across.at(finding.period_end.timestamp())
    height = HEIGHT - BOTTOM - TOP
    return (
        f'<rect class="wrong" x="{start}" y="{TOP}" width="{max(round(end - start, 1), 2)}" height="{height}"/>',
        f'<line class="since" x1="{start}" x2="{start}" y1="{TOP}" y2="{TOP + height}"/>',
    )


def _path(seconds: Sequence[int], values: Sequence[float | None], *, across: Axis, upward: Axis, step: int) -> str:
    """The line through all points; a gap where a step is missing."""
    parts, before = [], -math.inf
    for second, value in zip(seconds, values, strict=True):
        if value is None:
            continue
        joined = second - before <= 1.5 * step
        parts.append(f"{'L' if joined else 'M'}{across.at(second)} {upward.at(value)}{'' if joined else 'h0'}")
        before = second
    return "".join(parts)
