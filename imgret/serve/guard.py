"""Guard: what every request must pass, and what every answer carries."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

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
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with no-referrer a form would not tell its origin
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_FREE = ("/healthz", "/login")  # no token is asked for here, nor for what the login page looks like
_STATIC = "/static/"
_SAFE = ("GET", "HEAD")
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE")


class Guard:
    """Host and origin, token, size and time of the body; an error of any kind is JSON with a code, or a page."""

    def __init__(self, app: Any, settings: Settings, metrics: Metrics, page: Callable[[Problem], str]) -> None:
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._page = page

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
        self._check_length(headers)
        free = scope["path"] in _FREE or scope["path"].startswith(_STATIC)
        if self._settings.token is not None and not free:
            check_token(self._settings.token, headers.token())

    def _check_host(self, headers: _Headers) -> None:
        """Names are what a rebinding attack has; an address of this machine is none."""
        found = headers.all("host")
        name = host_name(found[0]) if len(found) == 1 else None
        if name is None or not (is_address(name) or name in ("localhost", *self._settings.hosts)):
            raise Problem(
                421, "wrong_host", "this server does not go by that name; start it with --allow-host NAME if it should"
            )

    def _check_origin(self, method: str, headers: _Headers) -> None:
        """Another site's page must not search, or note anything, in its reader's name."""
        if method in _SAFE:
            return
        site, origin = headers.one("sec-fetch-site"), headers.one("origin")
        foreign = site not in (None, "same-origin", "none")
        if origin is not None and urlsplit(origin).netloc != headers.one("host"):
            foreign = True
        if foreign:
            raise Problem(403, "foreign_origin", "only pages of this server may send it anything")

    def _check_length(self, headers: _Headers) -> None:
        length = headers.one("content-length")
        if length is not None and (not length.isascii() or not length.isdigit()):
            raise Problem(400, "bad_request", "the Content-Length is no number")
        if length is not None and int(length) > self._settings.most_bytes:
            raise self.too_large()

    def too_large(self) -> Problem:
        most = self._settings.most_bytes / 2**20
        return Problem(413, "too_large", f"at most {most:g} MB are taken; send a smaller picture")


class _Passage:
    """One request on its way through."""

    def __init__(self, guard: Guard, scope: Message, receive: Receive, send: Send) -> None:
        self._guard = guard
        self._scope = scope
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
            await self._answer(Problem(500, "internal", "the server failed at this; its log says more"))
            raise
        finally:
            route = getattr(self._scope.get("route"), "path", "none")
            method = self._scope["method"] if self._scope["method"] in _METHODS else "other"
            self._guard._metrics.request(method, route, self._status, time.perf_counter() - self._begun)

    async def _receive(self) -> Message:
        """Their message, unless the body grows too large or comes too slowly."""
        if self._whole:
            return await self._their_receive()
        try:
            left = max(self._until - time.perf_counter(), 0.001)
            message = await asyncio.wait_for(self._their_receive(), left)
        except asyncio.TimeoutError:
            self._problem = Problem(408, "too_slow", "the request did not arrive in time")
            raise self._problem from None
        self._bytes += len(message.get("body", b""))
        self._whole = not message.get("more_body", False)
        if self._bytes > self._guard._settings.most_bytes:
            self._problem = self._guard.too_large()
            raise self._problem
        return message

    async def _send(self, message: Message) -> None:
        """Our headers with their answer, or the answer about the body in its place."""
        if message["type"] == "http.response.start":
            if self._problem is not None:
                self._replaced = True
                await self._answer(self._problem)
                return
            self._status = message["status"]
            have = {name.lower() for name, _ in message.get("headers", [])}
            more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in have]
            if b"cache-control" not in have:
                more.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", []), *more]}
        if not self._replaced:
            await self._their_send(message)

    async def _answer(self, problem: Problem) -> None:
        if self._status:  # the answer has begun already
            return
        self._status = problem.status
        body, kind = json.dumps(problem.document()).encode(), "application/json"
        if wants_page(self._scope):
            body, kind = self._guard._page(problem).encode("utf-8", "backslashreplace"), "text/html; charset=utf-8"
        headers = {"content-type": kind, "content-length": str(len(body)), "cache-control": "no-store"}
        headers |= {**_HEADERS, **{name.lower(): value for name, value in problem.headers.items()}}
        if self._problem is not None:
            headers["connection"] = "close"
        lines = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        await self._their_send({"type": "http.response.start", "status": problem.status, "headers": lines})
        content = b"" if self._scope["method"] == "HEAD" else body
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
        try:
            cookies = SimpleCookie("; ".join(self.all("cookie")))
        except CookieError:
            return ""
        return cookies[COOKIE].value if COOKIE in cookies else ""


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
    """Whether a request came from a browser's address line or a link, which shows pages."""
    headers = _Headers(scope)
    api = scope["path"].startswith(("/api/", "/metrics", "/healthz"))
    return not api and ("text/html" in (headers.one("accept") or "") or headers.one("hx-request") is not None)


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
