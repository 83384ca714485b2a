"""Two ways to GSA's positional logits: gather the table first, or project on all of it and gather. Run by hand:

    python tests/benchmarks/bench_offsets.py

One column layer of `AxialPositionalAttention`, forward, on channels-last float32 maps, one thread; the two take turns
and the medians are printed with their ratio and the largest difference of their results.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

CASES = [(512, 16, 64, 1), (512, 32, 128, 1), (512, 32, 128, 4), (64, 56, 56, 4)]  # width, side, L, batch


def gather_first(layer: Any, query: Any, value: Any) -> Any:
    """What the layer does: its small table is laid out for every target, then one product."""
    return layer.along_columns(query, value, layer.column)


def project_first(layer: Any, query: Any, value: Any) -> Any:
    """Q on every row of the table, then the offsets that occur."""
    import torch

    side = query.shape[1]
    at = torch.arange(side)
    offsets = (at - at[:, None] + layer.column.reach - 1).view(1, side, 1, 1, side)  # t - i, counted from 0
    every = query @ layer.column.table.T  # [B, H, W, n, 2L - 1]
    logits = every.gather(4, offsets.expand(*every.shape[:4], side))
    return torch.einsum("bijnt,btjnd->bijnd", logits, value)


def main() -> None:
    import torch

    from imgret.nn.gsa import AxialPositionalAttention, split_heads

    torch.set_num_threads(1)
    print("| width | map | L | batch | gather first, ms | project first, ms | ratio | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for width, side, reach, batch in CASES:
        layer = AxialPositionalAttention(width, reach, 8).eval()
        maps = [torch.randn(batch, width, side, side).contiguous(memory_format=torch.channels_last) for _ in range(2)]
        inputs = [split_heads(one, 8) for one in maps]
        ways: dict[Any, list[float]] = {gather_first: [], project_first: []}
        with torch.inference_mode():
            difference = (gather_first(layer, *inputs) - project_first(layer, *inputs)).abs().max().item()
            for _ in range(30):
                for way, times in ways.items():
                    start = time.perf_counter()
                    way(layer, *inputs)
                    times.append(1000 * (time.perf_counter() - start))
        one, other = (statistics.median(times) for times in ways.values())
        print(
            f"| {width} | {side} x {side} | {reach} | {batch} | {one:.2f} | {other:.2f} | {other / one:.1f} | "
            f"{difference:.1e} |"
        )


if __name__ == "__main__":
    main()
