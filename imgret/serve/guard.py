"""Guard: what every request must pass, and what every answer carries."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import cookie_parser

from imgret.serve.metrics import Metrics
from imgret.serve.problems import Problem
from imgret.serve.settings import Settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COOKIE = "imgret_token"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer a form would not tell its origin
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_STATIC = "/static/"
_SAFE = ("GET", "HEAD")
_KNOWN = "imgret.known"  # in the scope of who may see what is served

_FORM_BYTES = 1 << 20  # of a form without a picture
_LOGIN_BYTES = 1000  # of one that anyone may send
_AT_ONCE = 16  # uploads, the largest there may be, that are held in memory at a time
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE")


class Guard:
    """Host and origin, token, size and time of the body; an error of any kind is JSON with a code, or a page."""

    def __init__(self, app: Any, settings: Settings, metrics: Metrics, page: Callable[[Problem], str]) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._page = page
        self.held = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await _Passage(self, scope, receive, send).go()

    def check(self, scope: Message) -> None:
        """Problem unless a request may pass."""
        headers = _Headers(scope)
        self._check_host(headers)
        self._check_origin(scope["method"], headers)
        if self._settings.token is not None and not is_free(scope):
            check_token(self._settings.token, headers.token())
        scope[_KNOWN] = self._settings.token is None or not is_free(scope)
        _check_kind(headers, scope["path"])
        _check_length(headers, self.most_bytes(scope))

    def most_bytes(self, scope: Message) -> int:
        """That the body of a request may have: pictures come as multipart forms, all else is small."""
        if scope["path"] == "/login":
            return _LOGIN_BYTES
        kind = _Headers(scope).one("content-type") or ""
        most = self._settings.most_bytes
        return most if kind.lower().startswith("multipart/") else min(most, _FORM_BYTES)

    def hold(self, count: int) -> None:
        """Bytes of bodies are in memory, or are not any more where negative; Problem when there are too many."""
        self.held += count
        if count > 0 and self.held > _AT_ONCE * max(self._settings.most_bytes, _FORM_BYTES):
            raise Problem(503, "busy", "too much is being sent at a time; try again in a moment")

    def _check_host(self, headers: _Headers) -> None:
        """Names are what a rebinding attack has; an address of this machine is none."""
        found = headers.all("host")
        name = host_name(found[0]) if len(found) == 1 else None
        if name is None or not (is_address(name) or name in ("localhost", *self._settings.hosts)):
            raise Problem(
                421, "wrong_host", "this server does not go by that name; start it with --allow-host NAME if it should"
            )

    def _check_origin(self, method: str, headers: _Headers) -> None:
        """Another site's page must not search, compute or note anything in its reader's name; a link may lead here."""
        origin, host = headers.one("origin"), headers.one("host")
        foreign = origin not in (None, f"http://{host}", f"https://{host}")
        if headers.one("sec-fetch-site") not in (None, "same-origin", "none"):
            link = headers.one("sec-fetch-mode") == "navigate" and headers.one("sec-fetch-dest") == "document"
            foreign = foreign or method not in _SAFE or not link
        if foreign:
            raise Problem(403, "foreign_origin", "only pages of this server may ask it for anything")


class _Passage:
    """One request on its way through."""

    def __init__(self, guard: Guard, scope: Message, receive: Receive, send: Send) -> None:
        self._guard = guard
        self._method = scope["method"]
        self._scope = {**scope, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        self._their_receive = receive
        self._their_send = send
        self._begun = time.perf_counter()
        self._until = self._begun + guard._settings.body_seconds
        self._bytes = 0
        self._whole = False
        self._status = 0
        self._problem: Problem | None = None
        self._replaced = False

    async def go(self) -> None:
        try:
            self._guard.check(self._scope)
            await self._guard._app(self._scope, self._receive, self._send)
        except Problem as problem:
            await self._answer(problem)
        except Exception:
            await self._answer(_FAILED)
            raise
        finally:
            self._guard.hold(-self._bytes)
            route = getattr(self._scope.get("route"), "path", "none")
            method = self._method if self._method in _METHODS else "other"
            self._guard._metrics.request(method, route, self._status, time.perf_counter() - self._begun)

    async def _receive(self) -> Message:
        """Their message, unless the body grows too large or comes too slowly."""
        if self._whole:
            return await self._their_receive()
        try:
            left = max(self._until - time.perf_counter(), 0.001)
            message = await asyncio.wait_for(self._their_receive(), left)
        except asyncio.TimeoutError:
            self._problem = Problem(408, "too_slow", "the request did not arrive in time", {"Connection": "close"})
            raise self._problem from None
        self._whole = not message.get("more_body", False)
        try:
            self._take(len(message.get("body", b"")))
        except Problem as problem:
            self._problem = problem
            raise
        return message

    def _take(self, count: int) -> None:
        self._bytes += count
        self._guard.hold(count)
        if self._bytes > (most := self._guard.most_bytes(self._scope)):
            raise _too_large(most)

    async def _send(self, message: Message) -> None:
        """Our headers with their answer, or the answer about the body in its place."""
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            # Starlette tells in plain text that something failed
            problem = _FAILED if message["status"] == 500 else self._problem
            if problem is not None:
                self._replaced = True
                await self._answer(problem)
                return
            self._status = message["status"]
            have = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in have]
            if b"cache-control" not in have:
                more.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", []), *more]}
        elif self._method == "HEAD":
            message = {**message, "body": b""}
        await self._their_send(message)

    async def _answer(self, problem: Problem) -> None:
        if self._status:  # the answer has begun already
            return
        self._status = problem.status
        body, kind = json.dumps(problem.document()).encode(), "application/json"
        if _asks_for_page(self._scope) and (self._scope.get(_KNOWN) or problem.status == 401):
            body, kind = self._guard._page(problem).encode("utf-8", "backslashreplace"), "text/html; charset=utf-8"
        headers = {"content-type": kind, "content-length": str(len(body)), "cache-control": "no-store"}
        headers |= {**HEADERS, **{name.lower(): value for name, value in problem.headers.items()}}
        lines = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._their_send({"type": "http.response.start", "status": problem.status, "headers": lines})
        content = b"" if self._method == "HEAD" else body
        await self._their_send({"type": "http.response.body", "body": content})


class _Headers:
    """The headers of a request."""

    def __init__(self, scope: Message) -> None:
        self._pairs = [(name.lower(), value.decode("latin-1")) for name, value in scope["headers"]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name.encode()]

    def one(self, name: str) -> str | None:
        return next(iter(self.all(name)), None)

    def token(self) -> str:
        """What was given as a token: a bearer's, else the cookie's."""
        kind, _, token = (self.one("authorization") or "").partition(" ")
        if kind.lower() == "bearer":
            return token.strip()
        # read as browsers do: whatever else runs at this address may set cookies that are none to Python
        return cookie_parser("; ".join(self.all("cookie"))).get(COOKIE, "")


def is_free(scope: Message) -> bool:
    """Whether no token is asked for: to log in, for what that page looks like, and for whether the server is up."""
    return (scope["method"], scope["path"]) == ("POST", "/login") or (
        scope["path"] == "/healthz" or scope["path"].startswith(_STATIC)
    )


def check_token(wanted: str, given: str) -> None:
    """Problem unless they are equal, which takes the same time wherever they differ."""
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
        raise Problem(
            401,
            "token_needed",
            "this server wants its token: Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )


def wants_page(scope: Message) -> bool:
    """Whether to answer with a page: to a browser's address line or a link, and not before the token is known."""
    return _asks_for_page(scope) and (scope.get(_KNOWN, False) or scope["path"] == "/login")


