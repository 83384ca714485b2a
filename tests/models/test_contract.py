"""What every row of MODELS keeps, whatever the model. A new row is tested by being there."""

import inspect
import json

import pytest
import torch
import torch.nn.functional as F

from imgret.models import MODELS, check_name
from imgret.models.weights import load_model, save_weights
from imgret.tables import resolve
from tests.models.tiny import images, stripes_and_box, tiny, tiny_backbone
from tests.nn.seen import Seen

# Softmax over keys is blind to what all keys share, so the key's bias has no gradient.
NO_GRADIENT = {"global_spatial.key.bias"}
# The distance a descriptor may move in half precision, as a part of the distance between two images.
MOVES = {torch.bfloat16: 0.1, torch.float16: 0.02}

every_model = pytest.mark.parametrize("name", sorted(MODELS))


@every_model
@pytest.mark.parametrize("size", [(67, 131), (32, 40), (96, 96)])
def test_rows_are_unit_float32_of_the_declared_dimension(name, size):
    model = tiny(name)
    with torch.inference_mode():
        rows = model(images(2, 3, *size))
    assert rows.dtype == torch.float32
    assert rows.shape == (2, model.dim)
    assert model.dim == (MODELS[name].dim or model.trunk.channels)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


@every_model
@pytest.mark.parametrize("size", [(1, 200), (200, 1), (1, 1), (5, 7)])
def test_a_sliver_of_an_image_has_a_finite_unit_descriptor(name, size):
    with torch.inference_mode():
        rows = tiny(name)(images(1, 3, *size))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(1))


@every_model
@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_a_flat_image_has_a_finite_unit_descriptor(name, colour):
    with torch.inference_mode():
        rows = tiny(name)(torch.full((1, 3, 64, 64), colour))
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(1))


@every_model
def test_a_descriptor_does_not_depend_on_its_batch_mates(name):
    model, batch = tiny(name), images(3, 3, 67, 131)
    with torch.inference_mode():
        together = model(batch)
        alone = torch.cat([model(image[None]) for image in batch])
    assert F.cosine_similarity(together, alone).min() >= 0.9999


@every_model
def test_gradients_reach_every_parameter(name):
    model = tiny(name)
    model(images(2, 3, 67, 131))[:, 0].sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert key in NO_GRADIENT or parameter.grad.any(), key


@every_model
def test_a_training_step_works(name):
    model = tiny(name).train()
    assert model(images(4, 3, 64, 64)).isfinite().all()


def moves(exact, rough):
    """How far rough descriptors are from the exact ones, where the two images are 1 apart."""
    return (rough - exact).norm(dim=1).max() / (exact[0] - exact[1]).norm()


