import pytest
import torch
from torch import nn

from imgret.errors import WeightsError
from imgret.nn.backbones import build_trunk
from imgret.nn.stages import input_shapes, spatial_convolution, stage_blocks


def trunk_of(name, device="meta"):
    with torch.device(device):
        return build_trunk(name)[0]


@pytest.mark.parametrize(
    ("name", "stage", "number", "kind"),
    [
        ("resnet50", -1, 3, "Bottleneck"),
        ("resnet50", -2, 6, "Bottleneck"),
        ("resnet101", -2, 23, "Bottleneck"),
        ("resnet18", -2, 2, "BasicBlock"),
        ("resnetv2_50", -2, 6, "PreActBottleneck"),
        ("test_convnext", -2, 4, "ConvNeXtBlock"),  # whose stage holds a downsampling layer as well
        ("regnety_002", -2, 4, "Bottleneck"),
        ("efficientnet_b0", -2, 3, "InvertedResidual"),  # "blocks.4", kept with its dot
    ],
)
def test_a_stage_is_found_in_many_networks(name, stage, number, kind):
    blocks = stage_blocks(trunk_of(name), stage)
    assert [type(block).__name__ for block in blocks.children()] == [kind] * number


def test_setting_a_block_changes_the_trunk():
    class Zero(nn.Module):
        def forward(self, x):
            return torch.zeros_like(x)

    trunk, x = trunk_of("test_convnext", "cpu").eval(), torch.rand(1, 3, 64, 96)
    blocks = stage_blocks(trunk, -1)
    last = list(dict(blocks.named_children()))[-1]
    assert trunk(x).ne(0).any()
    setattr(blocks, last, Zero())
    assert trunk(x).eq(0).all()


@pytest.mark.parametrize(("name", "stage"), [("test_vit", -1), ("vgg11", -1), ("resnet50", -9), ("resnet50", 5)])
def test_networks_without_the_stage_are_refused(name, stage):
    with pytest.raises(WeightsError, match="no stage .*; take another backbone, such as resnet50"):
        stage_blocks(trunk_of(name), stage)


def test_the_last_convolution_that_sees_neighbours_is_found():
    block = stage_blocks(trunk_of("resnet50"), -1)[0]
    assert spatial_convolution(block) == (block, "conv2", block.conv2)  # conv3 and the shortcut are 1 x 1
    nested = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, (1, 3)), nn.Conv2d(2, 2, 1)))
    assert spatial_convolution(nested) == (nested[1], "1", nested[1][1])


def test_a_block_that_sees_one_cell_at_a_time_has_none():
    assert spatial_convolution(nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", [512] + [1024] * 5),
        ("resnetv2_50", [512] + [1024] * 5),
        ("resnet18", [128, 256]),
        ("test_convnext", [48] * 4),  # narrowed ahead of the first block
        ("regnety_002", [56, 152, 152, 152]),
    ],
)
def test_the_channels_a_block_is_given_are_read_off_a_run(name, expected):
    trunk = trunk_of(name)
    assert [shape[1] for shape in input_shapes(trunk, stage_blocks(trunk, -2).children())] == expected


def test_the_run_leaves_no_trace():
    trunk = trunk_of("test_resnet", "cpu")
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    blocks = stage_blocks(trunk, -2)
    assert input_shapes(trunk.train(), blocks.children(), side=64) == [(2, 48, 8, 8)]
    assert all(part.training for part in trunk.modules())
    assert not any(part._forward_pre_hooks for part in trunk.modules())
    for key, value in trunk.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ["densenet121", "dla34", "hrnet_w18_small", "mambaout_femto", "tiny_vit_5m_224"])
def test_blocks_that_take_more_than_one_map_channels_first_are_refused(name):
    # lists of maps, several arguments, several scales, channels last
    trunk = trunk_of(name)
    with pytest.raises(WeightsError, match="do not take one map each"):
        input_shapes(trunk, stage_blocks(trunk, -2).children())


@pytest.mark.parametrize(
    "call",
    [
        lambda block, x: block(x.flatten(2)),  # tokens
        lambda block, x: block(x, x),
        lambda block, x: block(x, mask=x),
        lambda block, x: x,
    ],
)
def test_a_block_that_is_not_called_with_one_map_alone_is_refused(call):
    class Block(nn.Conv2d):
        def forward(self, x, mask=None):
            return x

    class Toy(nn.Module):
        name, stride, channels_last = "a toy", 8, False

        def __init__(self, call):
            super().__init__()
            self.block, self.call = Block(3, 3, 3), call

        def forward(self, images):
            return self.call(self.block, images)

    plain, odd = Toy(lambda block, x: block(x)), Toy(call)
    assert input_shapes(plain, [plain.block], side=32) == [(2, 3, 32, 32)]
    with pytest.raises(WeightsError, match="do not take one map each"):
        input_shapes(odd, [odd.block])
