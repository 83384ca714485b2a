"""Hold out whole classes, so that validation asks for things that were never learned."""

from __future__ import annotations

import hashlib

import numpy as np

from imgret.datasets.checks import need_classes
from imgret.datasets.labelled import LabelledImages


def hold_out_classes(labelled: LabelledImages, fraction: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """(rest, held out): `fraction` of the classes, rounded, with all their images; unlabelled ones stay in the rest.

    At least one class is held out and at least one stays. Which ones is decided by the seed and the names of
    the classes alone: the same on every machine, and not changed by more images, a new order or another
    folder; a class that is new displaces at most one other. InputError with fewer than two classes; ValueError
    for a fraction that is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"fraction must lie between 0 and 1, got {fraction}")
    need_classes(labelled, "holding out classes for validation")
    count = min(max(round(fraction * len(labelled.classes)), 1), len(labelled.classes) - 1)
    by_chance = sorted(range(len(labelled.classes)), key=lambda row: drawn(labelled.classes[row], seed))
    held = np.isin(labelled.labels, by_chance[:count])
    return labelled.where(~held), labelled.where(held)


def drawn(name: str, seed: int) -> bytes:
    """The lot that a name draws: names in order of their lots are in an order of chance, whoever else draws."""
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
