"""The losses of the field: the table of names. Listing it costs nothing; code loads when a row is resolved.

Every loss is an `nn.Module` called with the descriptors [B, D] of a batch and what its `needs` says, and gives a
scalar in float32 or better, under autocast too. Descriptors are made unit rows inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["LOSSES", "LossCard"]


@dataclass(frozen=True)
class LossCard:
    """What there is to know about a loss before torch loads.

    `target` is "module:class". `needs` says what the loss is called with beside the descriptors, and what it wants
    of the batch:

    - "classes": labels [B] of a classifier built as `target(dim, classes, ...)`; any batch;
    - "pk batches": labels [B] of a batch of P classes with K images of each;
    - "tuples": rows [T, 2 + k] of the batch: a query, its positive, its negatives (-1 for none).

    In labels, -1 is "no label": such a row contributes nothing.
    """

    target: str
    needs: Literal["classes", "tuples", "pk batches"]
    summary: str
    source: str


LOSSES: dict[str, LossCard] = {
    "arcface": LossCard(
        "imgret.training.losses.classifiers:ArcFace",
        needs="classes",
        summary="angular margin on the target; hard, easy or DELG's; sub-centers; a margin per class",
        source="arXiv:1801.07698",
    ),
    "sharded-arcface": LossCard(
        "imgret.training.losses.sharded:ShardedArcFace",
        needs="classes",
        summary="ArcFace with its classes spread over ranks, or sampled (partial FC)",
        source="arXiv:2203.15565",
    ),
    "curricular": LossCard(
        "imgret.training.losses.curricular:CurricularFace",
        needs="classes",
        summary="ArcFace whose hard negatives weigh more as training goes on",
        source="arXiv:2004.00288",
    ),
    "contrastive": LossCard(
        "imgret.training.losses.pairs:Contrastive",
        needs="tuples",
        summary="positives together, negatives at least tau apart",
        source="arXiv:1711.02512",
    ),
    "triplet": LossCard(
        "imgret.training.losses.pairs:Triplet",
        needs="tuples",
        summary="a positive nearer than each negative by a margin",
        source="arXiv:1503.03832",
    ),
    "batch-triplet": LossCard(
        "imgret.training.losses.batch_triplet:BatchTriplet",
        needs="pk batches",
        summary="triplets mined in the batch, hard or semi-hard",
        source="arXiv:1703.07737",
    ),
}
