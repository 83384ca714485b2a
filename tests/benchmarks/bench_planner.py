"""What the planner promises for a collection, and what the index that is then built keeps of it.

Run by hand: python tests/benchmarks/bench_planner.py --count 200000 --dim 512
Prints the table of trials, builds the chosen kind (and those of --also), and compares memory, build,
latency and recall. Then the traps: two indexes with FAISS's own search defaults. Everything on one
core if OMP_NUM_THREADS=1, which a busy machine wants. The store lives in a temporary folder (--folder
says where; 200,000 vectors of 512 dimensions take 1 GB there with their indexes).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from bench_search import around, write_store

from imgret.cli.index_tables import memory_text, millis_text, print_trials, seconds_text
from imgret.errors import IndexFileError
from imgret.indexes.build import TARGET_RECALL, build
from imgret.indexes.files import Index
from imgret.indexes.kinds import parse_memory
from imgret.indexes.search import search
from imgret.indexes.structure import create
from imgret.store.store import Store

TRAPS = ("IVF1024,PQ64x4fs,RFlat", "HNSW32,SQ8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--max-memory", default="4GB")
    parser.add_argument("--target", type=float, default=TARGET_RECALL)
    parser.add_argument("--also", nargs="*", default=[], help="kinds to build beside the chosen one")
    parser.add_argument("--traps", action="store_true", help="build the two traps too; minutes")
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
    print(f"{count:,} x {dim}, budget {arguments.max_memory}, target {arguments.target}", flush=True)
    start = time.perf_counter()
    try:
        build([store], folder / "none", max_memory=count * 2, verify=False)
    except IndexFileError as error:
        print(f"an impossible budget: refused in {time.perf_counter() - start:.1f} s: {error}", flush=True)
    truth = nearest(store, queries)
    memory = parse_memory(arguments.max_memory)
    built, trials = {}, []
    for kind in ("auto", *arguments.also):
        times = Planning()
        report = build(
            [store],
            folder / kind,
            kind=kind,
            max_memory=memory,
            target_recall=arguments.target,
            verify=False,
            progress=times,
        )
        if kind == "auto":
            trials = report.trials
            print_trials(trials, report.kind)
            print(f"planned in {times.planning:.1f} s: {report.kind}, {report.why}", flush=True)
        built[report.kind] = folder / kind, times.building, report
    promises = {trial["kind"]: trial for trial in trials}
    for kind, (path, seconds, report) in built.items():
        compare(promises[kind], path, seconds, report, queries, truth)
    if arguments.traps:
        for factory in TRAPS:
            trap(factory, store, queries, truth)


class Planning:
    """The seconds of the trials, and those from their end to the measuring of recall, by the progress told."""

    def __init__(self) -> None:
        self.start = self.planned = self.measuring = time.perf_counter()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.perf_counter()
        if what.startswith("trying"):
            self.start, self.planned = (now, now) if done == 0 else (self.start, now)
        elif what.startswith("measuring") and self.measuring <= self.planned:
            self.measuring = now

    @property
    def planning(self) -> float:
        return self.planned - self.start

    @property
    def building(self) -> float:
        return self.measuring - self.planned


def nearest(store: Store, queries: np.ndarray) -> np.ndarray:
    """[Q] the score of the tenth neighbour of each query."""
    best = np.full((len(queries), 10), -1, np.float32)
    for block in store.blocks():
        scores = np.concatenate([best, queries @ block.descriptors.T], axis=1)
        best = -np.partition(-scores, 9, axis=1)[:, :10]
    return best.min(1)


def compare(promise: dict, path: Path, seconds: float, report, queries: np.ndarray, truth: np.ndarray) -> None:
    """Promised and measured, side by side."""
    index = Index.open(path)
    size = next(path.glob("index-*.faiss")).stat().st_size
    names = [""] * len(queries)
    found = search(index, queries, names, 10)
    recall = float((found.scores >= truth[:, None] - 1e-5).mean())
    single = []
    for query in queries[:64]:
        start = time.perf_counter()
        search(index, query[None], [""], 10)
        single.append(time.perf_counter() - start)
    start = time.perf_counter()
    search(index, queries, names, 10)
    many = (time.perf_counter() - start) / len(queries)
    print(f"{report.kind} [{report.factory}]  promised / measured, certificate {report.recall['recall@10']:.3f}")
    print(f"  memory     {memory_text(promise['memory'])} / {memory_text(size)}, ratio {size / promise['memory']:.3f}")
    for name, text, promised, measured in (
        ("build", seconds_text, promise["build"], seconds),
        ("a query", millis_text, promise["latency"], 1000 * statistics.median(single)),
        ("of many", millis_text, promise["batched"], 1000 * many),
    ):
        print(f"  {name:10s} {text(promised)} / {text(measured)}, ratio {measured / promised:.2f}")
    print(f"  recall@10  {promise['recall']:.3f} / {recall:.3f}")
    print(f"  parameters {promise['parameters']} / {report.parameters}", flush=True)


def trap(factory: str, store: Store, queries: np.ndarray, truth: np.ndarray) -> None:
    """What FAISS finds by its own defaults."""
    rows = np.concatenate([block.descriptors for block in store.blocks()])
    index = create(factory, rows.shape[1], 0)
    index.train(rows[:100_000])
    index.add(rows)
    found = index.search(queries, 10)[1]
    scores = np.einsum("qd,qkd->qk", queries, rows[found])
    recall = float((scores >= truth[:, None] - 1e-5).mean())
    print(f"{factory} as FAISS {faiss.__version__} searches it: recall@10 {recall:.3f}", flush=True)


if __name__ == "__main__":
    main()
