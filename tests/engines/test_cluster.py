"""The way to a cluster: what is wrong with it is told in one line, soon."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

from imgret.engines.cluster import connected
from imgret.errors import EngineError

pytest.importorskip("ray", reason="pip install 'imgret[ray]'")


def refusal(address: str | None) -> str:
    started = time.monotonic()
    with pytest.raises(EngineError) as caught, connected(address, 1):
        pass
    assert time.monotonic() - started < 20
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_address_where_nothing_answers_is_told_at_once():
    assert refusal("127.0.0.1:1").startswith("--ray-address 127.0.0.1:1: no Ray cluster answers there ")


@pytest.mark.parametrize("address", [None, "auto"])
def test_an_old_address_in_the_environment_is_told_at_once_by_its_name(address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert refusal(address).startswith("RAY_ADDRESS=127.0.0.1:1: no Ray cluster answers there ")


def test_an_address_where_something_else_answers_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            line, _ = server.accept()
            with line:
                line.recv(100)
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "what answers is not Ray: b'HTTP/1.1 '" in refusal(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "ray://host"])
def test_what_is_no_address_is_told(address):
    assert "is not auto, local, HOST:PORT or ray://HOST:PORT" in refusal(address)


def test_a_missing_library_is_told_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refusal("local").endswith("type: pip install 'imgret[ray]'")
