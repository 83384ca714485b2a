"""The processes of a run: one, or several started by `torchrun`, each with a share of every batch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from imgret.errors import ImgretError

_PATIENCE = timedelta(hours=2)  # the others wait while rank 0 validates
_LINGER = 0.2  # seconds


@dataclass(frozen=True)
class Processes:
    """This process is `rank` of `world`; `local` counts on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes, validates and talks."""
        return self.rank == 0

    def wrapped(self, module: nn.Module, device: torch.device, unused: bool = False) -> nn.Module:
        """The module, its gradients averaged over all processes; `unused`: some parameters may get none."""
        if self.world == 1 or not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        ids = [device.index or 0] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=ids, find_unused_parameters=unused)

    def share(self, value: Any) -> Any:
        """What rank 0 has, on every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """What every rank has, in order of rank, on every rank."""
        if self.world == 1:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def mean(self, values: torch.Tensor) -> list[float]:
        """The mean of each of a few numbers [n] over all ranks; nan if any of them is."""
        values = values.detach()
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return (values / self.world).tolist()


ALONE = Processes()


@contextmanager
def joined(cuda: bool) -> Iterator[Processes]:
    """The processes that `torchrun` has started, joined for the block: nccl on GPUs, gloo else; alone without it.

    ImgretError in the others when one has ended.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    processes = Processes(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        yield processes
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise ImgretError("another process of this run has ended; what it said tells why") from error
    finally:
        dist.destroy_process_group()
        # torch leaves gloo's threads running. One that lets go of a tensor of the last exchange wants the interpreter
        # for it, and aborts the process when that is ending by then; here it may have it.
        time.sleep(_LINGER)
