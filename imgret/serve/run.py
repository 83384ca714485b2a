"""Run: open a collection and serve it until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imgret.errors import InputError
from imgret.extraction.job import Say, quiet
from imgret.serve.guard import is_loopback
from imgret.serve.settings import Settings

if TYPE_CHECKING:
    from imgret.extraction.describe import Describer
    from imgret.serve.collection import Collection


def cache_folder() -> Path:
    """Where pictures are kept unless another folder is named."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "imgret" / "serve"


def serve(
    path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    images: Path | None = None,
    whitening: Path | None = None,
    weights: str | None = None,
    device: str = "auto",
    offline: bool = False,
    settings: Settings | None = None,
    started: Callable[[str], object] | None = None,
    say: Say = quiet,
) -> None:
    """Serve an index, or a store, until Ctrl-C. The page is there at once; the model is loaded meanwhile.

    `started` is told the address. InputError for an address that others can reach without a token, and for one that
    cannot be had; the errors of the index or store.
    """
    from imgret.serve.app import create_app
    from imgret.serve.collection import Collection
    from imgret.serve.listening import bind, server_of
    from imgret.serve.server import Server

    settings = settings or Settings()
    if not is_loopback(host) and settings.token is None:
        raise InputError(
            f"at {host} anyone on the network can search this collection; say what they must know with --token TOKEN "
            "(or IMGRET_TOKEN), or leave out --host"
        )
    collection = Collection.open(path, images, whitening)
    server = Server(collection, partial(load, collection, weights, device, offline, say), settings)
    with bind(host, port) as listening:
        if started is not None:
            here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # every address is none to type
            shown = f"[{here}]" if ":" in here else here
            started(f"http://{shown}:{listening.getsockname()[1]}/")
        server_of(create_app(server)).run(sockets=[listening])


def load(collection: Collection, weights: str | None, device: str, offline: bool, say: Say) -> Describer:
    """The model that the collection was described with."""
    from imgret.extraction.loading import load_for_recipe

    searched = collection.searched
    return load_for_recipe(
        searched.recipe, searched.origin, say, device=device, weights=weights, offline=offline, where=searched.path
    ).describer
