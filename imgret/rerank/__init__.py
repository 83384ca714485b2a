"""Re-ranking: a chain of stages that improve a ranking. Names, defaults and ranges; no stage loads here.

A chain is written "aqe:k=5 superglobal:m=400": stages from left to right, separated by spaces, each with
the parameters that differ from its defaults. `imgret.rerank.chain` runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from imgret.errors import InputError
from imgret.tables import look_up

Number = int | float


class Reranker(NamedTuple):
    """A row of `RERANKERS`: `target` is "module:class", made from (parameters, what is searched)."""

    target: str
    summary: str
    defaults: dict[str, Number]


RERANKERS = {
    "aqe": Reranker(
        "imgret.rerank.query_expansion:QueryExpansion",
        "alpha query expansion: search again with the query plus its k nearest; alpha=0 is the plain average",
        {"k": 10, "alpha": 3},
    ),
    "superglobal": Reranker(
        "imgret.rerank.superglobal:SuperGlobal",
        "SuperGlobal: refine the first m descriptors by their k nearest, and compare again",
        {"m": 400, "k": 9, "beta": 0.15},
    ),
    "diffusion": Reranker(
        "imgret.rerank.diffusion:Diffusion",
        "diffusion over the neighbour graph of the index, from the kq best of the first m",
        {"m": 10000, "kq": 10, "alpha": 0.99, "gamma": 3, "iterations": 20},
    ),
    "reciprocal": Reranker(
        "imgret.rerank.reciprocal:Reciprocal",
        "k-reciprocal encoding: the first m by how many mutual neighbours they share with the query",
        {"m": 400, "k1": 20, "k2": 6, "lambda": 0.3},
    ),
}

# Lowest and highest value of every parameter; whole numbers where both are. What is quadratic in m has the lower top.
RANGES: dict[str, dict[str, tuple[Number, Number]]] = {
    "aqe": {"k": (0, 10_000), "alpha": (0.0, 100.0)},
    "superglobal": {"m": (1, 10_000), "k": (0, 10_000), "beta": (0.0, 1.0)},
    "diffusion": {
        "m": (1, 1_000_000),
        "kq": (1, 10_000),
        "alpha": (0.0, 0.999),  # at 1 the system has no solution
        "gamma": (0.1, 20.0),
        "iterations": (1, 1000),
    },
    "reciprocal": {"m": (1, 5_000), "k1": (1, 1000), "k2": (1, 1000), "lambda": (0.0, 1.0)},
}


class Step(NamedTuple):
    """One stage of a chain with all its parameters."""

    name: str
    parameters: dict[str, Number]


def parse_chain(text: str) -> tuple[Step, ...]:
    """'aqe:k=5 superglobal' -> its steps, defaults filled in; text without a stage gives none.

    UnknownNameError for a stage or parameter that is in no table; InputError for text that is no chain and
    for a value out of its range.
    """
    return tuple(_step(stage) for stage in text.split())


def chain_text(steps: Iterable[Step]) -> str:
    """The chain with every parameter, as `parse_chain` reads it."""
    return " ".join(
        f"{step.name}:" + ",".join(f"{key}={value}" for key, value in step.parameters.items()) for step in steps
    )


def _step(text: str) -> Step:
    name, colon, rest = text.partition(":")
    defaults = look_up(RERANKERS, "re-ranker", name).defaults
    given: dict[str, Number] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise InputError(
                f"re-ranking stage {text!r}: write {name}:key=value,key=value without spaces, "
                f"such as {chain_text((Step(name, defaults),))}"
            )
        look_up(defaults, f"parameter of {name}", key)
        if key in given:
            raise InputError(f"re-ranking stage {text!r} sets {key} twice")
        given[key] = _value(name, key, value)
    return Step(name, {**defaults, **given})


def _value(name: str, key: str, text: str) -> Number:
    low, high = RANGES[name][key]
    whole = isinstance(low, int)
    try:
        value: Number = int(text) if whole else float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:  # NaN is in no range
        kind = "whole number" if whole else "number"
        raise InputError(f"{key} of re-ranker {name} must be a {kind} from {low:.9g} to {high:.9g}, got {text[:40]!r}")
    # 3 and 3.0 are one value and are written one way.
    return int(value) if value == int(value) else value
