"""A descriptor as a sum over places: exact in every model that has parts, and which models have none."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from imgret.models import MODELS
from imgret.models.dalg import FUSIONS, summed_into
from imgret.models.refinements import REFINEMENTS, parse_refinements, refine
from imgret.models.sight import EVEN, view_geometry
from tests.models.tiny import images, tiny
from tests.toy import MeanColour

# (model, arguments): none of these is a sum over the places of an image, and each has its reason.
NO_PARTS = [
    ("gem", {"backbone": "test_vit"}),  # a trunk that pools itself: here by its class token
    ("gem", {"backbone": "test_convnext"}),  # the layer norm behind its mean is timm's, and not looked into
    ("dtop", {"branches": "class"}),  # class tokens only
]
WITH_PARTS = [
    *((name, {}) for name in sorted(MODELS)),
    ("glam", {"local_attention": "none", "global_attention": "none"}),
    *(("dalg", {"fusion": fusion}) for fusion in FUSIONS if fusion != "cross"),
    ("dtop", {"branches": "patch"}),
    ("dtop", {"enhanced": False}),
]
every_model = pytest.mark.parametrize(("name", "arguments"), WITH_PARTS)


def used(name, arguments):
    """A model whose head does something, as after training, in eval mode."""
    model = tiny(name, **arguments)
    torch.manual_seed(0)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d):
                for values in (part.weight, part.bias, part.running_mean):
                    values.normal_()
                part.running_var.uniform_(0.1, 2)
            elif isinstance(part, nn.Linear) and part.bias is not None:
                part.bias.normal_(std=0.1)
    return model.eval()


def check(model, batch):
    """The parts of a batch, checked to make up its rows."""
    with torch.inference_mode():
        rows = model.rows(batch)
    parts, rest = model.decompose(batch)
    assert parts.dtype == rest.dtype == torch.float32
    assert parts.shape[::3] == rest.shape == rows.shape
    worst = (parts.sum((1, 2)) + rest - rows).norm(dim=1) / rows.norm(dim=1)
    assert worst.max() < 1e-5
    return parts


@every_model
def test_the_parts_and_the_rest_are_the_descriptor_and_the_cells_those_of_the_last_map(name, arguments):
    model = used(name, arguments)
    for size in ((67, 131), (32, 40)):
        parts = check(model, images(2, 3, *size))
        with torch.inference_mode():
            maps = model.trunk(images(1, 3, *size))
        last = maps if isinstance(maps, torch.Tensor) else maps[1]
        assert parts.shape[1:3] == last.shape[-2:]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_parts_of_a_folded_model_are_those_of_the_model(name):
    model, batch = used(name, {}), images(1, 3, 67, 131)
    folded = copy.deepcopy(model).folded()
    expected = check(model, batch)
    found = check(folded, batch)
    assert (found - expected).norm() < 1e-4 * expected.norm()


def test_a_folded_model_knows_where_its_cells_lie():
    model = used("glam", {})
    assert view_geometry(copy.deepcopy(model).folded()) == view_geometry(model) != EVEN


@pytest.mark.parametrize("name", ["gem", "glam", "gala", "gsa"])
@pytest.mark.parametrize("step", REFINEMENTS)
def test_the_parts_of_a_refined_model_are_its_descriptor(name, step):
    check(refine(used(name, {}), parse_refinements(step)), images(1, 3, 67, 131))


@pytest.mark.parametrize(("name", "arguments"), NO_PARTS)
def test_a_descriptor_that_is_no_sum_over_places_has_no_parts(name, arguments):
    assert used(name, arguments).decompose(images(1, 3, 67, 131)) is None


def test_a_model_that_says_nothing_of_it_has_no_parts():
    assert MeanColour().eval().decompose(images(1, 3, 67, 131)) is None


def test_what_is_no_rgb_batch_or_in_training_is_a_callers_mistake():
    with pytest.raises(ValueError, match=r"floats \[B, 3, H, W\]"):
        used("gem", {}).decompose(torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match="eval"):
        used("gem", {}).train().decompose(images(1, 3, 67, 131))


def test_a_gem_vector_has_no_rest_and_no_negative_part():
    parts, rest = used("gem", {}).decompose(images(1, 3, 67, 131))
    assert not rest.any()
    assert parts.min() >= 0


def test_class_tokens_are_in_the_rest_and_in_no_cell():
    model, batch = used("dtop", {}), images(1, 3, 67, 131)
    parts, rest = model.decompose(batch)
    half = model.dim // 2
    assert not parts[..., :half].any()
    assert parts[..., half:].any()
    with torch.inference_mode():
        torch.testing.assert_close(rest[:, :half], model.rows(batch)[:, :half])


def test_cells_of_a_finer_map_are_summed_into_the_coarser_cell_they_are_in():
    # 5 rows into 3: {0, 1}, {2, 3}, {4}; 2 columns into 1
    cells = torch.arange(10.0).view(1, 5, 2, 1)
    assert summed_into((3, 1), cells).flatten().tolist() == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9]
    for fine in range(1, 40):
        coarse = (fine + 1) // 2
        ones = torch.ones(1, fine, 1, 1)
        assert summed_into((coarse, 1), ones).flatten().tolist() == [2] * (fine // 2) + [1] * (fine % 2)
    assert torch.equal(summed_into((5, 2), cells), cells)
