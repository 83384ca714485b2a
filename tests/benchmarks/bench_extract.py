"""Extraction against the loop that peers use, on 12-megapixel JPEGs. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_extract.py --images 48

The peers' loop: full decode with Pillow, float32, batch 1, one image after the other. Both sides use
ResNet-50 GeM at 512 px with the same random weights. The ideal is decode time over the cores plus
model time, each measured apart in this run.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

SIZE = 512
# Whatever a script imports at its top, every decode worker imports too (they are spawned), so torch and
# the rest are imported inside functions here, as the command itself does.


def enlarge(source: Path, folder: Path, count: int, megapixels: float) -> None:
    """Write `count` photographs of the collection at the given size, 4:3."""
    from PIL import Image

    width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
    photos = sorted(source.rglob("*.jpg"))
    for number in range(count):
        with Image.open(photos[number % len(photos)]) as photo:
            large = photo.convert("RGB").resize((width, width * 3 // 4), Image.Resampling.BICUBIC)
        large.save(folder / f"{number:04d}.jpg", quality=90)


def peers_loop(paths: list[Path], model: Any) -> Any:
    """Full decode, float32, one image at a time: [N, D]."""
    import numpy as np
    import torch
    from PIL import Image

    rows = []
    with torch.inference_mode():
        for path in paths:
            picture = Image.open(path).convert("RGB")
            picture.thumbnail((SIZE, SIZE), Image.Resampling.BICUBIC, reducing_gap=None)
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float().div(255)
            rows.append(model(pixels).numpy()[0])
    return np.stack(rows)


def main() -> None:
    import numpy as np
    import torch

    from imgret import workflows
    from imgret.extraction.describe import Describer, resolve_precision
    from imgret.extraction.job import ExtractJob
    from imgret.extraction.stream import default_workers
    from imgret.images import files
    from imgret.images.decode import DecodeRule, decode
    from imgret.models import load_model
    from imgret.store import Store

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    source = Path(os.environ["IMGRET_DATA"]) / "landmarks"
    cores = default_workers()

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        folder.mkdir()
        enlarge(source, folder, arguments.images, arguments.megapixels)
        paths = sorted(folder.iterdir())
        listed = files.find([str(folder)]).images
        model = load_model("gem", backbone=arguments.backbone, weights="none").model
        precision = resolve_precision(arguments.precision, torch.device("cpu"))

        ours, loop, wall = [], [], []
        baseline = peers_loop(paths[:2], model)
        for turn in range(arguments.rounds):
            part = paths[: max(8, arguments.images // 3)]
            start = time.perf_counter()
            baseline = peers_loop(part, model)
            loop.append((time.perf_counter() - start) / len(part))
            start = time.perf_counter()
            report = workflows.extract(
                ExtractJob(
                    images=(str(folder),),
                    output=Path(place) / f"store-{turn}",
                    model="gem",
                    precision=precision,
                    backbone=arguments.backbone,
                    weights="none",
                    image_size=SIZE,
                    compile=arguments.compile,
                )
            )
            wall.append((time.perf_counter() - start) / len(paths))
            ours.append(report.seconds / len(paths))

        rule = DecodeRule(SIZE)
        start = time.perf_counter()
        decoded = [decode(image, rule) for image in listed[:12]]
        decode_time = (time.perf_counter() - start) / 12
        describer = Describer(
            load_model("gem", backbone=arguments.backbone, weights="none").model,
            torch.device("cpu"),
            precision,
            compile=arguments.compile,
        )
        batch = np.stack([image.pixels for image in decoded[: describer.batch_size(SIZE)]])
        describer(batch)
        start = time.perf_counter()
        for _ in range(10):
            describer(batch)
        model_time = (time.perf_counter() - start) / (10 * len(batch))

        found = np.concatenate([block.descriptors for block in Store.open(Path(place) / "store-0").blocks()])
        cosines = (found[: len(baseline)] * baseline).sum(1)

    ideal = decode_time / cores + model_time
    per_loop, per_ours = float(np.median(loop)), float(np.median(ours))
    print(
        f"{platform.processor() or platform.machine()}, {cores} cores, torch {torch.__version__}, {precision}, "
        f"{arguments.megapixels:g} megapixels, {arguments.backbone}, {SIZE} px"
    )
    print(f"peers' loop         {1000 * per_loop:7.1f} ms/photo")
    print(f"imgret              {1000 * per_ours:7.1f} ms/photo ({1000 * float(np.median(wall)):.1f} with start-up)")
    print(f"ratio               {per_loop / per_ours:7.2f}")
    print(f"ideal               {1000 * ideal:7.1f} ms = {1000 * decode_time:.1f} / {cores} + {1000 * model_time:.1f}")
    print(f"share of the ideal  {ideal / per_ours:7.2f}")
    print(f"cosine to the loop  {cosines.min():.5f} lowest, {cosines.mean():.5f} mean")


if __name__ == "__main__":
    main()
