"""The model alone: every precision, plain and compiled, on full batches of the same pixels, in turns."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from imgret.bench.report import Cosine, Describing
from imgret.bench.timing import in_turns, seconds_of
from imgret.extraction.describe import Describer, resolve_device, resolve_precision
from imgret.extraction.job import ExtractJob, Say
from imgret.extraction.loading import LoadedDescriber, load_for_job

Variant = tuple[str, bool]
"""A precision, and whether it is compiled."""
PLAIN: Variant = ("fp32", False)
_SETTLING = 32  # batches after which a describer has found out what suits the machine
VARIANTS: tuple[Variant, ...] = tuple((p, c) for p in ("fp32", "bf16", "fp16") for c in (False, True))


@dataclass(frozen=True)
class Group:
    """A full batch of images of one size, [B, H, W, 3] uint8.

    numbers   of the different images in it; they are repeated until the batch is full
    weight    how many images of the sample have this size
    """

    numbers: list[int]
    pixels: np.ndarray
    weight: int


@dataclass
class Bench:
    """Variants that run, with the rows [N, D] each gives for the images it was judged by, and those that do not."""

    describers: dict[Variant, Describer] = field(default_factory=dict)
    why_not: dict[Variant, str] = field(default_factory=dict)
    start: dict[Variant, float] = field(default_factory=dict)
    heard: dict[Variant, list[str]] = field(default_factory=dict)


def load(job: ExtractJob, say: Say) -> LoadedDescriber:
    """The model as `imgret extract` would load it, in float32 and not compiled: what all else is compared with."""
    return load_for_job(replace(job, precision="fp32", compile=False), say)


def load_variants(job: ExtractJob, plain: LoadedDescriber, *, compiled: str) -> Bench:
    """A describer for every variant that the device can multiply in; `compiled` says why none is, '' for all."""
    bench = Bench({PLAIN: plain.describer})
    device = resolve_device(job.device)
    for variant in VARIANTS:
        precision, compile = variant
        reason = _cannot(precision, device) or (compiled if compile else "")
        if reason:
            bench.why_not[variant] = reason
        elif variant != PLAIN:
            heard = bench.heard.setdefault(variant, [])
            try:
                loaded = load_for_job(replace(job, precision=precision, compile=compile), heard.append)
                bench.describers[variant] = loaded.describer
            except Exception as error:
                bench.why_not[variant] = _in_words(error)
    return bench


def _cannot(precision: str, device: torch.device) -> str:
    if precision == "bf16" and resolve_precision("auto", device) != "bf16":
        where = "GPU" if device.type == "cuda" else "processor"
        return f"this {where} has no bf16"
    if precision == "fp16" and device.type != "cuda":
        return "fp16 is for GPUs"
    return ""


def _in_words(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:120]


def _not_compiled(heard: Sequence[str]) -> str:
    """Why a describer that was to compile its model did not: it says so in a note, and describes all the same."""
    notes = [line for line in heard if line.startswith("note: ") and "compiled" in line]
    if not notes:
        return ""
    reason = re.search(r"\((.+)\)|: (.+)$", notes[0].removeprefix("note: "))
    return (reason[1] or reason[2])[:120] if reason else notes[0]


def groups(pixels: Sequence[np.ndarray], batch_size: int) -> list[Group]:
    """Images [H, W, 3] by size, the most frequent size first, each size as one full batch."""
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, image in enumerate(pixels):
        by_size[image.shape].append(number)
    made = []
    for numbers in sorted(by_size.values(), key=len, reverse=True):
        made.append(filled(numbers[:batch_size], pixels, batch_size, len(numbers)))
    return made


def filled(numbers: list[int], pixels: Sequence[np.ndarray], batch_size: int, weight: int) -> Group:
    """A full batch of these images, which all have one size."""
    repeated = np.resize(numbers, batch_size)
    return Group(numbers, np.stack([pixels[number] for number in repeated]), weight)


def affordable(describer: Describer, made: Sequence[Group], *, runs: int, seconds: float) -> list[Group]:
    """As many groups as `runs` of each fit into the time, judged by the first; one at least."""
    describer(made[0].pixels)
    once = seconds_of(describer, made[0].pixels)
    return list(made[: max(1, int(seconds / (once * runs)))])


def rows_of(describe: Callable[[np.ndarray], np.ndarray], made: Sequence[Group]) -> np.ndarray:
    """[N, D] of the different images in all groups."""
    return np.concatenate([describe(group.pixels)[: len(group.numbers)] for group in made])


def cosine(rows: np.ndarray, reference: np.ndarray) -> Cosine:
    """Of unit rows [N, D] to their reference."""
    values = np.einsum("nd,nd->n", rows, reference)
    return Cosine(float(values.mean()), float(values.min()), len(values))


def warm_up(bench: Bench, made: Sequence[Group], *, expected: int, side: int) -> dict[Variant, np.ndarray]:
    """Run every variant over all groups until it is settled, note what the start took, drop the ones that fail.

    `expected` images of `side` pixels are announced, as `imgret extract` would. The rows of all variants.
    """
    rows: dict[Variant, np.ndarray] = {}
    for variant, describer in list(bench.describers.items()):
        describer.expect(expected, side)
        started = time.perf_counter()
        try:
            rows[variant] = rows_of(describer, made)
            bench.start[variant] = time.perf_counter() - started
            for _ in range(_SETTLING):
                if not describer.settled:
                    describer(made[0].pixels)
        except Exception as error:
            if variant == PLAIN:
                raise
            bench.why_not[variant] = _in_words(error)
        if variant[1] and (reason := _not_compiled(bench.heard.get(variant, ()))):
            bench.why_not[variant] = reason
        if variant in bench.why_not:
            del bench.describers[variant]
    return rows


def measure(bench: Bench, made: Sequence[Group], rows: Mapping[Variant, np.ndarray], rounds: int) -> list[Describing]:
    """Seconds an image of every variant, in the steady state, and its cosine to the plain one."""
    ready = list(bench.describers)
    taken = in_turns([bench.describers[one] for one in ready], [group.pixels for group in made], rounds=rounds)
    weight = sum(group.weight for group in made)
    found = {}
    for variant, times in zip(ready, taken, strict=True):
        each = sum(time / len(group.pixels) * group.weight for time, group in zip(times, made, strict=True))
        found[variant] = Describing(
            *variant,
            seconds=each / weight,
            start=max(0.0, bench.start[variant] - sum(times)) if variant[1] else 0.0,
            cosine=cosine(rows[variant], rows[PLAIN]),
        )
    return [found.get(one) or Describing(*one, why_not=bench.why_not[one]) for one in VARIANTS]
