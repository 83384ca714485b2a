"""How a model's views lie on the image, for pictures of them."""

from __future__ import annotations

from imgret.models.base import MIN_SIDE, DescriptorModel
from imgret.nn.backbones import Pyramid, TokenTrunk
from imgret.nn.geometry import Geometry as Geometry
from imgret.nn.geometry import geometry

EVEN = Geometry(0.5, 1, whole=True)
"""Of a model without a trunk: its cells share the image evenly."""


def view_geometry(model: DescriptorModel) -> Geometry:
    """How the cells of a model's views lie on the image it is given: as those of its trunk."""
    trunk = getattr(model, "trunk", None)
    return geometry(trunk) if isinstance(trunk, (Pyramid, TokenTrunk)) else EVEN


def seen_size(shape: Geometry, height: int, width: int) -> tuple[int, int]:
    """(height, width) that the trunk sees of an image: stretched to the smallest side, then to whole cells."""
    return shape.size(max(height, MIN_SIDE)), shape.size(max(width, MIN_SIDE))
