"""The learning rate, step by step: a straight line up, then half a cosine or an exponential down."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def rate_factor(step: int, steps: int, warmup: int = 0, final: float = 0.0) -> float:
    """The factor of the highest learning rate at a step, counted from 0.

    Steps 0 to warmup - 1 have (step + 1) / warmup, so the first one moves and the last one has it all; from then
    on final + (1 - final) (1 + cos(pi t)) / 2, t = (step - warmup) / (steps - warmup). `final` itself
    belongs to step `steps`, just behind the last one, and stays from there on.

    The cosine is that of Loshchilov, Hutter, "SGDR" (arXiv:1608.03983), eq. 5, without restarts.
    """
    if step < warmup:
        return (step + 1) / warmup
    t = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (1 - final) * (1 + math.cos(math.pi * t)) / 2


def warmup_cosine(optimiser: Optimizer, steps: int, warmup: int = 0, final: float = 0.0) -> LambdaLR:
    """Every group's learning rate times `rate_factor`; call its `step()` once after each step of the optimiser.

    Its state is the number of steps taken, so it goes on where its `state_dict` was made. ValueError unless
    0 <= warmup < steps and 0 <= final <= 1.
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"warm-up must be at least 0 and below {steps} steps, got {warmup}")
    if not 0 <= final <= 1:
        raise ValueError(f"final must be between 0 and 1, got {final}")
    return LambdaLR(optimiser, lambda step: rate_factor(step, steps, warmup, final))


def warmup_exponential(optimiser: Optimizer, per_epoch: int, warmup: int, decay: float) -> LambdaLR:
    """The same with exp(-decay epoch) in place of the cosine, constant within an epoch of `per_epoch` steps.

    The line up of `warmup` steps is a factor of its own. ValueError unless per_epoch and decay are positive.
    """
    if per_epoch < 1 or not decay > 0 or warmup < 0:
        raise ValueError(
            f"per_epoch and decay must be positive, warm-up not negative, got {per_epoch}, {decay}, {warmup}"
        )

    def factor(step: int) -> float:
        return min(1.0, (step + 1) / max(1, warmup)) * math.exp(-decay * (step // per_epoch))

    return LambdaLR(optimiser, factor)
