"""Every argument of every constructor: written down, saved, and heard by the module it is meant for."""

import copy
import inspect
import json

import pytest
import torch

from imgret.models import MODELS
from imgret.models.gem import GeMModel
from imgret.models.glam import GLAM
from imgret.models.gsa import GSANet
from imgret.models.weights import load_model, save_weights
from imgret.nn.gsa import GlobalSelfAttention
from imgret.tables import resolve
from tests.models.tiny import images, tiny
from tests.toy import MeanColour

# All of a constructor's arguments but the trunk's, none at its default.
GIVEN = {
    "gem": {"p": 2.5},
    "glam": {
        "dim": 24,
        "reduced": 5,
        "local_attention": "spatial",
        "global_attention": "spatial",
        "first_level": True,
        "dropout": 0.3,
    },
    "dalg": {
        "dim": 24,
        "width": 48,
        "window": 3,
        "heads": 6,
        "dropout": 0.3,
        "drop_path": 0.2,
        "window_attention": False,
        "spatial_attention": False,
        "fusion": "concat",
    },
    "dtop": {"dim": 24, "layers": 2, "branches": "patch", "enhanced": False, "expansion": 3, "dropout": 0.3},
    "gala": {"dim": 24, "gates": 2, "form": "paper", "reduction": 3, "dropout": 0.3},
    "gsa": {
        "dim": 24,
        "placement": "replace",
        "stages": 2,
        "image_side": 96,
        "offsets": "interpolated",
        "pos_norm": False,
        "parts": "position",
        "heads": 4,
        "dropout": 0.3,
    },
}
FOUR_BLOCKS = "regnety_002"  # in its stage 4; test_resnet has one

every_model = pytest.mark.parametrize("name", sorted(MODELS))


def made(name, **changes):
    """The model with every argument off its default, but for `changes`."""
    return tiny(name, **{**GIVEN[name], **changes})


@every_model
def test_every_argument_is_given_and_none_at_its_default(name):
    known = inspect.signature(resolve(MODELS[name].target)).parameters
    assert known.keys() - {"backbone", "pretrained"} == GIVEN[name].keys()
    assert [key for key, value in GIVEN[name].items() if value == known[key].default] == []


@every_model
def test_arguments_are_those_given(name):
    model = made(name)
    assert model.arguments() == {"backbone": model.arguments()["backbone"], **GIVEN[name]}
    assert json.loads(json.dumps(model.arguments())) == model.arguments()


def test_arguments_given_in_order_and_defaults_are_noted_and_pretrained_is_not():
    assert GeMModel("test_resnet", pretrained=False).arguments() == {"backbone": "test_resnet", "p": 3.0}
    assert GeMModel("test_resnet", 2.0).arguments() == {"backbone": "test_resnet", "p": 2.0}


def test_arguments_are_a_copy_and_those_of_the_outermost_class():
    class Sharper(GeMModel):
        def __init__(self, by=2):
            super().__init__("test_resnet", p=3.0 * by)

    model = Sharper()
    model.arguments().clear()
    assert copy.deepcopy(model).arguments() == {"by": 2}
    assert MeanColour().arguments() == {}


def test_a_wrong_argument_is_told_by_the_constructor_itself():
    with pytest.raises(TypeError, match=r"GeMModel.__init__\(\) got an unexpected keyword argument 'q'"):
        GeMModel("test_resnet", q=1)


@every_model
def test_a_file_brings_a_model_of_other_arguments_back_to_the_last_bit(name, tmp_path):
    backbone = {"backbone": FOUR_BLOCKS} if name == "gala" else {}  # two gates need two blocks
    model, path, batch = made(name, **backbone), tmp_path / "a.safetensors", images(2, 3, 67, 131)
    save_weights(model, path, {})
    loaded = load_model(path)
    assert loaded.identity["arguments"] == model.arguments()
    with torch.inference_mode():
        assert torch.equal(loaded.model(batch), model(batch))


