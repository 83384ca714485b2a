import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from imgret.errors import WeightsError
from imgret.models.gsa import AttentionInParallel, GSANet, mean_attention, stride_pool
from imgret.nn.backbones import build_trunk
from imgret.nn.gsa import GlobalSelfAttention

TINY = "test_resnet"  # blocks: basic, basic, bottleneck with a stride in its 3x3, basic


def attentions(model):
    return [part for part in model.modules() if isinstance(part, GlobalSelfAttention)]


def three_by_threes(trunk):
    return sum(isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) for part in trunk.modules())


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(67, 131), (32, 40)])
def test_in_parallel_the_network_starts_bit_for_bit_as_the_trunk_alone(stages, size):
    torch.manual_seed(0)
    bare = build_trunk(TINY)[0].eval()
    torch.manual_seed(0)
    model, x = GSANet(TINY, stages=stages, image_side=64).eval(), torch.rand(1, 3, *size)
    with torch.no_grad():
        for part in (*bare.modules(), *model.modules()):
            if isinstance(part, nn.BatchNorm2d):
                part.weight.fill_(0.9)  # timm starts the last one of a block at zero, which would hide all before it
        assert torch.equal(model.trunk(x), bare(x))
        for part in model.modules():
            if isinstance(part, AttentionInParallel):
                part.gamma.fill_(1)
        assert (model.trunk(x) - bare(x)).abs().max() > 1e-3


@pytest.mark.parametrize("parts", ["both", "content", "position"])
@pytest.mark.parametrize("placement", ["parallel", "replace"])
@pytest.mark.parametrize("offsets", ["absolute", "interpolated"])
def test_every_choice_can_be_built_and_described_at_any_size(parts, placement, offsets):
    model = GSANet(TINY, 16, placement, stages=4, image_side=64, offsets=offsets, parts=parts).eval()
    with torch.no_grad():
        for size in ((32, 32), (67, 131), (224, 33)):
            assert model(torch.rand(1, 3, *size)).norm().item() == pytest.approx(1)


def test_replacing_leaves_no_convolution_where_a_module_is():
    torch.manual_seed(0)
    bare = three_by_threes(build_trunk(TINY)[0])
    replaced = GSANet(TINY, placement="replace", stages=4, image_side=64)
    assert len(attentions(replaced)) == 4
    assert three_by_threes(replaced.trunk) == bare - 4
    assert three_by_threes(GSANet(TINY, stages=4, image_side=64).trunk) == bare


def test_a_stride_becomes_average_pooling_of_the_real_pixels():
    pool = stride_pool(nn.Conv2d(1, 1, 3, stride=2, padding=1))
    x = torch.arange(1.0, 10).view(1, 1, 3, 3)
    # (1 + 2 + 4 + 5) / 4, (3 + 6) / 2, (7 + 8) / 2, 9
    assert pool(x).flatten().tolist() == [3, 4.5, 7.5, 9]
    assert isinstance(stride_pool(nn.Conv2d(1, 1, 3, padding=1)), nn.Identity)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (8, 5)])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_module_beside_a_strided_convolution_has_its_size(size, groups):
    convolution = nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups)
    both = AttentionInParallel(convolution, GlobalSelfAttention(4, 3, 8))
    x = torch.rand(2, 4, *size)
    both.gamma.data.fill_(2.0)
    with torch.no_grad():
        expected = convolution(x) + 2 * both.pool(both.attention(x))
        torch.testing.assert_close(both(x), expected)


def test_gamma_has_one_entry_for_each_channel():
    convolution = nn.Conv2d(2, 3, 3, padding=1)
    both = AttentionInParallel(convolution, GlobalSelfAttention(2, 3, 3))
    both.gamma.data.copy_(torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1))
    with torch.no_grad():
        x = torch.rand(1, 2, 4, 5)
        assert (both(x) - convolution(x)).ne(0).flatten(2).any(2).tolist() == [[False, True, False]]


def test_tables_reach_as_far_as_the_map_that_is_read_is_wide():
    def reaches(**options):
        with torch.device("meta"):
            return [module.position.column.reach for module in attentions(GSANet("resnet50", **options))]

    # The first block of a stage reads the map before its stride: 2048 / 16 and 2048 / 32
    assert reaches() == [128, 64, 64]
    # 224 px: 56 for conv2 and the first block of conv3, then 28, 14, 7 likewise
    paper = reaches(placement="replace", stages=4, image_side=224)
    assert paper == [56] * 4 + [28] * 4 + [14] * 6 + [7] * 2
    # A side that is no whole number of cells: 33 -> 17 -> 9 -> 5 -> 3, and 3 is what the last stage's first block reads
    assert reaches(image_side=33) == [3, 2, 2]


