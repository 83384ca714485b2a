"""One query by itself beside many at once, and what an INDEX takes on the disk. Run by hand:

    PYTHONPATH=. python -m tests.benchmarks.bench_query --counts 250000 1000000 --kinds flat ivfpq

The vectors are those of bench_search: clusters in random directions, the hardest case for lists. Times are medians over
200 queries one after the other, files warm, and of 5 rounds of all queries at once. 5 minutes and 6 GB of disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from imgret.indexes.build import build
from imgret.indexes.files import Index
from imgret.indexes.search import search
from tests.benchmarks.bench_search import around, write_store

ALONE, MANY, K = 200, 1000, 10


def median_ms(queries: list[np.ndarray], index: Index) -> float:
    """Milliseconds a query, in groups; the first warms the files."""
    took = []
    for group in [queries[0], *queries]:
        start = time.perf_counter()
        search(index, group, [str(number) for number in range(len(group))], K)
        took.append(1000 * (time.perf_counter() - start) / len(group))
    return statistics.median(took[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--kinds", nargs="+", default=["flat", "ivfpq"])
    parser.add_argument("--folder", type=Path, help="for the temporary files")
    asked = parser.parse_args()
    print(
        "| rows | kind | recall@10 | build, s | alone, ms | of 1,000, ms each | searched, bytes a row | other files |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for count in asked.counts:
        rng = np.random.default_rng(0)
        centres = rng.standard_normal((max(1, count // 200), asked.dim), np.float32)
        with tempfile.TemporaryDirectory(dir=asked.folder) as place:
            store = write_store(Path(place) / "store", count, centres, rng)
            queries = around(centres, MANY, rng)
            for kind in asked.kinds:
                start = time.perf_counter()
                report = build([store], Path(place) / kind, kind=kind, max_memory=1 << 50, verify=False)
                took = time.perf_counter() - start
                index = Index.open(Path(place) / kind)
                alone = median_ms(list(queries[:ALONE, None]), index)
                many = median_ms([queries] * 5, index)
                sizes = {file.name: file.stat().st_size / count for file in (Path(place) / kind).iterdir()}
                searched = sum(size for name, size in sizes.items() if name.endswith(".faiss"))
                print(
                    f"| {count:,} | {kind} {report.parameters} | {report.recall['recall@10']:.3f} | {took:.0f} | "
                    f"{alone:.1f} | {many:.2f} | {searched:.0f} | {sum(sizes.values()) - searched:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
