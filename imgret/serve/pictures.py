"""Pictures: small JPEGs of indexed images, made once by the decoders and kept on disk within a bound."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imgret.images.decode import DecodeRule, Undecodable
from imgret.images.image_file import ImageFile
from imgret.serve.decode_worker import Job
from imgret.serve.decoders import Decoders

SIDES = (160, 320, 640, 1280)
"""Longer sides, pixels, that pictures are made in."""

_KEPT = 0.8  # of the bound stays when it is passed: not every picture should clear up
_IN_MEMORY = 128  # pictures that are quick to give again


@dataclass(frozen=True)
class Shown:
    """A JPEG, and of the image it shows the upright width and height in pixels and the bytes of its file."""

    jpeg: bytes
    width: int
    height: int
    bytes: int


class Pictures:
    """Pictures of image files by side; `folder` None keeps them in memory only."""

    def __init__(self, decoders: Decoders, folder: Path | None, most_bytes: int, most_pixels: int) -> None:
        self._decoders = decoders
        self._folder = None if folder is None else folder / "pictures"
        self._most_bytes = most_bytes
        self._most_pixels = most_pixels
        self._recent: dict[str, Shown] = {}
        self._making: dict[str, asyncio.Task[Shown | Undecodable]] = {}
        self._lock = threading.Lock()
        self._held: int | None = 0 if self._folder is None else None  # not counted yet: the first page should not wait

    @property
    def held(self) -> int:
        """Bytes of pictures on disk."""
        with self._lock:
            if self._held is None:
                self._held = sum(size for _, size, _ in self._files())
            return self._held

    async def picture(self, image: ImageFile, side: int) -> Shown | Undecodable:
        """The picture of a file, its longer side `side` pixels at most; a box in the image is cut out."""
        try:
            status = os.stat(image.path)
        except (OSError, ValueError):
            return Undecodable("missing", "file not found")
        what = (image.path, image.id, image.offset, image.box, status.st_mtime_ns, status.st_size, side)
        key = hashlib.sha256(repr(what).encode("utf-8", "surrogateescape")).hexdigest()
        if (known := self._recent.get(key)) is not None:
            return known
        if key not in self._making:  # asked for twice at a time, it is made once
            made = asyncio.ensure_future(self._make(key, image, side))
            self._making[key] = made
            made.add_done_callback(lambda _: self._making.pop(key, None))
        found = await asyncio.shield(self._making[key])
        if isinstance(found, Shown):
            self._recent[key] = found
            while len(self._recent) > _IN_MEMORY:
                self._recent.pop(next(iter(self._recent)), None)
        return found

    async def _make(self, key: str, image: ImageFile, side: int) -> Shown | Undecodable:
        if (kept := await asyncio.to_thread(self._read, key)) is not None:
            return kept
        rule = DecodeRule(side, max_pixels=self._most_pixels)
        found = await self._decoders(Job(image, rule, jpeg=True))
        if isinstance(found, Undecodable):
            return found
        assert isinstance(found.pixels, bytes)
        shown = Shown(found.pixels, found.width, found.height, found.bytes)
        await asyncio.to_thread(self._write, key, shown)
        return shown

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key[2:]}.jpg"

    def _read(self, key: str) -> Shown | None:
        """What was kept; None for a file that is not there or not whole."""
        if self._folder is None:
            return None
        path = self._path(key)
        try:
            head, _, jpeg = path.read_bytes().partition(b"\n")
            facts = json.loads(head)
            found = Shown(jpeg, int(facts["width"]), int(facts["height"]), int(facts["bytes"]))
        except Exception:  # a damaged file may hold anything
            return None
        if not jpeg.endswith(b"\xff\xd9"):
            return None
        with suppress(OSError):
            os.utime(path)  # the longest unused go first
        return found

    def _write(self, key: str, shown: Shown) -> None:
        """Keep a picture. What cannot be kept is made again: a full disk costs time here, nothing else."""
        if self._folder is None:
            return
        path = self._path(key)
        facts = json.dumps({"width": shown.width, "height": shown.height, "bytes": shown.bytes}).encode()
        part = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.part")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # others may not see what is searched here
            path.parent.mkdir(exist_ok=True)
            part.write_bytes(facts + b"\n" + shown.jpeg)
            os.replace(part, path)
        except OSError:
            with suppress(OSError):
                part.unlink()
            return
        with self._lock:
            if self._held is not None:
                self._held += len(facts) + 1 + len(shown.jpeg)
            if self._held is None or self._held > self._most_bytes:
                self._held = self._counted_within_bound()

    def _counted_within_bound(self) -> int:
        """Bytes of pictures on disk; where they pass the bound the longest unused are removed."""
        files = sorted(self._files())
        held = sum(size for _, size, _ in files)
        if held <= self._most_bytes:
            return held
        for _, size, path in files:
            if held <= _KEPT * self._most_bytes:
                break
            with suppress(OSError):
                path.unlink()
                held -= size
        return held

    def _files(self) -> list[tuple[float, int, Path]]:
        """(last used, bytes, path) of what is kept."""
        assert self._folder is not None
        found = []
        for path in self._folder.glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found
