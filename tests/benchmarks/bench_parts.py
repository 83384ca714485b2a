"""Time an index in parts beside the undivided one: building, updating, searching within memory and beyond it, merging.

Run by hand: python tests/benchmarks/bench_parts.py --count 1000000 --parts 8 --kinds flat ivf ivfpq --folder SOMEWHERE
A million vectors of 512 dimensions take 1 GB as a store there, and 2 to 6 GB as the indexes of a kind. Both sides of a
comparison run in turns in one process; times of searches are medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from imgret.errors import IndexFileError
from imgret.ids import IdTable
from imgret.indexes.build import build
from imgret.indexes.files import Index
from imgret.indexes.parts.build import build_parts
from imgret.indexes.parts.files import Parts
from imgret.indexes.parts.merging import Found, merged
from imgret.indexes.parts.searcher import InTurn
from imgret.indexes.parts.undivided import merge_parts
from imgret.indexes.search import search
from imgret.store.store import Store
from tests.benchmarks import bench_search
from tests.benchmarks.bench_search import around, write_store

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivf", "ivfpq"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="for the temporary files")
    arguments = parser.parse_args()
    bench_search.SHARD = max(1, arguments.count // (4 * arguments.parts))
    rng = np.random.default_rng(arguments.seed)
    centres = rng.standard_normal((max(1, arguments.count // 200), arguments.dim), np.float32)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store = write_store(Path(folder) / "store", arguments.count, centres, rng)
        queries = around(centres, 256, rng)
        for kind in arguments.kinds:
            with tempfile.TemporaryDirectory(dir=folder) as place:
                run(Path(place), store, kind, arguments.parts, queries)
    merging(arguments.parts)


def run(folder: Path, store: Store, kind: str, parts: int, queries: np.ndarray) -> None:
    print(f"{kind}: {store.count:,} x {store.dim}, {parts} parts of {len(store.shards)} shards", flush=True)
    seconds = {}
    seconds["build undivided"], whole = timed(lambda: build([store], folder / "whole", kind=kind))
    seconds["build in parts"], report = timed(lambda: build_parts([store], folder / "parts", parts, kind=kind))
    store.shards[0].dropped = [0]
    (store.path / "manifest.json").write_text(json.dumps(store.manifest()))
    seconds["make one part again"], again = timed(lambda: build_parts([store], folder / "parts", parts))
    assert again.parts == (1, parts - 1), again.parts
    try:
        seconds["merge"], _ = timed(lambda: merge_parts(folder / "parts", folder / "merged"))
    except IndexFileError as error:
        print(error)
    store.shards[0].dropped = []
    (store.path / "manifest.json").write_text(json.dumps(store.manifest()))
    print(json.dumps({name: round(value, 2) for name, value in seconds.items()}))
    print("recall undivided", whole.recall["recall@10"], whole.parameters, "in parts", report.recall["recall@10"])

    index, divided = Index.open(folder / "whole"), Parts.open(folder / "parts")
    beyond = Parts.open(folder / "parts", lambda searchers, _: InTurn(searchers, 0))
    sides = {
        "undivided": lambda asked: search(index, asked, [""] * len(asked), 10),
        "in parts": lambda asked: divided.search(asked, [""] * len(asked), 10),
        "in parts, each let go": lambda asked: beyond.search(asked, [""] * len(asked), 10),
    }
    for asked in (queries[:1], queries):
        times: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS + 1):
            for name, side in sides.items():
                times[name].append(timed(lambda side=side, asked=asked: side(asked))[0])
        medians = {name: round(1000 * statistics.median(values[1:]), 2) for name, values in times.items()}
        print(f"{len(asked)} queries, ms:", json.dumps(medians), flush=True)


def merging(parts: int) -> None:
    """What merging itself takes: the best 10 and 1,000 of so many parts for 256 queries."""
    for k in (10, 1000):
        rng = np.random.default_rng(0)
        found = []
        for number in range(parts):
            scores = -np.sort(-rng.random((256, k), np.float32), 1)
            ids = IdTable.of(b"%02d/%08d.jpg" % (number, row) for row in range(256 * k))
            found.append(Found.of(np.arange(256 * k).reshape(256, k), scores, ids).moved(number * 256 * k))
        seconds, _ = timed(lambda found=found, k=k: merged(found, k))
        print(f"merging {parts} parts, k={k}: {1000 * seconds / 256:.3f} ms a query")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and what it gives."""
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


if __name__ == "__main__":
    main()
