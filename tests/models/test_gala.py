import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from torch import nn

from imgret.errors import WeightsError
from imgret.models.gala import FORMS, GALA
from imgret.nn import backbones
from imgret.nn.backbones import build_trunk
from imgret.nn.gala import GALAGate, Tanh
from imgret.nn.map_supervision import map_supervision
from imgret.nn.recording import recorded
from tests.models.tiny import stripes_and_box

TINY = "test_resnet"  # one block in its stage 4
FOUR_BLOCKS = "regnety_002"  # the first of which is given a map of twice the side


def randomised(*arguments, **named):
    torch.manual_seed(0)
    model = GALA(*arguments, **named).eval()
    with torch.no_grad():
        for attention in model.attentions:
            for parameter in attention.parameters():
                parameter.normal_(std=0.1)  # a and m start at zero
    return model


def images(*size):
    return torch.rand(*size, generator=torch.Generator().manual_seed(1))


def paths_of_gates(model):
    return [path for path, part in model.named_modules() if isinstance(part, GALAGate)]


def size(modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture
def trunk_file(tmp_path, monkeypatch):
    """timm's weights for TINY as if they lay in the cache."""
    path = tmp_path / "model.safetensors"
    torch.manual_seed(11)
    safetensors.torch.save_file(timm.create_model(TINY).state_dict(), path)
    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: path)


def test_identity_gates_leave_a_pretrained_trunk_as_it_is_to_the_last_bit(trunk_file):
    bare, _, _, _ = build_trunk(TINY, pretrained=True)
    model, x = GALA(TINY, pretrained=True), images(2, 3, 67, 131)
    assert len(model.attentions) == 1
    with torch.inference_mode():
        assert torch.equal(model.trunk.eval()(x), bare.eval()(x))


def test_a_closed_gate_lets_nothing_pass_on_either_path():
    # The shortcut is taken behind the gate, so with Y = 0 the trunk cannot tell two images apart.
    model, x = randomised(TINY, form="paper"), images(2, 3, 64, 64)
    with torch.inference_mode():
        first, second = model.trunk(x)
        assert not torch.equal(first, second)
        model.attentions[0].additive.zero_()
        model.attentions[0].multiplicative.zero_()
        first, second = model.trunk(x)
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        # 198,529 for the block that is given 512 channels, 790,273 for each of the five with 1024
        ("identity", 4_149_894),
        ("paper", 4_149_894),
        # 608,257 + 5 * 2,428,929
        ("release", 12_752_902),
    ],
)
def test_a_resnet50_has_six_gates_at_the_blocks_of_stage_4(form, expected):
    with torch.device("meta"):
        model = GALA("resnet50", form=form)
    assert paths_of_gates(model) == [f"trunk.net.layer3.{i}.gate" for i in range(6)]
    assert [len(attention.additive) for attention in model.attentions] == [512] + [1024] * 5
    assert size(model.attentions) == expected
    # trunk 23,508,032, p of GeM 1, FC 2048 * 512 + 512 and batch norm 2 * 512
    assert size([model]) == expected + 23_508_032 + 1 + 1_049_088 + 1_024


def test_a_longer_stage_has_its_gates_at_the_last_blocks():
    with torch.device("meta"):
        model = GALA("resnet101")
    assert paths_of_gates(model) == [f"trunk.net.layer3.{i}.gate" for i in range(17, 23)]
    assert size(model.attentions) == 6 * 790_273


