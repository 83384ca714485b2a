"""Generation: the files of one generation of an INDEX, written from rows, measured and published."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from imgret import __version__
from imgret.errors import IndexFileError
from imgret.ids import IdTable, escape
from imgret.indexes import writing
from imgret.indexes.dba import Dba, augmented, plain_folder
from imgret.indexes.files import SCHEMA, Index, file_names
from imgret.indexes.kinds import PQ_ROWS, ROWS_PER_LIST, Choice
from imgret.indexes.neighbours import nearest
from imgret.indexes.plan import Plan
from imgret.indexes.rows import Progress, Rows
from imgret.indexes.structure import Structure, create, quiet_transforms
from imgret.indexes.tuning import Truth, certificate, measure_rows, tune
from imgret.store.shard import sha256_of
from imgret.store.store import MANIFEST_FILE, unit

SAMPLE = 200_000  # rows to train on, at most
SAMPLE_PER_LIST = 256  # more than this does not move a centroid


@dataclass(frozen=True)
class Job:
    """What a new generation of an INDEX is to hold, and how; build.py decides, this writes."""

    output: Path
    rows: Rows
    plan: Plan
    choice: Choice
    seed: int
    target: float
    max_memory: int | None
    dba: Dba | None
    graph: int
    progress: Progress | None

    def run(self, old: Index | None, *, anew: bool = False) -> Index:
        """Write the generation after `old`, adding to it or (with `anew`) from scratch, publish it and open it."""
        base = None if anew else old
        if self.dba is None or base is not None:  # an augmented base has all its rows already
            return self._publish(old, base)
        with plain_folder(self.output) as folder:
            plain = replace(self, output=folder, dba=None, graph=min(self.dba.k, len(self.rows))).run(None)
            return replace(self, rows=augmented(self.rows, plain, self.dba.alpha))._publish(old, base)

    def _publish(self, old: Index | None, base: Index | None) -> Index:
        generation = old.about["generation"] + 1 if old is not None else 1
        writing.discard(self.output, keep=generation - 1)  # what a killed build left is not of this generation
        try:
            about = self._write(generation, base)
            about = self._measured(Index(self.output, about), about)
            if self.graph:
                about = self._linked(Index(self.output, about), about, base)
            index = Index(self.output, about)
            writing.publish(self.output, about)
        except BaseException:
            writing.discard(self.output, keep=generation - 1)
            raise
        return index

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
            "dba": None if self.dba is None else asdict(self.dba),
            "graph": None,
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

    def _linked(self, index: Index, about: dict[str, Any], base: Index | None) -> dict[str, Any]:
        """Write the graph, searched for with the parameters that were tuned, and write down that it is there."""
        kept = self._kept_graph(index, base)
        blocks = nearest(index, self.graph, self.progress) if kept is None else iter([kept])
        writing.write_graph(self.output, about["generation"], (len(index.ids), self.graph), blocks)
        files = about["files"] | writing.facts(self.output, about["generation"], known=about["files"])
        return about | {"graph": self.graph, "files": files}

    def _kept_graph(self, index: Index, base: Index | None) -> tuple[np.ndarray, np.ndarray] | None:
        """The graph of `base`, where a search would find the same."""
        if base is None or len(self.plan.new) or self.plan.removed:
            return None
        same = base.about.get("graph") == self.graph and base.parameters == index.parameters
        return base.neighbours if same else None


def training_rows(count: int, size: int, seed: int) -> np.ndarray:
    """[size] rows of `count`, rising: the sample that a seed trains on."""
    return np.sort(np.random.default_rng([seed, 0]).choice(count, size, replace=False))


def _reason(error: RuntimeError) -> str:
    """The last part of a FAISS message, without the C++ signature before it."""
    return str(error).rpartition("failed: ")[2].rpartition("Error: ")[2].strip()
