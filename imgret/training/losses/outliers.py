"""Images that are far from their class, found by a trained sub-center classifier."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from imgret.training.losses.cosines import labelled_rows

_NUMBERS_AT_ONCE = 2**26  # 256 MiB of float32


@torch.no_grad()
def outliers(descriptors: Tensor, labels: Tensor, weight: Tensor, centres: int, degrees: float = 75.0) -> Tensor:
    """Which descriptors [N, D] lie more than `degrees` from the dominant centre of their class: bool [N].

    `weight` [classes * centres, D] is that of a trained `ArcFace`. The dominant centre of a class is the one
    that is nearest to most of its images, the first of equals. Unlabelled rows (-1) are no outliers. Leaving
    these images out and training again with one centre is how sub-center ArcFace cleans a data set. ValueError
    for other shapes and for labels out of range.

    Deng et al., "Sub-center ArcFace" (ECCV 2020).
    """
    if centres < 1 or weight.ndim != 2 or len(weight) % centres:
        raise ValueError(f"weight must be [classes * {centres}, D], got {list(weight.shape)}")
    classes, dim = len(weight) // centres, weight.shape[1]
    rows, classes_of = labelled_rows(descriptors, labels, dim, classes)
    # Only the centres of a row's own class matter: [N, K] instead of [N, classes * K].
    own = F.normalize(weight.to(rows.dtype)).unflatten(0, (classes, centres))
    chunk = max(1, _NUMBERS_AT_ONCE // (centres * dim))
    cosine = torch.cat(
        [
            torch.einsum("nd,nkd->nk", F.normalize(some), own[theirs])
            for some, theirs in zip(rows.split(chunk), classes_of.split(chunk), strict=True)
        ]
    )
    votes = torch.bincount(classes_of * centres + cosine.argmax(1), minlength=classes * centres)
    dominant = votes.view(classes, centres).argmax(1)  # [classes]
    far = cosine.gather(1, dominant[classes_of].unsqueeze(1)).squeeze(1) < math.cos(math.radians(degrees))
    return torch.zeros_like(labels, dtype=torch.bool).masked_scatter(labels >= 0, far)
