"""Time the map of a collection, and count how many true neighbours are beside one another on it.

Run by hand: python tests/benchmarks/bench_atlas.py --counts 1000 10000 50000
The descriptors are seeded random clusters, 100 images each, wide in six directions. Beside each time stands that of the
bare matrix product of all descriptors with all, in the same process. --landmarks lays out only so many images and
puts the others beside them, as is done for more than 50,000.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
from scipy.spatial import KDTree

from imgret.atlas import map as maps
from imgret.atlas.components import first_two
from imgret.atlas.map import Atlas
from imgret.atlas.neighbours import nearest_among
from imgret.atlas.source import Source
from tests.atlas.data import clustered

K = 10
ASKED = 2000  # images for which neighbours are compared
BLOCK = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 50_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--landmarks", type=int, help="lay out only so many, whatever the count")
    arguments = parser.parse_args()
    if arguments.landmarks:
        maps.MOST_EXACT, maps.LANDMARKS = 0, arguments.landmarks
    for count in arguments.counts:
        run(count, arguments)


def run(count: int, arguments: argparse.Namespace) -> None:
    rows, cluster = clustered(count, arguments.dim, max(1, count // 100), arguments.seed)
    started = time.perf_counter()
    for start in range(0, count, 4096):
        rows[start : start + 4096] @ rows.T
    bare = time.perf_counter() - started
    stages: dict[str, float] = {}
    last = time.perf_counter()

    def told(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        stages[stage], last = stages.get(stage, 0) + now - last, now

    started = time.perf_counter()
    positions = Atlas.compute(source_of(rows), seed=arguments.seed, progress=told).positions
    seconds = time.perf_counter() - started
    plain = first_two(lambda: (block for _, block in source_of(rows).blocks()), arguments.dim)
    asked = np.random.default_rng(1).choice(count, min(ASKED, count), replace=False)
    true = nearest_among(rows[asked], rows, K + 1)[0]
    print(
        f"{count:,} x {arguments.dim}: {seconds:.1f} s ("
        + ", ".join(f"{stage} {took:.1f}" for stage, took in stages.items())
        + f"); bare products {bare:.1f} s; peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB"
    )
    for name, places in (("map", positions), ("principal components", plain)):
        beside = KDTree(places).query(places[asked], K + 1)[1]
        shares = [share(*line) for line in zip(asked.tolist(), true.tolist(), beside.tolist(), strict=True)]
        same = (cluster[beside[:, 1:]] == cluster[asked][:, None]).mean()
        print(f"  {name}: {np.mean(shares):.3f} of the {K} nearest kept, {same:.3f} beside are of the same cluster")


def source_of(rows: np.ndarray) -> Source:
    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(rows), BLOCK):
            block = rows[start : start + BLOCK]
            yield np.arange(start, start + len(block)), block

    return Source(len(rows), rows.shape[1], blocks)


def share(image: int, true: list[int], beside: list[int]) -> float:
    """Of the K nearest of an image, itself left out, how many are among the K beside it."""
    return len(set([one for one in true if one != image][:K]) & set([one for one in beside if one != image][:K])) / min(
        K, len(true) - 1
    )


if __name__ == "__main__":
    main()
