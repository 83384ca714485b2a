"""What a classifier spread over processes needs of the loop: its state whole in a checkpoint, one norm, one verdict.

Every rank must call what is here in the same order, as always with collectives. For any other loss all of it
is what torch does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer

from imgret.training.checkpoints import Stateful
from imgret.training.losses.collectives import Shards, rows_of_all, shard_of
from imgret.training.losses.sharded import ShardedArcFace


def stateful(loss: nn.Module, optimiser: Optimizer) -> dict[str, Stateful]:
    """The "loss" and the "optimiser" of a checkpoint; those of a spread classifier in the form one process would write.

    Their `state_dict` is then collective: the shards of the weights and of their momenta come together on rank 0, on
    the CPU, and other ranks get a state that is of no use. `load_state_dict` cuts the rank's share out again.
    """
    if not isinstance(loss, ShardedArcFace):
        return {"loss": loss, "optimiser": optimiser}
    return {"loss": _WholeLoss(loss), "optimiser": _WholeOptimiser(loss, optimiser)}


def clip_gradients(optimiser: Optimizer, longest: float, loss: nn.Module) -> Tensor:
    """Scale all gradients down to a norm of `longest`, over every parameter of the optimiser; the norm before.

    The squares of a spread classifier are summed over ranks, those of the averaged gradients count once: the norm
    is that of one process, and the same on every rank.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    if not isinstance(loss, ShardedArcFace) or loss.shards.ranks == 1:
        return nn.utils.clip_grad_norm_(parameters, longest)
    common = [one.grad for one in parameters if one is not loss.weight and one.grad is not None]
    assert loss.weight.grad is not None
    squares = loss.weight.grad.square().sum()
    dist.all_reduce(squares)
    norm = (nn.utils.get_total_norm(common).square() + squares).sqrt()
    nn.utils.clip_grads_with_norm_(parameters, longest, norm)
    return norm


def gradient_scaler(device: torch.device, enabled: bool, loss: nn.Module) -> torch.amp.GradScaler:
    """torch's scaler for fp16. With a spread classifier an overflow on one rank makes all of them skip the step."""
    if enabled and isinstance(loss, ShardedArcFace) and loss.shards.ranks > 1:
        from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

        return ShardedGradScaler(device.type)
    return torch.amp.GradScaler(device.type, enabled=enabled)


class _WholeLoss:
    """A spread classifier whose state has the centres of all ranks."""

    def __init__(self, loss: ShardedArcFace) -> None:
        self._loss = loss

    def state_dict(self) -> dict[str, Any]:
        state = self._loss.state_dict()
        return {**state, "weight": _whole(state["weight"], self._loss)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._loss.load_state_dict({**state, "weight": _share(state["weight"], self._loss)})


class _WholeOptimiser:
    """An optimiser whose state has the momenta of the centres of all ranks."""

    def __init__(self, loss: ShardedArcFace, optimiser: Optimizer) -> None:
        self._loss, self._optimiser = loss, optimiser
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        # torch names a parameter in a state by its place.
        self._place = next(place for place, one in enumerate(parameters) if one is loss.weight)

    def state_dict(self) -> dict[str, Any]:
        state = self._optimiser.state_dict()
        rows = self._loss.weight.shape
        return self._changed(state, lambda one: _whole(one, self._loss) if one.shape == rows else one)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        loss = self._loss
        rows = (loss.classes * loss.centres, loss.dim)
        self._optimiser.load_state_dict(
            self._changed(state, lambda one: _share(one, loss) if one.shape == rows else one)
        )

    def _changed(self, state: dict[str, Any], change: Any) -> dict[str, Any]:
        """The state with `change` made to the tensors kept for the centres: momenta, not the count of steps."""
        if self._place not in state["state"]:  # no step yet
            return state
        own = {
            name: change(one) if isinstance(one, Tensor) else one for name, one in state["state"][self._place].items()
        }
        return {**state, "state": {**state["state"], self._place: own}}


def _whole(rows: Tensor, loss: ShardedArcFace) -> Tensor:
    every = [shard_of(loss.classes, Shards(rank, loss.shards.ranks)) for rank in range(loss.shards.ranks)]
    return rows_of_all(rows, [(last - first) * loss.centres for first, last in every], loss.shards)


def _share(rows: Tensor, loss: ShardedArcFace) -> Tensor:
    return rows[loss.first * loss.centres : loss.last * loss.centres]
