"""ReLUP: which ReLUs of a ResNet it replaces, and what the trunk computes then (arXiv:2308.06954)."""

import copy

import pytest
import torch
from torch import nn

from imgret.errors import WeightsError
from imgret.nn.backbones import build_trunk
from imgret.nn.relup import FlooredReLU, floor_relus

FLOOR = 0.014


def trunk_of(name):
    """A trunk in eval mode, its batch norms off their starting values."""
    torch.manual_seed(0)
    trunk = build_trunk(name)[0].eval()
    for part in trunk.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return trunk


def floored(trunk):
    return [name.removeprefix("net.") for name, part in trunk.named_modules() if isinstance(part, FlooredReLU)]


def test_the_floor_is_the_least_value():
    assert FlooredReLU(0.25)(torch.tensor([-1.0, 0.1, 0.5])).tolist() == [0.25, 0.25, 0.5]


def test_outputs_of_all_stages_but_the_last_and_the_inside_of_the_first_are_floored():
    trunk = trunk_of("test_resnet")  # a basic block a stage in the first, second and fourth, a bottleneck in the third
    floor_relus(trunk, FLOOR)
    assert floored(trunk) == ["layer1.0.act1", "layer1.0.act2", "layer2.0.act2", "layer3.0.act3"]


def test_every_block_of_a_resnet50_is_met():
    trunk = build_trunk("resnet50")[0]
    floor_relus(trunk, FLOOR)
    first = [f"layer1.{block}.act{number}" for block in range(3) for number in (1, 2, 3)]
    outputs = [f"layer{stage}.{block}.act3" for stage, blocks in ((2, 4), (3, 6)) for block in range(blocks)]
    assert floored(trunk) == [*first, *outputs]


def test_the_map_is_that_of_a_trunk_whose_relus_are_overruled_one_by_one():
    plain = trunk_of("test_resnet").double()
    refined = copy.deepcopy(plain)
    floor_relus(refined, FLOOR)
    before, floor = {}, torch.tensor(FLOOR, dtype=torch.float64)

    def overrule(part):
        # timm's ReLUs write over what they are given, so it is kept before
        part.register_forward_pre_hook(lambda part, given: before.update({part: given[0].clone()}))
        part.register_forward_hook(lambda part, given, found: torch.maximum(before[part], floor))

    images = torch.rand(2, 3, 67, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        unrefined = plain(images)
        for name in ("layer1.0.act1", "layer1.0.act2", "layer2.0.act2", "layer3.0.act3"):
            overrule(plain.net.get_submodule(name))
        expected, found = plain(images), refined(images)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (found - unrefined).abs().max() > 1e-4
    assert (found == 0).any()  # the last stage keeps its ReLU


def test_a_floor_of_zero_is_the_trunk_as_it_was():
    plain = trunk_of("test_resnet")
    refined = copy.deepcopy(plain)
    floor_relus(refined, 0.0)
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(refined(images), plain(images))


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "regnetx_002", "test_vit"])
def test_a_trunk_that_is_no_resnet_is_refused_by_name(name):
    trunk = build_trunk(name)[0]
    with pytest.raises(WeightsError, match=f"{name} has no four stages .*leave relup out"):
        floor_relus(trunk, FLOOR)
    assert floored(trunk) == []
