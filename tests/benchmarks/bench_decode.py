"""What scaled decoding and bf16 cost in cosine and in score, with trained features. Run by hand:

    IMGRET_DATA=path/to/data python tests/benchmarks/bench_decode.py

Random weights would hide it (their descriptors are all alike), so this takes the ImageNet MobileNetV2 of the data's
`teacher/` folder with GeM (p = 3) at 320 px, on the landmark photographs as they are and enlarged to 12 megapixels. The
reference is exact decoding in float32.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def main() -> None:
    import numpy as np
    import torch
    from teacher import Teacher

    from imgret import ground_truth
    from imgret.evaluation.evaluate import evaluate
    from imgret.extraction.describe import Describer
    from imgret.ids import IdTable
    from imgret.images import files
    from imgret.images.decode import DecodeRule, decode
    from imgret.ranking import Ranking

    data = Path(os.environ["IMGRET_DATA"])
    truth = ground_truth.load(data / "landmarks/gnd_leave_one_out.json")
    names = truth.database

    def described(folder: Path, scaled: bool, precision: str) -> np.ndarray:
        describer = Describer(Teacher(), torch.device("cpu"), precision)
        found = {image.id: image for image in files.find([str(folder)]).images}
        rule = DecodeRule(320, scaled=scaled)
        return np.concatenate([describer(decode(found[name], rule).pixels[None]) for name in names])

    def medium(rows: np.ndarray) -> float:
        scores = rows @ rows.T
        order = np.argsort(-scores, axis=1, kind="stable")
        ranking = Ranking(list(names), order.astype(np.int32), np.take_along_axis(scores, order, 1), IdTable.of(names))
        return float(evaluate(truth, [ranking]).subsets["medium"]["map"] or 0)

    with tempfile.TemporaryDirectory() as place:
        large = Path(place)
        for name in names:
            (large / name).parent.mkdir(parents=True, exist_ok=True)
            (large / name).symlink_to(data / "landmarks" / name)
        enlarge_in_place(large, names)
        for what, folder in (("as they are (960 px)", data / "landmarks"), ("12 megapixels", large)):
            reference = described(folder, scaled=False, precision="fp32")
            print(f"{what}: exact fp32, mAP medium {100 * medium(reference):.2f}")
            for scaled, precision in ((True, "fp32"), (False, "bf16"), (True, "bf16")):
                rows = described(folder, scaled, precision)
                cosines = (rows * reference).sum(1)
                print(
                    f"  {'scaled' if scaled else 'exact'} {precision}: cosine {cosines.min():.5f} lowest, "
                    f"{cosines.mean():.5f} mean, mAP medium {100 * medium(rows):.2f}"
                )


def enlarge_in_place(folder: Path, names: Sequence[str]) -> None:
    """Replace each linked photograph by itself at 4000 x 3000."""
    from PIL import Image

    for name in names:
        path = folder / name
        with Image.open(path) as photo:
            width = 4000 if photo.width >= photo.height else 3000
            larger = photo.convert("RGB").resize((width, 7000 - width), Image.Resampling.BICUBIC)
        path.unlink()
        larger.save(path, quality=90)


if __name__ == "__main__":
    main()
