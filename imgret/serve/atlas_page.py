"""The map of the collection: its page, its points as plain numbers, and what stands at one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from imgret.ids import escape, from_bytes
from imgret.images.decode import Undecodable
from imgret.serve.background import RELOAD, Background, Progress
from imgret.serve.pages import page
from imgret.serve.pictures import SIDES
from imgret.serve.problems import Problem
from imgret.serve.server import Server
from imgret.serve.showing import jpeg, picture_url, shown
from imgret.serve.templating import search_address

if TYPE_CHECKING:
    from imgret.serve.collection import Collection

router = APIRouter(include_in_schema=False)

MOST_POINTS = 200_000
"""Points that are drawn; of a larger collection so many, evenly chosen."""
COLOURS = 7
"""Folders with a colour of their own; the images of all others have one together."""

_NAME = "map"


@dataclass(frozen=True)
class Points:
    """Images on the map.

    rows     [P] their rows
    where    [P, 2] float32 in the unit square
    folder   [P] uint8, number of the folder in `folders`, COLOURS for any other
    folders  (name, images) of the largest folders, most first; empty where there is but one
    """

    rows: np.ndarray
    where: np.ndarray
    folder: np.ndarray
    folders: list[tuple[str, int]]


def _points(server: Server, progress: Progress) -> Points:
    from imgret.atlas.map import Atlas, key_of
    from imgret.atlas.source import Source

    collection = server.collection
    searched = collection.searched
    source = Source.of(searched.database)
    through = [] if searched.whitening is None else [searched.whitening.sha256]
    if server.settings.cache is None:
        atlas = Atlas.compute(source, progress=progress)
    else:
        key = key_of(searched.content_sha256(), searched.ids(), *through)
        atlas = Atlas.cached(server.settings.cache / _NAME, key, source, progress=progress)
    step = -(-collection.count // MOST_POINTS) or 1
    rows, where = collection.live[::step], np.ascontiguousarray(atlas.positions[::step])
    return Points(rows, where, *_folders(collection, rows))


def _folders(collection: Collection, rows: np.ndarray) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """The first part of each id, where ids have several."""
    tops = [collection.ids.raw(row).partition(b"/") for row in rows.tolist()]
    names = [top if slash else b"" for top, slash, _ in tops]
    common = Counter(names).most_common(COLOURS)
    if len(common) < 2:
        return np.zeros(len(rows), np.uint8), []
    number = {name: place for place, (name, _) in enumerate(common)}
    folder = np.array([number.get(name, COLOURS) for name in names], np.uint8)
    return folder, [(escape(from_bytes(name)) or "(no folder)", count) for name, count in common]


def _work(server: Server) -> Background[Points]:
    if server.map is None:
        server.map = Background(lambda progress: _points(server, progress))
    return server.map


@router.get("/map")
async def map_(request: Request, again: bool = False) -> Response:
    """The page; while the map is computed, how far that is."""
    server: Server = request.app.state.server
    if again and server.map is not None and server.map.state == "failed":
        server.map = None
        return RedirectResponse("/map", 303)
    if not server.collection.count:
        return page(server, "map.html.jinja", here="map", work=None, points=None)
    work = _work(server)
    if work.state == "done" and "hx-request" in request.headers:
        return Response(headers=RELOAD)
    return page(server, "map.html.jinja", here="map", work=work, points=work.result)


@router.get("/map/points")
async def points(request: Request) -> Response:
    """Of every point x and y as little-endian float32, then of every point the number of its folder as a byte."""
    server: Server = request.app.state.server
    found = _of(server)
    body = await run_in_threadpool(lambda: found.where.astype("<f4").tobytes() + found.folder.tobytes())
    return Response(body, media_type="application/octet-stream")


@router.get("/map/images/{place}")
async def about(request: Request, place: int) -> Response:
    """The id of a point and where it leads."""
    server: Server = request.app.state.server
    name = server.collection.id_of(_row(server, place))
    facts = {"id": name, "search": search_address(like=name), "picture": picture_url(name)}
    return JSONResponse(facts)


@router.get("/map/pictures/{place}")
async def picture(request: Request, place: int) -> Response:
    """The smallest picture of a point."""
    server: Server = request.app.state.server
    found = await shown(server, _row(server, place), SIDES[0])
    if isinstance(found, Undecodable):
        raise Problem(404, "no_picture", found.message)
    return jpeg(request, server, found)


def _of(server: Server) -> Points:
    if server.map is None or server.map.result is None:
        raise Problem(503, "computing", "the map is still being computed; open its page")
    return server.map.result


def _row(server: Server, place: int) -> int:
    found = _of(server)
    if not 0 <= place < len(found.rows):
        raise Problem(404, "not_found", "there is no such point")
    return int(found.rows[place])
