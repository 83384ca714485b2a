"""The journal of a run: metrics.jsonl, one JSON object a line, and TensorBoard beside it where it is installed.

Every record has `step` (optimiser steps taken) and `epoch` (passes over the data, a fraction inside one). Records of
training have `loss` and `lr`, those of a validation `score` (a fraction); others may stand beside them.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from imgret.errors import ImgretError, SpaceError
from imgret.tables import resolve

METRICS = "metrics.jsonl"
BOARD = "tensorboard"
NO_BOARD = "TensorBoard is not installed, so only metrics.jsonl is written; pip install 'imgret[train]' brings it"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Journal:
    """Appends records to RUN/metrics.jsonl; a context manager.

    `lines` is how many records the run's checkpoint knows (0: a new run). What lies behind them, whole or
    torn, was written after that checkpoint and is cut off, for it will be written again: the file ends
    up as that of a run that was never interrupted. `step` is the checkpoint's, for TensorBoard. `say` hears
    what a person should know: TensorBoard missing, records lost.
    """

    def __init__(self, folder: Path, say: Callable[[str], object], lines: int = 0, step: int = 0) -> None:
        path = folder / METRICS
        self.lines = _cut(path, lines)
        """Records in the file: what a checkpoint notes down, after `sync`."""
        if self.lines < lines:
            say(f"{path} has {self.lines} of the {lines} records up to the checkpoint; the others are lost")
        self._path = path
        self._file = open(path, "a", encoding="utf-8", newline="\n")  # noqa: SIM115  # open as long as the run
        self._board: Any = None
        self._hook = threading.excepthook
        threading.excepthook = self._unless_full
        try:
            self._guarded(lambda: setattr(self, "_board", _open_board(folder / BOARD, step if lines else 0, say)))
        except BaseException:
            self.close()
            raise

    def write(self, step: int, **values: Any) -> None:
        """Append one record; a number that is not finite becomes null. SpaceError when the disk is full."""
        record = {"step": step, **{name: _json(value) for name, value in values.items()}}
        self._guarded(lambda: self._file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"))
        self._guarded(self._file.flush)
        self.lines += 1
        if self._board is not None:
            for name, value in record.items():
                if name != "step" and isinstance(value, (int, float)):
                    self._guarded(functools.partial(self._board.add_scalar, name, value, step))

    def sync(self) -> None:
        """Make what was written survive a power cut: before a checkpoint notes `lines` down."""
        self._guarded(lambda: os.fsync(self._file.fileno()))

    def close(self) -> None:
        """Close the file and TensorBoard's."""
        # Every record was flushed, or its failure raised: what fails now has been said.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._board is not None:
            with contextlib.suppress(OSError):
                self._board.close()
        threading.excepthook = self._hook

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _unless_full(self, dying: Any) -> None:
        """TensorBoard's thread dies of a full disk with a traceback; `_guarded` says it in a line."""
        if getattr(dying.exc_value, "errno", None) not in _FULL:
            self._hook(dying)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise SpaceError(
                f"no space left while writing {self._path}; the last checkpoint is safe. "
                "Free some space and run the same command again"
            ) from error


class Unwritten:
    """What the other processes of a run write to."""

    lines = 0

    def write(self, step: int, **values: Any) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; a last line without its end is still being written, and left out.

    ImgretError when the file cannot be read or another line is no JSON object.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ImgretError(f"{path} cannot be read: {error.strerror or error}") from error
    records = []
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("step"), int):
            raise ImgretError(f"{path}, line {number}: no record of training; delete the line, or the file")
        records.append(record)
    return records


def _cut(path: Path, lines: int) -> int:
    """Keep the first `lines` whole lines of a file; how many there are then."""
    if not path.exists():
        return 0
    with open(path, "r+b") as file:
        kept, size = 0, 0
        for line in _whole_lines(file):
            if kept == lines:
                break
            kept, size = kept + 1, size + len(line)
        file.truncate(size)
    return kept


def _whole_lines(file: Any) -> Iterator[bytes]:
    return (line for line in file if line.endswith(b"\n"))


def _json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _open_board(folder: Path, step: int, say: Callable[[str], object]) -> Any:
    """TensorBoard's writer, what it had after `step` hidden; None, said once, where it is not installed."""
    try:
        writer = resolve("torch.utils.tensorboard:SummaryWriter")
    except ImportError:
        say(NO_BOARD)
        return None
    return writer(str(folder), purge_step=step + 1 if step else None)
