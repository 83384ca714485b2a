"""Whitening: PCA, PCA with shrinkage, and learned whitening from matching pairs; fitted, kept in a file, applied."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "Whitening": "imgret.whitening.transform",
    "WhitenedStore": "imgret.whitening.stores",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imgret.whitening' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