@pytest.mark.parametrize("name", sorted(GIVEN.keys() - {"gem"}))
def test_dim_and_dropout_reach_the_head(name):
    model = made(name)
    assert model.dim == model(images(1, 3, 64, 64)).shape[1] == 24
    assert (model if name == "dtop" else model.projection).dropout.p == 0.3


def test_p_of_gem_is_where_its_pooling_starts():
    assert made("gem").pool.p.item() == 2.5


def test_the_reduced_channels_of_glam_are_those_of_both_spatial_attentions():
    model = made("glam")
    assert {conv.out_channels for conv in (model.local_spatial.reduce, *model.local_spatial.pyramid)} == {5}
    assert {getattr(model.global_spatial, layer).out_channels for layer in ("query", "key", "value")} == {5}


def test_the_parts_and_the_first_level_of_glam_are_those_asked_for():
    model = made("glam")
    assert model.local_channel is model.global_channel is None
    assert isinstance(model.local_spatial.first_level, torch.nn.Conv2d)
    assert isinstance(GLAM("test_resnet").local_spatial.first_level, torch.nn.Identity)
    assert [conv.dilation for conv in model.local_spatial.pyramid] == [(1, 1), (2, 2), (3, 3)]


def test_the_numbers_of_dalg_reach_windows_and_cross_attention():
    model = made("dalg", window_attention=True, fusion="cross")
    windows = model.local.windows
    assert [(block.attention.window, block.drop_path.rate) for block in windows] == [(3, 0.2), (3, 0.2)]
    cross = model.cross.block.attention
    assert (cross.heads, cross.query.in_features, model.pooled.out_features) == (6, 48, 48)
    assert model.local.linear.out_features == 48


def test_the_switches_of_dalg_take_parts_out():
    model = made("dalg")
    assert len(model.local.windows) == 0
    assert model.local.spatial is model.cross is None
    assert made("dalg", fusion="none").local is None
    assert made("dalg", spatial_attention=True).local.spatial is not None


def test_the_layers_and_branches_of_dtop_are_those_asked_for():
    model = made("dtop")
    assert (model.trunk.layers, model.reduce.in_channels) == (2, 2 * model.trunk.channels)
    assert (model.has_class, model.has_patch) == (False, True)
    assert made("dtop", branches="class").class_fc.in_features == 2 * model.trunk.channels


def test_enhanced_locality_of_dtop_is_as_wide_as_asked_for():
    assert isinstance(made("dtop").locality, torch.nn.Identity)
    model = made("dtop", enhanced=True)
    assert model.locality.inverted.widen[0].out_channels == 3 * model.trunk.channels


def test_the_gates_of_gala_are_as_many_and_as_narrow_as_asked_for():
    attentions = made("gala", backbone=FOUR_BLOCKS).attentions
    assert len(attentions) == 2
    for attention in attentions:  # 152 channels, 152 // 3 = 50
        assert attention.global_path[0].out_features == attention.local_path[0].out_channels == 50


def test_the_form_of_gala_reaches_its_gates():
    assert isinstance(made("gala", form="release").attentions[0].squash, torch.nn.Sigmoid)
    gates = [part for part in made("gala").modules() if hasattr(part, "identity")]
    assert [gate.identity for gate in gates] == [False]


def modules_of(model):
    return [part for part in model.modules() if isinstance(part, GlobalSelfAttention)]


def test_every_word_of_gsa_reaches_every_module():
    modules = modules_of(made("gsa", parts="both"))
    assert len(modules) == 2  # stages, with a block each
    for module in modules:
        position = module.position
        assert module.content.heads == position.heads == 4
        assert position.pos_norm is False
        assert position.column.interpolated is position.row.interpolated is True
    assert [module.position.row.reach for module in modules] == [12, 3]  # 96 / 8, 96 / 32
    assert all(module.key is None for module in modules_of(made("gsa")))
    assert all(module.position is None for module in modules_of(made("gsa", parts="content")))


def test_sums_over_positions_are_divided_by_the_side_unless_told_otherwise():
    for module in modules_of(GSANet("test_resnet", image_side=64)):
        assert module.position.pos_norm is True
        assert not module.position.row.interpolated
