"""DescriptorModel: the one-method contract every model keeps."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import MappingProxyType
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imgret.nn.backbones import Pyramid
from imgret.nn.folding import fold_batch_norm

MIN_SIDE = 32  # pixels; the deepest map of the usual trunks has one cell for 32


class DescriptorModel(nn.Module):
    """A model that turns images into unit descriptors.

    To write one: set `dim`, write `describe`, `views` if it can show where it looks, and `parts` if its descriptor is
    a sum over places. Pixel mean and std are buffers, so a weights file carries them. Constructors take JSON values;
    what one was given is noted for the file.
    """

    dim: int
    mean: Tensor
    std: Tensor
    _arguments: Mapping[str, Any] = MappingProxyType({})  # of a model without a constructor of its own

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _noting_arguments(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, mean: Sequence[float] = (0.0, 0.0, 0.0), std: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1))

    def describe(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W], sides at least 32 -> descriptors [B, dim], of any length."""
        raise NotImplementedError

    def views(self, images: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Normalised images [B, 3, H, W] -> named maps [B, h, w], not negative: more is more attention.

        "local" and "global" are the attentions of models that have them, "gate" a gain learned inside the trunk;
        "pooled" is the share of the pooled vector that comes from each location. None by default.
        """
        return {}

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002
        """Normalised images [B, 3, H, W] -> what each place brings to `describe`, exactly, in eval mode; or None.

        (parts [B, h, w, dim], rest [B, dim] or [dim]): parts summed over the cells h, w, plus rest, are the descriptor.
        The rest belongs to no place: biases, the shift of a batch norm, a class token. A cell brings what the
        layers before have gathered at its place, from around it too. None by default, and of a model whose
        descriptor is no sum over places.
        """
        return None

    def view_words(self) -> dict[str, str]:
        """What the views mean, in words, by name; for the names it leaves out there are common words."""
        return {}

    @final
    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments, JSON values: with them and the weights it can be built again.

        Defaults are among them, for they may change; `pretrained` is not, for the weights make it superfluous.
        """
        return dict(self._arguments)

    @property
    def scale_power(self) -> float:
        """The power of the mean over scales: v = (mean_s f_s^power)^(1/power).

        1 unless no entry of a descriptor can be negative: GeM with no layer behind it returns its p.
        """
        return 1.0

    @final
    def folded(self) -> DescriptorModel:
        """This model with its trunk's batch norms folded, for describing only; on the CPU, in place."""
        for part in self.children():
            if isinstance(part, Pyramid):
                part.net = fold_batch_norm(part.net)  # not the pyramid: it knows where its cells lie on the image
        return self

    @final  # type: ignore[misc]  # torch declares an attribute, not a method
    def forward(self, images: Tensor) -> Tensor:
        """RGB floats in 0..1, [B, 3, H, W], any size -> float32 unit rows [B, dim].

        A side below 32 pixels is stretched to 32, so a sliver of any width has a descriptor. A
        descriptor that is exactly zero has no direction and stays zero. ValueError for another shape
        or for integer pixels.
        """
        return F.normalize(self.rows(images), dim=1)

    @final
    def rows(self, images: Tensor) -> Tensor:
        """What `forward` makes unit length, for images as it takes them: float32 rows [B, dim] of any length."""
        return self.describe(self._normalised(images)).float()

    @final
    @torch.inference_mode()
    def look(self, images: Tensor) -> dict[str, Tensor]:
        """Where the model looks: name -> float32 map [B, h, w], not negative, for images as in `forward`.

        The names are those of `views`; a map's cells are those of the layer it comes from, not pixels.
        """
        return {name: seen.float() for name, seen in self.views(self._normalised(images)).items()}

    @final
    @torch.inference_mode()
    def decompose(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """`rows` of images as a sum over places: float32 (parts [B, h, w, dim], rest [B, dim]), see `parts`.

        None where the model has no exact parts. ValueError in training mode, where dropout and batch norm make the
        descriptor another one each time.
        """
        if self.training:
            raise ValueError("only a model in eval mode can be decomposed; call eval() first")
        found = self.parts(self._normalised(images))
        if found is None:
            return None
        parts, rest = found
        return parts.float(), rest.float().expand(len(images), self.dim)

    def _normalised(self, images: Tensor) -> Tensor:
        """What `describe` is given: checked, at least 32 pixels a side, pixel mean and std removed."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(f"images must be floats [B, 3, H, W], got {images.dtype} {list(images.shape)}")
        images = images.to(self.mean.dtype)
        height, width = images.shape[2:]
        if min(height, width) < MIN_SIDE:
            # Only the short side: keeping the shape of a 1 x 1000 sliver would make it 32 x 32000.
            size = (max(height, MIN_SIDE), max(width, MIN_SIDE))
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        return (images - self.mean) / self.std


def _noting_arguments(construct: Callable[..., None]) -> Callable[..., None]:
    """A constructor that also notes what it was given, for `DescriptorModel.arguments`."""
    signature = inspect.signature(construct)

    @wraps(construct)
    def constructed(self: DescriptorModel, *args: Any, **named: Any) -> None:
        construct(self, *args, **named)
        given = signature.bind(self, *args, **named)
        given.apply_defaults()
        _, *values = given.arguments.items()  # without self
        self._arguments = {name: value for name, value in values if name != "pretrained"}

    return constructed
