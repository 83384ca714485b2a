"""What the cosine classifiers share: their class centres, the cosines to them, and which rows count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def xavier_centres(dim: int, classes: int, centres: int) -> Tensor:
    """Xavier-uniform centres [classes * centres, dim]; the centres of a class are adjacent rows."""
    for name, number in (("dim", dim), ("classes", classes), ("centres", centres)):
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
    return nn.init.xavier_uniform_(torch.empty(classes * centres, dim))


def positive_scale(scale: float) -> float:
    """The scale s of the logits; ValueError unless above 0."""
    if not scale > 0:
        raise ValueError(f"scale must be above 0, got {scale}")
    return scale


def labelled_rows(descriptors: Tensor, labels: Tensor, dim: int, classes: int | None = None) -> tuple[Tensor, Tensor]:
    """The descriptors [B', dim], in float32 or better, and labels [B'] of the rows whose label is not -1.

    Rows are left out before anything is computed, so what stands in them, even NaN, cannot matter. ValueError for
    other shapes, labels that are not int64, and labels outside [-1, classes).
    """
    if descriptors.ndim != 2 or descriptors.shape[1] != dim:
        raise ValueError(f"descriptors must be [B, {dim}], got {list(descriptors.shape)}")
    if labels.shape != descriptors.shape[:1] or labels.dtype != torch.int64:
        raise ValueError(
            f"labels must be int64 [{len(descriptors)}], got {str(labels.dtype).removeprefix('torch.')} "
            f"{list(labels.shape)}"
        )
    if len(labels):
        low, high = torch.stack(torch.aminmax(labels)).tolist()  # one wait for the device, not two
        if low < -1 or (classes is not None and high >= classes):
            known = "" if classes is None else f", and below {classes}"
            raise ValueError(f"labels must be -1 (none) or more{known}; they run from {low} to {high}")
        if low == -1:
            keep = labels >= 0
            descriptors, labels = descriptors[keep], labels[keep]
    return descriptors.to(torch.promote_types(descriptors.dtype, torch.float32)), labels


def cosines(descriptors: Tensor, weight: Tensor, centres: int) -> Tensor:
    """Cosine of each descriptor [B, D] to the nearest centre of each class [classes * centres, D]: [B, classes].

    Call it with autocast off: half precision would round cosines to 1/256.
    """
    found = F.linear(F.normalize(descriptors), F.normalize(weight.to(descriptors.dtype)))
    return found if centres == 1 else found.unflatten(1, (-1, centres)).amax(2)


def mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy, the mean over the rows; of no rows, 0 with a gradient of 0."""
    return F.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))
