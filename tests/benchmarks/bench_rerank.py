"""Time of every re-ranking stage, and of SuperGlobal beside its formulas written as a plain loop.

    python tests/benchmarks/bench_rerank.py --queries 70 --database 12000 --dim 2048

Descriptors are drawn around centres, 50 to each. The time of the plain ranking is measured apart and taken off.
The loop forms z of one image after the other; both must agree. Processor time is that of all threads together: on a
machine that others use too, it says more than the clock. Run by hand, not collected.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator, Sequence

import numpy as np

from imgret.ranking import Ranking
from imgret.rerank import parse_chain
from imgret.rerank.chain import reranked
from imgret.rerank.superglobal import superglobal

CHAINS = (
    "aqe:k=10",
    "superglobal:m=400",
    "reciprocal:m=400",
    "diffusion:m=1000",
    "diffusion:m=10000",
    "aqe:k=10 superglobal:m=400",
)


class Drawn:
    """Unit rows around random centres, and their neighbour graph."""

    def __init__(self, count: int, dim: int, k: int, rng: np.random.Generator) -> None:
        self.count = count
        centres = rng.standard_normal((max(1, count // 50), dim), dtype=np.float32)
        self.matrix = self.near(centres, count, rng)
        self.queries = self.near(centres, 1000, rng)
        self.ids = [f"{row:07d}" for row in range(count)]
        rows, similarities = np.empty((count, k), np.int32), np.empty((count, k), np.float32)
        for start in range(0, count, 1000):
            cosines = self.matrix[start : start + 1000] @ self.matrix.T
            np.fill_diagonal(cosines[:, start:], -2)
            some = np.argpartition(-cosines, k, axis=1)[:, :k]
            rows[start : start + 1000], similarities[start : start + 1000] = some, np.take_along_axis(cosines, some, 1)
        self.neighbours = rows, similarities

    @staticmethod
    def near(centres: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        rows = centres[np.arange(count) % len(centres)]
        rows = rows + rng.standard_normal(rows.shape, dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        return self.matrix[rows]

    def rank(self, queries: np.ndarray, query_ids: Sequence[str], depth: int | None) -> Iterator[Ranking]:
        cosines = np.clip(queries @ self.matrix.T, -1, 1)
        rows = np.argsort(-cosines, axis=1)[:, :depth].astype(np.int32)
        yield Ranking(query_ids, rows, np.take_along_axis(cosines, rows, axis=1), self.ids)


def loop(query: np.ndarray, x: np.ndarray, k: int = 9, beta: float = 0.15) -> np.ndarray:
    """SuperGlobal, straight from the formulas."""
    z = np.empty_like(x)
    for i in range(len(x)):
        similarity = x @ x[i]
        similarity[i] = np.inf
        near = np.argsort(-similarity)[: k + 1]
        weights = np.where(near == i, 1, beta * similarity[near]).astype(x.dtype)
        z[i] = (weights[:, None] * x[near]).sum(0) / weights.sum()
    s1 = z @ query
    e = z[np.argsort(-s1)[: k + 1]].max(0)
    return (s1 + z @ e) / 2


def now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--database", type=int, default=12_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--graph", type=int, default=50, help="neighbours stored with each image")
    arguments = parser.parse_args()

    drawn = Drawn(arguments.database, arguments.dim, arguments.graph, np.random.default_rng(0))
    queries = drawn.queries[: arguments.queries]
    ids = [f"q{number}" for number in range(len(queries))]

    def seconds(text: str) -> np.ndarray:
        """By the clock, and of the processor."""
        best = np.array([np.inf, np.inf])
        for _ in range(3):
            start = now()
            for ranking in reranked(parse_chain(text), drawn, queries, ids, None):
                assert len(ranking.rows) == len(queries)
            best = np.minimum(best, now() - start)
        return best

    def line(text: str, spent: np.ndarray) -> None:
        clock, processor = spent
        print(f"{text:<30}{clock:>12.2f} s{1e3 * clock / len(queries):>11.1f} ms{processor:>14.2f} s", flush=True)

    print(
        f"{len(queries)} queries, {drawn.count:,} images, {arguments.dim}-d, graph of {arguments.graph}, "
        f"{os.cpu_count()} cores; best of 3"
    )
    plain = seconds("")
    print(f"\n{'chain':<30}{'all queries':>14}{'one query':>14}{'processor':>16}")
    line("(plain ranking)", plain)
    for text in CHAINS:
        searches = plain * (1 + text.count("aqe"))
        line(text, np.maximum(seconds(text) - searches, 0))  # what little an expansion costs may be less than noise

    first = [next(drawn.rank(query[None], ["q"], 400)).rows[0] for query in queries]
    spent = {}
    for function in (superglobal, loop):
        start = now()
        made = [function(query, drawn.vectors(rows)) for query, rows in zip(queries, first, strict=True)]
        spent[function] = now() - start, made
    for ours, theirs in zip(spent[superglobal][1], spent[loop][1], strict=True):
        assert np.allclose(ours, theirs, atol=1e-5), np.abs(ours - theirs).max()
    quick, slow = spent[superglobal][0], spent[loop][0]
    print()
    line("superglobal:m=400, ours", quick)
    line("the formulas as a plain loop", slow)
    print(f"ratio {slow[0] / quick[0]:.1f} by the clock, {slow[1] / quick[1]:.1f} of the processor")
    print(f"most memory held: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB, ", end="")
    print(f"of it descriptors {drawn.matrix.nbytes / 2**30:.2f}")


if __name__ == "__main__":
    main()
