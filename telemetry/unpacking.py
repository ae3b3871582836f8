"""Packed or otherwise encoded bytes -> the UTF-8 text within, block by block, and where it breaks off."""

import bz2
import codecs
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from telemetry.survey import BOM

BLOCK_BYTES: Final = 1 << 23
_SNIFFED: Final = 1 << 12
_TELLING: Final = 8
_STEP_BYTES: Final = 1 << 9
_STEPS: Final = 1 << 11
_SIP_BYTES: Final = 1 << 12
_GULP_BYTES: Final = 1 << 16
"""Where a state can be gone back to when what follows turns out to be damaged."""

MAGIC: Final = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
}
"""How packed content begins, whatever the file's ending says."""
FOREIGN: Final = {
    b"PAR1": "Parquet",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "a spreadsheet",
    b"SQLite format 3": "an SQLite database",
    b"ARROW1": "Arrow",
    b"ORC": "ORC",
    b"%PDF": "PDF",
    b"\x89PNG": "a picture",
}
"""How content begins that is no text."""
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class BrokenOffError(Exception):
    """Packed content ends before its end, or is damaged from here on. It is caught where rows are counted, and never leaves there."""


class _Unpacker(Protocol):
    """What zlib, bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


_Gzip: Final = type(zlib.decompressobj())
_DAMAGE: Final = (zlib.error, lzma.LZMAError, OSError, ValueError)
_UNPACKERS: Final[dict[str, Callable[[], _Unpacker]]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def packing(head: bytes) -> str:
    """By what the content is packed, told by how it begins; empty for what is not packed."""
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")


def foreign(head: bytes) -> str:
    """What the content is if it is no text, told by how it begins."""
    return next((name for magic, name in FOREIGN.items() if head.startswith(magic)), "")


def encoding(head: bytes) -> str:
    r"""The encoding of text, told by its first bytes: by its mark, or by every other byte being zero.

    >>> encoding("time,cpu".encode("utf-16")), encoding("time,cpu".encode("utf-16-be")), encoding(b"time,cpu")
    ('utf-16', 'utf-16-be', 'utf-8')
    """
    if head.startswith(_UTF16):
        return "utf-16"
    half = len(head) // 2 if len(head) >= _TELLING else 0
    if half and 4 * head[0::2].count(0) > 3 * half and not head[1::2].count(0):
        return "utf-16-be"
    if half and 4 * head[1::2].count(0) > 3 * half and not head[0::2].count(0):
        return "utf-16-le"
    return "utf-8"


def text_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The UTF-8 text of a file, without its byte order mark; bytes that are no UTF-8 stay as they are.

    Raises:
        BrokenOffError: after everything that could be unpacked.
    """
    plain = filter(None, _unpacked(chunks))
    head = b""
    broken: BrokenOffError | None = None
    try:
        while len(head) < _SNIFFED and (chunk := next(plain, b"")):
            head += chunk
    except BrokenOffError as error:
        broken = error
    found = encoding(head)
    decoder = None if found == "utf-8" else codecs.getincrementaldecoder(found)(errors="replace")
    yield head.removeprefix(BOM) if decoder is None else decoder.decode(head).encode()
    if broken:
        raise broken
    for chunk in plain:
        yield chunk if decoder is None else decoder.decode(chunk).encode()
    if decoder is not None:
        yield decoder.decode(b"", final=True).encode()


def ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks; while one of them is looked at, the next is made on another core.

    Raises:
        BrokenOffError: where `blocks` raises it.
    """
    with ThreadPoolExecutor(max_workers=1) as aside:
        waiting = aside.submit(next, blocks, None)
        while (block := waiting.result()) is not None:
            waiting = aside.submit(next, blocks, None)
            yield block


def whole_lines(text: Iterator[bytes], *, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    r"""Blocks of whole lines, each line ended by \n; a last line without an end gets one.

    Raises:
        BrokenOffError: after the lines before it; its argument is the line in which the text breaks off.
    """
    waiting: list[bytes] = []
    size = 0
    normal = _line_ends(_slices(text, size=block_bytes))
    while True:
        try:
            chunk = next(normal, None)
        except BrokenOffError as error:
            whole, _, rest = b"".join(waiting).rpartition(b"\n")
            if whole:
                yield whole + b"\n"
            raise BrokenOffError(rest) from error
        if chunk is None:
            break
        waiting.append(chunk)
        size += len(chunk)
        if size >= block_bytes and b"\n" in chunk:
            whole, _, rest = b"".join(waiting).rpartition(b"\n")
            yield whole + b"\n"
            waiting, size = [rest], len(rest)
    last = b"".join(waiting)
    if last:
        yield last if last.endswith(b"\n") else last + b"\n"


def _slices(text: Iterator[bytes], *, size: int) -> Iterator[bytes]:
    for chunk in text:
        for start in range(0, len(chunk), size):
            yield chunk[start : start + size]


def _line_ends(text: Iterator[bytes]) -> Iterator[bytes]:
    r"""\r\n and a lone \r as \n; a \r at the end of a chunk waits for what follows it."""
    held = b""
    try:
        for each in text:
            chunk = held + each
            held = b"\r" if chunk.endswith(b"\r") else b""
            chunk = chunk[: len(chunk) - len(held)]
            yield chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
    except BrokenOffError:
        yield b"\n" if held else b""
        raise
    yield b"\n" if held else b""


def _unpacked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    kind = packing(first)
    if not kind:
        yield first
        yield from chunks
    elif kind == "Zstandard":
        yield from _zstandard(first, chunks)
    else:
        yield from _members(first, chunks, unpacker=_UNPACKERS[kind])


def _members(first: bytes, chunks: Iterator[bytes], *, unpacker: Callable[[], _Unpacker]) -> Iterator[bytes]:
    """One packed stream after another, as `cat a.gz b.gz` makes them; zeros after the last one are padding."""
    state, begun = unpacker(), False
    waiting = _sips(first, chunks, size=_GULP_BYTES if isinstance(state, _Gzip) else _SIP_BYTES)
    data = b""
    while data or (data := next(waiting, b"")):
        data = data if begun else data.lstrip(b"\0")
        if not data:
            continue
        before = state.copy() if isinstance(state, _Gzip) else None
        try:
            yield state.decompress(data)
        except _DAMAGE as error:
            if before is not None:
                yield from _until_damage(before, data)
            raise BrokenOffError from error
        begun, data = True, b""
        if state.eof:
            data, state, begun = state.unused_data, unpacker(), False
    if begun:
        raise BrokenOffError


def _until_damage(state: _Unpacker, data: bytes) -> Iterator[bytes]:
    """What can be unpacked of data that are damaged somewhere, byte by byte."""
    for byte in data:
        try:
            yield state.decompress(bytes((byte,)))
        except _DAMAGE:
            return


def _sips(first: bytes, chunks: Iterator[bytes], *, size: int) -> Iterator[bytes]:
    """Packed bytes by the few: what a broken stream still gives is not lost with what follows, and no bomb goes off at once."""
    return _slices(itertools.chain((first,), chunks), size=size)


def _zstandard(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """In small steps: what is read in the step that fails is lost."""
    import pyarrow as pa  # type: ignore[import-untyped]  # it ships no types

    stream = pa.CompressedInputStream(pa.PythonFile(io.BufferedReader(_Raw(first, chunks)), mode="r"), "zstd")
    while True:
        steps: list[bytes] = []
        try:
            while len(steps) < _STEPS and (step := stream.read(_STEP_BYTES)):
                steps.append(step)
        except OSError as error:
            yield b"".join(steps)
            raise BrokenOffError from error
        if not steps:
            return
        yield b"".join(steps)


class _Raw(io.RawIOBase):
    """Chunks as a stream that can be read."""

    def __init__(self, first: bytes, chunks: Iterator[bytes]) -> None:
        self._rest, self._chunks = first, chunks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # narrower than any buffer
        self._rest = self._rest or next(self._chunks, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
