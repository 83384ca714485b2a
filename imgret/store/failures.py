"""failures.csv: images that gave no descriptor, why, and whether another try makes sense."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from imgret import atomic
from imgret.errors import StoreError
from imgret.ids import escape, unescape
from imgret.remote_path import Place

REASONS = ("missing", "empty", "unreadable", "truncated", "too_large", "unsupported")
_COLUMNS = ("path", "reason", "message", "id", "bytes", "mtime_ns", "retry")


@dataclass(frozen=True)
class Failure:
    """Why one image has no descriptor.

    reason    one of REASONS
    retry     the reason may pass (the file was missing, a disk failed, a limit or an extra may change),
              so the next run tries again; otherwise only a changed file is tried again
    """

    id: str
    path: str
    reason: str
    message: str
    bytes: int = -1
    mtime_ns: int = 0
    retry: bool = False


class Failures(Mapping[str, Failure]):
    """The register of one store, by id: few images, so it is held whole."""

    def __init__(self, path: Place) -> None:
        self._path = path
        self._by_id = {one.id: one for one in read(path)}
        self._changes = 0

    def __getitem__(self, image_id: str) -> Failure:
        return self._by_id[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, failure: Failure) -> None:
        """Remember a failure, in the place of an older one of the same image."""
        if self._by_id.get(failure.id) != failure:
            self._by_id[failure.id] = failure
            self._changes += 1

    def forget(self, image_id: str) -> None:
        """Forget the failure of an image, if there is one."""
        if self._by_id.pop(image_id, None) is not None:
            self._changes += 1

    def save(self, *, every_change: bool = True) -> None:
        """Write the register if it changed; else, and by `every_change`, only when an eighth of it did.

        Written after every shard, a register that grows with them would be written a quadratic number of lines.
        What a kill takes of it is found again: those images are tried once more.
        """
        if self._changes and (every_change or 8 * self._changes > len(self)):
            save(self._path, self.values())
            self._changes = 0


def save(path: Place, failures: Iterable[Failure]) -> None:
    """Write a register, whole or not at all."""

    def fill(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_COLUMNS)
        for one in failures:
            retry = "yes" if one.retry else "no"
            names = escape(one.path), one.reason, one.message, escape(one.id)
            table.writerow((*names, one.bytes, one.mtime_ns, retry))
        text.detach()

    atomic.write_with(path, fill)


def load(path: Place) -> list[Failure]:
    """All of `read`."""
    return list(read(path))


def read(path: Place) -> Iterator[Failure]:
    """The failures of a register, one at a time; an absent file is an empty one."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        try:
            for line in csv.DictReader(file):
                yield Failure(
                    id=unescape(line["id"]),
                    path=unescape(line["path"]),
                    reason=line["reason"],
                    message=line["message"],
                    bytes=int(line["bytes"]),
                    mtime_ns=int(line["mtime_ns"] or 0),
                    retry=line["retry"] == "yes",
                )
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(
                f"{path} is not a failures register ({error}); remove it, and the images in it are tried again"
            ) from error
