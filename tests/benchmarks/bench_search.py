"""Time `search` against FAISS called directly, and the opening of a mapped index against imports.

Run by hand: python tests/benchmarks/bench_search.py --count 100000
The vectors are seeded random clusters; the store and the indexes live in a temporary folder (--folder
says where; a million vectors of 512 dimensions take 7 GB there).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np

from imgret.indexes.build import build
from imgret.indexes.files import Index, load_faiss
from imgret.indexes.search import search
from imgret.store import shard as shards
from imgret.store.shard import Shard
from imgret.store.store import Root, ShardEntry, Store, fingerprint_of

SHARD = 50_000
RECIPE = {"model": "random clusters", "image_size": 0}
OPEN = (
    "import time; a = time.perf_counter(); import numpy, faiss; b = time.perf_counter(); "
    "from imgret.indexes.files import Index; c = time.perf_counter(); import sys; "
    "Index.open(sys.argv[1]); d = time.perf_counter(); print(b - a, c - b, d - c)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the temporary files")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        run(Path(folder), arguments)


def run(folder: Path, arguments: argparse.Namespace) -> None:
    count, dim = arguments.count, arguments.dim
    rng = np.random.default_rng(arguments.seed)
    centres = rng.standard_normal((max(1, count // 200), dim), np.float32)
    store = write_store(folder / "store", count, centres, rng)
    queries = around(centres, arguments.queries, rng)
    names = [f"query-{number}" for number in range(len(queries))]
    print(f"{count:,} x {dim}, {len(queries):,} queries, k={arguments.k}, {arguments.repeats} repeats")
    for kind in arguments.kinds:
        start = time.perf_counter()
        report = build([store], folder / kind, kind=kind, max_memory=1 << 50, verify=False)
        took = time.perf_counter() - start
        print(
            f"{kind}: {report.factory} built in {took:.1f} s, recall {report.recall['recall@10']:.4f} "
            f"with {report.parameters}"
        )
        compare(folder / kind, queries, names, arguments)
        opening(folder / kind)


def around(centres: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Unit rows [count, D] near some of the centres: cosine 0.3 within a cluster, so that lists overlap."""
    rows = centres[rng.integers(0, len(centres), count)]
    rows += 1.5 * rng.standard_normal(rows.shape, np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def write_store(path: Path, count: int, centres: np.ndarray, rng: np.random.Generator) -> Store:
    """A store of half-precision rows, made a shard at a time."""
    path.mkdir(parents=True)
    store = Store(path, RECIPE, fingerprint_of(RECIPE), centres.shape[1], [Root.of(path, path)], [])
    for start in range(0, count, SHARD):
        n = min(SHARD, count - start)
        zeros = np.zeros(n, np.int64)
        ids = [f"{number:08d}.jpg".encode() for number in range(start, start + n)]
        rows = around(centres, n, rng).astype(np.float16)
        shard = Shard(ids, rows, zeros, zeros, zeros, zeros, zeros, np.zeros((n, 32), np.uint8))
        name = f"shard-{len(store.shards):05d}.h5"
        store.shards.append(ShardEntry(name, n, *shards.write(path / name, shard, store.fingerprint)))
    (path / "store.json").write_text(json.dumps(store.about()))
    (path / "manifest.json").write_text(json.dumps(store.manifest()))
    return store


def compare(path: Path, queries: np.ndarray, names: list[str], arguments: argparse.Namespace) -> None:
    """Median times of both, taken in turn so that a busy machine is unfair to neither.

    FAISS looks at as many lists and, for a lossy kind, re-scores as many candidates from half-precision vectors.
    """
    index = Index.open(path)
    direct = load_faiss(next(path.glob("index-*.faiss")))
    if "nprobe" in index.parameters:
        faiss.extract_index_ivf(direct).nprobe = index.parameters["nprobe"]
    if index.structure.graph:
        faiss.downcast_index(direct).hnsw.efSearch = index.parameters["candidates"]
    if index.structure.matrix is None and index.structure.half_matrix is None and "candidates" in index.parameters:
        half = faiss.index_factory(index.dim, "SQfp16", faiss.METRIC_INNER_PRODUCT)
        half.add(index.kept[:].astype(np.float32))
        plain = direct
        direct = faiss.IndexRefine(plain, half)
        direct.k_factor = index.parameters["candidates"] / arguments.k
    both: dict[str, Callable[[], object]] = {
        "imgret": lambda: search(index, queries, names, arguments.k),
        "faiss": lambda: direct.search(queries, arguments.k),
    }
    times: dict[str, list[float]] = {name: [] for name in both}
    for repeat in range(arguments.repeats + 1):
        for name, call in both.items():
            start = time.perf_counter()
            call()
            if repeat:  # the first round warms the page cache
                times[name].append(time.perf_counter() - start)
    ours, theirs = (statistics.median(times[name]) for name in both)
    print(f"  search {ours * 1000:.1f} ms, FAISS directly {theirs * 1000:.1f} ms, ratio {ours / theirs:.3f}")


def opening(path: Path) -> None:
    """Time to open the index in a fresh process, beside what it has to import."""
    rounds = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True)
        rounds.append([float(part) for part in done.stdout.split()])
    numpy_faiss, rest, opened = (statistics.median(column) * 1000 for column in zip(*rounds, strict=True))
    print(
        f"  opening {opened:.1f} ms, after importing numpy and faiss {numpy_faiss:.0f} ms "
        f"and imgret.indexes {rest:.0f} ms"
    )


if __name__ == "__main__":
    main()
