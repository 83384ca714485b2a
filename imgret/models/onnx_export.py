"""A model as one ONNX file for images of any size, compared with the model before it is written.

The only module that knows ONNX and its runtime.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import imgret
from imgret import atomic
from imgret.errors import ExportError
from imgret.models import MODELS
from imgret.models.base import MIN_SIDE, DescriptorModel
from imgret.models.weights import LoadedModel

SCHEMA = "imgret.onnx/1"
SUFFIX = ".onnx"
INPUT, OUTPUT = "images", "descriptors"
NEEDED = ("onnx", "onnxscript", "onnxruntime")

# Batch, height and width of the example a graph is made from. What is 1 there stays 1 in the graph, and what is equal
# by accident may be taken for equal always: so primes, large enough for several windows of any trunk. Its pixels are
# never computed with.
EXAMPLE = (3, 353, 487)
# What is compared: odd and whole patches, portrait and landscape, a sliver, smaller than the example and larger.
CHECKED = ((1, 224, 160), (2, 67, 131), (1, 20, 140), (3, 96, 96), (1, 384, 512))
# Float32 sums in another order; descriptors are unit rows, and of two photographs differ by thousands of times this.
LARGEST_DIFFERENCE = 1e-4
LOWEST_COSINE = 0.9999
MOST_BYTES = 2**31 - 2**24  # protobuf takes 2 GiB, weights and graph together


@dataclass(frozen=True)
class Agreement:
    """How well the file gives the model's descriptors of images of one size: the worst row and the worst number."""

    batch: int
    height: int
    width: int
    cosine: float
    difference: float

    @property
    def holds(self) -> bool:
        """Whether the two are the same but for rounding; never for a number that is not finite."""
        return self.difference <= LARGEST_DIFFERENCE and self.cosine >= LOWEST_COSINE


class AnySize(nn.Module):
    """A model behind a stretch to 32 pixels that is always there, and for longer sides changes nothing.

    A graph has no branches, so it cannot ask whether a side is too short, as `DescriptorModel.forward` does.
    """

    def __init__(self, model: DescriptorModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """RGB floats in 0..1, [B, 3, H, W] -> float32 unit rows [B, dim]."""
        height, width = images.shape[2:]
        size: Any = (
            torch.sym_max(height, MIN_SIDE),
            torch.sym_max(width, MIN_SIDE),
        )  # symbols while it is written down
        return self.model(F.interpolate(images, size=size, mode="bilinear", align_corners=False))


def check_installed() -> None:
    """ExportError, with the command to type, unless all that is needed is installed; imports none of it."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ExportError(f"writing ONNX needs {', '.join(missing)}: pip install 'imgret[onnx]'")


def write_onnx(loaded: LoadedModel, path: Path, provenance: Mapping[str, Any]) -> list[Agreement]:
    """Write a model as ONNX, whole or not at all, and say how well the file agrees with it at each size compared.

    Input "images": RGB floats in 0..1, [batch, 3, height, width], all three free. Output "descriptors": unit rows
    [batch, dim]. Pixel mean and std are inside. `provenance` is JSON: where the weights come from. ExportError where a
    package is missing, the network cannot be written down for every size, the file would be too large, or it would
    not agree.
    """
    check_installed()
    data = _exported(loaded, provenance)
    try:
        agreements = list(_compared(loaded.model, data))
    except Exception as error:  # onnxruntime's have no base class of their own
        reason = " ".join(str(error).split())
        raise ExportError(f"{path} was not written: onnxruntime cannot run it at every size: {reason}") from error
    for one in agreements:
        if not one.holds:
            raise ExportError(
                f"{path} was not written: for {one.batch} images of {one.height} x {one.width} its descriptors differ "
                f"from the model's by {one.difference:.2g}, cosine {one.cosine:.4f}; take another --backbone"
            )
    atomic.write_bytes(path, data)
    return agreements


def _exported(loaded: LoadedModel, provenance: Mapping[str, Any]) -> bytes:
    """The file's content."""
    name, backbone = loaded.identity["model"], loaded.identity["backbone"]
    size = sum(value.numel() * value.element_size() for value in loaded.model.state_dict().values())
    if size > MOST_BYTES:
        raise ExportError(
            f"{name} on {backbone} has {size / 1e9:.1f} GB of weights, one ONNX file takes 2; take another --backbone"
        )
    example = torch.zeros(EXAMPLE[0], 3, *EXAMPLE[1:])
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                AnySize(loaded.model).eval(),
                (example,),
                dynamo=True,
                verbose=False,  # it prints on stdout
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: "batch", 2: "height", 3: "width"},),
            )
    except torch.onnx.OnnxExporterError as error:
        reason = next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)
        raise ExportError(f"{name} on {backbone} cannot be written as ONNX for every size: {reason}") from error
    assert program is not None  # only the older exporter returns nothing
    about: Any = program.model
    about.producer_name, about.producer_version = "imgret", imgret.__version__
    about.doc_string = (
        f"{name} of imgret: {INPUT}, RGB floats in 0..1, [batch, 3, height, width] -> {OUTPUT}, unit rows [batch, dim]"
    )
    about.metadata_props.update(_metadata(loaded, provenance))
    return program.model_proto.SerializeToString()


def _metadata(loaded: LoadedModel, provenance: Mapping[str, Any]) -> dict[str, str]:
    """What a weights file says, and what a reader without imgret would ask."""
    name = loaded.identity["model"]
    return {
        "schema": SCHEMA,
        "model": name,
        "arguments": json.dumps(loaded.identity["arguments"], sort_keys=True),
        "dim": str(loaded.model.dim),
        "trained": json.dumps(loaded.trained),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
        "sha256": loaded.identity["weights"]["sha256"],
        "mean": json.dumps(loaded.model.mean.flatten().tolist()),
        "std": json.dumps(loaded.model.std.flatten().tolist()),
        "image_size": str(MODELS[name].image_size),
        "imgret": imgret.__version__,
        "torch": str(torch.__version__),
    }


def _compared(model: DescriptorModel, data: bytes) -> Iterator[Agreement]:
    """The file in onnxruntime against the model, at one size after the other, on smooth colours with noise."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # it would take every core, whatever torch was told
    options.log_severity_level = 4  # what it would print on stderr is in what it raises
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in CHECKED:
        coarse = torch.rand(batch, 3, 5, 5, generator=generator)
        noise = torch.rand(batch, 3, height, width, generator=generator)
        images = 0.8 * F.interpolate(coarse, size=(height, width), mode="bilinear") + 0.2 * noise
        with torch.inference_mode():
            expected = model(images).double()
        (rows,) = session.run([OUTPUT], {INPUT: images.numpy()})
        found = torch.from_numpy(rows).double()
        cosine = (expected * found).sum(1).min().item()
        yield Agreement(batch, height, width, cosine, (expected - found).abs().max().item())
