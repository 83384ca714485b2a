"""What cannot be reached, opened or named is said in one line, and soon."""

from __future__ import annotations

import builtins
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from imgret.errors import ImgretError, InputError, ServerError
from imgret.milvus.place import Place
from tests.cli.test_cli import run


def connect(uri, **options):
    from imgret.milvus.server import Server

    return Server.connect(Place.of(uri), **options)


def test_nobody_listening_is_said_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(ServerError, match=f"http://127.0.0.1:{port}: no Milvus answers there"):
        connect(f"http://127.0.0.1:{port}")
    assert time.monotonic() - begun < 10


def test_a_server_that_says_nothing_is_given_up(monkeypatch):
    from imgret.milvus import server

    monkeypatch.setattr(server, "CONNECTING", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        begun = time.monotonic()
        with pytest.raises(ServerError, match="no Milvus answers there"):
            connect(f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - begun < 10


def test_a_refused_password_is_told_from_none_and_never_shown(monkeypatch):
    import grpc

    class Refusing(grpc.GenericRpcHandler):
        def service(self, details):
            def refuse(request, context):
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "auth check failure, please check api key is correct")

            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Refusing(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(ServerError, match="none is given.*export MILVUS_TOKEN="):
            connect(f"http://127.0.0.1:{port}")
        with pytest.raises(ServerError, match="the one given is refused") as caught:
            connect(f"http://root:secret@127.0.0.1:{port}")
        assert "secret" not in str(caught.value)
        monkeypatch.setenv("MILVUS_TOKEN", "root:secret")
        with pytest.raises(ServerError, match="the one given is refused") as caught:
            connect(f"http://127.0.0.1:{port}")
        assert "secret" not in str(caught.value)
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize("uri", ["photos", "ftp://host", "", "http://", "photos.sqlite"])
def test_what_is_no_milvus_is_named(uri):
    with pytest.raises(InputError, match=r"names no Milvus: give a server such as http://localhost:19530"):
        Place.of(uri)


def test_a_port_that_is_no_number_is_named():
    with pytest.raises(InputError, match="host:x: .*'x'"):
        connect("http://host:x")


def test_names_and_tokens_are_checked_at_the_door(monkeypatch):
    with pytest.raises(InputError, match="is no name of a collection"):
        Place.of("a.db", "my-photos")
    monkeypatch.delenv("KEY", raising=False)
    with pytest.raises(InputError, match="--token-env KEY: no such environment variable"):
        Place.of("a.db", token_env="KEY")
    monkeypatch.setenv("KEY", "root:secret")
    assert Place.of("a.db", token_env="KEY").token == "root:secret"
    assert "secret" not in repr(Place.of("a.db", token_env="KEY"))


def test_places_in_the_stead_of_an_index_are_read_as_they_were_typed(monkeypatch):
    from pathlib import Path

    monkeypatch.setenv("HOME", "/home/ann")

    def read(text):
        place = Place.named(Path(text))  # which joins slashes
        return place.uri, place.collection

    assert read("milvus:http://host:19530") == ("http://host:19530", None)
    assert read("milvus:http://host:19530/shop#photos") == ("http://host:19530/shop", "photos")
    assert read("milvus:a.db#photos") == ("a.db", "photos")
    assert read("milvus:/x/my#one/a.db") == ("/x/my#one/a.db", None)
    assert read("milvus:~/a.db") == ("/home/ann/a.db", None)


def test_local_databases_that_cannot_be_are_named(tmp_path):
    with pytest.raises(InputError, match="no such database; make it with: imgret push"):
        connect(str(tmp_path / "none.db"))
    with pytest.raises(InputError, match="there is no folder .*none to put it in"):
        connect(str(tmp_path / "none" / "a.db"), create=True)
    (tmp_path / "file.db").write_text("an older one")
    with pytest.raises(InputError, match=r"file.db is a file"):
        connect(str(tmp_path / "file.db"), create=True)


_HOLDER = "import sys; from pymilvus import MilvusClient; c = MilvusClient(sys.argv[1]); print(1, flush=True); input()"


def test_a_local_database_that_another_process_holds_is_said_without_a_traceback(tmp_path, capfd):
    uri = str(tmp_path / "a.db")
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "1\n"
        with pytest.raises(ServerError, match="another process has this database open"):
            connect(uri, create=True)
    finally:
        holder.communicate("\n", timeout=30)
    assert capfd.readouterr() == ("", "")
    connect(uri).close()


def test_missing_pymilvus_answers_with_the_line_that_installs_it(store, uri, monkeypatch):
    find = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "pymilvus":
            raise ImportError("No module named 'pymilvus'")
        return find(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for command in (
        ["push", store.path, "--to", "milvus", "--uri", uri],
        ["search", "milvus:http://localhost:1", store.path],
    ):
        said = run(*command, code=1).stderr
        assert said.count("\n") == 1
        assert "pip install 'imgret[milvus]'" in said


def test_a_request_that_fails_is_one_line_and_silent(store, uri, capfd):
    from imgret.workflows import push

    push(store.path, uri)
    with connect(uri) as server, pytest.raises(ImgretError, match=r"photos.db: .*nothing.* does not exist"):
        server.ask("describe_collection", "nothing")
    assert capfd.readouterr() == ("", "")
