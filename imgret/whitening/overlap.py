"""Whether a whitening was fitted on the images it is judged by: told from hashes of ids that it keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

KEPT = 65_536  # hashes a whitening keeps at most: half a megabyte
_LAST = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


class Sketch:
    """The KEPT smallest hashes of ids that arrive in blocks: all of a small set, a fair sample of a large one."""

    def __init__(self) -> None:
        self.hashes = np.zeros(0, np.uint64)

    def add(self, ids: Iterable[bytes]) -> None:
        """Take in ids."""
        self.hashes = np.union1d(self.hashes, _hashes(ids))[:KEPT]


def shared(hashes: np.ndarray, ids: Iterable[bytes]) -> int:
    """How many of `ids` (distinct) a whitening was fitted on, by the hashes it keeps.

    Exact where it keeps a hash of every id, else estimated from those ids whose hash it would have kept.
    """
    asked = _hashes(ids)
    limit = hashes[-1] if len(hashes) >= KEPT else _LAST
    visible = asked[asked <= limit]
    return round(float(np.isin(visible, hashes).mean()) * len(asked)) if len(visible) else 0


def _hashes(ids: Iterable[bytes]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(one, digest_size=8).digest() for one in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)
