"""Golden vectors: the model that ships describes a few pictures, and this machine's descriptors are the expected ones.

The pictures and their descriptors are in the package (`golden/`). A wrong resize filter, swapped colours, an ignored
orientation, a library that computes something else: each moves a descriptor, and is seen here before it is in an index.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from imgret.doctor.finding import OK, WARNING, WRONG, Finding
from imgret.errors import ImgretError, WeightsError
from imgret.extraction.describe import Describer, resolve_device, resolve_precision
from imgret.images.decode import DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.models import DEFAULT_MODEL
from imgret.models.weights import LoadedModel, load_model

PICTURES = Path(__file__).parent / "golden"
EXPECTED = PICTURES / "expected.safetensors"
SCHEMA = "imgret.golden/1"
SIZE = 160  # pixels, the longer side: all pictures are larger, so all of them are resized
SPEED_SIZE = (240, 320)


def shipped() -> LoadedModel:
    """The model whose descriptors are expected."""
    return load_model(DEFAULT_MODEL)


# The smallest cosine with the expected descriptor that is right. In float32, libraries and processors add up in another
# order, no more: 1 - cosine stays near 1e-7, while a grey level too many gives 3e-5, and another resize filter 3e-3 and
# more. Half precision rounds every product: 2e-4. Measured: docs/benchmarks.md, "Golden vectors".
SMALLEST_COSINE = {"fp32": 0.99999, "bf16": 0.999, "fp16": 0.999}
# For a JPEG whose pixels are others: decoders may differ by a grey level, which gives 1e-4.
SMALLEST_COSINE_JPEG = 0.999


@dataclass(frozen=True)
class Expected:
    """What the file in the package says.

    names        P pictures
    pixels       P SHA-256 of the decoded pixels
    descriptors  [P, D] float32 unit rows, by the processor in fp32
    weights      digest of the weights they were made with
    """

    names: tuple[str, ...]
    pixels: tuple[str, ...]
    descriptors: np.ndarray
    weights: str


@dataclass(frozen=True)
class Agreement:
    """How descriptors compare with the expected ones.

    cosine      the smallest over the pictures, that of `worst`
    deviation   the largest difference of any two numbers
    outside     the pictures whose cosine is too small
    """

    cosine: float
    deviation: float
    worst: str
    outside: tuple[str, ...]


def read_expected(path: Path = EXPECTED, weights: str | None = None) -> Expected:
    """The expected descriptors; WeightsError if the file is damaged, or not of the weights of the digest `weights`."""
    try:
        with safe_open(path, "np") as file:
            about = file.metadata() or {}
            descriptors = file.get_tensor("descriptors")
        names, pixels = (tuple(json.loads(about[key])) for key in ("pictures", "pixels"))
        made = about["weights"]
        sound = about["schema"] == SCHEMA and len(names) == len(pixels) == len(descriptors) > 0
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Install imgret again") from error
    if not sound:
        raise WeightsError(f"{path} is not a file of expected descriptors ({SCHEMA}). Install imgret again")
    if weights not in (None, made):
        raise WeightsError(
            f"{path} is stale: it belongs to the weights {made[:12]}..., the model that ships has {weights[:12]}... "
            "Install imgret again or, in a checkout, run: python tests/benchmarks/write_golden.py"
        )
    return Expected(names, pixels, descriptors, made)


def decode_pictures(names: Sequence[str]) -> list[np.ndarray]:
    """[H, W, 3] uint8 pixels of every picture, decoded as by `imgret extract`; ImgretError for one that cannot be."""
    return [_decoded(PICTURES / name) for name in names]


def _decoded(path: Path) -> np.ndarray:
    try:
        size = path.stat().st_size
    except OSError:
        raise ImgretError(f"{path} is missing. Install imgret again") from None
    found = decode(ImageFile(path.name, str(path), str(path.parent), size, 0), DecodeRule(SIZE))
    if isinstance(found, Undecodable):
        raise ImgretError(f"{path} cannot be decoded: {found.message}")
    return found.pixels


def pixel_digest(pixels: np.ndarray) -> str:
    """SHA-256 over size and values."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def differing(expected: Expected, pictures: Sequence[np.ndarray]) -> tuple[str, ...]:
    """The names of the pictures whose pixels are not, to the last bit, those the descriptors were made of."""
    digests = zip(expected.names, expected.pixels, pictures, strict=True)
    return tuple(name for name, digest, pixels in digests if pixel_digest(pixels) != digest)


