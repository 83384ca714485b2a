"""What the classifier of GLDv2-clean costs: whole, spread over two processes, sampled. Run by hand:

    PYTHONPATH=. python tests/benchmarks/bench_classifier.py

81,313 classes x 512, ArcFace, a global batch of 64 random descriptors that want a gradient, SGD with momentum or AdamW.
A step is forward, backward and the optimiser's step, the median of all but the first two. One process has two
threads, two have one each, over gloo.
Memory is the peak of a process beyond what it had with torch loaded, largest of the processes. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

# name: (processes, loss, arguments)
CASES: dict[str, tuple[int, str, dict[str, Any]]] = {
    "arcface": (1, "arcface", {}),
    "arcface, 2 processes": (2, "arcface", {}),
    "sharded-arcface, 2 processes": (2, "sharded-arcface", {}),
    "sharded-arcface, sample 0.1": (1, "sharded-arcface", {"sample": 0.1}),
    "sharded-arcface, sample 0.1, 2 processes": (2, "sharded-arcface", {"sample": 0.1}),
}


def peak() -> float:
    """The most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(rank: int, case: str, options: argparse.Namespace, folder: str) -> None:
    """Steps of one process; writes its milliseconds a step and megabytes."""
    import torch
    import torch.distributed as dist

    from imgret.tables import resolve
    from imgret.training.losses import LOSSES
    from imgret.training.processes import Processes
    from imgret.training.recipe import Optimiser
    from imgret.training.start import start_optimiser

    ranks, name, arguments = CASES[case]
    torch.set_num_threads(2 // ranks)
    if ranks > 1:
        dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=ranks)
    torch.manual_seed(0)
    share = options.batch // ranks
    before = peak()
    loss = resolve(LOSSES[name].target)(options.dim, options.classes, **arguments)
    optimiser = start_optimiser(torch.nn.Identity(), loss, Optimiser(name=options.optimiser))
    wrapped = loss if name == "sharded-arcface" else Processes(rank, ranks).wrapped(loss, torch.device("cpu"))
    times = []
    for _ in range(options.steps):
        rows = torch.randn(share, options.dim, requires_grad=True)
        labels = torch.randint(options.classes, (share,))
        start = time.perf_counter()
        wrapped(rows, labels).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        times.append(1000 * (time.perf_counter() - start))
    Path(folder, f"{rank}.txt").write_text(f"{statistics.median(times[2:])} {peak() - before}")
    if ranks > 1:
        dist.destroy_process_group()


def main() -> None:
    import torch.multiprocessing as mp

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=81313)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--batch", type=int, default=64, help="images of a step, over all processes")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--optimiser", choices=("sgd", "adamw"), default="sgd")
    options = parser.parse_args()
    print(f"| classifier ({options.optimiser}) | ms a step | ratio | MB a process |")
    print("|---|---|---|---|")
    first = 0.0
    for case, (ranks, _, _) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            mp.start_processes(measure, (case, options, folder), nprocs=ranks, start_method="spawn")
            found = [[float(number) for number in file.read_text().split()] for file in Path(folder).glob("*.txt")]
        slowest, most = max(one[0] for one in found), max(one[1] for one in found)
        first = first or slowest
        print(f"| {case} | {slowest:.0f} | {slowest / first:.2f} | {most:.0f} |", flush=True)


if __name__ == "__main__":
    main()
