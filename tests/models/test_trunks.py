"""The table of public trunks says what timm says."""

import pytest
import timm
from timm.models import get_pretrained_cfg

from imgret.models.gem import GeMModel
from imgret.models.trunks import TRUNKS, TrunkCard, address, command
from imgret.nn.backbones import pools_itself, pretrained_source

LICENCES = {"apache-2.0": "Apache-2.0", "dinov3-license": "DINOv3"}

every_trunk = pytest.mark.parametrize("name", TRUNKS)


@every_trunk
def test_every_row_is_timms_with_its_size_licence_and_address(name):
    assert name in timm.list_pretrained()
    cfg, card = get_pretrained_cfg(name), TRUNKS[name]
    assert card.licence == LICENCES[cfg.license]
    assert cfg.input_size[1:] == (card.image_size, card.image_size)
    where, megabytes = pretrained_source(name)
    assert (address(name), card.megabytes) == (where, round(megabytes))
    assert (card.pooling != "GeM") is pools_itself(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, card in TRUNKS.items() if card.milliseconds < 2000])
def test_every_row_builds_with_its_dimension_and_parameters(name):
    model = GeMModel(name)
    found = model.dim, sum(one.numel() for one in model.trunk.parameters())
    assert found == (TRUNKS[name].dim, TRUNKS[name].parameters)
    own = (
        "GeM"
        if model.pool is not None
        else {"token": "its own class token", "map": "its own attention"}.get(
            getattr(model.trunk.net, "global_pool", ""), "its own mean and layer norm"
        )
    )
    assert TRUNKS[name].pooling == own


@pytest.mark.parametrize(
    ("ms", "word"), [(99, "fast"), (100, "medium"), (299, "medium"), (999, "slow"), (1000, "slowest")]
)
def test_speed_classes_end_at_a_tenth_three_tenths_and_one_second(ms, word):
    assert TrunkCard(1, 1, 1, ms, 224, "", "").speed == word


def test_a_trunk_that_pools_itself_is_given_the_size_it_was_made_for():
    given = "--model gem --backbone vit_base_patch16_siglip_512.v2_webli --image-size 512"
    assert command("vit_base_patch16_siglip_512.v2_webli").endswith(given)
    assert command("resnet18.a1_in1k").endswith("--backbone resnet18.a1_in1k")
