"""Small copies of the layouts: empty files where images would be, since data sets never open them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from imgret.datasets.labelled import LabelledImages
from imgret.images.files import ImageFile

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """put("a/b.jpg") makes the file below tmp_path, with its text; the answer is tmp_path."""

    def one(name: str, text: str | bytes = b"") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return one


@pytest.fixture
def labelled() -> Callable[..., LabelledImages]:
    """labelled("a a b -", splits): image 0.jpg of class a, 1.jpg of a, 2.jpg of b, 3.jpg of none."""

    def one(text: str, splits: str | None = None) -> LabelledImages:
        names = text.split()
        classes = tuple(sorted(set(names) - {"-"}))
        return LabelledImages(
            images=tuple(ImageFile(f"{i}.jpg", f"/r/{i}.jpg", "/r", 0, 0) for i in range(len(names))),
            labels=np.array([classes.index(name) if name != "-" else -1 for name in names], np.int64),
            classes=classes,
            splits=None if splits is None else np.array(splits.split()),
        )

    return one


def rows(labelled: LabelledImages) -> list[tuple[str, str | None]]:
    """(id, class or None) of every image."""
    names = [labelled.classes[label] if label >= 0 else None for label in labelled.labels]
    return [(image.id, name) for image, name in zip(labelled.images, names, strict=True)]


@pytest.fixture(name="rows")
def _rows() -> Callable[[LabelledImages], list[tuple[str, str | None]]]:
    return rows
