"""What thousands of copies of one picture cost: building, searching, and whether the first by id are found.

Run by hand:

    PYTHONPATH=. python -m tests.benchmarks.bench_copies --count 200000 --copies 60000

The copies stand anywhere among random vectors. Queries are 256 rows of the collection, copies among them as they come,
and then one copy, 256 times.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from imgret.indexes.build import build
from imgret.indexes.files import Index
from imgret.indexes.search import search
from tests.indexes.conftest import write_store

QUERIES = 256
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, help="vectors")
    parser.add_argument("--copies", type=int, default=60_000, help="how many of them are the same")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--kinds", nargs="+", default=["flat", "sq8", "ivf", "ivfpq"])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((arguments.count, arguments.dim), np.float32)
    copies = np.sort(rng.choice(arguments.count, arguments.copies, replace=False))
    vectors[copies] = vectors[copies[0]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"{number * 7919 % arguments.count:09d}" for number in range(arguments.count)]
    first = sorted(ids[row] for row in copies)[:K]
    print("| kind | build, s | 256 rows, ms | one copy 256 times, ms | the first by id | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store", [(ids, vectors)])
        for kind in arguments.kinds:
            build_s = -time.perf_counter()
            index = Index.open(build([store], Path(folder) / kind, kind=kind, verify=False).path)
            build_s += time.perf_counter()
            search(index, vectors[:1], [""], K)
            mixed_s = -time.perf_counter()
            search(index, vectors[:QUERIES], [""] * QUERIES, K)
            mixed_s += time.perf_counter()
            same_s = -time.perf_counter()
            found = search(index, vectors[np.full(QUERIES, copies[-1])], [""] * QUERIES, K).rows
            same_s += time.perf_counter()
            right = all([index.ids[row] for row in line] == first for line in found)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(
                f"| {kind} | {build_s:.1f} | {mixed_s * 1000:.0f} | {same_s * 1000:.0f} | "
                f"{'found' if right else 'NOT found'} | {peak} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
