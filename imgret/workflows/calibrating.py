"""`calibrate`: a trained model's weights file, with batch norms counted anew and a whitening in its last layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import InputError
from imgret.extraction.job import Say, quiet
from imgret.ids import escape
from imgret.workflows.queries import find_queries

if TYPE_CHECKING:
    import numpy as np

    from imgret.images.files import ImageFile
    from imgret.models.base import DescriptorModel
    from imgret.whitening.moments import Moments

Progress = Callable[[int, int, int], object]
_BATCH = 64  # images a batch norm is counted over; the statistics of fewer are too small


@dataclass(frozen=True)
class Calibrated:
    """A weights file that was written: where, for which size, over how many images; id -> why one was left out.

    rank  directions, of the descriptor's, that vary and are whitened; None without a whitening
    """

    path: Path
    image_size: int
    images: int
    dim: int
    rank: int | None = None
    errors: dict[str, str] = field(default_factory=dict)


def calibrate(
    weights: Path,
    images: Sequence[str],
    output: Path,
    *,
    norms: bool = False,
    power: float | None = None,
    image_size: int | None = None,
    limit: int = 2000,
    seed: int = 0,
    workers: int | None = None,
    on_found: Callable[[Sequence[str]], object] | None = None,
    progress: Progress | None = None,
    say: Say = quiet,
) -> Calibrated:
    """Write a model anew after looking at photographs, which must be others than those it will be scored on.

    norms       all batch norms are counted anew over squares of `image_size` pixels, in batches of 64
    power       a PCA whitening of that power (0 to 1) goes into the last layer: y = P (x - l m), m and P being fitted
                to descriptors x made unit length, and l is the median of their lengths
    image_size  longer side in pixels that the model will be used at; None: the file's own. It is written into the file
    limit       look at so many of the images, drawn from `seed`
    on_found    is given the files of all images before the model loads; progress is told (looked at, of, failed)

    The errors of `load_model`; InputError without images, or when `output` is `weights` itself; ImgretError for a model
    without batch norms, or one that has no projection to take a whitening in; WhiteningError for descriptors that
    are all equal.
    """
    import numpy as np

    from imgret import __version__
    from imgret.models import is_weights_file, read_card
    from imgret.models.weights import load_model, save_weights
    from imgret.training import calibration
    from imgret.whitening.fit import pca

    if not norms and power is None:
        raise ValueError("neither norms nor a power: nothing to do")
    if not is_weights_file(weights):
        raise InputError(f"{escape(str(weights))} is not a weights file; give a *.safetensors file that imgret wrote")
    card = read_card(weights)
    if output.exists() and output.samefile(weights):
        raise InputError(f"{escape(str(output))} is the file to calibrate; name another one with -o, and keep both")
    found, errors = find_queries(images)
    if not found:
        raise InputError("; ".join(f"{escape(name)}: {why}" for name, why in errors.items()))
    if on_found is not None:
        on_found([image.path for image in found])
    loaded = load_model(weights, say=say)
    if not loaded.trained:
        raise InputError(f"{escape(str(weights))} holds random weights; there is nothing to calibrate")
    model, size = loaded.model, image_size or loaded.image_size
    if power is not None:
        calibration.last_layer(model)  # before any work
    drawn = np.sort(np.random.default_rng(seed).permutation(len(found))[:limit])
    steps = len(drawn) * (norms + (power is not None))
    photos = _Photos([found[place] for place in drawn], workers, errors, progress, steps)
    rank = None
    if norms:
        calibration.renew_norms(model, photos.squares(size))
    if power is not None:
        moments, length = photos.moments(model, size)
        fit = pca(moments, power=power)
        rank = fit.rank
        calibration.whiten(model, fit.mean * length, fit.projection)
    count = sum(image.id not in errors for image in photos.images)
    about = {
        "norms": norms,
        "power": power,
        "image_size": size,
        "images": count,
        "seed": seed,
        "from_sha256": card["sha256"],
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "imgret": __version__,
    }
    steps_before = card["provenance"].get("calibration", [])
    provenance = {**card["provenance"], "calibration": [*steps_before, about]}
    save_weights(model, output, provenance, image_size=size)
    return Calibrated(output, size, count, model.dim, rank, errors)


@dataclass
class _Photos:
    """Images that are looked at, once or twice; `errors` gathers those that cannot be decoded."""

    images: Sequence[ImageFile]
    workers: int | None
    errors: dict[str, str]
    progress: Progress | None
    of: int
    done: int = 0

    def decoded(self, size: int) -> Iterator[np.ndarray]:
        """Pixels [H, W, 3] uint8, longer side at most `size`."""
        from imgret.extraction.stream import default_workers
        from imgret.images.decode import DecodeRule, Undecodable
        from imgret.images.stream import decode_stream

        workers = default_workers() if self.workers is None else self.workers
        for image, result in decode_stream(self.images, DecodeRule(size), workers=workers):
            if isinstance(result, Undecodable):
                self.errors[image.id] = f"{result.reason}: {result.message}"
            else:
                yield result.pixels
            self.done += 1
            if self.progress is not None:
                self.progress(self.done, self.of, len(self.errors))

    def squares(self, side: int) -> Iterator[np.ndarray]:
        """Batches [64, side, side, 3]; what is left over at the end is a batch of its own if it has half as many."""
        import numpy as np

        from imgret.training.calibration import square

        batch: list[np.ndarray] = []
        for pixels in self.decoded(2 * side):
            batch.append(square(pixels, side))
            if len(batch) == _BATCH:
                yield np.stack(batch)
                batch = []
        if len(batch) >= _BATCH // 2:
            yield np.stack(batch)

    def moments(self, model: DescriptorModel, size: int) -> tuple[Moments, float]:
        """Moments of the unit descriptors, and the median of the lengths that they had before."""
        import numpy as np

        from imgret.training.calibration import rows_before
        from imgret.whitening.moments import Moments

        describe, moments, lengths = rows_before(model), Moments(model.dim), []
        for pixels in self.decoded(size):
            row = describe(pixels[None])
            length = float(np.linalg.norm(row))
            if length > 0:
                moments.add(row / length)
                lengths.append(length)
        return moments, float(np.median(lengths)) if lengths else 0.0
