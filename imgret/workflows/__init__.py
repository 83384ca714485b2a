"""Workflows: stages joined into the verbs a user types. Paths in, a result out; nothing is printed here."""

from __future__ import annotations

from typing import Any

_HOMES = {
    "EvalJob": "imgret.workflows.evaluate",
    "QueryOptions": "imgret.workflows.queries",
    "build_index": "imgret.workflows.build",
    "evaluate": "imgret.workflows.evaluate",
    "extract": "imgret.workflows.build",
    "inspect": "imgret.workflows.inspect",
    "search": "imgret.workflows.search",
}
__all__ = ["EvalJob", "QueryOptions", "build_index", "evaluate", "extract", "inspect", "search"]  # noqa: F822


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'imgret.workflows' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
