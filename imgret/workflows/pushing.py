"""`push`: a store's descriptors in a vector database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgret.milvus.push import Progress, PushReport


def push(
    store: Path,
    uri: str,
    *,
    to: str = "milvus",
    collection: str | None = None,
    token_env: str | None = None,
    batch: int = 1000,
    index: str | None = None,
    prune: bool = False,
    dry_run: bool = False,
    sampled: int = 32,
    progress: Progress | None = None,
) -> PushReport:
    """Write the live rows of a store into a collection of the database at `uri`, and make sure of it.

    to         what the database is; 'milvus' is the one there is
    token_env  the environment variable with user:password or an API key (None: MILVUS_TOKEN, if it is set)
    index      FLAT or AUTOINDEX, for a collection that does not exist yet

    Rows that are there already are left alone, so the same call goes on where one was cut off. RecipeError for a
    collection of another recipe, ServerError for a server that does not answer or holds something else at the end.
    """
    from imgret.milvus.place import Place
    from imgret.milvus.push import push as run
    from imgret.store.store import Store
    from imgret.tables import look_up

    look_up({"milvus": run}, "database", to)
    place = Place.of(uri, collection, token_env)
    return run(
        Store.open(store),
        place,
        batch=batch,
        index=index,
        prune=prune,
        dry_run=dry_run,
        sampled=sampled,
        progress=progress,
    )
