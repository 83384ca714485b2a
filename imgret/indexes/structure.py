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
    if "IDMap" in factory:
        raise IndexFileError(f"{factory!r} has an IDMap, but imgret numbers the rows itself; leave the IDMap out")
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


@contextlib.contextmanager
def one_thread() -> Iterator[int]:
    """FAISS works on one core, for times that a busy machine does not spoil; gives the number of its threads else."""
    threads = int(faiss.omp_get_max_threads())
    faiss.omp_set_num_threads(1)
    try:
        yield threads
    finally:
        faiss.omp_set_num_threads(threads)


def _chain(index: Any) -> list[Any]:
    return [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]


class Structure:
    """What searching needs to know of a FAISS index.

    flat     the index holds every vector in full precision and compares with all of them
    listed   the same within inverted lists: what it finds depends on the lists visited only
    lists    number of inverted lists, 0 where there are none
    matrix   [N, D] float32 view of the vectors where they are stored row by row, else None
    half_matrix  [N, D] float16 view of them where the codes are the half-precision vectors, else None
    products whether its scores are inner products; FAISS makes some graphs with distances, whatever it is asked for

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
        self.half_matrix: np.ndarray | None = None
        if plain and isinstance(holder, faiss.IndexFlat):
            size = int(holder.ntotal) * int(holder.d)
            view = faiss.rev_swig_ptr(holder.get_xb(), size) if size else np.zeros(0, np.float32)
            self.matrix = view.reshape(-1, int(holder.d))
        elif plain and _is_half(holder):
            size = int(holder.ntotal) * 2 * int(holder.d)
            codes = faiss.rev_swig_ptr(holder.codes.data(), size) if size else np.zeros(0, np.uint8)
            self.half_matrix = codes.view("<f2").reshape(-1, int(holder.d))
        self.products = core.metric_type == faiss.METRIC_INNER_PRODUCT
        self._selects = True  # until FAISS says that it cannot leave rows out of this kind

    @property
    def rows(self) -> int:
        """Rows held, dead ones included."""
        return int(self._core.ntotal)

    @property
    def core(self) -> Any:
        """The FAISS index that holds the rows, without what stands before it."""
        return self._core

    def transformed(self, queries: np.ndarray) -> np.ndarray:
        """Queries [Q, D] as they reach the core."""
        for step in self._transforms:
            queries = step.apply(queries)
        return queries

    def train_transforms(self, sample: np.ndarray) -> None:
        """Train what stands before the core on a sample [n, D]; training the index then trains the core alone."""
        for step in self._transforms:
            step.train(sample)
            sample = step.apply(sample)

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

        A graph is walked with a candidate list of `depth`; `nprobe` counts for inverted lists only. The
        selector, an IDSelectorBitmap of the rows that count, holds for every kind: where FAISS refuses it,
        more rows are fetched and the others dropped, query by query.
        """
        queries = self.transformed(queries)
        if selector is not None and self._selects:
            try:
                return self._search(queries, depth, nprobe, selector)
            except RuntimeError:
                self._selects = False
        if selector is not None:
            return self._search_past_dead(queries, depth, nprobe, selector)
        return self._search(queries, depth, nprobe, None)

    def refined(self, half: Any) -> Any:
        """FAISS scoring what the core proposes from another index of the same rows, for queries as they were asked.

        None where something else than transforms stands before the core.
        """
        index = self._whole
        if self._transforms:
            index = faiss.downcast_index(index)
            if not isinstance(index, faiss.IndexPreTransform) or index.index.this != self._core.this:
                return None
        return faiss.IndexRefine(index, half)

    def refining(self, depth: int, nprobe: int, selector: Any) -> Any:
        """What a search of that takes."""
        base = self.parameters(depth, nprobe, selector)
        if self._transforms and base is not None:
            base = faiss.SearchParametersPreTransform(index_params=base)
        return faiss.IndexRefineSearchParameters(k_factor=1, base_index_params=base)

    def parameters(self, depth: int, nprobe: int, selector: Any) -> Any:
        """What a search of the core takes, None for nothing."""
        if self.lists:
            return faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
        if self.graph:
            return faiss.SearchParametersHNSW(efSearch=depth, sel=selector)
        return None if selector is None else faiss.SearchParameters(sel=selector)

    def _search(self, queries: np.ndarray, depth: int, nprobe: int, selector: Any) -> tuple[np.ndarray, np.ndarray]:
        return self._core.search(queries, depth, params=self.parameters(depth, nprobe, selector))

    def _search_past_dead(
        self, queries: np.ndarray, depth: int, nprobe: int, selector: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best live rows of each query, which is asked again, deeper, for as long as it has too few."""
        bitmap = faiss.rev_swig_ptr(selector.bitmap, selector.n)
        scores = np.full((len(queries), depth), -np.inf, np.float32)
        rows = np.full((len(queries), depth), -1, np.int64)
        pending, deeper = np.arange(len(queries)), min(depth + max(16, depth // 4), self.rows)
        while len(pending):
            near, found = self._search(queries[pending], deeper, nprobe, None)
            places = np.maximum(found, 0)
            live = (found >= 0) & (bitmap[places >> 3] >> (places & 7) & 1).astype(bool)
            order = np.argsort(~live, axis=1, kind="stable")[:, :depth]  # the live ones first, as they stand
            kept = np.take_along_axis(live, order, 1)
            width = order.shape[1]
            scores[pending, :width] = np.where(kept, np.take_along_axis(near, order, 1), -np.inf)
            rows[pending, :width] = np.where(kept, np.take_along_axis(found, order, 1), -1)
            done = (live.sum(1) >= depth) | (found[:, -1] < 0) | (deeper >= self.rows)
            pending, deeper = pending[~done], min(2 * deeper, self.rows)
        return scores, rows


def _is_half(index: Any) -> bool:
    return isinstance(index, faiss.IndexScalarQuantizer) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
