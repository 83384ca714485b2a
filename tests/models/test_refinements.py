"""Refinements: how they are read, which models take them, and what they compute then."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from imgret.errors import ImgretError, UnknownNameError, WeightsError
from imgret.extraction.describe import Describer
from imgret.models.refinements import REFINEMENTS, canonical_refinements, parse_refinements, refine
from imgret.models.weights import build
from imgret.nn.regional import RegionalGeM
from imgret.nn.relup import FlooredReLU
from tests.models.tiny import images, stripes_and_box, tiny

ALL = "relup:floor=0.014 regional:p=2.5,side=5 gem+:p=4.6"
REFINABLE = ("gem", "glam", "gala", "gsa")


def rows(model, batch):
    with torch.inference_mode():
        return model.eval()(batch)


def test_what_is_left_out_is_the_papers_value():
    assert canonical_refinements("gem+ regional relup") == ALL
    assert canonical_refinements("none") == "none"


def test_the_order_of_the_words_says_nothing_and_the_text_reads_back_the_same():
    text = "gem+:p=3 relup:floor=0.02"
    assert canonical_refinements(text) == "relup:floor=0.02 gem+:p=3"
    assert parse_refinements(canonical_refinements(text)) == parse_refinements(text)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("gem", UnknownNameError, r"unknown refinement 'gem' \(did you mean gem\+\?\)"),
        ("regional:sidee=5", UnknownNameError, r"did you mean side\?"),
        ("regional:side=4", ImgretError, "regional:side must be an odd whole number from 3 to 15, got '4'"),
        ("regional:side=5.5", ImgretError, "an odd whole number"),
        ("gem+:p=0.5", ImgretError, r"gem\+:p must be a number from 1 to 20, got '0.5'"),
        ("gem+:p=nan", ImgretError, "a number from 1 to 20"),
        ("gem+:p=four", ImgretError, "got 'four'"),
        ("relup:floor", ImgretError, "got ''"),
        ("relup relup", ImgretError, "refinement relup is given twice"),
        ("gem+:p=3,p=4", ImgretError, r"setting p of gem\+ is given twice"),
        ("  ", ImgretError, r"no refinement is named; known: relup, regional, gem\+"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(text, error, words):
    with pytest.raises(error, match=words):
        parse_refinements(text)


@pytest.mark.parametrize("name", REFINABLE)
def test_every_refinement_changes_the_descriptors_of_every_model_that_has_a_map(name):
    batch = stripes_and_box()
    expected = rows(tiny(name), batch)
    for step in REFINEMENTS:
        found = rows(refine(tiny(name), parse_refinements(step)), batch)
        assert found.shape == expected.shape
        assert torch.linalg.norm(found, dim=1).numpy() == pytest.approx(1, abs=1e-5)
        assert (found - expected).abs().max() > 1e-5


def test_gem_plus_pools_by_its_own_p_with_a_smaller_eps():
    model = refine(tiny("gem"), parse_refinements("gem+"))
    batch = images(2, 3, 67, 96)
    with torch.inference_mode():
        x = model.trunk((batch - model.mean) / model.std).double().numpy()
    expected = (np.maximum(x, 1e-8) ** 4.6).mean((2, 3)) ** (1 / 4.6)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert rows(model, batch).numpy() == pytest.approx(expected, abs=1e-6)
    assert model.scale_power == pytest.approx(4.6)  # scales are pooled by the p in use


def test_without_gem_plus_the_trained_p_stays():
    model = tiny("glam")
    nn.init.constant_(model.pool.p, 2.2)
    pool = refine(model, parse_refinements("regional")).pool
    assert isinstance(pool, RegionalGeM)
    assert (float(pool.p.detach()), pool.eps, pool.side) == (pytest.approx(2.2), 1e-6, 5)


@pytest.mark.parametrize("name", REFINABLE)
def test_a_folded_refined_model_describes_the_same(name):
    model = tiny(name)
    for part in model.modules():  # statistics as after training
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    model = refine(model, parse_refinements(ALL))
    batch = stripes_and_box()
    expected = rows(model, batch)
    floors = sum(isinstance(part, FlooredReLU) for part in model.modules())
    folded = copy.deepcopy(model).folded()
    assert floors == 4
    assert sum(isinstance(part, FlooredReLU) for part in folded.modules()) == floors
    norms = [part for part in folded.trunk.modules() if type(part) is nn.BatchNorm2d]
    assert len(norms) < sum(type(part) is nn.BatchNorm2d for part in model.trunk.modules())
    torch.testing.assert_close(rows(folded, batch), expected, rtol=1e-4, atol=1e-5)


def test_a_map_of_one_cell_can_be_refined():
    pixels = np.random.default_rng(0).integers(0, 255, (1, 32, 200, 3), np.uint8)
    model = refine(tiny("gem"), parse_refinements(ALL))
    found = Describer(model, torch.device("cpu"), "bf16")(pixels)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("name", "backbone"), [("dalg", "test_resnet"), ("dtop", "test_vit"), ("gem", "test_vit")])
def test_a_model_without_one_map_that_gem_pools_is_refused(name, backbone):
    model = build(name, {"backbone": backbone})
    with pytest.raises(WeightsError, match=f"on {backbone} cannot be refined, .*leave out --refine"):
        refine(model, parse_refinements("gem+"))


def test_relup_on_another_trunk_than_a_resnet_names_the_trunk():
    with pytest.raises(WeightsError, match="regnetx_002 has no four stages"):
        refine(build("gem", {"backbone": "regnetx_002"}), parse_refinements("relup"))
