"""`imgret models export`, and that `imgret models [NAME]` goes on beside it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from imgret.cli.app import app
from imgret.models import MODELS, onnx_export, save_weights
from tests.models.tiny import tiny


def run(*arguments: str, code: int = 0):
    result = CliRunner().invoke(app, ["models", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path


def test_a_model_is_exported_and_the_comparison_shown(place, mean_colour):
    result = run("export", mean_colour, "--weights", "none", "--to", "onnx")
    assert [line.split()[:3] for line in result.stdout.splitlines() if line.split()[:1] == ["2"]] == [
        ["2", "67", "131"]
    ]
    assert "1.000000" in result.stdout
    assert "The model is mean-colour.onnx" in result.stderr
    assert "UNTRAINED" in result.stderr
    assert [file.name for file in place.iterdir()] == ["mean-colour.onnx"]


def test_quiet_says_nothing_and_an_older_file_is_replaced(place, mean_colour):
    (place / "a.onnx").write_bytes(b"old")
    result = run("export", mean_colour, "--weights", "none", "--to", "onnx", "-o", "a.onnx", "-q")
    assert (result.stdout, result.stderr) == ("", "")
    assert (place / "a.onnx").stat().st_size > 100


def bad(words: str, code: int, *arguments: str) -> None:
    result = run("export", *arguments, code=code)
    assert words in " ".join(result.output.replace("│", " ").split())
    if code == 1:
        assert len(result.stderr.splitlines()) == 1


def test_bad_input_gets_one_clear_line_and_its_exit_code(place):
    save_weights(tiny("gem"), "own.safetensors", {})
    (place / "text.safetensors").write_text("hello")
    (place / "photo.jpg").write_text("")
    kept = sorted(place.iterdir())
    to = ("--to", "onnx")
    bad("did you mean onnx?", 2, "own.safetensors", "--to", "onx")
    bad("--to", 2, "own.safetensors")
    bad("no such weights file", 1, "gone.safetensors", *to)
    bad("text.safetensors is not a safetensors file", 1, "text.safetensors", *to)
    bad("photo.jpg is not a weights file", 1, "photo.jpg", *to)
    bad("did you mean glam?", 1, "glm", *to)
    bad("--weights none", 1, "glam", *to)
    bad("leave out --seed 1", 2, "own.safetensors", "--seed", "1", *to)
    bad("brings its own weights", 1, "own.safetensors", "--weights", "none", *to)
    bad("name a file such as x.onnx", 2, "own.safetensors", "-o", "x.png", *to)
    bad("its folder does not exist", 1, "own.safetensors", "-o", "gone/x.onnx", *to)
    bad("such as model.onnx", 1, "own.safetensors", "-o", ".", *to)
    assert sorted(place.iterdir()) == kept


def test_without_the_extra_the_command_to_type_is_said(monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    bad("pip install 'imgret[onnx]'", 1, "gem", "--weights", "none", "--to", "onnx")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_word_that_is_no_command_is_a_models_name(name):
    plain = run(name).stdout
    assert f"--model {name}" in plain
    assert run(name, "-q").stdout == run("-q", name).stdout == plain


def test_a_misspelt_command_is_answered_with_the_nearest():
    assert "Did you mean 'export'?" in run("exprt", "a.safetensors", "--to", "onnx", code=2).output
    assert "did you mean gem?" in run("gme", code=1).stderr


def test_help_shows_the_names_and_the_command():
    shown = run("--help").output
    assert "[NAME | COMMAND ...]" in shown
    assert "Write a model as one ONNX file" in shown
