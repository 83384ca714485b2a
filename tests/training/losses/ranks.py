"""Run a function on several ranks over gloo: `on_ranks(function, ranks, folder)`."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def on_ranks(function, ranks, folder):
    """What `function(rank)` returned on each rank: tensors and plain containers. Its module must be importable."""
    mp.start_processes(_run, (function, ranks, folder), nprocs=ranks, start_method="spawn")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(ranks)]


def _run(rank, function, ranks, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=ranks)
    try:
        torch.save(function(rank), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
