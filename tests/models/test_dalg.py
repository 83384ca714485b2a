import pytest
import torch

from imgret.models.dalg import DALG, FUSIONS, window_heads

TINY = "test_resnet"


def tiny(backbone=TINY, **options):
    torch.manual_seed(0)
    return DALG(backbone, dim=16, width=32, heads=4, window=4, **options).eval()


def image(height=96, width=160):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("spatial", [False, True])
def test_every_ablation_can_be_built_and_every_parameter_is_used(fusion, windows, spatial):
    model = tiny(fusion=fusion, window_attention=windows, spatial_attention=spatial)
    rows = model(image())
    assert rows.shape == (1, 16)
    rows[:, 0].sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    shown = {"pooled": True, "local": spatial and fusion != "none", "global": fusion == "cross"}
    assert set(model.look(image())) == {name for name, there in shown.items() if there}


def test_the_halves_of_the_local_branch_are_windows_plain_and_shifted_then_weights():
    model = tiny()
    assert [block.attention.shift for block in model.local.windows] == [0, 2]  # half a window of 4
    assert len(tiny(window_attention=False).local.windows) == 0
    assert tiny(spatial_attention=False).local.spatial is None
    assert tiny(fusion="none").local is None


def test_the_descriptor_is_the_mean_fused_token_beside_the_pooled_vector():
    model = tiny()
    fine, coarse = torch.rand(2, 192, 6, 10), torch.rand(2, 96, 3, 5)
    with torch.no_grad():
        mixed = model.local.windows[1](model.local.windows[0](fine.permute(0, 2, 3, 1)))
        weighted = model.local.spatial(mixed.permute(0, 3, 1, 2))
        local = torch.stack([model.local.linear(weighted[:, :, y, x]) for y in range(6) for x in range(10)], 1)
        torch.testing.assert_close(model.local(fine), local)  # row by row, as views unfold them
        cross = model.cross
        tokens = torch.stack([cross.linear(cross.norm(coarse[:, :, y, x])) for y in range(3) for x in range(5)], 1)
        fused = sum(cross.block(tokens, local)[:, i] for i in range(15)) / 15
        vector = model.pooled(model.pool(coarse))
        expected = model.projection(torch.cat([fused, vector], 1))
        torch.testing.assert_close(model.aggregate(fine, coarse), expected)


def test_concatenation_takes_the_mean_local_token_and_none_takes_no_local_token():
    fine, coarse = torch.rand(2, 192, 6, 10), torch.rand(2, 96, 3, 5)
    with torch.no_grad():
        model = tiny(fusion="concat")
        both = torch.cat([model.local(fine).mean(1), model.pooled(model.pool(coarse))], 1)
        torch.testing.assert_close(model.aggregate(fine, coarse), model.projection(both))
        model = tiny(fusion="none")
        alone = model.projection(model.pooled(model.pool(coarse)))
        torch.testing.assert_close(model.aggregate(fine, coarse), alone)


def test_the_weights_of_the_local_branch_reach_the_descriptor():
    # They are lengths of tokens: a layer norm anywhere behind them would undo most of what they say.
    model = tiny()
    fine, coarse = torch.rand(1, 192, 6, 10), torch.rand(1, 96, 3, 5)
    with torch.no_grad():
        model.local.linear.bias.zero_()
        model.local.spatial.score.weight.zero_()
        # softplus(x) = log(1 + e^x) is 1 at x = log(e - 1) = 0.541325 and 3 at log(e^3 - 1) = 2.948938
        model.local.spatial.score.bias.fill_(0.541325)
        weak, fused = model.local(fine), model.cross(coarse, model.local(fine))
        model.local.spatial.score.bias.fill_(2.948938)
        torch.testing.assert_close(model.local(fine), 3 * weak, rtol=1e-4, atol=1e-6)
        assert (model.cross(coarse, model.local(fine)) - fused).abs().max() > 1e-3


def test_the_mean_token_keeps_what_gem_drops():
    # GeM raises negative values to eps; the layer norm of the tokens still tells two negative maps apart.
    model = tiny()
    one, other = -torch.rand(1, 96, 3, 5) - 0.1, -torch.rand(1, 96, 3, 5) - 0.1
    with torch.no_grad():
        assert torch.equal(model.pool(one), model.pool(other))
        local = model.local(torch.rand(1, 192, 6, 10))
        assert (model.cross(one, local).mean(1) - model.cross(other, local).mean(1)).abs().max() > 1e-2


def test_views_are_the_weights_the_attention_received_and_the_share():
    model, batch = tiny(), image()
    seen = model.look(batch)
    with torch.no_grad():
        fine, coarse = model.trunk(model._normalised(batch))
        lengths = model.local.spatial(model.local.window_map(fine)).norm(dim=1)
        attention = model.cross.block.attention.attention(
            model.cross.block.attention_norm(model.cross.global_tokens(coarse)), model.local(fine)
        )
        received = torch.zeros(1, 6, 10)
        for y in range(6):
            for x in range(10):
                received[0, y, x] = attention[0, :, :, y * 10 + x].mean()
    torch.testing.assert_close(seen["local"], lengths)
    torch.testing.assert_close(seen["global"], received)
    assert seen["pooled"].shape == (1, 3, 5)
    for name in ("global", "pooled"):
        assert seen[name].sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("backbone", ["test_vit", "test_convnext", "test_efficientnet"])
def test_any_network_with_two_maps_will_do(backbone):
    model = tiny(backbone)
    with torch.inference_mode():
        rows = model(image(67, 131))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(1))


def test_both_maps_of_a_plain_vision_transformer_have_one_grid():
    seen = tiny("test_vit").look(image(67, 131))
    assert seen["local"].shape == seen["global"].shape == seen["pooled"].shape == (1, 5, 9)


@pytest.mark.parametrize(
    ("channels", "heads"),
    [
        (384, 12),  # Swin-S: 384 / 32
        (16, 1),  # at least one
        (112, 2),  # EfficientNet-B0: 3 does not divide 112
        (131, 1),  # a prime: 4, 3 and 2 do not divide it
    ],
)
def test_heads_inside_windows_have_32_channels_or_divide_evenly_what_there_is(channels, heads):
    assert window_heads(channels) == heads


def test_an_unknown_fusion_is_a_callers_mistake():
    with pytest.raises(ValueError, match="cross, concat, none"):
        tiny(fusion="add")


def test_arguments_hold_every_choice_but_the_pretrained_trunk():
    model = tiny(fusion="concat", window_attention=False)
    assert DALG(**model.arguments()).arguments() == model.arguments()
    assert model.arguments()["fusion"] == "concat"
    assert "pretrained" not in model.arguments()
