"""Extraction on Ray: decode tasks anywhere, models that stay, and one process that lists, orders and writes.

The driver goes through the images in order, has them decoded a few at a time, and puts together the very batches that
one machine would describe, of references in place of pixels. Descriptors come back to it in order, and it alone writes
the store. So a store comes out the same whatever the workers do, and a lost worker costs what it had in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from imgret.engines.cluster import Cluster
from imgret.engines.decoding import Decoder, RemotePixels
from imgret.engines.models import Models
from imgret.errors import EngineError
from imgret.extraction.job import ExtractJob, Say
from imgret.extraction.loading import LoadedDescriber
from imgret.extraction.plan import Work
from imgret.extraction.stream import Clock, Described, describe_stream
from imgret.images.decode import Decoded, DecodeRule, Undecodable
from imgret.images.files import ImageFile


class RayEngine:
    """An `Engine` on a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def load_for_job(self, job: ExtractJob, say: Say) -> LoadedDescriber:
        """One worker loads the model to say what it is; those that describe are started from the recipe then."""
        _check_job(job)
        from imgret.extraction import recipe as recipes

        first = Models(self._cluster, job, None, {}, None, most=1)
        with closing(first):
            facts = first.facts(say)
        recipe = recipes.build(job, facts.identity, facts.image_size, facts.precision)
        return self._loaded(job, recipe, facts.origin, None, say, facts.said)

    def load_for_recipe(
        self, job: ExtractJob, recipe: Mapping[str, Any], origin: Mapping[str, Any], weights: str | None, say: Say
    ) -> LoadedDescriber:
        _check_job(replace(job, decode=recipe["decode"]))
        return self._loaded(job, recipe, origin, weights, say)

    def _loaded(
        self,
        job: ExtractJob,
        recipe: Mapping[str, Any],
        origin: Mapping[str, Any],
        weights: str | None,
        say: Say,
        said: Sequence[str] = (),
    ) -> LoadedDescriber:
        models = Models(self._cluster, job, recipe, origin, weights)
        facts = models.facts(say, said)
        return LoadedDescriber(
            describer=models,  # type: ignore[arg-type]  # it begins batches as a Describer does
            identity=facts.identity,
            origin=facts.origin,
            dim=facts.dim,
            image_size=facts.image_size,
            precision=facts.precision,
            trained=facts.trained,
        )

    def stream(
        self, job: ExtractJob, work: Work, rule: DecodeRule, loaded: LoadedDescriber, clock: Clock
    ) -> Iterator[tuple[ImageFile, Described | Undecodable]]:
        decoder = Decoder(self._cluster, rule, job.workers, len(work))
        models = loaded.describer
        return describe_stream(
            work,
            rule,
            models,
            workers=1,  # which ones there are is the decoder's affair
            batch_size=job.batch_size or models.batch_size(rule.size),
            clock=clock,
            expected=len(work),
            decode=decoder,
            finish=_references,
        )


def _check_job(job: ExtractJob) -> None:
    if job.decode == "device":
        raise EngineError(
            "--decode device is for --engine local; leave it out, Ray's workers decode on their processors"
        )


def _references(images: Sequence[tuple[ImageFile, Decoded]]) -> tuple[list[RemotePixels], dict[int, Undecodable]]:
    return [one.pixels for _, one in images], {}  # type: ignore[misc]
