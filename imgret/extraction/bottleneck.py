"""The bottleneck of a run in words: what took the time, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgret.extraction.stream import Clock


def bottleneck(clock: Clock, seconds: float, images: int, recipe: Mapping[str, Any], device: str = "cpu") -> str:
    """One sentence or two about the largest share of `seconds` on a device; "" where nothing was described.

    Decoding goes on while the model works, so its share is the time that the model waited for it.
    """
    shares = {"model": clock.describing, "decoding": clock.decoding, "writing": clock.writing}
    name = max(shares, key=shares.__getitem__)
    if not images or seconds <= 0 or not shares[name]:
        return ""
    share = f"{min(shares[name] / seconds, 1):.0%} of the time"
    each = 1000 * shares[name] / images
    if name == "model":
        return f"Bottleneck: the model, {share} ({each:.1f} ms an image). {_lighter(recipe, device)}"
    if name == "writing":
        return f"Bottleneck: writing, {share}. A quicker disk would help."
    decode = 1000 * clock.decode_cpu / max(clock.decoded, 1)
    help_ = "--decode scaled would help in a new store" if recipe.get("decode") == "exact" else "More cores would help"
    return f"Bottleneck: decoding, waited for {share} ({decode:.1f} ms of one core an image). {help_}."


def _lighter(recipe: Mapping[str, Any], device: str) -> str:
    ways = ["a smaller --image-size"]
    if len(recipe.get("scales", (1.0,))) > 1:
        ways.append("one scale")
    lighter = f"in a new store {' or '.join(ways)}"
    what = f"A GPU, or {lighter}," if device == "cpu" else f"I{lighter[1:]}"
    return f"{what} would help; imgret bench compares."
