"""INDEX: a FAISS index over stores that knows its recall, its rows' origin and how to be updated."""

from __future__ import annotations

from typing import Any

# The verbs share their names with their modules, so they are imported from there:
# from imgret.indexes.build import build; from imgret.indexes.search import search; ...
_HOMES = {
    "INDEX_KINDS": "imgret.indexes.kinds",
    "Choice": "imgret.indexes.kinds",
    "Dba": "imgret.indexes.dba",
    "Index": "imgret.indexes.files",
    "IndexReport": "imgret.indexes.build",
    "choose": "imgret.indexes.kinds",
    "parse_dba": "imgret.indexes.dba",
    "parse_memory": "imgret.indexes.kinds",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imgret.indexes' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
