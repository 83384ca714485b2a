"""Structure: a FAISS index taken apart, so that every kind is asked in the same way.

FAISS wants another parameter object for every kind of index, and ignores or refuses the others. Here
an index is unwrapped into the transforms before it and the structure that holds the rows.
"""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined,call-arg,assignment,union-attr"

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from imgret.errors import IndexFileError


def create(factory: str, dim: int, seed: int) -> Any:
    """An empty FAISS index for inner products; IndexFileError when `factory` is not one.

    The seed goes wherever FAISS lets it. Small training sets are checked by the caller, so FAISS's own
    warnings about them, printed from C++ on stderr, are switched off.
    """
    try:
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2].strip()
        raise IndexFileError(
            f"FAISS cannot make a {factory!r} index of dimension {dim} ({reason}); "
            "factory strings look like Flat or IVF256,PQ16"
        ) from None
    for part in _parts(index):
        if isinstance(part, faiss.IndexHNSW):
            part.hnsw.rng = faiss.RandomGenerator(seed)
        for owner in (part, getattr(part, "pq", None)):
            if isinstance(getattr(owner, "cp", None), faiss.ClusteringParameters):
                owner.cp.seed = seed
                owner.cp.min_points_per_centroid = 1
    return index


def _parts(index: Any) -> Iterator[Any]:
    """The index and the indexes inside it."""
    index = faiss.downcast_index(index)
    yield index
    for inner in ("index", "base_index", "quantizer", "storage"):
        child = getattr(index, inner, None)
        if isinstance(child, faiss.Index):
            yield from _parts(child)


@contextlib.contextmanager
def quiet_transforms(index: Any) -> Iterator[None]:
    """While training: lend OPQ a product quantizer that does not warn about small samples."""
    lent = []
    if isinstance(index, faiss.IndexPreTransform):
        for step in _chain(index):
            if isinstance(step, faiss.OPQMatrix):
                quantizer = faiss.ProductQuantizer(step.d_out, step.M, 8)
                quantizer.cp.min_points_per_centroid = 1
                step.pq = quantizer
                lent.append((step, quantizer))
    try:
        yield
    finally:
        for step, _ in lent:
            step.pq = None  # the matrix does not own it


def _chain(index: Any) -> list[Any]:
    return [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]


class Structure:
    """What searching needs to know of a FAISS index.

    flat     the index holds every vector in full precision and compares with all of them
    listed   the same within inverted lists: what it finds depends on the lists visited only
    lists    number of inverted lists, 0 where there are none
    matrix   [N, D] float32 view of the vectors where they are stored row by row, else None

    Every other index ("lossy", or a graph) finds a set that depends on how many rows are asked for.
    """

    def __init__(self, index: Any) -> None:
        self._whole = index
        self._transforms: list[Any] = []
        core = faiss.downcast_index(index)
        while isinstance(core, (faiss.IndexPreTransform, faiss.IndexRefine)):
            if isinstance(core, faiss.IndexPreTransform):
                self._transforms += _chain(core)
                core = faiss.downcast_index(core.index)
            else:  # candidates are re-scored here, from the half-precision vectors
                core = faiss.downcast_index(core.base_index)
        self._core = core
        plain = not self._transforms
        self.flat = plain and isinstance(core, faiss.IndexFlat)
        self.listed = plain and type(core) is faiss.IndexIVFFlat
        self.graph = isinstance(core, faiss.IndexHNSW)
        self.lists = int(core.nlist) if isinstance(core, faiss.IndexIVF) else 0
        holder = faiss.downcast_index(core.storage) if self.graph else core
        self.matrix: np.ndarray | None = None
        if plain and isinstance(holder, faiss.IndexFlat):
            size = int(holder.ntotal) * int(holder.d)
            view = faiss.rev_swig_ptr(holder.get_xb(), size) if size else np.zeros(0, np.float32)
            self.matrix = view.reshape(-1, int(holder.d))

    def can_leave_out(self) -> bool:
        """Whether FAISS can leave rows out of a search of this kind of index."""
        try:
            self.fetch(np.ones((1, self._whole.d), np.float32), 1, 1, faiss.IDSelectorAll())
        except RuntimeError:
            return False
        return True

    @property
    def rows(self) -> int:
        """Rows held, dead ones included."""
        return int(self._core.ntotal)

    def assign(self, queries: np.ndarray, nprobe: int) -> tuple[np.ndarray, np.ndarray]:
        """The `nprobe` lists nearest to each query: their scores and numbers, [Q, nprobe] each.

        Asked for a few queries at a time, FAISS compares each by itself instead of by a matrix product,
        so that the lists of a query do not depend on the queries beside it.
        """
        starts = range(0, len(queries), 8)
        parts = [self._core.quantizer.search(queries[start : start + 8], nprobe) for start in starts]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def visited(self, assigned: np.ndarray) -> np.ndarray:
        """[Q] int64, rows in the lists [Q, nprobe] assigned to each query."""
        return np.where(assigned >= 0, self._sizes[assigned], 0).sum(1)

    @functools.cached_property
    def _sizes(self) -> np.ndarray:
        """[lists] int64, rows in each list; asking FAISS for 4,096 of them takes milliseconds."""
        return np.array([self._core.get_list_size(number) for number in range(self.lists)], np.int64)

    def fetch_listed(
        self, queries: np.ndarray, depth: int, lists: tuple[np.ndarray, np.ndarray], selector: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """(scores, rows) [Q, depth] from the lists that `assign` gave; -1 where there are fewer rows."""
        near, numbers = (np.ascontiguousarray(part) for part in lists)
        scores = np.empty((len(queries), depth), np.float32)
        rows = np.empty((len(queries), depth), np.int64)
        pointers = [faiss.swig_ptr(array) for array in (queries, numbers, near, scores, rows)]
        x, n, d, s, r = pointers
        params = faiss.SearchParametersIVF(nprobe=numbers.shape[1], sel=selector)
        self._core.search_preassigned_c(len(queries), x, depth, n, d, s, r, False, params)
        return scores, rows

    def fetch(self, queries: np.ndarray, depth: int, nprobe: int, selector: Any) -> tuple[np.ndarray, np.ndarray]:
        """(scores, rows) [Q, depth] best first; -1 where fewer rows were found.

        A graph is walked with a candidate list of `depth`; `nprobe` counts for inverted lists only.
        """
        for step in self._transforms:
            queries = step.apply(queries)
        params = None
        if self.lists:
            params = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        elif self.graph:
            params = faiss.SearchParametersHNSW(efSearch=depth, sel=selector)
        elif selector is not None:
            params = faiss.SearchParameters(sel=selector)
        return self._core.search(queries, depth, params=params)
