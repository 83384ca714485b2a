"""Where a model looks, from file to numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from imgret import workflows
from imgret.errors import ImgretError, InputError, WeightsError
from imgret.extraction.looking import load_looker
from imgret.images.decode import Undecodable
from imgret.images.files import find
from imgret.models import MODELS, ModelCard
from tests.pictures import save
from tests.watcher import WATCHER


@pytest.fixture
def watcher(monkeypatch):
    monkeypatch.setitem(MODELS, "watcher", WATCHER)
    return load_looker("watcher", weights="none", device="cpu")


def half_red(path, size=(64, 32)):
    """The left half red, the right half black."""
    picture = Image.new("RGB", size)
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    picture.save(path)
    return str(path)


def test_views_are_numpy_maps_of_the_image_as_it_lies(watcher, tmp_path):
    (image,) = find([half_red(tmp_path / "a.png")]).images
    look = watcher.look(image)
    # cells of 8 x 8 pixels: red is 1 on the left; the mean of the colours is a third of that
    red = np.repeat([[1, 1, 1, 1, 0, 0, 0, 0]], 4, 0)
    assert look.views["local"].dtype == np.float32
    assert look.views["local"] == pytest.approx(red)
    assert look.views["global"] == pytest.approx(red / 3)
    assert look.pixels.shape == (32, 64, 3)
    assert (look.pixels[:, :32] == (255, 0, 0)).all()


def test_the_size_is_the_models_own_unless_said_and_nothing_is_enlarged(watcher, tmp_path):
    (image,) = find([half_red(tmp_path / "a.png", (640, 320))]).images
    assert watcher.look(image).pixels.shape == (32, 64, 3)
    assert watcher.look(image, 320).pixels.shape == (160, 320, 3)
    assert watcher.look(image, 9999).pixels.shape == (320, 640, 3)


def test_what_cannot_be_decoded_is_said_and_not_raised(watcher, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"")
    found = watcher.look(find([str(tmp_path / "bad.png")]).images[0])
    assert isinstance(found, Undecodable)
    assert found.reason == "empty"


def test_a_model_without_views_says_so(mean_colour):
    looker = load_looker(mean_colour, weights="none", device="cpu")
    with pytest.raises(InputError, match="mean-colour cannot show where it looks"):
        looker.views(np.zeros((40, 40, 3), np.uint8))


def test_a_map_that_is_not_finite_is_refused(monkeypatch):
    card = ModelCard("tests.watcher:Diverged", dim=3, summary="", paper="none", backbone="none", image_size=64)
    monkeypatch.setitem(MODELS, "diverged", card)
    with pytest.raises(WeightsError, match="'global' of diverged is not finite"):
        load_looker("diverged", weights="none").views(np.zeros((40, 40, 3), np.uint8))


def test_a_model_is_loaded_as_extract_loads_it():
    with pytest.raises(WeightsError, match="no trained weights ship for glam"):
        load_looker("glam")
    with pytest.raises(ImgretError, match="use auto, cpu, cuda or cuda:N"):
        load_looker("glam", device="tpu")


def test_the_views_are_those_of_the_very_model_that_describes():
    from imgret.models import load_model

    pixels = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    looker = load_looker("gem", backbone="resnet10t", weights="none", seed=3, device="cpu")
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = load_model("gem", backbone="resnet10t", weights="none", seed=3).model.look(images)["pooled"][0].numpy()
    assert looker.views(pixels)["pooled"] == pytest.approx(expected, abs=1e-6)
    assert not looker.trained


def test_attend_gives_maps_errors_and_counts(watcher, tmp_path):
    for number in range(3):
        save(tmp_path / "in", f"{number}.png", number)
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    told = []
    found = workflows.attend(
        [str(tmp_path / "in"), str(tmp_path / "gone.png")],
        "watcher",
        weights="none",
        device="cpu",
        progress=lambda *numbers: told.append(numbers),
    )
    assert [look.id for look in found.looks] == ["0.png", "1.png", "2.png"]
    assert found.looks[0].path == str(tmp_path / "in" / "0.png")
    assert found.errors.keys() == {"bad.png", str(tmp_path / "gone.png")}
    assert (found.model, found.trained, found.image_size, found.found) == ("watcher", False, 64, 4)
    assert told[-1] == (4, 4, 2)


def test_attend_looks_at_no_more_than_the_limit(watcher, tmp_path):
    for number in range(3):
        save(tmp_path, f"{number}.png", number)
    found = workflows.attend([str(tmp_path)], "watcher", weights="none", limit=2)
    assert [look.id for look in found.looks] == ["0.png", "1.png"]
    assert found.found == 3


def test_a_box_is_looked_at_alone(watcher, tmp_path):
    path = half_red(tmp_path / "a.png")
    (look,) = workflows.attend([path], "watcher", weights="none", box=(0, 0, 32, 32)).looks
    assert look.id == "a.png#0,0,32,32"
    assert look.pixels.shape == (32, 32, 3)
    assert look.views["local"] == pytest.approx(1)
    with pytest.raises(InputError, match="--box goes with one image"):
        workflows.attend([path, half_red(tmp_path / "b.png")], "watcher", weights="none", box=(0, 0, 32, 32))


def test_nothing_to_look_at_is_one_error(watcher, tmp_path):
    with pytest.raises(InputError, match=r"gone\.png: no such file or folder"):
        workflows.attend([str(tmp_path / "gone.png")], "watcher", weights="none")


def test_the_model_is_described_in_words():
    about = workflows.Attention("glam", "resnet101", 1024, True, 0).about
    assert about == "glam on resnet101, longer side at most 1024 pixels"
    assert workflows.Attention("own", None, 64, True, 0).about == "own, longer side at most 64 pixels"


def test_a_look_knows_where_its_cells_lie_and_what_they_mean(tmp_path):
    """A padded ResNet's cell i is centred on pixel 32 i; a patch trunk stretches the image to whole patches."""
    (image,) = find([half_red(tmp_path / "a.png", (100, 20))]).images
    look = load_looker("gem", backbone="resnet18", weights="none", device="cpu").look(image)
    assert look.words == {"pooled": "each place's share of the pooled vector"}
    assert look.views["pooled"].shape == (1, 4)
    assert look.places == {"pooled": ((0, 1), (0, 0.32))}
    assert look.seen == (32, 100)
    look = load_looker("glam", backbone="swin_tiny_patch4_window7_224", weights="none", device="cpu").look(image)
    assert look.places == dict.fromkeys(("local", "global", "pooled"), ((0.5, 1), (0.125, 0.25)))
    assert look.seen == (32, 128)


