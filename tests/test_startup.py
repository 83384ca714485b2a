"""Help and name checks stay light: a list of modules gives the same verdict on any machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "torch", "torchvision", "timm", "faiss", "h5py", "PIL", "jinja2", "safetensors", "onnxruntime")

_RUN = """
import sys
sys.argv = ["imgret", *{arguments!r}]
try:
    from imgret.cli.app import main
    main()
except SystemExit:
    pass
print("LOADED", *[name for name in {heavy!r} if name in sys.modules])
"""


def loaded(*arguments: str, heavy: tuple[str, ...] = HEAVY) -> tuple[list[str], str]:
    code = _RUN.format(arguments=list(arguments), heavy=heavy)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.rsplit("LOADED", 1)[1].split(), done.stdout + done.stderr


COMMANDS = (
    "",
    "extract",
    "index",
    "search",
    "eval",
    "compare",
    "attend",
    "train",
    "whiten",
    "calibrate",
    "merge",
    "push",
    "dupes",
    "serve",
    "models",
    "models export",
    "info",
    "demo",
    "doctor",
    "bench",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy_and_gives_an_example(command):
    modules, text = loaded(*command.split(), "--help")
    assert modules == []
    assert "Example:" in text


def test_an_unknown_model_is_named_before_anything_heavy_loads(tmp_path):
    modules, text = loaded("extract", str(tmp_path), "-o", str(tmp_path / "s"), "--model", "glm")
    assert modules == []
    assert "did you mean glam?" in text


@pytest.mark.parametrize("name", ["", "glam", "vit_base_patch16_siglip_256.v2_webli"])
def test_listing_models_and_trunks_and_explaining_one_loads_nothing_heavy(name):
    modules, text = loaded("models", *name.split())
    assert modules == []
    assert "--model" in text


def test_an_unknown_index_kind_is_named_before_anything_heavy_loads(tmp_path):
    modules, text = loaded("index", str(tmp_path), "-o", str(tmp_path / "i"), "--kind", "falt")
    assert modules == []
    assert "did you mean flat?" in text


def test_importing_the_package_and_its_version_cost_nothing():
    code = f"import sys, imgret; imgret.__version__; print(*[n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("way", ["", "--exact"])
def test_searching_with_stored_descriptors_loads_no_torch_nor_anything_else_it_does_not_need(job, tmp_path, way):
    from imgret import workflows

    workflows.extract(job)
    workflows.build_index([job.output], tmp_path / "index")
    command = ["search", str(tmp_path / "index"), str(job.output), "-k", "1", "--format", "jsonl", *way.split()]
    modules, text = loaded(*command, heavy=(*HEAVY, "scipy", "rich", "huggingface_hub"))
    assert '"rank": 1' in text
    assert modules == ["numpy", "faiss", "h5py", "safetensors"]
