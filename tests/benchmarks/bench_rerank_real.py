"""What each way of ranking better gains on real photographs, and what it costs a query. Run by hand:

    IMGRET_DATA=... PYTHONPATH=. python tests/benchmarks/bench_rerank_real.py

Descriptors of the model that ships; every database has the 200 distractors added. Gains are mAP in percent; costs are
milliseconds a query beyond plain exact ranking, the best of three.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

# (name, ground truth, folders of the database)
SETS = (
    ("landmarks", "landmarks/gnd_leave_one_out.json", ["landmarks/jpg"]),
    ("grocery natural", "grocery_packages/gnd_natural.json", ["grocery_packages/database"]),
    ("grocery iconic", "grocery_packages/gnd_iconic.json", ["grocery_packages/database"]),
    ("corridor", "vpr_corridor/gnd_corridor.json", ["vpr_corridor/ref"]),
)
CHAINS = (
    "",
    "aqe:k=3,alpha=0",
    "aqe:k=3",
    "aqe:k=10",
    "superglobal",
    "superglobal:m=100",
    "reciprocal",
    "reciprocal:m=100,k1=10",
    "aqe:k=3 superglobal",
)
GRAPHS = (10, 20, 50)  # neighbours a row, for diffusion
WAYS = ("--dba k=10,alpha=3", "--query-scales 1,0.7071,1.4142", "--scales 1,0.7071,1.4142", "--robust")


def prepare(data: Path, scratch: Path, name: str, folders: list[str], scales: tuple[float, ...] | None) -> Path:
    """A store of a database with its distractors."""
    from imgret import workflows
    from imgret.extraction.job import ExtractJob

    store = scratch / f"{name.replace(' ', '-')}-{len(scales or ())}"
    given = tuple(str(data / folder) for folder in (*folders, "distractors/jpg"))
    workflows.extract(ExtractJob(images=given, output=store, root=data, scales=scales, precision="fp32"))
    return store


def queries_of(truth: Path, store: Path) -> Path:
    """A store of the queries, which have no boxes in these sets."""
    from imgret import workflows
    from imgret.extraction.job import ExtractJob

    names = json.loads(truth.read_text())["qimlist"]
    given = tuple(str(truth.parent / name) for name in names)
    workflows.extract(ExtractJob(images=given, output=store, root=truth.parent, precision="fp32"))
    return store


def score(job: Any) -> str:
    """mAP of medium and hard, or of all."""
    from imgret import workflows

    subsets = workflows.evaluate(job)[0].subsets
    return " / ".join(
        "–" if subsets[s]["map"] is None else f"{100 * subsets[s]['map']:.2f}" for s in ("medium", "hard")
    )


def cost(index: Path, chain: str, queries: int = 50) -> float:
    """Milliseconds a query beyond plain ranking, for queries that are rows of the index."""
    import numpy as np

    from imgret.indexes.files import Index
    from imgret.rerank import parse_chain
    from imgret.workflows.ranked import IndexSearched, rankings

    opened = Index.open(index)
    rows = np.linspace(0, opened.count - 1, queries).astype(int)
    asked, names, steps = opened.vectors(rows), [f"query {row}" for row in rows], parse_chain(chain)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        for ranking in rankings(IndexSearched(opened, exactly=True), asked, names, None, rerank=steps):
            assert len(ranking.queries)
        times.append(time.perf_counter() - begun)
    return 1000 * min(times) / queries


def main() -> None:
    from imgret import workflows
    from imgret.rerank import parse_chain
    from imgret.workflows import EvalJob, QueryOptions

    data = Path(os.environ["IMGRET_DATA"])
    scales = (1.0, 0.7071, 1.4142)
    results: dict[str, list[str]] = {}
    costs: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name, truth, folders in SETS:
            store = prepare(data, scratch, name, folders, None)
            index, augmented, many = (scratch / f"{store.name}-{kind}" for kind in ("index", "dba", "scales"))
            workflows.build_index([store], index)
            workflows.build_index([store], augmented, dba="k=10,alpha=3")
            workflows.build_index([prepare(data, scratch, name, folders, scales)], many)
            ready = queries_of(data / truth, scratch / f"{store.name}-queries")
            asks = {"ground_truth": data / truth, "images": (data / truth).parent}
            common = {"ground_truth": data / truth, "queries": ready}
            plain = cost(index, "")
            for chain in CHAINS:
                results.setdefault(chain or "plain", []).append(
                    score(EvalJob(index=index, rerank=parse_chain(chain), **common))
                )
                costs.setdefault(chain or "plain", []).append(f"{cost(index, chain) - plain:.1f}" if chain else "–")
            for graph in GRAPHS:
                workflows.build_index([store], index, graph=graph)
                way = f"diffusion` with `--graph {graph}"
                results.setdefault(way, []).append(
                    score(EvalJob(index=index, rerank=parse_chain("diffusion"), **common))
                )
                costs.setdefault(way, []).append(f"{cost(index, 'diffusion') - plain:.1f}")
            with_scales, robust = QueryOptions(scales=scales), QueryOptions(robust=True)
            for way, job in zip(
                WAYS,
                (
                    EvalJob(index=augmented, **common),
                    EvalJob(index=index, options=with_scales, **asks),
                    EvalJob(index=many, **asks),
                    EvalJob(index=index, options=robust, **asks),
                ),
                strict=True,
            ):
                results.setdefault(way, []).append(score(job))
                costs.setdefault(way, []).append("–")
            print(name, {way: cells[-1] for way, cells in results.items()}, flush=True)
    print("\n| mAP, medium / hard | " + " | ".join(name for name, *_ in SETS) + " | ms a query |")
    print("|---" * (len(SETS) + 2) + "|")
    for way, cells in results.items():
        print(f"| `{way}` | " + " | ".join(cells) + f" | {', '.join(dict.fromkeys(costs[way]))} |")


if __name__ == "__main__":
    main()
