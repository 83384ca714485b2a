"""Where the time of an extraction goes: read, decode, resize, transfer, model, write. Run by hand:

    IMGRET_DATA=path/to/data PYTHONPATH=. python tests/benchmarks/bench_profile.py

1- and 12-megapixel JPEGs, ResNet-50 GeM at 512 px and the default model at its own size, 1 and 3 scales. Every step is
timed warm and in turns: reading from the page cache; decoding (scaled, with the hash of the file); the resize alone;
transfer to the tensor (stack, device, float, layout) and the model, on a full batch, in the precision that extract
would take; writing a shard, a row's share of it. The first three are on one core and the model on all, so an image
takes at best (read + decode + resize) / cores + transfer + model + write; the shares are of that. On a GPU both halves
run at once, and the larger is the bottleneck.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Whatever a script imports at its top, every decode worker imports too (they are spawned).

STEPS = ("read", "decode", "resize", "transfer", "model", "write")
MODELS: dict[str, dict[str, Any]] = {
    "gem, resnet50": {"model": "gem", "backbone": "resnet50", "weights": "none", "image_size": 512},
    "the default": {},
}
SCALES = ((1.0,), (1.0, 0.7071, 1.4142))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12, help="different photographs of each size")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--shard", type=int, default=1024, help="rows of the shard that is written")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()

    import torch
    from bench_extract import enlarge

    from imgret.bench.machine import hardware

    source = Path(os.environ["IMGRET_DATA"]) / "landmarks"
    machine = hardware(arguments.device)
    print(f"{machine.facts['gpu'] or machine.facts['processor']}, {machine.cores} cores, torch {torch.__version__}")
    print()
    print("| photographs | model | scales | " + " | ".join(STEPS) + " | ms an image, at best | bottleneck |")
    print("|---|---|---|" + "---|" * (len(STEPS) + 2))
    with tempfile.TemporaryDirectory() as place:
        for megapixels in (1, 12):
            folder = Path(place) / f"{megapixels}"
            folder.mkdir()
            enlarge(source, folder, arguments.images, megapixels)
            for name, options in MODELS.items():
                for scales in SCALES:
                    row(folder, megapixels, name, {**options, "scales": scales}, machine, arguments)


def row(
    folder: Path, megapixels: int, name: str, options: dict[str, Any], machine: Any, arguments: argparse.Namespace
) -> None:
    """Measure one line of the table and print it."""
    from imgret.extraction.job import ExtractJob
    from imgret.extraction.loading import load_for_job

    job = ExtractJob(images=(str(folder),), output=folder.parent / "store", device=arguments.device, **options)
    loaded = load_for_job(job, lambda text: None)
    seconds = measure(job, loaded, folder, arguments)
    seconds["write"] = write_time(loaded.dim, arguments.shard, folder.parent)
    spread = dict.fromkeys(("read", "decode", "resize"), machine.cores)
    best = {step: seconds[step] / spread.get(step, 1) for step in STEPS}
    total = sum(best.values())  # on a GPU: of the work, not of the time
    shares = " | ".join(f"{1000 * seconds[step]:.2f} ({100 * best[step] / total:.0f} %)" for step in STEPS)
    size = job.image_size or loaded.image_size
    what = f"{name}, {size} px, {loaded.precision}"
    worst = max(best, key=lambda step: best[step])
    print(
        f"| {megapixels} MP | {what} | {len(options['scales'])} | {shares} | {1000 * total:.1f} | {worst} |",
        flush=True,
    )


def measure(job: Any, loaded: Any, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds an image of every step but writing."""
    from dataclasses import replace

    import numpy as np
    import torch
    from PIL import Image

    from imgret.extraction.describe import resolve_device
    from imgret.extraction.loading import new_store
    from imgret.extraction.recipe import decode_rule
    from imgret.images import files
    from imgret.images.decode import decode
    from imgret.images.reading import read_bytes

    rule = decode_rule(new_store(job, loaded).recipe)
    images = list(files.find([str(folder)]).images)
    device, describer = resolve_device(job.device), loaded.describer
    pixels = [decode(image, rule).pixels for image in images]
    # slack: as libjpeg leaves them, not resized
    large = [Image.fromarray(decode(image, replace(rule, slack=1e9)).pixels) for image in images]
    count = describer.batch_size(rule.size)
    same = [one for one in pixels if one.shape == pixels[0].shape]
    batch = [same[number % len(same)] for number in range(count)]
    stacked = np.stack(batch)

    def resize() -> None:
        for picture, one in zip(large, pixels, strict=True):
            size = (one.shape[1], one.shape[0])
            np.asarray(picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))

    def transfer() -> None:
        tensor = torch.from_numpy(np.stack(batch)).to(device)
        tensor.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
        if device.type == "cuda":
            torch.cuda.synchronize()

    steps: dict[str, tuple[Callable[[], object], int]] = {
        "read": (lambda: [read_bytes(image) for image in images], len(images)),
        "read, decode and resize": (lambda: [decode(image, rule) for image in images], len(images)),
        "resize": (resize, len(images)),
        "transfer": (transfer, count),
        "transfer and model": (lambda: describer(stacked), count),
    }
    for step, _ in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, (step, number) in steps.items():
            started = time.perf_counter()
            step()
            taken[name].append((time.perf_counter() - started) / number)
    found = {name: float(np.median(times)) for name, times in taken.items()}
    return {
        "read": found["read"],
        "decode": max(0.0, found["read, decode and resize"] - found["read"] - found["resize"]),
        "resize": found["resize"],
        "transfer": found["transfer"],
        "model": max(0.0, found["transfer and model"] - found["transfer"]),
    }


def write_time(dim: int, rows: int, folder: Path) -> float:
    """Seconds a row of a shard in half precision takes, fsync included."""
    import numpy as np

    from imgret.store.shard import Shard, write

    zeros = np.zeros(rows, np.int64)
    shard = Shard(
        ids=[f"{number:08d}.jpg".encode() for number in range(rows)],
        descriptors=np.random.default_rng(0).standard_normal((rows, dim)).astype(np.float16),
        width=zeros,
        height=zeros,
        bytes=zeros,
        mtime_ns=zeros,
        root=zeros,
        sha256=np.zeros((rows, 32), np.uint8),
    )
    times = []
    for _ in range(5):
        started = time.perf_counter()
        write(folder / "shard.h5", shard, "0")
        times.append((time.perf_counter() - started) / rows)
    return float(np.median(times))


if __name__ == "__main__":
    main()
