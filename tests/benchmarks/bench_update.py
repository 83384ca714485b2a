"""Time adding to, deleting from and compacting a large index, beside building it anew.

Run by hand: python tests/benchmarks/bench_update.py --count 1000000 --kinds flat ivf --folder SOMEWHERE
A million vectors of 512 dimensions take 1 GB as a store there, and 2 to 3 GB as each index. Times are those of whole
commands but for start-up: `build` on open stores, every file written, synced and hashed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from imgret.indexes.build import IndexReport, build
from imgret.indexes.files import Index
from imgret.indexes.search import search
from imgret.store import shard as shards
from imgret.store.shard import Shard
from imgret.store.store import ShardEntry, Store
from tests.benchmarks.bench_search import around, write_store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--add", type=int, default=10_000, help="vectors that come")
    parser.add_argument("--delete", type=int, default=1_000, help="vectors that go")
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the temporary files")
    arguments = parser.parse_args()
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            run(Path(folder), kind, arguments)


def run(folder: Path, kind: str, arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(arguments.seed)
    centres = rng.standard_normal((max(1, arguments.count // 200), arguments.dim), np.float32)
    store = write_store(folder / "store", arguments.count, centres, rng)
    print(f"{kind}: {arguments.count:,} x {arguments.dim}", flush=True)
    seconds = {"build": timed(store, folder / "index", kind)[0]}
    queries = around(centres, 256, rng)
    before = latency(folder / "index", queries)

    ids = [f"new/{number:08d}.jpg".encode() for number in range(arguments.add)]
    zeros = np.zeros(arguments.add, np.int64)
    rows = around(centres, arguments.add, rng).astype(np.float16)
    shard = Shard(ids, rows, zeros, zeros, zeros, zeros, zeros, np.zeros((arguments.add, 32), np.uint8))
    written = shards.write(store.path / "shard-new.h5", shard, store.fingerprint)
    store.shards.append(ShardEntry("shard-new.h5", arguments.add, *written))
    (store.path / "manifest.json").write_text(json.dumps(store.manifest()))
    seconds["add"], added = timed(store, folder / "index", kind)
    after = latency(folder / "index", queries)

    store.shards[0].dropped = list(range(arguments.delete))
    (store.path / "manifest.json").write_text(json.dumps(store.manifest()))
    seconds["delete"], deleted = timed(store, folder / "index", kind)
    seconds["compact"], _ = timed(store, folder / "index", kind, compact=True)
    seconds["build anew"], _ = timed(store, folder / "anew", kind)
    anew = seconds["build anew"]
    print(f"  added {added.added:,} (tail {added.tail:,}), removed {deleted.removed:,}")
    for what, took in seconds.items():
        print(f"  {what:12} {took:8.2f} s, {took / anew:7.4f} of building anew")
    print(
        f"  256 queries {before * 1000:.0f} ms before, {after * 1000:.0f} ms with the tail, ratio {after / before:.2f}"
    )


def timed(store: Store, output: Path, kind: str, **how: bool) -> tuple[float, IndexReport]:
    begun = time.perf_counter()
    report = build([Store.open(store.path)], output, kind=kind, max_memory=1 << 50, **how)
    return time.perf_counter() - begun, report


def latency(path: Path, queries: np.ndarray) -> float:
    """Median seconds to search for all queries, of five times after one."""
    index, times = Index.open(path), []
    for _ in range(6):
        begun = time.perf_counter()
        search(index, queries, [""] * len(queries), 10)
        times.append(time.perf_counter() - begun)
    return float(np.median(times[1:]))


if __name__ == "__main__":
    main()
