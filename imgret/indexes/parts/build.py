"""Building an INDEX in parts: learn once, let the parts be made one by one or anywhere, measure the whole, publish."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from imgret import atomic
from imgret.errors import IndexFileError
from imgret.indexes import writing
from imgret.indexes.beginning import check_folder, check_kind, held, whitening_for
from imgret.indexes.build import IndexReport
from imgret.indexes.files import INDEX_FILE, Index
from imgret.indexes.generation import about_rows
from imgret.indexes.kinds import Choice
from imgret.indexes.parts.dealing import deal
from imgret.indexes.parts.files import FOLDER, SCHEMA, Parts, files_of
from imgret.indexes.parts.part import PARTIAL, PartDone, PartJob, build_part, finished, part_key, read_about
from imgret.indexes.parts.searcher import Asking, InTurn
from imgret.indexes.plan import MOST_GROWTH, named
from imgret.indexes.rows import Progress, Rows, gather, roots_of
from imgret.indexes.structure import create
from imgret.indexes.training import train, training_rows
from imgret.indexes.tuning import Truth, certificate, measure_rows, tune
from imgret.indexes.wish import Wish
from imgret.remote_path import Place
from imgret.store.shard import sha256_of
from imgret.store.store import Store
from imgret.whitening.transform import Whitening

Run = Callable[[Sequence[PartJob]], Iterable[PartDone]]
PLAN_FILE = "plan.json"


def one_by_one(jobs: Sequence[PartJob], progress: Progress | None = None) -> Iterator[PartDone]:
    """Make one part after the other in this process."""
    return (build_part(job, progress) for job in jobs)


def build_parts(
    stores: Sequence[Store],
    output: Path,
    parts: int,
    *,
    kind: str = "auto",
    factory: str | None = None,
    max_memory: int | None = None,
    target_recall: float | None = None,
    seed: int | None = None,
    whitening: Whitening | Literal["none"] | None = None,
    run: Run | None = None,
    asking: Asking = InTurn,
    whole: bool = False,
    progress: Progress | None = None,
) -> IndexReport:
    """Make the INDEX at `output` hold exactly the live rows of the stores, in so many parts of whole shards.

    max_memory  bytes for one part as searched; as before, else half of the physical memory
    run         makes parts, in any order and anywhere that sees `output` and the stores under their names; None makes
                them one after the other in this process
    asking      what asks the parts while recall is measured, as in `Parts.open`
    whole       the parts are to be one index, which has `max_memory` by itself

    All else as in `imgret.indexes.build.build`. What all parts share is learnt once from a sample of all rows, and
    recall is measured over all parts together. Parts whose shards are what they were are kept, from an index that is
    there as from a build that was cut off, while the kind stays; new shards go to the smallest part. Readers are not
    disturbed.

    IndexFileError, StoreError, WhiteningError or UnknownNameError for whatever a user can fix.
    """
    output = Path(output)
    if parts < 2:
        raise ValueError(f"parts must be at least 2, got {parts}")
    check_kind(kind, factory)
    check_folder(output)
    if Index.exists(output) and not Parts.exists(output):
        raise IndexFileError(f"{output} is an undivided index; give the one in parts a folder of its own with -o")
    old = Parts.open(output) if Parts.exists(output) else None
    white = whitening_for(output, old, stores[0], whitening)
    wish = Wish.of(
        None if old is None else old.about,
        kind,
        factory,
        max_memory,
        target_recall,
        seed,
        progress,
        1 if whole else parts,
        graphs=not whole,
    )
    if count := sum(store.count for store in stores):  # refused before anything is read
        wish.quick(count, stores[0].dim if white is None else white.dim)
    dealt = deal(stores, parts, {} if old is None else _known(old, parts)) if count else [list(stores)]
    rows = gather([store for part in dealt for store in part], verify=False, whitening=white, progress=progress)
    with held(output, FOLDER):
        return _Building(output, stores, dealt, rows, wish, asking).build(
            old, run or partial(one_by_one, progress=progress)
        )


def _known(old: Parts, parts: int) -> dict[str, int]:
    """The part of every shard of an index of so many parts."""
    sizes = [about["shards"] for about in old.about["parts"]]
    if len(sizes) != parts:
        return {}
    return dict(zip(old.about["shards"], np.repeat(np.arange(parts), sizes).tolist(), strict=True))


@dataclass(frozen=True)
class _Learnt:
    """What all parts share: the kind, and the empty index of it that has learnt what there is to learn.

    trained   {"file", "bytes", "sha256"} of that, below parts/
    training  as in index.json
    """

    choice: Choice
    trials: list[dict[str, Any]]
    trained: dict[str, Any]
    training: dict[str, Any]


@dataclass(frozen=True)
class _Building:
    """One build: the stores, those of every part, and the rows of all, in the order of the parts."""

    output: Path
    stores: Sequence[Store]
    dealt: list[list[Store]]
    rows: Rows
    wish: Wish
    asking: Asking

    def build(self, old: Parts | None, run: Run) -> IndexReport:
        self._discard({} if old is None else old.about, only_partial=True)
        reason = None if old is None else self._why_anew(old)
        learnt = self._learnt(None if reason else old)
        whitening = self._shared_whitening()
        jobs = [self._job(number, learnt, whitening) for number in range(len(self.dealt))]
        missing = [job for job in jobs if finished(Path(job.folder)) is None]
        done = {one.number for one in run(missing)} if missing else set()
        if lacking := [Path(job.folder).name for job in missing if job.number not in done]:
            raise IndexFileError(f"{self.output}: {', '.join(lacking)} not made; run the same again")
        about = self._about(learnt, jobs, whitening)
        if old is not None and self._same(old, about):
            about |= {key: old.about[key] for key in ("parameters", "recall", "versions", "why", "trials", "training")}
            if about != old.about:  # roots or memory, at most
                atomic.write_json(self.output / INDEX_FILE, about)
            self._discard(about)
            return self._report(old, old, changed=False, reason=None, made=0)
        about = self._measured(about, fresh=old is None or reason is not None)
        for job in jobs:
            self._tell(Path(job.folder), about)
        atomic.write_json(self.output / INDEX_FILE, about)
        report = self._report(Parts(self.output, about), old, changed=True, reason=reason, made=len(missing))
        self._discard(about)
        return report

    def _why_anew(self, old: Parts) -> str | None:
        """Why nothing of an index can be kept; None where its parts can whose shards are what they were."""
        was, count, rows = old.about, len(self.rows), self.rows
        choice = self.wish.kept(old, count)
        now = None if rows.whitening is None else rows.whitening.card()
        if old.fingerprint != rows.stores[0].fingerprint:
            return "the stores were made by another recipe"
        if (was["whitening"] and was["whitening"]["sha256"]) != (now and now["sha256"]):
            return f"the whitening was {named(was['whitening'])} and is now {named(now)}"
        if choice.kind != was["kind"]:
            return f"the kind was {was['kind']} and is now {choice.kind}"
        if self.wish.factory is not None and self.wish.factory != was["factory"]:
            return f"the factory was {was['factory']} and is now {self.wish.factory}"
        if self.wish.seed != was["seed"]:
            return f"the seed was {was['seed']} and is now {self.wish.seed}"
        trained = was["training"]["count"]
        if old.structure.lists and count > MOST_GROWTH * trained:
            return f"it was trained on {trained:,} vectors and now holds {count:,}"
        return None

    def _learnt(self, old: Parts | None) -> _Learnt:
        """From the index that is updated, else from a build of the same that was cut off, else anew."""
        if old is not None:
            choice = self.wish.kept(old, len(self.rows))
            same = choice.why == old.about["why"]
            choice = Choice(choice.kind, old.about["factory"], choice.why)
            training = old.about["training"] | {"renumbered": True}
            return _Learnt(choice, old.about["trials"] if same else [], old.about["trained"], training)
        folder, key = self.output / FOLDER, self.wish.key(self.rows, None)
        with suppress(OSError, ValueError, KeyError, TypeError):
            about = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
            whole = sha256_of(folder / about["trained"]["file"]) == about["trained"]["sha256"]
            if about.pop("key") == key and whole:
                return _Learnt(Choice(**about.pop("choice")), **about)
        choice, trials = self.wish.planned(self.rows)
        index = create(choice.factory, self.rows.dim, self.wish.seed)
        size = train(index, choice.factory, self.rows, self.wish.seed, self.wish.max_memory, self.wish.progress)
        file = f"trained-{key[:12]}.faiss"
        writing.write_faiss(folder / file, index)
        learnt = _Learnt(choice, trials, _facts(folder / file), {"count": len(self.rows), "rows": size})
        atomic.write_json(folder / PLAN_FILE, {"key": key} | asdict(learnt))
        return learnt

    def _shared_whitening(self) -> dict[str, Any] | None:
        if self.rows.whitening is None:
            return None
        file = self.output / FOLDER / f"whitening-{self.rows.whitening.sha256[:12]}.safetensors"
        if not file.exists():
            self.rows.whitening.save(file)
        return _facts(file)

    @cached_property
    def _numbers(self) -> dict[tuple[Place, str], int]:
        """The number of a shard, by its store and file."""
        return {(one.path, entry.file): at for one in self.stores for at, entry in enumerate(one.shards)}

    def _job(self, number: int, learnt: _Learnt, whitening: dict[str, Any] | None) -> PartJob:
        stores, folder = self.dealt[number], self.output.absolute() / FOLDER
        key = part_key(stores, learnt.trained["sha256"], self.rows.whitening)
        return PartJob(
            number,
            str(folder / f"part-{number:05d}-{key[:12]}"),
            key,
            tuple(str(store.path.absolute()) for store in stores),
            tuple(tuple(self._numbers[store.path, entry.file] for entry in store.shards) for store in stores),
            str(folder / learnt.trained["file"]),
            learnt.training,
            None if whitening is None else str(folder / whitening["file"]),
            learnt.choice,
            self.wish.seed,
            self.wish.target,
            self.wish.max_memory,
        )

    def _about(self, learnt: _Learnt, jobs: Sequence[PartJob], whitening: dict[str, Any] | None) -> dict[str, Any]:
        """What index.json says before recall is measured."""
        parts, shards, roots = [], [], []
        for job, stores in zip(jobs, self.dealt, strict=True):
            about, its_roots = read_about(Path(job.folder)), roots_of(stores)[0]
            shards += about["shards"]
            roots += its_roots
            parts.append(
                {
                    "folder": Path(job.folder).name,
                    "key": job.key,
                    "count": about["count"],
                    "shards": len(about["shards"]),
                    "roots": len(its_roots),
                    "files": about["files"],
                }
            )
        if (count := sum(part["count"] for part in parts)) != len(self.rows):
            raise IndexFileError(f"{self.output}: {count:,} images in its parts, {len(self.rows):,} in the stores")
        return about_rows(self.rows, self.output, shards, roots) | {
            "schema": SCHEMA,
            "seed": self.wish.seed,
            "max_memory": self.wish.max_memory,
            "count": count,
            "kind": learnt.choice.kind,
            "factory": learnt.choice.factory,
            "why": learnt.choice.why,
            "trials": learnt.trials,
            "training": learnt.training,
            "parameters": {},
            "recall": {},
            "trained": learnt.trained,
            "whitening_file": whitening,
            "parts": parts,
        }

    def _same(self, old: Parts, about: dict[str, Any]) -> bool:
        """Whether the index holds these parts already, measured for the target that is wished."""
        was = old.about
        same = was["parts"] == about["parts"] and was["trained"] == about["trained"]
        return same and bool(was["recall"]["target"] == self.wish.target)

    def _measured(self, about: dict[str, Any], *, fresh: bool) -> dict[str, Any]:
        """Tune the search parameters over all parts, and write down the recall they give."""
        if self.wish.progress is not None:
            self.wish.progress("measuring recall", 0, 1)
        index, training, seed = Parts(self.output, about, self.asking), about["training"], self.wish.seed
        count = training["count"] if fresh else 0  # else rows are no longer numbered as they were then
        trained_on = training_rows(training["count"], training["rows"], seed)
        rows, held_out = measure_rows(index, trained_on, count, seed)
        parameters, recall = tune(index, Truth(index, rows, Parts.search), self.wish.target)
        found = certificate(recall, len(rows), self.wish.target, held_out)
        return about | {"parameters": parameters, "recall": found}

    def _tell(self, folder: Path, about: dict[str, Any]) -> None:
        """Let a part know what was measured with all, as it may be searched by itself; its other files never change."""
        part = read_about(folder)
        known = {key: about[key] for key in ("parameters", "recall", "training")}
        if part | known != part:
            atomic.write_json(folder / INDEX_FILE, part | known)

    def _discard(self, about: dict[str, Any], only_partial: bool = False) -> None:
        """Remove what is not of the index, or what killed processes have left half done."""
        keep = {Path(name).parts[1] for name in files_of(about)} if about else set()
        for place in list((self.output / FOLDER).iterdir()):
            if place.name in keep or (only_partial and not place.name.endswith(PARTIAL)):
                continue
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            else:
                place.unlink(missing_ok=True)

    def _report(self, index: Parts, old: Parts | None, *, changed: bool, reason: str | None, made: int) -> IndexReport:
        about, was = index.about, {} if old is None else _live(old)
        kept = sum(min(count, was.get(sha256, 0)) for sha256, count in _live(index).items())
        return IndexReport(
            path=self.output,
            changed=changed,
            rebuilt_because=reason,
            count=index.count,
            dead=0,
            added=index.count - kept,
            removed=sum(was.values()) - kept,
            kept=kept,
            kind=about["kind"],
            factory=about["factory"],
            why=about["why"],
            parameters=about["parameters"],
            recall=about["recall"],
            whitening=about["whitening"],
            trials=about["trials"] if changed and (old is None or reason) else [],
            parts=(made, len(self.dealt) - made),
        )


def _live(index: Parts) -> dict[str, int]:
    """Rows of every shard."""
    shards = index.about["shards"]
    return dict(zip(shards, np.bincount(index.origin[:, 0], minlength=len(shards)).tolist(), strict=True))


def _facts(file: Path) -> dict[str, Any]:
    return {"file": file.name, "bytes": file.stat().st_size, "sha256": sha256_of(file)}
