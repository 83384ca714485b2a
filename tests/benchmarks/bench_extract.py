"""Extraction against the loop that peers use and against the ideal, on JPEGs of 12 and of 1 megapixel. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_extract.py

The peers' loop: full decode with Pillow, float32, batch 1, one image after the other. Both sides use
ResNet-50 GeM at 512 px with the same random weights, then the default model at its own size. The ideal is decode time
over the cores plus model time, each measured apart in this run. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

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


def multiply(folder: Path, count: int) -> None:
    """More names for the same photographs, until there are `count`."""
    photos = sorted(folder.iterdir())
    for number in range(len(photos), count):
        os.link(photos[number % len(photos)], folder / f"{number:04d}.jpg")


def peers_loop(paths: list[Path], model: Any, size: int) -> Any:
    """Full decode, float32, one image at a time: [N, D]."""
    import numpy as np
    import torch
    from PIL import Image

    rows = []
    with torch.inference_mode():
        for path in paths:
            picture = Image.open(path).convert("RGB")
            picture.thumbnail((size, size), Image.Resampling.BICUBIC, reducing_gap=None)
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float().div(255)
            rows.append(model(pixels).numpy()[0])
    return np.stack(rows)


def measure(folder: Path, size: int, name: str, arguments: argparse.Namespace) -> str:
    """One row of the table."""
    import numpy as np
    import torch

    from imgret import workflows
    from imgret.extraction.describe import Describer, resolve_precision
    from imgret.extraction.job import ExtractJob
    from imgret.extraction.stream import default_workers
    from imgret.images import files
    from imgret.images.decode import Decoded, DecodeRule, decode
    from imgret.models import load_model
    from imgret.store import Store

    cores = default_workers()
    which: dict[str, Any] = {"model": "gem", "backbone": "resnet50", "weights": "none"}
    if name != "gem":
        which = {"model": name}
    load = lambda: load_model(which["model"], **{key: which[key] for key in which if key != "model"}).model  # noqa: E731
    paths = sorted(folder.iterdir())
    listed = list(files.find([str(folder)]).images)
    model = load()
    precision = resolve_precision(arguments.precision, torch.device("cpu"))
    ours, loop, wall, decoding, describing = [], [], [], [], []
    describer = Describer(load(), torch.device("cpu"), precision, compile=arguments.compile)
    rule = DecodeRule(size)
    found = [one for image in listed[:24] if isinstance(one := decode(image, rule), Decoded)]
    shape = found[0].pixels.shape
    batch = np.stack([one.pixels for one in found if one.pixels.shape == shape][: describer.batch_size(size)])
    describer(batch)
    baseline = peers_loop(paths[:2], model, size)
    for turn in range(arguments.rounds):
        part = paths[:12]
        start = time.perf_counter()
        baseline = peers_loop(part, model, size)
        loop.append((time.perf_counter() - start) / len(part))
        start = time.perf_counter()
        for image in listed[:24]:
            decode(image, rule)
        decoding.append((time.perf_counter() - start) / 24)
        start = time.perf_counter()
        for _ in range(8):
            describer(batch)
        describing.append((time.perf_counter() - start) / (8 * len(batch)))
        start = time.perf_counter()
        store = folder.parent / f"store-{turn}"
        shutil.rmtree(store, ignore_errors=True)
        job = ExtractJob(
            images=(str(folder),),
            output=store,
            precision=precision,
            image_size=size,
            compile=arguments.compile,
            **which,
        )
        report = workflows.extract(job)
        wall.append((time.perf_counter() - start) / len(paths))
        ours.append(report.seconds / len(paths))
    rows = np.concatenate([block.descriptors for block in Store.open(store).blocks()])
    cosine = (rows[: len(baseline)] * baseline).sum(1).min()
    one, decode_time, model_time, plain, whole = map(statistics.median, (ours, decoding, describing, loop, wall))
    ideal = decode_time / cores + model_time
    return (
        f"{1000 * plain:.1f} | {1000 * one:.1f} ({1000 * whole:.1f}) | {plain / one:.2f} | "
        f"{1000 * ideal:.1f} ({1000 * decode_time:.1f} / {cores} + {1000 * model_time:.1f}) | {ideal / one:.2f} | "
        f"{cosine:.5f}"
    )


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="for ResNet-50; five times as many for the other")
    parser.add_argument("--megapixels", type=float, nargs="+", default=[12, 1])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--models", nargs="+", default=["gem", "glam-small"])
    arguments = parser.parse_args()
    source = Path(os.environ["IMGRET_DATA"]) / "landmarks"
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, precision {arguments.precision}")
    print("| photographs, model | loop, ms | imgret (with start-up) | ratio | ideal | share of it | lowest cosine |")
    print("|---|---|---|---|---|---|---|")
    for megapixels in arguments.megapixels:
        for name in arguments.models:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / "photos"
                folder.mkdir()
                enlarge(source, folder, min(arguments.images, 64), megapixels)
                multiply(folder, arguments.images if name == "gem" else 5 * arguments.images)
                size = 512 if name == "gem" else 320
                row = measure(folder, size, name, arguments)
                print(f"| {megapixels:g} MP, {name} at {size} px | {row} |", flush=True)


if __name__ == "__main__":
    main()
