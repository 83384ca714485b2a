"""`whiten`: from a store, and matching pairs, to a whitening file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import InputError, StoreError, WhiteningError
from imgret.extraction.job import Say, quiet
from imgret.ids import escape

if TYPE_CHECKING:
    import numpy as np

    from imgret.datasets.matching import NamedPairs
    from imgret.store.store import Block, Store
    from imgret.whitening.moments import PairMoments
    from imgret.whitening.transform import Whitening

Progress = Callable[[int, int, int], object]
_ROWS = 8192  # read at a time; in float64 they are 128 MB at 2,048 dimensions


@dataclass(frozen=True)
class WhitenReport:
    """A whitening, fitted and written to `path`; `left_out` pairs had an image that the store lacks."""

    path: Path
    whitening: Whitening
    left_out: int


def whiten(
    store: Path,
    output: Path,
    *,
    kind: str = "pca",
    power: float = 1.0,
    dim: int | None = None,
    pairs: Path | None = None,
    seed: int = 0,
    allow_missing: bool = False,
    progress: Progress | None = None,
    say: Say = quiet,
) -> WhitenReport:
    """Fit a whitening on the descriptors of a store and write it, whole or not at all.

    kind           "pca", or "learned" from `pairs`, a file that datasets.matching.read_matching reads
    power          of PCA: 1 is full whitening, 0 a rotation
    dim            dimensions to keep; None keeps all there are
    seed           of the pairs that are drawn where labels make too many
    allow_missing  leave out pairs with an image that the store lacks, instead of an InputError
    progress       is told (descriptors read, of all, 0)

    The store is read once, and the rows of pairs once more; memory is some blocks and D x D, however large the
    store. WhiteningError for what cannot be fitted, or when `output` is a file that is not a whitening.
    """
    from imgret import __version__
    from imgret.datasets.matching import read_matching
    from imgret.store.store import Store
    from imgret.whitening.fit import learned, pca
    from imgret.whitening.moments import Moments
    from imgret.whitening.overlap import Sketch
    from imgret.whitening.transform import KINDS, Whitening, is_whitening

    if kind not in KINDS or (kind == "learned") != (pairs is not None):
        raise ValueError(f"kind must be pca, or learned with pairs, got {kind!r} with {pairs}")
    output = Path(output)
    if output.exists() and not is_whitening(output):
        raise WhiteningError(f"{escape(str(output))} is there and is not a whitening; name another file with -o")
    source = Store.open(store)
    if not source.count:
        raise WhiteningError(
            f"{source.path} holds no descriptors. Extract some: imgret extract IMAGES -o {source.path}"
        )
    named = None if pairs is None else read_matching(pairs, seed=seed)
    placed = None if named is None else _placed(source, named, Path(pairs or ""), allow_missing)
    moments, sketch = Moments(source.dim), Sketch()
    for block in _finite(source):
        moments.add(block.descriptors)
        sketch.add(block.ids)
        if progress is not None:
            progress(moments.count, source.count, 0)
    dtype = source.read_shard(0).descriptors.dtype
    matching = None if placed is None else _pair_moments(source, *placed)
    if matching is None:
        fit = pca(moments, power=power, dim=dim, dtype=dtype)
    else:
        fit = learned(moments, matching, dim=dim, dtype=dtype)
    for note in () if named is None else named.notes:
        say(f"note: {note}")
    about = {
        "kind": kind,
        "power": power if matching is None else None,
        "count": moments.count,
        "pairs": matching and matching.count,
        "rank": fit.rank,
        "floor": fit.floor,
        "alpha": fit.alpha,
        "variance": fit.variance,
        "recipe": source.recipe,
        "fingerprint": source.fingerprint,
        "store": escape(str(source.path)),
        "store_sha256": source.content_sha256,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "imgret": __version__,
    }
    made = Whitening(fit.mean, fit.projection, sketch.hashes, about)
    made.save(output)
    return WhitenReport(output, made, 0 if named is None or matching is None else len(named) - matching.count)


def _finite(store: Store) -> Iterator[Block]:
    """The blocks of a store; StoreError for NaN or infinity, naming the shard."""
    import numpy as np

    for block in store.blocks(_ROWS):
        if not np.isfinite(block.descriptors).all():
            file = store.path / store.shards[block.shard].file
            raise StoreError(f"{file} holds NaN or infinity; extract it again")
        yield block


def _placed(store: Store, pairs: NamedPairs, source: Path, allow_missing: bool) -> tuple[np.ndarray, np.ndarray]:
    """Places [n], [n] in the order of the store's blocks of the two sides of the pairs that it holds."""
    import numpy as np

    from imgret.ground_truth.names import match
    from imgret.ids import IdTable

    places = match(pairs.names, IdTable.of(store.ids()))
    lost = np.flatnonzero(places < 0)
    queries, positives = places[pairs.queries], places[pairs.positives]
    there = (queries >= 0) & (positives >= 0)
    if len(lost) and not (allow_missing and there.any()):
        raise InputError(
            f"{len(lost)} of the {len(places)} images that {escape(str(source))} pairs are not in {store.path}: "
            f"{escape(pairs.names[lost[0]])}, ...; extract them into it, or leave their pairs out with --allow-missing"
        )
    return queries[there], positives[there]


def _pair_moments(store: Store, queries: np.ndarray, positives: np.ndarray) -> PairMoments:
    from imgret.store.rows import StoreRows
    from imgret.whitening.moments import PairMoments

    moments, rows = PairMoments(store.dim), StoreRows(store)
    for start in range(0, len(queries), _ROWS):
        part = slice(start, start + _ROWS)
        moments.add(rows.vectors(queries[part]), rows.vectors(positives[part]))
    return moments
