"""Delimited text, line by line and at the pace of a hash: which lines are not what a fast reader takes for granted.

Polars pads a line with too few fields, lets zero bytes pass, and gives up a whole file for a quote that is never closed. The checks
here are over all lines at once, and only lines that fail one are looked at singly.
"""

import csv
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

BOM: Final = b"\xef\xbb\xbf"
_LF, _CR, _QUOTE = 10, 13, 34
_BLOCK_BYTES: Final = 1 << 18  # a few marks for each byte stay in the cache
_SMALL: Final = 1 << 20
"""Of a file: a smaller one is read twice in less time than it takes to start a thread."""
_LONGEST: Final = 1 << 24
"""Of a line: a file with a longer one is not looked at any further here."""

Marks = NDArray[np.bool_]


class Scratch:
    """Memory for marks, taken once: fresh memory for each block would take longer than what is done in it."""

    def __init__(self) -> None:
        self._rows = np.empty((6, 0), dtype=np.bool_)

    def rows(self, size: int) -> Marks:
        """bool[6, size], with whatever was left there."""
        if size > self._rows.shape[1]:
            self._rows = np.empty((6, max(size, _BLOCK_BYTES)), dtype=np.bool_)
        return self._rows[:, :size]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How every line of a text is meant to be.

    Attributes:
        names: the columns, as the header spells them; empty where there is no header.
        fields: how many of them a line has.
        separator: one byte.
        header: the header's line as it stands, without its end; null where there is none.
    """

    names: tuple[str, ...]
    fields: int
    separator: bytes
    header: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one pass over a file tells.

    Attributes:
        digest: SHA-256 (hex) of its bytes.
        shape: null where a fast reader would refuse the file or read it wrongly.
        rows: data rows, where there is a shape.
    """

    digest: str
    shape: Shape | None
    rows: int