def test_counting_the_sides_leaves_the_trunk_as_it_was():
    torch.manual_seed(0)
    bare = build_trunk(TINY)[0]
    torch.manual_seed(0)
    model = GSANet(TINY, parts="content")
    before, after = bare.state_dict(), model.trunk.state_dict()
    kept = {name.replace("convolution.", ""): value for name, value in after.items()}
    for name, value in before.items():
        assert torch.equal(kept[name], value), name  # batch norm's statistics among them
    assert not any(part._forward_pre_hooks for part in model.modules())


@pytest.mark.parametrize(
    ("backbone", "parameters", "gflops"),
    [("resnet50", 18.05e6, 7.17), ("resnet101", 30.40e6, 12.18)],
)
def test_the_whole_network_has_the_counted_size_and_cost(backbone, parameters, gflops):
    model = GSANet(backbone, placement="replace", stages=4, image_side=224, pos_norm=False).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.trunk(torch.rand(1, 3, 224, 224))
    # The counts include a classifier of 1000 classes; one multiply-add is two operations.
    size = sum(p.numel() for p in model.trunk.parameters()) + 2048 * 1000 + 1000
    assert size == pytest.approx(parameters, rel=0.01)
    assert (counter.get_total_flops() + 2 * 2048 * 1000) / 1e9 == pytest.approx(gflops, rel=0.01)


def test_the_default_model_has_the_documented_size():
    with torch.device("meta"):
        model = GSANet()
    # Trunk 23,508,032. Three modules: 3 w^2 + 2 (2 L - 1) w / 8 + 2 w + gamma's w with w = 512, L = 128, 64, 64:
    # 820,608 + 2 * 804,224. GeM 1; projection 2048 * 512 + 512 + 2 * 512.
    expected = 23_508_032 + 820_608 + 2 * 804_224 + 1 + 1_050_112
    assert sum(p.numel() for p in model.parameters()) == expected == 26_987_201


def test_keys_that_single_out_a_pixel_show_it():
    # 2 x 4 cells, both channels all but surely in the last row's first cell; and one cell of a 1 x 2 grid.
    large, small = torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 1, 2)
    large[..., 1, 0] = 50
    small[..., 0, 1] = 50
    assert mean_attention([large]).flatten().tolist() == pytest.approx([0, 0, 0, 0, 1, 0, 0, 0])
    # On the last grid the first module looks left, the second right: each has half the say.
    assert mean_attention([large, small]).flatten().tolist() == pytest.approx([0.5, 0.5])
    # One channel elsewhere, a quarter of what is seen.
    large[0, 0] = 0
    large[0, 0, 0, 3] = 50
    assert mean_attention([large, small]).flatten().tolist() == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("placement", ["parallel", "replace"])
def test_a_model_shows_where_its_content_branches_look(fold, placement):
    model = GSANet(TINY, placement=placement, stages=2, image_side=64).eval()
    if fold:
        model.folded()
    seen = model.look(torch.rand(2, 3, 67, 131))
    assert set(seen) == {"global", "pooled"}
    assert seen["global"].shape == seen["pooled"].shape
    for what in seen.values():
        torch.testing.assert_close(what.sum((1, 2)), torch.ones(2))


def test_without_content_there_is_no_look_at_all_of_the_map():
    assert set(GSANet(TINY, parts="position").eval().look(torch.rand(1, 3, 64, 64))) == {"pooled"}


def test_folding_keeps_the_attention_and_its_own_batch_norm():
    model = GSANet(TINY, stages=2, image_side=64).eval()
    before = len(attentions(model))
    folded = copy.deepcopy(model).folded()
    assert len(attentions(folded)) == before == 2
    norms = [part for part in folded.trunk.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) < sum(isinstance(part, nn.BatchNorm2d) for part in model.trunk.modules())
    assert all(module.position.norm in norms for module in attentions(folded))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"placement": "after"}, "placement must be one of parallel, replace, got 'after'"),
        ({"offsets": "clipped"}, "offsets must be one of absolute, interpolated, got 'clipped'"),
        ({"parts": "none"}, "parts must be one of both, content, position, got 'none'"),
        ({"stages": 0}, "stages must be at least 1, got 0"),
        ({"image_side": 0}, "image_side must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_built_is_a_callers_mistake(options, words):
    with pytest.raises(ValueError, match=words):
        GSANet(TINY, **options)


def test_a_trunk_without_convolutional_blocks_is_refused():
    with pytest.raises(
        WeightsError, match="test_vit has no stage -1 of blocks with a spatial convolution; take another"
    ):
        GSANet("test_vit")


def test_a_bare_convolution_between_blocks_gets_no_module():
    model = GSANet("rdnet_tiny", dim=8)  # its stages begin with a norm and a convolution that makes the map smaller
    assert any(isinstance(part, GlobalSelfAttention) for part in model.trunk.modules())


@pytest.mark.parametrize("backbone", ["cpubone_nano", "mobilenetv3_small_100"])
def test_a_trunk_that_cannot_hold_modules_is_refused(backbone):
    # convolutions of even kernels give other sizes than pooling; a last stage may have only 1x1 convolutions
    with pytest.raises(WeightsError, match="take another backbone"):
        GSANet(backbone)
