import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from imgret.errors import UnknownNameError, WeightsError
from imgret.nn import backbones, hub
from imgret.nn.backbones import build_token_trunk, build_trunk, fetch_pretrained, pretrained_source


@pytest.mark.parametrize(
    ("name", "channels", "size"),
    [
        ("test_resnet", 96, (3, 5)),
        ("test_efficientnet", 64, (3, 5)),
        ("test_vit", 64, (5, 9)),  # 67 x 131 is seen as 80 x 144, whole patches of 16
    ],
)
def test_any_size_gives_one_channels_first_map(name, channels, size):
    trunk, width, mean, std = build_trunk(name)
    assert (width, len(mean), len(std)) == (channels, 3, 3)
    with torch.no_grad():
        assert trunk.eval()(torch.zeros(2, 3, 67, 131)).shape == (2, channels, *size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("swin_tiny_patch4_window7_224", (3, 5)),  # NHWC inside
        ("vit_base_r50_s16_224", (5, 9)),  # timm alone reshapes this one wrongly at odd sizes
    ],
)
def test_transformers_of_other_kinds_give_channels_first_maps(name, size):
    trunk, channels, _, _ = build_trunk(name)
    with torch.no_grad():
        assert trunk.eval()(torch.zeros(1, 3, 67, 131)).shape == (1, channels, *size)


def test_a_misspelt_backbone_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'resnet5O' \(did you mean resnet50"):
        build_trunk("resnet5O")


def test_a_network_of_one_image_size_is_refused():
    with pytest.raises(WeightsError, match="test_maxvit does not work at every image size"):
        build_trunk("test_maxvit")


def test_a_network_that_fails_at_odd_sizes_sees_the_next_multiple_of_its_stride():
    trunk, *_ = build_trunk("dla34")  # adds maps that differ by a cell at odd sizes
    assert trunk.on_grid
    with torch.no_grad():
        assert trunk.eval()(torch.zeros(1, 3, 67, 131)).shape == (1, 512, 3, 5)
    assert not build_trunk("test_resnet")[0].on_grid


@pytest.mark.parametrize("name", ["tnt_s_patch16_224", "pit_ti_224", "resnet18"])
def test_tokens_of_networks_without_a_class_token_are_refused(name):
    with pytest.raises(WeightsError, match=f"{name} is no vision transformer"):
        build_token_trunk(name, 2)


def test_the_source_names_the_address_and_the_size(monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    where, megabytes = pretrained_source("resnet50")
    assert where == "https://huggingface.co/timm/resnet50.a1_in1k"
    # 25,557,032 weights and 53,120 batch-norm statistics of 4 bytes, 53 counters of 8
    assert megabytes == pytest.approx((25_557_032 + 53_120) * 4e-6 + 53 * 8e-6)


def test_a_download_says_its_source_and_size_first(monkeypatch, tmp_path):
    said = []
    file = tmp_path / "model.safetensors"
    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def download(repository, filename, revision):
        assert said, "the user must be told first"
        assert (repository, filename, revision) == ("timm/test_resnet.r160_in1k", "model.safetensors", None)
        return str(file)

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert fetch_pretrained("test_resnet", say=said.append) == file
    assert said[0].startswith("downloading the pretrained weights of test_resnet (")
    assert said[0].endswith("timm/test_resnet.r160_in1k, about 2 MB)")


def test_a_failed_download_is_one_line_with_the_offline_ways(monkeypatch):
    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def download(*_, **__):
        raise LocalEntryNotFoundError("no route to host.\nsecond line")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(WeightsError) as caught:
        fetch_pretrained("test_resnet", say=lambda line: None)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("no route to host", "--weights FILE", "HF_HOME", "--weights none --seed 0"):
        assert part in message


def test_a_dead_network_is_asked_once_and_never_tried_again(monkeypatch, tmp_path):
    asked = []

    def ask(url):
        asked.append(url)
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: None)
    monkeypatch.setattr(hub, "cache_folder", lambda: tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", ask)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("tried again"))
    with pytest.raises(WeightsError) as caught:
        fetch_pretrained("test_resnet", say=lambda line: None)
    assert "could not be downloaded: Name or service not known. Without network: " in str(caught.value)
    assert f"to {tmp_path} here" in str(caught.value)
    assert [url.rpartition("/timm/")[2] for url in asked] == ["test_resnet.r160_in1k/resolve/main/model.safetensors"]


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_offline_never_downloads(monkeypatch, by):
    monkeypatch.setattr(backbones, "cached_pretrained", lambda name: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("downloaded"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if by == "environment" else "0")
    with pytest.raises(WeightsError, match="not in the local cache and downloading is off"):
        fetch_pretrained("test_resnet", offline=by == "argument")


def test_a_backbone_without_public_weights_is_refused():
    with pytest.raises(WeightsError, match="timm has no pretrained weights for gcvit_tiny"):
        pretrained_source("gcvit_tiny")
