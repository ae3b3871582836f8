"""What a Prometheus server says of a contract's parameters -> parts of a feed, a UTC day each.

Its answers become rows as a file would have them: a column for the time, one for each key (labels of the series), one for each parameter.
Times are the instants of evaluation, a whole number of steps of the cadence since 1970 (or the contract's origin), whatever time.format
says of files. `increase(x[1m])` at 12:00 tells of the minute before.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from typing import Final

import polars as pl

from telemetry.addresses import bare, credentials
from telemetry.contract import Contract
from telemetry.errors import EmptySourceError, MissingColumnError, SourceError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened, Part, Parts
from telemetry.fingerprints import fingerprint
from telemetry.promql import ANSWER_SECONDS, AT, CONNECT_SECONDS, MOST_BYTES, VALUE, Asking
from telemetry.sections import COUNTED
from telemetry.spool import Spool

_DAY_MS: Final = 86_400_000
_LOOK_BACK_DAYS: Final = 3653
"""How far back the beginning of a history is looked for."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PrometheusSource:
    """A Prometheus server; see `telemetry.feeds.Source`.

    Every day of the span is asked for once, kept in a temporary file until it is read, and known again by what was answered.

    Attributes:
        location: `http://` or `https://`, host and path without `/api/v1`.
        contract: its parameters' `query` (by default the column, or the name) is what is asked, its cadence how often.
        now: until when is asked, where no end is named.
        token: sent as `Authorization: Bearer ...`.
        most_bytes: of one answer.
    """

    location: str = field(repr=False)
    contract: Contract = field(kw_only=True)
    now: datetime = field(kw_only=True)
    token: str | None = field(default=None, repr=False, kw_only=True)
    most_bytes: int = field(default=MOST_BYTES, kw_only=True)

    @property
    def name(self) -> str:
        """The location, without credentials."""
        return bare(self.location)

    def parts(self, *, since: datetime | None, until: datetime | None) -> Parts:
        """The days between the two of which the server has anything to say.

        Args:
            since: by default the first day of which the server knows anything, at most ten years ago.
            until: end, exclusive; by default now.

        Raises:
            EmptySourceError: the server has nothing at all.
            MissingColumnError: of a parameter it has nothing at all (asked without `since`), or no series has a label that is a key.
            SourceError: it cannot be reached, refuses, answers nothing that could be read, or several series are one entity's.
        """
        queries, spool = _queries(self.contract, name=self.name), Spool()
        end = _milliseconds(until or self.now)
        answered: dict[str, int] = dict.fromkeys(queries, 0)
        parts = []
        with self._asked() as asking:
            start = self._oldest(asking, queries=queries, end_ms=end) if since is None else _milliseconds(since)
            for first, last in self._days(start_ms=start, end_ms=end):
                found = {name: asking.samples(query, start_ms=first, end_ms=last, step_ms=self._step) for name, query in queries.items()}
                answered = {name: answered[name] + found[name].height for name in queries}
                frame = _rows(found, contract=self.contract)
                if frame.height:
                    parts.append(self._part(frame, day=_EPOCH + timedelta(milliseconds=first), spool=spool))
        self._complain(answered, whole=since is None)
        return Parts(parts=tuple(parts))

    @property
    def _step(self) -> int:
        return self.contract.time.cadence_seconds * 1000

    def _days(self, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, int]]:
        """First and last (exclusive) instant of every day that has a step between the two."""
        origin = _milliseconds(self.contract.time.origin) if self.contract.time.origin else 0
        for day in range(start_ms // _DAY_MS, -(-end_ms // _DAY_MS)):
            first = max(start_ms, day * _DAY_MS)
            first += (origin - first) % self._step
            last = min(end_ms, (day + 1) * _DAY_MS)
            if first < last:
                yield first, last

    def _oldest(self, asking: Asking, *, queries: dict[str, str], end_ms: int) -> int:
        """The beginning of the first day of which the server knows anything; at the latest yesterday.

        Looked for at whole hours, so that what is younger than an hour would not be seen; therefore yesterday.
        """
        midnight = (end_ms // _DAY_MS + 1) * _DAY_MS
        start = midnight - _LOOK_BACK_DAYS * _DAY_MS
        counting = replace(asking, labels=())
        found = [midnight - _DAY_MS]
        for query in queries.values():
            known = f"count(count_over_time(({query})[1d:1h]))"
            days = counting.samples(known, start_ms=start, end_ms=midnight + _DAY_MS, step_ms=_DAY_MS)
            found += [int(at.timestamp() * 1000) for at in days[AT].sort().head(1)]
        return min(found) - _DAY_MS

    def _part(self, frame: pl.DataFrame, *, day: datetime, spool: Spool) -> Part:
        return Part(
            name=f"{day:%Y-%m-%d}",
            kind="Prometheus",
            fingerprint=fingerprint(_digest(frame), contract=self.contract, of_path={}),
            revision=_milliseconds(self.now) * 1000,
            open=partial(_open, spool.add(frame)),
        )

    def _complain(self, answered: dict[str, int], *, whole: bool) -> None:
        """Nothing at all of a parameter: a metric that is misspelt gives no error, but no answer either."""
        silent = tuple(name for name, samples in answered.items() if not samples)
        if whole and len(silent) == len(answered):
            hint = "see that it is the right server, and that parameters.<name>.query gives something there."
            raise EmptySourceError(f"{self.name} has nothing of what the contract '{self.contract.name}' asks for.", hint=hint)
        if whole and silent:
            found = tuple(name for name, samples in answered.items() if samples)
            raise MissingColumnError(source=self.name, missing=silent, found=found)
        if silent:
            logger.warning("%s has nothing of %s in the span that was asked for", self.name, ", ".join(silent))

    @contextmanager
    def _asked(self) -> Iterator[Asking]:
        import httpx

        user = credentials(self.location, name=self.name, instead="PROMETHEUS_TOKEN")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        address = f"{self.name.rstrip('/')}/"
        try:
            client = httpx.Client(base_url=address, auth=user, headers=headers, timeout=timeout, follow_redirects=False)
        except httpx.InvalidURL as error:
            raise SourceError(f"{self.name} is no address of a server: {error}.", hint="it looks like http://host:9090") from None
        with client:
            yield Asking(name=self.name, client=client, labels=_labels(self.contract), most_bytes=self.most_bytes)


def _open(kept: Callable[[], pl.DataFrame]) -> Opened:
    return Opened(frame=kept().with_row_index(ROW_INDEX, offset=1).lazy(), damaged=pl.DataFrame(schema=DAMAGED))


def _queries(contract: Contract, *, name: str) -> dict[str, str]:
    """What is asked, by the name under which the contract reads it.

    Raises:
        SourceError: one column would hold two answers, or rows without a time or the paths of files tell what no server does.
    """
    if contract.entity.path_pattern is not None:
        message = f"{name}: the contract '{contract.name}' reads keys from the paths of files, and a server has labels."
        raise SourceError(message, hint="leave entity.path_pattern out of the contract for this source.")
    if not contract.time.column:
        message = f"{name}: the contract '{contract.name}' counts rows, and a server has none."
        raise SourceError(message, hint="name time.column in the contract, and a format other than 'row'.")
    found: dict[str, str] = {}
    for parameter, declared in contract.parameters.items():
        column = declared.column or parameter
        query = declared.query or column
        if found.setdefault(column, query) != query:
            message = f"{name}: the column {column} is asked for as '{found[column]}' and as '{query}'."
            raise SourceError(message, hint=f"give parameters.{parameter}.column a name of its own.")
    return found


def _labels(contract: Contract) -> tuple[str, ...]:
    """The labels that are keys."""
    return tuple(dict.fromkeys((*contract.entity.keys, *filter(None, (contract.entity.cohort,)))))


def _rows(found: dict[str, pl.DataFrame], *, contract: Contract) -> pl.DataFrame:
    """Samples as rows in the contract's layout, by time and keys; a value that is none is no row.

    Args:
        found: samples by the name that the contract reads them by.
        contract: says what the columns are called.
    """
    labels, layout = _labels(contract), contract.layout
    told = {name: frame.drop_nulls(VALUE) for name, frame in found.items()}
    if layout.kind == "long":
        units = {each.column or name: each.source_unit or each.unit for name, each in contract.parameters.items()}
        says = [(layout.parameter_column, dict(zip(told, told, strict=True))), (layout.unit_column, units)]
        frames = [
            frame.rename({VALUE: str(layout.value_column)}).with_columns(pl.lit(of[name]).alias(column) for column, of in says if column)
            for name, frame in told.items()
        ]
        rows = pl.concat(frames)
    else:
        frames = [frame.rename({VALUE: name}) for name, frame in told.items()]
        rows = reduce(lambda left, right: left.join(right, on=[*labels, AT], how="full", coalesce=True, nulls_equal=True), frames)
    clock = contract.time.clock
    times = [_time(contract).alias(contract.time.column), *([pl.col(AT).alias(clock.column)] if clock else [])]
    return rows.sort(AT, *labels, maintain_order=True).select(*times, pl.exclude(AT))


def _time(contract: Contract) -> pl.Expr:
    """The instant, or where the format counts from an origin, how many units after it."""
    time = contract.time
    if time.format not in COUNTED:
        return pl.col(AT)
    unit = {"second_index": 1, "minute_index": 60}.get(time.format, time.cadence_seconds)
    return (pl.col(AT) - time.origin).dt.total_microseconds() / (unit * 1_000_000)


def _digest(frame: pl.DataFrame) -> str:
    """SHA-256 of columns and values, the same however they lie in memory."""
    hashed = hashlib.sha256(json.dumps(frame.columns).encode())
    for column in frame.iter_columns():
        text = column.dtype == pl.String
        hashed.update("\0".join(column.fill_null("\1")).encode() if text else column.to_physical().to_numpy().tobytes())
    return hashed.hexdigest()


def _milliseconds(instant: datetime) -> int:
    """Since 1970; of a fraction, the next one, for spans hold their beginning and not their end."""
    return -((_EPOCH - instant) // timedelta(milliseconds=1))
