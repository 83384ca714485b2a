import pytest
import torch
from torch import nn

from imgret.models.dtop import BRANCHES, DToP
from imgret.nn.backbones import TINY_HYBRID
from imgret.nn.pooling import gem, gem_share
from imgret.nn.recording import recorded
from tests.models.tiny import stripes_and_box

TINY = "test_vit"  # 6 layers, 64 channels, patches of 16


def make(**arguments):
    torch.manual_seed(7)
    model = DToP(TINY, **{"dim": 16, "layers": 3, **arguments}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    return model


def images(batch=2, height=48, width=80):
    return torch.rand(batch, 3, height, width)


def tokens(batch=2):
    """Class tokens [B, k, D] and patch tokens [B, k, D, h, w] of 3 layers and 3 x 5 patches."""
    return torch.randn(batch, 3, 64), torch.randn(batch, 3, 64, 3, 5)


@pytest.mark.parametrize("branches", BRANCHES)
@pytest.mark.parametrize("enhanced", [True, False])
@pytest.mark.parametrize("batch", [1, 2])  # a single image keeps its row
def test_every_variant_has_all_its_dimensions_and_no_idle_parameter(branches, enhanced, batch):
    model = make(branches=branches, enhanced=enhanced)
    rows = model(images(batch))
    assert rows.shape == (batch, 16)
    rows[:, ::3].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_one_branch_alone_may_have_an_odd_dimension_but_two_share_an_even_one():
    assert make(branches="class", dim=15)(images()).shape == (2, 15)
    with pytest.raises(ValueError, match="dim must be even .* got 15"):
        DToP(TINY, dim=15)


def test_an_unknown_branch_is_a_callers_mistake():
    with pytest.raises(ValueError, match="both, class, patch"):
        DToP(TINY, branches="none")


def test_each_branch_fills_its_half_and_reads_its_own_tokens():
    model, (classes, patches) = make(), tokens()
    model.trunk.forward = lambda images: (classes, patches)
    with torch.no_grad():
        u_c = model.class_fc(classes.reshape(2, 192))
        u_p = model.patch_fc(gem(model.patch_map(patches), 3.0))
        # batch norm starts as x / sqrt(1 + 1e-5); `make` moved its shift off zero
        expected = torch.cat([u_c, u_p], 1) / (1 + 1e-5) ** 0.5 + model.norm.bias
        torch.testing.assert_close(model.describe(images()), expected)


def test_the_class_vector_is_one_layer_over_all_class_tokens_shallow_first():
    model, (classes, _) = make(), tokens(1)
    with torch.no_grad():
        weight = model.class_fc.weight  # [8, 3 * 64]
        expected = model.class_fc.bias.clone()
        for place in range(3):
            expected += weight[:, 64 * place : 64 * (place + 1)] @ classes[0, place]
        torch.testing.assert_close(model.class_vector(classes)[0], expected)


def test_the_patch_map_mixes_layers_within_a_cell():
    model, (_, patches) = make(enhanced=False), tokens(1)
    with torch.no_grad():
        weight = model.reduce.weight[:, :, 0, 0]  # [64, 3 * 64]
        found = model.patch_map(patches)
        assert found.shape == (1, 64, 3, 5)
        for y in range(3):
            for x in range(5):
                cell = sum(weight[:, 64 * k : 64 * (k + 1)] @ patches[0, k, :, y, x] for k in range(3))
                torch.testing.assert_close(found[0, :, y, x], cell + model.reduce.bias)


def test_training_starts_from_the_map_without_enhancement():
    # The last 1x1 of the pyramid starts at zero: Y' is Y.
    model, (_, patches) = DToP(TINY, layers=3).eval(), tokens()
    with torch.no_grad():
        assert torch.equal(model.patch_map(patches), model.reduce(patches.flatten(1, 2)))
        assert not torch.equal(make().patch_map(patches), make(enhanced=False).patch_map(patches))


def test_gem_drops_what_is_negative_in_the_map():
    model, (_, patches) = make(), tokens()
    with torch.no_grad():
        features = model.patch_map(patches)
        assert features.min() < 0
        expected = model.patch_fc(features.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))
        torch.testing.assert_close(model.patch_vector(features), expected)


