"""Files of every known format as lazy frames of their own columns, and the rows that have no such columns.

A healthy file is left to Polars. What Polars would refuse as a whole, or read wrongly without a word, is read a piece at a time.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal, Protocol

import polars as pl

from telemetry import jsonlines, text
from telemetry.contract import Contract
from telemetry.errors import BadValueError, SourceError
from telemetry.feeds import DAMAGED, ROW_INDEX, Opened
from telemetry.pieces import HELD_BYTES, distinct, nothing, settled
from telemetry.survey import Shape, Survey
from telemetry.unpacking import encoding, foreign, packing, text_of

Kind = Literal["CSV", "TSV", "JSON lines", "Parquet"]
ENDINGS: Final[dict[str, Kind]] = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".parquet": "Parquet",
}
PACKED: Final = (".gz", ".zst", ".bz2", ".xz")
_HEAD_BYTES: Final = 4096
_WILD: Final = re.compile(r"[*?\[\]{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """What a file's ending stands for."""

    kind: Kind
    packed: bool

    @property
    def told(self) -> str:
        """As messages call it."""
        return f"packed {self.kind}" if self.packed else self.kind


class Content(Protocol):
    """Where a file's bytes come from."""

    @property
    def path(self) -> Path | None:
        """Of a local file; null for any other."""
        ...

    @property
    def address(self) -> str:
        """A path or URL that Polars can read."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Its bytes from the beginning."""
        ...


def format_of(name: str) -> Format | None:
    """The format that a file's ending stands for, null if it stands for none that is read.

    >>> format_of("exports/m1.CSV.gz"), format_of("notes.txt")
    (Format(kind='CSV', packed=True), None)
    """
    plain = name.lower()
    packed = next((ending for ending in PACKED if plain.endswith(ending)), "")
    kind = next((kind for ending, kind in ENDINGS.items() if plain.removesuffix(packed).endswith(ending)), None)
    return None if kind is None or (packed and kind == "Parquet") else Format(kind=kind, packed=bool(packed))


def separator_of(kind: Kind, *, contract: Contract) -> bytes:
    """The byte between fields.

    Raises:
        SourceError: it is none that can stand there.
    """
    declared = contract.files.separator
    if not declared.isascii() or declared in '"\r\n\0':
        raise SourceError(f"{declared!r} cannot separate fields.", hint="name one ASCII character as files.separator in the contract.")
    return b"\t" if kind == "TSV" and declared == "," else declared.encode()


def opened(content: Content, *, name: str, form: Format, contract: Contract, survey: Survey | None) -> Opened:
    """The rows of a file.

    Args:
        content: its bytes.
        name: how messages call it.
        form: what its ending stands for.
        contract: how delimited text is written, and which columns must not be there twice.
        survey: of delimited text that is neither packed nor elsewhere.

    Raises:
        EmptySourceError: there is no row.
        BadValueError: the file is damaged as a whole, or not what its ending says.
        SourceError: it cannot be reached.
    """
    with refusals(name, told=form.told):
        if form.kind == "Parquet":
            return _parquet(content, name=name, contract=contract)
        head = next(content.chunks(), b"")[:_HEAD_BYTES]
        stranger = "" if packing(head) else foreign(head)
        if stranger:
            raise BadValueError(f"{name} cannot be read as {form.told}: it is {stranger}.", hint="give it the ending of what it is.")
        if form.kind == "JSON lines":
            return _json_lines(content, name=name, contract=contract, plain=not packing(head) and encoding(head) == "utf-8")
        return _delimited(content, name=name, kind=form.kind, contract=contract, survey=survey)


