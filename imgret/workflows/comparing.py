"""`compare`: two outputs of `imgret eval --json`, query by query."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from imgret.errors import GroundTruthError, InputError
from imgret.ids import escape, to_bytes, unescape
from imgret.tables import look_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgret.evaluation.comparison import Comparison, Moved

SCHEMA = "imgret.compare/1"
EVAL_SCHEMA = "imgret.eval/1"
_HIT = re.compile(r"recall@([1-9]\d{0,8})")
_LOWER_IS_BETTER = {"first_place"}
# counts and places say what a query is like; first_rank is null where nothing was found, the worst case of all
_NO_MEASURE = {"query", "subset", "first_rank", "positives", "found"}

Lines = dict[str, dict[str, dict[str, Any]]]  # subset -> query -> its line of per_query


@dataclass(frozen=True)
class ComparedRuns:
    """The runs A and B by one measure, in every subset.

    measure   as in `per_query` of both
    subsets   subset -> the comparison, in the order of A
    protocol  field -> (value in A, value in B) where they differ; nested fields as "whitening.kind", None where absent
    """

    a: Path
    b: Path
    measure: str
    ap: str
    seed: int
    subsets: dict[str, Comparison]
    protocol: dict[str, tuple[Any, Any]]

    def to_json(self) -> dict[str, Any]:
        """The `imgret.compare/1` document; ids escaped, undefined values None."""
        return {
            "schema": SCHEMA,
            "a": escape(str(self.a)),
            "b": escape(str(self.b)),
            "measure": self.measure,
            "ap": self.ap,
            "seed": self.seed,
            "subsets": {name: _document(compared) for name, compared in self.subsets.items()},
            "protocol": {field: {"a": a, "b": b} for field, (a, b) in self.protocol.items()},
        }


def compare(
    a: Path, b: Path, *, measure: str = "ap", subset: str | None = None, top: int = 10, seed: int = 0
) -> ComparedRuns:
    """Compare two outputs of `imgret eval --json`, as `evaluation.comparison.compare` does.

    measure  a number that every line of `per_query` has in both, or its name among the means ("map", "mp@10"); or
             "recall@k" for any k, read off the first rank
    subset   only this one; None compares in all
    top      queries to name that moved most, in either direction

    GroundTruthError for runs judged by different ground truths or by different rules; InputError for a file that is
    no such output or holds no scores of queries; UnknownNameError for a measure or subset that is not in both.
    """
    from imgret.evaluation.comparison import compare as pair

    runs = _Run.read(a), _Run.read(b)
    _check_comparable(*runs)
    one, other = runs
    common = {name: name for name in one.measures if name in other.measures}
    measure = _per_query_name(measure, common)
    if not _HIT.fullmatch(measure):
        look_up(common, "measure", measure)
    if measure.startswith(("p@", "precision@")):
        _check_rule(one, other, "precision_at_k", "precision")
    names = list(one.lines) if subset is None else [look_up({name: name for name in one.lines}, "subset", subset)]
    compared = {
        name: pair(
            one.values(name, measure),
            other.values(name, measure),
            higher_is_better=measure not in _LOWER_IS_BETTER,
            top=top,
            seed=seed,
        )
        for name in names
    }
    if not any(one.lines[name].keys() & other.lines[name].keys() for name in names):
        raise InputError(f"{one.name} and {other.name} have no query in common; nothing can be compared")
    return ComparedRuns(a, b, measure, str(one.card.get("ap")), seed, compared, _differences(one.card, other.card))


@dataclass(frozen=True)
class _Run:
    """What an `imgret.eval/1` document says; the card is its protocol, nested fields flattened."""

    name: str
    card: dict[str, Any]
    lines: Lines
    measures: list[str]

    @classmethod
    def read(cls, path: Path) -> _Run:
        name = escape(str(path))
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name} is not JSON ({error}). {_again(name)}") from None
        if not isinstance(document, dict) or document.get("schema") != EVAL_SCHEMA:
            found = document.get("schema") if isinstance(document, dict) else None
            what = f"its schema is {found!r}" if found else "it names no schema"
            raise InputError(
                f"{name} is no output of `imgret eval --json`: {what}, not {EVAL_SCHEMA!r}. {_again(name)}"
            )
        if "per_query" not in document:
            raise InputError(f"{name} was made by an older imgret and has no scores of single queries. {_again(name)}")
        try:
            card = _flat({"format": document["format"], **document["protocol"]})
            return cls(name, card, *_lines(document["per_query"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{name} is damaged ({type(error).__name__}: {error}). {_again(name)}") from None

    def values(self, subset: str, measure: str) -> dict[str, float | None]:
        """Query -> its value."""
        hit = None if measure in self.measures else _HIT.fullmatch(measure)
        lines = self.lines[subset].items()
        if hit is None:
            return {query: self._number(query, line, measure) for query, line in lines}
        return {query: self._hit(query, line, int(hit[1])) for query, line in lines}

    def _hit(self, query: str, line: Mapping[str, Any], k: int) -> float | None:
        """1 when a positive stands in the first k places, else 0; None for a query without positives."""
        if not self._number(query, line, "positives"):
            return None
        first = self._number(query, line, "first_rank")
        return float(first is not None and first <= k)

    def _number(self, query: str, line: Mapping[str, Any], field: str) -> float | None:
        value = line.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
            raise InputError(
                f"{self.name} is damaged: {field} of query {escape(query)} is {value!r}. {_again(self.name)}"
            )
        return float(value)


def _lines(per_query: Sequence[Mapping[str, Any]]) -> tuple[Lines, list[str]]:
    """Lines by subset and query, and the measures they have; ValueError for what cannot be one."""
    lines: Lines = {}
    for line in per_query:
        query, subset = unescape(line["query"]), line["subset"]
        to_bytes(query)  # a lone surrogate is no id
        if not isinstance(subset, str):
            raise TypeError(f"subset {subset!r}")
        if query in lines.setdefault(subset, {}):
            raise ValueError(f"query {escape(query)} is there twice in {subset}")
        lines[subset][query] = dict(line)
    if not lines:
        raise ValueError("no queries")
    return lines, [name for name in per_query[0] if name not in _NO_MEASURE]


def _check_comparable(one: _Run, other: _Run) -> None:
    hashes = [run.card.get("ground_truth_sha256") for run in (one, other)]
    if hashes[0] != hashes[1]:
        first, second = (str(sha)[:16] for sha in hashes)
        raise GroundTruthError(
            f"the two runs are judged by different ground truths ({one.name}: {first}, {other.name}: {second}); "
            "nothing can be compared. Score both by one file: imgret eval GROUND_TRUTH ... --json"
        )
    _check_rule(one, other, "ap", "average precision")
    if one.lines.keys() != other.lines.keys():
        raise GroundTruthError(
            f"{one.name} is scored in {', '.join(one.lines)}, {other.name} in {', '.join(other.lines)}; nothing can be "
            "compared. Score both with the same --format"
        )


def _check_rule(one: _Run, other: _Run, field: str, what: str) -> None:
    a, b = one.card.get(field), other.card.get(field)
    if a != b:
        raise GroundTruthError(
            f"{one.name} has {what} by the rule {a!r}, {other.name} by {b!r}; nothing can be compared. "
            "Score both with the same --format"
        )


def _per_query_name(measure: str, known: Mapping[str, str]) -> str:
    """The name in `per_query` of a measure that may be called as its mean is."""
    names = (measure, measure.removeprefix("m"), measure.replace("mp@", "precision@"))
    return next((name for name in names if name in known), measure)


def _flat(fields: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{within}{key}.")
        else:
            flat[within + key] = value
    return flat


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {field: (a.get(field), b.get(field)) for field in {**a, **b} if a.get(field) != b.get(field)}


def _document(compared: Comparison) -> dict[str, Any]:
    def moved(queries: Sequence[Moved]) -> list[dict[str, Any]]:
        return [{"query": escape(one.query), "a": one.a, "b": one.b} for one in queries]

    return {
        **{name: getattr(compared, name) for name in ("queries", "a", "b", "difference")},
        "interval": None if compared.interval is None else list(compared.interval),
        **{name: getattr(compared, name) for name in ("level", "p", "winner", "better", "worse", "equal")},
        "gained": moved(compared.gained),
        "lost": moved(compared.lost),
        **{name: [*map(escape, getattr(compared, name))] for name in ("only_a", "only_b", "undefined")},
    }


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _again(name: str) -> str:
    return f"Make it again: imgret eval GROUND_TRUTH ... --json > {name}"
