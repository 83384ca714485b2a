"""Whether bf16 convolutions whose map comes out one column wide are right on this processor. Run by hand.

python tests/benchmarks/bench_slivers.py

On processors with AMX, oneDNN as torch 2.14 ships it reads memory that is not its own there, so the result is wrong by
more than its own size, differently on every run. `imgret.extraction.describe` describes such images in float32.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

SIZES = ((8, 1), (16, 2), (7, 2), (8, 3), (8, 4), (2, 8), (14, 14))


def worst_error(channels: int, height: int, width: int, kernel: int, stride: int) -> float:
    """Of ten runs, the largest difference from float32 as a part of the largest value."""
    images = torch.randn(3, channels, height, width).bfloat16()
    weights = (torch.randn(96, channels, kernel, kernel) / (channels * kernel**2) ** 0.5).bfloat16()
    right = F.conv2d(images.float(), weights.float(), stride=stride, padding=kernel // 2)
    worst = 0.0
    for _ in range(10):
        found = F.conv2d(images, weights, stride=stride, padding=kernel // 2).float()
        error = ((found - right).abs().max() / right.abs().max()).item()
        worst = max(worst, error if error == error else float("inf"))
    return worst


def main() -> None:
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    for (height, width), stride in product(SIZES, (1, 2)):
        errors = [worst_error(channels, height, width, 3, stride) for channels in (16, 64, 192, 256)]
        columns = (width - 1) // stride + 1
        verdict = "WRONG" if max(errors) > 0.05 else "right"
        print(
            f"{height:2} x {width:2}, stride {stride}, {columns} columns out: worst error {max(errors):8.2g}  {verdict}"
        )


if __name__ == "__main__":
    main()
