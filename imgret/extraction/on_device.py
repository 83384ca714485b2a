"""Finish images on the device: decode JPEGs there with TorchCodec, turn, cut and resize."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imgret.extraction.lane import Lane
from imgret.images.decode import Decoded, DecodeRule, Undecodable, decode
from imgret.images.files import ImageFile
from imgret.images.unfinished import Rest, Transpose

_MOST_PIXELS = 128_000_000  # decoded at once, three bytes each

_TURNS: dict[Transpose, Callable[[Tensor], Tensor]] = {  # of [3, H, W]; Pillow turns counter-clockwise, as rot90 does
    Transpose.FLIP_LEFT_RIGHT: lambda image: image.flip(2),
    Transpose.FLIP_TOP_BOTTOM: lambda image: image.flip(1),
    Transpose.ROTATE_90: lambda image: image.rot90(1, (1, 2)),
    Transpose.ROTATE_180: lambda image: image.rot90(2, (1, 2)),
    Transpose.ROTATE_270: lambda image: image.rot90(3, (1, 2)),
    Transpose.TRANSPOSE: lambda image: image.transpose(1, 2),
    Transpose.TRANSVERSE: lambda image: image.transpose(1, 2).flip(1, 2),
}


@cache
def decoder() -> Callable[..., Any] | None:
    """TorchCodec's decode_jpeg, None where it is not installed or does not load."""
    try:
        from torchcodec.decoders import decode_jpeg
    except Exception:  # besides ImportError, whatever its libraries raise where they do not fit this torch
        return None
    return decode_jpeg


class OnDevice:
    """Finishes batches of images that `decode` left unfinished under a rule with `device`.

    What TorchCodec refuses is decoded by Pillow in this process: reasons of failures are always Pillow's.
    """

    def __init__(self, device: torch.device, rule: DecodeRule) -> None:
        self._lane = Lane(device)
        self._rule = replace(rule, encoded=False)

    def __call__(self, images: Sequence[tuple[ImageFile, Decoded]]) -> tuple[Tensor | None, dict[int, Undecodable]]:
        """Images of one size -> [B, H, W, 3] uint8 on the device, and why those that are not in it failed, by place."""
        failed: dict[int, Undecodable] = {}

        def finished() -> Tensor:
            done = []
            for place, image in enumerate(self._decoded(images)):
                if isinstance(image, Undecodable):
                    failed[place] = image
                else:
                    done.append(image)
            return torch.stack(done) if done else torch.empty(0, dtype=torch.uint8, device=self._lane.device)

        # TorchCodec waits for its stream: on the model's that would be for the batches before
        pixels = self._lane.beside(finished)
        return (pixels if len(pixels) else None), failed

    def _decoded(self, images: Sequence[tuple[ImageFile, Decoded]]) -> Iterator[Tensor | Undecodable]:
        """Finished images [H, W, 3] in order; few are whole on the device at once."""
        for group in _groups(images):
            jpegs = [_without_orientation(one.pixels) for _, one in group if one.pixels.ndim == 1]
            whole = iter(self._decode(jpegs))
            for image, one in group:
                if one.pixels.ndim == 3:
                    yield self._from_pixels(one)
                elif (found := next(whole)) is not None:
                    yield finish(found, one.rest)
                else:
                    again = decode(image, self._rule, one.pixels.tobytes())
                    yield again if isinstance(again, Undecodable) else self._from_pixels(again)

    def _from_pixels(self, image: Decoded) -> Tensor:
        return finish(self._lane.copy(image.pixels).permute(2, 0, 1), image.rest)

    def _decode(self, jpegs: list[Tensor]) -> list[Tensor | None]:
        """[3, H, W] uint8 of each, None where TorchCodec refuses it."""
        decode_jpeg = decoder()
        if decode_jpeg is None:
            return [None] * len(jpegs)
        try:
            return list(decode_jpeg(jpegs, mode="RGB", device=self._lane.device)) if jpegs else []
        except Exception:  # one that is damaged fails all, and a native library is behind it
            return [None] if len(jpegs) == 1 else [self._decode([one])[0] for one in jpegs]


def finish(image: Tensor, rest: Rest | None) -> Tensor:
    """[3, H, W] uint8 -> [h, w, 3] uint8: turned, cut and resized, antialiased bicubic as Pillow's.

    Cut first: the filter would mix pixels from outside the box into its border.
    """
    if rest is not None:
        if rest.turn is not None:
            image = _TURNS[rest.turn](image)
        if rest.box is not None:
            x1, y1, x2, y2 = rest.box
            image = image[:, y1:y2, x1:x2]
        width, height = rest.size
        if image.shape[1:] != (height, width):
            values = image[None].float()
            values = F.interpolate(values, (height, width), mode="bicubic", antialias=True, align_corners=False)
            image = values[0].round_().clamp_(0, 255).to(torch.uint8)
    return image.permute(1, 2, 0)


def _groups(images: Sequence[tuple[ImageFile, Decoded]]) -> Iterator[list[tuple[ImageFile, Decoded]]]:
    """Images in order, those of a group small enough to be whole at once."""
    group: list[tuple[ImageFile, Decoded]] = []
    pixels = 0
    for image, one in images:
        if group and pixels + one.width * one.height > _MOST_PIXELS:
            yield group
            group, pixels = [], 0
        group.append((image, one))
        pixels += one.width * one.height
    if group:
        yield group


def _without_orientation(data: np.ndarray) -> Tensor:
    """The bytes of a JPEG [n], its Exif and XMP given a name that nobody reads.

    TorchCodec turns a picture as its Exif says; how it is to be turned, or not, was decided when it was opened.
    """
    data = data.copy()
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a byte that fills up
            place += 1
            continue
        if marker in (0xDA, 0xD9):  # the picture begins, or ends
            break
        if marker == 0xE1:
            data[place + 1] = 0xEF  # APP1 -> APP15
        place += 2 + 256 * int(data[place + 2]) + int(data[place + 3])
    return torch.from_numpy(data)
