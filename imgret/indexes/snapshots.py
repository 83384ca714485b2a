"""Snapshots: what a build has come to, put down now and then, so that a build that was cut off can go on."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from imgret import atomic
from imgret.errors import ImgretError
from imgret.indexes import writing
from imgret.indexes.files import load_faiss
from imgret.indexes.kinds import Choice
from imgret.store.shard import sha256_of

EVERY = 60.0  # seconds between snapshots, at least
COST = 20  # and at least so many times what the last one took
FORM = 2  # of the files, part of their key
WORTH = 10.0  # seconds of training that are worth a snapshot


class Snapshots:
    """The snapshots of one build in the folder of its INDEX.

    A snapshot is building-N.faiss, the FAISS index after N rows, and then building-N.json, which says what it belongs
    to; each is written whole or not at all, so a kill leaves this snapshot, the one before, or none.

    key     all that the build depends on: a snapshot with another one is not looked at
    done    rows in the last snapshot, None where there is none
    resumed  rows that this build took from a snapshot, None where it began anew
    choice  what was being built, with the `trials` that led to it; the last snapshot's where there is one
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self.done: int | None = None
        self.resumed: int | None = None
        self.choice: Choice | None = None
        self.trials: list[dict[str, Any]] = []
        self.trained_on = 0
        self._sha256 = ""
        self._began(0.0)
        for file in folder.glob("building-*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                about = json.loads(file.read_text(encoding="utf-8"))
                whole = (folder / f"building-{about['done']}.faiss").stat().st_size == about["bytes"]
                if about["key"] == key and whole and (self.done is None or about["done"] > self.done):
                    choice, trials, trained_on = Choice(**about["choice"]), about["trials"], about["trained_on"]
                    self._sha256 = about["sha256"]
                    self.done, self.choice, self.trials, self.trained_on = about["done"], choice, trials, trained_on

    @property
    def files(self) -> set[str]:
        """Names of the last snapshot's files."""
        return set() if self.done is None else {f"building-{self.done}.faiss", f"building-{self.done}.json"}

    def load(self) -> Any | None:
        """The FAISS index of the last snapshot; None where there is none, or it cannot be read."""
        if self.done is None:
            return None
        index, file = None, self._folder / f"building-{self.done}.faiss"
        with contextlib.suppress(OSError, RuntimeError):
            if sha256_of(file) == self._sha256:
                index = load_faiss(file)
        if index is None or index.ntotal != self.done:
            self.drop()
            return None
        self.resumed = self.done
        return index

    def drop(self) -> None:
        """Remove the last snapshot, so that the next build begins anew."""
        for name in self.files:
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
        self.done = None

    def due(self) -> bool:
        """Whether enough time has gone by since the last snapshot."""
        return time.monotonic() - self._since >= max(EVERY, COST * self._cost)

    def save(self, index: Any, choice: Choice, trials: list[dict[str, Any]], trained_on: int) -> None:
        """Put down a FAISS index with all its rows, in place of the last snapshot.

        Where that fails, as on a full disk, there is none: it is no reason to end the build.
        """
        begun, done = time.monotonic(), int(index.ntotal)
        file = self._folder / f"building-{done}.faiss"
        with contextlib.suppress(OSError, ImgretError):
            writing.write_faiss(file, index)
            facts = {"done": done, "bytes": file.stat().st_size, "sha256": sha256_of(file), "trained_on": trained_on}
            about = {"key": self._key, "choice": asdict(choice), "trials": trials}
            atomic.write_json(file.with_suffix(".json"), facts | about)
            before, self.done = self.files, done
            for name in before - self.files:
                (self._folder / name).unlink()
        self._began(time.monotonic() - begun)

    def _began(self, cost: float) -> None:
        self._since, self._cost = time.monotonic(), cost
