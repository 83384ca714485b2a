"""Write the golden vectors of `imgret doctor` anew, after the model that ships has changed. Run by hand:

    python tests/benchmarks/write_golden.py             # imgret/doctor/golden/expected.safetensors
    python tests/benchmarks/write_golden.py --pictures  # the pictures too: only when they must change

The pictures are files, not drawn on each machine: drawing is floating point, and a golden file must not move.
"""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import safetensors.numpy
import torch
from PIL import Image

from imgret import atomic
from imgret.demo.draw import SCENES
from imgret.demo.views import view
from imgret.doctor import golden
from imgret.extraction.describe import Describer, library_versions
from imgret.tables import resolve

NAMES = ("landscape.png", "portrait.png", "square.png", "grey.png", "turned.jpg", "snapshot.jpg")


def drawn(scene: str, width: int, height: int) -> Image.Image:
    """The calm view of a scene of the demo, at a size."""
    number = list(SCENES).index(scene)
    master = resolve(SCENES[scene].target)(np.random.default_rng([0, number]))
    data = view(master, 0, SCENES[scene].focus, np.random.default_rng([0, number, 1]))
    return Image.open(io.BytesIO(data)).convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def few_colours(picture: Image.Image, colours: int) -> Image.Image:
    return picture.quantize(colours, dither=Image.Dither.NONE)


def write_pictures() -> None:
    """Four PNG and two JPEG, each larger than golden.SIZE, 50 KB altogether: few colours make small files."""
    made = {
        "landscape.png": few_colours(drawn("lighthouse", 240, 180), 32),
        "portrait.png": few_colours(drawn("tea-tin", 168, 224), 16),
        "square.png": few_colours(drawn("quilt", 168, 168), 8),
        "grey.png": drawn("stamp", 184, 138).convert("L").quantize(6).convert("L"),
        "turned.jpg": drawn("train", 240, 180).transpose(Image.Transpose.ROTATE_90),  # the note turns it upright
        "snapshot.jpg": drawn("harbour", 324, 243),  # more than twice golden.SIZE: decoded at half size
    }
    for name, picture in made.items():
        file = io.BytesIO()
        exif = Image.Exif()
        if name == "turned.jpg":
            exif[0x0112] = 6
        if name.endswith(".jpg"):
            picture.save(file, "JPEG", quality=40, optimize=True, exif=exif)
        else:
            picture.save(file, "PNG", optimize=True)
        atomic.write_bytes(golden.PICTURES / name, file.getvalue())


def main() -> None:
    if "--pictures" in sys.argv[1:]:
        write_pictures()
    loaded = golden.shipped()
    pictures = golden.decode_pictures(NAMES)
    descriptors = golden.describe(Describer(loaded.model, torch.device("cpu"), "fp32"), pictures)
    about = {
        "schema": golden.SCHEMA,
        "pictures": json.dumps(NAMES),
        "pixels": json.dumps([golden.pixel_digest(pixels) for pixels in pictures]),
        "model": str(loaded.identity["model"]),
        "weights": loaded.identity["weights"]["sha256"],
        "versions": json.dumps(library_versions()),
    }
    atomic.write_bytes(golden.EXPECTED, safetensors.numpy.save({"descriptors": descriptors}, about))
    print(f"{golden.EXPECTED}: {len(NAMES)} x {descriptors.shape[1]}, weights {about['weights'][:12]}...")


if __name__ == "__main__":
    main()
