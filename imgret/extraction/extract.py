"""Extract: describe what a store lacks and write it down, shard by shard."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from imgret.errors import ImagesFailedError, ImgretError, SpaceError
from imgret.extraction import recipe as recipes
from imgret.extraction.bottleneck import bottleneck
from imgret.extraction.engine import Engine, Local
from imgret.extraction.filling import Filling
from imgret.extraction.job import ExtractJob, Say, quiet
from imgret.extraction.plan import Plan, Work, make_plan
from imgret.extraction.stream import Clock
from imgret.ids import to_bytes
from imgret.images import files
from imgret.images.decode import Undecodable
from imgret.images.files import ImageFile, Listing
from imgret.remote_path import Place, RemotePath, as_place, check_place
from imgret.store.failures import Failure, Failures
from imgret.store.known import KnownImages
from imgret.store.store import FAILURES_FILE, Store
from imgret.store.writer import StoreWriter

if TYPE_CHECKING:
    from imgret.extraction.loading import LoadedDescriber

Progress = Callable[[int, int, int], None]
"""Called with (images done, images to do, failures so far)."""


@dataclass
class ExtractReport:
    """What a run did. `failures` counts reasons, remembered ones included."""

    store: Place
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
    device: str = "cpu"
    recipe: dict[str, Any] = field(default_factory=dict)
    trained: bool = True

    @property
    def bottleneck(self) -> str:
        """What took the time, in words."""
        return bottleneck(self.clock, self.seconds, self.clock.decoded, self.recipe, self.device)

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


def run(
    job: ExtractJob, *, engine: Engine | None = None, progress: Progress | None = None, say: Say = quiet
) -> ExtractReport:
    """Bring a store up to date with the images given (see ExtractJob), on this machine or by another engine."""
    engine = engine or Local()
    job = replace(job, output=as_place(job.output))
    check_place(job.output, job.offline)
    listing = files.find(job.images, list_file=job.list_file, root=job.root, part=job.part, offline=job.offline)
    report = ExtractReport(job.output, len(listing.images), listing.others, notes=listing.notes)
    store = Store.open(job.output) if Store.exists(job.output) else None
    if store is not None:
        recipes.check_asked(job, store.recipe)
    if job.dry_run:
        _note_plan(report, _dry_plan(job, store, listing))
        return report
    if store is not None:
        with StoreWriter(store, say) as writer:
            _update(job, writer, listing, report, engine, progress, say)
    else:
        from imgret.extraction.loading import new_store

        Store.check_free(job.output)
        loaded = engine.load_for_job(job, say)
        with StoreWriter(new_store(job, loaded), say) as writer:
            _update(job, writer, listing, report, engine, progress, say, loaded)
    return report


def _dry_plan(job: ExtractJob, store: Store | None, listing: Listing) -> Plan:
    if store is None:
        return Plan(Work(listing.images, all_of_them=True))
    return _plan(job, listing, store, KnownImages(store), Failures(store.path / FAILURES_FILE))


def _plan(job: ExtractJob, listing: Listing, store: Store, known: KnownImages, failures: Mapping[str, Failure]) -> Plan:
    return make_plan(
        listing.images,
        store,
        known,
        failures,
        verify_content=job.verify_content,
        offline=job.offline,
        prune=job.prune,
        roots=listing.roots,
        archives=listing.archives,
        part=job.part,
    )


def _note_plan(report: ExtractReport, plan: Plan) -> None:
    report.kept, report.gone, report.to_do = plan.kept, len(plan.gone), len(plan.work)
    report.replaced = plan.changed
    report.added = len(plan.work) - plan.changed
    report.failures.update(plan.remembered)


def _update(
    job: ExtractJob,
    writer: StoreWriter,
    listing: Listing,
    report: ExtractReport,
    engine: Engine,
    progress: Progress | None,
    say: Say,
    loaded: LoadedDescriber | None = None,
) -> None:
    store = writer.store
    plan = _plan(job, listing, store, writer.known, writer.failures)
    for number, folder in plan.moved.items():
        writer.move_root(number, folder)
    for image_id in plan.outdated:
        writer.failures.forget(image_id)
    report.recipe = store.recipe
    report.kept, report.gone, report.to_do = plan.kept, len(plan.gone), len(plan.work)
    report.failures.update(plan.remembered)
    if plan.work:
        _check_space(store, len(plan.work))
        if loaded is None:
            weights = job.weights if job.weights not in ("auto", "none") else None
            loaded = engine.load_for_recipe(job, store.recipe, store.origin, weights or _weights_file(job), say)
        report.trained = loaded.trained
        _describe_all(job, writer, plan.work, report, engine, loaded, progress)
    elif not store.shards:
        writer.save()
    if job.prune and plan.gone:
        writer.drop(np.frombuffer(plan.gone, np.int64))
        writer.save()
        report.pruned = len(plan.gone)
    writer.failures.save()
    report.total = store.count


def _weights_file(job: ExtractJob) -> str | None:
    return job.model if job.model and job.model.endswith(".safetensors") else None


def _check_space(store: Store, count: int) -> None:
    """Refuse before the start what cannot end well: descriptors, names and facts, and a margin. A URL has no disk."""
    if isinstance(store.path, RemotePath):
        return
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
    work: Work,
    report: ExtractReport,
    engine: Engine,
    loaded: LoadedDescriber,
    progress: Progress | None,
) -> None:
    recipe = writer.store.recipe
    rule = recipes.decode_rule(recipe, max_megapixels=job.max_megapixels)
    filling = Filling(min(job.shard_size, len(work)), writer.store.dim, recipe["store_dtype"])
    roots: dict[str, int] = {}
    begun = last = time.perf_counter()
    report.device = loaded.describer.device.type
    stream = engine.stream(job, work, rule, loaded, report.clock)

    def close_shard() -> None:
        if filling:
            started, before = time.perf_counter(), len(writer.store.shards)
            try:
                replaced = writer.add(filling.shard())
            except BaseException:
                if len(writer.store.shards) > before:  # it is there; the manifest is what was not written
                    filling.clear()
                raise
            report.clock.writing += time.perf_counter() - started
            report.replaced += replaced
            report.added += len(filling) - replaced
            filling.clear()
        else:
            writer.failures.save(every_change=False)

    try:
        for number, (image, result) in enumerate(stream, 1):
            if isinstance(result, Undecodable):
                _note_failure(writer, image, result)
                report.failures[result.reason] += 1
            else:
                if image.root not in roots:
                    roots[image.root] = writer.root_number(image.root)
                filling.add(image, result, roots[image.root])
            if progress is not None:
                progress(number, len(work), report.failed)
            now = time.perf_counter()
            if len(filling) >= job.shard_size or now - last > job.shard_seconds:
                close_shard()
                last = now
    except BaseException:
        with suppress(OSError, ImgretError):
            close_shard()  # what is described is kept, whatever ended the run
            writer.save()
        raise
    finally:
        stream.close()  # type: ignore[attr-defined]  # a generator: ends the decode workers now
        report.seconds = time.perf_counter() - begun
    close_shard()
    writer.save()


def _note_failure(writer: StoreWriter, image: ImageFile, why: Undecodable) -> None:
    places = writer.known.find([to_bytes(image.id)])
    if places[0] >= 0 and not why.retry:
        writer.drop(places)  # the file changed into something unreadable: its old row describes nothing
    writer.failures.add(Failure(image.id, image.path, why.reason, why.message, image.bytes, image.mtime_ns, why.retry))
