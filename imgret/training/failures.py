"""RUN/failures.csv: images that could not be read for training or judging, and why; in the form of a store's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from imgret.images.files import ImageFile
from imgret.store import failures as register
from imgret.store.failures import Failure

FAILURES = "failures.csv"


def failure(image: ImageFile, why: str) -> Failure:
    """The failure of an image; `why` is "reason: message". Every run tries again."""
    reason, _, message = why.partition(": ")
    try:
        found = os.stat(image.path)
    except OSError:
        return Failure(image.id, image.path, reason, message, retry=True)
    return Failure(image.id, image.path, reason, message, found.st_size, found.st_mtime_ns, retry=True)


def known(folder: Path) -> dict[str, Failure]:
    """What earlier calls of the run have noted down, by id."""
    return {one.id: one for one in register.load(folder / FAILURES)}


def note(folder: Path, failed: Iterable[Failure]) -> None:
    """Write the file, whole or not at all, with all that is known now; without a failure there is none."""
    every = {one.id: one for one in failed}
    if every and every != known(folder):
        register.save(folder / FAILURES, [every[name] for name in sorted(every)])
