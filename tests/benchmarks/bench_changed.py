"""What near-duplicates score: photographs beside changed versions of themselves, with the model that ships.

Run by hand: IMGRET_DATA=... PYTHONPATH=. python tests/benchmarks/bench_changed.py
150 photographs of distractors and 60 of landmarks, six versions of each; nothing is kept.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from imgret import workflows
from imgret.duplicates.find import THRESHOLD
from imgret.extraction.job import ExtractJob
from imgret.store.store import Store

TAKEN = (("distractors", 150), ("landmarks", 60))


def cut(share: float) -> Callable[[Image.Image], Image.Image]:
    """A picture without that share of its sides, on each side."""
    return lambda image: image.crop(
        (
            int(image.width * share),
            int(image.height * share),
            int(image.width * (1 - share)),
            int(image.height * (1 - share)),
        )
    )


CHANGES: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "JPEG at quality 40": (lambda image: image, 40),
    "30 % brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.3), 90),
    "5 % cut from each side": (cut(0.05), 90),
    "10 % cut from each side": (cut(0.10), 90),
    "half the size": (lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS), 85),
}


def main() -> None:
    data = Path(os.environ["IMGRET_DATA"])
    with tempfile.TemporaryDirectory() as folder:
        photos, store = Path(folder) / "photos", Path(folder) / "store"
        photos.mkdir()
        names = [(source, n, path) for source, many in TAKEN for n, path in enumerate(first(data / source, many))]
        for source, number, path in names:
            image = Image.open(path).convert("RGB")
            image.save(photos / f"{source}-{number}.jpg", quality=92)
            for place, (change, quality) in enumerate(CHANGES.values()):
                change(image).save(photos / f"{source}-{number}-{place}.jpg", quality=quality)
        workflows.extract(ExtractJob((str(photos),), store))
        blocks = list(Store.open(store).blocks())
        raw, matrix = (
            [raw for block in blocks for raw in block.ids],
            np.concatenate([one.descriptors for one in blocks]),
        )
        rows = {name.decode(): row for name, row in zip(raw, matrix, strict=True)}
    originals = np.stack([rows[f"{source}-{number}.jpg"] for source, number, _ in names])
    print(f"| change | least | median | {THRESHOLD} or more |\n|---|---|---|---|")
    for place, change in enumerate(CHANGES):
        changed = np.stack([rows[f"{source}-{number}-{place}.jpg"] for source, number, _ in names])
        cosines = (originals * changed).sum(1)
        share = (cosines >= THRESHOLD).mean()
        print(f"| {change} | {cosines.min():.3f} | {np.median(cosines):.3f} | {100 * share:.0f} % |")
    others = originals @ originals.T
    np.fill_diagonal(others, -1)
    start = 0
    for source, many in TAKEN:
        print(f"nearest two different photographs of {source}: {others[start : start + many].max():.3f}")
        start += many


def first(folder: Path, many: int) -> list[Path]:
    return sorted((folder / "jpg").rglob("*.jpg"))[:many]


if __name__ == "__main__":
    main()
