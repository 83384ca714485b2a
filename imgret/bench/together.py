"""Decoding and describing at once, through the stream that `imgret extract` uses, in its steady state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from imgret.extraction.describe import Describer
from imgret.extraction.stream import describe_stream
from imgret.images.decode import DecodeRule, Undecodable
from imgret.images.files import ImageFile


def steady(
    images: Sequence[ImageFile],
    rule: DecodeRule,
    describer: Describer,
    *,
    workers: int,
    batch_size: int,
    about: float,
    expected: int,
    seconds: float,
) -> tuple[float, dict[str, np.ndarray]]:
    """Seconds an image of the stream, and the descriptors by id.

    The images go round until there are enough for `seconds`, at `about` seconds each, as if there were `expected` of
    them. What comes first and last is left out of the figure: the workers are starting then and threads are being
    tried out, or there is nothing left to decode.
    """
    ahead = max(4 * batch_size, 4 * workers)  # as far as the stream decodes ahead
    slow = 4 * ahead * about > 3 * seconds
    edge = max(batch_size, workers) if slow else ahead
    steps = max(1, round((seconds / about - 3 * edge) / edge))
    count = (3 + steps) * edge
    stamps: list[float] = []
    rows: dict[str, np.ndarray] = {}
    stream = describe_stream(
        islice(cycle(images), count),
        rule,
        describer,
        workers=workers,
        batch_size=batch_size,
        expected=0 if slow else expected,
    )
    for image, one in stream:
        stamps.append(time.perf_counter())
        if not isinstance(one, Undecodable):
            rows.setdefault(image.id, one.descriptor)
    return (stamps[-edge - 1] - stamps[2 * edge - 1]) / (count - 3 * edge), rows
