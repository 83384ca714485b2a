from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from imgret.errors import ImgretError
from imgret.extraction.describe import Describer, resolve_device, resolve_precision
from imgret.models import load_model
from tests.toy import MeanColour

CPU = torch.device("cpu")


def test_pixels_become_unit_rows():
    pixels = np.zeros((2, 40, 50, 3), np.uint8)
    pixels[0, :, :, 0] = 200
    pixels[1, :, :, 2] = 10
    assert Describer(MeanColour(), CPU)(pixels) == pytest.approx(np.array([[1, 0, 0], [0, 0, 1]]), abs=1e-6)


@pytest.mark.parametrize("backbone", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_folding_batch_norms_changes_nothing_that_matters(backbone):
    model = load_model("gem", backbone=backbone, weights="none").model
    for part in model.modules():  # statistics as after training, not the neutral ones of a new network
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(part.running_var, 0.5, 1.5)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 70, 90, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        expected = model(images).numpy()
    found = Describer(model, CPU)(pixels)
    assert (found * expected).sum(1) == pytest.approx(1, abs=1e-5)


def test_half_precision_stays_near_and_finite():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    full = Describer(load_model("gem", backbone="resnet10t", weights="none").model, CPU, "fp32")(pixels)
    half = Describer(load_model("gem", backbone="resnet10t", weights="none").model, CPU, "bf16")(pixels)
    assert half.dtype == np.float32
    assert np.linalg.norm(half, axis=1) == pytest.approx(1, abs=1e-5)
    assert F.cosine_similarity(torch.from_numpy(full), torch.from_numpy(half)).min() > 0.999


@pytest.mark.parametrize("size", [(128, 32), (32, 128), (63, 200)])
def test_slivers_are_described_in_full_precision_whatever_is_asked_for(size):
    # bf16 convolutions of one column are wrong on processors with AMX (tests/benchmarks/bench_slivers.py)
    pixels = np.random.default_rng(0).integers(0, 255, (3, *size, 3), np.uint8)
    full = Describer(load_model("gem", backbone="resnet10t", weights="none").model, CPU, "fp32")(pixels)
    half = Describer(load_model("gem", backbone="resnet10t", weights="none").model, CPU, "bf16")(pixels)
    assert np.array_equal(half, full)


@pytest.mark.slow
def test_a_compiled_model_describes_the_same():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    plain = Describer(load_model("gem", backbone="resnet10t", weights="none").model, CPU)(pixels)
    describer = Describer(load_model("gem", backbone="resnet10t", weights="none").model, CPU, compile=True)
    assert (describer(pixels) * plain).sum(1) == pytest.approx(1, abs=1e-5)
    assert describer(pixels[:1, :48]).shape == (1, 512)


def test_devices_and_precisions_are_resolved_or_refused_in_words():
    assert resolve_device("cpu") == CPU
    with pytest.raises(ImgretError, match="unknown device"):
        resolve_device("gpu!")
    with pytest.raises(ImgretError, match="not supported"):
        resolve_device("meta")
    if not torch.cuda.is_available():
        with pytest.raises(ImgretError, match="--device cpu"):
            resolve_device("cuda:3")
    assert resolve_precision("fp32", CPU) == "fp32"
    assert resolve_precision("auto", CPU) in ("fp32", "bf16")


def test_smaller_images_are_described_more_at_once():
    describer = Describer(MeanColour(), CPU)
    assert [describer.batch_size(side) for side in (1024, 512, 320, 224, 64)] == [4, 4, 10, 20, 64]
