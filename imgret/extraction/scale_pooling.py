"""How the descriptors of an image at several scales become one: the names, and how they are read. No torch."""

from __future__ import annotations

from imgret.errors import ImgretError
from imgret.tables import look_up

AUTO = "auto"
P_RANGE = (1.0, 100.0)

SCALE_POOLINGS: dict[str, str] = {
    "auto": "gem where the model ends in GeM, else mean",
    "mean": "the mean of the unit descriptors",
    "gem": "their mean with the p of the model's GeM; gem:p=10 is Scale-GeM at a finite p",
    "signed": "the mean of their cubes, signs kept",
    "raw": "the mean of the descriptors before they are made unit length",
    "max": "the largest of each entry (Scale-GeM)",
}


def parse_scale_pooling(text: str) -> tuple[str, float | None]:
    """'gem:p=10' -> ('gem', 10.0), 'max' -> ('max', None).

    UnknownNameError ("did you mean") for a name that is not in SCALE_POOLINGS; ImgretError for a p that is none.
    """
    name, _, setting = text.strip().partition(":")
    look_up(SCALE_POOLINGS, "scale pooling", name)
    if not setting:
        return name, None
    key, _, value = setting.partition("=")
    try:
        p = float(value)
    except ValueError:
        p = float("nan")
    if name != "gem" or key != "p" or not P_RANGE[0] <= p <= P_RANGE[1]:
        raise ImgretError(
            f"only gem has a setting, p from {P_RANGE[0]:g} to {P_RANGE[1]:g}, as in gem:p=10, got {text!r}"
        )
    return name, p


def canonical_scale_pooling(text: str) -> str:
    """The one text for a way to pool scales: what the recipe of a store holds."""
    name, p = parse_scale_pooling(text)
    return name if p is None else f"{name}:p={repr(p).removesuffix('.0')}"
