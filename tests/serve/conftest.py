"""A small collection of drawn pictures, served by the toy model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from imgret import workflows
from imgret.extraction.job import ExtractJob, quiet
from imgret.models import MODELS
from imgret.serve.app import create_app
from imgret.serve.collection import Collection
from imgret.serve.run import load
from imgret.serve.server import Server
from imgret.serve.settings import Settings
from tests.pictures import save
from tests.toy import MEAN_COLOUR

BASE = "http://127.0.0.1:8000"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/, the store and the index of them: twelve pictures in two folders."""
    folder = tmp_path_factory.mktemp("served")
    for number in range(12):
        save(folder / "photos", f"{'ab'[number % 2]}/{number}.png", number, (64, 48) if number < 9 else (40, 60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "mean-colour", MEAN_COLOUR)
        images = (str(folder / "photos"),)
        options = {"weights": "none", "workers": 0, "precision": "fp32", "image_size": 64, "device": "cpu"}
        workflows.extract(ExtractJob(images=images, output=folder / "store", model="mean-colour", **options))
        workflows.build_index([folder / "store"], folder / "index", kind="flat")
    return folder


@pytest.fixture(scope="module")
def make_server(place: Path) -> Iterator[Callable[..., Server]]:
    """Servers of the collection with any settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, "mean-colour", MEAN_COLOUR)

        def make(path: Path = place / "index", model: Callable | None = None, **settings: object) -> Server:
            collection = Collection.open(path)
            describe = model or partial(load, collection, None, "cpu", True, quiet)
            return Server(collection, describe, Settings(**settings))

        yield make


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server that only answers: shared by the tests that change nothing."""
    made = make_server(cache=tmp_path_factory.mktemp("cache"))
    with TestClient(create_app(made), base_url=BASE):
        made.asker._loader.join()
        yield made


@pytest.fixture(scope="module")
def client(server: Server) -> TestClient:
    """Asks the shared server. Its application is begun by `server`."""
    return TestClient(create_app(server), base_url=BASE, follow_redirects=False)


@pytest.fixture
def asking(make_server: Callable[..., Server]) -> Iterator[Callable[..., TestClient]]:
    """Clients of servers of their own, with the settings given."""
    open_ones = []

    def ask(path: Path | None = None, **settings: object) -> TestClient:
        made = make_server(**({} if path is None else {"path": path}), **settings)
        one = TestClient(create_app(made), base_url=BASE, follow_redirects=False)
        one.__enter__()
        open_ones.append(one)
        made.asker._loader.join()
        return one

    yield ask
    for one in open_ones:
        one.__exit__(None, None, None)


@pytest.fixture
def photo(place: Path) -> bytes:
    """The bytes of an indexed picture, a/4.png."""
    return (place / "photos/a/4.png").read_bytes()
