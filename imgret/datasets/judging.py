"""Held-out images as a ground truth, so that validation is the evaluation itself."""

from __future__ import annotations

import csv
import io
from heapq import nsmallest
from pathlib import Path

import numpy as np

from imgret.datasets.labelled import LabelledImages
from imgret.datasets.splitting import drawn
from imgret.errors import InputError
from imgret.ground_truth import labels
from imgret.ground_truth.judgements import GroundTruth


def ground_truth(labelled: LabelledImages, *, queries: int | None = None, seed: int = 0) -> GroundTruth:
    """Every image of a class of at least two queries all the others; the names are the ids.

    `queries` is the most that ask, drawn by the seed and the ids alone; all images stay in the database, those
    without a label or alone in their class as distractors. InputError when no class has two images.
    """
    return labels.read(Path("validation.csv"), as_csv(labelled, queries=queries, seed=seed))


def as_csv(labelled: LabelledImages, *, queries: int | None = None, seed: int = 0) -> bytes:
    """The same ground truth as the bytes of a file for `imgret eval`: path,label,split.

    Where every image is in the split "query" or "gallery" (In-shop), the first ask and the others answer.
    """
    if queries is not None and queries < 1:
        raise ValueError(f"queries must be at least 1, got {queries}")
    splits = [] if labelled.splits is None else labelled.splits.tolist()
    apart = set(splits) == {"query", "gallery"}
    asks = np.array([split == "query" for split in splits]) if apart else np.ones(len(labelled), bool)
    answers = ~asks if apart else asks
    # an image needs another one of its class among those that answer; the last 0 is what label -1 looks up
    enough = np.bincount(labelled.labels[answers & (labelled.labels >= 0)], minlength=len(labelled.classes) + 1)
    asking = np.flatnonzero(asks & (enough[labelled.labels] >= (1 if apart else 2))).tolist()
    if not asking:
        raise InputError("no class has two images, so no image can ask for another; hold out more classes")
    if queries is not None:
        asking = nsmallest(queries, asking, key=lambda row: drawn(labelled.images[row].id, seed))
    return _written(labelled, set(asking), answers)


def _written(labelled: LabelledImages, asking: set[int], answers: np.ndarray) -> bytes:
    text = io.StringIO()
    out = csv.writer(text)
    out.writerow(["path", "label", "split"])
    names = (*labelled.classes, "")  # the last is what label -1 looks up
    for row, (image, label, answer) in enumerate(
        zip(labelled.images, labelled.labels.tolist(), answers.tolist(), strict=True)
    ):
        if answer or row in asking:
            split = "database" if row not in asking else "both" if answer else "query"
            out.writerow([image.id, names[label], split])
    return text.getvalue().encode("utf-8", "surrogateescape")
