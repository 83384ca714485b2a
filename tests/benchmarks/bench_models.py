"""What each model costs beside its bare trunk: parameters, GMACs, milliseconds, peak memory. Run by hand:

    python tests/benchmarks/bench_models.py --rounds 7

One random image, batch 1, as extraction runs it (batch norms folded, channels last, bf16 where the processor has
it). The bare trunk is timm's network up to its last map. Trunk and model take turns in one process for each
model and size, times are medians, and the ratio is that of the same run. Peak memory is what a call needs beyond
what the process holds between calls; it is measured in another process, whose allocator gives memory back at once
(glibc on Linux). Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIZES = (224, 512, 1024)
GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def resident(field: str) -> float:
    """A field of /proc/self/status, such as VmRSS, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{field}:")[1].split()[0]) / 1024


def measure(name: str, size: int, rounds: int, precision: str | None) -> dict[str, float]:
    """The figures of one model at one size, in this process; 0 rounds: memory alone."""
    import statistics

    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from imgret.extraction.describe import PRECISIONS, resolve_precision
    from imgret.models import MODELS, load_model
    from imgret.nn.backbones import build_trunk
    from imgret.nn.folding import fold_batch_norm

    image = torch.rand(1, 3, size, size).contiguous(memory_format=torch.channels_last)
    dtype = PRECISIONS[resolve_precision(precision, torch.device("cpu"))]

    def counted(module: Any) -> tuple[float, float]:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            module(image)
        return sum(part.numel() for part in module.parameters()) / 1e6, counter.get_total_flops() / 2e9

    bare = build_trunk(MODELS[name].backbone)[0].eval()
    model = load_model(name, weights="none").model
    costs = {"trunk": counted(bare), "model": counted(model)} if rounds else {}
    runs = {"trunk": fold_batch_norm(bare), "model": model.folded()}
    for part in runs.values():
        part.requires_grad_(False).to(memory_format=torch.channels_last)

    def call(part: Any) -> None:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            part(image)

    found: dict[str, float] = {}
    for key, part in runs.items():
        call(part)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        call(part)
        found[f"{key} MiB"] = resident("VmHWM") - before
    if not rounds:
        return found
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, part in runs.items():
            start = time.perf_counter()
            call(part)
            times[key].append(1000 * (time.perf_counter() - start))
    for key in runs:
        found[f"{key} ms"] = statistics.median(times[key])
        found[f"{key} M"], found[f"{key} GMACs"] = costs[key]
    # the median of ratios of neighbours: what disturbs the machine for a while disturbs both
    found["ratio"] = statistics.median(m / t for m, t in zip(times["model"], times["trunk"], strict=True))
    return found


def run(asked: list[str], environment: dict[str, str]) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, *asked]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **environment})
    return dict(json.loads(done.stdout))


def main() -> None:
    from imgret.models import MODELS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--one", action="store_true", help="measure the first model and size here, print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.models[0], arguments.sizes[0], arguments.rounds, arguments.precision)))
        return
    print(f"{platform.machine()}, {arguments.rounds} rounds, precision {arguments.precision or 'auto'}\n")
    print("| model | px | parameters (trunk) | GMACs (trunk) | ms (trunk) | attention adds | peak MiB (trunk) |")
    print("|---|---|---|---|---|---|---|")
    for name in arguments.models:
        for size in arguments.sizes:
            asked = ["--one", "--models", name, "--sizes", str(size), "--rounds", str(arguments.rounds)]
            asked += ["--precision", arguments.precision] if arguments.precision else []
            f = run(asked, {}) | run([*asked, "--rounds", "0"], GIVE_BACK)
            print(
                f"| {name} | {size} | {f['model M']:.1f} M ({f['trunk M']:.1f}) | "
                f"{f['model GMACs']:.2f} ({f['trunk GMACs']:.2f}) | {f['model ms']:.0f} ({f['trunk ms']:.0f}) | "
                f"{100 * (f['ratio'] - 1):+.0f} % | {f['model MiB']:.0f} ({f['trunk MiB']:.0f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
