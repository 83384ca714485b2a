"""Trials: kinds of index built on a sample, tuned and timed, and what that promises for the collection."""

# faiss ships type stubs that do not know the Python layer it adds to its own classes.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from imgret.indexes.kinds import INDEX_KINDS, lists
from imgret.indexes.sample import Sample, pace, timed
from imgret.indexes.scores import cosines
from imgret.indexes.structure import Structure, create
from imgret.indexes.tuning import DEPTH, candidate_range, climb

_ONE_BY_ONE, _TOGETHER = 16, 64  # queries timed
_SCORED = 16384  # candidates scored for them
_GRAPH_ROWS = 8192  # a graph takes most of the time of all trials
_SMALLER = 8  # times smaller than that is the first of two graphs
_LEAST_EFFORT = 16  # candidates on the way through a graph

Parameters = dict[str, int]


@dataclass(frozen=True)
class Trial:
    """What a kind promises for the whole collection, from what it did on the sample.

    kind, factory  as in INDEX_KINDS
    memory         bytes as searched
    build          seconds to train and to add, without reading and writing; None where it was not tried
    latency        milliseconds of a query asked by itself, on one core
    batched        milliseconds of a query among many, on all cores
    recall         recall@10 in [0, 1] on held-out queries
    parameters     "nprobe" and "candidates" that gave it
    left_out       why it was not tried or cannot be chosen; None for the one chosen and for those that are slower
    """

    kind: str
    factory: str
    memory: int
    build: float | None = None
    latency: float | None = None
    batched: float | None = None
    recall: float | None = None
    parameters: Parameters | None = None
    left_out: str | None = None


def attempt(kind: str, sample: Sample, target: float, threads: int) -> Trial:
    """Build a kind on the sample, tune it to the target, time it, and say what it promises.

    `threads` share the work of a build and of many queries; here there is one.
    """
    row = INDEX_KINDS[kind]
    tried = _Listed if "{nlist}" in row.pattern else _Graph if row.graph else _Scanned
    one = tried(kind, sample)
    parameters, recall = one.tuned(target)
    (fetch, fetch_many), (score, score_many) = one.fetching(parameters), one.scoring(parameters)
    latency, batched = 1000 * (fetch + score), 1000 * (fetch_many / threads + score_many)
    factory, memory = row.factory(sample.count, sample.rows.shape[1]), row.memory(sample.count, sample.rows.shape[1])
    return Trial(kind, factory, memory, one.build / threads, latency, batched, recall, parameters)


