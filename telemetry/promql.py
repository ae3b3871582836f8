"""An expression and a span of time -> what a Prometheus server says of it: one frame of samples.

Nothing but `/api/v1/query_range` is asked, by POST.
"""

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import polars as pl

from telemetry.errors import SourceError
from telemetry.feeds import public
from telemetry.schema import TIME

if TYPE_CHECKING:
    import httpx

AT: Final = "__at__"
VALUE: Final = "__value__"
MOST_POINTS: Final = 11_000
"""Of one series in one answer; servers refuse more."""
MOST_BYTES: Final = 1 << 28
"""Of one answer, unpacked; a span with a larger one is asked for in halves."""
CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 120.0
_SHOWN: Final = 300
_FEWER: Final = ("too many samples", "exceeded maximum resolution", "limit", "too large")
"""What servers say that would answer a shorter span."""

logger = logging.getLogger(__name__)


class _TooMuch(Exception):  # noqa: N818  (no error yet: the span is halved)
    """The answer is larger than one may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A server that is asked.

    Attributes:
        name: for messages.
        client: with its address and the credentials.
        labels: those of a series that are wanted.
        most_bytes: of one answer.
    """

    name: str
    client: "httpx.Client" = field(repr=False)
    labels: tuple[str, ...]
    most_bytes: int = MOST_BYTES

    def samples(self, query: str, *, start_ms: int, end_ms: int, step_ms: int) -> pl.DataFrame:
        """The values of an expression at every step from `start_ms` to before `end_ms`.

        Returns:
            The wanted labels (text, null where a series has no such label), `AT` (UTC) and `VALUE`, null for NaN; in no order.

        Raises:
            SourceError: the server cannot be reached, refuses, answers nothing that could be read, or two series share the labels.
        """
        steps = -(-(end_ms - start_ms) // step_ms)
        pieces = [
            self._span(query, start_ms=start_ms + first * step_ms, steps=min(MOST_POINTS, steps - first), step_ms=step_ms)
            for first in range(0, steps, MOST_POINTS)
        ]
        frame = pl.concat([_nothing(self.labels), *pieces])
        lacking = [name for name in self.labels if frame.height and frame[name].null_count() == frame.height]
        if lacking:
            by = ", ".join(self.labels)
            raise SourceError(
                f"{self.name}: no series of '{query}' has the label {', '.join(lacking)}, which is a key.",
                hint=f"name them in the query (parameters.<name>.query): sum by ({by}) ({query}), or leave the key out of entity.keys.",
            )
        if frame.select(*self.labels, AT).is_duplicated().any():
            by = ", ".join(self.labels)
            raise SourceError(
                f"{self.name}: several series of '{query}' have the same {by or 'entity'}.",
                hint=f"aggregate in the query (parameters.<name>.query): sum by ({by}) ({query})",
            )
        return frame

    def _span(self, query: str, *, start_ms: int, steps: int, step_ms: int) -> pl.DataFrame:
        """One answer, or two of half the span where one is too much."""
        end_ms = start_ms + (steps - 1) * step_ms
        try:
            answer = self._post({"query": query, "start": _seconds(start_ms), "end": _seconds(end_ms), "step": _seconds(step_ms)})
        except _TooMuch as error:
            if steps == 1:
                hint = "aggregate in the query, so that it has fewer series."
                raise SourceError(f"{self.name}: the answer to '{query}' is too large even for one instant: {error}.", hint=hint) from None
            half = steps // 2
            first = self._span(query, start_ms=start_ms, steps=half, step_ms=step_ms)
            return pl.concat([first, self._span(query, start_ms=start_ms + half * step_ms, steps=steps - half, step_ms=step_ms)])
        return self._read(answer, query=query)

    def _post(self, asked: dict[str, str]) -> bytes:
        import httpx

        try:
            with self.client.stream("POST", "api/v1/query_range", data=asked) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > self.most_bytes:
                        raise _TooMuch(f"more than {self.most_bytes:,} bytes")
        except httpx.TimeoutException:
            reason, hint = "it takes too long to answer", "ask for a shorter span, or for less in the query."
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason, hint = str(error) or type(error).__name__, "see that the server is up and the address right."
        else:
            if response.is_success:
                return bytes(body)
            raise self._refused(response, body=bytes(body), query=asked["query"])
        # Raised out here: a request with its credentials hangs on the client's own errors.
        raise SourceError(f"{self.name} cannot be reached: {reason[:_SHOWN]}.", hint=hint)

    def _refused(self, response: "httpx.Response", *, body: bytes, query: str) -> Exception:
        """What stands for an answer that is none."""
        status = response.status_code
        if response.is_redirect:
            aim = public(response.headers.get("location", ""))
            return SourceError(f"{self.name} sends its callers on to {aim}, and is not followed.", hint="name the address that it means.")
        if status in (401, 403):
            hint = "set PROMETHEUS_TOKEN in the environment, or user and password in the URL."
            return SourceError(f"{self.name} refuses the credentials (HTTP {status}).", hint=hint)
        told = _error_of(body)
        if told is None:
            hint = "see that it is the address of a Prometheus server (without /api/v1)." if status < 500 else "try again later."
            return SourceError(f"{self.name} answers '{query}' with HTTP {status} and no reason.", hint=hint)
        if status == 422 and any(sign in told for sign in _FEWER):
            return _TooMuch(told)
        hint = "see parameters.<name>.query in the contract; the server's own page shows what an expression gives."
        return SourceError(f"{self.name} refuses '{query}': {told[:_SHOWN]}.", hint=hint)

    def _read(self, body: bytes, *, query: str) -> pl.DataFrame:
        """An answer's matrix as rows."""
        label = dict.fromkeys(("__name__", *self.labels), pl.String)
        series = pl.Struct({"metric": pl.Struct(label), "values": pl.List(pl.List(pl.String))})
        shape = pl.Struct({"warnings": pl.List(pl.String), "data": pl.Struct({"result": pl.List(series)})})
        try:
            answer = pl.select(pl.lit(body.decode()).str.json_decode(shape).alias("answer")).unnest("answer")
            found = answer.select(pl.col("data").struct.field("result"))
            if found.height != 1 or found["result"].null_count():
                raise ValueError
            rows = found.filter(pl.col("result").list.len() > 0).explode("result").unnest("result")
            told, text = pl.col("values").list.get(0, null_on_oob=True), pl.col("values").list.get(1, null_on_oob=True)
            at = (told.cast(pl.Float64) * 1000).round().cast(pl.Int64).cast(pl.Datetime("ms", "UTC")).cast(TIME)
            points = (
                rows.unnest("metric")
                .explode("values")
                .select(*self.labels, at.alias(AT), text.cast(pl.Float64).fill_nan(None).alias(VALUE))
            )
        except (ValueError, pl.exceptions.PolarsError):
            points = None
        if points is None:
            hint = "see that it is the address of a Prometheus server (without /api/v1)."
            raise SourceError(f"{self.name} answers '{query}' with something that is no answer of a Prometheus server.", hint=hint)
        if rows["values"].null_count():
            hint = "take histogram_quantile(...), histogram_sum(...) or histogram_count(...) of it in parameters.<name>.query."
            raise SourceError(f"{self.name}: '{query}' gives histograms, and a parameter is a number.", hint=hint)
        for warning in answer["warnings"].explode().drop_nulls():
            logger.warning("%s warns: %s", self.name, warning[:_SHOWN])
        return points


def _error_of(body: bytes) -> str | None:
    """Why a server refuses, by its JSON."""
    try:
        told = json.loads(body)
        return f"{told['error']} ({told['errorType']})"
    except (ValueError, TypeError, KeyError):
        return None


def _nothing(labels: tuple[str, ...]) -> pl.DataFrame:
    return pl.DataFrame(schema={**dict.fromkeys(labels, pl.String), AT: TIME, VALUE: pl.Float64})


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
