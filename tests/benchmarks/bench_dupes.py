"""Time the search for near-duplicates in a store of vectors around centres.

Run by hand: python tests/benchmarks/bench_dupes.py --counts 10000 20000 50000
Beside each time stands that of the bare matrix product of all vectors with all, in the same process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from imgret.duplicates.find import find
from tests.benchmarks.bench_search import around, write_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 20_000, 50_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for count in arguments.counts:
        rng = np.random.default_rng(arguments.seed)
        centres = rng.standard_normal((max(1, count // 200), arguments.dim), np.float32)
        with tempfile.TemporaryDirectory() as folder:
            store = write_store(Path(folder) / "store", count, centres, rng)
            vectors = around(centres, count, rng)
            started = time.perf_counter()
            for start in range(0, count, 4096):
                vectors[start : start + 4096] @ vectors.T
            bare = time.perf_counter() - started
            started = time.perf_counter()
            groups = find(store)
            seconds = time.perf_counter() - started
        print(f"{count:,} x {arguments.dim}: {seconds:.1f} s, {len(groups):,} groups; bare products {bare:.1f} s")


if __name__ == "__main__":
    main()
