"""Which power of whitening goes into the last layer: asked of photographs whose classes were held out of training.

    IMGRET_DATA=path/to/data PYTHONPATH=. python tests/benchmarks/bench_power.py WEIGHTS --size 320

Fits on 2,000 of the photographs that the recipe `default` trains on and judges on those it holds out: mAP of their
classes, and R@1 of each photograph, seen again as PHONE_GLARE sees it and laid on another one, among all of them and
the 2,000.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from imgret.datasets import load_dataset
from imgret.datasets.splitting import hold_out_classes
from imgret.evaluation.metrics import average_precision_trapezoid
from imgret.images.decode import Decoded, DecodeRule
from imgret.images.stream import decode_stream
from imgret.models import load_model
from imgret.training.batches.augment import PHONE_GLARE
from imgret.training.calibration import rows_before
from imgret.whitening.fit import pca
from imgret.whitening.moments import Moments

FITTED = 2000


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def decoded(images, size: int) -> list[np.ndarray]:
    stream = decode_stream(images, DecodeRule(size), workers=1)
    return [found.pixels for _, found in stream if isinstance(found, Decoded)]


def class_map(rows: np.ndarray, labels: np.ndarray) -> float:
    """Every photograph queries all others."""
    scores, found = rows @ rows.T, []
    np.fill_diagonal(scores, -np.inf)
    for row, label in zip(scores, labels, strict=True):
        ranked = np.argsort(-row, kind="stable")[:-1]
        positives = np.flatnonzero(labels[ranked] == label)
        found.append(average_precision_trapezoid(positives, len(positives)))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--powers", type=float, nargs="+", default=[0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0])
    asked = parser.parse_args()
    photos = load_dataset(Path(os.environ["IMGRET_DATA"]) / "train")
    rest, held = hold_out_classes(photos, 0.05, 0)
    chosen = np.sort(np.random.default_rng(0).permutation(len(rest.images))[:FITTED])
    describe = rows_before(load_model(asked.weights).model)
    fitted = np.concatenate([describe(one[None]) for one in decoded([rest.images[i] for i in chosen], asked.size)])
    originals = np.concatenate([describe(one[None]) for one in decoded(held.images, asked.size)])
    large, again = decoded(held.images, 2 * asked.size), []
    always = replace(PHONE_GLARE, scenes=1.0)
    for place, picture in enumerate(large):
        random = np.random.default_rng(place)
        height, width = originals_shape(picture, asked.size)
        sample = always(picture, (width, height), random, backdrop=large[random.integers(len(large))])
        again.append(describe(sample.pixels.permute(1, 2, 0).numpy()[None]))
    queries = np.concatenate(again)
    moments = Moments(fitted.shape[1])
    moments.add(unit(fitted))
    length = float(np.median(np.linalg.norm(fitted, axis=1)))
    print(f"{len(held.images)} photographs of {len(held.classes)} classes, {len(fitted)} others")
    print("| power | mAP of classes | R@1 of photographs seen again |\n|---|---|---|")
    for power in (None, *asked.powers):

        def finished(rows: np.ndarray, power: float | None = power) -> np.ndarray:
            if power is None:
                return unit(rows)
            fit = pca(moments, power=power)
            return unit((rows - length * fit.mean) @ fit.projection.T)

        database = np.concatenate([finished(originals), finished(fitted)])
        right = (finished(queries) @ database.T).argmax(1) == np.arange(len(queries))
        score = class_map(finished(originals), held.labels)
        print(f"| {'none' if power is None else f'{power:g}'} | {100 * score:.1f} | {100 * right.mean():.1f} |")


def originals_shape(picture: np.ndarray, size: int) -> tuple[int, int]:
    """(height, width) with `size` as the longer side, at most that of the picture."""
    factor = min(1.0, size / max(picture.shape[:2]))
    return round(picture.shape[0] * factor), round(picture.shape[1] * factor)


if __name__ == "__main__":
    main()
