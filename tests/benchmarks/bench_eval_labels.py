"""Time of scoring 10,000 labelled queries with 1,000 results each, beside the formulas written as a plain loop.

    PYTHONPATH=. python tests/benchmarks/bench_eval_labels.py

Both see the same int32 rankings of 10,000 images in 500 classes. The loop computes average precision, R-precision and
recall at 1 from the labels of each line; it checks nothing and matches no names. Run by hand, not collected.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from imgret.evaluation.evaluate import evaluate
from imgret.ground_truth import labels
from imgret.ids import IdTable
from imgret.ranking import Ranking


def loop(rows: np.ndarray, classes: np.ndarray) -> tuple[float, float, float]:
    """Mean average precision (finite), R-precision and recall at 1, query i being image i."""
    size = np.bincount(classes)
    aps, rps, first = [], [], []
    for query, line in enumerate(rows):
        line = line[line != query]
        right = classes[line] == classes[query]
        places = np.flatnonzero(right)
        n = int(size[classes[query]]) - 1
        total = 0.0
        for j, place in enumerate(places):
            total += (j + 1) / (place + 1)
        aps.append(total / n)
        rps.append(right[:n].sum() / n)
        first.append(bool(len(places)) and places[0] < 1)
    return float(np.mean(aps)), float(np.mean(rps)), float(np.mean(first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--results", type=int, default=1000)
    parser.add_argument("--classes", type=int, default=500)
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.arange(asked.images) % asked.classes)
    names = [f"images/{number:06d}.jpg" for number in range(asked.images)]
    csv = "path,label\n" + "".join(f"{name},{label}\n" for name, label in zip(names, classes.tolist(), strict=True))
    rows = np.stack([rng.choice(asked.images, asked.results, replace=False) for _ in range(asked.images)])
    for query in range(0, asked.images, 2):  # half of the queries stand in their own ranking
        if query not in rows[query]:
            rows[query, 0] = query
    rows = rows.astype(np.int32)
    scores = np.broadcast_to(np.linspace(1, 0, asked.results, dtype=np.float32), rows.shape)
    ids = IdTable.of(names)

    times: dict[str, list[float]] = {"evaluate": [], "loop": []}
    for _ in range(3):
        begun = time.perf_counter()
        truth = labels.read(Path("labels.csv"), csv.encode())
        found = evaluate(truth, [Ranking(names, rows, scores, ids)]).subsets["all"]
        times["evaluate"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        expected = loop(rows, classes)
        times["loop"].append(time.perf_counter() - begun)
    assert np.allclose([found["map"], found["r_precision"], found["recall@1"]], expected)
    ours, theirs = min(times["evaluate"]), min(times["loop"])
    print(f"{asked.images:,} queries, {asked.results:,} results each, {asked.classes} classes, best of 3")
    print(f"evaluate (reading labels, names, checks, all measures): {ours:.2f} s")
    print(f"plain loop (three measures):                            {theirs:.2f} s")
    print(f"ratio, loop to evaluate: {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
