"""Batch norms folded into the convolutions before them: the same function, fewer passes over memory."""

from __future__ import annotations

import copy

import torch
import torch.fx
from torch import Tensor, nn

_AGREE = 1e-4  # largest difference that folding may make on a probe, relative to the largest value


class _Tracer(torch.fx.Tracer):
    """Takes our own modules whole: their shapes decide what they do, which a symbolic trace cannot follow."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("imgret.") or super().is_leaf_module(m, module_qualified_name)


def fold_batch_norm(trunk: nn.Module) -> nn.Module:
    """A copy of a trunk (images [B, 3, H, W] -> map) in eval mode with its batch norms folded away.

    y = g (Wx + b - m) / sqrt(v + eps) + h is again a convolution, with other weights. The trunk itself is
    returned where torch cannot trace it, where there is nothing to fold, or where the copy does not give
    the same map on a probe.
    """
    if not any(isinstance(part, nn.BatchNorm2d) for part in trunk.modules()):
        return trunk
    try:
        from torch.fx.experimental.optimization import fuse

        copied = _apart(copy.deepcopy(trunk.eval()))
        folded = fuse(torch.fx.GraphModule(copied, _Tracer().trace(copied)), inplace=True, no_trace=True)
        probe = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected, found = trunk(probe), folded(probe)
    except Exception:  # tracing raises whatever the network's own code raises on a stand-in for a tensor
        return trunk
    one = isinstance(expected, Tensor)
    pairs = [(expected, found)] if one else list(zip(expected, found, strict=True))
    alike = all((a - b).abs().max() <= _AGREE * a.abs().max() for a, b in pairs)
    return folded if alike else trunk


def _apart(module: nn.Module) -> nn.Module:
    """The module with timm's norms that bring their activation made two, in place: torch folds plain norms only."""
    for name, child in module.named_children():
        activation = getattr(child, "act", None)
        if isinstance(child, nn.BatchNorm2d) and isinstance(activation, nn.Module):
            plain = nn.BatchNorm2d(child.num_features, child.eps)
            plain.load_state_dict(child.state_dict())
            setattr(module, name, nn.Sequential(plain.eval(), activation))
        else:
            _apart(child)
    return module
