"""Size groups: which shape of batch an image belongs to, by its aspect (its height over its width).

Warping a photograph to a square bends it; grouping images of like aspect bends them hardly at all, and a batch
still has one size. The bins and the five templates S2 to L2 are those of Yokoo et al. (arXiv:2003.11211), which
GLAM (arXiv:2107.08000) trains with; T2 and XS2 are ours, for modest machines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imgret.tables import look_up

EDGES = (0.67, 0.77, 1.33, 1.5)  # between landscape, less so, about square, portrait and more so


@dataclass(frozen=True)
class Template:
    """The size (width, height) in pixels of each size group, from the widest group to the tallest."""

    sizes: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(EDGES) + 1:
            raise ValueError(f"a template has {len(EDGES) + 1} sizes, one a group, got {len(self.sizes)}")


TEMPLATES = {
    "T2": Template(((192, 128), (192, 144), (160, 160), (144, 192), (128, 192))),
    "XS2": Template(((272, 192), (256, 192), (224, 224), (192, 256), (192, 272))),
    "SS2": Template(((480, 320), (480, 352), (384, 384), (352, 480), (320, 480))),
    "S2": Template(((512, 352), (512, 384), (448, 448), (384, 512), (352, 512))),
    "SM2": Template(((736, 512), (704, 544), (608, 608), (544, 704), (512, 736))),
    "M2": Template(((800, 544), (800, 608), (704, 704), (608, 800), (544, 800))),
    "L2": Template(((800, 544), (800, 608), (800, 800), (608, 800), (544, 800))),
}


def template_called(name: str) -> Template:
    """The template of that name; UnknownNameError with the nearest name otherwise."""
    return look_up(TEMPLATES, "size template", name)


def size_group(aspect: np.ndarray | float) -> np.ndarray:
    """The number of edges at or below each aspect, 0 to 4: int64, the shape of `aspect`; -1 where it is nan."""
    aspect = np.asarray(aspect, np.float64)
    return np.where(np.isnan(aspect), -1, np.searchsorted(EDGES, aspect, side="right"))


def scaled(template: Template, side: int, multiple: int = 16) -> Template:
    """The template's shapes with about side x side pixels each, every side the nearest multiple of `multiple`.

    ValueError when `side` is smaller than `multiple`.
    """
    if side < multiple:
        raise ValueError(f"side must be at least {multiple}, a multiple of which every side will be, got {side}")
    sizes = []
    for width, height in template.sizes:
        stretch = (width / height) ** 0.5
        sizes.append((_nearest(side * stretch, multiple), _nearest(side / stretch, multiple)))
    return Template(tuple(sizes))


def _nearest(length: float, multiple: int) -> int:
    return max(1, round(length / multiple)) * multiple
