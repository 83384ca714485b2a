"""Collection: the rows of one recipe in Milvus, with what made them in its properties."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imgret.errors import ServerError
from imgret.ids import escape, unescape
from imgret.milvus.rows import LONGEST, NUMBERS, Rows
from imgret.milvus.server import LOADING, Server
from imgret.store.store import Store, fingerprint_of

SCHEMA = "imgret.collection/1"
DEFAULT = "imgret"
"""The collection that is pushed into where none is named."""
MOST = 16_384
"""Results that Milvus gives for one query, and rows of one request."""
_STRONG: dict[str, Any] = {"consistency_level": "Strong"}  # what was written is seen
_METRIC = "COSINE"
_PAGE = 8_000_000  # numbers of descriptors in one answer, 32 MB
_FIELDS = (*NUMBERS, "sha256", "root", "box")


@dataclass(frozen=True)
class Found:
    """A row that a search came to: its id as stored (escaped), the server's cosine, and facts that were asked for."""

    id: str
    score: float
    facts: dict[str, Any]


@dataclass(frozen=True)
class Collection:
    """An open collection. Ids are escaped here, going in and coming out.

    recipe, fingerprint, origin   as of the store that was pushed
    dim                           D
    index                         FLAT or AUTOINDEX
    pushed                        rows it held when a push last ended well; None before
    """

    server: Server
    name: str
    recipe: dict[str, Any]
    fingerprint: str
    origin: dict[str, str]
    dim: int
    index: str
    pushed: int | None

    def __str__(self) -> str:
        return f"{self.name} at {self.server.place}"

    @classmethod
    def create(cls, server: Server, name: str, store: Store, index: str) -> Collection:
        """Make a collection for a store, still empty."""
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=LONGEST)
        schema.add_field("descriptor", DataType.FLOAT_VECTOR, dim=store.dim)
        for number in NUMBERS:
            schema.add_field(number, DataType.INT64)
        schema.add_field("sha256", DataType.VARCHAR, max_length=64)
        schema.add_field("root", DataType.VARCHAR, max_length=LONGEST)
        schema.add_field("box", DataType.ARRAY, element_type=DataType.INT32, max_capacity=4)
        properties = {
            "imgret.schema": SCHEMA,
            "imgret.fingerprint": store.fingerprint,
            "imgret.recipe": json.dumps(store.recipe, sort_keys=True),
            "imgret.origin": json.dumps({key: escape(value) for key, value in store.origin.items()}),
            "imgret.index": index,
        }
        server.ask("create_collection", name, schema=schema, properties=properties)
        made = cls.open(server, name)
        assert made is not None
        return made

    @classmethod
    def open(cls, server: Server, name: str) -> Collection | None:
        """A collection by name, loaded; None where there is none. ServerError for one that push has not made."""
        if not server.ask("has_collection", name):
            return None
        about = server.ask("describe_collection", name)
        try:
            found = cls._read(server, name, about)
        except (KeyError, TypeError, ValueError, StopIteration) as error:
            raise ServerError(
                f"{server.place}: the collection {name} was not made by imgret push, or not by this one ({error!r}); "
                "name another with --collection"
            ) from error
        return found._ready()

    @classmethod
    def _read(cls, server: Server, name: str, about: dict[str, Any]) -> Collection:
        known = about["properties"]
        if known["imgret.schema"] != SCHEMA:
            raise ValueError(known["imgret.schema"])
        recipe = json.loads(known["imgret.recipe"])
        if fingerprint_of(recipe) != known["imgret.fingerprint"]:
            raise ValueError("the recipe was edited")
        origin = {key: unescape(value) for key, value in json.loads(known["imgret.origin"]).items()}
        dim = next(int(field["params"]["dim"]) for field in about["fields"] if field["name"] == "descriptor")
        pushed = int(known["imgret.count"]) if "imgret.count" in known else None
        return cls(server, name, recipe, known["imgret.fingerprint"], origin, dim, known["imgret.index"], pushed)

    def _ready(self) -> Collection:
        """The same indexed and loaded, which a push that was killed may have left undone; `index` is what there is."""
        from pymilvus import MilvusClient

        there = self.server.ask("list_indexes", self.name, field_name="descriptor")
        if not there:
            wanted = MilvusClient.prepare_index_params()
            wanted.add_index("descriptor", index_type=self.index, metric_type=_METRIC)
            self.server.ask("create_index", self.name, wanted)
        self.server.ask("load_collection", self.name, timeout=LOADING)
        if not there:
            return self
        return replace(self, index=self.server.ask("describe_index", self.name, there[0])["index_type"])

    def count(self) -> int:
        """Rows."""
        found = self.server.ask("query", self.name, filter="", output_fields=["count(*)"], **_STRONG)
        return int(found[0]["count(*)"])

    def ids(self) -> Iterator[list[str]]:
        """The ids of all rows, many at a time."""
        return self.server.pages(self.name, "id", MOST // 2)

    def facts(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """id -> facts, as in `Rows`, of those of the given ids that are there."""
        found = self.server.ask("query", self.name, filter=_among(ids), output_fields=["id", *_FIELDS], **_STRONG)
        return {row["id"]: {name: _plain(row[name]) for name in _FIELDS} for row in found}

    def vectors(self, ids: Sequence[str]) -> np.ndarray:
        """[n, D] float32 of the given ids. ServerError for one that is gone."""
        matrix = np.empty((len(ids), self.dim), np.float32)
        place = {one: number for number, one in enumerate(ids)}
        step = max(1, min(_PAGE // self.dim, MOST // 2))
        for start in range(0, len(ids), step):
            page = ids[start : start + step]
            found = self.server.ask("query", self.name, filter=_among(page), output_fields=["descriptor"], **_STRONG)
            if len(found) != len(page):
                raise ServerError(f"{self}: rows were removed while it was searched; search again")
            for row in found:
                matrix[place[row["id"]]] = row["descriptor"]
        return matrix

    def upsert(self, rows: Rows) -> None:
        """Write rows, in place of those that have the same ids."""
        data = [
            {"id": one, "descriptor": descriptor, **facts}
            for one, descriptor, facts in zip(rows.ids, rows.descriptors, rows.facts, strict=True)
        ]
        written = self.server.ask("upsert", self.name, data)["upsert_count"]
        if written != len(rows):
            raise ServerError(f"{self}: {written:,} of {len(rows):,} rows were taken; run the same command again")

    def remove(self, ids: Sequence[str]) -> None:
        """Delete the rows of the given ids."""
        self.server.ask("delete", self.name, filter=_among(ids))

    def search(
        self, queries: np.ndarray, limit: int, facts: Sequence[str] = (), only: str | None = None
    ) -> list[list[Found]]:
        """The nearest rows of unit queries [Q, D], best first by the server's scores; `only` that of one id."""
        found = self.server.ask(
            "search",
            self.name,
            data=list(queries),
            anns_field="descriptor",
            limit=limit,
            filter="" if only is None else _among([only]),
            output_fields=list(facts),
            search_params={"metric_type": _METRIC},
            **_STRONG,
        )
        return [
            [
                Found(hit["id"], float(hit["distance"]), {name: _plain(hit["entity"][name]) for name in facts})
                for hit in line
            ]
            for line in found
        ]

    def mark(self, count: int) -> None:
        """Note that it holds so many rows at the end of a push."""
        self.server.ask("alter_collection_properties", self.name, {"imgret.count": str(count)})


def ours(server: Server) -> list[str]:
    """Names of the collections that push has made."""
    names = sorted(server.ask("list_collections"))
    return [name for name in names if "imgret.schema" in server.ask("describe_collection", name)["properties"]]


def _among(ids: Sequence[str]) -> str:
    # escaped ids hold no control character, so that JSON adds but the escapes of Milvus: a backslash before " and \
    return f"id in {json.dumps(list(ids), ensure_ascii=False)}"


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else list(value) if hasattr(value, "__iter__") else int(value)
