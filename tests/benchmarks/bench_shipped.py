"""How fast the model that ships is, decoding and describing apart and together. Run by hand:

    IMGRET_DATA=... PYTHONPATH=. python tests/benchmarks/bench_shipped.py

JPEGs of one megapixel (the landmark photographs enlarged), taken as `imgret extract` takes them without options. The
model also with its batch norms left as they are; all take turns.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_extract import enlarge  # which imports nothing at its top, for decode workers would import it too


def rate(work: Callable[[], int]) -> float:
    begun = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - begun)


def main() -> None:
    import numpy as np
    import torch

    from imgret import workflows
    from imgret.extraction.describe import Describer, resolve_precision
    from imgret.extraction.job import ExtractJob
    from imgret.images.decode import Decoded, DecodeRule, decode
    from imgret.images.files import find
    from imgret.models import DEFAULT_MODEL, load_model

    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    loaded, device = load_model(DEFAULT_MODEL), torch.device("cpu")
    precision = resolve_precision("auto", device)
    folded, plain = (
        Describer(copy.deepcopy(loaded.model), device, precision),
        Describer(loaded.model, device, precision),
    )
    plain._model = load_model(DEFAULT_MODEL).model.to(memory_format=torch.channels_last).requires_grad_(False)
    pixels = np.random.default_rng(0).integers(0, 256, (folded.batch_size(loaded.image_size), 240, 320, 3), np.uint8)

    def describe(describer: Describer) -> int:
        for _ in range(25):
            describer(pixels)
        return 25 * len(pixels)

    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        folder.mkdir()
        enlarge(Path(os.environ["IMGRET_DATA"]) / "landmarks", folder, asked.images, 1.0)
        images = find([str(folder)]).images[:100]

        def decode_all() -> int:
            return sum(isinstance(decode(image, DecodeRule(loaded.image_size)), Decoded) for image in images)

        def extract_all() -> int:
            store = Path(scratch) / f"store-{time.monotonic_ns()}"
            return workflows.extract(ExtractJob(images=(str(folder),), output=store)).total

        for describer in (plain, folded):
            describe(describer)
        for _ in range(asked.rounds):
            for name, work in (
                ("decoding, one core", decode_all),
                ("model, batch norms as they are", lambda: describe(plain)),
                ("model", lambda: describe(folded)),
                ("extract: start-up, loading, all", extract_all),
            ):
                found.setdefault(name, []).append(rate(work))
    print(f"| {precision}, images/s | median | lowest | highest |\n|---|---|---|---|")
    for name, rates in found.items():
        print(f"| {name} | {statistics.median(rates):.1f} | {min(rates):.1f} | {max(rates):.1f} |")


if __name__ == "__main__":
    main()
