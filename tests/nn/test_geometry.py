"""Where cells lie on the image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imgret.nn.backbones import Trunk, build_pyramid, build_token_trunk, build_trunk
from imgret.nn.geometry import Geometry, geometry


class Info:
    """What timm says of a network."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def channels(self) -> list[int]:
        return [3]

    def reduction(self) -> list[int]:
        return [self.stride]


class Sampled(nn.Module):
    """A network whose cell (i, j) is the pixel (8 i + 6, 8 j + 6) and, thinly, the mean of the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = Info(8)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.scale * images[:, :, 6::8, 6::8] + images.mean((2, 3), keepdim=True)]


def test_a_cell_is_where_its_gradient_is():
    # the middle of pixel 6 is 6.5, which is 0.8125 of a cell of 8: three quarters, to the next quarter
    assert geometry(Trunk(Sampled(), on_grid=False)) == Geometry(0.75, 8, whole=False)


@pytest.mark.parametrize(
    ("name", "first", "whole"),
    [
        ("resnet18", 0, False),
        ("resnet10t", 0.5, False),
        ("convnext_atto", 0.5, False),
        ("swin_tiny_patch4_window7_224", 0.5, True),
    ],
)
def test_padded_convolutions_look_at_corners_and_patches_at_their_middle(name, first, whole):
    trunk, *_ = build_trunk(name)  # a fresh resnet10t is its shortcuts alone, and they average 2 x 2 cells
    assert geometry(trunk) == Geometry(first, 32, whole)


def test_patches_lie_evenly_and_those_of_a_convolutional_stem_are_asked():
    trunk, *_ = build_token_trunk("vit_tiny_patch16_224", 1)
    assert geometry(trunk) == Geometry(0.5, 16, whole=True)
    # stride 32 is 8 cells of a stem with stride 4: the middle of a patch is their middle, 3.5 cells past the first one
    trunk, *_ = build_token_trunk("vit_tiny_r_s16_p8_224", 1)
    stem = trunk.net.patch_embed
    assert trunk.stride == 32
    assert stem.proj.kernel_size == (8, 8)
    first = geometry(trunk).first
    assert 3.5 / 8 <= first <= 4.5 / 8


def test_the_last_of_two_maps_is_asked():
    pyramid, *_ = build_pyramid("resnet18", 2)
    assert geometry(pyramid) == Geometry(0, 32, whole=False)


def test_asking_leaves_the_trunk_as_it_was():
    trunk, *_ = build_trunk("resnet10t")
    trunk.train()
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    with torch.inference_mode():
        geometry(trunk)
    assert trunk.training
    assert all(torch.equal(before[name], value) for name, value in trunk.state_dict().items())
    assert all(parameter.grad is None for parameter in trunk.parameters())


def test_steps_of_a_padded_trunk_are_whole_strides_whatever_the_size():
    padded = Geometry(0, 32, whole=False)
    assert padded.centres(512, 16) == (0, 32 / 512)
    assert padded.centres(500, 16) == (0, 32 / 500)  # ceil(500 / 32) = 16 cells, the last hangs over
    assert padded.centres(33, 2) == (0, 32 / 33)
    assert padded.size(500) == 500


@pytest.mark.parametrize(("side", "cells"), [(512, 32), (500, 32), (33, 3), (65, 5)])
def test_the_map_before_the_last_has_half_the_step(side, cells):
    first, step = Geometry(0.5, 32, whole=False).centres(side, cells)
    assert (first * side, step * side) == pytest.approx((8, 16))


def test_whole_patches_share_the_image_evenly():
    patches = Geometry(0.5, 32, whole=True)
    assert patches.size(500) == 512
    assert patches.centres(512, 16) == pytest.approx((0.5 / 16, 1 / 16))
    assert patches.centres(512, 32) == pytest.approx((0.5 / 32, 1 / 32))
