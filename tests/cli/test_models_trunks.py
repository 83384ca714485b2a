"""`imgret models` lists public trunks, and explains one, without the network."""

from __future__ import annotations

import socket

import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.models.trunks import TRUNKS
from imgret.nn import hub

SMALL = "vit_small_patch14_reg4_dinov2.lvd142m"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    monkeypatch.delenv("HF_ENDPOINT", raising=False)


def run(*arguments: str, columns: int, monkeypatch, code: int = 0):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = CliRunner().invoke(app, ["models", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_every_trunk_is_listed_whole_with_size_speed_and_licence_in_80_columns(monkeypatch):
    shown = run(columns=80, monkeypatch=monkeypatch)
    lines = shown.stdout.splitlines()
    assert "Public trunks for --model gem --backbone NAME" in lines
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split()[1:4] for line in lines if line.strip()}
    for name, card in TRUNKS.items():
        assert rows[name] == [str(card.megabytes), card.speed, card.licence]
    assert "fast < 0.1 s, medium < 0.3 s, slow < 1 s" in shown.stderr


def test_a_trunks_name_explains_it_and_says_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setattr(hub, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(hub, "cached", lambda repository: None)
    shown = " ".join(run(SMALL, columns=200, monkeypatch=monkeypatch).stdout.split())
    for words in (
        "Apache-2.0, as timm states it",
        "384 numbers, pooled by its own class token",
        "22.1 million parameters",
        f"88 MB, once, from https://huggingface.co/timm/{SMALL}",
        f"{tmp_path} (HF_HOME): not there yet",
        f"imgret extract photos/ -o store --model gem --backbone {SMALL} --image-size 518",
    ):
        assert words in shown


def test_what_is_in_the_cache_is_said_to_be_there(monkeypatch, tmp_path):
    file = tmp_path / "model.safetensors"
    monkeypatch.setattr(hub, "cached", lambda repository: file if repository == f"timm/{SMALL}" else None)
    assert "(HF_HOME): it is there" in run(SMALL, columns=200, monkeypatch=monkeypatch).stdout
    assert "(HF_HOME): not there yet" in run("resnet18.a1_in1k", columns=200, monkeypatch=monkeypatch).stdout


@pytest.mark.parametrize(("typed", "meant"), [("glm", "glam"), ("vit_small_patch16_dinov3", None), ("resnet5O", None)])
def test_a_misspelt_name_is_answered_from_both_tables(typed, meant, monkeypatch):
    said = run(typed, columns=80, monkeypatch=monkeypatch, code=1).stderr
    nearest = meant or next(name for name in TRUNKS if name.startswith(typed.replace("O", "0")))
    assert f"(did you mean {nearest}?)" in said
    assert len(said.splitlines()) == 1
