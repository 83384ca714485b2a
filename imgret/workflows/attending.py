"""`attend`: where a model looks in images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import InputError
from imgret.extraction.job import Say, quiet
from imgret.ids import escape
from imgret.workflows.queries import find_queries

if TYPE_CHECKING:
    from imgret.extraction.looking import Look

Progress = Callable[[int, int, int], object]


@dataclass(frozen=True)
class Attention:
    """Where a model looks in images.

    looks       one Look for each image that could be decoded, in order: id, path, pixels [H, W, 3] uint8 RGB, views:
                name -> [h, w] float32, not negative, more is more attention, and what it takes to draw them
    errors      id -> why there is no look
    found       images there were, with those that `limit` left out
    model, backbone, image_size, trained    what looked; backbone is None for a model without a trunk
    """

    model: str
    backbone: str | None
    image_size: int
    trained: bool
    found: int
    looks: list[Look] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """The model in words: 'glam on resnet101, longer side at most 1024 pixels'."""
        trunk = f" on {self.backbone}" if self.backbone else ""
        return f"{self.model}{trunk}, longer side at most {self.image_size} pixels"


def attend(
    images: Sequence[str],
    model: str | Path,
    *,
    backbone: str | None = None,
    weights: str | Path = "auto",
    seed: int = 0,
    image_size: int | None = None,
    box: tuple[int, int, int, int] | None = None,
    limit: int | None = None,
    device: str = "auto",
    offline: bool = False,
    on_found: Callable[[Sequence[str]], object] | None = None,
    progress: Progress | None = None,
    say: Say = quiet,
) -> Attention:
    """Look at images (files, folders, globs, archives, URLs) with a model; `model` to `seed` are as in extract.

    `image_size` is the longer side in pixels, never enlarged (None: the model's own). `box` x1, y1, x2, y2 looks
    at a part of one image only. `limit` looks at the first so many. `on_found` is given the files of all images
    before the model loads, `progress` is told (done, of, failed). An image that is not there or cannot be decoded is
    in `errors`. InputError when no file was found at all, or the model cannot show where it looks; the errors of
    `load_model`.
    """
    from imgret.extraction.looking import load_looker
    from imgret.images.decode import Undecodable

    files, errors = find_queries(images, offline=offline)
    if not files:
        raise InputError("; ".join(f"{escape(name)}: {why}" for name, why in errors.items()))
    if on_found is not None:
        on_found([image.path for image in files])
    if box is not None:
        if len(files) + len(errors) != 1:
            raise InputError(f"--box goes with one image, {len(files)} are given")
        corners = ",".join(str(edge) for edge in box)
        files = [replace(image, id=f"{image.id}#{corners}", box=box) for image in files]
    looker = load_looker(model, backbone=backbone, weights=weights, seed=seed, offline=offline, device=device, say=say)
    looks: list[Look] = []
    shown = files[:limit]
    for done, image in enumerate(shown, 1):
        found = looker.look(image, image_size)
        if isinstance(found, Undecodable):
            errors[image.id] = f"{found.reason}: {found.message}"
        else:
            looks.append(found)
        if progress is not None:
            progress(done, len(shown), len(errors))
    return Attention(
        model=looker.identity["model"],
        backbone=looker.identity["backbone"],
        image_size=image_size or looker.image_size,
        trained=looker.trained,
        found=len(files),
        looks=looks,
        errors=errors,
    )