@every_model
def test_bf16_autocast_gives_nearly_the_same_descriptor(name):
    model, batch = tiny(name), stripes_and_box()
    with torch.inference_mode():
        exact = model(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(batch)
    assert rough.dtype == torch.float32
    assert moves(exact, rough) < MOVES[torch.bfloat16]


@every_model
@pytest.mark.parametrize("dtype", MOVES)
def test_a_model_turned_to_half_precision_gives_nearly_the_same_descriptor(name, dtype):
    model, batch = tiny(name), stripes_and_box()
    with torch.inference_mode():
        exact = model(batch)
        rough = model.to(dtype)(batch)
    assert rough.dtype == torch.float32
    assert moves(exact, rough) < MOVES[dtype]


@every_model
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_no_softmax_is_in_half_precision_under_autocast(name, layout):
    model, batch = tiny(name), images(1, 3, 67, 131).to(memory_format=layout)
    with Seen() as seen, torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(batch)
        model.views(model._normalised(batch))
    assert seen.largest > 0
    assert seen.softmaxes <= {torch.float32}


@every_model
def test_a_channels_last_batch_has_the_same_descriptor(name):
    model, batch = tiny(name), images(2, 3, 67, 131)
    with torch.inference_mode():
        torch.testing.assert_close(model(batch.contiguous(memory_format=torch.channels_last)), model(batch))


@every_model
def test_folding_the_trunk_changes_no_descriptor(name):
    model, batch = tiny(name), images(2, 3, 67, 131)
    with torch.inference_mode():
        whole = model(batch)
        assert F.cosine_similarity(model.folded()(batch), whole).min() > 0.99999


@every_model
def test_a_model_shows_where_it_looks(name):
    model, batch = tiny(name), images(2, 3, 67, 131)
    seen = model.look(batch)
    assert seen
    for what, part in seen.items():
        assert part.shape[0] == 2, what
        assert part.ndim == 3, what
        assert part.dtype == torch.float32, what
        assert part.isfinite().all(), what
        assert part.min() >= 0, what


@pytest.mark.slow
@every_model
def test_a_compiled_model_gives_the_same_descriptor_at_several_sizes(name):
    model = tiny(name)
    compiled = torch.compile(model, dynamic=True)
    with torch.inference_mode():
        for size in ((64, 96), (67, 131)):
            torch.testing.assert_close(compiled(images(2, 3, *size)), model(images(2, 3, *size)), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@every_model
def test_an_exported_model_gives_the_same_descriptor(name):
    model, batch = tiny(name), images(2, 3, 67, 131)
    with torch.no_grad():
        exported = torch.export.export(model, (batch,)).module()
        torch.testing.assert_close(exported(batch), model(batch))


@every_model
def test_pixels_are_normalised_inside(name):
    # An image of the mean colour is all zeros behind the door.
    model, seen = tiny(name), []
    model.describe = lambda x: seen.append(x) or torch.ones(1, model.dim)
    model(model.mean.expand(1, 3, 32, 32))
    assert seen[0].eq(0).all()


@every_model
@pytest.mark.parametrize("wrong", [torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64).byte()])
def test_what_is_no_rgb_batch_is_a_callers_mistake(name, wrong):
    with pytest.raises(ValueError, match=r"floats \[B, 3, H, W\]"):
        tiny(name)(wrong)


@every_model
def test_a_weights_file_needs_nothing_else(name, tmp_path):
    model, path, batch = tiny(name, seed=3), tmp_path / "a.safetensors", images(1, 3, 67, 131)
    save_weights(model, path, {"command": "a test"})
    check_name(path)
    loaded = load_model(path)
    assert loaded.trained
    assert loaded.origin == {"path": str(path)}
    assert loaded.identity["arguments"] == model.arguments()
    assert not loaded.model.training
    with torch.inference_mode():
        assert torch.equal(loaded.model(batch), model(batch))


@every_model
def test_random_weights_follow_the_seed_and_nothing_else(name):
    first = load_model(name, backbone=tiny_backbone(name), weights="none", seed=0)
    torch.rand(5)
    again = load_model(name, backbone=tiny_backbone(name), weights="none", seed=0)
    other = load_model(name, backbone=tiny_backbone(name), weights="none", seed=1)
    assert not first.trained
    assert first.identity == again.identity == json.loads(json.dumps(first.identity))
    assert first.identity["weights"]["sha256"] != other.identity["weights"]["sha256"]


@every_model
def test_loading_leaves_the_global_random_state_alone(name):
    before = torch.get_rng_state()
    load_model(name, backbone=tiny_backbone(name), weights="none", seed=5)
    assert torch.equal(torch.get_rng_state(), before)


@every_model
def test_arguments_are_json_and_build_the_model_again(name):
    model = tiny(name)
    arguments = json.loads(json.dumps(model.arguments()))
    assert resolve(MODELS[name].target)(**arguments).arguments() == model.arguments()


@every_model
def test_the_card_names_the_default_backbone(name):
    default = inspect.signature(resolve(MODELS[name].target)).parameters["backbone"].default
    assert default == MODELS[name].backbone


@every_model
def test_the_card_explains_the_model(name):
    card = MODELS[name]
    assert len(card.equations) >= 2
    assert card.summary
    assert card.paper.startswith("arXiv:")
    assert card.parameters > 0
    assert card.gmacs > 0
