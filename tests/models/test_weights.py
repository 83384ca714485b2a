import json
import os
import subprocess
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import timm
import torch

from imgret.errors import UnknownNameError, WeightsError
from imgret.models import DEFAULT_MODEL, MODELS, SHIPPED, check_name, load_model, save_weights, shipped_file
from imgret.models.weights_card import read_card
from imgret.nn import backbones
from tests.toy import MEAN_COLOUR, MeanColour

TINY = "test_resnet"


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "gem.safetensors"
    save_weights(load_model("gem", backbone=TINY, weights="none").model, path, {"epochs": 3}, trained=False)
    return path


@pytest.fixture
def trunk_file(tmp_path, monkeypatch):
    """timm's weights for TINY as if they lay in the cache."""
    path = tmp_path / "model.safetensors"
    torch.manual_seed(11)
    safetensors.torch.save_file(timm.create_model(TINY).state_dict(), path)
    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: path)
    return path


def rewrite(path, change=lambda state, metadata: None):
    """Write a weights file again after `change` has edited its tensors and description."""
    state = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()
    change(state, metadata)
    safetensors.torch.save_file(state, path, metadata)


def test_a_misspelt_model_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown model 'glm' \(did you mean glam\?\)"):
        check_name("glm")


def test_names_are_checked_without_torch():
    code = (
        "import sys, imgret.models as m; m.check_name('glam'); m.read_card; "
        "sys.exit(any(x in sys.modules for x in ('torch', 'numpy', 'timm')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_weights_file_is_said():
    with pytest.raises(WeightsError, match="no such weights file"):
        load_model("nowhere.safetensors")
    with pytest.raises(WeightsError, match="auto, none or an existing"):
        load_model("gem", weights="nonne")


def test_a_model_without_trained_weights_is_refused_with_the_ways_on():
    with pytest.raises(WeightsError) as caught:
        load_model("glam")
    for part in ("--weights FILE", "imgret train", "--weights none"):
        assert part in str(caught.value)


def test_a_cached_trunk_is_taken_without_a_word(trunk_file):
    loaded = load_model("gem", backbone=TINY, offline=True, say=lambda line: pytest.fail(line))
    assert loaded.trained
    assert loaded.identity["weights"]["source"] == "timm"
    assert loaded.identity["weights"]["name"] == "test_resnet.r160_in1k"
    expected = safetensors.torch.load_file(trunk_file)["conv1.0.weight"]
    assert torch.equal(loaded.model.state_dict()["trunk.net.conv1.0.weight"], expected)


def test_a_damaged_cached_trunk_is_said(trunk_file):
    trunk_file.write_bytes(trunk_file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"model\.safetensors is damaged"):
        load_model("gem", backbone=TINY, offline=True)


@pytest.mark.parametrize("there", [True, False])
def test_the_real_client_against_a_local_hub(tmp_path, there):
    """hf_hub_download itself, in a process of its own, from a server on this machine."""
    content = safetensors.torch.save(timm.create_model(TINY).state_dict())

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_HEAD(self, body=b""):
            found = there and self.path == "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
            self.send_response(200 if found else 404)
            self.send_header("ETag", '"abc"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content) if found else 0))
            self.end_headers()
            return found

        def do_GET(self):
            if self.do_HEAD():
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = (
        "from imgret.models import load_model\n"
        "from imgret.errors import WeightsError\n"
        "try: print(load_model('gem', backbone='test_resnet').trained)\n"
        "except WeightsError as e: print(e)\n"
    )
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    run = partial(subprocess.run, [sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    try:
        first = run(timeout=120)
    finally:
        server.shutdown()
        server.server_close()
    assert "downloading the pretrained weights of test_resnet (http://127.0.0.1" in first.stderr
    if there:
        assert first.stdout == "True\n"
        again = run(timeout=120)  # the server is gone: from the cache, without a word
        assert (again.stdout, again.stderr) == ("True\n", "")
    else:
        assert first.stdout.count("\n") == 1
        assert "could not be downloaded" in first.stdout
        assert "--weights none --seed 0" in first.stdout


def test_the_card_is_read_from_the_header(saved):
    card = read_card(saved)
    assert card["model"] == "gem"
    assert card["arguments"] == {"backbone": TINY, "p": 3.0}
    assert (card["dim"], card["trained"], card["provenance"]) == (96, False, {"epochs": 3})
    assert card["bytes"] == saved.stat().st_size
    assert not load_model(saved).trained


def test_a_files_place_is_no_part_of_its_identity(saved):
    other = saved.with_name("copy.safetensors")
    other.write_bytes(saved.read_bytes())
    first, second = load_model(saved), load_model("gem", weights=other)
    assert first.identity == second.identity
    assert first.origin != second.origin
    assert set(first.identity["weights"]) == {"source", "sha256"}


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("pulled out")))
    with pytest.raises(OSError, match="pulled out"):
        save_weights(load_model("gem", backbone=TINY, weights="none", seed=9).model, saved, {})
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_weights_of_another_model_or_backbone_are_refused(saved):
    with pytest.raises(WeightsError, match="holds the weights of gem, not of glam: use --model gem"):
        load_model("glam", weights=saved)
    with pytest.raises(WeightsError, match="made with backbone 'test_resnet', not 'resnet50'"):
        load_model(saved, backbone="resnet50")
    with pytest.raises(WeightsError, match="brings its own weights"):
        load_model(saved, weights="none")


def _first(state):
    return min(key for key in state if key.endswith("weight"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, m: s.pop(_first(s)), "lacks tensor"),
        (lambda s, m: s.update(extra=torch.zeros(1)), "has an unexpected tensor extra"),
        (lambda s, m: s.update({_first(s): torch.zeros(1, 2)}), r"is \[1, 2\], the model needs"),
        (lambda s, m: s.update({"pool.p": torch.tensor(5.0)}), "do not match its own digest"),
        (
            lambda s, m: m.update(schema="imgret.weights/9"),
            "holds 'imgret.weights/9', expected 'imgret.weights/1'",
        ),
        (lambda s, m: m.clear(), "holds 'no description'"),
        (lambda s, m: m.update(model="delg"), "model 'delg', which this imgret does not have"),
        (lambda s, m: m.update(arguments="{"), "its description is malformed"),
        (lambda s, m: m.update(arguments='{"colour": 3}'), "this imgret cannot build"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(saved, change, message):
    rewrite(saved, change)
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a safetensors file"),
        (b"PK\x03\x04 a pickle, perhaps", "not a safetensors file"),
        (b"\xff" * 64, "not a safetensors file"),
        (len(b"[]").to_bytes(8, "little") + b"[]", "not a safetensors file"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, content, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for reader in (read_card, load_model):
        with pytest.raises(WeightsError, match=message):
            reader(path)


def test_a_file_cut_short_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"is damaged: .* bytes, its header promises"):
        read_card(saved)


def test_a_model_outside_the_table_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="in no row of MODELS"):
        save_weights(MeanColour(), tmp_path / "x.safetensors", {})


def test_the_toy_model_loads_by_name_and_tells_colours(monkeypatch, tmp_path):
    monkeypatch.setitem(MODELS, "mean-colour", MEAN_COLOUR)
    loaded = load_model("mean-colour", weights="none")
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert loaded.model(red).tolist() == [[1, 0, 0]]
    save_weights(loaded.model, tmp_path / "toy.safetensors", {})
    assert load_model(tmp_path / "toy.safetensors").identity["model"] == "mean-colour"
    json.dumps(loaded.identity)


def test_a_file_with_an_argument_this_version_refuses_is_said(tmp_path):
    path = tmp_path / "gala.safetensors"
    save_weights(load_model("gala", backbone=TINY, weights="none").model, path, {})
    rewrite(path, lambda state, card: card.update(arguments=card["arguments"].replace('"identity"', '"other"')))
    with pytest.raises(WeightsError, match="describes a gala this imgret cannot build: form must be one of"):
        load_model(path)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_what_ships_is_small_says_where_it_comes_from_and_names_no_path(name):
    card = read_card(shipped_file(name))
    assert card["trained"]
    assert card["bytes"] <= 12e6
    assert card["image_size"] == SHIPPED[name].image_size
    told = card["provenance"]
    assert {"data", "teacher", "stages", "commit", "seed", "scores", "machine", "licence"} <= told.keys()
    assert all(not str(value).startswith("/") for value in told["last_stage"]["recipe"].values())


def test_halved_weights_describe_nearly_alike_and_are_half_as_large(tmp_path):
    model = load_model("gem", backbone="test_resnet", weights="none").model
    for half in (False, True):
        save_weights(model, tmp_path / f"{half}.safetensors", {}, half=half, image_size=96)
    whole, halved = (load_model(tmp_path / f"{half}.safetensors") for half in (False, True))
    assert (tmp_path / "True.safetensors").stat().st_size < 0.6 * (tmp_path / "False.safetensors").stat().st_size
    assert halved.image_size == 96
    assert all(value.dtype != torch.float16 for value in halved.model.state_dict().values())
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert (whole.model(images) * halved.model(images)).sum(1).min() > 0.9999


def test_weights_that_float16_cannot_hold_are_not_halved(tmp_path):
    model = load_model("gem", backbone="test_resnet", weights="none").model
    with torch.no_grad():
        next(part for part in model.parameters() if part.ndim > 1).fill_(1e6)
    with pytest.raises(ValueError, match="float16 cannot hold"):
        save_weights(model, tmp_path / "a.safetensors", {}, half=True)
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "other.safetensors"}, "brings its own weights; for others: --model other.safetensors"),
        ({"backbone": "resnet18"}, "--model gem --backbone resnet18"),
    ],
)
def test_the_model_that_ships_takes_no_other_weights_or_trunk(options, words):
    with pytest.raises(WeightsError, match=words):
        load_model(DEFAULT_MODEL, **options)


def test_the_model_that_ships_can_be_had_at_random_for_comparison():
    loaded = load_model(DEFAULT_MODEL, weights="none", seed=3)
    assert not loaded.trained
    assert loaded.image_size == SHIPPED[DEFAULT_MODEL].image_size
    assert loaded.identity["weights"]["seed"] == 3