class _Scanned:
    """A kind that compares a query with every row: everything but its training grows with the rows.

    build  seconds that it takes for the collection
    """

    def __init__(self, kind: str, sample: Sample) -> None:
        self.row, self.sample, self.rows = INDEX_KINDS[kind], sample, sample.rows
        self.depth = max(1, min(round(DEPTH / sample.growth), DEPTH, len(self.rows)))
        self.build = self._built()

    def _built(self) -> float:
        training, adding = self._make(self.row.factory(*self.rows.shape))
        return training + adding * self.sample.growth

    def _make(self, factory: str, centroids: np.ndarray | None = None) -> tuple[float, float]:
        """Make the index; the seconds it took to train and to add."""
        self.index = create(factory, self.rows.shape[1], self.sample.seed)
        self.structure = Structure(self.index)
        if centroids is not None:
            self.structure.train_transforms(self.rows)
            self.structure.core.quantizer.add(self.structure.transformed(centroids))
        return timed(partial(self.index.train, self.rows)), timed(partial(self.index.add, self.rows))

    def tuned(self, target: float) -> tuple[Parameters, float]:
        """Parameters that reach the target in the collection, or come nearest to it, and the recall they promise."""
        if self.row.exact:
            return {}, 1.0
        least, most = self._range()
        return climb(least, most, self._recall, target)

    def _range(self) -> tuple[Parameters, Parameters]:
        """The least and the most of each parameter."""
        least, most = candidate_range(self.sample.count)
        return {"candidates": least}, {"candidates": most}

    def _recall(self, parameters: Parameters) -> float:
        share = math.ceil(parameters.get("candidates", 0) / self.sample.growth)
        depth = min(max(share, self.depth), len(self.rows))
        found = self._fetch(self.sample.queries, depth, self._lists(parameters))
        return self.sample.recall(found, self.depth, len(self.rows))

    def _lists(self, _: Parameters) -> int:
        """Lists of the sample that are as large a share as those that the parameters visit."""
        return 0

    def fetching(self, parameters: Parameters) -> list[float]:
        """Seconds a query until FAISS has given its candidates, one by one and together."""
        depth = self._width(parameters)
        return [self.sample.growth * seconds for seconds in self._paces(lambda asked: self._fetch(asked, depth, 0))]

    def _fetch(self, queries: np.ndarray, depth: int, nprobe: int) -> np.ndarray:
        return self.structure.fetch(queries, depth, nprobe, None)[1]

    def _width(self, parameters: Parameters) -> int:
        """Rows that FAISS is asked for."""
        return min(parameters.get("candidates", 2 * DEPTH), len(self.rows))

    def _paces(self, call: Callable[[np.ndarray], object]) -> tuple[float, float]:
        """Seconds a query of a call, one by one and together."""
        return pace(self.sample.queries[:_ONE_BY_ONE], 1, call), pace(self.sample.queries[:_TOGETHER], _TOGETHER, call)

    def scoring(self, parameters: Parameters) -> tuple[float, float]:
        """Seconds a query until its candidates are scored from half precision, one by one and together."""
        candidates = parameters.get("candidates", 0)
        if not candidates:
            return 0.0, 0.0
        together = max(1, min(_TOGETHER, _SCORED // candidates, len(self.sample.queries)))
        rng = np.random.default_rng(self.sample.seed)
        rows = rng.integers(0, len(self.sample.rows), (together, candidates))
        alone = pace(self.sample.queries[:_ONE_BY_ONE], 1, lambda asked: cosines(self.sample, asked, rows[:1]))
        return alone, pace(
            self.sample.queries[:together], together, lambda asked: cosines(self.sample, asked, rows[: len(asked)])
        )


class _Listed(_Scanned):
    """A kind with inverted lists: a query is compared with the centroids, then with the rows of some lists."""

    def _built(self) -> float:
        self.wanted = lists(self.sample.count)
        self.centroids, clustering = self.sample.centroids
        count, dim = self.rows.shape
        ours, theirs = (f"IVF{number}," for number in (len(self.centroids), lists(count)))
        training, adding = self._make(self.row.factory(count, dim).replace(theirs, ours), self.centroids)
        assigning = min(adding, timed(lambda: self._near(self.rows, 1)))
        a_row = adding - assigning + assigning * self.wanted / len(self.centroids)
        return clustering + training + a_row * self.sample.growth

    def _near(self, queries: np.ndarray, nprobe: int) -> np.ndarray:
        """The nearest lists of each query."""
        return self.structure.core.quantizer.search(self.structure.transformed(queries), nprobe)[1]

    def _range(self) -> tuple[Parameters, Parameters]:
        # Fewer lists than in the collection stand for as many times more of them.
        least, most = {"nprobe": max(1, self.wanted // len(self.centroids))}, {"nprobe": self.wanted}
        if self.structure.listed:
            return least, most
        scanned = super()._range()
        return least | scanned[0], most | scanned[1]

    def _lists(self, parameters: Parameters) -> int:
        return max(1, round(parameters["nprobe"] * len(self.centroids) / self.wanted))

    def fetching(self, parameters: Parameters) -> list[float]:
        """As above, timed with the rows in fewer lists, each as long as those of the collection.

        In lists of twenty rows every call and every half-empty block costs as much as in lists of 2,000.
        """
        nprobe, more_lists = self._lists(parameters), self.wanted / len(self.centroids)
        finding = self._paces(lambda asked: self._near(asked, nprobe))
        compared = self._compared(nprobe) * self.sample.growth
        self._lengthen(max(1, round(self.wanted / self.sample.growth)))
        depth, nprobe = self._width(parameters), min(parameters["nprobe"], int(self.structure.core.quantizer.ntotal))
        fetching = self._paces(lambda asked: self._fetch(asked, depth, nprobe))
        finding_here = self._paces(lambda asked: self._near(asked, nprobe))
        work = compared / max(self._compared(nprobe), 1.0)
        times = zip(finding, fetching, finding_here, strict=True)
        return [find * more_lists + max(fetch - here, 0.0) * work for find, fetch, here in times]

    def _compared(self, nprobe: int) -> float:
        """Rows that a query is compared with, on average."""
        return float(self.structure.visited(self._near(self.sample.queries, nprobe)).mean())

    def _lengthen(self, lists: int) -> None:
        """Put the rows into so many lists only, around some of the centroids; their codes are learnt already."""
        some = np.ascontiguousarray(self.centroids[:: -(-len(self.centroids) // lists)])
        quantizer, some = self.structure.core.quantizer, self.structure.transformed(some)
        self.index.reset()
        quantizer.reset()
        quantizer.add(some)
        self.index.add(self.rows)
        self.structure = Structure(self.index)


class _Graph(_Scanned):
    """A kind that walks a graph: it looks at no share of the rows, so its effort is measured at two sizes.

    The factor by which it grows between them is taken to hold all the way to the collection.
    """

    def _built(self) -> float:
        self.rows = self.sample.rows[:_GRAPH_ROWS]
        self.depth = min(DEPTH, max(1, len(self.rows) // _SMALLER))
        self.index = create(self.row.pattern, self.rows.shape[1], self.sample.seed)
        self.structure = Structure(self.index)
        few = max(self.depth, len(self.rows) // _SMALLER)
        return timed(lambda: self.index.train(self.rows)) + self._added(self.rows[:few])

    def _added(self, rows: np.ndarray) -> float:
        """Add rows; the seconds that adding them and as large a share of the others takes."""
        return timed(lambda: self.index.add(rows)) * self._longer * self.sample.count / len(self.rows)

    @property
    def _longer(self) -> float:
        """How many times as long the way through a graph of the whole collection is."""
        return math.log(max(self.sample.count, 3)) / math.log(max(len(self.rows), 3))

    def tuned(self, target: float) -> tuple[Parameters, float]:
        """As above."""
        small = self._effort(target)[0]
        few = self.structure.rows
        self.build += self._added(self.rows[few:])
        large, recall = self._effort(target)
        powers = (
            math.log(self.sample.count / len(self.rows)) / math.log(len(self.rows) / few)
            if few < len(self.rows)
            else 0.0
        )
        harder = max(large / small, 1.0) ** max(powers, 0.0)
        least, most = candidate_range(self.sample.count)
        if large * harder > most:
            recall = self._recall({"candidates": max(int(most / harder), self.depth)})
        return {"candidates": max(least, min(most, 2 ** math.ceil(math.log2(large * harder))))}, recall

    def _effort(self, target: float) -> tuple[int, float]:
        """The candidates that reach the target among the rows there are, and the recall."""
        most = {"candidates": max(_LEAST_EFFORT, self.structure.rows)}
        parameters, recall = climb({"candidates": _LEAST_EFFORT}, most, self._recall, target)
        return parameters["candidates"], recall

    def _recall(self, parameters: Parameters) -> float:
        there = self.structure.rows
        found = self._fetch(self.sample.queries, min(parameters["candidates"], there), 0)
        return self.sample.recall(found, self.depth, there)

    def fetching(self, parameters: Parameters) -> list[float]:
        """As above; the way through a graph grows with the logarithm of its rows."""
        depth = self._width(parameters)
        return [self._longer * seconds for seconds in self._paces(lambda asked: self._fetch(asked, depth, 0))]
