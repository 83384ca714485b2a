"""Checkpoints of a run: all that is needed to go on as if nothing had happened, in files that are always whole.

RUN/last.pt            where to go on from
RUN/best.pt            the same at the best validation
RUN/best.safetensors   that model as a weights file, for `imgret extract --model`
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch

from imgret import atomic
from imgret.errors import ImgretError
from imgret.models.base import DescriptorModel
from imgret.models.weights import save_weights

SCHEMA = "imgret.checkpoint/1"
_GO_ON = "Go on with the recipe, data and number of processes it was begun with, or name a new folder with -o"
LAST, BEST, BEST_WEIGHTS = "last.pt", "best.pt", "best.safetensors"


class Stateful(Protocol):
    """A model, a loss, an optimiser, a schedule, a gradient scaler: what has a state and takes one back."""

    def state_dict(self) -> Any:
        """The state."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take a state back."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    epoch       the pass over the data that is under way, from 0
    batch       batches of it that are done
    step        optimiser steps taken
    lines       records in metrics.jsonl
    best_score  of all validations, None before the first
    best_epoch  the epoch it was reached in
    stale       validations since
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    lines: int = 0
    best_score: float | None = None
    best_epoch: int | None = None
    stale: int = 0

    def judged(self, score: float) -> Progress:
        """After a validation of the epoch under way: a score that is not above the best is stale."""
        if self.best_score is None or score > self.best_score:
            return replace(self, best_score=score, best_epoch=self.epoch, stale=0)
        return replace(self, stale=self.stale + 1)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint in memory: progress, the states of the parts by name, random states by rank."""

    path: Path
    progress: Progress
    states: Mapping[str, Any]
    randoms: Sequence[Mapping[str, Any]]

    def restore(self, parts: Mapping[str, Stateful], rank: int = 0, world: int = 1) -> None:
        """Put every part, and the random generators of process `rank` of `world`, into the state that was saved.

        ImgretError unless the parts are those that were saved, of the same shapes, and the run had as
        many processes.
        """
        if set(parts) != set(self.states):
            ours, theirs = ", ".join(sorted(parts)), ", ".join(sorted(self.states))
            raise ImgretError(f"{self.path} holds {theirs}; this run has {ours}. {_GO_ON}")
        if world != len(self.randoms):
            raise ImgretError(f"{self.path} is of a run of {len(self.randoms)} processes, now {world}. {_GO_ON}")
        for name, part in parts.items():
            try:
                part.load_state_dict(self.states[name])
            except (RuntimeError, ValueError, KeyError, TypeError) as error:  # each of torch's classes has its own
                reason = " ".join(str(error).split())[:200]
                raise ImgretError(f"{self.path}: its {name} does not fit this run's: {reason}. {_GO_ON}") from error
        restore_random(self.randoms[rank])


def save(
    folder: Path,
    parts: Mapping[str, Stateful],
    progress: Progress,
    identity: Mapping[str, Any],
    randoms: Sequence[Mapping[str, Any]] = (),
    best: DescriptorModel | None = None,
    provenance: Mapping[str, Any] | None = None,
    writes: bool = True,
) -> None:
    """Write last.pt; with `best`, the model to be kept, write best.safetensors and best.pt first.

    `identity` is JSON: what the run was asked for (`recipe.deciding`), compared by `load`. `randoms` are
    the `random_state` of each rank, in order; this process's alone if empty. A file is replaced by
    rename, so at any moment the one before or the new one is whole; SpaceError when the disk is full. A kill between
    the files leaves last.pt behind best.pt: the run goes on from there and writes the same best again.

    Every process calls it, since the state of a classifier spread over them is put together from all; one `writes`.
    """
    content = {
        "schema": SCHEMA,
        "identity": dict(identity),
        "progress": asdict(progress),
        "states": {name: part.state_dict() for name, part in parts.items()},
        "randoms": [dict(random) for random in randoms or [random_state()]],
    }
    if not writes:
        return
    if best is None:
        atomic.write_with(folder / LAST, lambda file: _write(content, file))
        return
    save_weights(best, folder / BEST_WEIGHTS, provenance or {})
    atomic.write_with(folder / BEST, lambda file: _write(content, file))
    _link(folder / BEST, folder / LAST)


def load(path: Path, identity: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint on the CPU, checked to be whole and of the run that `identity` describes.

    ImgretError, one line, for a file that is damaged or no checkpoint, and for one of another recipe or
    model, with the first key that differs.
    """
    content = _read(path)
    theirs = content["identity"]
    for key in (*identity, *theirs):
        if identity.get(key) != theirs.get(key):
            was, asked = (repr(side[key]) if key in side else "left out" for side in (theirs, identity))
            raise ImgretError(f"{path} is of a run with {key} {was}, now it is {asked}. {_GO_ON}")
    return Checkpoint(path, Progress(**content["progress"]), content["states"], content["randoms"])


def diverged(folder: Path, what: str) -> ImgretError:
    """The error of a run whose model is of no use any more; `what` was seen, and where."""
    kept = "the last good checkpoint is kept in" if (folder / LAST).exists() else "no checkpoint in"
    return ImgretError(
        f"{what}; {kept} {folder}: lower optimiser.lr, or set optimiser.clip, and train into a new folder"
    )


def random_state() -> dict[str, Any]:
    """The state of this process's generators: torch's, and that of every GPU where there is one."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": gpus}


def restore_random(state: Mapping[str, Any]) -> None:
    """Put the generators back; states of GPUs that this machine lacks are passed over."""
    torch.set_rng_state(state["cpu"])
    for device, gpu in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(gpu, device)


def _write(content: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # torch reports its own confusion over a write that failed; the reason is what came before.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _read(path: Path) -> dict[str, Any]:
    damaged = f"{path} is damaged; go on from a copy of {path.parent / BEST}, or name a new folder with -o"
    try:
        with zipfile.ZipFile(path) as archive:
            # torch does not compare checksums: a flipped bit would be a wrong weight.
            if archive.testzip() is not None:
                raise ImgretError(damaged)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ImgretError(f"{path}: no such checkpoint") from error
    except OSError as error:
        raise ImgretError(f"{path} cannot be read: {error.strerror or error}") from error
    except ImgretError:
        raise
    except Exception as error:  # zipfile's, pickle's and torch's errors share no base class
        raise ImgretError(damaged) from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema", "no schema") if isinstance(content, dict) else type(content).__name__
        raise ImgretError(f"{path} is no checkpoint of this imgret: it holds {found!r}, expected {SCHEMA!r}")
    return content


def _link(source: Path, target: Path) -> None:
    """`target` becomes the same file as `source`, at no cost where the file system has links, by rename."""
    temporary = target.with_name(target.name + atomic.PARTIAL)
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # FAT and some network file systems
        atomic.write_with(target, lambda file: _copy(source, file))
    else:
        os.replace(temporary, target)


def _copy(source: Path, file: BinaryIO) -> None:
    with open(source, "rb") as original:
        shutil.copyfileobj(original, file, 1 << 20)