def test_cells_of_a_model_without_a_trunk_share_the_image(watcher, tmp_path):
    (image,) = find([half_red(tmp_path / "a.png")]).images
    look = watcher.look(image)
    assert look.places["local"] == ((0.125, 0.25), (0.0625, 0.125))
    assert look.seen == (32, 64)
    assert look.words == {}


@pytest.mark.parametrize("name", ["gem", "glam", "dalg", "dtop", "gala", "gsa"])
def test_every_view_has_words_of_its_own_model(name):
    trunk = {"dalg": "swin_tiny_patch4_window7_224", "dtop": "vit_tiny_r_s16_p8_224"}.get(name, "resnet18")
    looker = load_looker(name, backbone=trunk, weights="none", device="cpu")
    assert looker.views(np.zeros((64, 64, 3), np.uint8)).keys() == looker.model.view_words().keys()


@pytest.mark.parametrize(("name", "view"), [("gala", "local"), ("gsa", "global")])
def test_what_a_zero_scale_keeps_out_of_the_descriptor_is_said_to_be_out(name, view):
    model = load_looker(name, backbone="resnet10t", weights="none", device="cpu").model
    words = "does not act on the descriptor yet (its scale is 0)"
    assert words in model.view_words()[view]
    scales = [value for key, value in model.named_parameters() if key.endswith(("gamma", "multiplicative"))]
    with torch.no_grad():
        scales[-1][0] = 0.1
    assert words not in model.view_words()[view]


def test_half_of_dalgs_vector_is_pooled_unless_it_has_one_half_only():
    from imgret.models import load_model

    def words(fusion):
        trunk, arguments = "swin_tiny_patch4_window7_224", {"fusion": fusion}
        return load_model("dalg", backbone=trunk, weights="none", arguments=arguments).model.view_words()["pooled"]

    assert words("cross") == "each place's share of the pooled vector, its GeM half"
    assert words("none") == "each place's share of the pooled vector"


def test_whoever_writes_files_hears_of_all_images_before_the_model_loads(tmp_path):
    paths = [half_red(tmp_path / name) for name in ("a.png", "b.png")]

    def refuse(files):
        assert files == paths
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        workflows.attend(paths, "no such model", limit=1, on_found=refuse)
