"""What a way of learning needs of its images, and what is worth saying about them."""

from __future__ import annotations

import numpy as np

from imgret.datasets.labelled import LabelledImages
from imgret.errors import InputError
from imgret.ids import escape

_NAMED = 3


def notes(labelled: LabelledImages) -> list[str]:
    """What a person should know before training, one line each; nothing here stops anything."""
    said = []
    unlabelled = np.count_nonzero(labelled.labels < 0)
    if unlabelled:
        said.append(f"{unlabelled} of {len(labelled)} images have no label")
    single = _singles(labelled)
    if single:
        verb = "have" if len(single) > 1 else "has"
        said.append(f"{len(single)} of {len(labelled.classes)} classes {verb} one image only: {_first(single)}")
    return said


def need_classes(labelled: LabelledImages, what: str) -> None:
    """InputError unless there are two classes or more; `what` needs them, such as "ArcFace"."""
    count = len(labelled.classes)
    if count < 2:
        have = (
            "no image has a label" if not count else f"all labelled images are of one class, {_first(labelled.classes)}"
        )
        raise InputError(f"{what} needs two classes or more, but {have}: check the labels (an empty one is none)")


def need_labels(labelled: LabelledImages, what: str) -> None:
    """InputError when an image has no label; `what` cannot do without."""
    rows = np.flatnonzero(labelled.labels < 0)
    if len(rows):
        raise InputError(
            f"{what} needs a label for every image, but {len(rows)} of {len(labelled)} have none, the first is "
            f"{escape(labelled.images[rows[0]].id)}; label them or leave them out"
        )


def need_pairs(labelled: LabelledImages, what: str) -> None:
    """InputError when a class has one image, which makes no pair; `what` cannot do without."""
    if not labelled.classes:
        raise InputError(f"{what} needs two images of a class, but no image has a label: check the labels")
    single = _singles(labelled)
    if single:
        raise InputError(
            f"{what} needs two images of every class, but {len(single)} of {len(labelled.classes)} classes have one: "
            f"{_first(single)}; add images or leave these classes out"
        )


def _singles(labelled: LabelledImages) -> list[str]:
    return [labelled.classes[row] for row in np.flatnonzero(labelled.counts() == 1).tolist()]


def _first(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(escape(name) for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
