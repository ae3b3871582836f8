"""Frames that wait on disk to be read: in one file without a name, which is gone with the process whatever ends it."""

import os
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from io import BytesIO

import polars as pl


class Spool:
    """Frames on disk, in the folder for temporary files ($TMPDIR)."""

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(prefix="tidewatch-")
        os.unlink(path)
        self._handle, self._end = handle, 0
        weakref.finalize(self, os.close, handle)

    def add(self, frame: pl.DataFrame) -> Callable[[], pl.DataFrame]:
        """Write a frame; what comes back reads it."""
        packed = BytesIO()
        frame.write_ipc(packed, compression="zstd")
        content = packed.getbuffer()
        place, self._end = self._end, self._end + len(content)
        written = 0
        while written < len(content):
            written += os.pwrite(self._handle, content[written:], place + written)
        return partial(self._read, place, len(content))

    def _read(self, place: int, size: int) -> pl.DataFrame:
        content = bytearray()
        while len(content) < size:
            content += os.pread(self._handle, size - len(content), place + len(content))
        return pl.read_ipc(BytesIO(content))