def _asks_for_page(scope: Message) -> bool:
    headers = _Headers(scope)
    api = scope["path"].startswith(("/api/", "/metrics", "/healthz"))
    return not api and ("text/html" in (headers.one("accept") or "") or headers.one("hx-request") is not None)


_FAILED = Problem(500, "internal", "the server failed at this; its log says more")


def _too_large(most: int) -> Problem:
    words = f"{most / 2**20:g} MB" if most >= 2**20 else f"{most:,} bytes"
    return Problem(413, "too_large", f"at most {words} are taken; send something smaller")


def _check_length(headers: _Headers, most: int) -> None:
    length = headers.one("content-length")
    if length is not None and (not length.isascii() or not length.isdigit()):
        raise Problem(400, "bad_request", "the Content-Length is no number")
    if length is not None and (len(length) > 18 or int(length) > most):
        raise _too_large(most)


def _check_kind(headers: _Headers, path: str) -> None:
    """A client could name an encoding that makes text which is none, such as half of a character."""
    kind = (headers.one("content-type") or "").lower()
    if "charset" in re.sub(r'charset="?utf-8"?', "", kind):
        raise Problem(415, "unsupported", "text is sent as UTF-8")
    if path == "/login" and kind.startswith("multipart/"):  # nothing but the token can be wrong with a plain form
        raise Problem(415, "unsupported", "a token is sent as application/x-www-form-urlencoded")


def host_name(host: str) -> str | None:
    """'localhost:8000' -> 'localhost', '[::1]:8000' -> '::1'; None for what is no host."""
    name, port = host, ""
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
    elif ":" in host:
        name, _, port = host.rpartition(":")
    if (port and not (port.isascii() and port.isdigit())) or not name:
        return None
    return name.lower().rstrip(".")


def is_address(name: str) -> bool:
    """Whether a host is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
