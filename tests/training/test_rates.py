import pytest
import torch
from torch import nn

from imgret.models import MODELS
from imgret.models.weights import build
from imgret.training.losses.sharded import ShardedArcFace
from imgret.training.rates import parameter_groups
from imgret.training.recipe import Optimiser, Rates
from tests.models.tiny import tiny_backbone

OPTIMISER = Optimiser(lr=0.5, weight_decay=0.25, rates=Rates(trunk=0.1, head=1.0, gem_p=10.0, gates=4.0))


def tiny(name, **arguments):
    return build(name, {"backbone": tiny_backbone(name), **arguments})


def placed(model, loss=None):
    """name of the parameter -> (part, lr, weight decay)."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    names |= {parameter: f"loss.{name}" for name, parameter in (loss.named_parameters() if loss else ())}
    found = {}
    for group in parameter_groups(model, OPTIMISER, loss):
        for parameter in group["params"]:
            assert names[parameter] not in found, names[parameter]
            found[names[parameter]] = (group["part"], group["lr"], group["weight_decay"])
    assert set(found) == set(names.values())
    return found


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_parameter_of_every_model_is_in_exactly_one_group(name):
    model = tiny(name)
    found = placed(model)
    assert {part for part, _, _ in found.values()} <= {"trunk", "head", "gem_p", "gates"}
    rates = {"trunk": 0.05, "head": 0.5, "gem_p": 5.0, "gates": 2.0}  # 0.5 x the factor of each
    for key, (part, rate, _) in found.items():
        assert rate == pytest.approx(rates[part]), key
    assert found["pool.p"] == ("gem_p", 5.0, 0.0)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_biases_norms_and_scales_do_not_decay_and_weights_do(name):
    model = tiny(name)
    found = placed(model)
    for path, module in model.named_modules():
        for own, parameter in module.named_parameters(recurse=False):
            decay = found[f"{path}.{own}" if path else own][2]
            if parameter.ndim < 2:
                assert decay == 0.0, path
            elif isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                assert decay == 0.25, path


@pytest.mark.parametrize("name", ["gem", "glam", "dalg", "dtop"])
def test_the_trunk_is_all_below_the_trunk(name):
    for key, (part, _, _) in placed(tiny(name)).items():
        assert (part == "trunk") == key.startswith("trunk."), key


def test_the_gates_of_gala_learn_fast_and_a_and_m_do_not_decay():
    found = placed(tiny("gala"))
    attention = "trunk.net.layer3.0.gate.attention."
    assert found[attention + "additive"] == ("gates", 2.0, 0.0)
    assert found[attention + "multiplicative"] == ("gates", 2.0, 0.0)
    assert found[attention + "local_path.2.weight"] == ("gates", 2.0, 0.25)  # [1, C/r, 1, 1] is a weight, not a scale
    assert found["trunk.net.layer3.0.block.conv1.weight"] == ("trunk", 0.05, 0.25)
    assert {key for key, (part, _, _) in found.items() if part == "gates"} == {
        key for key in found if ".gate.attention." in key
    }


@pytest.mark.parametrize("placement", ["parallel", "replace"])
def test_attention_inside_a_trunk_is_new_and_learns_as_the_head_does(placement):
    found = placed(tiny("gsa", placement=placement))
    for key, (part, _, decay) in found.items():
        new = ".attention." in key or ("layer4.0.conv2.0." in key and placement == "replace")
        gate = key.endswith("gamma")
        assert part == (
            "gates"
            if gate
            else "head"
            if new or key.startswith("projection")
            else "gem_p"
            if key == "pool.p"
            else "trunk"
        ), key
        if key.endswith("table") or gate:
            assert decay == 0.0, key
    assert any(key.endswith("gamma") for key in found) == (placement == "parallel")
    assert sum(key.endswith("table") for key in found) == 2


def test_the_convolution_beside_an_attention_stays_in_the_trunk():
    found = placed(tiny("gsa"))
    assert found["trunk.net.layer4.0.conv2.convolution.weight"] == ("trunk", 0.05, 0.25)
    assert found["trunk.net.layer4.0.conv2.gamma"] == ("gates", 2.0, 0.0)


def test_the_fusion_weights_of_glam_are_gates():
    assert placed(tiny("glam"))["fusion"] == ("gates", 2.0, 0.0)


def test_tables_of_positions_do_not_decay():
    dtop, dalg = placed(tiny("dtop")), placed(tiny("dalg"))
    assert dtop["trunk.net.pos_embed"] == dtop["trunk.net.cls_token"] == ("trunk", 0.05, 0.0)
    assert dalg["local.windows.0.attention.position"] == ("head", 0.5, 0.0)


def test_the_tables_inside_a_swin_do_not_decay():
    class Block(nn.Module):  # what timm calls it, without building a whole Swin
        def __init__(self):
            super().__init__()
            self.relative_position_bias_table = nn.Parameter(torch.zeros(169, 3))
            self.linear = nn.Linear(2, 2)

    found = placed(Block())
    assert found["relative_position_bias_table"] == ("head", 0.5, 0.0)
    assert found["linear.weight"] == ("head", 0.5, 0.25)


def test_the_classifier_of_a_loss_is_head_and_decays():
    loss = nn.Linear(4, 3)
    found = placed(tiny("gem"), loss)
    assert found["loss.weight"] == ("head", 0.5, 0.25)
    assert found["loss.bias"] == ("head", 0.5, 0.0)


@pytest.mark.parametrize(("sample", "decay"), [(1.0, 0.25), (0.5, 0.0)])
def test_centres_that_are_sampled_do_not_decay(sample, decay):
    # a row that was not drawn would shrink, though no image was held against it
    assert placed(tiny("gem"), ShardedArcFace(4, 6, sample=sample))["loss.weight"] == ("head", 0.5, decay)


def test_by_default_p_and_gates_learn_ten_times_as_fast():
    rates = {g["part"]: g["lr"] for g in parameter_groups(tiny("gala"), Optimiser(lr=0.001))}
    assert rates == pytest.approx({"trunk": 0.001, "gates": 0.01, "gem_p": 0.01, "head": 0.001})


def test_shared_weights_are_given_once_and_frozen_ones_too():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    first.requires_grad_(False)
    groups = parameter_groups(nn.Sequential(first, second), OPTIMISER)
    assert sum(len(group["params"]) for group in groups) == 3  # one weight, two biases
    torch.optim.SGD(groups, lr=1.0)  # torch itself refuses a parameter that comes twice


@pytest.mark.parametrize("name", ["gala", "gsa"])
def test_groups_come_in_the_same_order_for_the_same_model(name):
    def shapes():
        return [(g["part"], [tuple(p.shape) for p in g["params"]]) for g in parameter_groups(tiny(name), OPTIMISER)]

    assert shapes() == shapes()
