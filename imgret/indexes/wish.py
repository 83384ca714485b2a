"""Wish: what is asked of an index, and the kind that answers it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import faiss
import numpy as np

from imgret import __version__
from imgret.indexes.dba import Dba
from imgret.indexes.kinds import ASKED, INDEX_KINDS, Choice, budget_of, choose
from imgret.indexes.rows import Progress, Rows
from imgret.indexes.snapshots import FORM

TARGET_RECALL = 0.95


class Existing(Protocol):
    """An index that is there."""

    dim: int
    about: dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    kind, factory, max_memory, seed, progress  as in `imgret.indexes.build.build`
    target  of recall@10
    parts   of the index, each of which has `max_memory` while it is searched
    graphs  whether a graph may be chosen: one that is put together of parts may not
    """

    kind: str
    factory: str | None
    max_memory: int | None
    target: float
    seed: int
    progress: Progress | None
    parts: int = 1
    graphs: bool = True

    @classmethod
    def of(
        cls,
        before: dict[str, Any] | None,
        kind: str,
        factory: str | None,
        max_memory: int | None,
        target: float | None,
        seed: int | None,
        progress: Progress | None,
        parts: int = 1,
        graphs: bool = True,
    ) -> Wish:
        """What is not said is that of the index there is, whose index.json says `before`, or the default."""
        if before is not None:
            if kind == "auto" and factory is None and before["why"] == ASKED:
                kind, factory = ("auto", before["factory"]) if before["kind"] == "custom" else (before["kind"], None)
            target = before["recall"]["target"] if target is None else target
            max_memory = before.get("max_memory") if max_memory is None else max_memory
            seed = before["seed"] if seed is None else seed
        return cls(kind, factory, max_memory, target or TARGET_RECALL, seed or 0, progress, parts, graphs)

    @property
    def budget(self) -> int:
        """Bytes that all parts together may take."""
        return budget_of(self.max_memory) * self.parts

    def quick(self, count: int, dim: int) -> Choice:
        """The kind by count, dimension and memory alone."""
        if self.factory is not None:
            return Choice("custom", self.factory, ASKED)
        return choose(count, dim, self.budget, self.kind)

    def kept(self, old: Existing, count: int) -> Choice:
        """The kind of an index that changes: the one it has, where that was chosen for it and still fits."""
        quick, was = self.quick(count, old.dim), old.about
        asked = self.kind != "auto" or self.factory is not None or was["why"] == ASKED
        outgrown = was["kind"] == "flat" and not was.get("trials")  # it was flat because it was small
        if asked or outgrown or quick.kind == "flat" or was["kind"] not in INDEX_KINDS:
            return quick
        fits = INDEX_KINDS[was["kind"]].memory(count, old.dim) <= self.budget
        return Choice(was["kind"], was["factory"], was["why"]) if fits else quick

    def planned(self, rows: Rows) -> tuple[Choice, list[dict[str, Any]]]:
        """The kind for a new index, tried on a sample of its rows where the choice is not plain, and the trials."""
        quick = self.quick(len(rows), rows.dim)
        if self.kind != "auto" or self.factory is not None or quick.kind == "flat":
            return quick, []
        from imgret.indexes import planner

        size = min(planner.SAMPLE, len(rows))
        chosen = np.sort(np.random.default_rng([self.seed, 2]).choice(len(rows), size, replace=False))
        sample = np.concatenate(list(rows.read(chosen)))
        found = planner.plan(sample, len(rows), self.budget, self.target, self.seed, self.progress, graphs=self.graphs)
        return found.choice, [asdict(trial) for trial in found.trials]

    def key(self, rows: Rows, dba: Dba | None) -> str:
        """A hash of all that a build from scratch depends on."""
        state = hashlib.sha256(np.ascontiguousarray(rows.origin).data)
        whitening = None if rows.whitening is None else rows.whitening.sha256
        asked = [self.kind, self.factory, self.max_memory, self.target, self.seed, self.parts, self.graphs, str(dba)]
        made = [whitening, rows.stores[0].fingerprint, rows.shards, FORM, __version__, faiss.__version__]
        state.update(json.dumps([asked, *made]).encode())
        return state.hexdigest()
