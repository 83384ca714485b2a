"""failures.csv: images that gave no descriptor, why, and whether another try makes sense."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from imgret import atomic
from imgret.errors import StoreError
from imgret.ids import escape, unescape

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


def save(path: Path, failures: list[Failure]) -> None:
    """Write the register, whole or not at all."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for one in failures:
        table.writerow(
            (
                escape(one.path),
                one.reason,
                one.message,
                escape(one.id),
                one.bytes,
                one.mtime_ns,
                "yes" if one.retry else "no",
            )
        )
    atomic.write_text(path, text.getvalue())


def load(path: Path) -> list[Failure]:
    """Read the register; an absent file is an empty one."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        try:
            return [
                Failure(
                    id=unescape(line["id"]),
                    path=unescape(line["path"]),
                    reason=line["reason"],
                    message=line["message"],
                    bytes=int(line["bytes"]),
                    mtime_ns=int(line["mtime_ns"] or 0),
                    retry=line["retry"] == "yes",
                )
                for line in csv.DictReader(file)
            ]
        except (KeyError, ValueError, TypeError) as error:
            raise StoreError(
                f"{path} is not a failures register ({error}); remove it, and the images in it are tried again"
            ) from error
