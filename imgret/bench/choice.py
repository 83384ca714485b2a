"""From the figures to flags: the quickest way whose descriptors are nearly the same, and a sentence why."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from imgret.bench.machine import Hardware
from imgret.bench.report import Choice, Decoding, Describing, Together
from imgret.extraction.job import ExtractJob

NEAR = 0.99
"""Mean cosine that a way must keep to be chosen."""
WORTH = 0.03
"""A way that changes pixels or precision must save this share of the time."""
SUPPOSED = 10_000
"""Images of a collection that was not named."""


def break_even(plain: Describing, compiled: Describing) -> int | None:
    """Images from which on compiling pays for its start; None when it saves next to nothing, or either did not run."""
    if plain.seconds is None or compiled.seconds is None or compiled.seconds > (1 - WORTH) * plain.seconds:
        return None
    return math.ceil(compiled.start / (plain.seconds - compiled.seconds))


def choose(
    decoding: Sequence[Decoding], describing: Sequence[Describing], count: int, hardware: Hardware
) -> tuple[Describing, Decoding]:
    """What gets `count` images done soonest, the start of --compile included, and stays near.

    Scaled decoding and short precisions must save enough to be worth it: with nothing to win, exact and float32 stay.
    """
    ways = [row for row in decoding if row.reader == best_reader(decoding) and _is_near(row)]
    uncompiled = {row.precision: row for row in describing if not row.compile}
    pays = {row: break_even(uncompiled[row.precision], row) for row in describing if row.compile}
    models = [row for row in describing if _is_near(row) and pays.get(row, 0) is not None]

    def total(model: Describing, way: Decoding) -> float:
        return model.start + count * hardware.ideal(way.seconds or 0.0, model.seconds or 0.0)

    exact = next(row for row in ways if row.decode == "exact")
    quickest = min(ways, key=lambda way: way.seconds or 0.0)
    model = min(models, key=lambda one: total(one, quickest))
    in_full = min((one for one in models if one.precision == "fp32"), key=lambda one: total(one, quickest))
    if total(model, quickest) > (1 - WORTH) * total(in_full, quickest):
        model = in_full
    return model, quickest if total(model, quickest) <= (1 - WORTH) * total(model, exact) else exact


def best_reader(rows: Sequence[Decoding]) -> str:
    """What `imgret extract` decodes with: simplejpeg where it is installed."""
    return "simplejpeg" if any(row.reader == "simplejpeg" and row.seconds is not None for row in rows) else "pillow"


def _is_near(row: Decoding | Describing) -> bool:
    return row.seconds is not None and row.cosine is not None and row.cosine.mean >= NEAR


def choose_workers(rows: Sequence[Together], usual: int) -> Together:
    """The quickest of the streams, or the one with a worker per core if that is as good."""
    best = min(rows, key=lambda row: row.seconds)
    plain = next(row for row in rows if row.workers == usual)
    return best if best.seconds <= (1 - WORTH) * plain.seconds else plain


def command(job: ExtractJob, best: Together) -> str:
    """What to paste; the options given to the bench come first."""
    said = ["imgret", "extract", *(job.images or ("photos/",)), "-o", str(job.output)]
    for option, value in (
        ("--model", job.model),
        ("--backbone", job.backbone),
        ("--weights", job.weights),
        ("--image-size", job.image_size),
        ("--scales", ",".join(f"{scale:g}" for scale in job.scales) if job.scales else None),
        ("--device", None if job.device == "auto" else job.device),
    ):
        if value is not None:
            said += [option, str(value)]
    said += ["--precision", best.precision, "--compile" if best.compile else "--no-compile"]
    said += ["--decode", best.decode, "--workers", str(best.workers)]
    return shlex.join(said)


def explain(
    job: ExtractJob,
    best: Together,
    decoding: Sequence[Decoding],
    describing: Sequence[Describing],
    *,
    count: int | None,
) -> Choice:
    """The command and the reasons for it; `count` is how many images there are, None where none were named."""
    by_variant = {(row.precision, row.compile): row for row in describing}
    plain, compiled = by_variant[best.precision, False], by_variant[best.precision, True]
    pays = break_even(plain, compiled)
    reasons = [
        _of_precision(best, by_variant),
        _of_compiling(best, plain, compiled, pays, count),
        _of_decoding(best, decoding),
    ]
    return Choice(command(job, best), tuple(reason for reason in reasons if reason), pays)


def _of_precision(best: Together, rows: dict[tuple[str, bool], Describing]) -> str:
    chosen, full = rows[best.precision, False], rows["fp32", False]
    if best.precision == "fp32":
        tried = [row for row in rows.values() if row.precision != "fp32" and row.seconds is not None]
        return "fp32: nothing shorter is as near and worth it." if tried else "fp32: nothing shorter runs well here."
    gain = (full.seconds or 0.0) / (chosen.seconds or math.inf)
    return f"{best.precision} describes {gain:.1f} times as fast as fp32, at {_cosine(chosen)}."


def _of_compiling(best: Together, plain: Describing, compiled: Describing, pays: int | None, count: int | None) -> str:
    if compiled.seconds is None:
        return f"--compile was not tried: {compiled.why_not}."
    if pays is None:
        return "--compile saves next to nothing here."
    there = f"there are {count:,}" if count is not None else f"{SUPPOSED:,} are supposed here"
    verdict = "so compile" if best.compile else "so do not compile"
    gain = (plain.seconds or 0.0) / compiled.seconds
    return (
        f"--compile makes the model {gain:.1f} times as fast after a start of {compiled.start:.0f} s, "
        f"which pays from {pays:,} images on; {there}, {verdict}."
    )


def _of_decoding(best: Together, rows: Sequence[Decoding]) -> str:
    ways = {row.decode: row for row in rows if row.reader == best_reader(rows)}
    scaled, exact = ways["scaled"], ways["exact"]
    if best.decode == "exact":
        return "Exact decoding: " + ("scaled saves next to nothing." if _is_near(scaled) else "scaled strays too far.")
    gain = (exact.seconds or 0.0) / (scaled.seconds or math.inf)
    return f"Scaled decoding is {gain:.1f} times as fast as exact, at {_cosine(scaled)}."


def _cosine(row: Decoding | Describing) -> str:
    return "an unknown cosine" if row.cosine is None else f"a cosine of {row.cosine.mean:.4f}"
