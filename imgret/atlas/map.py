"""Map: a place in the unit square for every image of a collection, computed once and kept in a file."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imgret import atomic
from imgret.atlas.components import first_two
from imgret.atlas.landmarks import Landmarks, chosen
from imgret.atlas.neighbours import nearest_others
from imgret.atlas.project import Progress, project
from imgret.atlas.source import Source
from imgret.errors import SpaceError

NEIGHBOURS = 15
"""Nearest others of an image that it is laid out by, as in the authors' code."""
MOST_EXACT = 50_000
"""Images up to which each is compared with every other."""
MOST_JOINED = 200_000
"""Images up to which each is laid out by itself where an index has stored a graph of their neighbours."""
LANDMARKS = 20_000
"""Images of a larger collection that are laid out, with all others put beside them."""

_VERSION = 1  # of the layout: another one computes maps anew
_DIGEST = hashlib.sha256().digest_size
_KEY = re.compile(r"[0-9A-Za-z_-]{1,128}")


@dataclass(frozen=True)
class Atlas:
    """A map: `positions` [N, 2] float32 in the unit square, by place (`Source`)."""

    positions: np.ndarray

    @classmethod
    def compute(cls, source: Source, *, seed: int = 0, progress: Progress | None = None) -> Atlas:
        """Lay out a collection. The same source and seed give the same bits, whatever the number of threads.

        Up to 50,000 images are all held in memory (N x D x 4 bytes), and each is compared with every other; with a
        stored graph up to 200,000 are laid out, and none is held. Of more, 20,000 drawn at random are laid out, and
        every other one is compared with these and put beside those nearest to it: its time grows with 20,000 N D, and
        memory does not grow but for 8 bytes an image. The descriptors are read once, twice from 50,000 on or with a
        graph. tests/benchmarks/bench_atlas.py measures it.
        """
        if source.graph is not None and source.count <= MOST_JOINED:
            near, cosines = (np.array(part[:, :NEIGHBOURS]) for part in source.graph)
            start = first_two(source.vectors, source.dim)
            return cls(project(near, cosines, start, seed=seed, progress=progress))
        if source.count <= MOST_EXACT:
            return cls(_laid_out(source.chosen(np.arange(source.count)), seed, progress)[0])
        return cls(_by_landmarks(source, seed, progress))

    @classmethod
    def cached(
        cls, folder: Path, key: str, source: Source, *, seed: int = 0, progress: Progress | None = None
    ) -> Atlas:
        """The map that was kept in `folder` under this key and seed, or a new one, which is then kept there.

        key  names the images, their order and what their descriptors passed through (`key_of`): letters, digits, "-"
             and "_", 128 at most; ValueError for anything else

        A file that is damaged or does not fit is computed anew and replaced. Where the folder cannot be written the
        map is given all the same.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(f"key must be letters, digits, '-' and '_', 128 at most, got {key!r}")
        path = Path(folder) / f"atlas-{_VERSION}-{seed}-{key}.npy"
        kept = cls.load(path, source.count)
        if kept is not None:
            return kept
        atlas = cls.compute(source, seed=seed, progress=progress)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atlas.save(path)
        except (OSError, SpaceError):
            pass  # it costs the time to compute it again, and nothing else
        return atlas

    def save(self, path: Path) -> None:
        """Write the positions, whole or not at all: an .npy file with its SHA-256 behind it. OSError, SpaceError."""
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(self.positions, "<f4"), allow_pickle=False)
        data = buffer.getvalue()
        atomic.write_bytes(path, data + hashlib.sha256(data).digest())

    @classmethod
    def load(cls, path: Path, count: int | None = None) -> Atlas | None:
        """What `save` wrote; None where there is no such file, it is damaged, or it has not `count` positions."""
        try:
            data = path.read_bytes()
            if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
                return None
            positions = np.load(io.BytesIO(data[:-_DIGEST]), allow_pickle=False)
        except (OSError, ValueError):
            return None
        if positions.dtype != np.float32 or positions.ndim != 2 or positions.shape[1] != 2:
            return None
        if not ((positions >= 0) & (positions <= 1)).all() or count not in (None, len(positions)):
            return None
        return cls(positions)


def key_of(content_sha256: str, ids: Iterable[bytes], *passed_through: str) -> str:
    """A key for `Atlas.cached`, 64 hex digits, from `Searched.content_sha256()` and the ids in the order of the places.

    The content alone does not tell it all: a store and an index of the same rows may give them in another order. What
    descriptors passed through is named by hashes of its own, such as that of a whitening.
    """
    state = hashlib.sha256()
    for word in (content_sha256, *passed_through):
        state.update(word.encode() + b"\n")
    for raw in ids:
        state.update(len(raw).to_bytes(8, "little") + raw)
    return state.hexdigest()


def _laid_out(vectors: np.ndarray, seed: int, progress: Progress | None) -> tuple[np.ndarray, np.ndarray]:
    """Positions [N, 2], and the cosine [N] of each to the nearest other, for descriptors [N, D] in memory."""
    count, dim = vectors.shape
    near, cosines = nearest_others(vectors, NEIGHBOURS, progress)
    start = first_two(lambda: (vectors[begin : begin + 4096] for begin in range(0, count, 4096)), dim)
    return project(near, cosines, start, seed=seed, progress=progress), cosines[:, 0] if count > 1 else np.ones(count)


def _by_landmarks(source: Source, seed: int, progress: Progress | None) -> np.ndarray:
    places = chosen(source.count, LANDMARKS, seed)
    vectors = source.chosen(places)
    landmarks = Landmarks(vectors, *_laid_out(vectors, seed, progress))
    gaps, rng = landmarks.gaps(), np.random.default_rng(seed)
    positions = np.empty((source.count, 2), np.float32)
    end = 0
    for block in source.vectors():
        begin, end = end, end + len(block)
        positions[begin:end] = landmarks.place(block, gaps, rng)
        if progress is not None:
            progress("placing images", end, source.count)
    positions[places] = landmarks.positions
    return positions
