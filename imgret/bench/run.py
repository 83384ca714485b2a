"""The whole bench: take images, measure step after step, choose."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from imgret.bench import choice, decoding, describing, sample, together
from imgret.bench.machine import hardware
from imgret.bench.report import BenchReport, Cosine, Decoding, Describing, Together
from imgret.errors import InputError
from imgret.extraction.job import ExtractJob, Say, quiet
from imgret.extraction.loading import LoadedDescriber, new_store
from imgret.extraction.recipe import decode_rule
from imgret.extraction.stream import describe_stream
from imgret.images.decode import DecodeRule
from imgret.models import DEFAULT_MODEL, is_weights_file


@dataclass(frozen=True)
class Effort:
    """How long to measure, in seconds a step, and in how many rounds; `compile` whether to try that too."""

    looking: float = 20.0
    decoding: float = 20.0
    describing: float = 30.0
    together: float = 10.0
    rounds: int = 3
    compile: bool = True


QUICK = Effort(looking=1.5, decoding=1.5, describing=2.0, together=2.0, rounds=1, compile=False)
FULL = Effort()


def bench(
    job: ExtractJob, *, images: int = 64, effort: Effort = FULL, say: Say = quiet, doing: Say = quiet
) -> BenchReport:
    """Measure what extracting as `job` says would cost here, every precision and way of decoding in turn.

    `job.images` are sampled; without any, pictures are drawn. `job.precision`, `compile`, `decode` and `workers` are
    not looked at: they are what is found out. `say` hears what a user must know, `doing` what is being done.
    InputError when not one image of the sample can be read.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="imgret-bench-") as place:
        doing("finding images" if job.images else "drawing pictures")
        taken = sample.take(job.images, images) if job.images else sample.draw(Path(place), min(images, 16))
        doing("loading the model")
        loaded = describing.load(job, say)
        report = _Bench(job, taken, loaded, effort, doing).report()
    return replace(report, seconds=time.perf_counter() - started)


