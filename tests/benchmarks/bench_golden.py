"""How far apart are right and wrong golden vectors? The tolerances of imgret/doctor/golden.py lie between. By hand:

    python tests/benchmarks/bench_golden.py

Prints 1 - cosine with the expected descriptors, the largest of the six pictures, for what may happen (other sums, half
precision, another JPEG decoder) and for what must be caught.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from imgret.doctor import golden
from imgret.extraction.describe import Describer
from imgret.images import decode

Pictures = list[np.ndarray]


def main() -> None:
    loaded = golden.shipped()
    expected = golden.read_expected(weights=loaded.identity["weights"]["sha256"])
    right = golden.decode_pictures(expected.names)
    chance = np.random.default_rng(0)

    def show(what: str, pictures: Pictures, precision: str = "fp32") -> None:
        describer = Describer(copy.deepcopy(loaded.model), torch.device("cpu"), precision)
        found = golden.describe(describer, pictures)
        off = 1 - (expected.descriptors.astype(np.float64) * found).sum(1)
        print(f"{what:34} {off.max():8.1e}  {np.abs(expected.descriptors - found).max():8.1e}")

    def shifted(by: Callable[[tuple[int, ...]], np.ndarray | int]) -> Pictures:
        return [(pixels.astype(int) + by(pixels.shape)).clip(0, 255).astype(np.uint8) for pixels in right]

    print(f"{'':34} {'1 - cos':>8}  {'largest':>8}")
    show("as it is", right)
    torch.backends.mkldnn.enabled = False
    show("without oneDNN", right)
    torch.backends.mkldnn.enabled = True
    show("bf16", right, "bf16")
    show("noise of one grey level", shifted(lambda shape: chance.integers(-1, 2, shape)))
    show("one grey level too many", shifted(lambda shape: 1))
    show("swapped colours", [pixels[..., ::-1] for pixels in right])
    turn, decode._turn = decode._turn, lambda picture, apply: None
    show("ignored orientation", golden.decode_pictures(expected.names))
    decode._turn = turn
    resize = Image.Image.resize
    for name in ("BILINEAR", "LANCZOS", "BOX", "NEAREST"):
        kind = Image.Resampling[name]
        Image.Image.resize = lambda self, size, resample=None, kind=kind, **how: resize(self, size, kind, **how)
        show(f"{name.lower()} in place of bicubic", golden.decode_pictures(expected.names))
        Image.Image.resize = resize


if __name__ == "__main__":
    main()
