"""Files that appear whole or not at all: a temporary name, fsync, rename; at a URL one request."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from imgret.errors import SpaceError
from imgret.remote_path import Place, RemotePath

PARTIAL = ".partial"


def write_with(path: Place, fill: Callable[[BinaryIO], object]) -> None:
    """Let `fill` write a file under a temporary name, then rename it to `path`.

    A reader sees the old file or the new one, never a part. On any failure the temporary file is
    removed and `path` is as it was; a full disk raises SpaceError, any other failure an OSError that names `path`.
    """
    if isinstance(path, RemotePath):
        buffer = io.BytesIO()
        fill(buffer)
        path.write_bytes(buffer.getvalue())
        return
    temporary = path.with_name(path.name + PARTIAL)
    try:
        with open(temporary, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SpaceError(
                f"no space left while writing {path}; what was written before is safe. "
                "Free some space and run the same command again"
            ) from error
        if isinstance(error, OSError) and error.filename == os.fspath(temporary):
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error  # nobody knows the temporary name
        raise
    sync_folder(path.parent)


def write_bytes(path: Place, data: bytes | memoryview) -> None:
    """Write `data` to `path`, whole or not at all."""
    write_with(path, lambda file: file.write(data))


def write_text(path: Place, text: str) -> None:
    """Write UTF-8 text with Unix line ends to `path`, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Place, value: Any) -> None:
    """Write JSON that a person can read and git can compare. NaN is refused."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse fsync on a folder; the rename still holds
        pass
    finally:
        os.close(handle)