def survey(path: Path, *, separator: bytes, header: bool) -> Survey:
    """What a file says of itself; while one core hashes it, another looks at its lines.

    Raises:
        OSError: it cannot be read.
    """
    look = _Look(separator=separator, header=header)
    if path.stat().st_size <= _SMALL:
        digest = digest_of(path)
        look.through(path)
    else:
        with ThreadPoolExecutor(max_workers=1) as aside:
            hashed = aside.submit(digest_of, path)
            look.through(path)
            digest = hashed.result()
    return Survey(digest=digest, shape=look.shape if look.healthy else None, rows=look.rows)


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shape_of(line: bytes, *, separator: bytes, header: bool) -> Shape | None:
    r"""What the first line declares; null where it is no line of delimited text.

    >>> shape_of(b'time,"cpu, used"\r', separator=b",", header=True).names
    ('time', 'cpu, used')
    """
    text = line.removesuffix(b"\r")
    if b"\0" in text or not text.strip():
        return None
    try:
        rows = csv.reader([text.decode()], delimiter=separator.decode(), strict=True, skipinitialspace=separator != b" ")
        names = next(rows)
    except (UnicodeDecodeError, csv.Error, StopIteration):
        return None
    return Shape(names=tuple(names) if header else (), fields=len(names), separator=separator, header=text if header else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines of a text, found out about together.

    Attributes:
        starts: where each begins, in bytes.
        faulty: true where one is not of the shape.
    """

    starts: NDArray[np.intp]
    faulty: Marks


def lines_of(body: bytes | bytearray, *, shape: Shape, size: int | None = None, scratch: Scratch | None = None) -> Lines:
    r"""Which lines are not of the shape.

    Args:
        body: a text that ends with a line end.
        shape: how each line is meant to be.
        size: how many bytes of `body` are the text; all by default.
        scratch: memory that was used for other blocks.

    >>> shape = shape_of(b"a,b", separator=b",", header=True)
    >>> lines_of(b'1,2\n1\n1,2,3\n"1,2"\n1,"2,2"\n1,"2\n', shape=shape).faulty.tolist()
    [False, True, True, True, False, True]
    """
    size = len(body) if size is None else size
    text = np.frombuffer(body, dtype=np.uint8, count=size)
    marks = (scratch or Scratch()).rows(size)
    ends = np.flatnonzero(np.equal(text, _LF, out=marks[0]))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    separators = np.equal(text, shape.separator[0], out=marks[1])
    faulty = np.zeros(ends.size, dtype=np.bool_)
    if body.find(b'"', 0, size) >= 0:
        faulty = _unquote(text, marks=marks, starts=starts)
    faulty |= _per_line(separators, starts=starts) != shape.fields - 1
    if body.find(b"\0", 0, size) >= 0:
        faulty |= _per_line(text == 0, starts=starts) != 0
    if body.find(b"\r", 0, size) >= 0:
        returns = np.flatnonzero(text == _CR)
        faulty[np.searchsorted(ends, returns[text[returns + 1] != _LF])] = True
    if text.max(initial=0) > 127:
        faulty[_not_utf8(bytes(body[:size]), ends=ends)] = True
    if shape.header is not None:
        faulty[list(_repeats(body, header=shape.header, ends=ends, size=size))] = True
    return Lines(starts=starts, faulty=faulty)


def _per_line(marks: Marks, *, starts: NDArray[np.intp]) -> NDArray[np.unsignedinteger]:
    """How many marks each line has: counted in single bytes, the fastest way, and once more where one of them has overflowed."""
    counts = np.add.reduceat(marks.view(np.uint8), starts, dtype=np.uint8)
    if counts.sum(dtype=np.int64) == np.count_nonzero(marks):
        return counts
    return np.add.reduceat(marks.view(np.uint8), starts, dtype=np.uint32)


def _unquote(text: NDArray[np.uint8], *, marks: Marks, starts: NDArray[np.intp]) -> Marks:
    """Which lines have a quote that is never closed or stands where none may; unmarks the separators within quotes.

    Args:
        text: u8[byte].
        marks: bool[6, byte]; the first row marks the line ends, the second the separators, the others are free.
        starts: of the lines.
    """
    ends, separators, quotes, beside, fits, other = marks
    np.equal(text, _QUOTE, out=quotes)
    faulty: Marks = _per_line(quotes, starts=starts) % 2 == 1
    inside = _parity(quotes)  # true from an opening quote up to the byte before its closing one
    if faulty.any():
        before = np.zeros(starts.size, dtype=np.bool_)
        np.logical_xor.accumulate(faulty[:-1], out=before[1:])
        inside ^= np.repeat(before, np.diff(starts, append=text.size))
    np.logical_or(separators, quotes, out=beside)
    np.logical_or(beside, ends, out=beside)
    # Copies of neighbours: operations on slices that begin at odd places take 30 times as long.
    fits[:1], fits[1:] = True, beside[:-1]
    np.greater(inside, fits, out=fits)  # an opening quote with something before it
    np.logical_or(beside, np.equal(text, _CR, out=other), out=beside)
    other[-1:], other[:-1] = True, beside[1:]
    np.logical_or(inside, other, out=other)
    np.logical_or(fits, np.logical_not(other, out=other), out=fits)  # or a closing one with something behind it
    np.logical_and(fits, quotes, out=fits)
    faulty[np.searchsorted(starts, np.flatnonzero(fits), side="right") - 1] = True
    np.greater(separators, inside, out=separators)
    return faulty


def _parity(marks: Marks) -> Marks:
    """Whether the number of marks up to each place is odd; 64 places at a time.

    >>> _parity(np.array([False, True, False, False, True, False])).tolist()
    [False, True, True, True, False, False]
    """
    packed = np.packbits(marks, bitorder="little")
    words = np.zeros(-(-packed.size // 8), dtype="<u8")
    words.view(np.uint8)[: packed.size] = packed
    for shift in (1, 2, 4, 8, 16, 32):
        words ^= words << np.uint64(shift)
    odd = np.bitwise_xor.accumulate(words >> np.uint64(63))
    words[1:] ^= np.uint64(0) - odd[:-1]
    return np.unpackbits(words.view(np.uint8), count=marks.size, bitorder="little").view(np.bool_)


def _not_utf8(body: bytes, *, ends: NDArray[np.intp]) -> list[int]:
    if _decodes(body):
        return []
    return [number for number, (start, end) in enumerate(_spans(ends)) if not _decodes(body[start:end])]


def _spans(ends: NDArray[np.intp]) -> Iterator[tuple[int, int]]:
    start = 0
    for end in ends.tolist():
        yield start, end
        start = end + 1


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _repeats(body: bytes | bytearray, *, header: bytes, ends: NDArray[np.intp], size: int) -> Iterator[int]:
    """Lines that say what the header says."""
    found = body.find(header, 0, size)
    while found >= 0:
        end = found + len(header)
        if (found == 0 or body[found - 1] == _LF) and body[end] in (_LF, _CR):
            yield int(np.searchsorted(ends, end))
        found = body.find(header, end, size)


class _Look:
    """Blocks of a text, looked at as they come: healthy until a line is not of the shape."""

    def __init__(self, *, separator: bytes, header: bool) -> None:
        self.separator, self.header = separator, header
        self.shape: Shape | None = None
        self.healthy, self.rows = True, 0
        self._scratch = Scratch()

    def through(self, path: Path) -> None:
        """The whole file, block by block, until a line is found that is not of the shape."""
        buffer, kept = bytearray(_BLOCK_BYTES), 0
        with path.open("rb", buffering=0) as stream:
            while self.healthy and (read := stream.readinto(memoryview(buffer)[kept:])):
                size = kept + read
                cut = self._at(buffer, size=size)
                kept = size - cut
                buffer[:kept] = buffer[cut:size]
                if kept == len(buffer):
                    buffer = buffer + bytearray(kept)
                    self.healthy = kept <= _LONGEST
        if self.healthy and kept:
            self._at(buffer[:kept] + b"\n", size=kept + 1)
        self.healthy = self.healthy and self.shape is not None

    def _at(self, buffer: bytearray, *, size: int) -> int:
        """The next block; gives back how many bytes of it are whole lines."""
        cut = buffer.rfind(b"\n", 0, size) + 1
        if self.shape is None and cut:
            self._first(bytes(buffer[:cut]))
        elif cut:
            self._lines(buffer, size=cut)
        return cut

    def _first(self, body: bytes) -> None:
        body = body.removeprefix(BOM)
        first, _, below = body.partition(b"\n")
        self.shape = shape_of(first, separator=self.separator, header=self.header)
        body = below if self.header else body
        self.healthy = self.shape is not None
        if self.healthy and body:
            self._lines(bytearray(body), size=len(body))

    def _lines(self, body: bytearray, *, size: int) -> None:
        assert self.shape is not None  # noqa: S101  (set by the first block)
        lines = lines_of(body, shape=self.shape, size=size, scratch=self._scratch)
        self.rows += lines.starts.size
        self.healthy = not lines.faulty.any()
