"""Showing: pictures over HTTP, always JPEGs made here and never the bytes of a file; the look; the login."""

from __future__ import annotations

import hashlib
from html import escape
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from imgret.images.decode import DecodeRule, Undecodable
from imgret.images.image_file import Box
from imgret.serve.decode_worker import Job
from imgret.serve.guard import COOKIE, check_token
from imgret.serve.pictures import SIDES, Shown
from imgret.serve.problems import Problem
from imgret.serve.searching import known_row
from imgret.serve.server import Server
from imgret.serve.templating import LOOK, sheet
from imgret.serve.uploads import Upload

router = APIRouter(include_in_schema=False)

_KEPT = {"Cache-Control": "private, max-age=3600"}
_MARK = "M8 40 34 14l16 14 14-18 20 28"


def picture_url(printed: str, side: int = SIDES[1], *, whole: bool = False) -> str:
    """Where the picture of an image is; `whole` shows all of the file that it is a part of."""
    return f"/pictures/{side}/{quote(printed)}{'?whole=1' if whole else ''}"


@router.get("/pictures/{side}/{id:path}")
async def picture(request: Request, side: int, id: str, whole: bool = False) -> Response:
    """An indexed image as a JPEG."""
    server: Server = request.app.state.server
    if side not in SIDES:
        raise Problem(404, "not_found", f"pictures are {', '.join(map(str, SIDES))} pixels long")
    found = await shown(server, known_row(server, id), side, whole=whole)
    return jpeg(request, server, found)


@router.get("/uploads/{key}")
async def uploaded(request: Request, key: str) -> Response:
    """A picture that was dropped here."""
    server: Server = request.app.state.server
    return jpeg(request, server, await shown_upload(server, kept_upload(server, key)))


async def shown(server: Server, row: int, side: int, *, whole: bool = False) -> Shown | Undecodable:
    """The picture of a row, or why there is none."""
    box = _WHOLE if whole and server.collection.box_of(row) else None
    file = await run_in_threadpool(server.collection.file_of, row, box)  # an archive is listed once
    if isinstance(file, str):
        return Undecodable("missing", file)
    return await server.pictures.picture(file, side)


def kept_upload(server: Server, key: str) -> Upload:
    """An upload; Problem when it is not kept any more."""
    kept = server.uploads.get(key)
    if kept is None:
        raise Problem(404, "upload_gone", "this picture is not kept any more; drop it again")
    return kept


async def shown_upload(server: Server, kept: Upload) -> Shown | Undecodable:
    """The picture of an upload, or why there is none."""
    if kept.shown is None:
        rule = DecodeRule(SIDES[2], max_pixels=server.settings.most_pixels)
        found = await server.decoders(Job(kept.image, rule, kept.data, jpeg=True))
        if isinstance(found, Undecodable):
            return found
        assert isinstance(found.pixels, bytes)
        kept.shown = Shown(found.pixels, found.width, found.height, found.bytes)
    return kept.shown


_WHOLE: Box = (0, 0, 2**31 - 1, 2**31 - 1)  # a box is cut to the image


def jpeg(request: Request, server: Server, found: Shown | Undecodable) -> Response:
    """A picture as an answer, or a drawn one that says why there is none."""
    if isinstance(found, Undecodable):
        server.metrics.refused(found.reason)
        return Response(_placeholder(found), 404, media_type="image/svg+xml")
    tag = f'"{hashlib.sha256(found.jpeg).hexdigest()[:32]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={**_KEPT, "ETag": tag})
    return Response(found.jpeg, media_type="image/jpeg", headers={**_KEPT, "ETag": tag})


def _placeholder(why: Undecodable) -> str:
    """A picture that says why there is none; browsers show it whatever the status."""
    words = escape("file not found" if why.reason == "missing" else why.reason.replace("_", " "))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120"><rect width="160" height="120" fill="#8882"/>'
        f'<g transform="translate(35 22)" fill="none" stroke="#8a8f99" stroke-width="3">'
        f'<path d="{_MARK}M4 2h82v46H4z"/>'
        '<path d="M0 54 90-4"/></g><text x="80" y="100" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="#8a8f99" text-anchor="middle">{words}</text></svg>'
    )


@router.get("/look/{name}")
async def look(name: str) -> Response:
    """A style sheet that the report pages share."""
    if name not in LOOK:
        raise Problem(404, "not_found", "there is nothing at this address")
    return Response(sheet(name), media_type="text/css", headers={"Cache-Control": "no-cache"})


@router.post("/login")
async def login(request: Request, token: Annotated[str, Form(max_length=1000)] = "") -> Response:
    """Keep the token in a cookie of this browser."""
    server: Server = request.app.state.server
    if server.settings.token is not None:
        try:
            check_token(server.settings.token, token)
        except Problem as problem:
            raise Problem(401, "wrong_token", "that is not the token", problem.headers) from None
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, max_age=30 * 86400)
    return answer