class _Bench:
    """One bench under way."""

    def __init__(
        self, job: ExtractJob, taken: sample.Sample, loaded: LoadedDescriber, effort: Effort, doing: Say
    ) -> None:
        self._job, self._taken, self._loaded, self._effort, self._doing = job, taken, loaded, effort, doing
        self._rule = decode_rule(new_store(job, loaded).recipe, max_megapixels=job.max_megapixels)
        self._hardware = hardware(job.device)
        self._batch_size = loaded.describer.batch_size(self._rule.size)

    def report(self) -> BenchReport:
        taken, effort = self._taken, self._effort
        self._doing(f"reading and decoding {len(taken.images)} of {taken.found:,} images")
        there, reading, refused = decoding.read(taken.images)
        pictures, spoilt = decoding.look(there, self._rule, workers=self._hardware.cores, seconds=effort.looking)
        refused += spoilt
        if not pictures:
            raise InputError(f"none of the {len(refused)} images tried can be read: {refused[0].message}")
        timed = decoding.affordable([one.image for one in pictures], self._rule, effort.decoding, effort.rounds)
        decoded = decoding.measure(timed, self._rule, rounds=effort.rounds)

        self._doing("loading the model in every precision")
        variants = describing.load_variants(
            self._job, self._loaded, compiled="" if effort.compile else "left out by --quick"
        )
        groups = describing.groups([one.pixels["exact"] for one in pictures], self._batch_size)
        runs = len(variants.describers) * (effort.rounds + 1) + 1
        groups = describing.affordable(self._loaded.describer, groups, runs=runs, seconds=effort.describing)
        self._doing("compiling the model" if effort.compile else "describing")
        count = choice.SUPPOSED if taken.drawn else taken.found
        rows = describing.warm_up(variants, groups, expected=count, side=self._rule.size)
        self._doing("describing with the model alone")
        described = describing.measure(variants, groups, rows, effort.rounds)

        judged = [number for group in groups for number in group.numbers]
        plain = rows[describing.PLAIN]
        decoded = [self._judged(row, pictures, groups, plain) for row in decoded]
        model, way = choice.choose(decoded, described, count, self._hardware)
        reference = {pictures[number].image.id: row for number, row in zip(judged, plain, strict=True)}
        streams = self._streams(variants, model, way, decoded, described, reference, count)
        best = choice.choose_workers([row for row in streams if _is(row, model, way)], self._hardware.cores)
        return BenchReport(
            machine=self._hardware.facts,
            images={
                "found": taken.found,
                "sampled": len(taken.images),
                "read": len(pictures),
                "unreadable": len(refused),
                "drawn": taken.drawn,
                "seed": sample.SEED,
                "megapixels": median(one.megapixels for one in pictures),
            },
            model={
                "name": _name(self._job),
                "backbone": self._loaded.identity["backbone"],
                "trained": self._loaded.trained,
                "image_size": self._rule.size,
                "scales": list(self._job.scales or (1.0,)),
                "batch_size": self._batch_size,
            },
            reading=reading,
            decoding=tuple(decoded),
            describing=tuple(described),
            together=tuple(streams),
            choice=choice.explain(self._job, best, decoded, described, count=None if taken.drawn else taken.found),
            seconds=0.0,
        )

    def _judged(
        self,
        row: Decoding,
        pictures: Sequence[decoding.Picture],
        groups: Sequence[describing.Group],
        plain: np.ndarray,
    ) -> Decoding:
        """The row with its cosine: what the float32 model says of pictures decoded that way."""
        if row.seconds is None:
            return row
        if row.decode == "exact":
            return replace(row, cosine=describing.cosine(plain, plain))
        pixels = [one.pixels[row.decode] for one in pictures]
        again = [describing.filled(group.numbers, pixels, self._batch_size, group.weight) for group in groups]
        return replace(row, cosine=describing.cosine(describing.rows_of(self._loaded.describer, again), plain))

    def _streams(
        self,
        variants: describing.Bench,
        model: Describing,
        way: Decoding,
        decoded: Sequence[Decoding],
        described: Sequence[Describing],
        reference: Mapping[str, np.ndarray],
        count: int,
    ) -> list[Together]:
        """The plain way and the chosen one, the latter with fewer workers too, in turns."""
        cores, full = self._hardware.cores, self._effort.compile
        plain = next(row for row in described if (row.precision, row.compile) == describing.PLAIN)
        exact = next(row for row in decoded if (row.decode, row.reader) == ("exact", way.reader))
        tried = [(model, way, cores)]
        if full:
            tried += [(model, way, cores // 2)] if cores > 1 else []
            tried += [] if (model, way) == (plain, exact) else [(plain, exact, cores)]
        if model.compile:
            self._doing("compiling the model for every size")
            self._run_through(variants.describers[model.precision, True], way)
        found: list[list[float]] = [[] for _ in tried]
        cosines: list[Cosine | None] = [None for _ in tried]
        for _ in range(2 if full else 1):
            for number, (one, how, workers) in enumerate(tried):
                self._doing(f"both together: {one.precision}, {how.decode}, {workers} workers")
                seconds, rows = together.steady(
                    self._taken.images,
                    self._rule_of(how),
                    variants.describers[one.precision, one.compile],
                    workers=workers,
                    batch_size=self._batch_size,
                    about=self._ideal(one, how),
                    expected=count,
                    seconds=self._effort.together,
                )
                found[number].append(seconds)
                cosines[number] = _cosine(rows, reference)
        return [
            Together(one.precision, one.compile, how.decode, workers, median(times), self._ideal(one, how), cosine)
            for (one, how, workers), times, cosine in zip(tried, found, cosines, strict=True)
        ]

    def _run_through(self, describer: describing.Describer, way: Decoding) -> None:
        for _ in describe_stream(
            self._taken.images, self._rule_of(way), describer, workers=0, batch_size=self._batch_size
        ):
            pass

    def _rule_of(self, way: Decoding) -> DecodeRule:
        return replace(self._rule, scaled=way.decode == "scaled")

    def _ideal(self, model: Describing, way: Decoding) -> float:
        return self._hardware.ideal(way.seconds or 0.0, model.seconds or 0.0)


def _name(job: ExtractJob) -> str:
    return job.model or (job.weights if job.weights and is_weights_file(job.weights) else DEFAULT_MODEL)


def _is(row: Together, model: Describing, way: Decoding) -> bool:
    return (row.precision, row.compile, row.decode) == (model.precision, model.compile, way.decode)


def _cosine(rows: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Cosine | None:
    both = [name for name in reference if name in rows]
    if not both:
        return None
    return describing.cosine(np.stack([rows[name] for name in both]), np.stack([reference[name] for name in both]))
