"""The page of `imgret attend`: photographs with their maps of attention, one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from imgret.ids import escape
from imgret.report.overlay import UNTRAINED, AnyLook, Heat, photograph_words, times, view_words
from imgret.report.templates import write_template

MOST_IMAGES = 50
"""A page with more photographs opens slowly: what a command should look at at most."""

_SIDE, _QUALITY = 640, 82  # longer side of a picture in pixels, and its JPEG quality
_AREA, _NARROWEST, _WIDEST = 290 * 217, 230, 640  # of a picture on the page, in CSS pixels
_ACROSS, _GAP = 1260, 22  # of a card on a usual screen, and between two pictures, in CSS pixels


@dataclass(frozen=True)
class _Scale:
    """The colour scale of a map: a CSS gradient, its ends in words, and where 1x is in percent."""

    gradient: str
    low: str
    high: str
    average: float


@dataclass(frozen=True)
class _Picture:
    """A photograph or a map laid over it, as the template shows it."""

    title: str
    words: str
    alt: str
    uri: str
    width: int
    height: int
    flat: str = ""
    scale: _Scale | None = None


@dataclass(frozen=True)
class _Card:
    """One image with all its pictures, about `wide` CSS pixels each, in so many columns where there is room."""

    name: str
    wide: int
    columns: int
    pictures: Sequence[_Picture]


def write_attention_page(
    path: str | Path,
    looks: Iterable[AnyLook],
    *,
    title: str,
    about: str = "",
    untrained: bool = False,
    notes: Sequence[str] = (),
    errors: Mapping[str, str] | None = None,
) -> None:
    """Write a page of photographs and their maps of attention, whole or not at all.

    looks      one Look for each image
    about      the line below the title, such as the model
    untrained  says in plain words that the weights are random
    notes      sentences below it
    errors     id -> why there is no look; shown after the others

    Pictures are inside the file as JPEGs, and nothing is fetched when it is opened. Ids are escaped
    (`imgret.ids.escape`).
    """
    write_template(
        Path(path),
        "attention.html.jinja",
        title=title,
        about=about,
        warning=UNTRAINED if untrained else "",
        notes=notes,
        cards=(_card(look) for look in looks),
        errors=[(escape(name), why) for name, why in (errors or {}).items()],
    )


def _card(look: AnyLook) -> _Card:
    height, width = look.pixels.shape[:2]
    wide = round(min(max(math.sqrt(_AREA * width / height), _NARROWEST), _WIDEST))
    pictures = list(_pictures(look))
    fitting = max(1, round((_ACROSS + _GAP) / (wide + _GAP)))
    rows = math.ceil(len(pictures) / fitting)
    return _Card(escape(look.id), wide, math.ceil(len(pictures) / rows), pictures)  # rows of equal length


def _pictures(look: AnyLook) -> Iterator[_Picture]:
    """The photograph, then a picture for each view."""
    name = escape(look.id)
    height, width = look.pixels.shape[:2]
    factor = min(1.0, _SIDE / max(width, height))
    small = Image.fromarray(look.pixels).resize((max(1, round(width * factor)), max(1, round(height * factor))))
    pixels = np.asarray(small)
    yield _Picture("photograph", photograph_words(look), name, _uri(pixels), small.width, small.height)
    for view, values in look.views.items():
        heat = Heat(values)
        yield _Picture(
            title=view,
            words=view_words(look, view),
            alt=f"{view} of {name}: {heat.words}",
            uri=_uri(heat.over(pixels, look.places.get(view))),
            width=small.width,
            height=small.height,
            flat=heat.words if heat.flat else "",
            scale=None if heat.flat else _scale(heat),
        )


def _scale(heat: Heat) -> _Scale:
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in (heat.scale(12) * 255).round().astype(int).tolist())
    return _Scale(f"linear-gradient(to right, {stops})", times(heat.low), times(heat.high), 100 * heat.average)


def _uri(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
