"""STORE: a folder of immutable HDF5 shards that remembers its recipe, its roots and its failures."""

from __future__ import annotations

from typing import Any

_HOMES = {"Shard": "imgret.store.shard", "Store": "imgret.store.store"}
__all__ = ["Shard", "Store"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imgret.store' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