def test_only_training_makes_waves():
    model, batch = make(dropout=0.0), images()
    with torch.no_grad():
        assert torch.equal(model(batch), model(batch))
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
                part.eval()
        model.locality.wave.train()
        assert not torch.equal(model(batch), model(batch))


def test_dropout_comes_before_the_batch_norm():
    model = make(dropout=0.5)
    with torch.no_grad(), recorded([model.dropout]) as dropped:
        model.dropout.train()
        rows = model.describe(images())
        assert dropped[0].eq(0).any()
        torch.testing.assert_close(rows, model.norm(dropped[0]))


@pytest.mark.parametrize("size", [(32, 32), (48, 80), (67, 131)])
def test_the_views_are_on_the_grid_of_the_patches(size):
    model, grid = make(), tuple(-(-side // 16) for side in size)  # whole patches, rounded up
    seen = model.look(images(2, *size))
    assert {name: tuple(view.shape) for name, view in seen.items()} == {"global": (2, *grid), "local": (2, *grid)}
    torch.testing.assert_close(seen["local"].sum((1, 2)), torch.ones(2))
    assert (seen["global"].sum((1, 2)) < 1).all()  # the class token keeps a part for itself


def test_the_global_view_is_the_last_layers_attention_in_reading_order():
    model, batch = make(), images()
    last = model.trunk.net.blocks[-1]
    with torch.inference_mode(), recorded([last.norm1]) as given:
        seen = model.views(batch)["global"]
        query, key, _ = last.attn.qkv(given[0]).unflatten(2, (3, last.attn.num_heads, -1)).unbind(2)
        for y in range(3):
            for x in range(5):
                shares = []
                for head in range(last.attn.num_heads):
                    logits = key[:, :, head] @ query[1, 0, head] * last.attn.scale  # [B, 16]
                    shares.append(logits[1].softmax(0)[1 + 5 * y + x])
                torch.testing.assert_close(seen[1, y, x], torch.stack(shares).mean())


def test_the_local_view_is_the_share_in_the_enhanced_map():
    model, batch = make(), images()
    with torch.inference_mode():
        features = model.patch_map(model.trunk(batch)[1])
        torch.testing.assert_close(model.views(batch)["local"], gem_share(features, 3.0))


@pytest.mark.parametrize(("branches", "names"), [("class", {"global"}), ("patch", {"local"})])
def test_an_absent_branch_shows_nothing(branches, names):
    assert make(branches=branches).look(images()).keys() == names


def test_attention_that_cannot_be_recomputed_is_not_shown():
    model = make()
    attention = model.trunk.net.blocks[-1].attn
    attention.__class__ = type("Rotary", (type(attention),), {})
    assert model.look(images()).keys() == {"local"}


@pytest.mark.parametrize(("dtype", "moves"), [(torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_a_hybrid_trunk_works_in_half_precision(dtype, moves):
    torch.manual_seed(7)
    model, batch = DToP(TINY_HYBRID, dim=16).eval(), stripes_and_box()
    with torch.inference_mode():
        exact, rough = model(batch), model.to(dtype)(batch)
    assert (rough - exact).norm(dim=1).max() < moves * (exact[0] - exact[1]).norm()
    assert model.look(batch)["global"].shape == (2, 3, 5)


def test_a_hybrid_trunk_trains():
    torch.manual_seed(7)
    model = DToP(TINY_HYBRID, dim=16).train()
    model(images(2, 64, 96))[:, 0].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "above"),
    [
        # FC of 6 class tokens, 1x1 of 6 maps, enhanced locality, GeM, FC; each FC to 768 with biases
        ({}, 3_539_712 + 3_539_712 + 22_442_496 + 1 + 590_592),
        ({"enhanced": False}, 3_539_712 + 3_539_712 + 1 + 590_592),
        ({"branches": "class"}, 4608 * 1536 + 1536),
        ({"branches": "patch"}, 3_539_712 + 22_442_496 + 1 + 768 * 1536 + 1536),
    ],
)
def test_parameter_counts_of_the_default_model(arguments, above):
    with torch.device("meta"):
        model = DToP(**arguments)
    trunk, norm = 98_181_952, 2 * 1536
    assert sum(p.numel() for p in model.parameters()) == trunk + above + norm
