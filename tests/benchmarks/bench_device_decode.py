"""How far --decode device is from exact decoding, in grey levels and in cosine. Run by hand:

    IMGRET_DATA=path/to/data PYTHONPATH=. python tests/benchmarks/bench_device_decode.py --megapixels 1

Landmark photographs, enlarged or as they are (0), by the default model at its own size in float32, on the processor.
"resize alone" compares the two resizes on the same pixels; scaled is what extract does by default.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--megapixels", type=int, default=0)
    arguments = parser.parse_args()

    import numpy as np
    import torch
    from bench_extract import enlarge
    from PIL import Image

    from imgret.extraction import on_device
    from imgret.extraction.describe import Describer
    from imgret.images import files
    from imgret.images.decode import Decoded, DecodeRule, decode
    from imgret.images.unfinished import Rest
    from imgret.models import DEFAULT_MODEL, load_model

    source = Path(os.environ["IMGRET_DATA"]) / "landmarks"
    loaded = load_model(DEFAULT_MODEL)
    describer, size = Describer(loaded.model, torch.device("cpu")), loaded.image_size
    ways = {
        "scaled": DecodeRule(size),
        "device, with TorchCodec": DecodeRule(size, device=True, encoded=True),
        "device, without": DecodeRule(size, device=True),
    }
    with tempfile.TemporaryDirectory() as place:
        folder = source
        if arguments.megapixels:
            folder = Path(place)
            enlarge(source, folder, arguments.images, arguments.megapixels)
        images = list(files.find([str(folder)]).images)
        images = images[:: max(1, len(images) // arguments.images)][: arguments.images]
        exact = [decode(image, DecodeRule(size, scaled=False)) for image in images]
        whole = [decode(image, DecodeRule(10**6)).pixels for image in images]
        rows = np.concatenate([describer(one.pixels[None]) for one in exact])
        print("| decode | largest difference | mean | cosine, least | median |\n|---|---|---|---|---|")
        for name in ("resize alone", *ways):
            gaps, cosines = [], []
            for number, image in enumerate(images):
                wanted = exact[number].pixels
                if name == "resize alone":
                    there = torch.from_numpy(whole[number]).permute(2, 0, 1)
                    pixels = on_device.finish(there, Rest(exact[number].size)).numpy()
                    wanted = np.asarray(
                        Image.fromarray(whole[number]).resize(exact[number].size, Image.Resampling.BICUBIC)
                    )
                else:
                    one = decode(image, ways[name])
                    assert isinstance(one, Decoded)
                    batch, _ = on_device.OnDevice(torch.device("cpu"), ways[name])([(image, one)])
                    pixels = batch[0].numpy()
                gaps.append(np.abs(pixels.astype(int) - wanted.astype(int)))
                cosines.append(float(describer(pixels[None])[0] @ rows[number]))
            print(
                f"| {name} | {max(gap.max() for gap in gaps)} | {np.mean([gap.mean() for gap in gaps]):.3f} "
                f"| {min(cosines):.5f} | {np.median(cosines):.5f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
