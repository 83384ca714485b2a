import pytest
import torch

from imgret.models.gem import GeMModel
from imgret.models.glam import GLAM, PARTS

TINY = "test_resnet"


@pytest.mark.parametrize("local", PARTS)
@pytest.mark.parametrize("global_", PARTS)
def test_every_ablation_can_be_built_and_its_fusion_sums_to_1(local, global_):
    model = GLAM(TINY, dim=16, local_attention=local, global_attention=global_).eval()
    with torch.no_grad():
        if model.fusion is not None:
            model.fusion.normal_()
        weights = model.fusion_weights()
        assert len(weights) == 1 + (local != "none") + (global_ != "none")
        assert weights.sum().item() == pytest.approx(1)
        assert model(torch.rand(1, 3, 64, 64)).shape == (1, 16)


# The paper's Table 5, row by row: (local, global) and what the model is made of.
TABLE_5 = {
    "baseline": ("none", "none", set()),
    "+ local channel": ("channel", "none", {"local_channel"}),
    "+ local spatial": ("spatial", "none", {"local_spatial"}),
    "+ local": ("both", "none", {"local_channel", "local_spatial"}),
    "+ global channel": ("none", "channel", {"global_channel"}),
    "+ global spatial": ("none", "spatial", {"global_spatial"}),
    "+ global": ("none", "both", {"global_channel", "global_spatial"}),
    "full": ("both", "both", {"local_channel", "local_spatial", "global_channel", "global_spatial"}),
}


@pytest.mark.parametrize("row", TABLE_5)
def test_a_row_of_table_5_holds_its_attentions_and_no_other(row):
    local, global_, parts = TABLE_5[row]
    model = GLAM(TINY, local_attention=local, global_attention=global_)
    assert {name for name, _ in model.named_children()} == parts | {"trunk", "pool", "projection"}


def test_fusion_starts_at_one_third_each():
    assert GLAM(TINY).fusion_weights().tolist() == pytest.approx([1 / 3] * 3)


def test_the_baseline_is_the_trunk_alone():
    model, x = GLAM(TINY, local_attention="none", global_attention="none").eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.feature_map(x), model.trunk(x))


def test_both_branches_read_the_raw_map():
    model = GLAM(TINY, dim=16).eval()
    torch.nn.init.normal_(model.local_spatial.score.weight)
    with torch.no_grad():
        f = torch.rand(1, 96, 3, 5)
        f_lc = f * model.local_channel(f) + f
        f_gc = f * model.global_channel(f)  # no residual
        f_l = f_lc * model.local_spatial(f) + f_lc
        f_g = f_gc * model.global_spatial(f) + f_gc
        torch.testing.assert_close(model.local_map(f), f_l)
        torch.testing.assert_close(model.global_map(f), f_g)
        model.trunk = torch.nn.Identity()
        model.fusion.copy_(torch.tensor([0.5, 0.3, 0.2]).log())  # softmax gives these back
        torch.testing.assert_close(model.feature_map(f), 0.5 * f_l + 0.3 * f_g + 0.2 * f)  # eq. 7


def test_an_unknown_part_is_a_callers_mistake():
    with pytest.raises(ValueError, match="both, channel, spatial, none"):
        GLAM(TINY, local_attention="all")


def test_the_fully_connected_layer_starts_xavier_normal_without_bias():
    model = GLAM(TINY, dim=512)
    # Xavier: std = sqrt(2 / (96 + 512)) = 0.05735
    assert model.projection.fc.weight.std().item() == pytest.approx(0.05735, rel=0.02)
    assert model.projection.fc.bias.eq(0).all()


def test_scales_are_pooled_with_p_only_where_nothing_follows_gem():
    gem = GeMModel(TINY, p=4.0)
    assert gem.scale_power == 4.0
    with torch.no_grad():
        gem.pool.p.fill_(99)
    assert gem.scale_power == 20.0
    assert GLAM(TINY).scale_power == 1.0
