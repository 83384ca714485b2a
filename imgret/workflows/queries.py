"""Query descriptors: from images by the recipe of what is searched, or from a store that has the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgret.errors import InputError, StoreError, WhiteningError
from imgret.extraction.job import Say
from imgret.ids import escape
from imgret.places import is_archive, is_url

if TYPE_CHECKING:
    import numpy as np

    from imgret.images.files import ImageFile
    from imgret.indexes.files import Index
    from imgret.indexes.parts.files import Parts
    from imgret.remote_path import Place
    from imgret.whitening.transform import Whitening


@dataclass(frozen=True)
class Queries:
    """Query descriptors [Q, D] with their ids and files, and what gave none (id -> why); `order` is that of all.

    `variants` [Q, 8, D] are those of each query upright, turned and mirrored, in the order of
    `imgret.extraction.turned`; the first is the one in `descriptors`. None unless they were asked for.
    """

    ids: list[str]
    paths: list[str | None]
    descriptors: np.ndarray
    errors: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    variants: np.ndarray | None = None

    def whitened(self, whitening: Whitening | None) -> Queries:
        """The same with whitened descriptors [Q, d]; None whitens nothing."""
        if whitening is None:
            return self
        variants = self.variants
        if variants is not None:
            variants = whitening.apply(variants.reshape(-1, variants.shape[2])).reshape(
                *variants.shape[:2], whitening.dim
            )
        return replace(self, descriptors=whitening.apply(self.descriptors), variants=variants)


@dataclass(frozen=True)
class QueryOptions:
    """How query images are described beside the index's own recipe.

    `scales` are used in place of the recipe's, for the queries alone (None: the recipe's). `robust` describes each
    query in eight variants, see `Queries`. Both need query images.
    """

    device: str = "auto"
    workers: int | None = None
    weights: str | None = None
    offline: bool = False
    scales: tuple[float, ...] | None = None
    robust: bool = False
    engine: str = "local"
    ray_address: str | None = None


def describe_queries(
    images: Sequence[ImageFile],
    crop: str,
    recipe: Mapping[str, Any],
    origin: Mapping[str, Any],
    where: Place,
    dim: int,
    options: QueryOptions,
    say: Say,
) -> Queries:
    """Describe query images by the recipe of the index or store at `where`; `crop` is the DecodeRule's."""
    import numpy as np

    from imgret.extraction.loading import load_for_recipe
    from imgret.extraction.recipe import decode_rule
    from imgret.extraction.stream import default_workers, describe_stream
    from imgret.extraction.turned import VARIANTS, TurnedDescriber
    from imgret.images.decode import Undecodable

    variants = VARIANTS if options.robust else 1
    if options.scales is not None:
        recipe = {**recipe, "scales": list(options.scales)}
    if not images:
        return _queries([], np.zeros((0, variants, dim), np.float32), {})
    loaded = load_for_recipe(
        recipe, origin, say, device=options.device, weights=options.weights, offline=options.offline, where=where
    )
    stream = describe_stream(
        images,
        decode_rule(recipe, crop=crop),
        TurnedDescriber(loaded.describer) if options.robust else loaded.describer,
        workers=default_workers() if options.workers is None else options.workers,
        batch_size=loaded.describer.batch_size(recipe["image_size"]),
    )
    rows: list[np.ndarray] = []
    found: list[ImageFile] = []
    errors: dict[str, str] = {}
    for image, result in stream:
        if isinstance(result, Undecodable):
            errors[image.id] = f"{result.reason}: {result.message}"
        else:
            found.append(image)
            rows.append(result.descriptor)
    described = np.reshape(rows, (len(rows), variants, dim)).astype(np.float32, copy=False)
    return _queries(found, described, errors)


def _queries(images: Sequence[ImageFile], described: np.ndarray, errors: dict[str, str]) -> Queries:
    """Queries from their descriptors [Q, variants, D], the upright ones first."""
    import numpy as np

    paths: list[str | None] = [image.path for image in images]
    variants = described if described.shape[1] > 1 else None
    upright = np.ascontiguousarray(described[:, 0])
    return Queries([image.id for image in images], paths, upright, errors, variants=variants)


def check_whitening(index: Index | Parts, asked: Path | None) -> None:
    """WhiteningError when a whitening is named that is not the one an index was built with, which is always used."""
    from imgret.whitening.transform import Whitening, words

    if asked is None:
        return
    given = Whitening.load(asked)
    if index.whitening is None or given.sha256 != index.whitening.sha256:
        built = "no whitening" if index.whitening is None else words(index.whitening.card())
        raise WhiteningError(
            f"{index.path} was built with {built}, not with {escape(str(asked))}, and queries must pass through the "
            f"same: leave out --whitening, or build the index with it: imgret index STORE -o INDEX --whitening {asked}"
        )


def stored_queries(
    path: Place, recipe: dict[str, Any], fingerprint: str, options: QueryOptions | None = None
) -> Queries:
    """Query descriptors from a store, which must have the recipe of what is searched.

    InputError for `options` that describe queries in another way, which stored descriptors are too late for.
    """
    import numpy as np

    from imgret.ids import from_bytes
    from imgret.store.store import Store, locate_image

    if options is not None and (options.robust or options.scales is not None):
        raise InputError(
            f"{escape(str(path))} holds descriptors that are made already; scales of the queries and turned queries "
            "need images: name the image files instead of the store"
        )
    store = Store.open(path)
    if store.fingerprint != fingerprint:
        keys = {**recipe, **store.recipe}
        key = next((key for key in keys if recipe.get(key) != store.recipe.get(key)), "recipe")
        raise StoreError(
            f"{path} was made with {key} {store.recipe.get(key)!r}, the collection with {recipe.get(key)!r}; "
            "extract the queries with the collection's recipe"
        )
    blocks = list(store.blocks())
    if not blocks:
        raise StoreError(f"{path} holds no descriptors")
    names = [from_bytes(raw) for block in blocks for raw in block.ids]
    roots = [root.locate(store.path) for root in store.roots]
    paths: list[str | None] = [
        locate_image(roots[root], from_bytes(raw))
        for block in blocks
        for raw, root in zip(block.ids, block.root.tolist(), strict=True)
    ]
    return Queries(names, paths, np.concatenate([block.descriptors for block in blocks]), order=names)


def find_queries(given: Sequence[str], *, offline: bool = False) -> tuple[list[ImageFile], dict[str, str]]:
    """Query images, and what was given and is none (name -> why).

    A single file's id is its name, a folder's images have theirs as in extract. Where files of different
    folders share a name, they have their paths as ids.
    """
    from imgret.images import files

    images: list[ImageFile] = []
    errors: dict[str, str] = {}
    for name in dict.fromkeys(given):
        single = os.path.isfile(name) and not is_archive(name)
        root = Path(os.path.dirname(os.path.abspath(name))) if single else None
        try:
            images += files.find([name], root=root, offline=offline).images
        except InputError as error:
            errors[name] = str(error).removeprefix(f"{escape(name)}: ")
    times = Counter(image.id for image in images)
    distinct = [image if times[image.id] == 1 else replace(image, id=_whole_name(image.path)) for image in images]
    return list({image.id: image for image in distinct}.values()), errors


def _whole_name(path: str) -> str:
    return path if is_url(path) else os.path.relpath(path).replace(os.sep, "/")
