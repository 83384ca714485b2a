"""`export_onnx`: a model as a file that needs neither torch nor imgret."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.extraction.job import Say, quiet
from imgret.models import is_weights_file, read_card

if TYPE_CHECKING:
    from imgret.models.onnx_export import Agreement


@dataclass(frozen=True)
class OnnxExport:
    """A file that was written: where, its bytes, and how well it agrees with the model at each size compared."""

    path: Path
    bytes: int
    trained: bool
    agreements: list[Agreement]


def export_onnx(
    model: str | Path,
    output: Path,
    *,
    backbone: str | None = None,
    weights: str | Path = "auto",
    seed: int = 0,
    offline: bool = False,
    say: Say = quiet,
) -> OnnxExport:
    """Write a model as ONNX with free batch, height and width; `model` to `offline` are as in extract.

    The file is compared with the model in onnxruntime and appears whole or not at all. The errors of `load_model`, and
    ExportError where a package is missing or the file would not be the same.
    """
    from imgret.models.onnx_export import check_installed, write_onnx
    from imgret.models.weights import load_model

    check_installed()
    loaded = load_model(model, backbone=backbone, weights=weights, seed=seed, offline=offline, say=say)
    file = next((Path(path) for path in (model, weights) if is_weights_file(path)), None)
    provenance = read_card(file)["provenance"] if file is not None else loaded.identity["weights"]
    say(f"writing {loaded.identity['model']} as ONNX and comparing the two; this can take some minutes")
    agreements = write_onnx(loaded, output, provenance)
    return OnnxExport(output, output.stat().st_size, loaded.trained, agreements)
