"""Listening: the socket, a patient but not endlessly patient protocol, and the loop that serves."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from imgret.errors import InputError
from imgret.serve.guard import is_address

HEAD_SECONDS = 15.0
"""A client may take to send the head of a request; uvicorn itself would wait for ever."""

_CONNECTIONS = 512


class Patient(H11Protocol):
    """HTTP that hangs up on who does not say what he wants."""

    head_seconds = HEAD_SECONDS
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def _expect(self) -> None:
        """While no request is under way, a whole head must come in time."""
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and self._limit is not None:
            self._limit.cancel()
            self._limit = None
        elif not busy and self._limit is None and not self.transport.is_closing():
            self._limit = self.loop.call_later(self.head_seconds, self._give_up)

    def _give_up(self) -> None:
        self._limit = None
        if not self.transport.is_closing():
            self.transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. InputError where it is taken or not to be had."""
    name = "127.0.0.1" if host == "localhost" else host
    if not is_address(name):
        raise InputError(f"--host {host} is no address of this machine; give one such as 127.0.0.1 or 0.0.0.0")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    # the protocol is named, or asyncio would leave Nagle's delay on: 40 ms an answer
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((name, port))
        found.listen(256)
    except OSError as error:
        found.close()
        raise InputError(
            f"{host} port {port} cannot be had: {error.strerror}; name another with --port, or 0 for any free one"
        ) from error
    found.set_inheritable(False)
    return found


def server_of(app: Any) -> uvicorn.Server:
    """What serves an application on sockets of `bind`."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=Patient,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
        )
    )
