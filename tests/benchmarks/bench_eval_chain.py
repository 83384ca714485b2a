"""`imgret eval` whole: 70 queries ranked exactly over 1,000,000 database images, and scored. Run by hand:

    python tests/benchmarks/bench_eval_chain.py

Seeded random unit vectors in a temporary folder (2.5 GB for a million of 512 dimensions); easy, hard and junk lists as
long as those of the revisited benchmarks. Beside it, in the same run: the matrix product and the sorting alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path


def main() -> None:
    import numpy as np

    from imgret import workflows
    from imgret.store import Store
    from tests.benchmarks.bench_search import RECIPE, around, write_store

    RECIPE.update(dict.fromkeys(("backbone", "scales", "exif", "decode", "precision", "store_dtype"), "none"))
    RECIPE["weights"] = {"source": "none", "sha256": ""}

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=70)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        centres = around(random.standard_normal((5000, arguments.dim), np.float32), 5000, random)
        store = write_store(folder / "database", arguments.count, centres, random)
        write_store(folder / "queries", arguments.queries, centres, random)
        names = [f"{number:08d}.jpg" for number in range(arguments.count)]
        lists = [random.choice(arguments.count, 400, replace=False).tolist() for _ in range(arguments.queries)]
        truth = {
            "imlist": names,
            "qimlist": names[: arguments.queries],
            "gnd": [{"bbx": None, "easy": rows[:100], "hard": rows[100:200], "junk": rows[200:]} for rows in lists],
        }
        (folder / "gnd.json").write_text(json.dumps(truth))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        scores, _ = workflows.evaluate(
            workflows.EvalJob(ground_truth=folder / "gnd.json", store=folder / "database", queries=folder / "queries")
        )
        whole = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        queries = next(Store.open(folder / "queries").blocks()).descriptors
        start = time.perf_counter()
        found = np.concatenate([queries @ block.descriptors.T for block in store.blocks()], axis=1)
        product = time.perf_counter() - start
        start = time.perf_counter()
        for line in found:
            np.argsort(-line)
        sorting = time.perf_counter() - start
    print(f"{arguments.queries} queries x {arguments.count:,} x {arguments.dim}")
    print(f"eval, everything     {whole:6.1f} s   peak memory {peak / 1e6:.2f} GB ({before / 1e6:.2f} GB before)")
    print(f"reading, product      {product:6.1f} s   sorting {sorting:.1f} s   ratio {whole / (product + sorting):.2f}")
    print(f"medium mAP {scores.subsets['medium']['map']:.5f} (random lists: near 0)")


if __name__ == "__main__":
    main()
