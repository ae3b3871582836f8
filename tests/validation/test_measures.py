"""A grid goes through the library's batch and comes back as it was, without a copy of its values."""

import math

import polars as pl
import pytest

from tests.validation.grids import grid

pytestmark = pytest.mark.slow  # it imports the library


def test_a_batch_holds_the_very_values_of_the_grid() -> None:
    from validation.measures import as_batch, packed, unpacked

    frame = pl.concat([grid(days=1), grid(days=1).with_columns(pl.col("at").dt.offset_by("1d"))], rechunk=False)
    back = pl.from_pandas(as_batch(packed(frame)), rechunk=False)
    assert unpacked(back).equals(frame)
    assert unpacked(back).schema == frame.schema
    for name in ("queries", "latency", "cpu"):
        there, here = ([piece.to_arrow().buffers()[1].address for piece in part[name].get_chunks()] for part in (back, frame))
        assert there == here


def test_frames_without_a_row_and_with_other_columns_are_batches_too() -> None:
    from validation.measures import as_batch

    frame = pl.DataFrame({"name": ["a", None], "values": [[1.0], []], "unknown": [None, None], "number": [math.nan, 1.0]})
    assert pl.from_pandas(as_batch(frame)).equals(frame)
    assert pl.from_pandas(as_batch(frame.clear())).is_empty()
