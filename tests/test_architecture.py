"""Who may import whom (docs/conventions.md). Editing the table is allowed, and visible in review."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "imgret"
EVERYWHERE = {
    "allocator",
    "errors",
    "tables",
    "atomic",
    "ids",
    "lines",
    "places",
    "remote_path",
    "__init__",
    "__version__",
}
NOUNS = {"store", "ranking"}

# part: (parts of imgret it may import, third-party packages it may import)
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "allocator": (set(), set()),
    "errors": (set(), set()),
    "tables": (set(), set()),
    "atomic": (set(), set()),
    "ids": (set(), {"numpy"}),
    "lines": (set(), set()),
    "places": (set(), set()),
    "remote_path": (set(), {"fsspec"}),
    "__init__": (set(), set()),
    "__main__": ({"cli"}, set()),
    "store": (set(), {"numpy", "h5py"}),
    "ranking": (set(), {"numpy"}),
    "images": (set(), {"numpy", "torch", "torchvision", "PIL", "pillow_heif", "simplejpeg", "fsspec"}),
    "nn": (set(), {"torch", "timm", "huggingface_hub", "safetensors"}),
    "models": ({"nn"}, {"torch", "safetensors", "onnxruntime"}),
    "extraction": ({"images", "models"} | NOUNS, {"numpy", "torch", "torchcodec"}),
    "whitening": (NOUNS, {"numpy", "safetensors"}),
    "engines": ({"images", "extraction", "indexes", "store"}, {"numpy", "torch", "ray"}),
    "indexes": ({"whitening"} | NOUNS, {"numpy", "faiss"}),
    "atlas": ({"indexes", "store"}, {"numpy", "scipy"}),
    "duplicates": ({"indexes", "store"}, {"numpy"}),
    "milvus": ({"indexes"} | NOUNS, {"numpy", "pymilvus", "milvus_lite", "grpc"}),
    "rerank": ({"ranking"}, {"numpy", "scipy"}),
    "ground_truth": (set(), {"numpy"}),
    "ranking_files": ({"ranking"}, {"numpy"}),
    "datasets": ({"images", "ground_truth"}, {"numpy"}),
    "evaluation": ({"ground_truth"} | NOUNS, {"numpy"}),
    "report": ({"images"}, {"PIL", "jinja2", "numpy"}),
    "serve": (
        {"workflows", "images", "models", "extraction", "indexes", "rerank", "report", "duplicates", "atlas"} | NOUNS,
        {"numpy", "PIL", "jinja2", "fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client"},
    ),
    "demo": (
        {"images", "models", "report", "workflows", "extraction", "store", "evaluation", "ground_truth"},
        {"numpy", "PIL"},
    ),
    "doctor": ({"images", "models", "extraction", "store"}, {"numpy", "torch", "safetensors"}),
    "bench": ({"images", "models", "extraction", "demo"}, {"numpy", "torch", "PIL"}),
    "training": (
        {"images", "nn", "models", "datasets"} | NOUNS,
        {"numpy", "torch", "torchvision", "safetensors", "PIL"},
    ),
    "workflows": (
        {
            "images",
            "models",
            "extraction",
            "whitening",
            "indexes",
            "rerank",
            "ground_truth",
            "ranking_files",
            "evaluation",
            "report",
            "datasets",
            "training",
            "engines",
            "milvus",
            "duplicates",
        }
        | NOUNS,
        {"numpy"},
    ),
    "cli": (
        {
            "workflows",
            "milvus",
            "duplicates",
            "engines",
            "models",
            "extraction",
            "whitening",
            "indexes",
            "rerank",
            "ground_truth",
            "ranking_files",
            "evaluation",
            "report",
            "demo",
            "doctor",
            "bench",
            "serve",
            "ranking",
            "training",
        },
        {"typer", "rich"},
    ),
}


def parts() -> list[tuple[str, Path]]:
    return [(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), path) for path in sorted(PACKAGE.rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Every module a file imports, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(("part", "path"), parts(), ids=lambda value: str(value).rpartition("imgret/")[2])
def test_every_file_imports_only_what_its_part_may(part, path):
    ours, theirs = ALLOWED[part]
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "imgret":
            target = rest.partition(".")[0]
            known = target in EVERYWHERE or target in ours or target in (part, "")  # "" is `import imgret` itself
            assert known, f"{part} imports imgret.{target}"
        elif top not in sys.stdlib_module_names:
            assert top in theirs, f"{part} imports {top}"


def test_h5py_and_faiss_and_timm_and_onnxruntime_are_met_in_one_place_each():
    where = {"h5py": "store/shard.py", "timm": "nn/backbones.py", "onnxruntime": "models/onnx_export.py"}
    for name, home in where.items():
        users = {
            str(path.relative_to(PACKAGE)) for _, path in parts() if name in {n.split(".")[0] for n in imports(path)}
        }
        assert users == {home}
    users = {part for part, path in parts() if "faiss" in {n.split(".")[0] for n in imports(path)}}
    assert users == {"indexes"}


def test_package_inits_import_nothing_heavy():
    for path in PACKAGE.rglob("__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            names |= {node.module} if isinstance(node, ast.ImportFrom) else set()
            for name in names:
                light = name.split(".")[0] in sys.stdlib_module_names or name in (
                    "imgret.errors",
                    "imgret.tables",
                )
                assert light, f"{path} imports {name}"


def test_no_file_is_much_past_350_lines():
    assert {str(p): n for _, p in parts() if (n := len(p.read_text().splitlines())) > 380} == {}
