"""Extract: describe what a store lacks and write it down, shard by shard."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret.errors import ImagesFailedError, ImgretError, SpaceError
from imgret.extraction import recipe as recipes
from imgret.extraction.job import ExtractJob, Say, quiet
from imgret.extraction.plan import Plan, make_plan
from imgret.extraction.stream import Clock, Described, default_workers, describe_stream
from imgret.ids import to_bytes
from imgret.images import files
from imgret.images.decode import Undecodable
from imgret.images.files import ImageFile
from imgret.store.failures import Failure
from imgret.store.known import recall
from imgret.store.shard import Shard
from imgret.store.store import FAILURES_FILE, MANIFEST_FILE, Store
from imgret.store.writer import StoreWriter

if TYPE_CHECKING:
    from imgret.extraction.describe import Describer
    from imgret.extraction.loading import LoadedDescriber

Progress = Callable[[int, int, int], None]
"""Called with (images done, images to do, failures so far)."""


@dataclass
class ExtractReport:
    """What a run did. `failures` counts reasons, remembered ones included."""

    store: Path
    found: int
    others: int
    kept: int = 0
    added: int = 0
    replaced: int = 0
    gone: int = 0
    pruned: int = 0
    to_do: int = 0
    total: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    clock: Clock = field(default_factory=Clock)
    recipe: dict[str, Any] = field(default_factory=dict)
    trained: bool = True

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    def check(self, strict: bool) -> None:
        """Raise what the exit code should say: every image failed (1), or some did under --strict (3)."""
        where = self.store / "failures.csv"
        if self.failed and self.failed == self.found:
            raise ImgretError(f"none of the {self.found} images could be read; see {where}")
        if strict and self.failed:
            raise ImagesFailedError(f"{self.failed} of {self.found} images could not be read; see {where}")


def run(job: ExtractJob, *, progress: Progress | None = None, say: Say = quiet) -> ExtractReport:
    """Bring a store up to date with the images given (see ExtractJob)."""
    listing = files.find(job.images, list_file=job.list_file, root=job.root, part=job.part)
    report = ExtractReport(job.output, len(listing.images), listing.others, notes=listing.notes)
    store = Store.open(job.output) if Store.exists(job.output) else None
    if store is not None:
        recipes.check_asked(job, store.recipe)
    if job.dry_run:
        _note_plan(report, _dry_plan(job, store, listing.images))
        return report
    if store is not None:
        with StoreWriter(store) as writer:
            _update(job, writer, listing.images, report, progress, say)
    else:
        from imgret.extraction.loading import load_for_job, new_store

        _check_folder(job.output)
        loaded = load_for_job(job, say)
        with StoreWriter(new_store(job, loaded)) as writer:
            _update(job, writer, listing.images, report, progress, say, loaded)
    return report


def _check_folder(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise ImgretError(f"{output} is a file; -o wants the folder of the store")
    for name in (MANIFEST_FILE, FAILURES_FILE, "index.json"):
        if (output / name).exists():
            raise ImgretError(f"{output} holds a {name} that is not a store's; name a folder of its own with -o")


def _dry_plan(job: ExtractJob, store: Store | None, images: list[ImageFile]) -> Plan:
    if store is None:
        return Plan(work=list(images))
    return make_plan(images, store, *recall(store), verify_content=job.verify_content)


def _note_plan(report: ExtractReport, plan: Plan) -> None:
    report.kept, report.gone, report.to_do = plan.kept, len(plan.gone), len(plan.work)
    report.replaced = plan.changed
    report.added = len(plan.work) - plan.changed
    report.failures.update(failure.reason for failure in plan.remembered)


def _update(
    job: ExtractJob,
    writer: StoreWriter,
    images: list[ImageFile],
    report: ExtractReport,
    progress: Progress | None,
    say: Say,
    loaded: LoadedDescriber | None = None,
) -> None:
    store = writer.store
    plan = make_plan(images, store, writer.known, writer.failures, verify_content=job.verify_content)
    for number, folder in plan.moved.items():
        writer.move_root(number, Path(folder))
    listed_failures = dict(writer.failures)
    _forget_outdated_failures(writer, images, plan)
    report.recipe = store.recipe
    report.kept, report.gone, report.to_do = plan.kept, len(plan.gone), len(plan.work)
    report.failures.update(failure.reason for failure in plan.remembered)
    if plan.work:
        _check_space(store, len(plan.work))
        if loaded is None:
            from imgret.extraction.loading import load_for_recipe

            weights = job.weights if job.weights not in ("auto", "none") else None
            loaded = load_for_recipe(
                store.recipe,
                store.origin,
                say,
                device=job.device,
                weights=weights or _weights_file(job),
                offline=job.offline,
                compile=job.compile,
                where=store.path,
            )
        report.trained = loaded.trained
        _describe_all(job, writer, plan.work, report, loaded.describer, progress)
    elif not store.shards:
        writer.save()
    if job.prune and plan.gone:
        writer.drop(plan.gone)
        writer.save()
        report.pruned = len(plan.gone)
    if writer.failures != listed_failures:
        writer.save()
    report.total = store.count


def _forget_outdated_failures(writer: StoreWriter, images: list[ImageFile], plan: Plan) -> None:
    """Drop failures of files that are no more, and of images whose row stands."""
    listed = {image.id for image in images}
    work = {image.id for image in plan.work}
    for failure in list(writer.failures.values()):
        vanished = failure.id not in listed and not os.path.lexists(failure.path)
        if vanished or (to_bytes(failure.id) in writer.known and failure.id not in work):
            del writer.failures[failure.id]


def _weights_file(job: ExtractJob) -> str | None:
    return job.model if job.model and job.model.endswith(".safetensors") else None


def _check_space(store: Store, count: int) -> None:
    """Refuse before the start what cannot end well: descriptors, names and facts, and a margin."""
    need = count * (store.dim * np.dtype(store.recipe["store_dtype"]).itemsize + 200) + (4 << 20)
    free = shutil.disk_usage(store.path).free
    if need > free:
        raise SpaceError(
            f"{count} descriptors need about {need / 1e6:.0f} MB, {store.path} has {free / 1e6:.0f} MB "
            "free; free some space, choose another disk with -o, or split the work with --part I/N"
        )


def _describe_all(
    job: ExtractJob,
    writer: StoreWriter,
    work: list[ImageFile],
    report: ExtractReport,
    describer: Describer,
    progress: Progress | None,
) -> None:
    roots = {folder: writer.root_number(Path(folder)) for folder in dict.fromkeys(image.root for image in work)}
    rule = recipes.decode_rule(writer.store.recipe, max_megapixels=job.max_megapixels)
    rows: list[tuple[ImageFile, Described]] = []
    begun = last = time.perf_counter()
    stream = describe_stream(
        work,
        rule,
        describer,
        workers=default_workers() if job.workers is None else job.workers,
        batch_size=job.batch_size or describer.batch_size(rule.size),
        clock=report.clock,
    )

    def close_shard() -> None:
        if rows:
            replaced = sum(to_bytes(image.id) in writer.known for image, _ in rows)
            started = time.perf_counter()
            writer.add(_shard(rows, roots, writer.store))
            report.clock.writing += time.perf_counter() - started
            report.replaced += replaced
            report.added += len(rows) - replaced
            rows.clear()

    try:
        for number, (image, result) in enumerate(stream, 1):
            if isinstance(result, Undecodable):
                _note_failure(writer, image, result)
                report.failures[result.reason] += 1
            else:
                rows.append((image, result))
            if progress is not None:
                progress(number, len(work), report.failed)
            now = time.perf_counter()
            if len(rows) >= job.shard_size or now - last > job.shard_seconds:
                close_shard()
                last = now
    except BaseException:
        with suppress(OSError, ImgretError):
            close_shard()  # what is described is kept, whatever ended the run
        raise
    finally:
        stream.close()  # type: ignore[attr-defined]  # a generator: ends the decode workers now
        report.seconds = time.perf_counter() - begun
    close_shard()
    writer.save()


def _note_failure(writer: StoreWriter, image: ImageFile, why: Undecodable) -> None:
    raw = to_bytes(image.id)
    if raw in writer.known and not why.retry:
        writer.drop([raw])  # the file changed into something unreadable: its old row describes nothing
    writer.failures[image.id] = Failure(
        image.id, image.path, why.reason, why.message, image.bytes, image.mtime_ns, why.retry
    )


def _shard(rows: list[tuple[ImageFile, Described]], roots: dict[str, int], store: Store) -> Shard:
    images = [image for image, _ in rows]
    found = [described for _, described in rows]
    boxes = None
    if any(image.box for image in images):
        boxes = np.array([image.box or (-1, -1, -1, -1) for image in images], np.int32)
    return Shard(
        ids=[to_bytes(image.id) for image in images],
        descriptors=np.stack([one.descriptor for one in found]).astype(store.recipe["store_dtype"]),
        width=np.array([one.width for one in found], np.int32),
        height=np.array([one.height for one in found], np.int32),
        bytes=np.array([image.bytes for image in images], np.int64),
        mtime_ns=np.array([image.mtime_ns for image in images], np.int64),
        root=np.array([roots[image.root] for image in images], np.uint16),
        sha256=np.frombuffer(b"".join(one.sha256 for one in found), np.uint8).reshape(-1, 32),
        box=boxes,
    )