@contextmanager
def refusals(name: str, *, told: str) -> Iterator[None]:
    """Whatever a reader has to say against a file, told with the file's name and what to do."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        hint = "the file is damaged, still being written, or not what its ending says; export it again."
        raise BadValueError(f"{name} cannot be read as {told}: {reason}.", hint=hint) from error
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error}.", hint="see that it exists and may be read.") from error


def columns_wanted(contract: Contract) -> frozenset[str]:
    """The columns that the contract names: where there are two of one, nobody knows which is meant."""
    clock = contract.time.clock.column if contract.time.clock else None
    layout = contract.layout
    named = (contract.time.column, clock, contract.entity.cohort, contract.label_column)
    long = (layout.parameter_column, layout.value_column, layout.unit_column)
    parameters = [parameter.column or name for name, parameter in contract.parameters.items()] if layout.kind == "wide" else []
    return frozenset(filter(None, (*contract.entity.keys, *named, *long, *parameters)))


def _delimited(content: Content, *, name: str, kind: Kind, contract: Contract, survey: Survey | None) -> Opened:
    wanted = columns_wanted(contract)

    def columns(shape: Shape) -> tuple[str, ...]:
        return distinct(text.names_of(shape), wanted=wanted, name=name)

    if survey is not None and survey.shape is not None and _addressable(content):
        if not survey.rows:
            raise nothing(name, damaged=pl.DataFrame(schema=DAMAGED))
        frame = pl.scan_csv(
            content.address,
            has_header=False,
            skip_lines=0 if survey.shape.header is None else 1,
            schema=dict.fromkeys(columns(survey.shape), pl.String),
            separator=survey.shape.separator.decode(),
            infer_schema=False,
            row_index_name=ROW_INDEX,
            row_index_offset=1,
            glob=False,
        )
        return Opened(frame=frame, damaged=pl.DataFrame(schema=DAMAGED))
    separator = separator_of(kind, contract=contract)
    read = partial(text.pieces, name=name, columns=columns, separator=separator, header=contract.files.header)
    return settled(lambda: read(text_of(content.chunks())), name=name)


def _json_lines(content: Content, *, name: str, contract: Contract, plain: bool) -> Opened:
    """Typed by all lines: one text among numbers turns the column into text."""
    found = None
    if plain and content.path is not None and content.path.stat().st_size and _addressable(content):
        found = _sound_json(content)
    if found is None:
        found = settled(lambda: jsonlines.pieces(text_of(content.chunks())), name=name)
    return Opened(frame=_named(found.frame, name=name, contract=contract), damaged=found.damaged)


def _sound_json(content: Content) -> Opened | None:
    """The lines as Polars reads them; null where it refuses one. That shows only when every value has been read."""
    try:
        frame = pl.scan_ndjson(content.address, infer_schema_length=None, row_index_name=ROW_INDEX, row_index_offset=1)
        if content.path is not None and content.path.stat().st_size <= HELD_BYTES // 2:
            frame = frame.collect().lazy()
        rows = frame.select(pl.len().alias(ROW_INDEX), pl.exclude(ROW_INDEX).null_count()).collect()[ROW_INDEX].item()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    return Opened(frame=frame, damaged=pl.DataFrame(schema=DAMAGED)) if rows else None


def _parquet(content: Content, *, name: str, contract: Contract) -> Opened:
    if not _is_text(content.address):
        raise SourceError(f"{name} has a name that is no text.", hint="rename the file.")
    frame = pl.scan_parquet(content.address, row_index_name=ROW_INDEX, row_index_offset=1, glob=False, hive_partitioning=False)
    return Opened(frame=_named(frame, name=name, contract=contract), damaged=pl.DataFrame(schema=DAMAGED))


def _addressable(content: Content) -> bool:
    """Whether Polars takes the address for a name: no pattern, and text."""
    return not _WILD.search(content.address) and _is_text(content.address)


def _is_text(name: str) -> bool:
    """Whether a file's name is more than bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(frame: pl.LazyFrame, *, name: str, contract: Contract) -> pl.LazyFrame:
    """The frame with blanks stripped from its columns' names."""
    own = tuple(column for column in frame.collect_schema().names() if column != ROW_INDEX)
    named = distinct(own, wanted=columns_wanted(contract), name=name)
    renamed = {old: new for old, new in zip(own, named, strict=True) if old != new}
    return frame.rename(renamed) if renamed else frame
