"""What a bench found: one frozen row for every way of reading, decoding, describing and doing both. No third party."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = "imgret.bench/1"


@dataclass(frozen=True)
class Cosine:
    """Cosines of `count` images' descriptors to those of float32 and exact decoding."""

    mean: float
    lowest: float
    count: int


@dataclass(frozen=True)
class Reading:
    """Getting the bytes of an image, the first time: from the disk, or from memory if somebody has just read it.

    seconds   an image
    bytes     an image
    """

    seconds: float
    bytes: float


@dataclass(frozen=True)
class Decoding:
    """Reading and decoding an image on one core.

    decode    'scaled' or 'exact'
    reader    'pillow' or 'simplejpeg'
    seconds   an image; None when it was not run, and `why_not` says why
    """

    decode: str
    reader: str
    seconds: float | None = None
    cosine: Cosine | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Describing:
    """The model alone, on full batches of decoded images.

    precision   'fp32', 'bf16' or 'fp16'
    compile     whether torch.compile was asked for
    seconds     an image; None when it was not run, and `why_not` says why
    start       seconds that the first calls took longer than later ones: what --compile costs, once a run
    """

    precision: str
    compile: bool
    seconds: float | None = None
    start: float = 0.0
    cosine: Cosine | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Together:
    """Decoding and describing through the stream that `imgret extract` uses, in its steady state.

    seconds   an image
    ideal     decoding spread over the cores plus the model, measured apart; on a GPU the larger of the two
    """

    precision: str
    compile: bool
    decode: str
    workers: int
    seconds: float
    ideal: float
    cosine: Cosine | None = None

    @property
    def share(self) -> float:
        """Of the ideal, as a fraction; a little above 1 is noise."""
        return self.ideal / self.seconds


@dataclass(frozen=True)
class Choice:
    """The flags that follow.

    command      a line to paste
    reasons      sentences
    break_even   images from which on --compile pays for its start; None when it never does, or was not tried
    """

    command: str
    reasons: tuple[str, ...]
    break_even: int | None


@dataclass(frozen=True)
class BenchReport:
    """Everything `imgret bench` found, in the order of the work.

    machine   cores, processor, GPU and versions
    images    how many were found, taken and unreadable; `drawn` when they were made here; size in the middle
    model     name, size in pixels, scales, device
    seconds   the whole bench
    """

    machine: Mapping[str, Any]
    images: Mapping[str, Any]
    model: Mapping[str, Any]
    reading: Reading
    decoding: tuple[Decoding, ...]
    describing: tuple[Describing, ...]
    together: tuple[Together, ...]
    choice: Choice
    seconds: float

    def document(self) -> dict[str, Any]:
        """For --json; seconds are of one image, `share` and cosines are fractions."""
        rows = asdict(self)
        for row, one in zip(rows["together"], self.together, strict=True):
            row["share"] = one.share
        return {"schema": SCHEMA, **rows}
