"""What the public trunks cost as `gem` uses them: one image at the size each was made for, on one core, random weights.

    PYTHONPATH=. python tests/benchmarks/bench_trunks.py [NAME ...]

Prints what the rows of TRUNKS hold. Times are the core's own, the least of the rounds: other work only adds.
"""

from __future__ import annotations

import sys
import time

import torch

from imgret.models.gem import GeMModel
from imgret.models.trunks import TRUNKS
from imgret.nn.backbones import pretrained_source

ROUNDS = 3


@torch.inference_mode()
def measure(name: str) -> str:
    """One line for one trunk."""
    model = GeMModel(name).eval()
    side = TRUNKS[name].image_size
    image = torch.rand(1, 3, side, side)
    model(image)
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        model(image)
        times.append(1000 * (time.process_time() - begun))
    parameters = sum(one.numel() for one in model.trunk.parameters())
    return (
        f"{name:40} dim={model.dim} parameters={parameters} megabytes={pretrained_source(name)[1]:.0f} "
        f"milliseconds={min(times):.0f} px={side} {'its own' if model.pool is None else 'GeM'}"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for trunk in sys.argv[1:] or TRUNKS:
        print(measure(trunk), flush=True)
