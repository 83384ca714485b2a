"""Listening: the socket, a patient but not endlessly patient protocol, and the loop that serves."""

from __future__ import annotations

import asyncio
import json
import socket
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from imgret.errors import InputError
from imgret.serve.guard import HEADERS, is_address
from imgret.serve.problems import Problem

CLIENT_SECONDS = 15.0
"""A client may take to send the head of a request, and to take some of an answer; uvicorn would wait for ever."""

CONNECTIONS = 512
"""At a time. Each holds a file that the decoders and the pictures need as well."""


class Patient(H11Protocol):
    """HTTP that hangs up on who does not say what he wants, or does not take what he wanted."""

    client_seconds = CLIENT_SECONDS
    most_connections = CONNECTIONS
    _limit: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(Problem(503, "busy", "too many connections; try again in a moment"))
        self._expect()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._expect()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so in the shape of every other answer, unless one has begun."""
        begun = False
        if self.cycle is not None and not self.cycle.response_complete:
            begun = self.cycle.response_started
            self.cycle.disconnected = True  # its application has nobody to answer any more
        if begun:
            self.transport.close()
        else:
            self._refuse(Problem(400, "bad_request", msg))

    def _refuse(self, problem: Problem) -> None:
        body = json.dumps(problem.document())
        headers = {"Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"}
        lines = [f"{name}: {value}\r\n" for name, value in {**headers, **problem.headers, **HEADERS}.items()]
        head = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n{''.join(lines)}\r\n"
        self.transport.write((head + body).encode("latin-1"))
        self.transport.close()

    def _expect(self) -> None:
        """While it is the client's turn, to send a whole head or to take an answer, it must come in time."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self.flow.write_paused:
            self._forget()
        elif self._limit is None:
            self._wait()

    def _wait(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._limit = self.loop.call_later(self.client_seconds, self._give_up)

    def _forget(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _give_up(self) -> None:
        """Hang up, unless an answer is being taken, if slowly."""
        self._limit = None
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._wait()
        elif unsent:
            self.transport.abort()
        else:
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
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
        )
    )
