"""imgret: index image collections with attention descriptors.

The public names load on first use, so `import imgret` costs nothing and imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "ExtractJob": "imgret.extraction.job",
    "ImgretError": "imgret.errors",
    "Ranking": "imgret.ranking",
    "Store": "imgret.store",
    "Whitening": "imgret.whitening",
    "attend": "imgret.workflows",
    "build_index": "imgret.workflows",
    "evaluate": "imgret.workflows",
    "extract": "imgret.workflows",
    "load_model": "imgret.models",
    "search": "imgret.workflows",
    "train": "imgret.workflows",
    "whiten": "imgret.workflows",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'imgret' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
