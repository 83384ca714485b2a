"""What torch computes while a module runs, operation by operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Seen(TorchDispatchMode):
    """The largest tensor that any operation returned, and the dtypes of all softmaxes.

    Use it with no_grad: in inference mode composite operations arrive whole and hide their parts. What a fused
    kernel keeps to itself is not seen, and need not be: it works by tiles and in float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.softmaxes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.largest = max([self.largest, *(tensor.numel() for tensor in tensors)])
        if func.overloadpacket.__name__.endswith("softmax"):  # _softmax, _safe_softmax, _log_softmax
            self.softmaxes.update(tensor.dtype for tensor in tensors)
        return out
