"""Engine: where images are decoded and described. All else about an extraction is the same on every engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from imgret.extraction.job import ExtractJob, Say
from imgret.extraction.plan import Work
from imgret.extraction.stream import Clock, Described, default_workers, describe_stream
from imgret.images.decode import DecodeRule, Undecodable
from imgret.images.files import ImageFile
from imgret.remote_path import as_place

if TYPE_CHECKING:
    from imgret.extraction.loading import LoadedDescriber


class Engine(Protocol):
    """One extraction's hands."""

    def load_for_job(self, job: ExtractJob, say: Say) -> LoadedDescriber:
        """The model for a store that does not exist yet."""
        ...

    def load_for_recipe(
        self, job: ExtractJob, recipe: Mapping[str, Any], origin: Mapping[str, Any], weights: str | None, say: Say
    ) -> LoadedDescriber:
        """The model that the store of a job was made with; `weights` says where its file is now."""
        ...

    def stream(
        self, job: ExtractJob, work: Work, rule: DecodeRule, loaded: LoadedDescriber, clock: Clock
    ) -> Iterator[tuple[ImageFile, Described | Undecodable]]:
        """(image, descriptor or why not) for every image, in order; a generator, whose `close` ends the work."""
        ...


class Local:
    """Everything on this machine: decode workers beside this process, which holds the model."""

    def load_for_job(self, job: ExtractJob, say: Say) -> LoadedDescriber:
        from imgret.extraction.loading import load_for_job

        return load_for_job(job, say)

    def load_for_recipe(
        self, job: ExtractJob, recipe: Mapping[str, Any], origin: Mapping[str, Any], weights: str | None, say: Say
    ) -> LoadedDescriber:
        from imgret.extraction.loading import load_for_recipe

        where, options = as_place(job.output), {"device": job.device, "offline": job.offline, "compile": job.compile}
        return load_for_recipe(recipe, origin, say, weights=weights, where=where, **options)  # type: ignore[arg-type]

    def stream(
        self, job: ExtractJob, work: Work, rule: DecodeRule, loaded: LoadedDescriber, clock: Clock
    ) -> Iterator[tuple[ImageFile, Described | Undecodable]]:
        describer = loaded.describer
        describer.expect(len(work), rule.size)
        return describe_stream(
            work,
            rule,
            describer,
            workers=default_workers() if job.workers is None else job.workers,
            batch_size=job.batch_size or describer.batch_size(rule.size),
            clock=clock,
            expected=len(work),
        )
