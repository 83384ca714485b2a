"""Decode one image into upright RGB pixels of the size asked for, or say why not.

Runs in worker processes: imports Pillow and numpy, never torch.

Rules, the same for every format: the first frame; the orientation noted in the file is applied unless
told otherwise; transparency is laid over white; 16-bit values are scaled to 8 bits, never clipped;
colour profiles are not applied. The aspect is kept and nothing is enlarged.
"""

from __future__ import annotations

import builtins
import hashlib
import io
import math
import os
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from imgret.images import jpeg
from imgret.images.image_file import EXTENSIONS, RAW_EXTENSIONS, Box, ImageFile
from imgret.images.reading import RefusedError, Undecodable, read_bytes
from imgret.images.unfinished import MOST_BYTES, Rest, is_ordinary_jpeg, nearly

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_INVERSE = {_UPRIGHT[6]: _UPRIGHT[8], _UPRIGHT[8]: _UPRIGHT[6]}
_MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"RIFF",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"8BPS",
    b"\0\0\0\x0cjP  ",
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")


@dataclass(frozen=True, slots=True)
class DecodeRule:
    """How to turn a file into pixels.

    size          longer side wanted, pixels; an image is never enlarged
    exif          apply the orientation noted in the file
    scaled        let JPEG decode at 1/2, 1/4 or 1/8 where that is still larger than wanted
    max_pixels    larger images are refused as too_large
    slack         a picture without a box that is up to so many times larger than `size` is left as it is, for those
                  who resize it again anyway
    crop          'own': a box is an image of its own, its longer side becomes `size`;
                  'full': a box is scaled as its whole image would be (the revisited Oxford/Paris rule)
    fast          let simplejpeg decode where it is installed and no resize follows; the pixels are the same
    device        leave the last resize to the device, see `Decoded.rest`
    encoded       leave ordinary JPEGs to it as they are
    """

    size: int
    exif: bool = True
    scaled: bool = True
    max_pixels: int = 250_000_000
    slack: float = 1.0
    crop: str = "own"
    fast: bool = True
    device: bool = False
    encoded: bool = False

    @property
    def most_bytes(self) -> int:
        """That `Decoded.pixels` have: without `slack`, and but for very long and narrow images."""
        return max((12 if self.device else 3) * self.size**2, MOST_BYTES if self.encoded else 0)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels [H, W, 3] uint8 RGB, with the facts a shard keeps (size upright and before any crop).

    `rest` is what the device has yet to do; `pixels` may be [n] uint8 then, the bytes of a JPEG.
    """

    pixels: np.ndarray
    width: int
    height: int
    bytes: int
    sha256: builtins.bytes
    rest: Rest | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the pixels in the end."""
        return (self.pixels.shape[1], self.pixels.shape[0]) if self.rest is None else self.rest.size


def decode(image: ImageFile, rule: DecodeRule, data: bytes | None = None) -> Decoded | Undecodable:
    """Read and decode one image; `data` are its bytes where they are at hand.

    Never raises for anything that is wrong with the image.
    """
    try:
        data = read_bytes(image) if data is None else data
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata is no reason to talk from a worker
            pixels, width, height, rest = _pixels(data, image, rule)
        return Decoded(pixels, width, height, len(data), hashlib.sha256(data).digest(), rest)
    except RefusedError as refused:
        return refused.why
    except MemoryError:
        return Undecodable("too_large", "not enough memory to decode it", retry=True)


def _pixels(data: bytes, image: ImageFile, rule: DecodeRule) -> tuple[np.ndarray, int, int, Rest | None]:
    picture = _open(data, image)
    with picture:
        width, height = picture.size
        if width * height > rule.max_pixels:
            raise RefusedError(
                "too_large",
                f"{width} x {height} is {width * height / 1e6:.0f} megapixels, the limit "
                f"is {rule.max_pixels / 1e6:.0f}; raise it with --max-megapixels",
                retry=True,
            )
        try:
            turn = _turn(picture, rule.exif)
            if turn in _SWAPS:
                width, height = height, width
            box = _checked(image.box, width, height)
            region = (box[2] - box[0], box[3] - box[1]) if box else (width, height)
            reference = region if rule.crop == "own" else (width, height)
            factor = min(1.0, rule.size / max(reference))
            target = (max(1, round(region[0] * factor)), max(1, round(region[1] * factor)))
            if rule.encoded and is_ordinary_jpeg(picture, data) and not _cut_short(data):
                return np.frombuffer(data, np.uint8), width, height, Rest(target, turn, box)
            if rule.scaled and not (rule.device and box):
                _draft(picture, factor)
            if rule.fast and turn is None and box is None and _is_plain_jpeg(picture) and _near(picture, target, rule):
                found = jpeg.pixels(data, picture.size)
                if found is not None:
                    return found, width, height, None
            picture.load()
            if rule.device:
                pixels = nearly(_rgb(picture), turn, box, target)
                return np.array(pixels), width, height, None if pixels.size == target else Rest(target)
            pixels = _resize(_rgb(picture), turn, box, (width, height), target, rule)
        except (RefusedError, MemoryError):
            raise
        except Exception as error:  # on damaged files Pillow's many readers raise nearly anything
            raise RefusedError(_damage(data, error), str(error) or type(error).__name__) from None
    return np.asarray(pixels), width, height, None