def test_the_number_of_gates_is_an_argument():
    with torch.device("meta"):
        assert paths_of_gates(GALA(FOUR_BLOCKS, gates=2)) == ["trunk.net.s3.b3.gate", "trunk.net.s3.b4.gate"]
        assert len(GALA(FOUR_BLOCKS, gates=9).attentions) == 4
    with pytest.raises(ValueError, match="at least 1"):
        GALA(TINY, gates=0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("dtype", "moves"), [(torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_every_form_describes_in_every_precision(form, dtype, moves):
    model, x = randomised(TINY, dim=16, form=form), stripes_and_box()
    with torch.inference_mode():
        exact, rows = model(x), model.to(dtype)(x)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))
    assert (rows - exact).norm(dim=1).max() < moves * (exact[0] - exact[1]).norm()


@pytest.mark.parametrize(
    ("form", "kernels", "squash", "last", "identity"),
    [
        ("identity", [1, 1], Tanh, nn.Linear, True),
        ("paper", [1, 1], Tanh, nn.Linear, False),
        ("release", [1, 5, 1], nn.Sigmoid, nn.ReLU, False),
    ],
)
def test_a_form_is_what_it_says(form, kernels, squash, last, identity):
    model = GALA(TINY, form=form)
    gate = model.get_submodule(paths_of_gates(model)[0])
    attention = gate.attention
    assert [layer.kernel_size[0] for layer in attention.local_path if isinstance(layer, nn.Conv2d)] == kernels
    assert isinstance(attention.squash, squash)
    assert isinstance(attention.global_path[-1], last)
    assert gate.identity is identity
    assert bool(attention.additive.any()) is not identity


def test_an_unknown_form_is_a_callers_mistake():
    with pytest.raises(ValueError, match="identity, paper, release"):
        GALA(TINY, form="residual")


def test_a_backbone_whose_blocks_cannot_be_gated_is_refused():
    with (
        torch.device("meta"),
        pytest.raises(WeightsError, match="blocks of densenet121 do not take one map each; take .* such as resnet50"),
    ):
        GALA("densenet121")


@pytest.mark.parametrize("form", FORMS)
def test_folding_reaches_the_batch_norms_beside_the_gates(form):
    def norms_called(model):
        norms = [part for part in model.trunk.modules() if isinstance(part, nn.BatchNorm2d)]
        with torch.inference_mode(), recorded(norms) as calls:
            model.trunk(x)
        return len(calls)

    model, x = randomised(TINY, form=form), images(2, 3, 67, 131)
    with torch.inference_mode():
        rows, seen, whole = model(x), model.look(x), norms_called(model)
        folded = model.folded()
        assert len(folded.attentions) == 1
        assert whole > 10
        assert norms_called(folded) == 0
        assert F.cosine_similarity(folded(x), rows).min() > 0.99999
        for name, part in folded.look(x).items():
            torch.testing.assert_close(part, seen[name], rtol=1e-3, atol=1e-5)


def test_attentions_can_be_recorded_in_order_and_supervised():
    model = randomised(FOUR_BLOCKS, dim=16)
    with recorded(model.attentions) as maps:
        model(images(2, 3, 64, 96))
    assert [tuple(s.shape) for s in maps] == [(2, 56, 8, 12)] + [(2, 152, 4, 6)] * 3
    map_supervision(maps, images(2, 1, 64, 96), torch.tensor([True, False])).backward()
    stem = next(model.trunk.parameters())
    for parameter in (stem, *model.attentions[0].parameters(), *model.attentions[-1].parameters()):
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()
    assert model.projection.fc.weight.grad is None  # the maps know nothing of the descriptor


def test_views_are_means_over_the_gates_at_the_size_of_the_last():
    model, x = randomised(FOUR_BLOCKS), images(2, 3, 64, 96)
    seen = model.look(x)
    normalised = (x - model.mean) / model.std
    attentions = model.attentions
    with torch.no_grad(), recorded(a.local_path for a in attentions) as where, recorded(attentions) as maps:
        model.trunk(normalised)
    # Halving a side bilinearly is the mean of 2 x 2 cells.
    local = [F.avg_pool2d(where[0].sigmoid(), 2), *(l.sigmoid() for l in where[1:])]
    gate = [F.avg_pool2d(maps[0].square(), 2), *(s.square() for s in maps[1:])]
    torch.testing.assert_close(seen["local"], sum(l[:, 0] for l in local) / 4)
    torch.testing.assert_close(seen["gate"], sum(s.mean(1) for s in gate) / 4)
    assert seen["gate"].shape == (2, 4, 6)
    torch.testing.assert_close(seen["pooled"].sum((1, 2)), torch.ones(2))


def test_an_untrained_identity_gate_shows_no_attention():
    assert GALA(TINY).eval().look(images(1, 3, 64, 96))["gate"].eq(0).all()
