"""A look at int8: torch's own static quantisation of the trunk against float32, in speed and in cosine. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_int8.py

The ranges of the activations are learned from photographs of one half of the landmarks, cosines are of the other half.
Prints a Markdown table. The heads stay in float32. torch.ao.quantization, which this needs, is deprecated.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from imgret.images import files
from imgret.images.decode import Decoded, DecodeRule, decode
from imgret.models import load_model

CASES = {"gem": ("resnet50", "none", 512, 4), "glam-small": (None, "auto", 320, 8)}


def load(name: str) -> nn.Module:
    backbone, weights, _, _ = CASES[name]
    model = load_model(name, backbone=backbone, weights=weights).model
    return model.eval().requires_grad_(False).folded()


def photographs(size: int) -> Tensor:
    """[N, 3, H, W] of the commonest size among the landmarks."""
    listed = files.find([str(Path(os.environ["IMGRET_DATA"]) / "landmarks")]).images
    found = [one.pixels for image in listed if isinstance(one := decode(image, DecodeRule(size)), Decoded)]
    shapes = [pixels.shape for pixels in found]
    common = max(set(shapes), key=shapes.count)
    stack = np.stack([pixels for pixels in found if pixels.shape == common])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255


def quantised(name: str, images: Tensor, batch: int, engine: str) -> nn.Module:
    """The model with its trunk in int8."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = engine
    model = load(name)
    model.trunk = prepare_fx(model.trunk, get_default_qconfig_mapping(engine), (images[:batch],))
    for start in range(0, len(images), batch):
        model(images[start : start + batch])
    model.trunk = convert_fx(model.trunk)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", default=["fbgemm"])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the deprecation, hundreds of times
    print("| model | engine | float32, ms | int8, ms | ratio | cosine: lowest | mean |\n|---|---|---|---|---|---|---|")
    for name, (_, _, size, batch) in CASES.items():
        images = photographs(size)
        half = len(images) // 2
        plain = load(name).to(memory_format=torch.channels_last)
        ready = images[:batch].contiguous(memory_format=torch.channels_last)
        for engine in arguments.engines:
            with torch.no_grad():
                small = quantised(name, images[:half], batch, engine)
                rest = range(half, len(images) - batch + 1, batch)
                cosines = torch.cat(
                    [(plain(images[i : i + batch]) * small(images[i : i + batch])).sum(1) for i in rest]
                )
                times: dict[nn.Module, list[float]] = {plain: [], small: []}
                for _ in range(arguments.rounds):
                    for model, taken in times.items():
                        start = time.perf_counter()
                        model(ready)
                        taken.append((time.perf_counter() - start) / batch)
            first, second = (1000 * statistics.median(taken) for taken in times.values())
            print(
                f"| {name}, {size} px | {engine} | {first:.1f} | {second:.1f} | {first / second:.2f} | "
                f"{cosines.min():.4f} | {cosines.mean():.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
