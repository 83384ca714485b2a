"""Generation: the files of one generation of an INDEX, written from rows, measured and published."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from imgret import __version__
from imgret.errors import IndexFileError, SpaceError
from imgret.ids import IdTable, escape
from imgret.indexes import snapshots, writing
from imgret.indexes.dba import Dba, augmented, plain_folder
from imgret.indexes.files import SCHEMA, Index, file_names, load_faiss
from imgret.indexes.kinds import Choice
from imgret.indexes.neighbours import nearest
from imgret.indexes.plan import Plan
from imgret.indexes.rows import Progress, Rows, ahead
from imgret.indexes.snapshots import Snapshots
from imgret.indexes.structure import Structure, create
from imgret.indexes.tail import whole
from imgret.indexes.training import reason, train, training_rows
from imgret.indexes.tuning import Truth, certificate, measure_rows, tune
from imgret.store.shard import sha256_of
from imgret.store.store import MANIFEST_FILE, Root

AT_ONCE = 16384  # rows added at a time


How = Literal["anew", "grown", "compacted", "tail"]


@dataclass(frozen=True)
class Job:
    """What a new generation of an INDEX is to hold, and how; build.py decides, this writes.

    how        "anew": from scratch. "grown": a new base of the old one, its tail and what is new. "compacted": the
               same of its live rows only. "tail": the old base as it is, with what is new in a tail beside it
    trials     how the choice was made, as in index.json
    snapshots  where a build from scratch is put down now and then; None for nowhere
    begun      a FAISS index that is trained already, and perhaps holds the first rows, with "training" of index.json
    measured   whether the recall is measured here; that of a part is measured with all parts
    """

    output: Path
    rows: Rows
    plan: Plan
    choice: Choice
    how: How
    seed: int
    target: float
    max_memory: int | None
    dba: Dba | None
    graph: int
    progress: Progress | None
    trials: list[dict[str, Any]] = field(default_factory=list)
    snapshots: Snapshots | None = None
    begun: tuple[Any, dict[str, Any]] | None = None
    measured: bool = True

    def run(self, old: Index | None) -> Index:
        """Write the generation after `old`, publish it and open it."""
        if self.dba is None or self.how != "anew":  # the rows of an augmented base are augmented already
            return self._publish(old)
        with plain_folder(self.output) as folder:
            graph = min(self.dba.k, len(self.rows))
            plain = replace(self, output=folder, dba=None, graph=graph, snapshots=None).run(None)
            rows = augmented(self.rows, plain, self.dba.alpha)
            return replace(self, rows=rows, snapshots=None)._publish(old)

    def _publish(self, old: Index | None) -> Index:
        generation = old.about["generation"] + 1 if old is not None else 1
        self._tidy(old)  # what a killed build left is not of this generation
        try:
            if self.how == "tail" and old is not None:
                about = self._write_tail(generation, old)
            else:
                about = self._write(generation, old)
            if self.measured and about["recall"].get("target") != self.target:
                about = self._measured(Index(self.output, about), about)
            if self.graph:
                about = self._linked(Index(self.output, about), about, old)
            index = Index(self.output, about)
            writing.publish(self.output, about)
        except BaseException as error:
            kept = not isinstance(error, Exception) or isinstance(error, (OSError, SpaceError))
            if self.snapshots is not None and self.snapshots.resumed is not None and not kept:
                self.snapshots.drop()  # it may be what failed
            self._tidy(old)
            raise
        return index

    def _tidy(self, old: Index | None) -> None:
        keep = set() if old is None else set(old.about["files"])
        writing.discard(self.output, keep | (self.snapshots.files if self.snapshots is not None else set()))

    def _write(self, generation: int, old: Index | None) -> dict[str, Any]:
        """A base of all rows, without a tail."""
        folder, names, plan = self.output, file_names(generation), self.plan
        dim, whitening = self.rows.dim, self.rows.whitening
        origin, deleted, shards, roots = plan.origin, plan.deleted, plan.shards, plan.roots
        done, held, again = 0, 0, np.zeros(0, np.int64)  # rows that FAISS has, the first of them held by `old`
        if old is None or self.how == "anew":
            old, factory = None, self.choice.factory
            index, training = self.begun or self._started(factory, dim)
            done = int(index.ntotal)
        else:
            factory, training = old.about["factory"], old.about["training"]
            index = create(factory, dim, self.seed)
            if self.how == "grown":
                done = held = old.base_rows
                again = np.arange(held, len(old.ids))
            else:
                again = np.flatnonzero(origin[: len(old.ids), 0] >= 0)
                origin, deleted = origin[origin[:, 0] >= 0], deleted[:0]
                origin, shards, roots = renumbered(origin, shards, roots)
                training = training | {"renumbered": True}
            if self.how == "grown" or not index.is_trained:
                index = load_faiss(folder / file_names(old.about["generation"], old.about.get("base"))["faiss"])
            if self.how == "compacted":
                index.reset()
        structure = Structure(index)
        lossy, coded = structure.matrix is None, structure.half_matrix is not None
        stored = self._added(index, self._blocks(old, again, held, done, lossy), coded, trained_on=training["rows"])
        try:
            if lossy and not coded:
                writing.write_vectors(folder / names["vectors"], (len(origin), dim), "<f2", stored)
            else:
                for _ in stored:
                    pass
        except RuntimeError as error:
            raise IndexFileError(
                f"FAISS cannot add vectors to a {factory} index ({reason(error)}); "
                "make the index anew in another folder, or choose another kind with --kind"
            ) from None
        writing.write_faiss(folder / names["faiss"], index)
        ids = self.rows.ids
        if old is not None:
            before = map(old.ids.raw, again.tolist()) if self.how == "compacted" else old.ids.iter_raw()
            ids = IdTable.of(itertools.chain(before, map(ids.raw, plan.new.tolist())))
        writing.write_rows(folder, names, ids, origin)
        writing.write_deleted(folder / names["deleted"], deleted)
        if whitening is not None:
            whitening.save(folder / names["whitening"])
        return self._about(generation, shards, roots) | {
            "base": generation,
            "tail": 0,
            "count": plan.count,
            "deleted": len(deleted),
            "kind": self.choice.kind,
            "factory": factory,
            "why": self.choice.why,
            "trials": self.trials,
            "training": training,
            "files": writing.facts(folder, names.values()),
        }

    def _blocks(
        self, old: Index | None, again: np.ndarray, held: int, done: int, lossy: bool
    ) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """What is stored of all rows in order, with what is to be added to FAISS; None for rows it has.

        Of the old index it has the first `held` rows, of the stores the first `done`; the rows `again` come between.
        What a lossy index ranks by is its half-precision vectors, so FAISS is given exactly those.
        """
        if old is not None:
            for start in range(0, held if lossy else 0, AT_ONCE):
                yield old.kept[start : min(start + AT_ONCE, held)], None
            for start in range(0, len(again), AT_ONCE):
                block = old.stored(again[start : start + AT_ONCE])
                yield block, whole(block)
            done = 0
        new = self.plan.new if lossy else self.plan.new[done:]
        for stored, block in self.rows.stored(new, np.float16 if lossy else np.float32, AT_ONCE):
            known = min(done, len(block)) if lossy else 0
            done -= known
            if known:
                yield stored[:known], None
            if known < len(block):
                yield stored[known:], block[known:]

    def _added(
        self, index: Any, blocks: Iterator[tuple[np.ndarray, np.ndarray | None]], coded: bool, trained_on: int
    ) -> Iterator[np.ndarray]:
        """Add blocks to FAISS, and give back what is stored of them, which it gets itself where it codes that."""
        total = self.plan.count if self.how == "compacted" else len(self.plan.origin)
        for stored, vectors in ahead(blocks):
            yield stored
            if vectors is None:
                continue
            index.add(stored.astype(np.float32) if coded else vectors)
            if self.progress is not None:
                self.progress("adding vectors", int(index.ntotal), total)
            if self.snapshots is not None and self.snapshots.due() and index.ntotal < total:
                self.snapshots.save(index, self.choice, self.trials, trained_on)

    def _write_tail(self, generation: int, old: Index) -> dict[str, Any]:
        """The base of `old` as it is, beside a tail of what came since."""
        folder, plan, was = self.output, self.plan, old.about
        base = was.get("base", was["generation"])
        names = file_names(generation, base)
        origin = plan.origin[old.base_rows :]
        if len(origin):
            kind = old.kept.dtype.newbyteorder("<")
            late = [] if old.tail is None else [old.tail.stored]
            blocks = itertools.chain(late, (stored for stored, _ in self.rows.stored(plan.new, kind)))
            writing.write_vectors(folder / names["tail"], (len(origin), old.dim), kind.str, blocks)
            before = [] if old.tail is None else old.tail.ids.iter_raw()
            ids = IdTable.of(itertools.chain(before, map(self.rows.ids.raw, plan.new.tolist())))
            tail = {role: names[f"tail_{role}"] for role in ("ids", "offsets", "origin")}
            writing.write_rows(folder, tail, ids, origin)
        writing.write_deleted(folder / names["deleted"], plan.deleted)
        kept = {name: facts for name, facts in was["files"].items() if name in names.values()}
        later = was["recall"].get("later", 0) + len(plan.new)
        return (
            was
            | self._about(generation, plan.shards, plan.roots)
            | {
                "base": base,
                "tail": len(origin),
                "count": plan.count,
                "deleted": len(plan.deleted),
                "parameters": was["parameters"],
                "recall": was["recall"] | ({"later": later} if later else {}),
                "files": kept | writing.facts(folder, [name for name in names.values() if name not in kept]),
            }
        )

    def _about(self, generation: int, shards: list[str], roots: list[Root]) -> dict[str, Any]:
        """What index.json says however the files came to be."""
        return about_rows(self.rows, self.output, shards, roots) | {
            "schema": SCHEMA,
            "generation": generation,
            "seed": self.seed,
            "max_memory": self.max_memory,
            "parameters": {},
            "recall": {},
            "dba": None if self.dba is None else asdict(self.dba),
        }

    def _started(self, factory: str, dim: int) -> tuple[Any, dict[str, Any]]:
        """An index to add to, trained or taken from a snapshot, and how many rows of how many it was trained on."""
        index = None if self.snapshots is None else self.snapshots.load()
        if index is not None and self.snapshots is not None:
            if self.progress is not None:
                self.progress("resuming", int(index.ntotal), len(self.rows))
            return index, {"count": len(self.rows), "rows": self.snapshots.trained_on}
        index, begun = create(factory, dim, self.seed), time.monotonic()
        trained_on = train(index, factory, self.rows, self.seed, self.max_memory, self.progress)
        if self.snapshots is not None and time.monotonic() - begun > snapshots.WORTH:
            self.snapshots.save(index, self.choice, self.trials, trained_on)
        return index, {"count": len(self.rows), "rows": trained_on}

    def _measured(self, index: Index, about: dict[str, Any]) -> dict[str, Any]:
        """Tune the search parameters, and write down the recall they give."""
        if self.progress is not None:
            self.progress("measuring recall", 0, 1)
        training = about["training"]
        trained_on = training_rows(training["count"], training["rows"], self.seed)
        # the rows of a compacted index are no longer numbered as they were when it was trained
        count = 0 if training.get("renumbered") else training["count"]
        rows, held_out = measure_rows(index, trained_on, count, self.seed)
        parameters, recall = tune(index, Truth(index, rows), self.target)
        return about | {
            "parameters": parameters,
            "recall": certificate(recall, len(rows), self.target, held_out),
        }

    def _linked(self, index: Index, about: dict[str, Any], old: Index | None) -> dict[str, Any]:
        """Write the graph, searched for with the parameters that were tuned, and write down that it is there."""
        kept = self._kept_graph(index, old)
        blocks = nearest(index, self.graph, self.progress) if kept is None else iter([kept])
        writing.write_graph(self.output, about["generation"], (len(index.ids), self.graph), blocks)
        names = file_names(about["generation"])
        files = about["files"] | writing.facts(self.output, [names["neighbours"], names["similarities"]])
        return about | {"graph": self.graph, "files": files}

    def _kept_graph(self, index: Index, old: Index | None) -> tuple[np.ndarray, np.ndarray] | None:
        """The graph of `old`, where a search would find the same."""
        if old is None or self.how != "grown" or len(self.plan.new) or self.plan.removed:
            return None
        same = old.about.get("graph") == self.graph and old.parameters == index.parameters
        return old.neighbours if same else None


def about_rows(rows: Rows, folder: Path, shards: list[str], roots: list[Root]) -> dict[str, Any]:
    """What the index.json of an INDEX at `folder` says of its rows and where they come from."""
    store, stores = rows.stores[0], dict.fromkeys(one.path for one in rows.stores)
    return {
        "recipe": store.recipe,
        "fingerprint": store.fingerprint,
        "origin": {key: escape(value) for key, value in store.origin.items()},
        "dim": rows.dim,
        "whitening": None if rows.whitening is None else rows.whitening.card(),
        "dba": None,
        "graph": None,
        "roots": [writing.place(root.absolute, folder) for root in roots],
        "stores": [
            writing.place(path, folder) | {"manifest_sha256": sha256_of(path / MANIFEST_FILE)}
            for path in stores
            if (path / MANIFEST_FILE).exists()
        ],
        "shards": shards,
        "versions": {"imgret": __version__, "faiss": faiss.__version__, "numpy": np.__version__},
    }


def renumbered(origin: np.ndarray, shards: list[str], roots: list[Root]) -> tuple[np.ndarray, list[str], list[Root]]:
    """Origins [N, 3] with the shards and roots that they still name."""
    used_shards, shard = np.unique(origin[:, 0], return_inverse=True)
    used_roots, root = np.unique(origin[:, 2], return_inverse=True)
    origin = np.stack([shard.reshape(-1), origin[:, 1], root.reshape(-1)], 1).astype(np.int32)
    return origin, [shards[one] for one in used_shards], [roots[one] for one in used_roots]