def _open(data: bytes, image: ImageFile) -> Image.Image:
    extension = os.path.splitext(image.id.split("#")[0])[1][1:].lower()
    if extension in RAW_EXTENSIONS:  # Pillow would take many of them for TIFF and give the thumbnail
        raise RefusedError("unsupported", f"camera raw files (.{extension}) are not read; export them as JPEG")
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # max_pixels is the limit here
    try:
        return Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        pass
    except Exception as error:  # see _pixels
        raise RefusedError(_damage(data, error), str(error) or type(error).__name__) from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        if _register_heif():
            try:
                return Image.open(io.BytesIO(data))
            except Exception as error:  # see _pixels
                raise RefusedError(_damage(data, error), str(error)) from None
        if data[8:12] not in (b"avif", b"avis"):
            raise RefusedError("unsupported", "HEIC is read with: pip install 'imgret[heic]'", retry=True)
    if data.startswith(_MAGIC):
        raise RefusedError("truncated" if _cut_short(data) else "unreadable", "the file is damaged at its beginning")
    if extension in EXTENSIONS:
        raise RefusedError("unreadable", "the content is no image that can be recognised")
    raise RefusedError("unsupported", "not a kind of image that Pillow reads", retry=True)


def _register_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _damage(data: bytes, error: Exception) -> str:
    words = str(error).lower()
    signs = ("truncat", "premature", "not enough", "unexpected end", "eof", "incomplete")
    if isinstance(error, EOFError) or any(sign in words for sign in signs) or _cut_short(data):
        return "truncated"
    if isinstance(error, NotImplementedError):
        return "unsupported"
    return "unreadable"


def _cut_short(data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP lacks its end."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-4096:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-4096:]
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


_SWAPS = (Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90)


def _turn(picture: Image.Image, apply: bool) -> Image.Transpose | None:
    """The transposition that makes the loaded picture what the rule asks for."""
    turn = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    if picture.format == "TIFF":  # Pillow turns TIFF upright by itself when it loads one
        return None if apply or turn is None else _INVERSE.get(turn, turn)
    return turn if apply else None


def _checked(box: Box | None, width: int, height: int) -> Box | None:
    if box is None:
        return None
    x1, y1, x2, y2 = max(0, box[0]), max(0, box[1]), min(width, box[2]), min(height, box[3])
    if x1 >= x2 or y1 >= y2:
        raise RefusedError("unreadable", f"the box {box} lies outside the {width} x {height} image")
    return x1, y1, x2, y2


def _draft(picture: Image.Image, factor: float) -> None:
    """Let libjpeg decode at the smallest scale that is still at least the size wanted."""
    width, height = picture.size
    picture.draft(None, (max(1, int(width * factor)), max(1, int(height * factor))))


def _is_plain_jpeg(picture: Image.Image) -> bool:
    return picture.format == "JPEG" and picture.mode == "RGB"


def _near(picture: Image.Image, size: tuple[int, int], rule: DecodeRule) -> bool:
    """Whether a picture is left as it is, for it has the size that is wanted, or nearly."""
    return all(one <= has <= rule.slack * one for one, has in zip(size, picture.size, strict=True))


def _rgb(picture: Image.Image) -> Image.Image:
    mode = picture.mode
    if mode == "RGB" and "transparency" not in picture.info:
        return picture
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(picture))).convert("RGB")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey levels of any range as uint8: 0..1 floats, 8-bit, 16-bit, else stretched to the brightest."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return (values >> 8).astype(np.uint8)
    floating = values.dtype.kind == "f"
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    white = 1.0 if floating and 0 < top <= 1.0 else 255.0 if top <= 255 else 65535.0 if top <= 65535 else top
    return np.clip(values * (255.0 / white), 0, 255).astype(np.uint8)


def _resize(
    picture: Image.Image,
    turn: Image.Transpose | None,
    box: Box | None,
    upright: tuple[int, int],
    target: tuple[int, int],
    rule: DecodeRule,
) -> Image.Image:
    """Crop and resize in one step, upright. `picture` may be smaller than `upright` after a scaled decode."""
    if box is not None and turn is not None:
        picture, turn = picture.transpose(turn), None
    region = None
    if box is not None:
        fx, fy = picture.width / upright[0], picture.height / upright[1]
        edges = (box[0] * fx, box[1] * fy, box[2] * fx, box[3] * fy)
        # Cut first: the filter would mix pixels from outside the box into its border.
        left, top = math.floor(edges[0]), math.floor(edges[1])
        right, bottom = min(math.ceil(edges[2]), picture.width), min(math.ceil(edges[3]), picture.height)
        picture = picture.crop((left, top, right, bottom))
        region = (
            edges[0] - left,
            edges[1] - top,
            min(edges[2] - left, picture.width),
            min(edges[3] - top, picture.height),
        )
    size = (target[1], target[0]) if turn in _SWAPS else target
    if region is not None or not _near(picture, size, rule):
        gap = 3.0 if rule.scaled else None
        picture = picture.resize(size, Image.Resampling.BICUBIC, box=region, reducing_gap=gap)
    return picture if turn is None else picture.transpose(turn)
