"""Time and memory of scoring 70 queries over 1,000,000 images, beside the formulas written as a plain loop.

    python tests/benchmarks/bench_eval.py --queries 70 --database 1000000

Both see the same int32 rankings. The loop finds the places of each list with numpy.isin over the ranking and
takes junk out one positive at a time; it checks nothing and matches no names. Run by hand, not collected.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np

from imgret.evaluation.evaluate import evaluate
from imgret.evaluation.scores import Scores
from imgret.ground_truth.judgements import GroundTruth, Judgement, Query, Rules
from imgret.ground_truth.names import match
from imgret.ids import IdTable
from imgret.ranking import Ranking


def made_up(n_queries: int, n_listed: int, rng: np.random.Generator) -> GroundTruth:
    """A ground truth with list lengths like those of revisited Oxford."""
    judged: dict[str, list[Judgement]] = {"easy": [], "medium": [], "hard": []}
    for _ in range(n_queries):
        easy, hard, junk = np.split(rng.permutation(n_listed)[:300].astype(np.int32), [60, 150])
        for subset, positives, ignored in (
            ("easy", [easy], [junk, hard]),
            ("medium", [easy, hard], [junk]),
            ("hard", [hard], [junk, easy]),
        ):
            judged[subset].append(Judgement(np.sort(np.concatenate(positives)), np.sort(np.concatenate(ignored))))
    return GroundTruth(
        database=[f"listed_{i:06d}" for i in range(n_listed)],
        queries=[Query(f"query_{i:03d}") for i in range(n_queries)],
        subsets={subset: judgements.__getitem__ for subset, judgements in judged.items()},
        format="revisitop",
        rules=Rules(ap="trapezoid", precision="revisitop"),
        sha256="",
    )


def loop(truth: GroundTruth, rows: np.ndarray) -> dict[str, float]:
    """Mean average precision of every subset, straight from the formula; row = number of the listed image."""
    means = {}
    for subset, judge in truth.subsets.items():
        values = []
        for query, line in enumerate(rows):
            positives, junk = judge(query)
            places = np.flatnonzero(np.isin(line, positives))
            ignored = np.flatnonzero(np.isin(line, junk))
            total = 0.0
            for j, place in enumerate(places):
                r = int(place) - int((ignored < place).sum())
                before = 1.0 if r == 0 else j / r
                total += (before + (j + 1) / (r + 1)) / 2
            values.append(total / len(positives))
        means[subset] = float(np.mean(values))
    return means


def peak() -> float:
    """Most memory this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=70)
    parser.add_argument("--database", type=int, default=1_000_000)
    parser.add_argument("--listed", type=int, default=5000, help="images the ground truth lists")
    parser.add_argument("--block", type=int, default=10, help="queries in a block of rankings")
    arguments = parser.parse_args()

    rng = np.random.default_rng(0)
    truth = made_up(arguments.queries, arguments.listed, rng)
    ids = IdTable.of(
        [f"jpg/{name}.jpg" for name in truth.database]
        + [f"distractors/{i:07d}.jpg" for i in range(arguments.database - arguments.listed)]
    )
    rows = np.stack([rng.permutation(arguments.database).astype(np.int32) for _ in range(arguments.queries)])
    scores = np.linspace(1, -1, arguments.database, dtype=np.float32)

    def blocks() -> Iterator[Ranking]:
        for start in range(0, arguments.queries, arguments.block):
            part = rows[start : start + arguments.block]
            names = [query.name for query in truth.queries[start : start + arguments.block]]
            yield Ranking(names, part, np.broadcast_to(scores, part.shape), ids)

    before = peak()
    start = time.perf_counter()
    scored: Scores = evaluate(truth, blocks())
    ours = time.perf_counter() - start
    ours_memory = peak() - before

    start = time.perf_counter()
    match(truth.database, ids)
    names = time.perf_counter() - start

    before = peak()
    start = time.perf_counter()
    expected = loop(truth, rows)
    theirs = time.perf_counter() - start
    theirs_memory = peak() - before

    for subset, value in expected.items():
        assert np.isclose(value, scored.subsets[subset]["map"]), (subset, value, scored.subsets[subset])
    print(f"{arguments.queries} queries, {arguments.database:,} images, {len(expected)} subsets")
    print(f"rankings held: {rows.nbytes / 2**20:.0f} MiB")
    print(f"evaluate (names, checks, all measures): {ours:.2f} s, {ours_memory:+.0f} MiB at the peak")
    print(f"plain loop (average precision only):    {theirs:.2f} s, {theirs_memory:+.0f} MiB at the peak")
    print(
        f"ratio, loop to evaluate: {theirs / ours:.2f} "
        f"({theirs / (ours - names):.2f} without the {names:.2f} s of matching names to ids)"
    )


if __name__ == "__main__":
    main()
