"""LabelledImages: the images of a training set, their classes and their splits."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np

from imgret.errors import InputError
from imgret.ids import escape
from imgret.images.files import ImageFile
from imgret.tables import did_you_mean


@dataclass(frozen=True)
class LabelledImages:
    """N images of C classes.

    images   with distinct ids, not yet opened. `bytes` and `mtime_ns` are 0 where nobody looked
    labels   [N] int64, row of `classes`; -1: no label
    classes  sorted by name, each with at least one image here
    splits   [N] of text such as "train", "val", "test", "" for none of them; None: the set names no splits

    ValueError when these do not fit together.
    """

    images: tuple[ImageFile, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    splits: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.labels.shape != (count,) or self.labels.dtype != np.int64:
            raise ValueError(f"labels must be int64 [{count}], got {self.labels.dtype} {list(self.labels.shape)}")
        if self.splits is not None and (self.splits.shape != (count,) or self.splits.dtype.kind != "U"):
            raise ValueError(f"splits must be text [{count}], got {self.splits.dtype} {list(self.splits.shape)}")
        if list(self.classes) != sorted(set(self.classes)):
            raise ValueError("classes must be sorted and distinct")
        if count and (self.labels.min() < -1 or self.labels.max() >= len(self.classes)):
            raise ValueError(f"labels must be from -1 to {len(self.classes) - 1}")
        if not self.counts().all():
            raise ValueError("every class must have an image; use where(), which drops the others")

    def __len__(self) -> int:
        return len(self.images)

    def where(self, keep: np.ndarray) -> LabelledImages:
        """The images for which `keep` (bool [N]) is true, in order; classes left without one are dropped."""
        if keep.shape != self.labels.shape or keep.dtype != np.bool_:
            raise ValueError(f"keep must be bool [{len(self)}], got {keep.dtype} {list(keep.shape)}")
        labels = self.labels[keep]
        used = np.zeros(len(self.classes) + 1, bool)  # the last entry is for -1, which is no class
        used[labels] = True
        dense = np.cumsum(used) - 1
        dense[-1] = -1
        return LabelledImages(
            images=tuple(compress(self.images, keep.tolist())),
            labels=dense[labels].astype(np.int64),
            classes=tuple(compress(self.classes, used.tolist())),
            splits=None if self.splits is None else self.splits[keep],
        )

    def split(self, name: str) -> LabelledImages:
        """The images of one split. InputError when the set names no splits, or none of its images is in it."""
        if self.splits is None:
            raise InputError(
                f"this set names no splits, so it has no {escape(name)!r}; give its table a column split, "
                "or hold out classes instead"
            )
        keep = self.splits == name
        if not keep.any():
            names, counts = np.unique(self.splits[self.splits != ""], return_counts=True)
            there = ", ".join(f"{escape(one)} ({n} images)" for one, n in zip(names.tolist(), counts, strict=True))
            raise InputError(
                f"the split {escape(name)!r} is empty{did_you_mean(name, names.tolist())}; there are: {there or 'none'}"
            )
        return self.where(keep)

    def counts(self) -> np.ndarray:
        """Images per class: int64 [C], each at least 1. Images without a label count nowhere."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))
