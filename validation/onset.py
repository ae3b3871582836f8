"""Errors of arithmetic as they begin: three values in a row are enough where the time before makes them plain.

For telemetry of which no days are known yet, and for the live path. At every step that is not like those before it, each known error is
held against the values from there on (`validation.onset_forms`), first against three of them, then against more. It is believed when it
explains them far better than a true change of the series does; where digits tell nothing, when they have left all that was seen and hit it
to within their noise; and not if the rest of the entity has moved at the same time, for that is its business. What is told of the first
steps never changes with later ones, except for where it ends: the error that is believed first counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from validation import onset_forms
from validation.forms import ALL_ZERO, LOGARITHM, SIGN, SWAPPED
from validation.onset_forms import Case, case
from validation.onset_past import BEFORE, DECIMALS, NO_GRID, Block, Flags, Floats, Ints, Past, blocks, median, on_grid, past

AT_ONCE: Final = 3
"""Steps in a row that must say the same, or nothing ..."""
TWO: Final = 2
"""... and how many of them must say something."""
SPANS: Final = (AT_ONCE, 4, 5, 7, 10, 15, 30)
"""Steps from the first one on after which it is asked again."""
BAR: Final = 7.0
"""How much more likely an error must be than a true change, as a logarithm: a thousand times."""
PAIR: Final = 4.0
"""The same for two that have changed places, of which one must have left what was seen of it."""
PLAIN: Final = 1.0
"""The same for values that have left all that was seen by a factor of `BEYOND`."""
BEYOND: Final = float(np.log(2.0))
SURE: Final = 20.0
"""Beyond this it does not matter what the rest of the entity does."""
MARGIN: Final = 1.5
"""How much more likely than the next one an error must be for its name to be told at once ..."""
ALIKE: Final = 0.1
"""... unless their factors are this near to each other, in logarithms: of 1000 and 1024 the likelier one is told."""
NEARER: Final = 0.5
"""Of the way to what an error makes of the past: values must be beyond, from the last steps as well as from the hour."""
NEAREST: Final = 0.1
"""How near, in logarithms, or in `NEAR_NOISES`, values without digits must come to it."""
NEAR_NOISES: Final = 2.0
NEAR_SHARE: Final = 0.25
"""That distance is never more than this share of the factor's own logarithm."""
FAR: Final = float(np.log(onset_forms.FAR)) - 1e-9
"""Smaller factors than this are told of values without digits only at the last of `SPANS`: loads jump to eight times every day."""
ASKED: Final = (0.25, 0.7)
"""The first value must be `ASKED_NOISES` away from the past, at least the first of these and at most the second, in logarithms."""
ASKED_NOISES: Final = 2.0
MOVED: Final = 0.3
"""Another parameter has moved if it is this far, or `MOVED_NOISES`, from its own past."""
MOVED_NOISES: Final = 4.0
MIRRORED: Final = 0.5
"""How far, in logarithms, values of another sign may be from those before; up to twice that where these are noisy."""
STRIDES: Final = 3.0
"""How many usual steps a sign must have changed by at one blow: what passes through zero swings."""
CROSSED: Final = 3.0
"""How many noises two levels must be apart for their exchange to be seen in three steps."""
ZEROS: Final = 60
"""Steps of nothing but zeros, for minutes an outage looks the same ..."""
SMALLEST: Final = 0.9
"""... this share of them told."""
SMALL: Final = float(np.log(1000.0))
"""A series that was ever larger has not been divided to zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Onset:
    """Where an error begins.

    Attributes:
        entity: whose.
        parameter: of it.
        cause: as `validation.triage.Diagnosis` tells it.
        start: its first value.
        end: after its last one.
        factor: by which the level has changed; null where no factor tells it.
    """

    entity: str
    parameter: str
    cause: str
    start: datetime
    end: datetime
    factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """An error in one series of a block: its first step, and the one at which it was believed."""

    series: int
    step: int
    believed: int
    cause: str
    factor: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """Steps of some series of a block, i64[case] each."""

    block: Block
    before: Past
    step: Ints
    series: Ints

    def only(self, these: Flags | Ints) -> "_Asked":
        """Some of the cases."""
        return replace(self, step=self.step[these], series=self.series[these])

    def cases(self, *, span: int) -> Case:
        """The values from the steps on."""
        return case(self.before, value=self.block.value, step=self.step, series=self.series, length=span)

    @property
    def beside(self) -> Ints:
        """i64[case, parameter]: all series of the same entity."""
        count = len(self.block.parameters)
        return (self.series // count * count)[:, None] + np.arange(count)

    @property
    def earlier(self) -> Floats:
        """f64[case, BEFORE]: the values before the steps."""
        step = self.step[:, None] - np.arange(BEFORE, 0, -1)
        return np.where(step >= 0, self.block.value[np.maximum(step, 0), self.series[:, None]], np.nan)


@dataclass(slots=True, kw_only=True, eq=False)
class _Best:
    """What explains each case best, [case] each.

    Attributes:
        cause: its name.
        factor: f64, by which it changes the level; NaN if by none.
        evidence: f64, how much likelier it is than a true change.
        lead: f64, than the next explanation.
        near: bool, whether the values hit the factor to within their noise.
        partner: i64, the series with which it was swapped; -1 if with none.
    """

    cause: NDArray[np.object_]
    factor: Floats
    evidence: Floats
    lead: Floats
    near: Flags
    partner: Ints


def find(grid: pl.DataFrame, *, cadence: timedelta, since: datetime | None = None) -> tuple[Onset, ...]:
    """The errors that begin in a grid, at most one a series, sorted.

    What begins at a step depends on the day before it (on at least 180 and at most 1440 steps) and on the steps up to the one at which it
    is believed. A longer grid tells the same of them; one that starts later knows less of the past. What began before the grid does, or
    while fewer than 15 values were known, is not seen, and where it is repaired that looks like an error.

    Args:
        grid: entity, at, observed and parameters, sorted by entity and time; some hours, or at most some days.
        cadence: of its steps.
        since: errors that begin earlier are not looked for.
    """
    found = [each for block in blocks(grid, cadence=cadence) for each in _of_block(block, cadence=cadence, since=since)]
    return tuple(sorted(found, key=lambda each: (each.entity, each.parameter)))


def _of_block(block: Block, *, cadence: timedelta, since: datetime | None) -> Iterator[Onset]:
    late = _late(block, since=since).any(axis=1)
    if not late.any():
        return
    before = past(block.value, cadence=cadence, first=int(late.argmax()))
    first: dict[int, _Told] = {}
    every = (*_begun(_odd(block, before, since=since)), *_emptied(block, before, since=since))
    for told in sorted(every, key=lambda each: (each.believed, each.step)):
        first.setdefault(told.series, told)
    for series, told in first.items():
        entity, parameter = divmod(series, len(block.parameters))
        times = block.at[told.step : _last(told, block=block, before=before) + 1, entity]
        known = times[~np.isnat(times)]
        yield Onset(
            entity=block.entities[entity],
            parameter=block.parameters[parameter],
            cause=told.cause,
            start=_instant(known[0]),
            end=_instant(known[-1]) + cadence,
            factor=told.factor,
        )


def _instant(at: np.datetime64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at.astype("datetime64[us]").astype(np.int64)))


def _late(block: Block, *, since: datetime | None) -> Flags:
    """bool[step, entity]: the steps at which an error may begin."""
    return ~np.isnat(block.at) if since is None else block.at >= np.datetime64(since.astimezone(UTC).replace(tzinfo=None), "us")


def _odd(block: Block, before: Past, *, since: datetime | None) -> _Asked:
    """The steps whose value is not like those before it."""
    late = np.repeat(_late(block, since=since), len(block.parameters), axis=1)
    step, series = np.nonzero(np.isfinite(block.value) & (block.value != 0) & np.isfinite(before.level) & late)
    every = _Asked(block=block, before=before, step=step, series=series)
    cases = every.cases(span=1)
    away = np.abs(cases.size - cases.level) >= np.clip(ASKED_NOISES * cases.noise, *ASKED)
    return every.only((away | ~on_grid(cases.value, grid=cases.grid) | (np.sign(cases.value) * cases.sign < 0))[:, 0])


def _begun(asked: _Asked) -> Iterator[_Told]:
    """Every step from which on an error is believed, after as few steps as possible."""
    for span in SPANS:
        asked = asked.only(asked.step + span - 1 <= asked.block.over[asked.series])
        if not len(asked.step):
            return
        cases = asked.cases(span=span)
        best = _best(cases, asked=asked, span=span)
        sure = _sure(best, cases, asked=asked, span=span)
        for place in np.flatnonzero(sure):
            told = _Told(
                series=int(asked.series[place]),
                step=int(asked.step[place]),
                believed=int(asked.step[place]) + span - 1,
                cause=str(best.cause[place]),
                factor=None if np.isnan(best.factor[place]) else float(best.factor[place]),
            )
            yield told
            if best.partner[place] >= 0:
                own = asked.block.parameters[told.series % len(asked.block.parameters)]
                yield replace(told, series=int(best.partner[place]), cause=f"{SWAPPED} {own}")
        asked = asked.only(~sure & (best.evidence >= 0))


def _sure(best: _Best, cases: Case, *, asked: _Asked, span: int) -> Flags:
    """bool[case]: whether what explains each best is to be believed."""
    digits = best.evidence >= np.where(best.partner >= 0, PAIR, BAR)
    plain = (best.evidence >= PLAIN) & best.near & ((np.abs(np.log(best.factor)) >= FAR) | (span == SPANS[-1])) & ~digits
    plain &= _beyond(cases, factor=best.factor)
    sure = (digits | plain) & ((best.lead >= MARGIN) | (span == SPANS[-1]))
    stored = (~on_grid(cases.value, grid=cases.grid) & cases.told & (cases.grid > DECIMALS)).any(axis=1)
    doubtful = np.flatnonzero(sure & (best.evidence < SURE) & ~stored)
    sure[doubtful] = _moved(asked.only(doubtful), partner=best.partner[doubtful]) <= (digits & (best.partner < 0))[doubtful]
    rare = np.flatnonzero(sure & (best.factor > 1) & np.isfinite(cases.decimals[:, 0]))
    sure[rare] &= _rare(best.evidence[rare], cases.only(rare), factor=best.factor[rare, None], earlier=asked.only(rare).earlier)
    return sure


def _best(cases: Case, *, asked: _Asked, span: int) -> _Best:
    usual = onset_forms.unchanged(cases)
    rival = np.maximum(usual.sum(axis=1), onset_forms.changed(cases))
    names, factors, rows = [], [], []
    for name, factor, likely in onset_forms.single(cases):
        held = _held(likely - usual, cases=cases, span=span, size=0.0 if factor is None else float(np.log(factor)))
        if name == SIGN:
            held[held] = _flipped(cases.only(held), earlier=asked.only(held).earlier)
        elif name == LOGARITHM:
            held &= cases.grid[:, 0] != NO_GRID
        names.append(name)
        factors.append(np.nan if factor is None else factor)
        rows.append(np.where(held, likely.sum(axis=1) - rival, -np.inf))
    table, size = np.array(rows), np.log(np.array(factors))[:, None]
    away = [np.abs((cases.centre - before)[:, 0] - size) for before in (cases.level, cases.recent)]
    table[np.maximum(*away) > NEARER * np.abs(size)] = -np.inf
    place, every = table.argmax(axis=0), np.arange(table.shape[1])
    evidence, own = table[place, every], size[place, 0]
    alike = (np.abs(size - own) <= ALIKE) | (np.arange(len(names))[:, None] == place)
    other = np.where(alike, -np.inf, table).max(axis=0)
    lead = np.where(np.isfinite(evidence), evidence - np.maximum(other, onset_forms.IMPOSSIBLE), 0.0)
    near = away[0][place, every] <= np.minimum(np.maximum(NEAREST, NEAR_NOISES * cases.noise[:, 0]), NEAR_SHARE * np.abs(own))
    cause = np.array(names, dtype=object)[place]
    best = _Best(cause=cause, factor=np.array(factors)[place], evidence=evidence, lead=lead, near=near, partner=np.full(len(own), -1))
    _cross(best, cases, asked=asked, usual=usual, rival=rival)
    return best


def _held(better: Floats, *, cases: Case, span: int, size: float) -> Flags:
    """Whether values speak for an error one by one: the first one, two at least, and hardly one against it."""
    still = (cases.size - cases.level < size / 4) & (size > 0)
    against = (((better <= 0) | still) & cases.told).sum(axis=1)
    held: Flags = (better[:, 0] > 0) & (cases.told.sum(axis=1) >= TWO) & (against <= (span - AT_ONCE) // 5)
    return held


def _flipped(cases: Case, *, earlier: Floats) -> Flags:
    """Whether sizes are what they were, before the step and after it, and the sign has changed at one blow."""
    near = np.clip(NEAR_NOISES * cases.noise, MIRRORED, 2 * MIRRORED)
    steady = np.maximum(np.abs(cases.recent - cases.level), np.abs(cases.centre - cases.level)) <= near
    stride = np.nan_to_num(median(np.abs(np.diff(earlier, axis=1))))
    return np.asarray((steady & (np.exp(cases.centre) + np.exp(cases.recent) >= STRIDES * stride))[:, 0])


def _cross(best: _Best, cases: Case, *, asked: _Asked, usual: Floats, rival: Floats) -> None:
    """Notes the parameter of the same entity with which each has been swapped, where nothing explains both better.

    They have changed places at one blow, each to where the other one was, and one has left what was seen of it; or their digits say so.
    """
    level, noise = (told[asked.step[:, None], asked.beside] for told in (asked.before.level, asked.before.noise))
    with np.errstate(invalid="ignore"):
        fits = (np.abs(cases.centre - level) <= np.maximum(MOVED, CROSSED * noise)) & (asked.beside != asked.series[:, None])
    place, which = np.nonzero(fits)
    if not len(place):
        return
    theirs = replace(asked.only(place), series=asked.beside[place, which])
    span = cases.value.shape[1]
    own, other = cases.only(place), theirs.cases(span=span)
    here, there = onset_forms.exchanged(own, other), onset_forms.exchanged(other, own)
    others = onset_forms.unchanged(other)
    evidence = here.sum(axis=1) - rival[place], there.sum(axis=1) - np.maximum(others.sum(axis=1), onset_forms.changed(other))
    apart = (np.abs(own.level - other.level) >= CROSSED * np.maximum(own.noise, other.noise) / np.sqrt(span / AT_ONCE))[:, 0]
    left, digits = np.zeros(len(place), dtype=np.bool_), np.zeros(len(place), dtype=np.bool_)
    for one, two in ((own, other), (other, own)):
        jump = np.abs(one.centre - one.recent) >= NEARER * np.abs(two.recent - one.recent)
        apart &= (jump & (np.abs(one.centre - two.recent) <= np.maximum(NEAR_SHARE, NEAR_NOISES * two.noise)))[:, 0]
        left = left | ((one.size > one.high) | ~one.told).all(axis=1) | ((one.size < one.low) | ~one.told).all(axis=1)
        off = (~on_grid(one.value, grid=one.grid) & one.told).sum(axis=1)
        digits |= (off >= TWO) & np.isfinite(one.decimals + two.decimals)[:, 0]
    both = ((apart & left) | digits) & (np.minimum(*evidence) > 0) & (np.minimum(own.told.sum(axis=1), other.told.sum(axis=1)) >= TWO)
    both &= np.maximum((here - usual[place])[:, 0], (there - others)[:, 0]) > 0
    total = np.where(both, evidence[0] + evidence[1], -np.inf)
    for at in np.argsort(total, kind="stable")[np.isfinite(np.sort(total))]:
        to = place[at]
        if total[at] > best.evidence[to]:
            best.lead[to] = total[at] - max(float(best.evidence[to]), onset_forms.IMPOSSIBLE)
            best.cause[to] = f"{SWAPPED} {asked.block.parameters[which[at]]}"
            best.factor[to], best.near[to] = np.nan, False
            best.evidence[to], best.partner[to] = total[at], theirs.series[at]


def _beyond(cases: Case, *, factor: Floats) -> Flags:
    """bool[case]: whether all that is told has left what was seen before by far."""
    left = np.where(factor[:, None] > 1, cases.size >= cases.high + BEYOND, cases.size <= cases.low - BEYOND)
    return np.asarray((left | ~cases.told).all(axis=1))


def _moved(asked: _Asked, *, partner: Ints) -> Ints:
    """i64[case]: how many other parameters of the entity have left where they were in the first steps."""
    block, before = asked.block, asked.before
    here = (asked.step[:, None], asked.beside)
    away = np.zeros(asked.beside.shape, dtype=np.int64)
    for more in range(AT_ONCE):
        value = block.value[np.minimum(asked.step + more, len(block.value) - 1)[:, None], asked.beside]
        with np.errstate(all="ignore"):
            size = np.log(np.abs(value))
            off = np.minimum(np.abs(size - before.level[here]), np.abs(size - before.recent[here]))
            away += np.isfinite(off) & (off >= np.maximum(MOVED, MOVED_NOISES * before.noise[here]))
    own = (asked.beside == asked.series[:, None]) | (asked.beside == partner[:, None])
    moved: Ints = ((away >= TWO) & ~own).sum(axis=1)
    return moved


def _rare(evidence: Floats, cases: Case, *, factor: Floats, earlier: Floats) -> Flags:
    """Whether it is enough where multiples were not rare before: what counts in tens has many an eighth of 40."""
    told = np.isfinite(earlier) & (earlier != 0)
    count = told.sum(axis=1)
    multiples = (on_grid(earlier / factor, grid=cases.grid) & told).sum(axis=1)
    usual = count / factor[:, 0]
    many = multiples > usual + 3 * np.sqrt(usual) + 1
    lost = np.where(many, np.log(np.maximum(multiples, 1) / np.maximum(count, 1)) + np.log(factor[:, 0]), 0.0)
    enough: Flags = ~many | (evidence - (cases.fresh * cases.told).sum(axis=1) * lost >= BAR)
    return enough


def _emptied(block: Block, before: Past, *, since: datetime | None) -> Iterator[_Told]:
    """Series that tell nothing but zero for an hour, and never did so in the hour before, while the rest of the entity goes on."""
    if len(block.value) < ZEROS:
        return
    none = np.zeros((1, block.value.shape[1]), dtype=np.int64)
    zero, told = block.value == 0, np.isfinite(block.value) & (block.value != 0)
    zeros, others = (np.concatenate([none, np.cumsum(each, axis=0)]) for each in (zero, told))
    begin = np.arange(len(block.value) - ZEROS + 1)
    empty = (others[begin + ZEROS] == others[begin]) & (zeros[begin + ZEROS] - zeros[begin] >= SMALLEST * ZEROS)
    fallen = empty & (zeros[begin] == zeros[np.maximum(begin - BEFORE, 0)]) & np.isfinite(before.level[begin])
    with np.errstate(invalid="ignore"):
        small = (before.high[begin] < SMALL) & (before.level[begin] >= before.noise[begin])
    late = np.repeat(_late(block, since=since), len(block.parameters), axis=1)[begin]
    step, series = np.nonzero(fallen & small & zero[begin] & late)
    asked = _Asked(block=block, before=before, step=step, series=series)
    alone = fallen[step[:, None], asked.beside].sum(axis=1) == 1
    alone &= _moved(asked, partner=np.full(len(step), -1)) == 0
    for at, which in zip(step[alone], series[alone], strict=True):
        yield _Told(series=int(which), step=int(at), believed=int(at) + ZEROS - 1, cause=ALL_ZERO, factor=None)


def _last(told: _Told, *, block: Block, before: Past) -> int:
    """The last step that speaks for the error rather than against it."""
    one = _Asked(block=block, before=before, step=np.array([told.step]), series=np.array([told.series]))
    rest = one.cases(span=len(block.value) - told.step)
    if told.cause == ALL_ZERO:
        likely = np.where(rest.told, onset_forms.IMPOSSIBLE, 0.0)
    elif told.cause.startswith(SWAPPED):
        other = one.beside[:, block.parameters.index(told.cause.removeprefix(SWAPPED).strip())]
        likely = onset_forms.exchanged(rest, replace(one, series=other).cases(span=1))
    else:
        likely = next(likely for name, _, likely in onset_forms.single(rest) if name == told.cause)
    sides = np.where(rest.told, np.sign(likely - onset_forms.unchanged(rest)), (rest.value == 0) & (told.cause == ALL_ZERO))[0]
    run = np.cumsum(sides)
    return max(told.step + len(run) - 1 - int(run[::-1].argmax()), told.believed)
