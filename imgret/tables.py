"""Tables of strings: listing names costs nothing, code loads when a row is resolved."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from imgret.errors import UnknownNameError

Row = TypeVar("Row")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """' (did you mean x?)' for the nearest known name, or '' when nothing is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def look_up(table: Mapping[str, Row], what: str, name: str) -> Row:
    """The row called `name`; UnknownNameError with the nearest name and the whole list otherwise."""
    if name in table:
        return table[name]
    raise UnknownNameError(f"unknown {what} {name!r}{did_you_mean(name, table)}; known: {', '.join(sorted(table))}")


def resolve(target: str) -> Any:
    """'module:attribute' -> the attribute, importing the module now."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)
