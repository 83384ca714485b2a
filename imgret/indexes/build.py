"""Build: stores in, an INDEX out; a new one, or the old one brought up to date."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from imgret import __version__
from imgret.errors import IndexFileError, StoreBusyError
from imgret.ids import IdTable, escape
from imgret.indexes import writing
from imgret.indexes.files import SCHEMA, Index, file_names
from imgret.indexes.kinds import ASKED, PQ_ROWS, ROWS_PER_LIST, Choice, choose
from imgret.indexes.plan import Plan, from_scratch, update, why_rebuild
from imgret.indexes.rows import Progress, Rows, gather
from imgret.indexes.structure import Structure, create, quiet_transforms
from imgret.indexes.tuning import Truth, certificate, measure_rows, tune
from imgret.store.lock import WriterLock
from imgret.store.shard import sha256_of
from imgret.store.store import MANIFEST_FILE, Store, unit
from imgret.whitening.transform import Whitening

TARGET_RECALL = 0.95
SAMPLE = 200_000  # rows to train on, at most
SAMPLE_PER_LIST = 256  # more than this does not move a centroid


@dataclass(frozen=True)
class IndexReport:
    """What a build did.

    changed          False when the index held the stores already and nothing was written
    rebuilt_because  why an existing index was made anew, else None
    count            live rows; `dead` are rows left out of every search until the next rebuild
    recall           as in index.json: "recall@10" (None where there is nothing to find), "queries",
                     "target", "reached", "how"
    whitening        as in index.json: the card of the whitening, or None
    """

    path: Path
    changed: bool
    rebuilt_because: str | None
    count: int
    dead: int
    added: int
    removed: int
    kept: int
    kind: str
    factory: str
    why: str
    parameters: dict[str, int] = field(default_factory=dict)
    recall: dict[str, Any] = field(default_factory=dict)
    whitening: dict[str, Any] | None = None


def build(
    stores: Sequence[Store],
    output: Path,
    *,
    kind: str = "auto",
    factory: str | None = None,
    max_memory: int | None = None,
    target_recall: float | None = None,
    seed: int | None = None,
    whitening: Whitening | Literal["none"] | None = None,
    add_only: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
) -> IndexReport:
    """Make the INDEX at `output` hold exactly the live rows of the stores (with `add_only`, at least them).

    kind or factory  a row of INDEX_KINDS or "auto", or a FAISS factory string
    max_memory       bytes for the index as searched; half of the physical memory by default
    target_recall    of recall@10 against exact search; the search parameters are tuned to it [0.95]
    seed             of samples and clustering [0]
    whitening        what descriptors and, later, queries pass through; "none" for none
    verify           hash every shard before it is used
    progress         called as progress(what, done, total)

    A target, seed or whitening that is not said is that of the existing index, as is a kind that was asked for by
    name.
    An existing index keeps the rows whose shard and place are unchanged, adds the others, and leaves out
    what the stores no longer hold; `rebuilt_because` says when it had to be made anew. Readers are not
    disturbed. The same stores, arguments and seed give the same index, except that a graph (hnsw) is
    built by several threads and is alike, not equal.

    IndexFileError, StoreError, WhiteningError or UnknownNameError for whatever a user can fix.
    """
    output = Path(output)
    if target_recall is not None and not 0 < target_recall <= 1:
        raise ValueError(f"target_recall must be above 0 and at most 1, got {target_recall}")
    if factory is not None and kind != "auto":
        raise IndexFileError(f"the factory string {factory!r} says the kind; leave out --kind {kind}")
    if Store.exists(output):
        raise IndexFileError(f"{output} is a store; give the index a folder of its own")
    if output.exists() and not output.is_dir():
        raise IndexFileError(f"{output} is a file; -o wants the folder of the index")
    present = Index.open(output) if Index.exists(output) else None
    before = None if present is None else present.about
    if whitening is None and present is not None and present.whitening is not None:
        whitening = present.whitening
        if present.fingerprint != stores[0].fingerprint:
            raise IndexFileError(
                f"{output} holds whitened descriptors of another recipe than {stores[0].path}; "
                "give a whitening of this recipe with --whitening FILE, or --whitening none"
            )
    if before is not None:
        if kind == "auto" and factory is None and before["why"] == ASKED:
            kind, factory = ("auto", before["factory"]) if before["kind"] == "custom" else (before["kind"], None)
        target_recall = before["recall"]["target"] if target_recall is None else target_recall
        seed = before["seed"] if seed is None else seed
    target_recall, seed = target_recall or TARGET_RECALL, seed or 0
    rows = gather(stores, verify=verify, whitening=None if whitening == "none" else whitening, progress=progress)
    dim = rows.dim

    def chosen(count: int) -> Choice:
        if factory is not None:
            return Choice("custom", factory, ASKED)
        return choose(count, dim, max_memory, kind)

    if before is None:
        create(chosen(len(rows)).factory, dim, seed)  # refused now rather than after making a folder
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexFileError(f"{output} cannot be made: {error.strerror}; name another folder with -o") from error
    try:
        with WriterLock(output):
            scratch = from_scratch(rows)
            old = Index.open(output) if Index.exists(output) else None
            plan = update(old, rows, add_only) if old is not None else scratch
            choice = chosen(plan.count)
            job = _Job(output, rows, scratch, choice, seed, target_recall, max_memory, progress)
            if old is None:
                return job.run(None)
            reason = why_rebuild(old, plan, job.choice, factory, seed, rows)
            if reason is not None:
                return job.run(old, reason)
            if _unchanged(old, plan, target_recall):
                return _report(old, plan, changed=False, reason=None)
            return replace(job, plan=plan).run(old)
    except StoreBusyError as error:
        raise IndexFileError(f"{str(error).partition(';')[0]}; wait for it to end") from None


def _unchanged(old: Index, plan: Plan, target: float) -> bool:
    roots = [writing.place(root.absolute, old.path) for root in plan.roots]
    moved = [root["absolute"] for root in roots] != [root["absolute"] for root in old.about["roots"]]
    return not (len(plan.new) or plan.removed or moved or old.about["recall"]["target"] != target)


def _report(index: Index, plan: Plan, *, changed: bool, reason: str | None) -> IndexReport:
    about = index.about
    return IndexReport(
        path=index.path,
        changed=changed,
        rebuilt_because=reason,
        count=index.count,
        dead=len(index.deleted),
        added=len(plan.new),
        removed=plan.removed,
        kept=plan.kept,
        kind=about["kind"],
        factory=about["factory"],
        why=about["why"],
        parameters=about["parameters"],
        recall=about["recall"],
        whitening=about["whitening"],
    )


@dataclass(frozen=True)
class _Job:
    """One new generation of an INDEX."""

    output: Path
    rows: Rows
    plan: Plan
    choice: Choice
    seed: int
    target: float
    max_memory: int | None
    progress: Progress | None

    def run(self, old: Index | None, rebuilt_because: str | None = None) -> IndexReport:
        """Write the generation after `old`, adding to it or from scratch, and publish it."""
        generation = old.about["generation"] + 1 if old is not None else 1
        try:
            about = self._write(generation, old if rebuilt_because is None else None)
            index = Index(self.output, about)
            about = self._measured(index, about)
            index = Index(self.output, about)
            writing.publish(self.output, about)
        except BaseException:
            writing.discard(self.output, keep=generation - 1)
            raise
        return _report(index, self.plan, changed=True, reason=rebuilt_because)

    def _write(self, generation: int, base: Index | None) -> dict[str, Any]:
        folder, names = self.output, file_names(generation)
        dim, whitening = self.rows.dim, self.rows.whitening
        if base is None:
            factory = self.choice.factory
            index = create(factory, dim, self.seed)
            training = {"count": len(self.rows), "rows": self._train(index, dim)}
        else:
            factory, training = base.about["factory"], base.about["training"]
            index = Index.open(folder, mapped=False).faiss  # a mapped index cannot grow
        total = len(self.plan.origin)
        blocks = self._added(index, base, half=Structure(index).matrix is None)
        try:
            if Structure(index).matrix is None:
                writing.write_vectors(folder / names["vectors"], total, dim, blocks)
            else:
                for _ in blocks:
                    pass
        except RuntimeError as error:
            raise IndexFileError(f"FAISS cannot add vectors to a {factory} index ({_reason(error)})") from None
        writing.write_faiss(folder / names["faiss"], index)
        new_ids = (self.rows.ids.raw(row) for row in self.plan.new.tolist())
        ids = IdTable.of(itertools.chain(base.ids.iter_raw() if base is not None else (), new_ids))
        writing.write_rows(folder, generation, ids, self.plan.origin, self.plan.deleted)
        if whitening is not None:
            whitening.save(folder / names["whitening"])
        store = self.rows.stores[0]
        return {
            "schema": SCHEMA,
            "generation": generation,
            "recipe": store.recipe,
            "fingerprint": store.fingerprint,
            "origin": {key: escape(value) for key, value in store.origin.items()},
            "dim": dim,
            "count": self.plan.count,
            "deleted": len(self.plan.deleted),
            "kind": self.choice.kind,
            "factory": factory,
            "why": self.choice.why,
            "seed": self.seed,
            "training": training,
            "parameters": {},
            "recall": {},
            "whitening": None if whitening is None else whitening.card(),
            "roots": [writing.place(root.absolute, folder) for root in self.plan.roots],
            "stores": [
                writing.place(one.path, folder) | {"manifest_sha256": sha256_of(one.path / MANIFEST_FILE)}
                for one in self.rows.stores
                if (one.path / MANIFEST_FILE).exists()
            ],
            "shards": self.plan.shards,
            "files": writing.facts(folder, generation),
            "versions": {"imgret": __version__, "faiss": faiss.__version__, "numpy": np.__version__},
        }

    def _added(self, index: Any, base: Index | None, *, half: bool) -> Iterator[np.ndarray]:
        """Add the new rows to `index`; give all vectors, old and new, in half precision where it is lossy.

        What a lossy index ranks by is its half-precision vectors, so FAISS is given exactly those.
        """
        if half and base is not None and base.half is not None:
            for start in range(0, len(base.half), 16384):
                yield base.half[start : start + 16384]
        done = 0
        for block in self.rows.read(self.plan.new):
            if half:
                block = block.astype(np.float16)
                yield block
            index.add(unit(block) if half else block)
            done += len(block)
            if self.progress is not None:
                self.progress("adding vectors", done, len(self.plan.new))

    def _train(self, index: Any, dim: int) -> int:
        """Train on a seeded sample; return its size, 0 where the kind needs no training."""
        if index.is_trained:
            return 0
        count, lists = len(self.rows), Structure(index).lists
        needed = max(ROWS_PER_LIST * lists, ROWS_PER_LIST * PQ_ROWS)
        size = max(needed, min(SAMPLE, SAMPLE_PER_LIST * max(lists, PQ_ROWS)))
        if self.max_memory is not None:
            size = max(needed, min(size, self.max_memory // (8 * dim)))
        size = min(size, count)
        chosen = training_rows(count, size, self.seed)
        if self.progress is not None:
            self.progress("training", 0, size)
        sample = np.concatenate(list(self.rows.read(chosen)))
        try:
            with quiet_transforms(index):
                index.train(sample)
        except RuntimeError as error:
            raise IndexFileError(
                f"{self.choice.factory} cannot be trained on {size:,} vectors ({_reason(error)}); "
                "with --kind flat any number will do"
            ) from None
        return size

    def _measured(self, index: Index, about: dict[str, Any]) -> dict[str, Any]:
        """Tune the search parameters, and write down the recall they give."""
        if self.progress is not None:
            self.progress("measuring recall", 0, 1)
        training = about["training"]
        trained_on = training_rows(training["count"], training["rows"], self.seed)
        rows, held_out = measure_rows(index, trained_on, training["count"], self.seed)
        parameters, recall = tune(index, Truth(index, rows), self.target)
        return about | {
            "parameters": parameters,
            "recall": certificate(recall, len(rows), self.target, held_out),
        }


def training_rows(count: int, size: int, seed: int) -> np.ndarray:
    """[size] rows of `count`, rising: the sample that a seed trains on."""
    return np.sort(np.random.default_rng([seed, 0]).choice(count, size, replace=False))


def _reason(error: RuntimeError) -> str:
    """The last part of a FAISS message, without the C++ signature before it."""
    return str(error).rpartition("failed: ")[2].rpartition("Error: ")[2].strip()
