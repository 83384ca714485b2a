"""Uploads: the last pictures that were dropped on the page, in memory, so that their addresses work for a while."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from imgret.images.image_file import ImageFile
from imgret.serve.pictures import Shown


@dataclass
class Upload:
    """A picture as it came; `name` is what its sender called it, `shown` is how it is shown once it was."""

    key: str
    name: str
    data: bytes
    shown: Shown | None = None

    @classmethod
    def of(cls, name: str, data: bytes) -> Upload:
        """What was sent under a name."""
        return cls(hashlib.sha256(data).hexdigest(), name[-120:] or "picture", data)

    @property
    def image(self) -> ImageFile:
        """As the decoder takes it. The name tells kinds of files apart and opens nothing."""
        return ImageFile(self.name, "", "", len(self.data), 0)


class Uploads:
    """The `most` last uploads of together at most `most_bytes`, by the SHA-256 of their bytes."""

    def __init__(self, most: int = 64, most_bytes: int = 256 << 20) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        self._bytes = 0

    def keep(self, upload: Upload) -> Upload:
        """Keep a picture, and let go of the longest unused."""
        if (before := self._kept.pop(upload.key, None)) is not None:
            upload.shown = upload.shown or before.shown
            self._bytes -= len(upload.data)
        self._kept[upload.key] = upload
        self._bytes += len(upload.data)
        while len(self._kept) > 1 and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            self._bytes -= len(self._kept.popitem(last=False)[1].data)
        return upload

    def get(self, key: str) -> Upload | None:
        """An upload that is still there."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)
