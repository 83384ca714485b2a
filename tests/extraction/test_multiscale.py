"""The forms of multi-scale pooling, each against a loop in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from imgret.errors import ImgretError, UnknownNameError
from imgret.extraction import multiscale as forms
from imgret.extraction.describe import Describer
from imgret.extraction.multiscale import multiscale
from imgret.extraction.scale_pooling import SCALE_POOLINGS, canonical_scale_pooling
from imgret.models.base import DescriptorModel
from tests.models.tiny import stripes_and_box, tiny
from tests.toy import MeanColour

CPU = torch.device("cpu")
SCALES = (1.0, 0.7071, 1.4142)


def test_scales_average_unit_descriptors_and_normalise_again():
    # two scales give (1, 0) and (0, 1): the mean is (.5, .5), at length 1 (.7071, .7071)
    sizes = []

    def describe(images):
        sizes.append(tuple(images.shape[2:]))
        return torch.tensor([[1.0, 0.0]]) if images.shape[2] == 40 else torch.tensor([[0.0, 1.0]])

    found = multiscale(describe, torch.zeros(1, 3, 40, 60), (1.0, 0.5), forms.mean)
    assert sizes == [(40, 60), (20, 30)]
    assert found.tolist() == [[pytest.approx(0.5**0.5), pytest.approx(0.5**0.5)]]


def test_one_scale_is_its_descriptor_whatever_the_pooling():
    found = multiscale(lambda images: torch.tensor([[3.0, 4.0]]), torch.zeros(1, 3, 40, 60), (0.5,), forms.signed)
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


def test_the_power_of_gem_is_that_of_its_locations():
    # ((1 + .6^3) / 2)^(1/3) and (.8^3 / 2)^(1/3)
    rows = torch.tensor([[[1.0, 0.0]], [[0.6, 0.8]]])
    expected = [((1 + 0.6**3) / 2) ** (1 / 3), (0.8**3 / 2) ** (1 / 3)]
    assert forms.gem(rows, 3.0)[0].numpy() == pytest.approx(expected)


def test_signed_cubes_keep_their_signs():
    # cbrt((.8^3 - .6^3) / 2), cbrt((-.6^3 + .8^3) / 2)
    rows = torch.tensor([[[0.8, -0.6]], [[-0.6, 0.8]]])
    assert forms.signed(rows)[0].numpy() == pytest.approx([((0.8**3 - 0.6**3) / 2) ** (1 / 3)] * 2)


def test_the_least_entry_that_scale_gem_subtracts_is_that_of_one_image():
    rows = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    alone = forms.shifted_gem(rows[:, :1], 10.0)
    torch.testing.assert_close(forms.shifted_gem(rows, 10.0)[:1], alone, rtol=0, atol=0)


def test_scale_gem_nears_the_largest_entry_and_survives_equal_ones():
    rows = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(forms.shifted_gem(rows, 100.0), forms.largest(rows), rtol=0, atol=0.05)
    even = torch.full((3, 1, 5), -0.2)
    torch.testing.assert_close(forms.shifted_gem(even, 10.0), even[0])


def slow(form: str, raw: list[np.ndarray], power: float) -> np.ndarray:
    """Descriptors [D] of one image at several scales, not normalised -> the pooled one, in float64."""
    unit = [row / np.linalg.norm(row) for row in raw]
    dim = len(raw[0])
    if form == "auto":
        form = "mean" if power == 1.0 else "gem"
    pooled = np.zeros(dim)
    least = min(float(row.min()) for row in raw)
    for d in range(dim):
        if form in ("mean", "raw"):
            pooled[d] = sum(row[d] for row in (raw if form == "raw" else unit)) / len(raw)
        elif form == "gem":
            pooled[d] = (sum(row[d] ** power for row in unit) / len(unit)) ** (1 / power)
        elif form == "gem:p=10":
            pooled[d] = (sum((row[d] - least) ** 10 for row in raw) / len(raw)) ** 0.1 + least
        elif form == "signed":
            cubes = sum(np.sign(row[d]) * max(abs(row[d]), 1e-6) ** 3 for row in unit) / len(unit)
            pooled[d] = np.sign(cubes) * abs(cubes) ** (1 / 3)
        elif form == "max":
            pooled[d] = max(row[d] for row in unit)
    return pooled / np.linalg.norm(pooled)


@pytest.mark.parametrize("form", [*SCALE_POOLINGS, "gem:p=10"])
@pytest.mark.parametrize("name", ["gem", "glam"])
def test_every_form_is_its_formula(name, form):
    model = tiny(name).eval()
    pixels = (stripes_and_box().permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    if (name, form) == ("glam", "gem"):
        with pytest.raises(ImgretError, match="for models that end in GeM, which GLAM does not"):
            Describer(model, CPU, "fp32", SCALES, scale_pooling=form)
        return
    sizes = [[int(side * scale) for side in images.shape[2:]] for scale in SCALES]
    with torch.inference_mode():
        raw = [
            model.rows(torch.nn.functional.interpolate(images, size, mode="bilinear")).double().numpy()
            for size in sizes
        ]
    power = model.scale_power
    expected = [slow(form, [rows[number] for rows in raw], power) for number in range(2)]
    found = Describer(model, CPU, "fp32", SCALES, scale_pooling=form)(pixels)
    assert found == pytest.approx(np.array(expected), abs=2e-6)


class Lengths(DescriptorModel):
    """(3, 0) for images 64 pixels high, (0, 1) for others."""

    dim = 2

    def describe(self, images: Tensor) -> Tensor:
        row = [3.0, 0.0] if images.shape[2] == 64 else [0.0, 1.0]
        return torch.tensor([row]).expand(len(images), 2)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("mean", (1, 1)),  # of the unit rows (1, 0) and (0, 1)
        ("raw", (3, 1)),  # of (3, 0) and (0, 1)
        ("max", (1, 1)),
        ("gem:p=10", (3, 1)),  # g = 0; 3 / 2^(1/10) and 1 / 2^(1/10)
        ("signed", (1, 1)),
    ],
)
def test_only_raw_forms_weigh_scales_by_the_length_of_their_descriptors(form, expected):
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    found = Describer(Lengths(), CPU, "fp32", (1.0, 0.5), scale_pooling=form)(pixels)
    assert found[0] == pytest.approx(np.array(expected) / np.hypot(*expected), abs=1e-5)


@pytest.mark.slow
def test_a_compiled_model_pools_raw_descriptors_too():
    pixels = np.random.default_rng(0).integers(0, 255, (2, 64, 48, 3), np.uint8)
    plain, compiled = (
        Describer(MeanColour(), CPU, "fp32", (1.0, 0.5), compile, scale_pooling="raw")(pixels)
        for compile in (False, True)
    )
    assert (compiled * plain).sum(1) == pytest.approx(1, abs=1e-5)


def test_a_name_and_its_p_are_read_or_refused_in_words():
    assert [canonical_scale_pooling(text) for text in ("max", "gem:p=10.0", "gem")] == ["max", "gem:p=10", "gem"]
    with pytest.raises(UnknownNameError, match=r"did you mean signed\?"):
        canonical_scale_pooling("singed")
    for text in ("max:p=3", "gem:q=3", "gem:p=0", "gem:p=nan", "gem:p"):
        with pytest.raises(ImgretError, match="only gem has a setting, p from 1 to 100"):
            canonical_scale_pooling(text)