def describe(describer: Describer, pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Unit descriptors [P, D] of pictures of any sizes, one at a time."""
    return np.concatenate([describer(np.stack([pixels])) for pixels in pictures])


def compare(expected: Expected, found: np.ndarray, precision: str, others: Sequence[str] = ()) -> Agreement:
    """Compare the descriptors `found` [P, D] with the expected ones; `others` are the pictures with other pixels."""
    if found.shape != expected.descriptors.shape:
        raise ValueError(f"descriptors must be {list(expected.descriptors.shape)}, got {list(found.shape)}")
    cosines = (expected.descriptors.astype(np.float64) * found).sum(1)
    outside = []
    for name, cosine in zip(expected.names, cosines, strict=True):
        least = SMALLEST_COSINE[precision]
        if name in others and name.endswith(".jpg"):
            least = min(least, SMALLEST_COSINE_JPEG)
        if not cosine >= least:  # not `<`, for a NaN is outside as well
            outside.append(name)
    deviation = np.abs(expected.descriptors - found).max()
    worst = expected.names[int(cosines.argmin())]
    return Agreement(float(cosines.min()), float(deviation), worst, tuple(outside))


def rate(describer: Describer, seconds: float = 1.0) -> float:
    """Images of SPEED_SIZE a second, the model alone, in batches."""
    batch = np.random.default_rng(0).integers(0, 256, (describer.batch_size(max(SPEED_SIZE)), *SPEED_SIZE, 3), np.uint8)
    describer(batch)  # the first call sets up what the others use
    begun, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - begun) < seconds:
        describer(batch)
        count += len(batch)
    return count / spent


def check(seconds: float = 1.0) -> list[Finding]:
    """Decode and describe the pictures, on every device and in every precision that extraction would use here."""
    try:
        loaded = shipped()
        expected = read_expected(EXPECTED, loaded.identity["weights"]["sha256"])
        pictures = decode_pictures(expected.names)
    except ImgretError as error:
        words, _, step = str(error).partition(". ")
        return [Finding("golden vectors", WRONG, words, step)]
    others = differing(expected, pictures)
    findings = [_pixels(expected, others)]
    for device, precision in _places():
        describer = Describer(copy.deepcopy(loaded.model), device, precision)  # which folds its model in place
        agreement = compare(expected, describe(describer, pictures), precision, others)
        findings.append(_descriptors(f"golden, {device.type} {precision}", agreement, rate(describer, seconds)))
    return findings


def _places() -> list[tuple[torch.device, str]]:
    """fp32 on the processor, and what `--precision auto` takes there and on a GPU."""
    processor, chosen = torch.device("cpu"), resolve_device("auto")
    places = [(processor, "fp32")]
    for device in (processor, chosen):
        place = (device, resolve_precision("auto", device))
        if place not in places:
            places.append(place)
    return places


def _pixels(expected: Expected, others: tuple[str, ...]) -> Finding:
    count = len(expected.names)
    if not others:
        return Finding("golden pixels", OK, f"{count} pictures decode to the expected pixels, to the last bit")
    words = f"{', '.join(others)} of {count} pictures decode to other pixels than expected"
    if all(name.endswith(".jpg") for name in others):
        return Finding(
            "golden pixels",
            WARNING,
            f"{words}: another JPEG decoder; what it does to descriptors is in the next line",
            "python -m pip install --force-reinstall pillow",
        )
    return Finding(
        "golden pixels",
        WARNING,
        f"{words}: another Pillow resizes or turns in another way; what it does to descriptors is in the next line",
        "python -m pip install --upgrade --force-reinstall pillow",
    )


def _descriptors(what: str, agreement: Agreement, per_second: float) -> Finding:
    figures = {
        "cosine": _finite(agreement.cosine),
        "deviation": _finite(agreement.deviation),
        "worst": agreement.worst,
        "images_per_second": per_second,
    }
    height, width = SPEED_SIZE
    words = f"smallest cosine {agreement.cosine:.7f}, largest deviation {agreement.deviation:.1e}"
    if agreement.outside:
        return Finding(
            what,
            WRONG,
            f"{words}: {', '.join(agreement.outside)} described otherwise than expected",
            "do not mix descriptors of this machine with others; try in a fresh environment: python -m venv fresh && "
            "fresh/bin/pip install imgret && fresh/bin/imgret doctor",
            figures,
        )
    speed = f"{per_second:.3g} images/s of {width} x {height}, model alone"
    return Finding(what, OK, f"{words}; {speed}", "", figures)


def _finite(number: float) -> float | None:
    """JSON has no NaN: undefined is null."""
    return number if math.isfinite(number) else None
